"""python -m faults: a run of faults, printed; the last line is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from eventpipeline.publisher import Options as Load
from faults.gates import passed
from faults.report import document, last_line, printed
from faults.rig import Shape
from faults.run import Options, run
from faults.volumes import enter_own_namespace, in_own_namespace


def main() -> int:
    arguments = _parser().parse_args()
    enter_own_namespace()
    long = arguments.seconds > 300
    options = Options(
        seed=arguments.seed,
        seconds=arguments.seconds,
        least=200 if arguments.seconds >= 1800 else 0,
        samples=5 if long else 1,
        longest=30.0 if long else 3.0,
        load=Load(rate=2.0, batch=(500, 2500), duplicates=0.2, timeout=20.0),
        shape=Shape(collectors=4, nats_storage="160Mi") if long else Shape(),
    )
    if not in_own_namespace():
        print("without root no disk is filled here")
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        if arguments.folder:
            arguments.folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(run(arguments.folder or Path(folder), options, lambda line: print(line, flush=True)))
    print(printed(outcome))
    if arguments.document:
        document(outcome, arguments.document)
    print(last_line(outcome), flush=True)
    late = arguments.gates and not all(one.kept for one in passed(outcome.recoveries))
    return 1 if outcome.failures or late else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description="A pipeline under faults, and an oracle.")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults go on; over 300 it is a long run")
    parser.add_argument("--folder", type=Path, help="keep everything there, logs too, instead of in a folder that goes")
    parser.add_argument("--document", type=Path, help="write the run into this page")
    parser.add_argument("--gates", action="store_true", help="fail where a gate of time is missed too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
