"""A service that fails is told of and run again; one that returns, or is cancelled, has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from m25._events import ServiceFailed
from m25._supervisor import keep_running
from support.runtimes import Heard, a_runtime


class Service:
    """Runs for so many seconds each time, and then fails; after the last run it returns."""

    def __init__(self, *runs: float) -> None:
        self.runs = list(runs)
        self.began: list[float] = []

    async def __call__(self) -> None:
        self.began.append(trio.current_time())
        if self.runs:
            await trio.sleep(self.runs.pop(0))
            raise ArithmeticError("a mistake of ours")


def pauses(heard: Heard) -> list[float]:
    return [event.pause for event in heard if isinstance(event, ServiceFailed)]


async def test_a_service_that_returns_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    heard, service = Heard(), Service()
    await keep_running("sweeper", service, a_runtime(heard))
    assert service.began == [0]
    assert heard == []


async def test_a_service_that_fails_is_told_of_and_run_again_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard, service = Heard(), Service(1)
    await keep_running("sweeper", service, a_runtime(heard), queue="letters")
    (event,) = heard
    assert isinstance(event, ServiceFailed)
    assert (event.service, event.queue, event.error_type) == (
        "sweeper",
        "letters",
        "ArithmeticError",
    )
    assert isinstance(event.error, ArithmeticError)
    assert service.began == [0, pytest.approx(1 + event.pause)]
    assert 0 < event.pause <= 0.1


async def test_a_group_of_errors_is_a_failure_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    errors = [ExceptionGroup("two services", [OSError("cut"), KeyError("id")])]

    async def service() -> None:
        if errors:
            raise errors.pop()

    await keep_running("manager", service, a_runtime(heard))
    (event,) = heard
    assert isinstance(event, ServiceFailed)
    assert isinstance(event.error, ExceptionGroup)


async def test_pauses_grow_from_failure_to_failure_up_to_the_longest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    await keep_running("sweeper", Service(*[0.0] * 12), a_runtime(heard))
    for failures, pause in enumerate(pauses(heard)):
        full = min(0.1 * 2**failures, 2.5)
        assert full / 2 <= pause <= full
    assert len(heard) == 12


async def test_after_a_run_that_went_well_the_next_failure_is_the_first_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    await keep_running("sweeper", Service(*[0.0] * 6, 26.0, 0.0), a_runtime(heard))
    before, first, second = pauses(heard)[-3:]
    assert before > 1
    assert 0.05 <= first <= 0.1
    assert 0.1 <= second <= 0.2


async def test_a_short_run_between_failures_is_no_run_that_went_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    await keep_running("sweeper", Service(*[24.0] * 6), a_runtime(heard))
    assert pauses(heard)[-1] > 1


async def ends_while(doing: Callable[[], Awaitable[None]]) -> tuple[Heard, float]:
    """Cancel the service after 0.01 s; return what it told, and when it had ended."""
    heard = Heard()
    with trio.move_on_after(0.01) as scope:
        await keep_running("sweeper", doing, a_runtime(heard))
    assert scope.cancelled_caught
    return heard, trio.current_time()


async def test_a_service_that_is_cancelled_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard, ended_at = await ends_while(trio.sleep_forever)
    assert heard == []
    assert ended_at == pytest.approx(0.01)


async def test_a_service_that_is_cancelled_while_it_pauses_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service(0.0, 0.0, 0.0)
    heard, ended_at = await ends_while(service)
    assert len(heard) == 1
    assert len(service.began) == 1
    assert ended_at == pytest.approx(0.01)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_failure_passes(interrupt: type[BaseException]) -> None:
    heard = Heard()

    async def service() -> None:
        raise interrupt

    with pytest.raises(interrupt):
        await keep_running("sweeper", service, a_runtime(heard))
    assert heard == []
