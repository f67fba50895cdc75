"""Addresses, as users have them."""

from __future__ import annotations

import psycopg
import pytest

from m25 import pg
from m25.pg._conninfo import with_liveness, with_server_liveness


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ada@db.example:5433/jobs",
        "postgres+asyncpg://ada@db.example:5433/jobs",
        "postgresql+asyncpg://ada@db.example:5433/jobs",
        "postgis://ada@db.example:5433/jobs",
        "postgresql://ada@db.example:5433/jobs?ssl=true",
        "postgresql://ada@db.example:5433/jobs",
        "host=db.example port=5433 user=ada dbname=jobs",
    ],
)
def test_an_address_is_taken_in_any_form(url: str) -> None:
    assert pg.describe(pg.normalize(url)) == "ada@db.example:5433/jobs"


@pytest.mark.parametrize("url", ["postgresql://ada:hunter2@h/d", "password=hunter2 host=h"])
def test_a_description_has_no_password(url: str) -> None:
    assert "hunter2" not in pg.describe(url)
    assert "hunter2" in pg.normalize(url)


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(psycopg.ProgrammingError) as caught:
        pg.normalize("host=h password=hunter2 nonsense=")
    assert_says_nothing_of("hunter2", caught.value)
    assert "hunter2" not in pg.describe("host=h password=hunter2 nonsense=")


def assert_says_nothing_of(secret: str, error: BaseException | None) -> None:
    """Neither an exception nor any behind it."""
    while error is not None:
        notes = getattr(error, "__notes__", [])
        assert secret not in f"{error} {error!r} {error.args} {notes}"
        if error.__cause__ is not None:
            assert_says_nothing_of(secret, error.__cause__)
        error = error.__context__


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://ada:hunter2@127.0.0.1:1/d",
        "postgresql+psycopg://ada:hunter2@127.0.0.1:1/d?pgbouncer=true",
        "mysql://ada:hunter2@h/d",
        "postgresql://ada:hunter2@h:port/d",
        "postgresql://ada:hunt%er2@h/d",
        "postgresql://ada:hunter2@[h/d",
        "host=127.0.0.1 port=1 password=hunter2 nonsense=1",
        "host=127.0.0.1 port=1 password='hunter2",
        "host=127.0.0.1 port=1 password=hunter2",
    ],
)
async def test_no_exception_of_connecting_has_the_password(address: str) -> None:
    for connect in (pg.AsyncConnection.connect, ask_a_pool):
        with pytest.raises(psycopg.Error) as caught:
            await connect(address)
        assert_says_nothing_of("hunter2", caught.value)
        assert_says_nothing_of("er2", caught.value)


async def ask_a_pool(address: str) -> None:
    async with pg.Pool(address) as pool, pool.connection():
        pass


@pytest.mark.parametrize(
    ("address", "what_to_write"),
    [
        ("postgresql://ada@h/d?pgbouncer=true", "'pgbouncer'.*leave it out"),
        ("postgresql://ada@h/d?schema=public", "'schema'.*options=-csearch_path%3D"),
        ("postgresql://ada@h/d?sslmode=require&ssl=1", "'ssl'.*sslmode=require"),
        ("host=h schema=public", "'schema'.*options"),
        ("postgresql://ada@h/d?connection_limit=1", "'connection_limit'.*max_size"),
        ("postgresql://ada@h/d?novelty=1", "'novelty', which libpq does not know"),
        ("mysql://ada@h/d", "begins with mysql://: for PostgreSQL write postgresql://"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(address: str, what_to_write: str) -> None:
    with pytest.raises(psycopg.ProgrammingError, match=what_to_write):
        pg.normalize(address)


def test_a_parameter_that_may_be_a_part_of_the_password_is_not_named() -> None:
    for address in ("host=h password=hun ter2=x", "postgresql://h/d?password=hun&ter2=x@"):
        with pytest.raises(psycopg.ProgrammingError) as caught:
            pg.normalize(address)
        assert_says_nothing_of("ter2", caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:hunt@er2@h/d",
        "postgresql://ada:hunt/er2@h/d",
        "postgresql+psycopg://ada:12/er2@h/d",
        "host=h;password=hunter2",
    ],
)
async def test_a_password_that_may_be_taken_for_a_host_is_refused(address: str) -> None:
    for take in (pg.normalize, pg.Pool, pg.Listener):
        with pytest.raises(psycopg.ProgrammingError, match=r"neither|told apart") as caught:
            take(address)
        assert_says_nothing_of("er2", caught.value)
    assert pg.describe(address) == "an address that cannot be read"


def test_the_environment_overrules_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=1MB")
    assert "connect_timeout" not in with_liveness({}, pg.LIVENESS)
    options = with_server_liveness({}, {"tcp_user_timeout": "5"})["options"]
    assert options == "-c tcp_user_timeout=5 -c work_mem=1MB"


def test_nothing_is_added_to_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_liveness({"service": "jobs"}, pg.LIVENESS) == {"service": "jobs"}
    assert with_server_liveness({"service": "jobs"}, pg.SERVER_LIVENESS) == {"service": "jobs"}
