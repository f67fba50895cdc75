"""What can be said about retries; and that all else is refused where it is declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import m25
from m25 import GIVE_UP, Retry, exponential
from m25.errors import InvalidQueue


async def handler(number: int) -> None: ...


def decide(job: object, error: Exception) -> float:
    return 1.0


async def decide_later(job: object, error: Exception) -> float:
    return 1.0


def decide_alone(error: Exception) -> float:
    return 1.0


class Decider:
    def __call__(self, job: object, error: Exception) -> float:
        return 1.0


@pytest.mark.parametrize(
    "retry",
    [
        None,
        Retry(),
        Retry(max_attempts=1),
        Retry(delay=0),
        Retry(delay=timedelta(days=3)),
        Retry(delay=exponential(0.1, factor=1, cap=timedelta(days=1), jitter=1)),
        Retry(delay=decide, on={KeyError: Decider(), ValueError: GIVE_UP, m25.JobTimeout: 0}),
        decide,
        Decider(),
        lambda *both: 1.0,
    ],
)
def test_this_is_understood(retry: Any) -> None:
    queue = m25.Queue("q", handler_function=handler, retry=retry)
    assert queue.default_max_attempts == (1 if retry is None else queue.retry.max_attempts)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_attempts": 0}, "max_attempts must be from 1"),
        ({"max_attempts": 2.5}, "max_attempts must be a whole number"),
        ({"max_attempts": True}, "max_attempts must be a whole number"),
        ({"delay": -1}, "delay must be zero or more"),
        ({"delay": "soon"}, "delay must be seconds, a timedelta, m25.exponential"),
        ({"delay": None}, "delay must be seconds"),
        ({"delay": int}, "delay must be seconds"),
        ({"delay": GIVE_UP}, "max_attempts=1 gives up"),
        ({"delay": decide_later}, "delay must be a plain function"),
        ({"delay": decide_alone}, r"called with 2 arguments \(the job, the error\), and takes"),
        ({"on": [KeyError]}, "on must be a mapping"),
        ({"on": {"KeyError": 1}}, "exception classes as keys, not 'KeyError'"),
        ({"on": {KeyboardInterrupt: 1}}, "exception classes as keys"),
        ({"on": {KeyError: "never"}}, r"on\[KeyError\] must be seconds"),
        ({"on": {KeyError: float("nan")}}, r"on\[KeyError\] must be finite"),
        ({"on": {KeyError: decide_alone}}, r"on\[KeyError\] is called with 2"),
    ],
)
def test_this_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidQueue, match=rf"^Retry: .*{says}"):
        Retry(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"first": 0}, "first must be more than zero"),
        ({"first": 1, "factor": 0.5}, "factor must be from 1 to 1000"),
        ({"first": 1, "factor": float("nan")}, "factor must be from 1"),
        ({"first": 1, "factor": "2"}, "factor must be a number"),
        ({"first": 1, "cap": -1}, "cap must be more than zero"),
        ({"first": 1, "jitter": 1.1}, "jitter must be from 0 to 1"),
        ({"first": 1, "jitter": True}, "jitter must be a number"),
    ],
)
def test_a_growing_delay_of_this_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidQueue, match=f"^exponential: {says}"):
        exponential(**options)


@pytest.mark.parametrize(
    ("retry", "says"),
    [
        (3, "retry must be an m25.Retry, or a function"),
        (Retry, "retry must be an m25.Retry, or a function"),
        (exponential(1), "retry must be an m25.Retry, or a function"),
        (decide_later, "retry must be a plain function"),
        (decide_alone, "retry is called with 2 arguments"),
    ],
)
def test_a_queue_says_where_its_rule_is_wrong(retry: Any, says: str) -> None:
    with pytest.raises(InvalidQueue, match=f"^queue 'q': {says}.*test_retry_declaration"):
        m25.queue("q", retry=retry)(handler)


@pytest.mark.parametrize("request_", [m25.GiveUp, m25.RetryAfter, m25.Snooze])
def test_what_a_handler_asks_for_is_no_error_of_a_queue_and_has_no_rule(
    request_: type[Exception],
) -> None:
    with pytest.raises(InvalidQueue, match=rf"errors cannot hold {request_.__name__}"):
        m25.Queue("letters", handler_function=handler, errors=(request_,))
    with pytest.raises(InvalidQueue, match=rf"on cannot have {request_.__name__}"):
        Retry(on={request_: 3})


def test_a_delay_that_grows_does_not_begin_beyond_its_cap() -> None:
    exponential(5, cap=5)
    with pytest.raises(InvalidQueue, match=r"first .* must not be longer than cap"):
        exponential(6, cap=5)
