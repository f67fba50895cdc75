"""What the calls of the store ask of a database, without any I/O; long, since all are here.

Each call is a generator: it yields the statements it needs, one after the other, is sent the rows
of each, and returns the call's answer. Who runs it, and on what kind of connection, is a driver's
affair; a driver is a few lines (`PostgresStore` has one for Trio):

    statement = next(steps)
    while True:
        statement = steps.send(run(statement))  # until StopIteration, which has the answer
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import psycopg

from .._timestamps import duration_from_text, duration_to_text
from .claimed_rows import claimed_rows
from .columns import COLUMNS, GIVEN, OPTIONAL, SHARED
from .failures import sort_error
from .parameters import array, interval, plain_array, timestamp
from .protocol import (
    SILENCE,
    CancelRequest,
    Change,
    ClaimedJob,
    Due,
    Enqueued,
    Exists,
    Fenced,
    Held,
    JobRow,
    Kept,
    Locked,
    NewJob,
    NewStep,
    Outcome,
    PassedOn,
    Pause,
    Position,
    Release,
    SetAside,
    Started,
    StepRow,
    Suspect,
    Swept,
    SweptQueue,
    Unserved,
    Watched,
    Worker,
    WriteResult,
    Written,
)

T = TypeVar("T")

Rows: TypeAlias = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One statement to be run."""

    #: That of its file in `sql/`.
    name: str
    parameters: Mapping[str, str | None]
    #: To be called with the rows, too, before the steps go on: at best while the statement is being
    #: committed, as nobody else can have these rows any more.
    on_rows: Callable[[Rows], None] | None = None
    #: Whoever asks is to know whether it was committed: once it is sent, a cancellation waits for
    #: the answer.
    is_awaited: bool = False
    #: Another that is run before it in the same transaction, and sent along with it; its rows are
    #: of no interest.
    after: Statement | None = None


Steps: TypeAlias = Generator[Statement, Rows, T]

#: Whether those are notified whom it concerns. That is only a hint: a statement that fails by it is
#: repeated without.
NOTIFIES: Final = {"notifies": "true"}

#: How often an insert is tried whose unique key was held, and then by nobody once it was looked up.
TRIES: Final = 5


def _boolean(value: bool | None) -> str | None:
    return None if value is None else "true" if value else "false"


def _interval(seconds: str | None) -> str | None:
    """Seconds as an interval. Before PostgreSQL 15 no number in one may exceed four bytes."""
    return None if seconds is None else interval(duration_from_text(seconds))


class _Writer(NamedTuple):
    """How what is given of a type is written."""

    #: One value; `None` where it is text already.
    one: Callable[[Any], str | None] | None
    #: An array of what `one` has made.
    many: Callable[[Iterable[Any]], str]


_WRITERS: Final[Mapping[str, _Writer]] = {
    "uuid": _Writer(None, array),
    "integer": _Writer(str, plain_array),
    "smallint": _Writer(str, plain_array),
    "text": _Writer(None, array),
    "boolean": _Writer(_boolean, array),
    "jsonb": _Writer(None, array),
    "timestamptz": _Writer(timestamp, array),
    "interval": _Writer(interval, array),
}
#: By column that is given, in the order of `NewJob`.
_GIVEN: Final = tuple(
    # An id is always there.
    (name, _Writer(None, plain_array) if name == "id" else _WRITERS[COLUMNS[name].type])
    for name in GIVEN
)
#: Of these, the ones that are not text.
_WRITTEN: Final = tuple((name, write.one) for name, write in _GIVEN if write.one is not None)
_options_of: Final[Callable[[NewJob], tuple[object, ...]]] = attrgetter(*OPTIONAL)
_NO_OPTIONS: Final = (None,) * len(OPTIONAL)

#: What `settle` writes, by the names in the table.
_OUTCOME_COLUMNS: Final = tuple(
    "claim_token" if name == "token" else name
    for name in Outcome._fields
    if name not in ("children_of", "rate_hold")
)


def _successes(outcomes: Sequence[Outcome]) -> dict[str, str | None]:
    return {
        "id": plain_array([one.id for one in outcomes]),
        "token": plain_array([one.token for one in outcomes]),
        "output": array([one.output for one in outcomes]),
    }


