"""Runs the campaign: trials by the thousand of what users and machines do wrong, counted in one table.

    python3 bin/bootstrap.py campaign [--part=inputs,fuzz,...] [--seed=0] [--minutes=3] [--moments=60]

The exit code is 1 where a trial was silent, a stack, a wrongful refusal or differing bits.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PARTS = ("inputs", "fuzz", "kills", "disk", "archives", "threads", "leaks")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="campaign", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", default=",".join(PARTS), help="Parts to run, by default all: %(default)s.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the kills, the faults and the fuzz.")
    parser.add_argument("--minutes", type=float, default=3.0, help="Longest time of the fuzz.")
    parser.add_argument("--moments", type=int, default=60, help="Kills of trainings.")
    options = parser.parse_args()
    chosen = options.part.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"argument --part: expected some of {', '.join(PARTS)}; received: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from tests.campaign import counts

    rows = []
    for part in chosen:
        begin = time.monotonic()
        rows.append(importlib.import_module(f"tests.campaign.{part}").run(options))
        print(f"campaign: {part} took {time.monotonic() - begin:.0f} s\n{counts.table(rows)}", flush=True)
    for row in rows:
        for outcome, call, what in row.failures:
            print(f"{row.part}: {outcome}: {call}\n    {what}")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
