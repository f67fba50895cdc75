"""Not run: read by type checkers. A line that ends with `# error` must be one to both, no other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Never, assert_type
from uuid import UUID

import attrs

import m25
from m25 import pg


@attrs.frozen
class Email:
    to: str


@attrs.frozen
class Receipt:
    number: int


class Full(Exception): ...


class Gone(Exception): ...


class Late(Exception): ...


class Lost(Exception): ...


class Pool: ...


@asynccontextmanager
async def pool() -> AsyncGenerator[Pool, None]:
    yield Pool()


# What the decorator infers


@m25.queue("none")
async def without_errors(email: Email) -> Receipt:
    raise NotImplementedError


@m25.queue("none", errors=())
async def with_no_errors(email: Email) -> Receipt:
    raise NotImplementedError


@m25.queue("one", errors=(Full,), max_concurrency=3, poll_interval=timedelta(seconds=1))
async def with_one(email: Email) -> Receipt | None:
    raise Full


@m25.queue("two", errors=(Full, Gone), fair_by="to")
async def with_two(email: Email) -> list[Receipt]:
    raise Full


@m25.queue("three", errors=(Full, Gone, Late), ordered_by="to", if_failed="pass")
async def with_three(email: Email) -> None:
    raise Full


@m25.queue("four", errors=(Full, Gone, Late, Lost))
async def with_four(email: dict[str, Email]) -> int:
    raise Full


@m25.queue("setup", setup=pool)
async def with_setup(email: Email, connections: Pool) -> Receipt:
    raise NotImplementedError


@m25.queue("setup one", errors=(Full,), setup=pool, reserved_timeout=60)
async def with_setup_and_one(email: Email, connections: Pool) -> Receipt:
    raise Full


@m25.queue("setup two", errors=(Full, Gone), setup=pool)
async def with_setup_and_two(email: Email, connections: Pool) -> Receipt:
    raise Full


@m25.queue("setup three", errors=(Full, Gone, Late), setup=pool)
async def with_setup_and_three(email: Email, connections: Pool) -> Receipt:
    raise Full


@m25.queue("setup four", errors=(Full, Gone, Late, Lost), setup=pool)
async def with_setup_and_four(email: Email, connections: Pool) -> Receipt:
    raise Full


@m25.queue("lifespan", errors=(Full,), lifespan=pool)
async def with_lifespan(email: Email, *, shared: Pool) -> Receipt:
    raise Full


@m25.queue("both", setup=pool, lifespan=pool)
async def with_both(email: Email, connections: Pool, shared: Pool) -> Receipt:
    raise NotImplementedError


@m25.queue("by name", setup=pool, lifespan=pool)
async def by_name(email: Email, *, resource: Pool, shared: Pool) -> Receipt:
    raise NotImplementedError


@m25.queue("in a process", runs="process", errors=(Full, Gone))
def in_a_process(email: Email) -> Receipt:
    raise Full


@m25.queue("in a thread", runs="thread")
def in_a_thread(email: Email) -> list[Receipt]:
    raise NotImplementedError


assert_type(with_lifespan, m25.Queue[Email, Receipt, Full])
assert_type(with_both, m25.Queue[Email, Receipt, Never])
assert_type(by_name, m25.Queue[Email, Receipt, Never])
assert_type(in_a_process, m25.Queue[Email, Receipt, Full | Gone])
assert_type(in_a_thread, m25.Queue[Email, list[Receipt], Never])
assert_type(without_errors, m25.Queue[Email, Receipt, Never])
assert_type(with_no_errors, m25.Queue[Email, Receipt, Never])
assert_type(with_one, m25.Queue[Email, Receipt | None, Full])
assert_type(with_two, m25.Queue[Email, list[Receipt], Full | Gone])
assert_type(with_three, m25.Queue[Email, None, Full | Gone | Late])
assert_type(with_four, m25.Queue[dict[str, Email], int, Full | Gone | Late | Lost])
assert_type(with_setup, m25.Queue[Email, Receipt, Never])
assert_type(with_setup_and_one, m25.Queue[Email, Receipt, Full])
assert_type(with_setup_and_two, m25.Queue[Email, Receipt, Full | Gone])
assert_type(with_setup_and_three, m25.Queue[Email, Receipt, Full | Gone | Late])
assert_type(with_setup_and_four, m25.Queue[Email, Receipt, Full | Gone | Late | Lost])


# By hand


async def send(email: Email) -> Receipt:
    raise NotImplementedError


async def send_with(email: Email, connections: Pool) -> Receipt:
    raise NotImplementedError


def in_a_thread_by_hand(email: Email) -> Receipt:
    raise NotImplementedError


class Service:
    async def handle(self, email: Email) -> Receipt:
        raise NotImplementedError


by_hand = m25.Queue("by hand", handler_function=send, errors=(Full,), max_concurrency=3)
assert_type(by_hand, m25.Queue[Email, Receipt, Full])
declared: m25.Queue[Email, Receipt, Full | Gone] = m25.Queue(
    "declared", handler_function=send, errors=(Full, Gone), poll_interval=0.5
)
as_in_readme = m25.Queue("emails", handler_function=send, max_concurrency=20)
assert_type(as_in_readme.name, str)
in_two_words: m25.Queue[Email, Receipt] = as_in_readme
resource_as_in_readme = m25.Queue("emails", handler_function=send_with, setup=pool)
without: m25.Queue[Email, Receipt, Never] = m25.Queue("without", handler_function=send)
of_method: m25.Queue[Email, Receipt, Never] = m25.Queue("m", handler_function=Service().handle)
with_resource: m25.Queue[Email, Receipt, Never] = m25.Queue(
    "resource", handler_function=send_with, setup=pool
)
plain = m25.queue("plain", runs="thread")(in_a_thread_by_hand)
assert_type(plain, m25.Queue[Email, Receipt, Never])
from_decorator = m25.queue("decorated", errors=(Full,))(send)
assert_type(from_decorator, m25.Queue[Email, Receipt, Full])


def to_json(email: Email) -> Any:
    return email.to


def decoder(plain: Any) -> Email:
    return Email(plain)


with_codecs: m25.Queue[Email, Receipt, Never] = m25.Queue(
    "codecs", handler_function=send, input_to_json=to_json, input_decoder=decoder
)
assert_type(with_one.name, str)
assert_type(with_one.poll_interval, timedelta)
assert_type(with_one.errors, tuple[type[Full], ...])


# What is wrong


@m25.queue("of none")  # error
async def of_none() -> Receipt:
    raise NotImplementedError


# What type checkers do not see, and the declaration refuses when it is run: a plain `def` without
# `runs`, and parameters that do not fit what `setup` and `lifespan` yield. `queue` is overloaded on
# `errors` alone; with these, too, a checker's message would be thirty signatures long.


@m25.queue("not async")
def blocking(email: Email) -> Receipt:
    raise NotImplementedError


@m25.queue("another resource", setup=pool)
async def of_another(email: Email, connections: str) -> Receipt:
    raise NotImplementedError


m25.queue("runs", runs="fiber")  # error
m25.queue("lifespan", lifespan=3)  # error
m25.queue("misspelt", max_concurency=3)  # error
m25.queue("text", poll_interval="5")  # error
m25.queue("list", errors=[Full])  # error
m25.queue("instance", errors=(Full(),))  # error
m25.queue("no exception", errors=(int,))  # error
other: m25.Queue[Email, Receipt, Never] = m25.Queue(
    "other input",
    handler_function=send,
    input_to_json=str.upper,  # error
)
wrong: m25.Queue[int, Receipt, Never] = m25.Queue("x", handler_function=send)  # error


# Jobs


AT = datetime(2030, 1, 1, tzinfo=UTC)
job = m25.Job(Email("ada@example.org"), timeout=5, retry_delay=timedelta(seconds=1))
assert_type(job, m25.Job[Email])
assert_type(job.schedule(at=AT), m25.Job[Email])
assert_type(job.with_timeout(5), m25.Job[Email])
assert_type(job.retry(max_attempts=3, delay=0.5), m25.Job[Email])
assert_type(job.with_unique_key("k"), m25.Job[Email])
assert_type(job.with_priority(-1), m25.Job[Email])
assert_type(job.timeout, timedelta | None)
assert_type(job.meta, Mapping[str, Any] | None)
m25.Job(1, scheduled_at="tomorrow")  # error
m25.Job(1, max_attempts="3")  # error
job.schedule("tomorrow")  # error


# Enqueueing


def takes_uuid(id: UUID) -> None: ...


async def enqueueing(m: m25.M25, id: m25.JobId) -> None:
    record = await m.enqueue(with_two, Email("ada@example.org"))
    assert_type(record, m25.JobRecord[Email, list[Receipt], Full | Gone])
    assert_type(record.input, Email)
    assert_type(record.output, list[Receipt] | None)
    assert_type(record.error_data, Full | Gone | None)
    assert_type(record.status, m25.JobStatus)
    assert_type(record.failure_reason, m25.FailureReason | None)
    assert_type(record.scheduled_at, datetime | None)
    assert_type(await m.enqueue(with_two, job), m25.JobRecord[Email, list[Receipt], Full | Gone])
    assert_type(await m.get_job(with_one, id), m25.JobRecord[Email, Receipt | None, Full])
    assert_type(
        await m.cancel_job(with_four, id),
        m25.JobRecord[dict[str, Email], int, Full | Gone | Late | Lost],
    )
    assert_type(await m.enqueue(without_errors, job), m25.JobRecord[Email, Receipt, Never])

    many = await m.enqueue_many(with_two, [Email("a"), Email("b")])
    assert_type(many, m25.EnqueuedMany)
    assert_type(many.ids[0], m25.JobId)
    assert_type(many.conflicts, dict[int, m25.UniqueKeyConflict])
    await m.enqueue_many(with_two, [m25.Job(Email("a")), m25.Job(Email("b"))])
    await m.enqueue_many(with_two, (Email(to) for to in "abc"), skip_conflicts=True)

    await m.enqueue_many(with_two, ["ada@example.org"])  # error
    await m.enqueue_many(with_two, Email("a"))  # error
    await m.enqueue(with_two, "ada@example.org")  # error
    await m.enqueue(with_two, Receipt(1))  # error
    await m.enqueue(with_two, m25.Job(Receipt(1)))  # error
    await m.enqueue(with_two, m25.Job(Email("a")).retry("3"))  # error
    await m.enqueue(with_four, {"a": Receipt(1)})  # error
    await m.enqueue(with_setup, 3)  # error
    await m.enqueue(by_hand, 3)  # error
    await m.enqueue("emails", Email("a"))  # error
    assert_type((await m.enqueue(as_in_readme, Email("a"))).input, Email)
    assert_type((await m.enqueue(as_in_readme, Email("a"))).output, Receipt | None)
    await m.enqueue(as_in_readme, 3)  # error
    await m.get_job(with_two, "0190d3a0-0000-7000-8000-000000000001")
    await m.get_job(with_two, id.value)
    await m.cancel_job(with_two, record.id)
    await m.cancel_job(with_two, record.id, running=True, by="ada", reason="no", wait=True)
    assert_type(m25.JobId.parse("0190d3a0-0000-7000-8000-000000000001"), m25.JobId)
    assert_type(id.value, UUID)
    takes_uuid(id)
    await m.get_job(with_two, 3)  # error
    await m.get_job(with_two, record)  # error
    record.output.append(1)  # error


# What takes queues


def takes(queue: m25.Queue[Email, Any, Any]) -> Callable[..., Awaitable[Any]]:
    return queue.handler_function


takes(with_one)
takes(with_setup)
takes(with_four)  # error


# Results


async def results(m: m25.M25, id: m25.JobId) -> None:
    assert_type(await m.wait(with_two, id), m25.JobRecord[Email, list[Receipt], Full | Gone])
    assert_type(await m.result(with_two, id), list[Receipt])
    assert_type(await m.result(without_errors, str(id)), Receipt)
    assert_type(await m.call(with_one, Email("ada")), Receipt | None)
    assert_type(await m.call(with_one, m25.Job(Email("ada"))), Receipt | None)
    assert_type(await m.current(with_one, id), m25.JobRecord[Email, Receipt | None, Full])
    assert_type(await m.attempts(with_one, id), list[m25.JobRecord[Email, Receipt | None, Full]])
    record = await m.wait(with_two, id)
    assert_type(record.error_data, Full | Gone | None)
    print(await m.call(with_one, Email("ada")), await m.result(with_two, id))
    await m.call(with_one, 5)  # error
    await m.call(with_one, m25.Job("ada"))  # error
    await m.result(with_one, 5)  # error
    await m.wait(with_one, id, connection=None)  # error
    assert_type(await m.result(without_errors, id), int)  # error
    async for progress in m.progress(with_one, id):
        assert_type(progress, m25.Progress)
    await m.change_job(with_one, id, scheduled_at=None, priority=3)
    await m.change_job(with_one, id, scheduled_at="tomorrow")  # error
    await m.change_job(with_one, id, priority=None)  # error


async def rows_after(after: int | None) -> AsyncGenerator[Receipt]:
    yield Receipt(0 if after is None else after)


async def progress_of_a_job(job: m25.RunningJob[Email, Receipt, Full]) -> None:
    await job.report(done=1, total=2.5, note="half")
    await job.report(done="one")  # error
    await job.report(1)  # error
    async for row in job.cursor("rows", rows_after, key=lambda row: row.number):
        assert_type(row, Receipt)
    job.cursor("rows", rows_after, key=lambda row: row.missing)  # error
    job.cursor("rows", with_one, key=lambda row: row)  # error


# Retries, and who is told of failures


def decide(job: m25.RunningJob[Email, Receipt, Full], error: Exception) -> m25.RetryDecision:
    return 3.0 if job.attempt < 3 else m25.GIVE_UP


def seconds(job: m25.RunningJob[Any, Any, Any], error: Exception) -> float:
    return 3.0


def decide_by_text(job: m25.RunningJob[Any, Any, Any], error: Exception) -> str:
    return "soon"


@m25.queue("alerts")
async def alerts(failed: m25.FailedJob) -> None:
    assert_type(failed.job_id, m25.JobId)
    assert_type(failed.error, str | None)


@attrs.frozen
class Limited(Exception):
    seconds: float


def as_it_says(job: m25.RunningJob[Any, Any, Any], error: Limited) -> float:
    return error.seconds


m25.Retry(on={Limited: as_it_says, Full: lambda job, error: error.seconds * job.attempt})
m25.Retry(on={Limited: lambda job: 3.0})  # error

RETRY = m25.Retry(
    max_attempts=8,
    delay=m25.exponential(1, factor=2, cap=300, jitter=0.2),
    on={Full: m25.GIVE_UP, Gone: 30.0, Late: timedelta(hours=1), m25.JobTimeout: seconds},
)


@m25.queue("retried", errors=(Full,), retry=RETRY, on_failure=alerts)
async def retried(email: Email) -> Receipt:
    raise m25.GiveUp("no") from Full()


assert_type(retried, m25.Queue[Email, Receipt, Full])
assert_type(retried.retry, m25.Retry | None)
m25.queue("by a function", retry=decide)
m25.Queue("by hand", handler_function=without_errors.handler_function, retry=seconds)
m25.Queue("by hand", handler_function=without_errors.handler_function, on_failure=alerts)
m25.queue("wrong", retry=decide_by_text)  # error
m25.queue("wrong", retry=3)  # error
m25.queue("wrong", on_failure=with_one)  # error
m25.Retry(delay="soon")  # error
m25.Retry(delay=decide_by_text)  # error
m25.Retry(on={Full: "never"})  # error
m25.Retry(on={"Full": 3})  # error
m25.RetryAfter("soon")  # error
m25.Snooze(timedelta(days=1))


# What happens once


@m25.queue("transactional", transactional=True)
async def transactional(email: Email, *, connection: pg.AsyncConnection[Any]) -> Receipt:
    raise NotImplementedError


assert_type(transactional, m25.Queue[Email, Receipt, Never])
m25.queue("wrong", transactional="yes")  # error


async def create(email: Email, number: int) -> Receipt:
    return Receipt(number)


async def charge(connection: pg.AsyncConnection[Any], email: Email) -> Receipt:
    return Receipt(1)


async def steps(job: m25.RunningJob[Email, Receipt, Never]) -> None:
    assert_type(await job.step("create", create, job.input, 3), Receipt)
    assert_type(await job.step("create", create, job.input, 3, key="k"), Receipt)
    assert_type(await job.transact("charge", charge, job.input), Receipt)
    await job.step("create", create, job.input)  # error
    await job.step("create", create, job.input, "three")  # error
    await job.step("create", create, job.input, 3, key=4)  # error
    await job.transact("charge", charge, 3)  # error
    await job.transact("create", create, job.input)  # error


async def waits(job: m25.RunningJob[Email, Receipt, Full]) -> None:
    assert_type(await job.receive("receipt", Receipt), Receipt)
    assert_type(await job.receive("receipt", Receipt, timeout=timedelta(days=1)), Receipt)
    await job.receive()  # error
    await job.sleep(days=3)
    await job.sleep(timedelta(hours=1), key="first")
    await job.sleep("soon")  # error


# Jobs that start jobs


async def nurseries(
    m: m25.M25,
    job: m25.RunningJob[Email, Receipt, Full],
    queue: m25.Queue[Email, Receipt, Full],
    email: Email,
) -> None:
    async with job.open_nursery() as nursery:
        assert_type(nursery, m25.JobNursery)
        child = await nursery.start_job(queue, m25.Job(email, priority=3), key="first")
        assert_type(child, m25.ChildJob[Receipt])
        assert_type(await child.result(), Receipt)
        many = await nursery.start_many(queue, [email, email])
        await nursery.start_job(queue, "no email")  # error
        await nursery.start_many(queue, email)  # error
    assert_type(child.output, Receipt)
    assert_type([each.output for each in many], list[Receipt])
    async with m.open_nursery() as outside:
        assert_type(await outside.start_job(queue, email, detached=True), m25.ChildJob[Receipt])


# One job of a key at a time


async def unique(m: m25.M25, queue: m25.Queue[Email, Receipt, Full], email: Email) -> None:
    job = m25.Job(email, unique=m25.Unique("k", "pending", then="replace"))
    assert_type(job.with_unique(m25.Unique("k", within=timedelta(hours=1))), m25.Job[Email])
    record = await m.enqueue(queue, job)
    assert_type(record.follows, m25.JobId | None)
    if record.unique_outcome == "rerun":
        return
    many = await m.enqueue_many(queue, [job])
    if many.unique_outcomes[0] == "returned":
        return
    m25.Unique("k", "running")  # error
    m25.Unique("k", then="wait")  # error
    m25.Unique(3)  # error
    m25.Job(email, unique="k")  # error


# How long jobs are kept


@m25.queue("kept", keep=m25.Keep(succeeded=timedelta(days=7), failed=3600))
async def kept(email: Email) -> Receipt:
    raise NotImplementedError


async def prunes(m: m25.M25) -> None:
    assert_type(await m.prune(kept), int)
    await m.prune(kept, m25.Keep(cancelled=1))
    await m.prune(kept, 7)  # error
    m25.Keep(7)  # error
    m25.queue("kept", keep=7)  # error


# Schedules


def email_of(tick: datetime) -> Email:
    return Email(str(tick))


async def schedules(m: m25.M25, queue: m25.Queue[Email, Receipt, Full], email: Email) -> None:
    m.add_schedule("a", queue, "0 * * * *", input=email, catch_up="all", overlap="skip")
    m.add_schedule("b", queue, every=timedelta(hours=1), input=m25.Job(email), jitter=60)
    m.add_schedule("c", queue, "0 * * * *", timezone="Europe/Berlin", input=email_of)
    m.add_schedule("d", queue, "0 * * * *", input=lambda tick: m25.Job(email_of(tick)))
    m.add_schedule("e", queue, "0 * * * *", input="no email")  # error
    m.add_schedule("f", queue, "0 * * * *", input=lambda tick: tick)  # error
    m.add_schedule("g", queue, "0 * * * *")  # error
    m.add_schedule("h", queue, "0 * * * *", input=email, overlap="wait")  # error
    for schedule in await m.schedules():
        assert_type(schedule, m25.ScheduleRecord)
        assert_type(schedule.every, timedelta | None)