def _all_results(
    outcomes: Sequence[Outcome], results: dict[str, WriteResult]
) -> Steps[dict[str, WriteResult]]:
    """What became of each outcome, by what is known of those that were written."""
    if len(results) < len(outcomes):
        others = [ClaimedJob(one.id, one.token) for one in outcomes if one.id not in results]
        found = yield Statement("find_settled", _columns(others))
        results.update((id, WriteResult(result)) for id, result in found)
    return results


def session_name(claim: ClaimedJob) -> str:
    """The `application_name` of a session while it has a handler's transaction open, of this claim.

    By it others find the session, should its process stand still, without a column for it in the
    job's row. It is 53 characters long, and the server cuts off what is behind 63.
    """
    # The half of the token that is random: the other is that of the worker.
    return f"m25 {claim.id.replace('-', '')} {claim.token[18:].replace('-', '')}"


class Backend(NamedTuple):
    """The server's process that answers, and its server."""

    pid: int
    client_encoding: str
    array_nulls: str
    #: What the server says that it is.
    version: str
    has_citus: bool
    #: The setting of the session that m25's statements are not written for, if there is one.
    unfit: str | None


class Calls:
    """The calls of the store on the job table of one schema, as steps.

    What each does, takes and returns is said by the method of the same name of `Store`.
    """

    def __init__(self, schema: str) -> None:
        # A service has few queues, and a digest takes longer than the parameters of an enqueue.
        self._channel = functools.lru_cache(maxsize=1_000)(functools.partial(_channel, schema))

    def channel(self, queue_name: str) -> str:
        """The channel on which the workers of a queue are notified."""
        return self._channel(queue_name)

    def channels(self, queue_names: Sequence[str]) -> str:
        """The same of several, as an array."""
        return plain_array(map(self.channel, queue_names))

    def backend(self) -> Steps[Backend]:
        """Who answers, what its session makes of text and of arrays, and what its server is."""
        (row,) = yield Statement("backend", {})
        return Backend._make(row)

    def find_distributed(self, schema: str) -> Steps[list[str]]:
        """Which tables of the schema Citus has in its care."""
        rows = yield Statement("find_distributed", {"schema": schema})
        return [table for (table,) in rows]

    def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        lock_wait: timedelta | None = None,
    ) -> Steps[list[Enqueued | Exists | Held]]:
        answers: dict[int, Enqueued | Exists | Held] = {}
        left: Mapping[int, NewJob] = dict(enumerate(jobs))
        tries = 0
        while left:
            answered = len(answers)
            first = left if len(left) == 1 else without_repeats(left)
            rows = yield self._insert([*first.values()], notify, lock_wait)
            if len(rows) == len(jobs) == 1:
                return [Enqueued(rows[0][1])]
            created = {id: created_at for id, created_at, _ in rows}
            if len(created) == len(jobs):
                # As it nearly always is: all were inserted at once.
                return [Enqueued(created[job.id]) for job in jobs]
            for position, job in first.items():
                if job.id in created:
                    answers[position] = Enqueued(created[job.id])
            left = {at: job for at, job in left.items() if at not in answers}
            if left:
                answers.update((yield from self.find_taken(left)))
                left = {at: job for at, job in left.items() if at not in answers}
            tries = tries + 1 if len(answers) == answered else 0
            if tries == TRIES:
                error = psycopg.OperationalError(
                    f"{len(left)} jobs could not be inserted in {TRIES} tries: their unique keys "
                    "are taken and given up faster than they can be looked up"
                )
                raise sort_error("enqueue", error)
        return [answers[position] for position in range(len(jobs))]

    def find_taken(self, jobs: Mapping[int, NewJob]) -> Steps[dict[int, Exists | Held]]:
        """Of jobs that were not inserted, those whose id is there, or whose key is held."""
        taken: dict[int, Exists | Held] = {}
        positions = list(jobs)
        rows = yield Statement("find_existing", given_arrays(list(jobs.values())))
        for number, differs, *row in rows:
            taken[positions[number - 1]] = Exists(JobRow._make(row), tuple(differs))
        keys = {
            job.unique_key
            for position, job in jobs.items()
            if position not in taken and job.unique_key is not None
        }
        if keys:
            rows = yield Statement("find_key_holders", {"unique_key": array(keys)})
            holders = {key: Held(id) for key, id in rows}
            for position, job in jobs.items():
                if position not in taken and job.unique_key in holders:
                    taken[position] = holders[job.unique_key]
        return taken

    def _insert(
        self, jobs: Sequence[NewJob], notify: Sequence[str], lock_wait: timedelta | None
    ) -> Statement:
        parameters: dict[str, Any]
        if len(jobs) == 1 and len(notify) <= 1:
            (job,) = jobs
            parameters = dict(zip(GIVEN, job, strict=True))
            for name, write in _WRITTEN:
                if (value := parameters[name]) is not None:
                    parameters[name] = write(value)
            parameters["channel"] = self.channel(notify[0]) if notify else None
            if lock_wait is None and _options_of(job) == _NO_OPTIONS:
                return Statement("enqueue_plain", parameters, is_awaited=True)
            parameters["lock_wait"] = milliseconds(lock_wait)
            return Statement("enqueue_one", parameters, is_awaited=True)
        parameters = given_arrays(jobs)
        parameters["channels"] = self.channels(notify)
        parameters["lock_wait"] = milliseconds(lock_wait)
        return Statement("enqueue", parameters, is_awaited=True)

    def get(self, ids: Sequence[str]) -> Steps[dict[str, JobRow]]:
        rows = yield Statement("get", {"id": plain_array(ids)})
        return {row[0]: JobRow._make(row) for row in rows}

    def latest(self, ids: Sequence[str]) -> Steps[dict[str, JobRow]]:
        rows = yield Statement("latest", {"id": plain_array(ids)})
        return {asked: JobRow._make(row) for asked, *row in rows}

    def attempts(self, id: str) -> Steps[list[JobRow]]:
        rows = yield Statement("attempts", {"id": id})
        return list(map(JobRow._make, rows))

    def waiters_channel(self) -> str:
        """The channel of jobs for which several processes wait."""
        # No queue has a name that begins so.
        return self.channel("\0waiters")

    def room_channel(self) -> str:
        """The channel of those who wait for places of limits outside of jobs."""
        return self.channel("\0room")

    def watch(self, ids: Sequence[str], waiter: str) -> Steps[dict[str, Watched]]:
        parameters = {
            "id": plain_array(ids),
            "waiter": waiter,
            "all_waiters": self.waiters_channel(),
        }
        rows = yield Statement("watch", parameters)
        return {asked: Watched(JobRow._make(row), bool(watched)) for asked, watched, *row in rows}

    def cancel(
        self,
        id: str,
        queue_name: str,
        by: str | None = None,
        reason: str | None = None,
        lock_wait: timedelta | None = None,
        *,
        with_children: bool = False,
    ) -> Steps[JobRow | None]:
        parameters = {
            "id": id,
            "queue_name": queue_name,
            "by": by,
            "reason": reason,
            "with_children": _boolean(with_children),
            "lock_wait": milliseconds(lock_wait),
        }
        rows = yield Statement("cancel", {**parameters, **NOTIFIES}, is_awaited=True)
        return JobRow._make(rows[0][:-1]) if rows else None

    def change(
        self,
        id: str,
        queue_name: str,
        change: Change,
        lock_wait: timedelta | None = None,
    ) -> Steps[JobRow | None]:
        parameters = {
            "id": id,
            "queue_name": queue_name,
            "reschedule": _boolean(change.reschedule),
            "scheduled_at": timestamp(change.scheduled_at),
            "priority": None if change.priority is None else str(change.priority),
            "channel": self.channel(queue_name),
            "lock_wait": milliseconds(lock_wait),
        }
        rows = yield Statement("change", {**parameters, **NOTIFIES})
        return JobRow._make(rows[0][:-1]) if rows else None

    def request_cancel(
        self,
        id: str,
        queue_name: str,
        by: str | None = None,
        reason: str | None = None,
        lock_wait: timedelta | None = None,
    ) -> Steps[JobRow | None]:
        parameters = {
            "id": id,
            "queue_name": queue_name,
            "by": by,
            "reason": reason,
            "channel": self.channel(queue_name),
            "lock_wait": milliseconds(lock_wait),
        }
        rows = yield Statement("request_cancel", {**parameters, **NOTIFIES}, is_awaited=True)
        return JobRow._make(rows[0][:-1]) if rows else None

    def find_cancel_requests(self, claims: Sequence[ClaimedJob]) -> Steps[list[CancelRequest]]:
        rows = yield Statement("find_cancel_requests", _columns(claims))
        return list(map(CancelRequest._make, rows))

    def claim(
        self,
        queue_name: str,
        *,
        token: str,
        limit: int,
        lease: timedelta,
        start: bool,
        after: Sequence[Position],
        on_rows: Callable[[Sequence[JobRow]], None] | None,
    ) -> Steps[list[JobRow]]:
        parameters = {
            "queue_name": queue_name,
            "claim_token": token,
            "limit": str(limit),
            "lease": interval(lease),
            "start": "true" if start else "false",
        }
        name = "claim"
        if after:
            name = "claim_after"
            parameters["priority"] = plain_array(position.priority for position in after)
            parameters["run_at"] = plain_array(position.run_at for position in after)
            parameters["id"] = plain_array(position.id for position in after)
        if on_rows is None:
            rows = yield Statement(name, parameters)
            return claimed_rows(rows, queue_name, start=start)
        claimed: list[JobRow] = []

        def make(rows: Rows) -> None:
            claimed.extend(claimed_rows(rows, queue_name, start=start))
            on_rows(claimed)

        yield Statement(name, parameters, make)
        return claimed

    def set_limit(self, limiter: str, size: int | None) -> Steps[bool]:
        parameters = {
            "limiter": limiter,
            "room_channel": self.room_channel(),
            "size": None if size is None else str(size),
        }
        rows = yield Statement("set_limit", {**parameters, **NOTIFIES})
        return bool(rows)

    def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> Steps[Written]:
        rows = yield Statement("confirm", {**_columns(claims), "lease": interval(lease)})
        ids = {id for (id,) in rows}
        return Written(ids, (yield from find_locked(claims, ids, or_pending=True)))

    def release_claims(self, queue_name: str, tokens: Sequence[str]) -> Steps[list[str]]:
        parameters = {"queue_name": queue_name, "claim_token": plain_array(tokens)}
        rows = yield Statement("release_claims", {**parameters, **NOTIFIES})
        return [id for id, _ in rows]

    def start(
        self, claims: Sequence[ClaimedJob], lease: timedelta
    ) -> Steps[list[Started | Locked]]:
        rows = yield Statement("start", {**_columns(claims), "lease": interval(lease)})
        answers: list[Started | Locked] = list(map(Started._make, rows))
        locked = yield from find_locked(claims, {started.id for started in answers})
        return answers + [Locked(id) for id in locked]

    def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> Steps[Written]:
        parameters = {
            **_columns(claims),
            "lease": interval(lease),
            "reserved_timeout": interval(reserved_timeout),
        }
        rows = yield Statement("heartbeat", parameters)
        ids = {id for id, _, _ in rows}
        to_cancel = {id for id, is_to_cancel, _ in rows if is_to_cancel}
        stacks_asked = {id for id, _, is_asked in rows if is_asked}
        return Written(ids, (yield from find_locked(claims, ids)), to_cancel, stacks_asked)

    def report(self, claims: Sequence[ClaimedJob], progress: Sequence[str]) -> Steps[Written]:
        rows = yield Statement("report", {**_columns(claims), "progress": array(progress)})
        ids = {id for (id,) in rows}
        return Written(ids, (yield from find_locked(claims, ids)))

    def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> Steps[dict[str, WriteResult]]:
        if not outcomes:
            return {}
        if [one for one in outcomes if one.failure_reason is not None]:
            results = yield from self._settle(outcomes, allowed_losses)
        else:
            rows = yield Statement("succeed", {**_successes(outcomes), **NOTIFIES})
            results = dict.fromkeys([id for id, _ in rows], WriteResult.SETTLED)
        return (yield from _all_results(outcomes, results))

    def _settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> Steps[dict[str, WriteResult]]:
        columns = zip(*outcomes, strict=True)
        # The last of an outcome's fields is not written: `children_of`.
        written = dict(zip(_OUTCOME_COLUMNS, map(array, columns), strict=False))
        written["retry_after"] = array(
            [None if (one := each.retry_after) is None else _interval(one) for each in outcomes]
        )
        rows = yield Statement(
            "settle", {**written, **NOTIFIES, "allowed_losses": str(allowed_losses)}
        )
        return {
            id: WriteResult.RETRIED
            if has_next_attempt
            else WriteResult.STOPPED
            if stops_key
            else WriteResult.SETTLED
            for id, has_next_attempt, stops_key, _, _ in rows
        }

    def succeed_and_claim(
        self,
        outcomes: Sequence[Outcome],
        queue_name: str,
        *,
        limiter: str,
        token: str,
        limit: int,
        ahead: int,
        leaving: str | None,
        lease: timedelta,
    ) -> Steps[PassedOn]:
        rows = yield Statement(
            "succeed_and_claim",
            {
                **_successes(outcomes),
                **NOTIFIES,
                "queue_name": queue_name,
                "limiter": limiter,
                "room_channel": self.room_channel(),
                "claim_token": token,
                "begin": str(limit),
                "ahead": str(ahead),
                "leaving": leaving,
                "limit": str((1 + ahead) * len(outcomes)),
                "lease": interval(lease),
                "start": "true",
            },
        )
        # A row is of an attempt that has ended, or of a job that was claimed.
        ended = [row[0] for row in rows if row[0] is not None]
        results = yield from _all_results(outcomes, dict.fromkeys(ended, WriteResult.SETTLED))
        found = [row[8:] for row in rows if row[8] is not None]
        return PassedOn(
            results,
            claimed_rows(found, queue_name, start=True),
            has_turned=any(row[2] for row in rows),
            leaving=rows[0][5] if rows else None,
            has_room=any(row[6] for row in rows),
            places={row[8]: row[7] for row in rows if row[7] is not None},
        )

    def find_steps(self, job_ids: Sequence[str]) -> Steps[dict[str, list[StepRow]]]:
        rows = yield Statement("find_steps", {"job_id": plain_array(job_ids)})
        found: dict[str, list[StepRow]] = {}
        for job_id, *row in rows:
            found.setdefault(job_id, []).append(StepRow._make(row))
        return found

    def keep_steps(self, steps: Sequence[NewStep]) -> Steps[list[Kept | Locked | Fenced]]:
        rows = yield Statement("keep_steps", _step_columns(steps))
        answers: dict[int, Kept | Locked | Fenced] = {
            number: Kept(StepRow._make(row), is_new=True) for number, *row in rows
        }
        others = [number for number in range(1, len(steps) + 1) if number not in answers]
        if others:
            left = [steps[number - 1] for number in others]
            rows = yield Statement("find_kept", _step_columns(left))
            number: int
            for number, is_fenced, is_kept, *row in rows:
                at: int = number - 1
                id = left[at].id
                answers[others[at]] = (
                    Fenced(id)
                    if is_fenced
                    else Kept(StepRow._make(row), is_new=False)
                    if is_kept
                    else Locked(id)  # rule: a step of a locked row is not lost
                )
        return [answers[number] for number in range(1, len(steps) + 1)]

    def end_transactions(self, suspects: Sequence[Suspect]) -> Steps[dict[str, bool]]:
        # A job of the original's worker has no token, and its handler no transaction of ours.
        ours = [(one.id, one.token, one.lease_expires_at) for one in suspects if one.token]
        if not ours:
            return {}
        parameters = {
            "name": array(session_name(ClaimedJob(id, token)) for id, token, _ in ours),
            "id": plain_array(id for id, _, _ in ours),
            "claim_token": plain_array(token for _, token, _ in ours),
            "lease_expires_at": array(lease for _, _, lease in ours),
        }
        rows = yield Statement("end_transactions", parameters)
        return dict(rows)

    def release(self, releases: Sequence[Release], notify: Sequence[str]) -> Steps[Written]:
        claims = [ClaimedJob(release.id, release.token) for release in releases]
        parameters = {
            **_columns(claims),
            "delay": array(_interval(release.delay) for release in releases),
            "setup_failed": plain_array(_boolean(release.setup_failed) for release in releases),
            "cancel_reason": array(release.cancel_reason for release in releases),
            **_aside_columns([release.set_aside for release in releases]),
            "is_newer": plain_array(_boolean(release.is_newer) for release in releases),
            "session_lost": plain_array(_boolean(release.session_lost) for release in releases),
            "claimed_ahead": plain_array(_boolean(release.claimed_ahead) for release in releases),
            "channels": self.channels(notify),
        }
        rows = yield Statement("release", {**parameters, **NOTIFIES})
        ids = {id for id, _, _ in rows}
        cancelled = {id for id, is_cancelled, _ in rows if is_cancelled}
        return Written(ids, (yield from find_locked(claims, ids)), cancelled)

    def find_suspects(self, queues: Sequence[SweptQueue], limit: int) -> Steps[list[Suspect]]:
        parameters = {
            "queue_name": array(queue.name for queue in queues),
            "margin": array(interval(queue.margin) for queue in queues),
            "reserved_timeout": array(interval(queue.reserved_timeout) for queue in queues),
            "limit": str(limit),
        }
        rows = yield Statement("find_suspects", parameters)
        return list(map(Suspect._make, rows))

    def sweep(
        self, queues: Sequence[SweptQueue], suspects: Sequence[Suspect]
    ) -> Steps[list[Swept]]:
        parameters = {
            "queue_name": array(queue.name for queue in queues),
            "allowed_losses": plain_array(queue.allowed_losses for queue in queues),
            "reserved_timeout": array(interval(queue.reserved_timeout) for queue in queues),
            "id": plain_array(suspect.id for suspect in suspects),
            "claim_token": array(suspect.token for suspect in suspects),
            "lease_expires_at": array(suspect.lease_expires_at for suspect in suspects),
            "has_children": plain_array(
                _boolean(suspect.children_of is not None) for suspect in suspects
            ),
        }
        rows = yield Statement("sweep", {**parameters, **NOTIFIES})
        return [Swept._make(row[:-2]) for row in rows]

    def announce(self, worker: Worker, listener_pid: int | None) -> Steps[list[str]]:
        """Say that a worker is there, by its own session and by the one that listens for it."""
        queues = worker.queues
        parameters = {
            "id": worker.id,
            "version": worker.version,
            "queue_name": array(queue.name for queue in queues),
            "default_job_timeout": array(interval(queue.default_job_timeout) for queue in queues),
            "default_max_attempts": plain_array(queue.default_max_attempts for queue in queues),
            "default_retry_delay": array(interval(queue.default_retry_delay) for queue in queues),
            "on_failure": array(queue.on_failure for queue in queues),
            "channel": plain_array(self.channel(queue.name) for queue in queues),
            "limiter": array(queue.limiter for queue in queues),
            "limit_size": array(
                None if queue.limit_size is None else str(queue.limit_size) for queue in queues
            ),
            "rate_interval": array(
                None if queue.rate_interval is None else duration_to_text(queue.rate_interval)
                for queue in queues
            ),
            "rate_burst": array(
                None if queue.rate_burst is None else str(queue.rate_burst) for queue in queues
            ),
            "limit_path": array(
                None if queue.limit_path is None else array(queue.limit_path) for queue in queues
            ),
            "lane_path": array(
                None if queue.lane_path is None else array(queue.lane_path) for queue in queues
            ),
            "rate_path": array(
                None if queue.rate_path is None else array(queue.rate_path) for queue in queues
            ),
            "cost_path": array(
                None if queue.cost_path is None else array(queue.cost_path) for queue in queues
            ),
            "order_path": array(
                None if queue.order_path is None else array(queue.order_path) for queue in queues
            ),
            "holds_failed": array(_boolean(queue.holds_failed) for queue in queues),
            "listener_pid": None if listener_pid is None else str(listener_pid),
            "silence": interval(SILENCE),
        }
        ((changed,),) = yield Statement("announce", parameters)
        return sorted(changed)

    def dismiss(self, worker_id: str, silence: timedelta) -> Steps[None]:
        yield Statement("dismiss", {"id": worker_id, "silence": interval(silence)})

    def find_unserved(self, waiting: timedelta, silence: timedelta) -> Steps[list[Unserved]]:
        parameters = {"waiting": interval(waiting), "silence": interval(silence)}
        rows = yield Statement("find_unserved", parameters)
        return list(map(Unserved._make, rows))

    def survey(self, queue_names: Sequence[str]) -> Steps[dict[str, Due]]:
        rows = yield Statement("survey", {"queue_name": array(queue_names)})
        return {
            name: Due(due_in, misdated, None if paused_at is None else Pause(paused_at, reason))
            for name, due_in, misdated, paused_at, reason in rows
        }

    def redate(self, queue_names: Sequence[str], limit: int) -> Steps[list[str]]:
        parameters = {"queue_name": array(queue_names), "limit": str(limit)}
        rows = yield Statement("redate", parameters)
        return [name for (name,) in rows]

    def recall_newer(self, queue_name: str, limit: int) -> Steps[int]:
        parameters = {"queue_name": queue_name, "limit": str(limit)}
        ((recalled,),) = yield Statement("recall_newer", parameters)
        return int(recalled)

    def notify(self, queue_names: Sequence[str]) -> Steps[None]:
        yield Statement("notify", {"channels": self.channels(queue_names)})


