"""Who may do what, and what strangers cannot bring about."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import m25
from m25 import migrations, pg
from m25._store.steps import Calls
from support.waiting import ended, rows

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROLES = ("migrate", "work", "enqueue", "read", "operate")


@m25.queue("guarded", poll_interval=600)
async def guarded(number: int) -> int:
    return number


@asynccontextmanager
async def roles_of_the_page(dsn: str) -> AsyncGenerator[Callable[[str], str]]:
    """The roles as the page makes them, under names of this test's; how each connects."""
    (text,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    mark = uuid4().hex[:12]
    name = {role: f"m25_{role}_{mark}" for role in ROLES}
    statements = re.sub(r"m25_(\w+)", lambda found: name[found[1]], text)
    logins = "".join(f"alter role {each} login password '{mark}';" for each in name.values())
    await rows(dsn, statements.replace("%", "%%") + logins)
    try:
        yield lambda role: make_conninfo(dsn, user=name[role], password=mark)
    finally:
        for each in name.values():
            await rows(dsn, f"drop owned by {each} cascade; drop role {each};")


async def is_refused(ask: Callable[[], Awaitable[object]]) -> bool:
    """Whether the database does not let one."""
    try:
        await ask()
    except m25.M25Error as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, psycopg.errors.InsufficientPrivilege):
            cause = cause.__cause__
        return cause is not None
    return False


