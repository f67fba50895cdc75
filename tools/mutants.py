"""Take out each rule that keeps a promise, and show which test notices; long, since all are here.

`python tools/mutants.py [PART …]`, where a part is one of a mutant's name or of its tests' names.
Each mutant is the project with one change; it has to make a test fail. The numbers are those of
docs/guarantees.md. As many are tried side by side as there are cores, each in a copy of the project
of its own; one server is there for all of them.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trio

from m25 import embedded

ROOT = Path(__file__).parents[1]
COPIED = ("src", "tests", "pyproject.toml", "schema.sql")

#: How many mutants are tried at once.
SIDE_BY_SIDE = os.cpu_count() or 1

#: In seconds: the longest a test may take, and all that a mutant is shown to.
TEST_TIMEOUT = 60
TIMEOUT = 900

#: What pytest ends with where no test has the marks that were asked for.
NO_TESTS = 5

#: What the server holds may be lost, and is in memory where the system has a place for that.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "5",
}
MEMORY = Path("/dev/shm")

#: Where rules are looked for.
SOURCES = ("src/m25/**/*.sql", "src/m25/**/*.py")


class Rule(NamedTuple):
    """Take out a rule that has a name where it is kept: a comment, `-- rule: …` or `# rule: …`.

    At the end of a line the comment is about that line. On a line of its own it is about what
    follows: the next line, and those below it that are indented deeper or close its brackets.
    """

    name: str
    #: What is there in its place, if anything.
    instead: str = ""

    def without(self, text: str) -> str:
        """The text of the rule's file, without the rule."""
        return replace_rule(text, self.name, self.instead)

    def files(self, root: Path) -> list[Path]:
        """Where it is: one file, once, if all is right."""
        return named_rules(root).get(self.name, [])


class Text(NamedTuple):
    """Put one text in place of another, in one file."""

    file: str
    before: str
    after: str

    def without(self, text: str) -> str:
        """The text of the file, with the other text in it."""
        return text.replace(self.before, self.after)

    def files(self, root: Path) -> list[Path]:
        """Where it is: one file, if all is right."""
        path = root / self.file
        return [path] if self.before in path.read_text() else []


