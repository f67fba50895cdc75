"""Take out the rule that keeps each promise, one by one, and show which test notices.

`python tools/mutants.py [NAME …]`. Each mutant is a copy of the project with one change; it has to
make a test fail. The numbers are those of docs/guarantees.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "pyproject.toml", "schema.sql")

SQL = "src/m25/_store/sql/"
CLAIMED = "on wanted.id = job.id and wanted.claim_token = job.claim_token"


class Mutant(NamedTuple):
    """A rule that is taken out: in a file, one text for another; and where that is to show."""

    promise: int
    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        1,
        "an enqueue cannot be repeated",
        SQL + "enqueue_one.sql",
        "on conflict do nothing\n",
        "",
        ("tests/enqueue/test_enqueueing.py",),
    ),
    Mutant(
        1,
        "many are enqueued one batch after the other",
        "src/m25/_store/postgres.py",
        "async with connection.transaction():\n",
        "if True:\n",
        ("tests/enqueue/test_enqueueing_many.py",),
    ),
    Mutant(
        2,
        "an attempt is settled whatever its status",
        SQL + "settle.sql",
        "        and job.status = 'executing'\n    order by",
        "    order by",
        ("tests/store",),
    ),
    Mutant(
        2,
        "a job is cancelled whatever its status",
        SQL + "cancel.sql",
        "    and reserved_at is null\n",
        "",
        ("tests/enqueue/test_enqueueing.py", "tests/store"),
    ),
    Mutant(
        3,
        "a result is written without its claim's token",
        SQL + "settle.sql",
        "outcome.claim_token = job.claim_token",
        "true",
        ("tests/store/test_store_outcomes.py",),
    ),
    Mutant(
        3,
        "a lease is renewed without its claim's token",
        SQL + "heartbeat.sql",
        CLAIMED,
        "on wanted.id = job.id",
        ("tests/store",),
    ),
    Mutant(
        3,
        "a job is handed back without its claim's token",
        SQL + "release.sql",
        CLAIMED,
        "on wanted.id = job.id",
        ("tests/store",),
    ),
    Mutant(
        3,
        "two claims take the same rows",
        SQL + "claim.sql",
        "        for update skip locked\n",
        "",
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        3,
        "a claim whose commit was not acknowledged is believed in",
        "src/m25/_worker/claimer.py",
        "held = await self._runtime.store.confirm(begun, self._queue.lease)",
        "held = {job.id for job in begun}",
        ("tests/worker/test_claims_in_doubt.py",),
    ),
    Mutant(
        3,
        "a result is written before its claim is known to be committed",
        "src/m25/_worker/ledger.py",
        "early = owed.outcome.token == self.in_doubt",
        "early = False",
        ("tests/worker/test_ledger.py",),
    ),
    Mutant(
        4,
        "a retry does not name its chain",
        SQL + "settle.sql",
        "coalesce(original_attempt_id, id)",
        "original_attempt_id",
        ("tests/store",),
    ),
    Mutant(
        4,
        "one attempt too many",
        SQL + "settle.sql",
        "attempt::bigint - losses < max_attempts",
        "attempt::bigint - losses <= max_attempts",
        ("tests/store",),
    ),
    Mutant(
        4,
        "an attempt that was lost is followed by none",
        SQL + "sweep.sql",
        "losses <= queue.allowed_losses",
        "false",
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        5,
        "a unique key is held by many",
        "src/m25/migrations/0002_claims_and_priorities.sql",
        "create unique index job_unique_key_idx",
        "create index job_unique_key_idx",
        ("tests/enqueue/test_enqueueing.py",),
    ),
    Mutant(
        6,
        "claims do not count what is running",
        "src/m25/_worker/ledger.py",
        "running=len(self.running) + more,",
        "running=more,",
        ("tests/worker/test_ledger.py", "tests/worker/test_running.py"),
    ),
    Mutant(
        7,
        "jobs are claimed before they are due",
        SQL + "claim.sql",
        "            and run_at <= now()\n",
        "",
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        7,
        "a retry does not wait",
        SQL + "settle.sql",
        "secs => greatest(least(extract(epoch from retry_delay), 31557600000), 0)::float8",
        "secs => 0",
        ("tests/store",),
    ),
    Mutant(
        8,
        "leases that are over are not seen",
        SQL + "sweep.sql",
        "job.lease_expires_at < now()",
        "false",
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        8,
        "a job that may start only once begins before its claim is committed",
        "src/m25/_worker/claimer.py",
        "early = at_once and queue.allowed_losses > 0 and self.has_started",
        "early = at_once and self.has_started",
        ("tests/faults/test_server.py",),
    ),
    Mutant(
        9,
        "what is cut short is not handed back",
        "src/m25/_worker/claimer.py",
        "self._ledger.owe_release(executor.job)",
        "pass",
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        9,
        "the last writes are not shielded",
        "src/m25/_worker/manager.py",
        "trio.CancelScope(shield=True, deadline=trio.current_time() + bound)",
        "trio.CancelScope(deadline=trio.current_time() + bound)",
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        10,
        "a handler that does not end at its deadline is waited for",
        "src/m25/_worker/heartbeats.py",
        "self._ledger.owe(Owed.of(executor.overrun(), executor.row))",
        "executor.overrun()",
        ("tests/worker/test_hostile_handlers.py",),
    ),
    Mutant(
        10,
        "a `Cancelled` that a handler kept ends the manager",
        "src/m25/_handler.py",
        "if being_cancelled():\n",
        "if True:\n",
        ("tests/worker/test_hostile_handlers.py",),
    ),
    Mutant(
        11,
        "a row that cannot be decoded is everybody's failure",
        "src/m25/_worker/executor.py",
        "except Undecodable as error:",
        "except ZeroDivisionError as error:",
        ("tests/worker/test_poison.py",),
    ),
    Mutant(
        11,
        "a result that cannot be stored keeps the others from being",
        "src/m25/_worker/settler.py",
        "        except RowRefused as refused:\n            if len(owed) == 1:",
        "        except ZeroDivisionError as refused:\n            if len(owed) == 1:",
        (
            "tests/worker/test_poison.py",
            "tests/worker/test_running.py",
            "tests/worker/test_hostile_handlers.py",
        ),
    ),
    Mutant(
        12,
        "a result is forgotten before the database has it",
        "src/m25/_worker/settler.py",
        "            results = await self._settle(owed)\n            self._ledger.written(owed)\n",
        "            self._ledger.written(owed)\n            results = await self._settle(owed)\n",
        ("tests/faults/test_outages.py", "tests/simulation"),
    ),
    Mutant(
        12,
        "what waits to be written is not kept alive",
        "src/m25/_worker/ledger.py",
        "return jobs + [owed.job for owed in self._outcomes]",
        "return jobs",
        ("tests/worker/test_ledger.py", "tests/worker/test_heartbeats.py"),
    ),
    Mutant(
        13,
        "NUL is sent to the database",
        "src/m25/_codec/text.py",
        '"\\\\u0000" not in text',
        "True",
        (
            "tests/codec/test_codec_values.py",
            "tests/codec/test_codec_roundtrips.py",
            "tests/worker/test_poison.py",
        ),
    ),
)


def mutate(directory: Path, mutant: Mutant) -> None:
    """A copy of the project in which the rule is missing."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    path = directory / mutant.file
    path.write_text(path.read_text().replace(mutant.before, mutant.after))


