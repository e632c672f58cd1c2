"""What `up` and `demo` share: which pipeline, where, and what is told while it starts and stops."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from eventpipeline import resource
from eventpipeline.cli.output import CommandError, console
from eventpipeline.settings import Declarations
from eventpipeline.sources import BUILT_IN, Source, load
from eventpipeline.spec import EventPipeline

if TYPE_CHECKING:  # what runs a pipeline is not in the image, whose commands read a file too
    from eventpipeline.local import Event, Running


def pipeline_of(file: Path | None, name: str | None = None) -> EventPipeline:
    """The pipeline in `file`, or the minimal one. Raises CommandError."""
    if file is None:
        return resource.minimal()
    try:
        pipelines = resource.load(file)
    except resource.ResourceError as error:
        raise CommandError(f"the file has mistakes\n{error}") from error
    chosen = [pipeline for pipeline in pipelines if name in (None, pipeline.metadata.name)]
    if len(chosen) != 1:
        names = ", ".join(pipeline.metadata.name for pipeline in pipelines)
        raise CommandError(f"{file} holds the pipelines {names}; choose one with --name")
    return chosen[0]


def known_sources(file: Path | None) -> dict[str, Source]:
    """The sources that are built in, and those that `file` or, as in a pod, the environment declares.

    Raises CommandError.
    """
    if file is not None:
        declared = pipeline_of(file).spec.declarations
    else:
        declared = TypeAdapter(Declarations).validate_python(os.environ.get("DECLARATIONS")) or {}
    return {source.name: source for source in load([*BUILT_IN, *declared], declared)}


def tell(event: Event) -> None:
    """One line of what happens to a program."""
    style = {"died": "bold red", "ready": "green", "note": "yellow"}.get(event.kind, "dim")
    if event.kind != "started":
        console.print(f"  {str(event).replace('[', chr(92) + '[')}", style=style)


def tell_ready(run: Running) -> None:
    """Where everything is, once it runs."""
    console.print()
    console.print(f"[bold]{run.info.pipeline}[/bold] is ready")
    console.print(f"  events    POST {run.gateway_url}/webhook/events   [dim](docs: {run.gateway_url}/docs)[/dim]")
    console.print(f"  reports   {run.reporter_url}/reports/events   [dim](docs: {run.reporter_url}/docs)[/dim]")
    console.print(f"  live page {run.reporter_url}/")
    console.print("  [dim]Ctrl-C stops it; what was accepted stays.[/dim]")
    console.print()
