"""The two stores step by step beside each other, through histories that nobody thought of.

Every job has a priority of its own, so that no order hangs on the time between two steps; and time
stands still but where a step lets it pass.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import attrs
import trio
from _world import (
    LEASE,
    RESERVED_TIMEOUT,
    MemoryWorld,
    WithVerbs,
    connected,
    failure,
    job,
    make_id,
    position,
    success,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from m25._lifecycle import JobStatus
from m25._store.operator import JobFilter, NewAttempt
from m25._store.protocol import (
    FOREVER,
    ClaimedJob,
    Enqueued,
    Exists,
    Fenced,
    Held,
    JobRow,
    Kept,
    Locked,
    NewMessage,
    NewReceive,
    NewStep,
    NoMessage,
    Outcome,
    Position,
    SetAside,
    StepRow,
    SweptQueue,
    WriteResult,
)
from m25._store.protocol import (
    Release as Released,
)
from support.thorough import thorough, tries

T = TypeVar("T")

QUEUES = ("a", "b")
#: Of steps and of messages.
NAMES = ("n1", "n2")

queue_names = st.sampled_from([QUEUES[0], QUEUES[0], QUEUES[1]])


def _itself(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return strategy


#: Which of the jobs, or of the claims, made so far, the latest first; modulo their number.
which = st.integers(0, 20)
recent = st.integers(0, 2)
some = st.lists(st.integers(0, 3) | which, min_size=1, max_size=4)
minutes = st.integers(0, 3).map(lambda number: timedelta(minutes=number))


@attrs.frozen
class Enqueue:
    queue_name: str
    #: After how long it is due; `None` is at once.
    delay: timedelta | None
    max_attempts: int
    retry_delay: timedelta
    unique_key: str | None


@attrs.frozen
class Again:
    """An enqueue that is repeated."""

    job: int


@attrs.frozen
class Cancel:
    job: int
    queue_name: str


@attrs.frozen
class RetryByHand:
    job: int


@attrs.frozen
class Look:
    """A look of an operator's, for jobs of these statuses, and at the queues."""

    queue_name: str | None
    statuses: list[str] | None


@attrs.frozen
class Claim:
    queue_name: str
    limit: int
    start: bool
    #: Go on where the latest claims of this queue ended.
    goes_on: bool


@attrs.frozen
class Start:
    claims: list[int]


@attrs.frozen
class Beat:
    claims: list[int]


@attrs.frozen
class Settle:
    claims: list[int]
    reason: str | None


@attrs.frozen
class SettleAgain:
    """A outcome that is repeated."""

    outcome: int


@attrs.frozen
class Release:
    claims: list[int]


@attrs.frozen
class Keep:
    """A step that a handler has done."""

    claim: int
    name: str
    #: Its output.
    value: int


@attrs.frozen
class Sleep:
    """A handler that begins to sleep, whose job is set aside."""

    claim: int
    name: str
    time: timedelta


@attrs.frozen
class Send:
    job: int
    queue_name: str
    name: str
    value: int
    #: Whether the message before it is sent again.
    again: bool


@attrs.frozen
class Receive:
    """A handler that waits for a message, whose job is set aside where none has come."""

    claim: int
    name: str
    key: str
    timeout: timedelta | None
    #: Whether it looks once more before it is set aside, as it does with a message under way.
    sent_meanwhile: bool


@attrs.frozen
class Recover:
    queue_name: str
    claims: list[int]


@attrs.frozen
class Sweep:
    #: How many seconds pass before.
    after: float
    allowed_losses: int


@attrs.frozen
class Wait:
    seconds: float


@attrs.frozen
class SetBack:
    seconds: float