@cache
def named_rules(root: Path) -> dict[str, list[Path]]:
    """Each rule that has a name, and the files in which it stands, as often as it stands there.

    All are looked for at once: there are hundreds of them, and as many files.
    """
    found: dict[str, list[Path]] = {}
    for path in (path for pattern in SOURCES for path in sorted(root.glob(pattern))):
        for name in re.findall(r"(?:--|#) rule: (.*)$", path.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(path)
    return found


def replace_rule(text: str, name: str, instead: str) -> str:
    """The text with something else in place of a rule."""
    comment = re.search(rf"^( *)(.*?) *(?:--|#) rule: {re.escape(name)}$\n", text, re.MULTILINE)
    assert comment, f"{name!r} is not there"
    indent, said = comment.groups()
    before, after = text[: comment.start()], text[comment.end() :]
    if not said:
        block = re.match(rf"{indent}\S.*\n(?:{indent}(?: +\S|[)\]}}]).*\n)*", after)
        assert block, f"nothing follows {name!r}"
        after = after[block.end() :]
    return before + (f"{indent}{instead}\n" if instead else "") + after


class Mutant(NamedTuple):
    """A promise without what keeps it, and the tests in which that is to show."""

    promise: int
    name: str
    changes: tuple[Rule | Text, ...]
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        1,
        "an enqueue cannot be repeated",
        (Rule("an enqueue can be repeated"),),
        ("tests/enqueue/test_enqueueing.py",),
    ),
    Mutant(
        1,
        "an enqueue of a job without options cannot be repeated",
        (Rule("an enqueue of a plain job can be repeated"),),
        ("tests/store/test_store_enqueue.py",),
    ),
    Mutant(
        1,
        "the same job from another trace is another job",
        (Rule("a trace is no difference"),),
        ("tests/instrumentation/test_opentelemetry.py",),
    ),
    Mutant(
        1,
        "an enqueue from SQL cannot be repeated",
        (Rule("a call from SQL can be repeated"),),
        ("tests/sync/test_enqueue_in_sql.py",),
    ),
    Mutant(
        1,
        "nobody is notified of a job from SQL",
        (Rule("a job from SQL is notified", "null;"),),
        ("tests/sync/test_enqueue_in_sql.py",),
    ),
    Mutant(
        1,
        "many are enqueued one batch after the other",
        (Rule("many are enqueued in one transaction", "if True:"),),
        ("tests/enqueue/test_enqueueing_many.py",),
    ),
    Mutant(
        2,
        "an attempt is settled whatever its status",
        (Rule("an attempt ends once"),),
        ("tests/store",),
    ),
    Mutant(
        2,
        "a job is cancelled whatever its status",
        (Rule("only a pending job is cancelled"),),
        ("tests/enqueue/test_enqueueing.py", "tests/store"),
    ),
    Mutant(
        2,
        "a job that has ended is asked to be cancelled",
        (Rule("only a live job is asked to be cancelled"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        2,
        "a job that has ended is asked for its stack",
        (Rule("a stack is asked of a live job alone"),),
        ("tests/store/test_store_stacks.py",),
    ),
    Mutant(
        3,
        "a forged notification has a stack written that nobody asked for",
        (Rule("a stack is for those who have asked", "and stack is distinct from 'x'"),),
        ("tests/store/test_store_stacks.py",),
    ),
    Mutant(
        2,
        "a request for a stack is forgotten with an earlier one",
        (Rule("a later request stays"),),
        ("tests/store/test_store_stacks.py",),
    ),
    Mutant(
        2,
        "a release loses a cancel that was asked for",
        (Rule("a cancel is not lost"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        2,
        "a lost job forgets that it is to be cancelled",
        (Rule("a lost job's cancel is not lost", "false"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        10,
        "why a handler was cancelled is logged and stored",
        (Rule("no reason of a cancellation is printed", "pass"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "a notification is believed",
        (
            Text(
                "src/m25/_worker/cancels.py",
                "requests = await self._runtime.store.find_cancel_requests(asked)",
                "await self._runtime.store.find_cancel_requests(asked)\n"
                "        from .._store.protocol import CancelRequest\n"
                "        requests = [CancelRequest(job.id, None, None) for job in asked]",
            ),
        ),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "a handler that does not end keeps its job from being cancelled",
        (Rule("a cancel ends", "pass"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "a job that is being cancelled loses its lease",
        (Rule("what is being cancelled is kept alive", "KEPT: Final = (None,)"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        10,
        "a start that takes long uses up the time of setup",
        (Rule("the start is not on the clock of setup", "pass"),),
        ("tests/worker/test_setup.py",),
    ),
    Mutant(
        14,
        "a cancel that comes after the deadline, or the end, takes the place of these",
        (
            Text(
                "src/m25/_worker/executor.py",
                "if self.cancel_reason is None and not"
                " (self._has_returned or self._scope_is_cancelled):",
                "if self.cancel_reason is None:",
            ),
        ),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "a stop releases what is being cancelled, or has it fail",
        (Rule("a stop does not outdo a cancel", "pass"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "what a handler raises while it is being cancelled is lost",
        (Rule("who raises while being cancelled has failed", "if False:"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        14,
        "a handler that returns although cancelled has not succeeded",
        (Rule("who returns although cancelled has succeeded", "return Unfinished.CANCELLED"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        15,
        "others take an exclusive job once its worker's sessions are gone",
        (Rule("no lease is cut short", "token = self._runtime.new_token()"),),
        ("tests/worker/test_exclusive.py",),
    ),
    Mutant(
        15,
        "a lease is counted from its confirmation",
        (
            Rule(
                "a lease is counted from the sending",
                "self._scope.deadline = self._end(trio.current_time())",
            ),
        ),
        ("tests/worker/test_exclusive.py",),
    ),
    Mutant(
        15,
        "an exclusive handler begins although its lease is over",
        (Rule("a handler does not begin late", "if False:"),),
        ("tests/worker/test_exclusive.py",),
    ),
    Mutant(
        15,
        "an exclusive attempt is ended before its handler",
        (Rule("an exclusive attempt ends with its handler", "pass"),),
        ("tests/worker/test_exclusive.py",),
    ),
    Mutant(
        15,
        "a heartbeat that was sent long ago makes a lease shorter",
        (Rule("a lease begins when it is written", "else now() + %(lease)s::interval"),),
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        3,
        "a message goes to whoever asks",
        (Rule("a message goes to the claim that holds its job"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a message that comes after a timeout is received",
        (Rule("what comes after a timeout is not received"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "messages are received in any order",
        (Rule("messages are received in order", "order by message.id desc"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a wait receives one message after the other",
        (Rule("what was received is received once"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a wait whose message a lost call has received waits for another",
        (
            Rule(
                "what a lost call has received is looked at again",
                "answers[number] = NoMessage(step, messages)",
            ),
        ),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a handler is set aside that waits for jobs",
        (Rule("who waits for jobs is not set aside", "False"),),
        ("tests/worker/test_waits.py",),
    ),
    Mutant(
        16,
        "a message wakes nobody",
        (Rule("who waits for a message is woken", "and false"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "messages are sent to jobs that have ended",
        (Rule("nothing is sent to a job that has ended"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a message that is sent again comes twice",
        (
            Rule(
                "a message is sent once",
                "on conflict (job_id, key) do update set key = excluded.key",
            ),
        ),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "messages are not counted",
        (Rule("a message is counted", "messages = coalesce(job.messages, 0),"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        16,
        "a message between a look and a release is slept through",
        (Rule("no message is slept through", "and false"),),
        ("tests/store/test_store_messages.py",),
    ),
    Mutant(
        4,
        "what is to be cancelled is retried",
        (Rule("what is to be cancelled ends"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        4,
        "a failure is told of each attempt",
        (Rule("the end of a chain is told"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        2,
        "a job is changed whatever its status",
        (Rule("only a pending job is changed"),),
        ("tests/store/test_store_moves.py",),
    ),
    Mutant(
        2,
        "a job is started after it has expired",
        (Rule("what has expired is not started", "late: Sequence[JobRow] = ()"),),
        ("tests/client/test_changes.py",),
    ),
    Mutant(
        4,
        "what was being claimed when a setup failed is tried at once",
        (Rule("what was being claimed when a setup failed waits like the rest"),),
        ("tests/worker/test_setup.py",),
    ),
    Mutant(
        1,
        "an end of which no notification came is never found",
        (Rule("what is not notified is asked for", "for wait in ():"),),
        ("tests/client/test_results.py", "tests/simulation"),
    ),
    Mutant(
        1,
        "an end that is notified while it is asked for is missed",
        (Rule("an end that comes meanwhile is not missed", "if False:"),),
        ("tests/client/test_results.py",),
    ),
    Mutant(
        1,
        "a queue that polls often is asked for as seldom as those that others wait for",
        (Rule("who polls often is not kept waiting", "if False:"),),
        ("tests/client/test_results.py",),
    ),
    Mutant(
        1,
        "what came while nobody listened is not asked for",
        (Rule("after a gap all are asked for", "if first_id is False:"),),
        ("tests/client/test_results.py",),
    ),
    Mutant(
        1,
        "what a handler reported last is not written",
        (Rule("the last report is not lost", "pass"),),
        ("tests/worker/test_progress.py",),
    ),
    Mutant(
        11,
        "what cannot be notified cannot be written",
        (Rule("a notification is a hint", "raise failure"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        14,
        "a request that nobody heard waits for a heartbeat",
        (Rule("after a gap any may be to be cancelled"),),
        ("tests/worker/test_cancelling.py",),
    ),
    Mutant(
        1,
        "nobody is notified of the end of a chain",
        (Rule("the end of a chain is notified", "then null"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        1,
        "a waiter that is no channel is notified like others",
        (
            Rule(
                "a waiter that is no channel harms no other job",
                "and waiter is not null",
            ),
        ),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        3,
        "a result is written without its claim's token",
        (
            Rule("an outcome names its claim's token"),
            Rule("an outcome is written to its own claim"),
        ),
        ("tests/store/test_store_outcomes.py",),
    ),
    Mutant(
        3,
        "whatever is written of a claim does not name its token",
        (Rule("a claim's writes name its token"),),
        ("tests/store",),
    ),
    Mutant(
        3,
        "a lease is renewed without its claim's token",
        (Rule("a lease is renewed by its own claim", "where id = any(%(id)s::uuid[])"),),
        ("tests/store",),
    ),
    Mutant(
        3,
        "a job is released without its claim's token",
        (Rule("a job is released by its own claim", "where id = any(%(id)s::uuid[])"),),
        ("tests/store",),
    ),
    Mutant(
        3,
        "two claims take the same rows",
        (Rule("one claim takes a row"),),
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        10,
        "a heartbeat waits for a locked row",
        (
            Rule(
                "a locked row costs its own job alone",
                "for no key update of job",
            ),
        ),
        ("tests/store/test_store_locks.py", "tests/worker/test_locked_rows.py"),
    ),
    Mutant(
        10,
        "a claim is not made sure of before the last lock is gone",
        (
            Rule(
                "a locked row is not waited for to confirm the others",
                "for no key update of job",
            ),
        ),
        ("tests/store/test_store_locks.py",),
    ),
    Mutant(
        10,
        "a result waits for a locked row",
        (
            Rule(
                "a locked row keeps no other result waiting",
                "for no key update of job",
            ),
        ),
        ("tests/store/test_store_locks.py", "tests/worker/test_locked_rows.py"),
    ),
    Mutant(
        10,
        "what a claim took is not released before the last lock is gone",
        (Rule("a locked row is left to its lease", "for no key update"),),
        ("tests/store/test_store_locks.py",),
    ),
    Mutant(
        10,
        "a locked outcome is taken for fenced",
        (Rule("a locked outcome is not fenced"),),
        ("tests/store/test_store_locks.py", "tests/worker/test_locked_rows.py"),
    ),
    Mutant(
        10,
        "what is fenced is taken for locked",
        (Rule("a locked row is its claim's still"),),
        ("tests/store/test_store_locks.py",),
    ),
    Mutant(
        10,
        "what is set for a session is left to a pooler's next client",
        (Rule("strangers inherit nothing"),),
        ("tests/store/test_poolers.py",),
    ),
    Mutant(
        10,
        "sessions of a pooler are taken as they are",
        (Rule("what cannot be set for a session must be so"),),
        ("tests/store/test_poolers.py",),
    ),
    Mutant(
        10,
        "channels are left to a pooler's next client",
        (
            Rule(
                "others behind a pooler hear nothing of ours",
                "await listening.follow({n for each in self._subscribers for n in each.channels})",
            ),
        ),
        ("tests/pg/test_listener.py",),
    ),
    Mutant(
        9,
        "a claim begins its jobs though its worker was cancelled before they came",
        (Rule("who was interrupted is given no rows", "if True:"),),
        ("tests/pg/test_prepared.py",),
    ),
    Mutant(
        10,
        "lease work shares the users' pool",
        (Rule("lease work shares no connection with users", "pass"),),
        ("tests/worker/test_shared_means.py",),
    ),
    Mutant(
        9,
        "a cancellation ends the opening of connections",
        (Rule("who is shielded has one opened", "with trio.CancelScope() as scope:"),),
        ("tests/pg/test_pool.py", "tests/worker/test_stopping.py"),
    ),
    Mutant(
        12,
        "each connection waits for a silent host",
        (Rule("a silent host is tried last"),),
        ("tests/pg/test_connection.py",),
    ),
    Mutant(
        12,
        "a client gives up before each host was tried",
        (Rule("each host is tried before a client gives up", "patience = None"),),
        ("tests/client/test_clients.py",),
    ),
    Mutant(
        10,
        "names are looked up in the threads of users",
        (
            Rule(
                "names are not looked up in threads of users",
                "return await trio.to_thread.run_sync(lookup, abandon_on_cancel=True)",
            ),
        ),
        ("tests/worker/test_shared_means.py",),
    ),
    Mutant(
        3,
        "a claim whose commit was not acknowledged is believed in",
        (Rule("a claim in doubt is made sure of", "pass"),),
        ("tests/worker/test_claims_in_doubt.py",),
    ),
    Mutant(
        3,
        "a result is written before its claim is known to be committed",
        (Rule("an outcome of a claim in doubt is held back", "early = False"),),
        ("tests/worker/test_ledger.py",),
    ),
    Mutant(
        4,
        "a retry does not name its chain",
        (Rule("a retry names its chain", "original_attempt_id,"),),
        ("tests/store",),
    ),
    Mutant(
        4,
        "one attempt too many",
        (Rule("no attempt too many", "else attempt::bigint - losses <= max_attempts"),),
        ("tests/store",),
    ),
    Mutant(
        4,
        "an attempt that was lost is followed by none",
        (Rule("a lost attempt is followed by the next", "then false"),),
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        8,
        "who kills its process takes the same jobs with it each time",
        (Rule("what is lost again goes on apart", "and false"),),
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        4,
        "a delay grows by what was lost",
        (Rule("what was lost makes no delay longer", "counted = row.attempt"),),
        ("tests/worker/test_retrying.py",),
    ),
    Mutant(
        4,
        "what is given up is tried again",
        (Rule("what is given up ends", "pass"),),
        ("tests/worker/test_retrying.py",),
    ),
    Mutant(
        4,
        "what is put off is counted",
        (Rule("what is put off is not counted", "return crash(executor, snooze)"),),
        ("tests/worker/test_retrying.py", "tests/simulation/test_simulation.py"),
    ),
    Mutant(
        23,
        "what is newer is not left to newer workers",
        (Rule("what is newer is left to newer workers", "pass"),),
        ("tests/worker/test_newer_inputs.py",),
    ),
    Mutant(
        23,
        "old workers look at what is newer all the time",
        (Rule("what is newer is looked at every five seconds", "now()"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        23,
        "what is left to newer workers counts as begun",
        (Rule("what is left to newer workers has not begun"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        23,
        "what is left to newer workers spends a token",
        (
            Rule(
                "what is left to newer workers spends no token",
                "set next_start_at = limiter.next_start_at",
            ),
        ),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "a token is given back however late",
        (Rule("a token is not given back late"),),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        23,
        "newer workers are waited for anew each time",
        (Rule("newer workers are waited for once", "then now()"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        23,
        "newer workers are waited for for ever",
        (Rule("newer workers are not waited for for ever"),),
        ("tests/worker/test_newer_inputs.py",),
    ),
    Mutant(
        8,
        "what a claim has left out is looked for late where surveys take long",
        (
            Rule(
                "what a claim has left out is looked for soon",
                "return max(_SHORTEST_GAP, _GAP_PER_DURATION * took)",
            ),
        ),
        ("tests/worker/test_locked_rows.py",),
    ),
    Mutant(
        23,
        "all newer jobs of a queue are looked at together, however many",
        (Rule("a hundred newer jobs are looked at together", "+ interval '0 seconds'"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        23,
        "a newer job is looked at after its time in the line is up",
        (Rule("nothing stands in line for too long", "'infinity'::timestamptz"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        23,
        "a newer worker waits for the turns of what it knows",
        (Rule("a newer worker asks for more of what it knows"),),
        ("tests/worker/test_newer_inputs.py",),
    ),
    Mutant(
        23,
        "every newer input is told of",
        (Rule("newer inputs are told once a minute", "if True:"),),
        ("tests/worker/test_newer_inputs.py",),
    ),
    Mutant(
        4,
        "a queue runs before the database knows whom to tell of its failures",
        (Rule("a queue's on_failure is known before its first claim"),),
        ("tests/worker/test_on_failure.py",),
    ),
    Mutant(
        5,
        "a unique key is held by many",
        (
            Text(
                # A migration that has landed is never edited: no comment can be put there.
                "src/m25/migrations/0002_claims_and_priorities.sql",
                "create unique index job_unique_key_idx",
                "create index job_unique_key_idx",
            ),
        ),
        ("tests/enqueue/test_enqueueing.py",),
    ),
    Mutant(
        6,
        "claims do not count what is running",
        (Rule("a claim counts what runs", "running=more,"),),
        ("tests/worker/test_ledger.py",),
    ),
    Mutant(
        6,
        "what was claimed ahead begins where there is no slot",
        (Rule("what was claimed ahead waits for a slot", "return self.ahead.take(most, now)"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        6,
        "a process of many queues runs as many handlers as these may",
        (Rule("a claim counts what runs of other queues", "    pass"),),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "a queue keeps others from running as long as it has enough to do",
        (Rule("what others wait for is left to them", "if False:"),),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "who has just had a slot of the process is the next to have one",
        (
            Text(
                "src/m25/_worker/ledger.py",
                """        self._claiming = size
        if self._process is not None:
            self._process.leave(self)
""",
                "        self._claiming = size\n",
            ),
        ),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "a queue claims ahead what other queues of its process keep from running",
        (Rule("nothing is claimed ahead of other queues", "if False:"),),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "a slot of the process is claimed for twice while a claim is in doubt",
        (Rule("slots of the process are counted when the claim is sent", "taken = 0"),),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "handlers that waited for jobs never go on where a process has a limit",
        (Rule("who waited takes a slot of the process again", "pass"),),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "a handler that waited for jobs goes on in a slot of the process that its queue has not",
        (
            Rule(
                "who waits for a slot of its queue keeps no other queue waiting",
                "return self.slots.wanted",
            ),
        ),
        ("tests/worker/test_process_slots.py",),
    ),
    Mutant(
        6,
        "as many batches are claimed as if none ran",
        (Rule("a batch takes one slot", "held = 0"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        6,
        "each turn in which a claim begins has batches of its own",
        (Rule("a batch is filled over the turns of its claim", "batch = None"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        6,
        "a backlog is claimed in parts of batches",
        (Rule("a backlog is claimed by whole batches", "return min(slots, LARGEST_CLAIM)"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        13,
        "the jobs of a batch all have the outcome of the first",
        (
            Rule(
                "each job has its own outcome",
                "self.result = self._result_of(self.batch.members[0].row.input, raised)",
            ),
        ),
        ("tests/worker/test_batches.py", "tests/simulation/test_batch_histories.py"),
    ),
    Mutant(
        11,
        "an input that cannot be read fails all of its batch",
        (Rule("an input fails no other job of its batch", "except ZeroDivisionError as error:"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        14,
        "the cancel of one job cancels the handler of its whole batch",
        (Rule("a cancel of one job does not reach the others", "if True:"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        13,
        "outcomes of a batch are taken for jobs that they are not of",
        (Rule("as many outcomes as jobs", "if True:"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        10,
        "a batch goes on past the deadline of one of its jobs",
        (Rule("a batch ends at the first deadline of its jobs"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        10,
        "each batch of a backlog waits for others",
        (Rule("a backlog does not wait", "if False:"),),
        ("tests/worker/test_batches.py",),
    ),
    Mutant(
        7,
        "jobs are claimed before they are due",
        (Rule("not before it is due"),),
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        7,
        "a clock that is set back puts forward what was scheduled",
        (Rule("what was scheduled waits"),),
        ("tests/store/test_store_claim.py",),
    ),
    Mutant(
        7,
        "a retry does not wait",
        (Rule("a retry waits", "now(),"),),
        ("tests/store",),
    ),
    Mutant(
        3,
        "a job is swept although a heartbeat has come since the look",
        (Rule("a heartbeat saves its job", "is not null"),),
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        8,
        "a worker that has connected between two looks is taken for gone",
        (Rule("who has connected again is there", "said = (*key, None)"),),
        ("tests/worker/test_suspicions.py",),
    ),
    Mutant(
        8,
        "leases that are over are not seen",
        (Rule("a lease that is over is seen", "then false"),),
        ("tests/store/test_store_sweep.py",),
    ),
    Mutant(
        8,
        "a job that may start only once begins before its claim is committed",
        (
            Rule(
                "a job that may start only once waits for the commit",
                "early = at_once and self.has_started",
            ),
        ),
        ("tests/worker/test_claims_in_doubt.py", "tests/faults/test_server.py"),
    ),
    Mutant(
        9,
        "a cancellation ends leases before the handlers that it cannot end",
        (
            Rule(
                "leases are kept while a handler runs",
                "services.start_soon(self._heartbeats.run)",
            ),
        ),
        ("tests/client/test_left_under_a_handler.py",),
    ),
    Mutant(
        9,
        "queues claim on after a stop while others start",
        (Rule("after a stop nothing is claimed, whatever still starts", "pass"),),
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        9,
        "a stop waits until all queues have started",
        (
            Rule(
                "what has started before a stop is stopped in an orderly way",
                "await self._start_all(managers, services, nursery, deadline, start_timeout)",
            ),
        ),
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        9,
        "what is cut short is not handed back",
        (Rule("what is cut short is released", "pass"),),
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        9,
        "a thread that goes on is released",
        (Rule("a thread that goes on is not released", "pass"),),
        ("tests/worker/test_threads.py",),
    ),
    Mutant(
        10,
        "a setup fails for ever",
        (Rule("a setup does not fail for ever", "if False:"),),
        ("tests/worker/test_setup.py",),
    ),
    Mutant(
        9,
        "the last writes are not shielded",
        (
            Rule(
                "the last writes are shielded",
                "with trio.CancelScope(deadline=trio.current_time() + bound):\n"
                "                await self._clean_up()",
            ),
        ),
        ("tests/worker/test_stopping.py",),
    ),
    Mutant(
        10,
        "a handler that does not end at its deadline is waited for",
        (Rule("an attempt ends at its deadline", "executor.overrun()"),),
        ("tests/worker/test_hostile_handlers.py",),
    ),
    Mutant(
        10,
        "a `Cancelled` that a handler kept ends the manager",
        (Rule("only a cancellation from outside passes", "if True:"),),
        ("tests/declaring/test_handler.py", "tests/worker/test_hostile_handlers.py"),
    ),
    Mutant(
        11,
        "a row that cannot be decoded is everybody's failure",
        (Rule("an input fails its own attempt", "except ZeroDivisionError as error:"),),
        ("tests/worker/test_poison.py",),
    ),
    Mutant(
        11,
        "a result that cannot be stored keeps the others from being",
        (Rule("an outcome is refused alone", "except ZeroDivisionError as refused:"),),
        ("tests/worker/test_poison.py",),
    ),
    Mutant(
        12,
        "a result is forgotten before the database has it",
        (
            Rule("an outcome is written", "self._ledger.written(owed)"),
            Rule("and forgotten after that", "results = await self._settle(owed)"),
        ),
        ("tests/worker/test_restarts.py", "tests/faults/test_outages.py"),
    ),
    Mutant(
        12,
        "what waits to be written is not kept alive",
        (Rule("what is unwritten is kept alive", "return jobs"),),
        ("tests/worker/test_ledger.py", "tests/worker/test_heartbeats.py"),
    ),
    Mutant(
        12,
        "a session in a wrong state is kept",
        (Rule("a session that is spoilt is closed", "if False:"),),
        ("tests/store/test_failures.py",),
    ),
    Mutant(
        12,
        "sessions of a former primary are lent on",
        (Rule("a session of a former primary is not lent again", "and True"),),
        ("tests/pg/test_pool.py",),
    ),
    Mutant(
        12,
        "a listener stays at a former primary",
        (Rule("who listens leaves a former primary", "if False:"),),
        ("tests/pg/test_listener.py",),
    ),
    Mutant(
        12,
        "a handler's transaction is begun on a former primary",
        (Rule("nothing is begun on a former primary", "if False:"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        12,
        "what a pooler says of its server counts as the handler's failure",
        (Rule("a pooler's loss is an outage", "return False"),),
        ("tests/store/test_failures.py",),
    ),
    Mutant(
        12,
        "a session that cannot begin counts as its user's failure",
        (Rule("a session that cannot begin is replaced", "return False"),),
        ("tests/store/test_failures.py",),
    ),
    Mutant(
        1,
        "a pooler's word is taken for that of the server",
        (Rule("a pooler knows no outcome", "is_poolers = False"),),
        ("tests/pg/test_commits.py",),
    ),
    Mutant(
        1,
        "a commit that was answered is undone by the end of its session",
        (
            Rule(
                "a commit that was answered is not undone by the end of its session",
                "first = results[-1]",
            ),
        ),
        ("tests/pg/test_commits.py",),
    ),
    Mutant(
        13,
        "NUL is sent to the database",
        (
            Text(
                "src/m25/_codec/text.py",
                '"\\\\u0000" not in text',
                "True",
            ),
        ),
        (
            "tests/codec/test_codec_refusals.py",
            "tests/codec/test_codec_roundtrips.py",
            "tests/worker/test_poison.py",
        ),
    ),
    Mutant(
        17,
        "who lost his claim keeps a step",
        (Rule("a step names its claim's token"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "an attempt that has ended keeps a step",
        (Rule("an attempt that has ended keeps no step"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "a locked row keeps all steps waiting",
        (Rule("a locked row keeps no other step waiting", "for no key update of job"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "a step is kept twice",
        (
            Rule(
                "a step is kept once",
                "on conflict (job_id, kind, name, key) do update set output = excluded.output",
            ),
        ),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "a step is asked for while its claim is in doubt",
        (Rule("a claim in doubt keeps no step"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a step is the same whatever it is given",
        (Rule("a step is the same only if its input is", "if False:"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a cancelled handler loses what its step has done",
        (
            Rule(
                "what was done is kept, although its handler is cancelled",
                "answer = await self._keep(new)",
            ),
        ),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a step that raised is another one when it is called again",
        (Rule("a step that is called again is the same", "if False:"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a second step of one key is passed over in silence",
        (Rule("a key is of one step"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "what a kept step has numbered is missing from what comes after it",
        (Rule("a step has numbers of its own", "token = _call.set(None)"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a message that comes as its handler gives up is lost",
        (
            Rule(
                "what was received is known, although its handler is cancelled",
                "answer = await self._receive(wanted)",
            ),
        ),
        ("tests/worker/test_waits.py",),
    ),
    Mutant(
        17,
        "a wait that was cut off is another one when it is called again",
        (Rule("a wait that was cut off goes on", "if False:"),),
        ("tests/worker/test_waits.py",),
    ),
    Mutant(
        17,
        "a wait that is refused sets its job aside all the same",
        (Rule("a wait that is refused cancels nothing", "if True:"),),
        ("tests/worker/test_waits.py",),
    ),
    Mutant(
        17,
        "a job expires that has begun",
        (Rule("what has begun does not expire", "when true"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        17,
        "a wait within a timeout of the handler's own outlasts it",
        (Rule("who waits in a scope that ends is not set aside"),),
        ("tests/worker/test_waits.py",),
    ),
    Mutant(
        17,
        "a fenced transaction is committed",
        (Rule("a fenced transaction is rolled back", "if False:"),),
        ("tests/worker/test_transactional.py",),
    ),
    Mutant(
        17,
        "what a job has set on its session is there for the next",
        (
            Rule(
                "nothing of a job's session is left to the next",
                "commands = label + command",
            ),
        ),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "a success is written as whoever the handler has made itself",
        (Rule("m25 writes as its own role"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "handlers have the settings of m25's statements",
        (Rule("handlers have no settings of m25's", "users = hook"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "what is deferred runs under the settings of m25's statements",
        (
            Rule(
                "what is deferred runs before its job's row is locked",
                "set constraints all deferred",
            ),
        ),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "a transaction that a handler has begun by hand is committed",
        (Rule("a transaction that a handler has begun is not committed", "if False:"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "a session that commits is ended by others",
        (Rule("a commit under way is left to end"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "an outage under a transactional handler is counted",
        (Rule("an outage within a transaction is not counted", "return False"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "a step whose connection was lost fails its job",
        (Rule("a step whose connection was lost is done again"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        17,
        "a commit without an answer is taken for a failure",
        (Rule("a commit without an answer is looked up", "if False:"),),
        ("tests/worker/test_transactional.py",),
    ),
    Mutant(
        17,
        "a commit in doubt is forgotten",
        (Rule("a commit in doubt is released"),),
        ("tests/worker/test_transactional.py",),
    ),
    Mutant(
        17,
        "a frozen transaction keeps its locks",
        (Rule("no frozen transaction keeps locks", "pass"),),
        ("tests/faults/test_effects.py",),
    ),
    Mutant(
        17,
        "a heartbeat does not save its transaction",
        (Rule("a heartbeat saves its transaction", "is not null"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        17,
        "an outage at the end of a transaction is counted",
        (Rule("an outage at the end is not counted", "if False:"),),
        ("tests/worker/test_transactional.py",),
    ),
    Mutant(
        17,
        "what a second transaction has written is committed beside the first's",
        (Rule("a kept step commits nothing", "if isinstance(answer, Kept):"),),
        ("tests/worker/test_kept_steps.py",),
    ),
    Mutant(
        17,
        "a step of a locked row is lost",
        (Rule("a step of a locked row is not lost", "else Fenced(id)"),),
        ("tests/store/test_store_steps.py",),
    ),
    Mutant(
        18,
        "an outage fails the job that starts others",
        (Rule("who starts jobs outlasts an outage", "if False:"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a start that was refused cannot be tried again with its key",
        (Rule("what was not started gives its key back"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a block is left while a job of it is being started",
        (Rule("a block waits for what it is starting", "return bool(self._live)"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "what a run does not find again goes on after its nursery",
        (Rule("what a run does not find again ends with its nursery", "pass"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a nursery ends what another one of its job has started",
        (Rule("a nursery ends what is its own"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a start that is called again starts another job",
        (Rule("a start that is called again is the same", "if False:"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a start that is cancelled leaves its job behind",
        (
            Rule(
                "a start that was sent is answered, although its block is cancelled",
                "return await ask()",
            ),
        ),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        17,
        "a handler that ends its own session runs for ever",
        (Rule("sessions are not lost for ever", "if False:"),),
        ("tests/worker/test_transactional_sessions.py",),
    ),
    Mutant(
        18,
        "a start does not wait for the key of a job that is cancelled",
        (Rule("the key of a job that is cancelled is waited for", "return False"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a tree's cancel waits for the locks of strangers",
        (Rule("a tree's cancel waits for no lock", "for no key update"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a job ends although something below it goes on",
        (Rule("a job does not end before what it has started", "pass"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a tree's cancel is asked for again and again",
        (Rule("a tree's cancel is done once"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a cancel reaches one floor",
        (Rule("a cancel goes down the tree", "and false"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a worker that lost its claim cancels jobs",
        (Rule("who has lost its job cancels none below it"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a worker that lost its claim starts jobs",
        (Rule("a child is started by its parent's own claim"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "what is to be cancelled goes on starting jobs",
        (Rule("what is to be cancelled starts no more children"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a parent is not known as one",
        (Rule("a parent is known as one", "where false"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a pending job is cancelled without what it has started",
        (Rule("what has started others is cancelled with these"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a lost claim ends the top of a tree alone",
        (Rule("a tree is not ended by its top alone"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a job that became a parent is swept as another",
        (Rule("a job is swept as the parent that it is"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a cancel goes down a tree once",
        (
            Rule(
                "a tree's cancel is repeated until nothing is left",
                "return Descendants(tuple(reached))",
            ),
        ),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a job ends in another transaction than what it has started",
        (Rule("a tree ends with its top", "return await self._run(steps, pooled)"),),
        ("tests/store/test_store_trees.py",),
    ),
    Mutant(
        18,
        "a job fails as its cancel reaches its children first",
        (Rule("a job that is cancelled does not fail by its children's cancels", "pass"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a nursery's block is left while its jobs go on",
        (Rule("what a nursery has started ends before it", "pass"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "any number of handlers wait without a slot",
        (Rule("handlers without a slot are bounded", "if False:"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a handler that has waited goes on without a slot",
        (Rule("who waited takes a slot again", "self.slots.grant(1_000)"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        10,
        "a job sees what another handler has set in its context",
        (Rule("what a handler sets is not there in the next job's context"),),
        ("tests/worker/test_crew.py",),
    ),
    Mutant(
        10,
        "a job is cancelled by what is left of another job's cancellation",
        (Rule("what is left of a job's cancellation does not reach the next job"),),
        ("tests/worker/test_kept_scopes.py",),
    ),
    Mutant(
        10,
        "a job runs in a scope that another handler has left open",
        (Rule("a scope that a handler has left open does not reach the next job"),),
        ("tests/worker/test_kept_scopes.py",),
    ),
    Mutant(
        10,
        "a job that has ended cancels the one that follows it",
        (Rule("who has ended cancels no other", "pass"),),
        ("tests/worker/test_kept_scopes.py",),
    ),
    Mutant(
        10,
        "so much is claimed ahead as one claim may bring",
        (Rule("no more is claimed ahead than is run soon", "wanted = self._most"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        10,
        "a long job that has just ended counts as many short ones",
        (Rule("nothing is claimed ahead of long jobs", "if seconds >= _SHORTEST_COUNT:"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        10,
        "what was claimed ahead is kept from others while jobs are slow",
        (Rule("what does not begin soon is given back", "found: list[AheadJob] = []"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        9,
        "a stop leaves to its lease what was claimed ahead",
        (Rule("a stop gives back what was claimed ahead"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        14,
        "a job that was claimed ahead runs though its cancel was asked for",
        (Rule("what was claimed ahead is cancelled, too"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        3,
        "a job that may start only once is claimed ahead of its slot",
        (Rule("a job that may start only once is not claimed ahead", "may_claim = True"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        8,
        "what was lost before is claimed ahead once more",
        (Rule("no job is lost twice without having begun", "self._jobs.extend(jobs)"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        8,
        "what was lost before is given back and claimed ahead, over and over",
        (Rule("what was lost before is claimed for slots alone"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        12,
        "what no input can hold is looked for, and seems to be the database's failure",
        (
            Rule(
                "what no input can hold is not looked for",
                "return json.dumps(where, allow_nan=False)",
            ),
        ),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        20,
        "jobs that were claimed ahead begin although their queue is paused",
        (
            Rule("a pause holds what was claimed ahead"),
            Text(
                "src/m25/_worker/claimer.py",
                "not self._ledger.ahead or self._hint.may_be_paused:",
                "not self._ledger.ahead:",
            ),
        ),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        2,
        "a job that was claimed ahead is started although it has expired since",
        (Rule("what expires before it has a slot is not started"),),
        ("tests/worker/test_ahead.py",),
    ),
    Mutant(
        2,
        "newer workers are waited for anew since a job was claimed ahead",
        (Rule("what was claimed ahead stays in its line"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        10,
        "a job that was claimed ahead may lose sessions without end",
        (Rule("what was claimed ahead keeps its losses"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        2,
        "a job that was claimed ahead and given back does not expire",
        (Rule("what was claimed ahead expires as ever"),),
        ("tests/store/test_store_holding.py",),
    ),
    Mutant(
        10,
        "a job that waits holds up those that began with it",
        (Rule("who waits holds up no other"),),
        ("tests/worker/test_crew.py",),
    ),
    Mutant(
        10,
        "jobs are left where the one before them was cancelled, or has set something",
        (Rule("a cancelled job is not the end of others", "if False:"),),
        ("tests/worker/test_crew.py",),
    ),
    Mutant(
        18,
        "a cancelled handler waits for a slot",
        (Rule("a cancelled handler needs no slot", "if True:"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a job ends without what this attempt has started",
        (Rule("who may have children is ended as a parent"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a stop cancels what a job has started",
        (Rule("a stop leaves what was started"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        18,
        "a retry finds what has failed, again and again",
        (Rule("what has failed with its parent is started anew", "return id, rows[id]"),),
        ("tests/worker/test_nurseries.py",),
    ),
    Mutant(
        19,
        "a skipped time runs when it would have been",
        (Rule("a skipped time is moved", "pass"),),
        ("tests/model/test_ticks.py",),
    ),
    Mutant(
        19,
        "a schedule asked in the second pass names a time of the first",
        (Rule("no tick lies before another", "if True:"),),
        ("tests/model/test_ticks.py",),
    ),
    Mutant(
        19,
        "a tick is claimed by whoever asks",
        (Rule("a tick is claimed once"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a schedule has its ticks by each declaration",
        (Rule("an older declaration does not tick"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a schedule is not known to have changed",
        (Rule("who declared a schedule otherwise does not tick"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a paused schedule ticks",
        (Rule("a paused schedule does not tick"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a tick comes early",
        (Rule("no tick comes early"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "ticks of a pause run after it",
        (Rule("what comes in a pause does not run after it", "then last_tick"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a tick meets the job before",
        (Rule("a tick waits for the job before"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a schedule that is locked keeps all others waiting",
        (Rule("a locked schedule delays no other", "for no key update of schedule"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a schedule is said to be declared as it is by who has declared it otherwise",
        (Rule("none but who declared a schedule like this renews it"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        19,
        "a tick that others have has a job all the same",
        (Rule("a tick's job comes with its claim"),),
        ("tests/store/test_store_schedules.py",),
    ),
    Mutant(
        7,
        "a paused queue gives jobs",
        (Rule("a paused queue gives no job", "true"),),
        ("tests/store/test_store_pauses.py",),
    ),
    Mutant(
        7,
        "a pause begins anew each time that it is asked for",
        (Rule("a pause goes on from when it began", "paused_at = now(),"),),
        ("tests/store/test_store_pauses.py",),
    ),
    Mutant(
        20,
        "claims under one limit count at the same time",
        (Rule("claims under one limit come one after the other"),),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "more run than the limit",
        (
            Rule(
                "no more than the limit",
                "size.size - coalesce((select number - 1 from taken where key = ''), 0)",
            ),
        ),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "more of a key run than the limit",
        (
            Rule(
                "no more of a key than the limit",
                ") <= (select size from size) + 1 - coalesce(taken.number, 0)",
            ),
        ),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "what a former key has held up is let go by nobody",
        (Rule("what is held up in vain is let go"),),
        ("tests/worker/test_limits.py",),
    ),
    Mutant(
        20,
        "a turn comes to be later than a time can be",
        (Rule("no turn is later than a time can be"),),
        ("tests/store/test_store_rates.py",),
    ),
    Mutant(
        20,
        "the record of a job that is held up has the year 9000",
        (Rule("a record says for when a job was scheduled, though it is held up"),),
        ("tests/worker/test_limits.py",),
    ),
    *(
        Mutant(24, name, (Rule(rule, instead),), ("tests/store/test_store_order.py",))
        for name, rule, instead in (
            (
                "what is skipped holds its key",
                "what is skipped holds its key no more",
                "where false",
            ),
            (
                "what is skipped holds its key in memory",
                "in memory, too, what is skipped holds its key no more",
                "",
            ),
        )
    ),
    *(
        Mutant(24, name, (Rule(rule, instead),), ("tests/store/test_store_order.py",))
        for name, rule, instead in (
            (
                "a job is kept for a key though there is no order",
                "where there is no order no key stands still",
                "",
            ),
            (
                "a job is kept for a key in memory though there is no order",
                "in memory, too, where there is no order no key stands still",
                "",
            ),
        )
    ),
    *(
        Mutant(20, name, (Rule(rule, instead),), ("tests/store/test_store_limits.py",))
        for name, rule, instead in (
            (
                "what is put off is still held up",
                "what is put off is held up no more",
                "",
            ),
            (
                "what is put off is still held up in memory",
                "in memory, too, what is put off is held up no more",
                "",
            ),
        )
    ),
    *(
        Mutant(20, name, (Rule(rule, instead),), ("tests/store/test_store_declared.py",))
        for name, rule, instead in (
            (
                "an older worker takes a queue's options back",
                "who was started last says what a queue is",
                "",
            ),
            (
                "an older worker takes a limit's size back",
                "who was started last says how large a limit is",
                "",
            ),
            (
                "an older worker takes a queue's options back in memory",
                "in memory, too, who was started last says what a queue is",
                "said = worker.queues",
            ),
            (
                "an older worker takes a limit's size back in memory",
                "in memory, too, who was started last says how large a limit is",
                "theirs = set[str | None]()",
            ),
            (
                "what a former key has held up stays so",
                "what was held up by a former key is let go",
                "then queue.keys_changed_at",
            ),
            (
                "what a former key has held up stays so in memory",
                "in memory, too, what was held up by a former key is let go",
                "pass",
            ),
            (
                "nobody looks for what a claim under way holds up by a former key",
                "a claim may hold jobs up by a former key for a moment",
                "",
            ),
            (
                "what is held up by a former key goes before the limit of its own",
                "what is held up by a former key waits until it is let go",
                "",
            ),
            (
                "what is held up by a former key goes before the limit of its own in memory",
                "in memory, too, what is held up by a former key waits until it is let go",
                "if row.id not in self._table.locked",
            ),
            (
                "what is in the line of a former key goes by its clock",
                "what is in the line of a former key waits until it is let go",
                "",
            ),
            (
                "what is in no line is held up for ever",
                "what is in no line is let go",
                "",
            ),
            (
                "without a key jobs are held up",
                "without a key no job is held up",
                "",
            ),
            (
                "without a key jobs are held up in memory",
                "in memory, too, without a key no job is held up",
                "if True:",
            ),
        )
    ),
    *(
        Mutant(24, name, (Rule(rule, instead),), ("tests/store/test_store_fair.py",))
        for name, rule, instead in (
            ("a fair queue has no limit", "a queue of keys keeps to its limit", "then 2147483647"),
            (
                "what is put without a lane never has one",
                "what has no lane is given one",
                "where id = any(array(select id from new)) and false",
            ),
            ("what waits in a lane is claimed too early", "in a lane, too, a job is due", ""),
            (
                "what runs of a key does not count",
                "the fewer of a key run, the sooner it comes",
                "",
            ),
            (
                "what a key has had does not count",
                "the less a key has had of late, the sooner it comes",
                "",
            ),
            ("weights do not count", "a key has as much as its weight says", "),"),
            ("a job waits for ever in its lane", "in no lane a job waits for ever", ""),
        )
    ),
    *(
        Mutant(26, name, (Rule(rule, instead),), (f"tests/{where}",))
        for name, rule, instead, where in (
            (
                "two of a key run at once",
                "of a key one job runs",
                "select order_key from running where false",
                "store/test_store_order.py",
            ),
            (
                "of a key any job comes first",
                "the first of a key comes first",
                "order by order_number desc",
                "store/test_store_order.py",
            ),
            (
                "what is behind a job that is not due overtakes it",
                "a head that is not due holds its key",
                "",
                "store/test_store_order.py",
            ),
            (
                "what has failed holds nothing",
                "what has failed holds what is behind",
                "and false",
                "store/test_store_order.py",
            ),
            (
                "an attempt that is followed by another stops its key",
                "what has failed for good holds its key",
                "",
                "store/test_store_order.py",
            ),
            (
                "what was cancelled stops its key",
                "what was cancelled holds nothing",
                "",
                "store/test_store_order.py",
            ),
            (
                "a child that has failed stops its key",
                "a child's failure is its parent's affair",
                "",
                "store/test_store_order.py",
            ),
            (
                "what is retried goes on to hold its key",
                "a retry lets its key go on",
                "where false",
                "store/test_store_order.py",
            ),
            (
                "what is put without a place never has one",
                "what has no place is given one",
                "where false",
                "store/test_store_order.py",
            ),
            (
                "a key goes on since its failed job was pruned",
                "a job is kept while its key stands still for it",
                "",
                "store/test_store_order.py",
            ),
            (
                "a job from SQL has no place",
                "a job from SQL has its place",
                "null",
                "sync/test_enqueue_in_sql.py",
            ),
        )
    ),
    Mutant(
        20,
        "more begin than the rate",
        (Rule("no more begin than the rate", "end + 1 as number"),),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "a token is spent twice",
        (Rule("a token is spent once", ""),),
        ("tests/store/test_store_limits.py",),
    ),
    *(
        Mutant(20, name, (Rule(rule, instead),), (test,))
        for name, rule, instead, test in (
            (
                "a clock lets one too many run",
                "by a clock, too, no more than the limit",
                "size.size",
                "tests/store/test_store_rates.py",
            ),
            (
                "of a clock all is saved up",
                "of a clock no more than the burst is saved up",
                "'-infinity'",
                "tests/store/test_store_rates.py",
            ),
            (
                "a job overtakes those of its key that are held up",
                "no job overtakes those of its key that are held up",
                "true as is_in_order,",
                "tests/store/test_store_rates.py",
            ),
            (
                "a heavy job is as cheap as others",
                "each job pays its cost",
                "0 as before",
                "tests/store/test_store_rates.py",
            ),
            (
                "more of a key begin than its rate",
                "no more of a key begin than its rate",
                "",
                "tests/store/test_store_rates.py",
            ),
            (
                "what is too early for its key is walked over again and again",
                "what is too early for its key is walked over once",
                "scheduled_at = job.scheduled_at",
                "tests/store/test_store_rates.py",
            ),
            (
                "a clock's token is spent twice",
                "a clock's token is spent once",
                "clock.start_at",
                "tests/store/test_store_rates.py",
            ),
            (
                "clocks of idle keys stay for ever",
                "clocks of idle keys are dropped",
                "and false",
                "tests/store/test_store_rates.py",
            ),
            (
                "a line that nobody is in is looked at for ever",
                "a line that nobody is in is looked at no more",
                "and false",
                "tests/store/test_store_rates.py",
            ),
            (
                "what was held up by a rate and then put off begins at once",
                "what somebody has put off waits for its time",
                "",
                "tests/store/test_store_rates.py",
            ),
            (
                "a clock that was put off is put back",
                "a clock that was put off comes no sooner",
                "set next_start_at = excluded.next_start_at",
                "tests/store/test_store_rates.py",
            ),
            (
                "a rate that was put off is put back",
                "a rate that was put off comes no sooner",
                "set next_start_at = now() + (select max(delay) from wanted)",
                "tests/store/test_store_rates.py",
            ),
            (
                "whoever takes turns has all that was ever saved up",
                "whoever takes turns has no more of the burst than jobs",
                "now() - interval '1 year'",
                "tests/store/test_store_rates.py",
            ),
            (
                "whoever takes a turn pays for one job",
                "whoever takes a turn pays for it",
                "start_at + make_interval(secs => seconds)",
                "tests/store/test_store_rates.py",
            ),
            (
                "a delay for the whole rate is for one job",
                "a delay for the whole rate is written",
                "pass",
                "tests/worker/test_rates.py",
            ),
            (
                "what a process that is gone has held up waits for ever",
                "what a process that is gone has held up is found",
                "pass",
                "tests/worker/test_rates.py",
            ),
        )
    ),
    Mutant(
        20,
        "jobs of a full key are walked over again and again",
        (Rule("a full key is walked over once", "scheduled_at = job.scheduled_at"),),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "what was held up and then put off begins at once",
        (Rule("what somebody has put off waits"),),
        ("tests/store/test_store_limits.py",),
    ),
    Mutant(
        20,
        "room is found by the next poll",
        (Rule("room is used as soon as it is there", "pass"),),
        ("tests/worker/test_limits.py",),
    ),
    Mutant(
        20,
        "more begin than end",
        (Rule("no more begin than end", "others,"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "no place is left to others",
        (Rule("each has a turn", "where false"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "a place that others wait for is never empty",
        (Rule("a place that is left comes to be empty"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "jobs wait for a place while there is another",
        (Rule("what could run elsewhere does not wait here", "when true"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "who waits for a place takes one more",
        (Rule("jobs of one place take one", "select key, count(*) as number"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "what is released keeps the place that others have",
        (
            Text(
                "src/m25/_store/columns.py",
                '"place": Column("uuid", of_claim=True)',
                '"place": Column("uuid")',
            ),
        ),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "two jobs of one place run at once",
        (Rule("no two jobs of one place run at once", "is_free = True"),),
        ("tests/worker/test_places.py",),
    ),
    Mutant(
        8,
        "jobs wait behind one that was lost before",
        (Rule("behind a job that was lost before nobody waits", "if False:"),),
        ("tests/worker/test_places.py",),
    ),
    Mutant(
        3,
        "a job that may start only once waits for a place",
        (Rule("a job that may start only once does not wait for a place"),),
        ("tests/worker/test_places.py",),
    ),
    Mutant(
        20,
        "who waits puts its turn off",
        (Rule("who waits keeps a turn"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "a turn waits for the limit's lock",
        (Rule("a turn keeps no result waiting", "for no key update"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "what runs beyond a limit that was made smaller goes on",
        (Rule("a smaller limit is come down to", ") * 0"),),
        ("tests/store/test_store_places.py",),
    ),
    Mutant(
        20,
        "a session that is gone ends the lease of what was passed on",
        (Rule("no limited lease is cut short", "token = self._runtime.new_token(named=True)"),),
        ("tests/worker/test_passing_on.py",),
    ),
    Mutant(
        20,
        "room that another process has made is found by the next poll",
        (Rule("room that others make is found", "pass"),),
        ("tests/worker/test_limits.py",),
    ),
    *(
        Mutant(20, name, (Rule(rule, instead),), ("tests/store/test_store_holders.py",))
        for name, rule, instead in (
            (
                "what is held outside of jobs is not counted",
                "who holds a place outside of a job is counted",
                "select key, id from outside where false",
            ),
            (
                "who waits outside of a job has no turn",
                "who waits outside of a job has a turn",
                "and false",
            ),
            (
                "a place is left for ever to who waits no more",
                "no place is left to who is gone",
                "",
            ),
            (
                "jobs that have waited are kept from claiming",
                "jobs that have waited have the next turn",
                "",
            ),
            (
                "more hold places than the limit",
                "no more hold places than the limit",
                "where ranked.beyond <= 1",
            ),
            ("jobs have no turn beside holders", "jobs have a turn, too", "limit 0"),
            (
                "who waits has every turn",
                "after each turn it is that of others",
                "when asked_at is null or asked_at <= now() - interval '3 seconds'",
            ),
            ("places that are held are looked at", "a place whose lease is over is seen", ""),
            ("a place is swept that was renewed", "a renewal saves its place", ""),
        )
    ),
    *(
        Mutant(20, name, (Rule(rule, instead),), ("tests/client/test_holders.py",))
        for name, rule, instead in (
            (
                "places are renewed on the connections of users",
                "places are renewed on a connection of their own",
                "self._lease_pool = self._pool",
            ),
            (
                "queues without limits ask for holders",
                "queues without limits ask for no holders",
                "has_limits = True",
            ),
            (
                "a block outlasts its lease",
                "a block ends before its place is given away",
                "self.scope.deadline = self.ends_at + self.lease",
            ),
            (
                "who stops waiting leaves a place that nobody has",
                "who stops waiting leaves nothing behind",
                "pass",
            ),
            (
                "a cancelled block keeps its place",
                "a place is given back as its block is left",
                "is_released = await self._release(place.limiter, [place.id])",
            ),
            (
                "a handler waits for its own place",
                "no handler waits for its own place",
                "and False",
            ),
        )
    ),
    Mutant(
        21,
        "a key has no lock",
        (Rule("a key is locked before anybody takes it", "on conflict do nothing"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "who puts a job does not take its key",
        (Rule("who puts a job takes its key", "job_id = held_key.job_id,"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "what has begun has its input replaced",
        (Rule("what has begun keeps its input"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "a job does not wait for what it follows",
        (Rule("a job waits for what it follows"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "a claim does not say that a job has begun",
        (Rule("a job that was claimed has begun", "has_begun = has_begun"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "a rerun is lost",
        (Rule("a job that runs is followed by one more", "return Decision.REFUSE"),),
        ("tests/simulation/test_reruns.py",),
    ),
    Mutant(
        21,
        "an old enqueue is done again",
        (Rule("an old enqueue changes nothing", "answers: dict[int, UniqueAnswer] = {}"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        21,
        "a claim that was undone is confirmed though the input may be another",
        (Rule("an undone claim of a job that may have another input by now stays undone"),),
        ("tests/store/test_store_unique.py",),
    ),
    Mutant(
        22,
        "what a job has started is pruned before it",
        (Rule("a job is kept as long as that which started it"),),
        ("tests/store/test_store_pruning.py",),
    ),
    Mutant(
        22,
        "a tree is pruned of which something is live",
        (Rule("a tree of which something is live is kept", "having true"),),
        ("tests/store/test_store_pruning.py",),
    ),
    Mutant(
        22,
        "a part of a tree is pruned",
        (Rule("a tree is pruned as a whole", "having true"),),
        ("tests/store/test_store_pruning.py",),
    ),
    Mutant(
        22,
        "what has ended just now is pruned",
        (Rule("a job is kept for its time", "and latest.ended_at < now()"),),
        ("tests/store/test_store_pruning.py",),
    ),
    Mutant(
        4,
        "two retries of an operator's at once are two attempts",
        (Rule("of two retries one counts"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        4,
        "a job that is live or has succeeded is retried",
        (Rule("what has succeeded or is live is not retried"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        4,
        "an attempt that was followed by another is found as a job",
        (Rule("a job is found as its latest attempt"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        4,
        "an attempt that was followed by another is counted as a job",
        (Rule("a job is counted as its latest attempt"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        18,
        "who is told of a job fails for the same input",
        (Rule("who is told of a job can read of it, whatever its input"),),
        ("tests/worker/test_on_failure.py",),
    ),
    Mutant(
        4,
        "an attempt that failed and was followed is counted as a success",
        (Rule("no attempt that has failed is a success"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        18,
        "a job is retried without that which started it",
        (Rule("what another has started is not retried"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        21,
        "a retry takes a key from another",
        (Rule("a retry takes no key from another"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        22,
        "a job is deleted that is retried meanwhile",
        (Rule("what is retried meanwhile is not deleted"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        22,
        "a job is deleted without that which started it",
        (Rule("a job is deleted with that which started it", "where true"),),
        ("tests/store/test_store_operator.py",),
    ),
    Mutant(
        25,
        "a form of another session is taken",
        (Rule("a form repeats its session's text", "return csrf is not None"),),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        25,
        "a form of another site is taken",
        (Rule("what another site sends is refused", "if False:"),),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        25,
        "a private dashboard is shown to all",
        (Rule("what is private is shown to those who have signed in", "return True"),),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        25,
        "the dashboard answers to any name",
        (Rule("the dashboard answers to its own names", "if False:"),),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        25,
        "the dashboard asks without a pause",
        (Rule("a question is followed by a pause"),),
        ("tests/web/test_dashboard.py",),
    ),
    Mutant(
        25,
        "a stream outlasts its server",
        (Rule("a stream ends when the server stops"),),
        ("tests/web/test_dashboard.py",),
    ),
)


class Found(NamedTuple):
    """What has become of a mutant."""

    mutant: Mutant
    #: The first test that failed, or did not end.
    test: str | None
    #: What the tests said where they could not be run.
    trouble: str
    seconds: float

    def __str__(self) -> str:
        said = self.test or ("COULD NOT BE TRIED" if self.trouble else "NOT NOTICED")
        return f"{self.mutant.promise:2}  {self.mutant.name}: {said} ({self.seconds:.0f} s)"


def copy_project(directory: Path) -> None:
    """A copy to take rules out of; a mutant need compile no more than what it changes."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    # By their contents, since two changes within a second may leave a file's length as it was.
    by_contents = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(directory / "src", quiet=1, invalidation_mode=by_contents)


def texts_without(mutant: Mutant, root: Path) -> dict[Path, str]:
    """The files in which the rule is kept, as they are without it."""
    texts: dict[Path, str] = {}
    for change in mutant.changes:
        (path,) = change.files(root)
        texts[path] = change.without(texts.get(path) or path.read_text())
    return texts


@contextmanager
def taken_out(mutant: Mutant, project: Path) -> Generator[None]:
    """In this copy of the project the rule is missing, until the block is left."""
    after = texts_without(mutant, project)
    before = {path: path.read_text() for path in after}
    for path, text in after.items():
        path.write_text(text)
    try:
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


async def try_out(mutant: Mutant, project: Path, server: str) -> Found:
    """Run the mutant's tests, until one fails: the slow ones where no other does."""
    began = time.monotonic()
    code, said = -1, f"the tests did not end within {TIMEOUT} seconds"
    with taken_out(mutant, project), trio.move_on_after(TIMEOUT):
        for marks in ("not slow and not long", "slow"):
            code, said = await run_tests(mutant, project, server, marks)
            if code not in {0, NO_TESTS}:
                break
    test = first_to_fail(said) if code == 1 else None
    trouble = "" if test or code in {0, NO_TESTS} else said
    return Found(mutant, test, trouble, time.monotonic() - began)


async def run_tests(mutant: Mutant, project: Path, server: str, marks: str) -> tuple[int, str]:
    """Run those of the mutant's tests that have these marks: pytest's code, and what it said."""
    done = await trio.run_process(
        [
            *(sys.executable, "-m", "pytest", "-xv", "-p", "no:cacheprovider", "-m", marks),
            *("--timeout", str(TEST_TIMEOUT), *mutant.tests),
        ],
        cwd=project,
        env={
            **os.environ,
            "M25_TEST_DSN": server,
            "PYTHONPATH": str(project / "src"),
            "PYTHONDONTWRITEBYTECODE": "",
        },
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def first_to_fail(said: str) -> str | None:
    """The first test that failed, or did not end, by what pytest said."""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+::\S+)", said, re.MULTILINE)
    if not failed and "Timeout" in said:
        # It ends the program; the test is the last that began.
        failed = re.findall(r"^(\S+::\S+)", said, re.MULTILINE)[-1:]
    return failed[0] if failed else None


async def try_all(mutants: list[Mutant]) -> list[Found]:
    """Try them side by side, and tell of each as soon as it is known."""
    waiting = iter(mutants)
    found: list[Found] = []

    async def side(server: str) -> None:
        with tempfile.TemporaryDirectory(prefix="m25-mutants-") as directory:
            project = Path(directory)
            copy_project(project)
            for mutant in waiting:
                found.append(await try_out(mutant, project, server))
                print(found[-1], flush=True)

    async with embedded.postgres(settings=SETTINGS) as server, trio.open_nursery() as nursery:
        for _ in range(SIDE_BY_SIDE):
            nursery.start_soon(side, server)
    return found


def main() -> int:
    parts = sys.argv[1:] or [""]
    mutants = [
        each
        for each in MUTANTS
        if any(part in " ".join((each.name, *each.tests)) for part in parts)
    ]
    for mutant in mutants:
        for change in mutant.changes:
            if len(change.files(ROOT)) != 1:
                sys.exit(f"{mutant.name!r}: {change} is not there, or more than once")
    if MEMORY.is_dir():
        tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)
    began = time.monotonic()
    found = trio.run(try_all, mutants)
    noticed = [each for each in found if each.test]
    for each in found:
        if each.trouble:
            print(f"\n{each}:\n{each.trouble[-2000:]}")
    for each in found:
        if each not in noticed:
            print(each)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(noticed)} of {len(found)} noticed, in {minutes:.0f} minutes")
    return len(noticed) < len(found)


if __name__ == "__main__":
    sys.exit(main())
