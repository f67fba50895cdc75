"""`Store` over PostgreSQL: a statement a call, each in a file of `sql/`, on a pooled connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

import attrs
import psycopg
import trio
from psycopg.rows import tuple_row

from .. import migrations, pg
from .._database_health import brief
from ..pg._prepared import Prepared, Rows
from .parameters import array, interval, plain_array, timestamp
from .protocol import (
    ClaimedJob,
    Enqueued,
    Exists,
    Held,
    JobRow,
    NewJob,
    Outcome,
    Position,
    RowRefused,
    Started,
    Store,
    Swept,
    SweptQueue,
    WriteResult,
)

#: How often an insert is tried whose unique key was held, and then by nobody once it was looked up.
_TRIES = 5

_FILES = resources.files("m25._store") / "sql"

#: Classes of SQLSTATE: data exception, constraint violation, program limit exceeded.
_ROW_AT_FAULT = frozenset({"22", "23", "54"})


def load_statements(schema: str) -> Mapping[str, bytes]:
    """Read every statement, for this schema, by the name of its file."""
    # psycopg reads "%" as the beginning of a placeholder.
    quoted = migrations.quote(schema).replace("%", "%%")
    return {
        file.name.removesuffix(".sql"): _read(file).replace("{schema}", quoted).encode()
        for file in _FILES.iterdir()
        if file.name.endswith(".sql")
    }


def _prepared(name: str, text: bytes) -> Prepared:
    """The same as a statement that is prepared: what psycopg's cursors do each time, done once."""
    parameters: list[str] = []

    def number(match: re.Match[bytes]) -> bytes:
        parameter = match[1].decode()
        if parameter not in parameters:
            parameters.append(parameter)
        return b"$%d" % (parameters.index(parameter) + 1)

    numbered = re.sub(rb"%\((\w+)\)s", number, text).replace(b"%%", b"%")
    # A pool may be shared by the stores of several schemas.
    digest = hashlib.sha256(text).hexdigest()[:12]
    return Prepared(f"m25_{name}_{digest}".encode(), numbered, tuple(parameters))


def _read(file: Traversable) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    # The comments are for readers; the server would parse them again and again.
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


#: What a connection is made fit with for the store's statements.
SESSION: Final = _read(_FILES / "session.sql").encode()


async def prepare_connection(connection: pg.AsyncConnection[Any]) -> None:
    """Make a new connection fit for the store: what a client's own pool does with each."""
    parameters = {"backend_pid": connection.info.backend_pid}
    await connection.execute(SESSION, parameters, prepare=False)