def find_locked(
    claims: Sequence[ClaimedJob], written: AbstractSet[str], *, or_pending: bool = False
) -> Steps[set[str]]:
    """Of the claims whose rows were not written, the ids of those that somebody has locked."""
    others = [claim for claim in claims if claim.id not in written]
    if not others:
        return set()
    parameters = {**_columns(others), "or_pending": "true" if or_pending else "false"}
    rows = yield Statement("find_locked", parameters)
    return {id for (id,) in rows}


def _channel(schema: str, queue_name: str) -> str:
    # A queue's name may be longer than the 63 bytes of a channel's, and hold any character.
    digest = hashlib.sha256(f"{schema}\0{queue_name}".encode()).hexdigest()
    return f"m25_{digest[:32]}"


def _columns(claims: Sequence[ClaimedJob]) -> dict[str, str]:
    return {
        "id": plain_array([claim.id for claim in claims]),
        "claim_token": plain_array([claim.token for claim in claims]),
    }


def _aside_columns(set_aside: Sequence[SetAside | None]) -> dict[str, str]:
    return {
        "until": array(None if one is None else one.until for one in set_aside),
        "awaits": array(None if one is None else one.awaits for one in set_aside),
        "messages": array(None if one is None else str(one.messages) for one in set_aside),
    }


