"""Steps: what a handler does once, over all attempts of its job."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import psycopg
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from m25._steps import JobSteps
from m25._store.memory import MemoryStore
from support.proxy import Strike, proxied
from support.told import told
from support.waiting import eventually, rows


@attrs.frozen
class User:
    name: str
    tags: frozenset[str] = frozenset()


TRIES = m25.Retry(max_attempts=3, delay=0)


async def run_on(m: m25.M25, queue: m25.Queue[Any, Any, Any], value: Any) -> Any:
    """The record in which a job has ended."""
    m.add_queue(queue)
    await m.start()
    record = await m.enqueue(queue, value)
    with trio.fail_after(300):
        return await m.wait(queue, record.id)


async def run(queue: m25.Queue[Any, Any, Any], value: Any = 0) -> Any:
    """The same, without a database."""
    async with m25.testing.open() as m:
        return await run_on(m, queue, value)


async def refused(call: Callable[[m25.RunningJob[Any, Any, Any]], Awaitable[object]]) -> Any:
    """What a call raises within a handler."""
    raised: list[Exception] = []

    @m25.queue("refusing")
    async def refusing(_: int) -> None:
        try:
            await call(m25.current_job())
        except Exception as error:  # noqa: BLE001 - whatever it is
            raised.append(error)

    await run(refusing)
    (error,) = raised
    return error


async def one() -> int:
    return 1


async def test_a_later_attempt_is_given_what_was_done_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: Counter[str] = Counter()

    async def create(form: dict[str, Any], tag: str) -> User:
        calls["create"] += 1
        return User(form["name"], frozenset({tag}))

    async def welcome(user: User) -> None:
        calls["welcome"] += 1
        if calls["welcome"] == 1:
            raise OSError("no network")

    @m25.queue("sign-ups", retry=TRIES)
    async def sign_ups(name: str) -> User:
        job = m25.current_job()
        user = await job.step("create", create, {"name": name, "b": 1}, "new")
        await job.step("welcome", welcome, user)
        if job.attempt < 3:
            raise OSError("not yet")
        return user

    record = await run(sign_ups, "ada")
    assert record.output == User("ada", frozenset({"new"}))
    assert record.attempt == 3
    assert calls == {"create": 1, "welcome": 2}


async def test_steps_of_one_name_are_told_apart_by_their_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[int] = []

    async def square(number: int) -> int:
        calls.append(number)
        return number * number

    @m25.queue("squares", retry=TRIES)
    async def squares(_: int) -> list[int]:
        job = m25.current_job()
        found = [await job.step("square", square, each) for each in range(4)]
        if job.attempt == 1:
            raise OSError
        return found

    assert (await run(squares)).output == [0, 1, 4, 9]
    assert calls == [0, 1, 2, 3]


async def test_what_a_kept_step_has_numbered_is_not_missing_from_what_comes_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Steps, waits and nurseries within a step: in the second run its function is not called."""

    @m25.queue("echo")
    async def echo(text: str) -> str:
        return text

    mailed: list[str] = []

    async def mail(to: str) -> str:
        mailed.append(to)
        return f"mailed {to}"

    seen: list[list[str]] = []

    @m25.queue("letters", retry=TRIES)
    async def letters(_: int) -> list[str]:
        job = m25.current_job()

        async def start(text: str) -> str:
            async with job.open_nursery() as nursery:
                return await (await nursery.start_job(echo, text)).result()

        async def first() -> list[str]:
            return [
                await job.receive("word", str),
                await job.step("mail", mail, "ada"),
                await start("debit"),
            ]

        found = await job.step("first", first)
        found.append(await job.receive("word", str))
        found.append(await job.step("mail", mail, "bob"))
        found.append(await start("credit"))
        seen.append(found)
        if job.attempt == 1:
            raise OSError("something else")
        return found

    async with m25.testing.open() as m:
        m.add_queue(letters)
        m.add_queue(echo)
        await m.start()
        job = await m.enqueue(letters, 0)
        await m.send(letters, job.id, "word", "one")
        await m.send(letters, job.id, "word", "two")
        with trio.fail_after(100):
            found = await m.result(letters, job.id)
    assert found == ["one", "mailed ada", "debit", "two", "mailed bob", "credit"]
    assert seen == [found, found]
    assert mailed == ["ada", "bob"]


