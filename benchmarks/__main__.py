"""Run benchmarks by name, or all: `python -m benchmarks [NAME …] [--quick]`.

`pairs` is run only by name, with what this checkout is compared with: `pairs --against REVISION`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

from . import pairs, report

_NOT_BENCHMARKS = {
    "__main__",
    "databases",
    "driver",
    "pairs",
    "peers",
    "report",
    "revision",
    "wire",
    "workers",
}


def main() -> None:
    alone = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if module.name not in _NOT_BENCHMARKS
    )
    names = [*alone, "pairs"]
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="fewer jobs and runs, rougher figures")
    of_pairs = parser.add_argument_group("pairs")
    of_pairs.add_argument("--against", metavar="REVISION", help="what to compare with")
    of_pairs.add_argument("--pairs", type=int, metavar="N", help="how many pairs (default: 10)")
    of_pairs.add_argument("--jobs", type=int, metavar="N", help="of a drain (default: 20000)")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in names:
            parser.error(f"no benchmark {name!r}; there are {', '.join(names)}")
    if ("pairs" in arguments.names) != (arguments.against is not None):
        parser.error("pairs and --against REVISION go together")
    verdicts: list[report.Verdict] = []
    for name in arguments.names or alone:
        if name == "pairs":
            verdicts += pairs.main(
                arguments.against,
                pairs=arguments.pairs,
                jobs=arguments.jobs,
                quick=arguments.quick,
            )
        else:
            verdicts += importlib.import_module(f"benchmarks.{name}").main(quick=arguments.quick)
    if verdicts:
        report.show_verdicts(verdicts)


if __name__ == "__main__":
    main()