def _step_columns(steps: Sequence[NewStep]) -> dict[str, str]:
    return {
        "id": plain_array(step.id for step in steps),
        "claim_token": plain_array(step.token for step in steps),
        "job_id": plain_array(step.job_id for step in steps),
        "kind": array(step.kind for step in steps),
        "name": array(step.name for step in steps),
        "key": array(step.key for step in steps),
        "fingerprint": array(step.fingerprint for step in steps),
        "until_in": array(
            None if step.until_in is None else interval(step.until_in) for step in steps
        ),
        "output": array(step.output for step in steps),
    }


def given_arrays(jobs: Sequence[NewJob]) -> dict[str, Any]:
    """What is given of many jobs, column by column.

    An option that none of the jobs has is not there, and what all have the same of is there once:
    `{given_of_each}` in a statement is what each job has.
    """
    return {
        name: _given_array(name, write, values)
        for (name, write), values in zip(_GIVEN, zip(*jobs, strict=True), strict=True)
    }


def _given_array(name: str, write: _Writer, values: tuple[Any, ...]) -> str | None:
    first = values[0]
    # Where the last differs, the others need not be looked at.
    if first == values[-1] and values.count(first) == len(values):
        if first is None:
            return None
        if name in SHARED:
            values = (first,)
    return write.many(values if write.one is None else map(write.one, values))


def without_repeats(jobs: Mapping[int, NewJob]) -> Mapping[int, NewJob]:
    """The jobs but for those that have an id or a key of one before them.

    What becomes of those depends on what became of the one before.
    """
    ids: set[str] = set()
    keys: set[str] = set()
    first: dict[int, NewJob] = {}
    for position, job in jobs.items():
        if job.id not in ids and job.unique_key not in keys:
            first[position] = job
        ids.add(job.id)
        if job.unique_key is not None:
            keys.add(job.unique_key)
    return first


@functools.lru_cache(16)
def milliseconds(lock_wait: timedelta | None) -> str | None:
    return None if lock_wait is None else str(max(1, lock_wait // timedelta(milliseconds=1)))