async def test_each_role_can_do_its_part_and_no_more(empty_dsn: str) -> None:
    async with roles_of_the_page(empty_dsn) as dsn_of:
        async with await pg.AsyncConnection.connect(
            dsn_of("migrate"), autocommit=True
        ) as connection:
            await migrations.apply(connection, "m25")
        async with m25.open(dsn_of("enqueue")) as enqueuer, m25.open(dsn_of("work")) as worker:
            record = await enqueuer.enqueue(guarded, m25.Job(1).with_unique_key("k"))
            with pytest.raises(m25.UniqueKeyConflict):
                await enqueuer.enqueue(guarded, m25.Job(2).with_unique_key("k"))
            await enqueuer.enqueue_many(guarded, [3, 4])
            await rows(dsn_of("enqueue"), "select m25.enqueue('guarded', '8', unique_key => 'l')")
            worker.add_queue(guarded)
            await worker.start()
            assert (await ended(enqueuer, guarded, record.id)).output == 1
        async with m25.open(dsn_of("enqueue")) as enqueuer:
            pending = await enqueuer.enqueue(guarded, m25.Job(5, scheduled_at=far_away()))
            assert await is_refused(lambda: enqueuer.cancel_job(guarded, pending.id))
        async with m25.open(dsn_of("read")) as reader:
            assert (await reader.get_job(guarded, pending.id)).input == 5
            assert await is_refused(lambda: reader.enqueue(guarded, 6))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await rows(dsn_of("read"), "select m25.enqueue('guarded', '6')")
            assert await is_refused(lambda: reader.cancel_job(guarded, pending.id))
        async with m25.open(dsn_of("operate")) as operator:
            await operator.cancel_job(guarded, pending.id)
            assert (await operator.retry(pending.id)).done == 1
            await rows(
                dsn_of("work"),
                "update m25.job set reserved_at = now(), started_at = now(), finished_at = null,"
                " claim_token = id where id = %(id)s",
                id=record.id.value,
            )
            running = await operator.cancel_job(guarded, record.id, running=True)
            assert running.cancel_requested_at is not None
        await rows(dsn_of("operate"), "delete from m25.job")
        for role in ("work", "enqueue", "read"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await rows(dsn_of(role), "delete from m25.job")
        for role in ("work", "enqueue", "read", "operate"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await rows(dsn_of(role), "alter table m25.job add column evil text")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await rows(dsn_of(role), "create table m25.evil ()")


async def test_an_enqueuer_takes_unique_keys_by_the_rights_of_the_page(empty_dsn: str) -> None:
    grants = re.findall(r"`(grant update on [\w.]+ to) m25_enqueue`", PAGE.read_text())
    steps = {grants[0]: ["refuse", "return"], grants[1]: ["replace", "debounce", "rerun_after"]}
    async with roles_of_the_page(empty_dsn) as dsn_of:
        async with await pg.AsyncConnection.connect(
            dsn_of("migrate"), autocommit=True
        ) as connection:
            await migrations.apply(connection, "m25")
        enqueuer = conninfo_to_dict(dsn_of("enqueue"))["user"]
        async with m25.open(dsn_of("enqueue")) as m:
            for grant, kinds in steps.items():
                for then in kinds:
                    assert await is_refused(lambda then=then: enqueue_twice(m, then))
                await rows(dsn_of("migrate"), f"{grant} {enqueuer}")
                for then in kinds:
                    await enqueue_twice(m, then)


@m25.queue("rated", rate=m25.Rate(1_000, key="who"))
async def rated(_input: dict[str, str]) -> None: ...


async def test_a_worker_has_rates_by_key_by_the_rights_of_the_page(empty_dsn: str) -> None:
    (grant,) = re.findall(r"`(grant delete on [\w., ]+ to) m25_work`", PAGE.read_text())
    async with roles_of_the_page(empty_dsn) as dsn_of:
        async with await pg.AsyncConnection.connect(
            dsn_of("migrate"), autocommit=True
        ) as connection:
            await migrations.apply(connection, "m25")
        assert "permission denied" in await why_rated_does_not_start(dsn_of("work"))
        await rows(dsn_of("migrate"), f"{grant} {conninfo_to_dict(dsn_of('work'))['user']}")
        async with m25.open(dsn_of("work")) as worker:
            worker.add_queue(rated)
            await worker.start(queue_init_timeout=60)
            record = await worker.enqueue(rated, {"who": "ada"})
            assert (await ended(worker, rated, record.id)).status is m25.JobStatus.SUCCEEDED


async def why_rated_does_not_start(dsn: str) -> str:
    """Why the queue cannot be started, as it is said once the server has answered."""
    said = ""
    # A server that is busy may not have answered within a second, or ten.
    for seconds in (1, 10, 60):
        async with m25.open(dsn) as worker:
            worker.add_queue(rated)
            with pytest.raises(m25.errors.QueueStartError) as refused:
                await worker.start(queue_init_timeout=seconds)
        said = str(refused.value)
        if "permission denied" in said:
            break
    return said


async def enqueue_twice(m: m25.M25, then: Any) -> None:
    job = m25.Job(1, scheduled_at=far_away(), unique=m25.Unique(then, then=then))
    await m.enqueue(guarded, job)
    try:
        await m.enqueue(guarded, job)
    except m25.UniqueKeyConflict:
        assert then == "refuse"


def far_away() -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) + timedelta(days=1)


EVIL = """
create schema evil;
create table evil.tripped (what text);
create table evil.job (like m25.job);
create function evil.trip(what text) returns void language sql as
    'insert into evil.tripped values (what)';
create function evil.now() returns timestamptz language plpgsql as
    $$ begin perform evil.trip('now'); return '-infinity'; end $$;
create function evil.pg_notify(text, text) returns void language plpgsql as
    $$ begin perform evil.trip('pg_notify'); end $$;
create function evil.gen_random_uuid() returns uuid language plpgsql as
    $$ begin perform evil.trip('gen_random_uuid');
    return '00000000-0000-0000-0000-000000000000'; end $$;
create function evil.current_setting(text) returns text language plpgsql as
    $$ begin perform evil.trip('current_setting'); return 'read committed'; end $$;
create function evil.differs(text, text) returns boolean language plpgsql as
    $$ begin perform evil.trip('<>'); return false; end $$;
create operator evil.<> (leftarg = text, rightarg = text, function = evil.differs);
"""


@pytest.mark.parametrize("path", ["evil", "evil, pg_catalog", 'evil, "pg_catalog", public'])
async def test_functions_in_the_search_path_do_not_take_the_place_of_postgresqls(
    dsn: str, path: str
) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    await rows(dsn, EVIL)
    await rows(dsn, f'alter database "{name}" set search_path = {path}')
    async with m25.open(dsn) as m, m25.open(dsn) as worker:
        worker.add_queue(guarded)
        await worker.start()
        record = await m.enqueue(guarded, m25.Job(1).with_unique_key("k"))
        assert (await ended(m, guarded, record.id)).output == 1
        await m.enqueue_many(guarded, [2, 3])
    await rows(dsn, "select m25.enqueue('guarded', '4', unique_key => 'l')")
    assert await rows(dsn, "select * from evil.tripped") == []
    assert await rows(dsn, "select * from evil.job") == []


async def test_a_forged_notification_changes_nothing(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(guarded)
        await m.start()
        channel = Calls("m25").channel("guarded")
        for payload in ("", "x" * 7_000, '{"job": 1}', "'; drop table m25.job; --"):
            await rows(
                dsn,
                "select pg_notify(%(channel)s, %(payload)s)",
                channel=channel,
                payload=payload,
            )
        record = await m.enqueue(guarded, 1)
        assert (await ended(m, guarded, record.id)).output == 1
    assert len(await rows(dsn, "select 1 from m25.job")) == 1
