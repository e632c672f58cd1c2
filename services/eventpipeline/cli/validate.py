"""`eventpipeline validate`."""

from __future__ import annotations

from pathlib import Path

from eventpipeline import resource
from eventpipeline.cli.output import OutputFormat, print_json


def validate(file: Path, /, *, output: OutputFormat = "table") -> int:
    """Check an EventPipeline file; every mistake is printed with its line, its place and a hint.

    Exit code 0 where the file is in order, 1 where it is not. What anyone may do without a key is a warning.

    Parameters
    ----------
    file
        A YAML file with one or more EventPipeline documents; other kinds are passed over.
    output
        `table` for people, `json` for scripts: `{"valid", "pipelines", "mistakes": [{"line", "place", "message"}],
        "warnings": [{"pipeline", "message"}]}`.
    """
    try:
        pipelines = resource.load(file)
        names = [pipeline.metadata.name for pipeline in pipelines]
        warnings = [(one.metadata.name, opening) for one in pipelines for opening in one.spec.openings]
        mistakes: tuple[resource.Mistake, ...] = ()
    except resource.ResourceError as error:
        names, warnings, mistakes = [], [], error.mistakes
    if output == "json":
        print_json(
            {
                "valid": not mistakes,
                "pipelines": names,
                "mistakes": [{"line": m.line, "place": m.place, "message": m.message} for m in mistakes],
                "warnings": [{"pipeline": name, "message": message} for name, message in warnings],
            }
        )
    elif mistakes:
        for mistake in mistakes:
            print(f"{file}: {mistake}")
    else:
        print(f"{file}: valid ({', '.join(names)})")
        for name, message in warnings:
            print(f"{file}: warning: {name}: {message}")
    return 1 if mistakes else 0
