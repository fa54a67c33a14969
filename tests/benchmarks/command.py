"""The command: which cases, how thoroughly, where the table goes."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.cases import CASES, Cases
from tests.benchmarks.harness import NotThereYetError, Options, Row, Verdict
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.report import markdown, text_table
from tomoservice.errors import TomoserviceError

ROUNDS, QUICK_ROUNDS = 5, 3
SCAN_GB, QUICK_SCAN_GB = 2.0, 0.1


def main(arguments: list[str] | None = None, cases: Cases = CASES) -> int:
    """Run the benchmarks; the exit status is 1 only with --strict and a missed target."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"cases: {', '.join(cases)} (all by default)"
    )
    parser.add_argument("--full", action="store_true", help="also what takes minutes: 2048 columns")
    parser.add_argument("--quick", action="store_true", help="small sizes and three rounds: does it all run?")
    parser.add_argument("--rounds", type=int, help=f"timed rounds (default {ROUNDS}, quick {QUICK_ROUNDS})")
    parser.add_argument(
        "--scan-gb", type=float, help=f"scan for the pipeline, 1e9 bytes (default {SCAN_GB:g})"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path(tempfile.gettempdir()), help="folder for the scan"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if a target is missed")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in cases]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(cases)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds: at least 1, got {given.rounds}")
    options = Options(
        rounds=given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS),
        full=given.full,
        quick=given.quick,
        scan_gb=given.scan_gb or (QUICK_SCAN_GB if given.quick else SCAN_GB),
        scratch=given.scratch,
    )
    machine = describe_machine()
    sys.stdout.write("\n".join(f"{name:17} {value}" for name, value in machine.items()) + "\n\n")
    rows = measure({name: cases[name] for name in given.names or cases}, options)
    if given.markdown is not None:
        command = " ".join(
            ["python -m tests.benchmarks", *(sys.argv[1:] if arguments is None else arguments)]
        )
        given.markdown.write_text(markdown(rows, machine, command, options.rounds), "utf-8")
    missed = [row for row in rows if row.verdict is Verdict.MISSED]
    sys.stdout.write(
        f"\n{len(missed)} of {sum(row.target is not None for row in rows)} targets not reached\n"
    )
    return 1 if missed and given.strict else 0


def measure(cases: Cases, options: Options) -> list[Row]:
    """Run cases, printing each row as it comes."""
    rows: list[Row] = []
    for name, case in cases.items():
        try:
            for row in case(options):
                sys.stdout.write(text_table([row], header=not rows) + "\n")
                sys.stdout.flush()
                rows.append(row)
        except (NotThereYetError, TomoserviceError, ImportError) as error:
            row = Row(name, None, None, f"{type(error).__name__}: {error}")
            sys.stdout.write(text_table([row], header=not rows) + "\n")
            rows.append(row)
    return rows