def noticed_by(directory: Path, mutant: Mutant) -> str | None:
    """The first test that fails, or does not end."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-xv", "-p", "no:cacheprovider", *mutant.tests],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if found is None and "Timeout" in done.stdout + done.stderr:
        # It ends the program; the test is the last that began.
        *_, found = re.finditer(r"^(\S+::\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and found and found[1].partition("::")[1]:
        return found[1]
    if done.returncode == 0:
        return None
    raise SystemExit(f"{mutant.name!r}: the tests could not be run:\n{done.stdout}{done.stderr}")


def main() -> int:
    wanted = sys.argv[1:] or [""]
    mutants = [each for each in MUTANTS if any(name in each.name for name in wanted)]
    for mutant in mutants:
        if mutant.before not in (ROOT / mutant.file).read_text():
            sys.exit(f"{mutant.name!r}: {mutant.file} has no {mutant.before!r} any more")
    survivors = 0
    for mutant in mutants:
        with tempfile.TemporaryDirectory(prefix="m25-mutant-") as directory:
            mutate(Path(directory), mutant)
            test = noticed_by(Path(directory), mutant)
        survivors += test is None
        print(f"{mutant.promise:2}  {mutant.name}: {test or 'NOT NOTICED'}", flush=True)
    print(f"{survivors} not noticed")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
