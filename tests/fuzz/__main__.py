"""python -m fuzz [--seed N] [--seconds N]: the same seed sends the same requests again."""

from __future__ import annotations

import argparse
import secrets
import sys

from fuzz.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=600.0)
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.seconds:g} s; again with: python -m fuzz --seed {asked.seed}", flush=True)
    found = run(asked.seed, asked.seconds)
    for fault in found:
        print(fault)
    print("fuzz: " + (f"{len(found)} faults, seed {asked.seed}" if found else "no fault"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