class PostgresStore(Store):
    """The job table of one schema, by way of a pool.

    `application_name`s, timeouts and the like are the pool's. A `connection` that a caller passes
    along is used as it is, and its transaction is the caller's.
    """

    def __init__(self, pool: pg.Pool, schema: str) -> None:
        self._pool = pool
        self._schema = schema
        self._sql = load_statements(schema)
        self._prepared = {name: _prepared(name, text) for name, text in self._sql.items()}
        #: Whether the server itself answers on the pool's connections: so `check_version` found.
        self._is_direct = False

    async def _run(
        self,
        statement: str,
        parameters: Mapping[str, str | None],
        connection: pg.AsyncConnection[Any] | None = None,
        *,
        on_rows: Callable[[Rows], None] | None = None,
    ) -> Rows:
        try:
            if connection is not None:
                # How often a connection of the caller's is used we do not know.
                return await self._execute(statement, parameters, connection)
            async with self._pool.connection() as pooled:
                if self._is_direct and pooled.autocommit:
                    return await self._prepared[statement].run(pooled, parameters, on_rows)
                rows = await self._execute(statement, parameters, pooled)
            if on_rows is not None:
                on_rows(rows)
            return rows
        except psycopg.Error as error:
            # psycopg refuses what it cannot write, NUL in a text, by itself: without a SQLSTATE.
            if isinstance(error, psycopg.DataError) or (error.sqlstate or "")[:2] in _ROW_AT_FAULT:
                raise RowRefused(brief(error)) from error
            raise

    async def _execute(
        self,
        statement: str,
        parameters: Mapping[str, str | None],
        connection: pg.AsyncConnection[Any],
    ) -> Rows:
        cursor = connection.cursor(row_factory=tuple_row)
        # psycopg prepares as it sees fit; behind a pooler it must not.
        prepare = None if self._is_direct else False
        await cursor.execute(self._sql[statement], parameters, prepare=prepare)
        return await cursor.fetchall()

    def _channel(self, queue_name: str) -> str:
        # A queue's name may be longer than the 63 bytes of a channel's, and hold any character.
        digest = hashlib.sha256(f"{self._schema}\0{queue_name}".encode()).hexdigest()
        return f"m25_{digest[:32]}"

    def _channels(self, queue_names: Sequence[str]) -> str:
        return plain_array(map(self._channel, queue_names))

    async def check_version(self) -> None:
        async with self._pool.connection() as connection:
            version = await migrations.read_version(connection, self._schema)
            ((backend_pid,),) = await self._run("backend", {}, connection)
            # Another than the one that greeted us: there is a pooler in between. Where that hands
            # each transaction to any of its connections, a statement that was prepared is missing
            # there, or is another's.
            self._is_direct = backend_pid == connection.info.backend_pid
        migrations.check_version(version, self._schema)

    async def enqueue(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> list[Enqueued | Exists | Held]:
        answers: dict[str, Enqueued | Exists | Held] = {}
        left = list(jobs)
        for _ in range(_TRIES):
            rows = await self._insert(left, notify, connection)
            answers.update((id, Enqueued(created_at)) for id, created_at, _ in rows)
            left = [job for job in left if job.id not in answers]
            if not left:
                break
            existing = await self.get([job.id for job in left], connection)
            answers.update((id, Exists(row)) for id, row in existing.items())
            keys = [job.unique_key for job in left if job.unique_key is not None]
            held = await self._run("find_key_holders", {"unique_key": array(keys)}, connection)
            holders = {key: Held(id) for key, id in held}
            for job in left:
                if job.unique_key in holders:
                    answers.setdefault(job.id, holders[job.unique_key])
            left = [job for job in left if job.id not in answers]
            if not left:
                break
        else:
            raise psycopg.OperationalError(
                f"{len(left)} jobs could not be inserted in {_TRIES} tries: their unique keys are "
                "taken and given up faster than they can be looked up"
            )
        return [answers[job.id] for job in jobs]

    async def _insert(
        self,
        jobs: Sequence[NewJob],
        notify: Sequence[str],
        connection: pg.AsyncConnection[Any] | None,
    ) -> Rows:
        if len(jobs) == 1 and len(notify) <= 1:
            (job,) = jobs
            one = {
                "id": job.id,
                "queue_name": job.queue_name,
                "input": job.input,
                "scheduled_at": timestamp(job.scheduled_at),
                "timeout": interval(job.timeout),
                "max_attempts": str(job.max_attempts),
                "retry_delay": interval(job.retry_delay),
                "unique_key": job.unique_key,
                "priority": str(job.priority),
                "meta": job.meta,
                "channel": self._channel(notify[0]) if notify else None,
            }
            return await self._run("enqueue_one", one, connection)
        many = {
            "id": plain_array(job.id for job in jobs),
            "queue_name": array(job.queue_name for job in jobs),
            "input": array(job.input for job in jobs),
            "scheduled_at": array(timestamp(job.scheduled_at) for job in jobs),
            "timeout": array(interval(job.timeout) for job in jobs),
            "max_attempts": plain_array(job.max_attempts for job in jobs),
            "retry_delay": array(interval(job.retry_delay) for job in jobs),
            "unique_key": array(job.unique_key for job in jobs),
            "priority": plain_array(job.priority for job in jobs),
            "meta": array(job.meta for job in jobs),
            "channels": self._channels(notify),
        }
        return await self._run("enqueue", many, connection)

    async def enqueue_all(
        self,
        batches: AsyncIterable[Sequence[NewJob]],
        notify: Sequence[str],
        on_batch: Callable[[Sequence[NewJob], Sequence[Enqueued | Exists | Held]], None],
        connection: pg.AsyncConnection[Any] | None = None,
    ) -> None:
        if connection is None:
            async with self._pool.connection() as pooled:
                await self.enqueue_all(batches, notify, on_batch, pooled)
            return
        if not connection.autocommit:
            # The transaction is the caller's to end, also where it has not begun yet.
            await self._run("notify", {"channels": self._channels(())}, connection)
        # Within one it is a savepoint.
        async with connection.transaction():
            async for batch in batches:
                on_batch(batch, await self.enqueue(batch, notify, connection))
                # Once is enough: they are told at the commit.
                notify = ()

    async def get(
        self, ids: Sequence[str], connection: pg.AsyncConnection[Any] | None = None
    ) -> dict[str, JobRow]:
        rows = await self._run("get", {"id": plain_array(ids)}, connection)
        return {row[0]: JobRow._make(row) for row in rows}

    async def cancel(
        self, id: str, queue_name: str, connection: pg.AsyncConnection[Any] | None = None
    ) -> JobRow | None:
        rows = await self._run("cancel", {"id": id, "queue_name": queue_name}, connection)
        return JobRow._make(rows[0]) if rows else None

    async def claim(
        self,
        queue_name: str,
        *,
        token: str,
        limit: int,
        lease: timedelta,
        start: bool,
        after: Sequence[Position] = (),
        on_rows: Callable[[Sequence[JobRow]], None] | None = None,
    ) -> list[JobRow]:
        parameters = {
            "queue_name": queue_name,
            "claim_token": token,
            "limit": str(limit),
            "lease": interval(lease),
            "start": "true" if start else "false",
        }
        statement = "claim"
        if after:
            statement = "claim_after"
            parameters["priority"] = plain_array(position.priority for position in after)
            parameters["run_at"] = plain_array(position.run_at for position in after)
            parameters["id"] = plain_array(position.id for position in after)
        if on_rows is None:
            return list(map(JobRow._make, await self._run(statement, parameters)))
        claimed: list[JobRow] = []

        def make(rows: Rows) -> None:
            claimed.extend(map(JobRow._make, rows))
            on_rows(claimed)

        await self._run(statement, parameters, on_rows=make)
        return claimed

    async def confirm(self, claims: Sequence[ClaimedJob], lease: timedelta) -> set[str]:
        rows = await self._run("confirm", {**_columns(claims), "lease": interval(lease)})
        return {id for (id,) in rows}

    async def release_claims(self, queue_name: str, tokens: Sequence[str]) -> list[str]:
        parameters = {"queue_name": queue_name, "claim_token": plain_array(tokens)}
        return [id for (id,) in await self._run("release_claims", parameters)]

    async def start(self, claims: Sequence[ClaimedJob], lease: timedelta) -> list[Started]:
        rows = await self._run("start", {**_columns(claims), "lease": interval(lease)})
        return [Started._make(row) for row in rows]

    async def heartbeat(
        self, claims: Sequence[ClaimedJob], lease: timedelta, reserved_timeout: timedelta
    ) -> set[str]:
        parameters = {
            **_columns(claims),
            "lease": interval(lease),
            "reserved_timeout": interval(reserved_timeout),
        }
        return {id for (id,) in await self._run("heartbeat", parameters)}

    async def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> dict[str, WriteResult]:
        if not outcomes:
            return {}
        columns = zip(*outcomes, strict=True)
        written = dict(zip(_OUTCOME_COLUMNS, map(array, columns), strict=True))
        rows = await self._run("settle", {**written, "allowed_losses": str(allowed_losses)})
        results = {
            id: WriteResult.RETRIED if has_next_attempt else WriteResult.SETTLED
            for id, has_next_attempt in rows
        }
        if len(results) < len(outcomes):
            others = [ClaimedJob(s.id, s.token) for s in outcomes if s.id not in results]
            rows = await self._run("find_settled", _columns(others))
            results.update(
                (id, WriteResult.REPEATED if repeated else WriteResult.FENCED)
                for id, repeated in rows
            )
        return results

    async def release(self, claims: Sequence[ClaimedJob], notify: Sequence[str]) -> set[str]:
        parameters = {**_columns(claims), "channels": self._channels(notify)}
        return {id for id, _ in await self._run("release", parameters)}

    async def sweep(self, queues: Sequence[SweptQueue], limit: int) -> list[Swept]:
        parameters = {
            "queue_name": array(queue.name for queue in queues),
            "allowed_losses": plain_array(queue.allowed_losses for queue in queues),
            "reserved_timeout": array(interval(queue.reserved_timeout) for queue in queues),
            "limit": str(limit),
        }
        return [Swept._make(row) for row in await self._run("sweep", parameters)]

    async def survey(self, queue_names: Sequence[str]) -> dict[str, float]:
        rows = await self._run("survey", {"queue_name": array(queue_names)})
        return {name: due_in for name, due_in in rows}  # noqa: C416 - for the type checkers

    @asynccontextmanager
    async def listen(self, queue_names: Sequence[str]) -> AsyncGenerator[AsyncIterator[str | None]]:
        names = {self._channel(name): name for name in queue_names}
        async with (
            pg.Listener(self._pool.conninfo) as listener,
            listener.subscribe(*names) as events,
        ):
            yield _Notified(events, names)

    async def notify(self, queue_names: Sequence[str]) -> None:
        await self._run("notify", {"channels": self._channels(queue_names)})


@attrs.frozen
class _Notified(AsyncIterator[str | None]):
    """The queues whose workers are told, by their own names."""

    # No task in between, and no generator: neither costs nothing, and someone waits for a job.
    _events: trio.MemoryReceiveChannel[pg.Notification | pg.Gap]
    _names: Mapping[str, str]

    async def __anext__(self) -> str | None:
        event = await anext(self._events)
        return None if isinstance(event, pg.Gap) else self._names[event.channel]


_OUTCOME_COLUMNS = (
    "id",
    "claim_token",
    "failure_reason",
    "output",
    "error_data",
    "crash_type",
    "crash_message",
    "crash_traceback",
    "next_attempt_id",
)


def _columns(claims: Sequence[ClaimedJob]) -> dict[str, str]:
    return {
        "id": plain_array(claim.id for claim in claims),
        "claim_token": plain_array(claim.token for claim in claims),
    }
