"""A store to try things on, and what a test can do to the world around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, Protocol
from uuid import uuid4

import attrs

from m25 import pg
from m25._ids import IdSource
from m25._store.memory import MemoryStore
from m25._store.postgres import PostgresStore, prepare_connection
from m25._store.protocol import (
    ClaimedJob,
    Enqueued,
    JobRow,
    NewJob,
    Outcome,
    Position,
    Release,
    Started,
    Store,
    Swept,
    SweptQueue,
    WriteResult,
)

#: Lets the clock of a database stand still: `now()` is a constant there. PostgreSQL runs its own
#: functions without a look at its catalog, unless they can be inlined, as these can.
STAND_STILL: Final = """
begin;
set local allow_system_table_mods = on;
do $$
declare
    body constant text := format('select %L::timestamptz', clock_timestamp()::text);
begin
    execute format(
        'create or replace function pg_catalog.now() returns timestamptz'
        ' language sql stable as %L', body);
    execute format(
        'create or replace function pg_catalog.clock_timestamp() returns timestamptz'
        ' language sql as %L', body);
end
$$;
commit;
"""

#: How long claims last here; time passes where a test says so alone, so any length would do.
LEASE = timedelta(minutes=1)
#: The same for how long a job may stay reserved.
RESERVED_TIMEOUT = timedelta(minutes=2)

make_id = IdSource()


def token() -> str:
    return str(uuid4())


def job(
    queue_name: str = "q",
    *,
    input: str = "null",  # noqa: A002 - the column's name
    scheduled_at: datetime | None = None,
    timeout: timedelta = timedelta(minutes=5),
    max_attempts: int = 1,
    retry_delay: timedelta = timedelta(0),
    unique_key: str | None = None,
    priority: int = 0,
    meta: str | None = None,
    id: str | None = None,
) -> NewJob:
    return NewJob(
        id=make_id() if id is None else id,
        queue_name=queue_name,
        input=input,
        scheduled_at=scheduled_at,
        timeout=timeout,
        max_attempts=max_attempts,
        retry_delay=retry_delay,
        unique_key=unique_key,
        priority=priority,
        meta=meta,
    )


def success(claim: ClaimedJob, output: str = "null") -> Outcome:
    return Outcome(*claim, None, output, None, None, None, None, None)


def failure(
    claim: ClaimedJob,
    reason: str = "crash",
    *,
    error_data: str | None = None,
    next_attempt_id: str | None = None,
) -> Outcome:
    crashed = reason == "crash"
    return Outcome(
        *claim,
        reason,
        None,
        error_data,
        "ValueError" if crashed else None,
        "no" if crashed else None,
        "Traceback …" if crashed else None,
        make_id() if next_attempt_id is None else next_attempt_id,
    )


def position(row: JobRow) -> Position:
    """Where a claim ended whose last job was this one."""
    return Position(row.priority, row.scheduled_at or row.created_at, row.id)


class World(Protocol):
    """Where a store keeps its jobs, and its time."""

    @property
    def store(self) -> Store: ...

    async def now(self) -> datetime:
        """What the store's clock shows."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for every job."""
        ...

    async def disown(self, id: str) -> None:
        """Make it look as if a worker of the original's had claimed the job."""
        ...

    async def set_times(self, id: str, seconds: Mapping[str, int]) -> None:
        """Set columns to so many seconds from now."""
        ...

    async def successor(self, id: str) -> JobRow | None:
        """The attempt after this one."""
        ...

    def locked(self, *ids: str) -> AbstractAsyncContextManager[None]:
        """A stranger has these rows locked, for the length of the block."""
        ...

    async def count(self) -> int:
        """How many jobs there are, whatever became of them."""
        ...


class WithVerbs(World):
    """What tests do to jobs, in few words."""

    async def put(self, *jobs: NewJob) -> list[str]:
        """Enqueue jobs that are surely taken, and return their ids."""
        answers = await self.store.enqueue(jobs, [])
        assert all(isinstance(answer, Enqueued) for answer in answers), answers
        return [job.id for job in jobs]

    async def claim(
        self,
        queue_name: str = "q",
        *,
        limit: int = 100,
        start: bool = True,
        after: Sequence[Position] = (),
    ) -> list[ClaimedJob]:
        mine = token()
        rows = await self.store.claim(
            queue_name, token=mine, limit=limit, lease=LEASE, start=start, after=after
        )
        return [ClaimedJob(row.id, mine) for row in rows]

    async def claim_one(self, *, start: bool = True) -> ClaimedJob:
        (claim,) = await self.claim(limit=1, start=start)
        return claim

    async def start(self, *claims: ClaimedJob) -> list[Started]:
        answers = await self.store.start(claims, LEASE)
        return [answer for answer in answers if isinstance(answer, Started)]

    async def heartbeat(self, *claims: ClaimedJob) -> set[str]:
        return set((await self.store.heartbeat(claims, LEASE, RESERVED_TIMEOUT)).ids)

    async def settle(self, outcome: Outcome, allowed_losses: int = 3) -> WriteResult:
        results = await self.store.settle([outcome], allowed_losses)
        assert list(results) == [outcome.id]
        return results[outcome.id]

    async def release(self, *claims: ClaimedJob) -> set[str]:
        return set((await self.store.release([Release(*claim) for claim in claims], [])).ids)

    async def sweep(
        self, *queue_names: str, allowed_losses: int = 3, limit: int = 100
    ) -> list[Swept]:
        queues = [
            SweptQueue(name, allowed_losses, RESERVED_TIMEOUT) for name in queue_names or ("q",)
        ]
        suspects = await self.store.find_suspects(queues, limit)
        return await self.store.sweep(queues, [each for each in suspects if each.is_expired])

    async def row(self, id: str) -> JobRow:
        return (await self.store.get([id]))[id]

    async def rows(self, ids: Sequence[str]) -> list[JobRow]:
        found = await self.store.get(ids)
        return [found[id] for id in ids]

    async def status(self, id: str) -> str:
        return (await self.row(id)).status