async def test_what_was_done_in_a_step_that_failed_is_found_when_that_is_called_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[str] = []

    async def pay() -> str:
        calls.append("pay")
        return "paid"

    async def tell(paid: str) -> None:
        calls.append("tell")
        if len(calls) == 2:
            raise OSError("no network")

    @m25.queue("orders")
    async def orders(_: int) -> None:
        job = m25.current_job()

        async def order() -> None:
            await job.step("tell", tell, await job.step("pay", pay))

        with pytest.raises(OSError, match="no network"):
            await job.step("order", order)
        await job.step("order", order)

    assert (await run(orders)).status is m25.JobStatus.SUCCEEDED
    assert calls == ["pay", "tell", "tell"]


async def test_a_step_that_raised_and_is_called_again_is_done_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    charged: list[str] = []
    failures = ["ada"]

    async def charge(client: str, who: str) -> str:
        if who in failures:
            failures.remove(who)
            raise OSError("a blip")
        charged.append(who)
        return f"receipt of {who}"

    @m25.queue("payments", retry=TRIES)
    async def payments(_: int) -> list[str]:
        job = m25.current_job()
        bound = functools.partial(charge, "client")
        receipts: list[str] = []
        left = ["ada", "bob"]
        while left:
            for who in list(left):
                try:
                    receipts.append(await job.step("charge", bound, who))
                except OSError:
                    continue
                left.remove(who)
        if job.attempt == 1:
            raise ValueError("something else")
        return receipts

    record = await run(payments)
    assert record.output == ["receipt of ada", "receipt of bob"]
    assert charged == ["bob", "ada"]


async def test_a_step_that_raised_is_not_taken_for_one_that_does_something_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is bound is no part of the fingerprint; yet two bound functions are two."""
    calls: list[str] = []

    async def send(to: str) -> str:
        calls.append(to)
        if calls == ["ada"]:
            raise OSError("a blip")
        return to

    @m25.queue("letters", retry=TRIES)
    async def letters(_: int) -> list[str]:
        job = m25.current_job()
        found: list[str] = []
        for to in ("ada", "bob"):
            try:
                found.append(await job.step("send", functools.partial(send, to)))
            except OSError:
                found.append("failed")
        if job.attempt == 1:
            raise ValueError("something else")
        return found

    assert (await run(letters)).output == ["ada", "bob"]
    assert calls == ["ada", "bob", "ada"]


async def test_a_step_starts_no_job_in_a_nursery_around_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Once it is kept, the nursery would not know of the job."""

    @m25.queue("other")
    async def other(_: int) -> None:
        pass

    async def in_nursery(job: m25.RunningJob[Any, Any, Any]) -> None:
        async with job.open_nursery() as nursery:

            async def start() -> None:
                await nursery.start_job(other, 1)

            await job.step("start", start)

    error = await refused(in_nursery)
    (error,) = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
    assert isinstance(error, m25.errors.UsageError)
    assert "opened outside of it" in str(error)


