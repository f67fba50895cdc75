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
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
    assert "hunter2" not in pg.describe("host=h password=hunter2 nonsense=")


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
        assert "er2" not in f"{caught.value} {caught.value.__cause__}"
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
