"""What is done with the project: `nox -s demo`, `nox -s tests`, and `nox --list` for the rest."""

from __future__ import annotations

import os

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)


#: The tests start hundreds of programs, each of which would compile again what nobody has kept.
KEEP_BYTECODE = {"UV_COMPILE_BYTECODE": "1", "PYTHONDONTWRITEBYTECODE": ""}

#: About half of a test's time is spent on waiting, so that each core has work for two of them.
SIDE_BY_SIDE = ("-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal")


def install(session: nox.Session, *groups: str) -> None:
    """Install the project as it lies here, with dependency groups."""
    groups_of = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install("-e", ".[binary,cli,embedded,web]", *groups_of, env=KEEP_BYTECODE)


def run_tests(session: nox.Session) -> None:
    """Run the tests, in several processes unless told otherwise."""
    install(session, "test")
    session.run("pytest", *SIDE_BY_SIDE, *session.posargs, env=KEEP_BYTECODE)


@nox.session
def demo(session: nox.Session) -> None:
    """Run real jobs on real files, with no server installed; `-- DIR` names other files."""
    session.install(".[binary,cli,embedded]")
    session.run("m25", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests."""
    run_tests(session)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that `tests` leaves out because they take long, and more of the same."""
    install(session, "test")
    session.run(
        *("pytest", *SIDE_BY_SIDE, "-m", "slow or long or thorough", *session.posargs),
        env={**KEEP_BYTECODE, "M25_TEST_THOROUGH": "1"},
    )


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """Run the tests on every Python that is supported."""
    run_tests(session)


@nox.session
def psycopg_suite(session: nox.Session) -> None:
    """Run psycopg's own async tests on `m25.pg`: `-- CHECKOUT` of the version installed."""
    session.install("-e", ".[binary,embedded]", "anyio", "dnspython", "pproxy", "pytest>=8,<9")
    session.run("python", "tests/pg/psycopg_suite/run.py", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Look at the dashboard with a real Chromium, and make the pictures of docs/web.md anew."""
    install(session, "test", "browser")
    session.run(
        *("pytest", "-m", "", "tests/web/test_in_chromium.py", *session.posargs),
        env={**KEEP_BYTECODE, "M25_TEST_PICTURES": "docs/screens"},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and for what is not formatted."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types: ours, and how complete they are for those who use them."""
    # Not editable: what is verified is what is installed.
    session.install(
        ".[binary,cli,embedded,web]", *nox.project.dependency_groups(PYPROJECT, "types", "test")
    )
    session.install("nox")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "m25", "--ignoreexternal")
    # What checkers are to say to those who use us.
    session.run("pytest", "tests/typing", "tests/pg/test_types.py")


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known vulnerabilities in what m25 installs."""
    install(session, "audit")
    session.run("python", "tools/audit.py")


@nox.session
def schema(session: nox.Session) -> None:
    """Write `schema.sql` again, after a migration was added."""
    install(session)
    session.run("python", "tools/schema.py")


@nox.session
def pages(session: nox.Session) -> None:
    """Write again what is made from the code: the pages of events, lifecycle and statements."""
    install(session)
    for tool in ("pages", "lifecycle", "statements"):
        session.run("python", f"tools/{tool}.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into `build/docs`; with `-- --external`, ask for the links that lead out."""
    install(session, "docs")
    session.install("-e", ".[opentelemetry,prometheus,web]")
    warnings = ("-W", "--keep-going")
    session.run("sphinx-build", *warnings, "-b", "html", "docs", "build/docs")
    if "--external" in session.posargs:
        session.run("sphinx-build", "-b", "linkcheck", "docs", "build/links")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those that are named: `-- drain`."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(name="bench-peers", python="3.12")
def bench_peers(session: nox.Session) -> None:
    """Run m25 beside its peers, on the same server: `-- --quick` for a minute's look."""
    install(session, "peers")
    session.run("python", "-m", "benchmarks.peers", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """Torment real processes and a real server: `-- --minutes N --seed S`."""
    install(session, "test")
    session.chdir("tests")
    session.run("python", "-m", "faults.torture", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Take out the rule that keeps each promise, and see that a test notices."""
    install(session, "test")
    session.run("python", "tools/mutants.py", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Simulate clusters under faults, a seed each: `-- FIRST END`; or one again: `-- --seed N`."""
    install(session, "test")
    session.chdir("tests")
    session.run("python", "-m", "simulation.run", *session.posargs)