async def test_steps_of_one_name_at_once_need_keys(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(number: int) -> int:
        await trio.sleep(1)
        return number

    @m25.queue("at once")
    async def at_once(_: int) -> dict[str, int]:
        job = m25.current_job()
        found: dict[str, int] = {}

        async def one(key: str, number: int) -> None:
            found[key] = await job.step("slow", slow, number, key=key)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(one, f"n{number}", number)
        return found

    assert (await run(at_once)).output == {"n0": 0, "n1": 1, "n2": 2}

    async def without_keys(job: m25.RunningJob[Any, Any, Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.step, "slow", slow, 1)
            nursery.start_soon(job.step, "slow", slow, 2)

    (error,) = (await refused(without_keys)).exceptions
    assert isinstance(error, m25.UsageError)
    assert "another step of this name is under way" in str(error)
    assert "give each a key=" in str(error)

    async def mixed(job: m25.RunningJob[Any, Any, Any]) -> None:
        await job.step("slow", slow, 1)
        await job.step("slow", slow, 2, key="0")

    assert "give all of them a key, or none" in str(await refused(mixed))


async def test_a_second_step_of_one_key_is_refused_and_not_passed_over_in_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mailed: list[str] = []

    async def mail(to: str, about: str) -> None:
        mailed.append(f"{about} to {to}")

    async def twice(job: m25.RunningJob[Any, Any, Any]) -> None:
        await job.step("mail", mail, "ada", "order 1", key="ada")
        await job.step("mail", mail, "ada", "order 2", key="ada")

    error = await refused(twice)
    assert type(error) is m25.UsageError
    assert "step 'mail': this handler has done a step with the key 'ada' before" in str(error)

    async def within_two(job: m25.RunningJob[Any, Any, Any]) -> None:
        async def order() -> None:
            await job.step("mail", mail, "ada", "an order", key="ada")

        await job.step("first", order)
        await job.step("second", order)

    assert "before" in str(await refused(within_two))
    assert mailed == ["order 1 to ada", "an order to ada"]


async def test_a_step_that_is_called_again_finds_the_steps_within_it_by_their_keys(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paid: list[str] = []

    async def pay(who: str) -> str:
        paid.append(who)
        return f"paid by {who}"

    @m25.queue("orders")
    async def orders(_: int) -> str:
        job = m25.current_job()

        async def order() -> str:
            receipt = await job.step("pay", pay, "ada", key="ada")
            if len(paid) == 1:
                paid.append("and the network fails")
                raise OSError
            return receipt

        with pytest.raises(OSError):
            await job.step("order", order)
        return await job.step("order", order)

    assert (await run(orders)).output == "paid by ada"
    assert paid == ["ada", "and the network fails"]


async def test_a_step_that_is_given_something_else_is_an_error_that_says_what_to_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def double(number: int, pairs: dict[str, int]) -> int:
        return 2 * number

    @m25.queue("doubles", retry=TRIES)
    async def doubles(_: int) -> int:
        job = m25.current_job()
        # The order of keys is no difference.
        pairs = {"a": 1, "b": 2} if job.attempt == 1 else {"b": 2, "a": 1}
        kept = await job.step("same", double, 1, pairs)
        await job.step("double", double, job.attempt, pairs)
        raise OSError(kept)

    record = await run(doubles)
    assert record.attempt == 3
    assert record.crash_type == "m25.errors.StepChanged"
    assert "step 'double' (key '0')" in record.crash_message
    assert "give it another name" in record.crash_message


async def test_the_first_attempt_sees_the_result_as_later_ones_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    user = User("ada")
    seen: list[User] = []

    async def make() -> User:
        return user

    @m25.queue("seen", retry=TRIES)
    async def seeing(_: int) -> None:
        job = m25.current_job()
        seen.append(await job.step("make", make))
        if job.attempt < 2:
            raise OSError

    await run(seeing)
    assert seen == [user, user]
    assert all(each is not user for each in seen)


async def test_what_cannot_be_a_step_is_refused_before_anything_is_done() -> None:
    done: list[object] = []

    async def of_no_type(value):  # type: ignore[no-untyped-def]
        done.append(value)

    async def of_files(value: object) -> object:
        done.append(value)
        return value

    def plain() -> int:
        done.append(None)
        return 1

    tries: dict[str, Callable[[Any], Awaitable[object]]] = {
        "needs a return annotation": lambda job: job.step("a", of_no_type, 1),
        "argument 1": lambda job: job.step("a", of_files, open),
        "must be an `async def`": lambda job: job.step("a", plain),
        "must not be empty": lambda job: job.step("", one),
        "250 characters": lambda job: job.step("a" * 251, one),
        "the key of step 'a'": lambda job: job.step("a", one, key="\0"),
    }
    for text, call in tries.items():
        assert text in str(await refused(call)), text
    assert done == []


async def test_what_is_bound_is_no_part_of_the_fingerprint(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Client:
        async def send(self, to: str, *, subject: str = "") -> str:
            return to + subject

    async def send(client: Client, to: str) -> str:
        return await client.send(to)

    @m25.queue("sending", retry=TRIES)
    async def sending(_: int) -> list[str]:
        job, client = m25.current_job(), Client()
        sent = [
            await job.step("by a partial", functools.partial(send, client), "ada"),
            await job.step("by a method", client.send, "bob"),
        ]
        if job.attempt == 1:
            raise OSError
        return sent

    assert (await run(sending)).output == ["ada", "bob"]


async def test_what_was_kept_of_another_type_is_an_error_that_names_the_step(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def text() -> str:
        return "one"

    @m25.queue("deployed", retry=TRIES)
    async def deployed(_: int) -> None:
        job = m25.current_job()
        await job.step("number", text if job.attempt == 1 else one)
        raise OSError

    record = await run(deployed)
    assert record.crash_type == "m25.errors.JobRecordFetchJsonDecodeError"
    assert "step 'number'" in record.crash_message


async def test_a_step_that_is_done_is_kept_though_its_handler_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[int] = []
    hold = trio.Event()

    async def slow_keep(call: str, when: str) -> None:
        if call == "keep_steps" and when == "before" and not hold.is_set():
            hold.set()
            await trio.sleep(2)

    async def charge() -> int:
        calls.append(1)
        return 7

    @m25.queue("charges", retry=TRIES, default_job_timeout=1)
    async def charges(_: int) -> int:
        return await m25.current_job().step("charge", charge)

    async with m25.testing.open(MemoryStore(fault=slow_keep)) as m:
        record = await run_on(m, charges, 0)
    assert (record.attempt, record.output) == (2, 7)
    assert calls == [1]


@pytest.mark.parametrize(("shield", "end"), [(False, "Cancelled"), (True, "ClaimLost")])
async def test_who_lost_his_claim_keeps_nothing_and_is_cancelled(
    shield: bool, end: str, autojump_clock: trio.testing.MockClock
) -> None:
    ends: list[str] = []
    has_ended = trio.Event()

    async def lose() -> int:
        # As after a pause: another process has taken the job over.
        (row,) = store._table.rows.values()
        row.claim_token = "another"
        return 1

    @m25.queue("lost")
    async def lost(_: int) -> None:
        job = m25.current_job()
        try:
            with trio.CancelScope(shield=shield):
                await job.step("lose", lose)
        except BaseException as error:
            ends.append(type(error).__name__)
            has_ended.set()
            raise

    store = MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(lost)
        await m.start()
        record = await m.enqueue(lost, 0)
        await has_ended.wait()
        await m.stop()
        assert await store.find_steps([str(record.id)]) == {}
    assert ends == [end]


async def test_steps_go_on_through_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[int] = []

    async def fault(call: str, when: str) -> None:
        if call in ("find_steps", "keep_steps") and trio.current_time() < ends_at:
            raise psycopg.OperationalError("gone")

    async def charge() -> int:
        calls.append(1)
        return 7

    @m25.queue("through")
    async def through(_: int) -> int:
        return await m25.current_job().step("charge", charge)

    ends_at = trio.current_time() + 60
    async with m25.testing.open(MemoryStore(fault=fault)) as m:
        record = await run_on(m, through, 0)
    assert (record.attempt, record.output) == (1, 7)
    assert calls == [1]


async def test_jobs_that_run_at_once_share_statements(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sent: Counter[str] = Counter()

    async def fault(call: str, when: str) -> None:
        if when == "before" and call.endswith("_steps"):
            sent[call] += 1
            await trio.sleep(0.01)

    @m25.queue("many", max_concurrency=100)
    async def many(_: int) -> int:
        return await m25.current_job().step("one", one)

    async with m25.testing.open(MemoryStore(fault=fault)) as m:
        await m.enqueue_many(many, range(100))
        m.add_queue(many)
        await m.start()
        await m25.testing.drain(m)
        assert all(job.output == 1 for job in m25.testing.jobs(m, many))
    assert sent["find_steps"] < 10
    assert sent["keep_steps"] < 10


async def test_a_step_waits_until_its_claim_is_no_longer_in_doubt(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    claim_at_once = store.claim

    async def claim(*args: Any, on_rows: Any = None, **kwargs: Any) -> Any:
        """As on a database: handlers begin, and nobody else sees the claim before its commit."""

        def begin(rows: Any) -> None:
            on_rows(rows)
            for row in rows:
                store._table.rows[row.id].claim_token = "not committed"

        rows = await claim_at_once(*args, on_rows=on_rows and begin, **kwargs)
        if rows and on_rows:
            await trio.sleep(1)
            for row in rows:
                store._table.rows[row.id].claim_token = kwargs["token"]
        return rows

    monkeypatch.setattr(store, "claim", claim)

    @m25.queue("early")
    async def early(_: int) -> int:
        return await m25.current_job().step("one", one)

    async with m25.testing.open(store) as m:
        record = await run_on(m, early, 0)
    assert (record.attempt, record.output) == (1, 1)


async def test_a_job_without_steps_asks_for_none(autojump_clock: trio.testing.MockClock) -> None:
    sent: set[str] = set()

    async def fault(call: str, when: str) -> None:
        sent.add(call)

    @m25.queue("none")
    async def none(_: int) -> None:
        m25.current_job()

    async with m25.testing.open(MemoryStore(fault=fault)) as m:
        await run_on(m, none, 0)
    assert not any("step" in call or "transaction" in call for call in sent)


async def test_no_step_before_the_handler_has_begun_nor_after_it_has_ended() -> None:
    jobs: list[m25.RunningJob[Any, Any, Any]] = []
    early: list[str] = []

    class Setup:
        async def __aenter__(self) -> None:
            try:
                await m25.current_job().step("early", one)
            except m25.UsageError as error:
                early.append(str(error))

        async def __aexit__(self, *_: object) -> None: ...

    @m25.queue("bounds", setup=Setup)
    async def bounds(_: int, __: None) -> None:
        jobs.append(m25.current_job())
        await jobs[0].step("one", one)

    async with m25.testing.open() as m:
        await run_on(m, bounds, 0)
        with pytest.raises(m25.UsageError, match="has ended"):
            await jobs[0].step("late", one)
    assert early == ["a job keeps no steps before its handler has begun: not in `setup`"]


# On a database

CHARGES = "create table charge (job_id uuid, step text, amount integer)"


async def charge(connection: pg.AsyncConnection[Any], name: str, amount: int) -> int:
    await connection.execute(
        "insert into charge values (%s, %s, %s)", [m25.current_job().job_id, name, amount]
    )
    return amount


async def test_what_is_transacted_is_there_once_and_with_the_step(dsn: str) -> None:
    await rows(dsn, CHARGES)

    @m25.queue("paid", retry=TRIES)
    async def paid(_: int) -> int:
        job = m25.current_job()
        first = await job.transact("charge", charge, "first", 3)
        await job.step("plain", one)
        second = await job.transact("charge", charge, "second", 4)
        if job.attempt < 3:
            raise OSError
        return first + second

    async with m25.open(dsn) as m:
        record = await run_on(m, paid, 0)
    assert (record.attempt, record.output) == (3, 7)
    charges = await rows(dsn, "select step, amount from charge order by amount")
    assert charges == [{"step": "first", "amount": 3}, {"step": "second", "amount": 4}]


async def test_what_raises_in_a_transaction_leaves_nothing(dsn: str) -> None:
    await rows(
        dsn, CHARGES + "; alter table charge add unique (amount) deferrable initially deferred"
    )

    async def fail(connection: pg.AsyncConnection[Any]) -> int:
        await charge(connection, "failed", 1)
        raise OSError("no")

    async def twice(connection: pg.AsyncConnection[Any]) -> int:
        await charge(connection, "twice", 2)
        return await charge(connection, "twice", 2)

    async def caught(connection: pg.AsyncConnection[Any]) -> None:
        await charge(connection, "caught", 3)
        with pytest.raises(psycopg.errors.SyntaxError):
            await connection.execute("nonsense")

    async def ends(connection: pg.AsyncConnection[Any]) -> None:
        with pytest.raises(psycopg.ProgrammingError, match="Explicit commit"):
            await connection.commit()
        await connection.execute("rollback")

    async def nested(connection: pg.AsyncConnection[Any]) -> int:
        return await m25.current_job().step("nested", one)

    async def kept(connection: pg.AsyncConnection[Any]) -> int:
        async with connection.transaction(force_rollback=True):
            await charge(connection, "in a savepoint", 5)
        return await charge(connection, "kept", 6)

    found: dict[str, str] = {}

    @m25.queue("failing")
    async def failing_(_: int) -> int:
        job = m25.current_job()
        for function in (fail, twice, caught, ends, nested):
            try:
                await job.transact(function.__name__, function)
            except Exception as error:  # noqa: BLE001
                found[function.__name__] = f"{type(error).__name__}: {error}"
        return await job.transact("kept", kept)

    async with m25.open(dsn) as m:
        assert (await run_on(m, failing_, 0)).output == 6
    assert found["fail"] == "OSError: no"
    assert found["twice"].startswith("UniqueViolation")
    assert "its error was caught" in found["caught"]
    assert "was ended in the handler" in found["ends"]
    assert "job.step() cannot be called within job.transact()" in found["nested"]
    assert await rows(dsn, "select step from charge") == [{"step": "kept"}]
    kept_steps = await rows(dsn, "select name from m25.step")
    assert kept_steps == [{"name": "kept"}]


async def test_a_transaction_of_a_lost_claim_is_rolled_back(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    await rows(dsn, CHARGES)
    handlers: list[str] = []

    async def lose(connection: pg.AsyncConnection[Any]) -> int:
        await charge(connection, "late", 1)
        if not handlers:
            handlers.append("lost")
            # As after a pause: another process has taken the job over.
            await rows(dsn, "update m25.job set claim_token = gen_random_uuid()")
        return 1

    @m25.queue("late")
    async def late(_: int) -> int:
        try:
            return await m25.current_job().transact("lose", lose)
        except trio.Cancelled:
            handlers.append("cancelled")
            raise

    async with m25.open(dsn) as m:
        m.add_queue(late)
        await m.start()
        await m.enqueue(late, 0)

        async def cancelled() -> bool:
            return "cancelled" in handlers

        await eventually(cancelled)
    assert "ClaimFenced" in told(caplog)
    assert await rows(dsn, "select * from charge") == []
    assert await rows(dsn, "select * from m25.step") == []


@pytest.mark.parametrize(("case", "calls"), [("done", 1), ("done, and seen late", 2), ("lost", 2)])
async def test_a_commit_that_nobody_answers_is_made_once(
    case: str, calls: int, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rows(dsn, CHARGES)
    called: list[int] = []

    async def pay(connection: pg.AsyncConnection[Any]) -> int:
        called.append(1)
        amount = await charge(connection, "pay", len(called))
        if len(called) == 1:
            if case == "lost":
                proxy.strike(Strike("before", re.compile(b"COMMIT"), lambda: None))
            else:
                proxy.drop_answer(b"COMMIT")
        return amount

    @m25.queue("unanswered")
    async def unanswered(_: int) -> int:
        return await m25.current_job().transact("pay", pay)

    if case == "done, and seen late":
        # As where the server is still about to commit when it is asked.
        look_again, looks = JobSteps._find_again, []

        async def look(self: JobSteps, new: Any) -> Any:
            looks.append(new)
            return await look_again(self, new) if len(looks) > 1 else None

        monkeypatch.setattr(JobSteps, "_find_again", look)
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m:
        record = await run_on(m, unanswered, 0)
    kept = calls if case == "lost" else 1
    assert (record.attempt, record.output, len(called)) == (1, kept, calls)
    assert await rows(dsn, "select amount from charge") == [{"amount": kept}]
