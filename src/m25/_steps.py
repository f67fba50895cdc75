"""What a job's handler does once: kept under the job, and not done again by later attempts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final, NoReturn, Protocol, TypeVar

import psycopg
import trio

from ._codec import Undecodable
from ._completion import complete
from ._errors import JobRecordFetchJsonDecodeError, UsageError, ValueRefused
from ._in_transaction import in_transaction, refuse_in_transaction
from ._job import JobId
from ._lock_waits import lock_pauses
from ._runtime import Runtime
from ._step_errors import ClaimLost, StepChanged
from ._step_names import Call, StepNames, check_name
from ._step_types import StepTypes
from ._store.failures import (
    RowRefused,
    StatementFailed,
    brief,
    is_ended_for_itself,
    sort_error,
)
from ._store.protocol import (
    ClaimedJob,
    Fenced,
    Kept,
    Locked,
    NewReceive,
    NewStep,
    NoMessage,
    StepRow,
    Transaction,
)
from ._within_step import within_step
from .pg._wire import CLEAN_UP

T = TypeVar("T")

#: The kind of plain steps and of those in a transaction: their names are of one space.
STEP: Final = "step"
#: The kinds of waits.
SLEEP: Final = "sleep"
RECEIVE: Final = "receive"


class Attempt(Protocol):
    """The running attempt, as its steps know it."""

    @property
    def job(self) -> ClaimedJob: ...

    @property
    def has_ended(self) -> bool:
        """Whether its handler has ended."""
        ...

    async def until_claimed(self) -> None:
        """Wait until its claim is known to be committed: before that all it writes is fenced."""
        ...

    def fence(self) -> None:
        """Cancel its handler: the database says that its claim is lost."""
        ...


class JobSteps:
    """The steps of one attempt's job.

    Args:
        job_id: the id of the job's first attempt.
    """

    def __init__(self, attempt: Attempt, job_id: str, runtime: Runtime) -> None:
        self._attempt = attempt
        self._job_id = job_id
        self._runtime = runtime
        #: By kind, name and key; `None` until they were read.
        self._kept: dict[tuple[str, str, str], StepRow] | None = None
        #: When that was, by Trio's clock.
        self._read_at = 0.0
        self._reading = trio.Lock()
        self._names = StepNames()

    async def step(
        self, name: str, function: Callable[..., Awaitable[Any]], args: Any, key: str | None
    ) -> Any:
        """See `RunningJob.step`."""
        refuse_in_transaction("job.step()")
        types = self._runtime.step_functions.types_of(name, function)
        with self._open(name, key, function, types, args) as new:
            kept = await self.find(STEP, name, new.key)
            if kept is None:
                with within_step(name, new.key):
                    value = await function(*args)
                kept = await self.keep(self._with_output(new, types, value))
            return self._read(kept, new, types)

    async def transact(
        self, name: str, function: Callable[..., Awaitable[Any]], args: Any, key: str | None
    ) -> Any:
        """See `RunningJob.transact`."""
        refuse_in_transaction("job.transact()")
        types = self._runtime.transact_functions.types_of(name, function)
        with self._open(name, key, function, types, args) as new:
            kept = await self.find(STEP, name, new.key)
            if kept is None:
                kept = await self._transact(new, types, partial(_call, function, args))
            return self._read(kept, new, types)

    # For whatever is kept over attempts

    async def find(self, kind: str, name: str, key: str) -> StepRow | None:
        """What is kept of a step, if anything. All of a job are read at once, when this is first
        called; while the database does not answer, it is asked again.
        """
        async with self._reading:
            if self._kept is None:
                rows = await self._persist(partial(self._runtime.step_batches.find, self._job_id))
                self._kept = {(row.kind, row.name, row.key): row for row in rows}
                self._read_at = trio.current_time()
        return self._kept.get((kind, name, key))

    def is_kept(self, kind: str, name: str, key: str) -> bool:
        """Whether a step is known to be kept, and if it is a wait for a message, one that came."""
        row = self._kept.get((kind, name, key)) if self._kept is not None else None
        return row is not None and (kind != RECEIVE or row.output is not None)

    async def keep(self, new: NewStep) -> StepRow:
        """Keep a step, and return what is kept: of a step that was there already, that one.

        What was done is to be kept, also where the handler is cancelled meanwhile: for five seconds
        at most.

        Raises:
            ClaimLost: another process has the job, or it has ended; the handler is cancelled.
            ValueRefused: the database does not take its output.
        """
        try:
            # rule: what was done is kept, although its handler is cancelled
            answer = await complete(partial(self._keep, new), CLEAN_UP)
        except trio.TooSlowError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise
        except RowRefused as refused:
            raise self._refused(new, refused) from refused.__cause__
        if isinstance(answer, Fenced):
            await self._lose()
        self._note(answer.step)
        return answer.step

    async def receive(self, name: str, key: str, timeout: timedelta | None) -> StepRow | NoMessage:
        """Receive a message to the job, which is kept as a step: see `Store.receive`.

        The statement that is under way may receive it, also where the handler is cancelled
        meanwhile; so its answer is waited for, for five seconds at most.

        Raises:
            ClaimLost: as `keep` does.
        """
        wanted = NewReceive(*self._attempt.job, self._job_id, name, key, timeout)
        try:
            # rule: what was received is known, although its handler is cancelled
            answer = await complete(partial(self._receive, wanted), CLEAN_UP)
        except trio.TooSlowError:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise
        if isinstance(answer, Fenced):
            await self._lose()
        if isinstance(answer, Kept):
            self._note(answer.step)
            return answer.step
        return answer

    def seconds_left(self, kept: StepRow) -> float:
        """How far ahead the time of a step is that an earlier run has kept; negative once past."""
        return (kept.seconds_left or 0.0) - (trio.current_time() - self._read_at)

    def new(self, kind: str, name: str, key: str, **columns: Any) -> NewStep:
        """A step of this attempt's."""
        return NewStep(*self._attempt.job, self._job_id, kind, name, key, **columns)

    # How it is done

    @contextmanager
    def _open(
        self, name: str, key: str | None, function: object, types: StepTypes, args: Any
    ) -> Generator[NewStep]:
        """A block in which a step is done, or looked up; yields it without its output.

        Raises:
            UsageError: it cannot be a step of this job's now.
        """
        if self._attempt.has_ended:
            raise UsageError(f"step {name!r}: the handler of this job has ended")
        check_name(name, "a step's name")
        if key is not None:
            check_name(key, f"the key of step {name!r}")
        fingerprint = types.fingerprint(name, args)
        with self._names.used(name, key, Call(function, fingerprint)) as use:
            try:
                yield self.new(STEP, name, use.key, fingerprint=fingerprint)
            finally:
                use.is_kept = self.is_kept(STEP, name, use.key)

    async def _transact(
        self, new: NewStep, types: StepTypes, call: Callable[[Any], Awaitable[Any]]
    ) -> StepRow:
        """Do a step in a transaction, and commit both; again, where the connection is lost.

        Where a commit was not answered, the transaction may still go on at the server. A second one
        then waits at the job's row until it has ended, and finds the step there, or keeps it.
        """
        tries = self._runtime.tries()
        is_in_doubt = False
        await self._attempt.until_claimed()
        while True:
            try:
                kept = await self._transact_once(new, types, call)
            except RowRefused as refused:
                raise self._refused(new, refused) from refused.__cause__
            except StatementFailed as failure:
                if not failure.is_outage:
                    raise failure.__cause__ or failure from None
                is_in_doubt = is_in_doubt or failure.outcome_is_unknown
                await trio.sleep(tries.failed(failure))
                found = await self._find_again(new) if is_in_doubt else None
            except Exception:
                # What the first transaction has written may be in the way of the second.
                found = await self._find_again(new) if is_in_doubt else None
                if found is None:
                    raise
            else:
                tries.worked()
                return kept
            if found is not None:
                return found

    async def _transact_once(
        self, new: NewStep, types: StepTypes, call: Callable[[Any], Awaitable[Any]]
    ) -> StepRow:
        async with self._runtime.store.transaction(self._attempt.job) as transaction:
            try:
                with in_transaction("job.transact()"):
                    value = await call(transaction.connection)
            except Exception as error:
                # rule: a step whose connection was lost is done again
                if transaction.is_lost and not is_ended_for_itself(error):
                    lost = psycopg.OperationalError(f"the connection was lost: {brief(error)}")
                    raise sort_error("transact", lost) from lost
                raise
            answer = await self._keep_in(transaction, self._with_output(new, types, value))
            if isinstance(answer, Kept) and answer.is_new:  # rule: a kept step commits nothing
                await transaction.commit()
        # If it was not committed, it was rolled back.
        if isinstance(answer, Fenced):
            await self._lose()
        self._note(answer.step)
        return answer.step

    async def _keep_in(self, transaction: Transaction, new: NewStep) -> Kept | Fenced:
        backoff = lock_pauses(self._runtime.rng)
        while True:
            answer = await transaction.keep_step(new)
            if not isinstance(answer, Locked):
                return answer
            await trio.sleep(backoff.failed())

    async def _keep(self, new: NewStep) -> Kept | Fenced:
        await self._attempt.until_claimed()
        backoff = lock_pauses(self._runtime.rng)
        while True:
            answer = await self._persist(partial(self._runtime.step_batches.keep, new))
            if not isinstance(answer, Locked):
                return answer
            await trio.sleep(backoff.failed())

    async def _receive(self, wanted: NewReceive) -> Kept | NoMessage | Fenced:
        await self._attempt.until_claimed()
        backoff = lock_pauses(self._runtime.rng)
        while True:
            answer = await self._persist(partial(self._runtime.step_batches.receive, wanted))
            if not isinstance(answer, Locked):
                return answer
            await trio.sleep(backoff.failed())

    async def _find_again(self, new: NewStep) -> StepRow | None:
        self._kept = None
        return await self.find(new.kind, new.name, new.key)

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the database until it answers.

        Raises:
            RowRefused: it does not take what it is given.
        """
        return await self._runtime.tries().until_answered(
            ask, is_final=lambda failure: isinstance(failure, RowRefused)
        )

    def _note(self, row: StepRow) -> None:
        if self._kept is not None:
            self._kept[row.kind, row.name, row.key] = row

    def _refused(self, new: NewStep, refused: RowRefused) -> Exception:
        """The error of a step that the database does not take."""
        if refused.statement == "commit" and refused.__cause__ is not None:
            # A deferred constraint, and so about what the step's function has written.
            return refused.__cause__  # type: ignore[return-value]
        return ValueRefused(f"the result of step {new.name!r}", "", refused.brief)

    def _with_output(self, new: NewStep, types: StepTypes, value: Any) -> NewStep:
        return new._replace(output=types.result.encode(value, f"the result of step {new.name!r}"))

    def _read(self, kept: StepRow, new: NewStep, types: StepTypes) -> Any:
        if kept.fingerprint != new.fingerprint:  # rule: a step is the same only if its input is
            raise StepChanged(JobId(self._attempt.job.id), new.name, new.key)
        try:
            return types.result.decode("null" if kept.output is None else kept.output)
        except Undecodable as error:
            raise JobRecordFetchJsonDecodeError(
                JobId(self._attempt.job.id), f"step {new.name!r}", error.path, error.reason
            ) from error

    async def _lose(self) -> NoReturn:
        self._attempt.fence()
        await trio.lowlevel.checkpoint()
        # In a scope that shields the handler it is not cancelled yet.
        raise ClaimLost(JobId(self._attempt.job.id))


async def _call(function: Callable[..., Awaitable[Any]], args: Any, connection: Any) -> Any:
    return await function(connection, *args)
