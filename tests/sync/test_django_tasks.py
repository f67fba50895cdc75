"""Django's tasks on m25: a part of Django's transactions, run by a worker under Trio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import m25
from support.django_tasks import need_tasks
from support.producers import Producer, producer
from support.waiting import eventually

need_tasks()

#: Where tasks are looked for.
APP = "support.shop_app"


@pytest.fixture
def site(dsn: str) -> Iterator[Producer]:
    """Django's connection, within `atomic`; the app is installed, and m25 has its tasks."""
    with producer("django", dsn) as made:
        from django.db import connections
        from django.test import override_settings

        options = {
            "DATABASE": made.connection.alias,
            "RETRY": m25.Retry(max_attempts=2, delay=0),
        }
        backend = {"BACKEND": "m25.django.TaskBackend", "OPTIONS": options}
        with override_settings(INSTALLED_APPS=[APP], TASKS={"default": backend}):
            yield made
        connections.close_all()


async def result_of(ask: Callable[[], Any]) -> Any:
    """What has become of a task, once it has ended."""

    async def look() -> Any:
        result = ask()
        return result if result.is_finished else None

    return await eventually(look)


async def test_a_task_is_a_part_of_the_transaction_and_is_run_by_a_worker(
    dsn: str, site: Producer
) -> None:
    import m25.django
    from support.shop_app import tasks

    gone = tasks.add.enqueue(1, 2)
    site.rollback()
    with pytest.raises(Exception, match=gone.id) as raised:
        tasks.add.get_result(gone.id)
    assert type(raised.value).__name__ == "TaskResultDoesNotExist"
    later = datetime.now(UTC) + timedelta(days=1)
    waiting = tasks.add.using(priority=5, run_after=later).enqueue(1, b=2)
    made = [tasks.add.enqueue(1, b=2), tasks.add_later.enqueue(3, 4), tasks.fail.enqueue("oh")]
    assert {each.status for each in made} == {"READY"}
    site.commit()
    async with m25.open(dsn) as m:
        m.add_queue(m25.django.task_queue(poll_interval=60))
        await m.start()
        added, async_added, failed = [
            await result_of(lambda each=each: each.task.get_result(each.id)) for each in made
        ]
    assert (added.return_value, async_added.return_value) == (3, 7)
    assert (added.args, added.kwargs, added.attempts) == ([1], {"b": 2}, 1)
    assert added.enqueued_at <= added.started_at <= added.finished_at
    assert (failed.status, failed.attempts) == ("FAILED", 2)
    assert [error.exception_class for error in failed.errors] == [LookupError, LookupError]
    assert "LookupError: oh, attempt 1\n" in failed.errors[0].traceback
    assert "LookupError: oh, attempt 2\n" in failed.errors[1].traceback
    waiting.refresh()
    assert (waiting.status, waiting.attempts) == ("READY", 0)
    read = tasks.add.get_result(waiting.id).task
    assert (read.priority, read.run_after) == (5, later)


def test_nothing_but_tasks_of_installed_apps_is_run(site: Producer) -> None:
    from m25.django._calls import find_task

    for path, why in (
        ("os.getcwd", "not in an app of INSTALLED_APPS"),
        ("support.waiting.ended", "not in an app of INSTALLED_APPS"),
        (f"{APP}.tasks.no_task", "is no task"),
        (f"{APP}.tasks.nothing", "there is no task"),
    ):
        with pytest.raises(Exception, match=why) as raised:
            find_task(path)
        assert type(raised.value).__name__.startswith("InvalidTask")


def test_an_option_that_there_is_not_is_refused_by_name(site: Producer) -> None:
    from django.core.exceptions import ImproperlyConfigured

    import m25.django

    with pytest.raises(ImproperlyConfigured, match="no option TIMOUT; it has DATABASE, SCHEMA"):
        m25.django.TaskBackend("default", {"OPTIONS": {"TIMOUT": 3}})
    backend = m25.django.TaskBackend("default", {"QUEUES": ["mail"]})
    with pytest.raises(Exception, match=r"no queue 'post' in its QUEUES"):
        backend.declared("post")
