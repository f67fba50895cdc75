"""The shop's queues: what is done later, and what becomes of it when it fails."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import httpx
import trio

import m25

CARRIER = os.environ.get("CARRIER", "http://127.0.0.1:8025")


@attrs.frozen
class Parcel:
    order: int
    address: str


@attrs.frozen
class BadAddress(Exception):
    """The carrier does not deliver there, and never will."""

    address: str


@attrs.frozen
class CarrierDown(Exception):
    """The carrier is not to be reached, or has an error of its own."""

    status: int


@attrs.frozen
class Poster:
    text: str
    rounds: int


@attrs.frozen
class Catalogue:
    pages: int


@m25.queue("alerts")
async def alerts(failed: m25.FailedJob) -> None:
    print(f"alert: {failed.queue} has given up after {failed.attempts}: {failed.error}", flush=True)


@asynccontextmanager
async def carrier() -> AsyncGenerator[httpx.AsyncClient]:
    """One client, with its connections, for all parcels of a process."""
    async with httpx.AsyncClient(base_url=CARRIER, timeout=60) as client:
        yield client


@m25.queue(
    "parcels",
    errors=(BadAddress, CarrierDown),
    lifespan=carrier,
    retry=m25.Retry(
        max_attempts=6,
        delay=m25.exponential(0.2, factor=2, cap=60, jitter=0.2),
        on={BadAddress: m25.GIVE_UP},
    ),
    on_failure=alerts,
)
async def parcels(parcel: Parcel, *, shared: httpx.AsyncClient) -> str:
    """Send a parcel; the same one is not sent twice, since the carrier is told the job's id."""
    key = str(m25.current_job().job_id)
    try:
        answer = await shared.post(
            "/parcels", json=attrs.asdict(parcel), headers={"Idempotency-Key": key}
        )
    except httpx.TransportError as error:
        raise CarrierDown(0) from error
    match answer.status_code:
        case 201:
            return str(answer.json()["tracking"])
        case 422:
            raise BadAddress(parcel.address)
        case 429:
            raise m25.RetryAfter(float(answer.headers["Retry-After"]))
        case status:
            raise CarrierDown(status)


@m25.queue("posters", runs="process", default_job_timeout=10, max_concurrency=2)
def posters(poster: Poster) -> str:
    """Draw a poster: pure computing, in a process that is killed at the job's deadline."""
    seed = len(poster.text)
    for _ in range(poster.rounds):
        seed = (seed * 1_103_515_245 + 12_345) % 2**31
    return "".join(" .:-=+*#%@"[(seed >> shift) % 10] for shift in range(24))


@m25.queue("catalogues", default_job_timeout=600, cancel_grace=2)
async def catalogues(catalogue: Catalogue) -> str:
    """Print a catalogue page by page, and say how far it is."""
    job = m25.current_job()
    for page in range(catalogue.pages):
        await trio.sleep(0.1)
        await job.report(done=page + 1, total=catalogue.pages, note=f"page {page + 1}")
    return f"{catalogue.pages} pages"


QUEUES = (alerts, parcels, posters, catalogues)