enqueues = st.builds(
    Enqueue,
    queue_name=queue_names,
    delay=st.none() | minutes,
    max_attempts=st.integers(1, 3),
    retry_delay=minutes,
    unique_key=st.sampled_from([None, None, None, "k1", "k2"]),
)
claims = st.builds(
    Claim,
    queue_name=queue_names,
    limit=st.integers(1, 3),
    start=st.booleans(),
    goes_on=st.sampled_from([False, False, True]),
)
settles = st.builds(Settle, some, st.sampled_from([None, "error", "crash", "heartbeat_timeout"]))
others: list[st.SearchStrategy[Any]] = [
    st.builds(Start, some),
    st.builds(Beat, some),
    st.builds(Release, some),
    st.builds(Cancel, which, queue_names),
    st.builds(Again, which),
    st.builds(SettleAgain, which),
    st.builds(RetryByHand, which),
    st.builds(
        Look,
        st.none() | queue_names,
        st.none() | st.lists(st.sampled_from([each.value for each in JobStatus]), min_size=1),
    ),
    st.builds(Recover, queue_names, some),
    st.builds(Sweep, st.sampled_from([0.0, 30.0, 90.0, 150.0]), st.integers(0, 2)),
    # Half-way between the minutes at which things fall due.
    st.builds(Wait, st.sampled_from([30.0, 90.0, 150.0])),
    st.builds(SetBack, st.sampled_from([30.0, 3_600.0])),
]
waits: list[st.SearchStrategy[Any]] = [
    st.builds(Keep, recent, st.sampled_from(NAMES), st.integers(0, 9)),
    st.builds(Sleep, recent, st.sampled_from(NAMES), minutes),
    st.builds(Send, which, queue_names, st.sampled_from(NAMES), st.integers(0, 9), st.booleans()),
    st.builds(
        Receive,
        recent,
        st.sampled_from(NAMES),
        st.sampled_from(["1", "2"]),
        st.none() | minutes,
        st.booleans(),
    ),
]
steps = st.sampled_from([enqueues] * 2 + [claims] * 5 + [settles] * 3 + others + waits).flatmap(
    _itself
)
histories = st.builds(
    operator.add,
    st.lists(enqueues, min_size=2, max_size=5),
    st.lists(steps, min_size=10, max_size=40),
)


