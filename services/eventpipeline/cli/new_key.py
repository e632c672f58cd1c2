"""`eventpipeline new-key`."""

from __future__ import annotations

from eventpipeline.cli.output import OutputFormat, print_json
from eventpipeline.readers import hashed
from eventpipeline.readers import new_key as made


def new_key(*, output: OutputFormat = "table") -> int:
    """Make a key for a reader, and the hash of it that the pipeline keeps.

    The key is shown this once and stored nowhere: give it to the reader. The hash is a line of the Secret that
    spec.reporter.authentication names; it opens nothing.

    Parameters
    ----------
    output
        `table` for people, `json` for scripts: `{"key", "hash"}`.
    """
    key = made()
    if output == "json":
        print_json({"key": key, "hash": hashed(key)})
    else:
        print(f"key   {key}\nhash  {hashed(key)}")
    return 0