@attrs.define
class MemoryWorld(WithVerbs):
    store: MemoryStore = attrs.field(factory=MemoryStore)

    def stand_still(self) -> None:
        """Let its clock move where a test says so, and by itself never."""
        clock = self.store._clock
        clock.now = lambda: clock._epoch  # type: ignore[method-assign]

    async def now(self) -> datetime:
        return self.store.now()

    async def pass_time(self, seconds: float) -> None:
        self.store.move_clock(timedelta(seconds=seconds))

    async def disown(self, id: str) -> None:
        row = self.store._table.rows[id]
        row.claim_token = row.lease_expires_at = None

    async def set_times(self, id: str, seconds: Mapping[str, int]) -> None:
        now = self.store._clock.now()
        self.store._table.rows[id].write(
            {column: now + after * 1_000_000 for column, after in seconds.items()}
        )

    async def successor(self, id: str) -> JobRow | None:
        found = [row for row in self.store.rows() if row.previous_attempt_id == id]
        assert len(found) <= 1
        return found[0] if found else None

    @asynccontextmanager
    async def locked(self, *ids: str) -> AsyncGenerator[None]:
        for id in ids:
            self.store.lock(id)
        yield
        for id in ids:
            self.store.unlock(id)

    async def count(self) -> int:
        return len(self.store.rows())


@attrs.define
class PostgresWorld(WithVerbs):
    pool: pg.Pool
    store: PostgresStore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = PostgresStore(self.pool, "m25")

    async def execute(self, statement: LiteralString, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def waits_for_a_lock(self) -> bool:
        """Whether some session of this database waits for a lock of another one."""
        return bool(
            await self.execute(
                "select 1 from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )

    async def now(self) -> datetime:
        now: datetime
        ((now,),) = await self.execute("select now()")
        return now.astimezone(UTC)

    async def pass_time(self, seconds: float) -> None:
        # To make the rows older is as good as to wait.
        await self.execute(
            """
            with steps as (
                update m25.step set until = until - %(by)s
            ),
            messages as (
                update m25.message set created_at = created_at - %(by)s
            )
            update m25.job
            set
                created_at = created_at - %(by)s,
                scheduled_at = scheduled_at - %(by)s,
                reserved_at = reserved_at - %(by)s,
                started_at = started_at - %(by)s,
                cancelled_at = cancelled_at - %(by)s,
                finished_at = finished_at - %(by)s,
                deadline = deadline - %(by)s,
                latest_heartbeat_at = latest_heartbeat_at - %(by)s,
                lease_expires_at = lease_expires_at - %(by)s,
                was_due_at = was_due_at - %(by)s,
                stack_asked_at = stack_asked_at - %(by)s,
                unknown_since = unknown_since - %(by)s
            """,
            by=timedelta(seconds=seconds),
        )
        await self.execute(
            "update m25.limiter set next_start_at = next_start_at - %(by)s,"
            " turn_at = turn_at - %(by)s, awaited_since = awaited_since - %(by)s,"
            " asked_at = asked_at - %(by)s",
            by=timedelta(seconds=seconds),
        )
        await self.execute(
            "update m25.limit_holder set lease_expires_at = lease_expires_at - %(by)s",
            by=timedelta(seconds=seconds),
        )
        await self.execute(
            "with queues as (update m25.queue set keys_changed_at = keys_changed_at - %(by)s,"
            " pruned_at = pruned_at - %(by)s),"
            " keys as (update m25.held_key set until = until - %(by)s)"
            " update m25.worker set started_at = started_at - %(by)s,"
            " latest_heartbeat_at = latest_heartbeat_at - %(by)s",
            by=timedelta(seconds=seconds),
        )
        await self.execute(
            "with lines as (update m25.rate_line set look_at = look_at - %(by)s)"
            " update m25.rate_clock set next_start_at = next_start_at - %(by)s",
            by=timedelta(seconds=seconds),
        )

    async def disown(self, id: str) -> None:
        await self.execute(
            "update m25.job set claim_token = null, lease_expires_at = null where id = %(id)s",
            id=id,
        )

    async def set_times(self, id: str, seconds: Mapping[str, int]) -> None:
        values = ", ".join(f"{column} = now() + '{after} s'" for column, after in seconds.items())
        await self.execute(f"update m25.job set {values} where id = %(id)s", id=id)  # type: ignore[arg-type]

    async def successor(self, id: str) -> JobRow | None:
        found = await self.execute(
            "select id::text from m25.job where previous_attempt_id = %(id)s", id=id
        )
        assert len(found) <= 1
        return await self.row(found[0][0]) if found else None

    @asynccontextmanager
    async def locked(self, *ids: str) -> AsyncGenerator[None]:
        async with self.pool.connection() as connection, connection.transaction():
            lock = "select from m25.job where id = any(%s::uuid[]) for update"
            await connection.execute(lock, [list(ids)])
            yield

    async def count(self) -> int:
        count: int
        ((count,),) = await self.execute("select count(*) from m25.job")
        return count


@asynccontextmanager
async def connected(dsn: str, *, stands_still: bool = True) -> AsyncGenerator[PostgresWorld]:
    """A world over a database of its own, whose time passes where a test says so alone; or with
    everybody's time.
    """
    async with pg.Pool(
        dsn, max_size=10, kwargs={"autocommit": True}, configure=prepare_connection
    ) as pool:
        world = PostgresWorld(pool)
        if stands_still:
            async with pool.connection() as connection:
                await connection.execute(STAND_STILL)
        await world.store.check_version()
        yield world
