"""Run benchmarks by name, or all: `python -m benchmarks [NAME …] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

from . import report

_NOT_BENCHMARKS = {"__main__", "databases", "peers", "report", "workers"}


def main() -> None:
    names = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if module.name not in _NOT_BENCHMARKS
    )
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="fewer jobs and runs, rougher figures")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in names:
            parser.error(f"no benchmark {name!r}; there are {', '.join(names)}")
    verdicts: list[report.Verdict] = []
    for name in arguments.names or names:
        verdicts += importlib.import_module(f"benchmarks.{name}").main(quick=arguments.quick)
    if verdicts:
        report.show_verdicts(verdicts)


if __name__ == "__main__":
    main()