@attrs.define
class Side:
    """One of the stores, and what has been done to it."""

    world: WithVerbs
    #: By id, which job it is, counted alike on both sides.
    numbers: dict[str, int] = attrs.field(factory=dict)
    #: What was enqueued, or refused, with its id and the how manieth it was.
    asked: list[tuple[Enqueue, str, int]] = attrs.field(factory=list)
    claims: list[ClaimedJob] = attrs.field(factory=list)
    outcomes: list[Outcome] = attrs.field(factory=list)
    messages: list[tuple[NewMessage, str]] = attrs.field(factory=list)
    #: By queue and priority, where the latest claim ended.
    positions: dict[str, dict[int, Position]] = attrs.field(
        factory=lambda: {name: {} for name in QUEUES}
    )

    async def take(self, step: Any, fresh: Sequence[str]) -> object:
        """Do it, and return the answer in numbers instead of ids; `fresh` are ids to use."""
        store = self.world.store
        match step:
            case Enqueue():
                self.asked.append((step, fresh[0], len(self.asked)))
                return await self.enqueue(*self.asked[-1])
            case Again():
                return [await self.enqueue(*asked) for asked in _pick(self.asked, [step.job])]
            case Cancel():
                ids = _pick(list(self.numbers), [step.job])
                return [await store.cancel(id, step.queue_name) is None for id in ids]
            case RetryByHand():
                return [
                    await self.retry(id, fresh[0]) for id in _pick(list(self.numbers), [step.job])
                ]
            case Look():
                return await self.look(JobFilter(step.queue_name, step.statuses))
            case Claim():
                positions = self.positions[step.queue_name]
                rows = await store.claim(
                    step.queue_name,
                    token=fresh[0],
                    limit=step.limit,
                    lease=LEASE,
                    start=step.start,
                    after=[positions[p] for p in sorted(positions)] if step.goes_on else (),
                )
                positions.update((row.priority, position(row)) for row in rows)
                self.claims += [ClaimedJob(row.id, fresh[0]) for row in rows]
                return self.numbered(row.id for row in rows)
            case Start():
                started = await self.world.start(*_pick(self.claims, step.claims))
                return sorted(self.numbered(one.id for one in started))
            case Beat():
                return sorted(self.numbered(await self.world.heartbeat(*self.pick(step.claims))))
            case Settle():
                return await self.settle(
                    [
                        success(claim)
                        if step.reason is None
                        else failure(claim, step.reason, next_attempt_id=id)
                        for claim, id in zip(self.pick(step.claims), fresh, strict=False)
                    ]
                )
            case SettleAgain():
                return await self.settle(_pick(self.outcomes, [step.outcome]))
            case Release():
                return sorted(self.numbered(await self.world.release(*self.pick(step.claims))))
            case Keep():
                return [
                    _told(await self.keep(claim, "step", step.name, output=str(step.value)))
                    for claim in self.pick([step.claim])
                ]
            case Sleep():
                return [await self.sleep(claim, step) for claim in self.pick([step.claim])]
            case Send():
                return [
                    await self.send(id, step, fresh[0])
                    for id in _pick(list(self.numbers), [step.job])
                ]
            case Receive():
                return [
                    await self.receive(claim, step, fresh[0]) for claim in self.pick([step.claim])
                ]
            case Recover():
                tokens = [claim.token for claim in self.pick(step.claims)]
                return sorted(self.numbered(await store.release_claims(step.queue_name, tokens)))
            case Sweep():
                await self.pass_time(step.after)
                return await self.sweep(step.allowed_losses)
            case Wait():
                await self.pass_time(step.seconds)
                due = await store.survey(QUEUES)
                return {name: (_tens(each.seconds), each.misdated) for name, each in due.items()}
            case SetBack():
                await self.pass_time(-step.seconds)
                return sorted(await store.redate(QUEUES, 100))
            case _:
                raise AssertionError(step)

    async def retry(self, id: str, next_id: str) -> object:
        (answer,) = await self.world.store.operator.retry([NewAttempt(id, next_id)])
        if answer.refusal is None:
            self.number(next_id)
        return answer.refusal, answer.other_id and self.numbers[answer.other_id]

    async def look(self, wanted: JobFilter) -> object:
        operator = self.world.store.operator
        found = await operator.find(wanted, after=None, limit=100, walk=100)
        counted = await operator.count(wanted, after=None, walk=100)
        assert sum(counted.counts.values()) == len(found.jobs)
        queues = await operator.queues(100, timedelta(minutes=1))
        now = (await self.world.now()).timestamp()
        return (
            sorted(self.numbered(each.id for each in found.jobs)),
            [
                each._replace(due_since=each.due_since and str(_tens(float(each.due_since) - now)))
                for each in queues
            ],
        )

    async def keep(self, claim: ClaimedJob, kind: str, name: str, **what: Any) -> Any:
        job_id = (await self.world.row(claim.id)).job_id
        (answer,) = await self.world.store.keep_steps(
            [NewStep(*claim, job_id, kind, name, "1", **what)]
        )
        return answer

    async def sleep(self, claim: ClaimedJob, step: Sleep) -> object:
        answer = await self.keep(claim, "sleep", step.name, until_in=step.time)
        if isinstance(answer, Kept):
            assert answer.step.until is not None
            return _told(answer), await self.set_aside(claim, SetAside(answer.step.until))
        return _told(answer)

    async def send(self, id: str, step: Send, key: str) -> str:
        if not (step.again and self.messages):
            message = NewMessage(id, key, step.name, str(step.value))
            self.messages.append((message, step.queue_name))
        return (await self.world.store.send(*self.messages[-1])).value

    async def receive(self, claim: ClaimedJob, step: Receive, fresh: str) -> object:
        row = await self.world.row(claim.id)
        wanted = NewReceive(*claim, row.job_id, step.name, step.key, step.timeout)
        (answer,) = await self.world.store.receive([wanted])
        if not isinstance(answer, NoMessage):
            return _told(answer)
        if step.sent_meanwhile:
            await self.world.store.send(NewMessage(claim.id, fresh, step.name, "0"), row.queue_name)
        until = FOREVER if answer.step is None or answer.step.until is None else answer.step.until
        aside = SetAside(until, step.name, answer.messages)
        return _told(answer), await self.set_aside(claim, aside)

    async def set_aside(self, claim: ClaimedJob, aside: SetAside) -> list[int]:
        written = await self.world.store.release([Released(*claim, set_aside=aside)], [])
        return self.numbered(written.ids)

    async def pass_time(self, seconds: float) -> None:
        await self.world.pass_time(seconds)
        if seconds:
            # The database's rows are older now; positions are points in time, and would not fit.
            for positions in self.positions.values():
                positions.clear()

    async def enqueue(self, step: Enqueue, id: str, turn: int) -> object:
        new = job(
            step.queue_name,
            id=id,
            scheduled_at=None if step.delay is None else await self.world.now() + step.delay,
            max_attempts=step.max_attempts,
            retry_delay=step.retry_delay,
            unique_key=step.unique_key,
            # By turns more and less urgent than all before.
            priority=turn * (-1) ** turn,
        )
        (answer,) = await self.world.store.enqueue([new], [])
        match answer:
            case Enqueued():
                self.number(id)
                return "enqueued"
            case Held(holder):
                return "held", self.numbers[holder]
            case Exists(row):
                return "exists", self.numbers[row.id], row.status

    async def settle(self, outcomes: Sequence[Outcome]) -> dict[int, WriteResult]:
        # One job may have been claimed more than once; a call settles it once.
        by_id = {outcome.id: outcome for outcome in outcomes}
        results = await self.world.store.settle(list(by_id.values()), 1)
        self.outcomes += by_id.values()
        for id, outcome in by_id.items():
            if results[id] is WriteResult.RETRIED and outcome.next_attempt_id is not None:
                self.number(outcome.next_attempt_id)
        return {self.numbers[id]: results[id] for id in by_id}

    async def sweep(self, allowed_losses: int) -> list[object]:
        queues = [SweptQueue(name, allowed_losses, RESERVED_TIMEOUT) for name in QUEUES]
        suspects = await self.world.store.find_suspects(queues, 100)
        swept = await self.world.store.sweep(queues, suspects)
        swept.sort(key=lambda one: self.numbers[one.id])
        for one in swept:
            if one.has_next_attempt:
                following = await self.world.successor(one.id)
                assert following is not None
                self.number(following.id)
        return [(self.numbers[one.id], one[2], one[3]) for one in swept]

    def pick(self, numbers: Sequence[int]) -> list[ClaimedJob]:
        return _pick(self.claims, numbers)

    def number(self, id: str) -> None:
        self.numbers[id] = len(self.numbers)

    def numbered(self, ids: Iterable[str]) -> list[int]:
        return [self.numbers[id] for id in ids]

    async def rows(self) -> list[JobRow]:
        """Every job, with numbers for ids, and times in tens of seconds from now."""
        now = (await self.world.now()).timestamp()
        assert await self.world.count() == len(self.numbers)
        rows = await self.world.rows(list(self.numbers))
        return [row._replace(**self._comparable(row, now)) for row in rows]

    def _comparable(self, row: JobRow, now: float) -> dict[str, Any]:
        comparable: dict[str, Any] = {}
        for name, value in row._asdict().items():
            if value is None:
                continue
            if name in ("id", "original_attempt_id", "previous_attempt_id"):
                comparable[name] = self.numbers[value]
            elif name == "deadline" or name.endswith("_at"):
                comparable[name] = _tens(float(value) - now)
        return comparable


