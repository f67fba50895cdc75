"""Tasks that tests enqueue; to be imported where the app is installed."""

from __future__ import annotations

from typing import Any

import django

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_later(a: int, b: int) -> int:
    return a + b


@task(takes_context=True)
def fail(context: Any, word: str) -> None:
    raise LookupError(f"{word}, attempt {context.attempt}")


def no_task() -> None:
    raise AssertionError("called, and it is no task")
