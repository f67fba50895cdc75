#!/usr/bin/env bash
# Django 5.2.19, Trio 0.35.0, Python's sqlite3: the guard against blocking calls does not see Trio.
#
# Django's ORM raises SynchronousOnlyOperation where it is called in a coroutine, since it would block
# the event loop. It asks `asyncio.get_running_loop()`, so it finds the loop of asyncio alone. In a
# coroutine that runs under Trio the same call goes through, and blocks every other task meanwhile:
# here for the 0.3 s that a function of the database takes.
# Seen: "asyncio: SynchronousOnlyOperation" and "trio: it ran, and the other task stood still".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'django==5.2.19' 'trio==0.35.0'
cat > "$folder/program.py" <<'PROGRAM'
import asyncio
import time

import django
import trio
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
)
django.setup()
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection


async def ask():
    with connection.cursor() as cursor:
        connection.connection.create_function("pause", 0, lambda: time.sleep(0.3))
        cursor.execute("select pause()")


try:
    asyncio.run(ask())
except SynchronousOnlyOperation as error:
    print(f"asyncio: {type(error).__name__}")


async def main():
    longest = 0.0

    async def tick():
        nonlocal longest
        while True:
            began = time.monotonic()
            await trio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.sleep(0.01)
        await ask()
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    print("trio: it ran, and the other task", "stood still" if longest >= 0.3 else "went on")


trio.run(main)
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='asyncio: SynchronousOnlyOperation
trio: it ran, and the other task stood still'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
