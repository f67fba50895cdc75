"""Runs psycopg's own async tests on `m25.pg`: `python run.py CHECKOUT [PYTEST'S ARGUMENTS]`.

CHECKOUT is a checkout of psycopg's repository, of the version that is installed. Nothing is written
into it. The server is that of `M25_TEST_DSN`, or an embedded one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from m25 import embedded

HERE = Path(__file__).parent


@contextmanager
def server() -> Generator[str]:
    if given := os.environ.get("M25_TEST_DSN"):
        yield given
        return
    with embedded.postgres_sync(settings={"max_prepared_transactions": "20"}) as dsn:
        yield dsn


def main() -> int:
    if len(sys.argv) < 2 or not (checkout := Path(sys.argv[1])).joinpath("tests").is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    with server() as dsn, tempfile.TemporaryDirectory() as cache:
        command = [
            *(sys.executable, "-m", "pytest", "tests", "-q", "-p", "psycopg_on_trio"),
            *("--ignore=tests/pool", "--ignore=tests/crdb", "-o", f"cache_dir={cache}"),
            *("--test-dsn", dsn, *sys.argv[2:]),
        ]
        environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=checkout, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
