"""The shop in `examples/django_shop`: a real server of Django's, and a worker under Trio."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from support.django_tasks import need_tasks

SHOP = Path(__file__).parents[2] / "examples" / "django_shop"
#: In seconds: four programs are started, each of which imports Django, m25 or both.
PATIENCE = 120


@contextmanager
def program(*arguments: str, dsn: str) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=SHOP, env={**os.environ, "DATABASE_URL": dsn}, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def server(dsn: str) -> Generator[str]:
    """The site's address; its server is up."""
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with program("manage.py", "runserver", "--noreload", str(port), dsn=dsn) as process:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except ConnectionRefusedError:
                    time.sleep(0.02)
                else:
                    yield f"http://127.0.0.1:{port}"
                    return
        # Somebody else may have taken the port meanwhile.
    raise AssertionError("the server has not started")


def until(site: httpx.Client, path: str, *texts: str) -> str:
    """Look at a page until it has these texts."""
    ends_at = time.monotonic() + PATIENCE
    while True:
        page = site.get(path).text
        if all(text in page for text in texts):
            return page
        assert time.monotonic() < ends_at, page
        time.sleep(0.02)


def order(site: httpx.Client, customer: str, book: str) -> httpx.Response:
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', until(site, "/"))
    assert token
    form = {"customer": customer, "book": book, "csrfmiddlewaretoken": token[1]}
    return site.post("/", data=form)


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE)
def test_an_order_and_its_job_are_one_commit_and_the_next_request_has_the_result(dsn: str) -> None:
    need_tasks()
    with program("manage.py", "migrate", "--run-syncdb", "--verbosity=0", dsn=dsn) as migrate:
        assert migrate.wait(PATIENCE) == 0
    with (
        program("-m", "m25", "worker", "orders.worker", dsn=dsn),
        server(dsn) as address,
        httpx.Client(base_url=address, follow_redirects=True, timeout=PATIENCE) as site,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        refused = order(site, "eve", "Lolita")
        assert (refused.status_code, "is out of stock" in refused.text) == (409, True)
        counts = "select (select count(*) from orders_order), (select count(*) from m25.job)"
        assert connection.execute(counts).fetchone() == (0, 0)

        accepted = order(site, "ada", "Emma")
        number = accepted.url.path.removeprefix("/orders/")
        invoice = f"The invoice: no. {number}, to ada."
        until(site, f"/orders/{number}", invoice, "SUCCESSFUL, thanked ada")
        assert connection.execute("select is_thanked from orders_order").fetchall() == [(True,)]
        until(site, order(site, "nobody", "Persuasion").url.path, "cannot be written")