def _told(answer: Kept | NoMessage | Locked | Fenced) -> object:
    """What a handler is told of a step, in tens of seconds, and without ids."""
    match answer:
        case Kept(step, is_new):
            return is_new, _without_times(step)
        case NoMessage(step, messages):
            return step and _without_times(step), messages
        case _:
            return type(answer).__name__


def _without_times(step: StepRow) -> StepRow:
    left = None if step.seconds_left is None else _tens(step.seconds_left)
    return step._replace(until=None, seconds_left=left)


def _pick(things: Sequence[T], numbers: Sequence[int]) -> list[T]:
    return [things[-1 - number % len(things)] for number in numbers] if things else []


def _tens(seconds: float) -> float:
    # What is years away is no nearer after a day.
    return round(seconds / 10) if abs(seconds) < 1e9 else math.copysign(math.inf, seconds)


@thorough
@given(histories)
@settings(
    max_examples=tries(100, 10),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_both_stores_answer_alike_and_end_alike(dsn: str, history: list[Any]) -> None:
    trio.run(_play, dsn, history)


async def _play(dsn: str, history: Sequence[Any]) -> None:
    async with connected(dsn) as database:
        await database.execute("truncate m25.job, m25.step, m25.message")
        memory = MemoryWorld()
        memory.stand_still()
        real, model = Side(database), Side(memory)
        for step in history:
            fresh = [make_id() for _ in range(5)]
            assert await model.take(step, fresh) == await real.take(step, fresh), step
            assert await model.rows() == await real.rows(), step
