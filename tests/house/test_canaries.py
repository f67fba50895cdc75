"""What jobs carry, and passwords, are in no log line and in no exception's text."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import attrs
import pytest
import trio

import m25
from m25 import pg
from support.waiting import ended, eventually, rows

CANARY = "canary-5f0c"


@attrs.frozen
class Secret:
    number: int
    text: str


@m25.queue("secrets", poll_interval=600)
async def secrets(secret: Secret) -> Secret:
    match secret.number:
        case 1:
            return Secret("one", secret.text)  # type: ignore[arg-type]
        case 2:
            raise LookupError
        case 3:
            await trio.sleep_forever()
    return secret


def text_of(error: BaseException) -> str:
    """What is printed of an exception, and of those behind it."""
    return "".join(traceback.format_exception(error))


async def test_payloads_are_not_logged_and_not_in_exceptions(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    refused: list[Any] = [
        Secret(CANARY, "x"),  # type: ignore[arg-type]
        Secret(4, CANARY + "\0"),
        Secret(4, CANARY + "\ud800"),
        {"number": CANARY},
        CANARY,
    ]
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(secrets)
        await m.start()
        for value in refused:
            with pytest.raises(m25.ValueRefused) as caught:
                await m.enqueue(secrets, value)
            said.append(text_of(caught.value))
        for number in (0, 1, 2):
            record = await m.enqueue(secrets, Secret(number, CANARY))
            found = await ended(m, secrets, record.id)
            said += [str(found.crash_message), str(found.crash_traceback)]
        late = m25.Job(Secret(3, CANARY), timeout=0.05)
        await ended(m, secrets, (await m.enqueue(secrets, late)).id)
        for number, raw in enumerate(
            ('{"number": "%s", "text": "x"}', '{"number": 1, "texts": "%s"}', '"%s"', '["%s"]')
        ):
            await rows(
                dsn,
                "insert into m25.job (queue_name, input, timeout, attempt, max_attempts, priority)"
                " values ('secrets', %(input)s::jsonb, '1 min', 1, 1, %(number)s)",
                input=raw % CANARY,
                number=number,
            )
        await m.enqueue(secrets, Secret(5, CANARY))

        async def undecoded() -> list[dict[str, Any]]:
            found = await rows(dsn, "select * from m25.job where status = 'failed'")
            # What has a field that is not known here is left to newer workers.
            newer = await rows(dsn, "select id from m25.job where unknown_since is not null")
            return found if len(found) == 6 and newer else []

        for row in await eventually(undecoded):
            said += [str(row["crash_message"]), str(row["crash_traceback"])]
        await rows(dsn, "alter table m25.job rename to elsewhere")
        with pytest.raises(m25.errors.JobRecordFetchQueryError) as failed:
            await m.enqueue(secrets, Secret(6, CANARY))
        said.append(text_of(failed.value))
        await rows(dsn, "alter table m25.elsewhere rename to job")
    formatter = logging.Formatter()
    said += [formatter.format(record) for record in caplog.records]
    assert [text for text in said if CANARY in text] == []
    assert said


async def test_a_password_is_not_logged_and_not_in_exceptions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    for address in (
        f"postgresql://ada:{CANARY}@127.0.0.1:1/nowhere",
        f"host=127.0.0.1 port=1 user=ada password={CANARY}",
        f"host=127.0.0.1 port=1 password={CANARY} nonsense",
        f"postgresql://ada:{CANARY}@127.0.0.1:1/nowhere?nonsense=1",
    ):
        with pytest.raises(Exception, match=r".") as caught:
            async with m25.open(address):
                pass
        said.append(text_of(caught.value))
        with pytest.raises(Exception, match=r".") as caught:
            async with pg.Pool(address, timeout=0.1) as pool, pool.connection():
                pass
        said.append(text_of(caught.value))
    formatter = logging.Formatter()
    said += [formatter.format(record) for record in caplog.records]
    assert [text for text in said if CANARY in text] == []
