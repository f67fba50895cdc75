"""An option that there is not is named, with the one that may have been meant."""

from __future__ import annotations

import attrs
import pytest

import m25


async def send(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_concurency", "max_concurrency"),
        ("job_timeout", "default_job_timeout"),
        ("heartbeat", "heartbeat_interval"),
        ("error", "errors"),
        ("inputToJson", "input_to_json"),
    ],
)
def test_a_misspelt_option_is_named_with_the_right_one(given: str, meant: str) -> None:
    with pytest.raises(TypeError) as decorated:
        m25.queue("emails", **{given: 3})
    with pytest.raises(TypeError) as by_hand:
        m25.Queue("emails", handler_function=send, **{given: 3})
    for raised in (decorated, by_hand):
        assert str(raised.value).startswith(f"queue 'emails': there is no option {given!r}; ")
        assert meant in str(raised.value)


def test_what_is_like_no_option_is_answered_with_all() -> None:
    with pytest.raises(TypeError, match=r"'zzz'; there are allowed_heartbeat_misses, "):
        m25.queue("emails", zzz=3)


def test_a_queue_can_be_made_from_another() -> None:
    queue = m25.Queue("emails", handler_function=send)
    assert attrs.evolve(queue, max_concurrency=3).max_concurrency == 3
    with pytest.raises(TypeError, match="queue None"):
        m25.Queue(nome="emails", handler_function=send)
    assert m25.Queue(name="emails", handler_function=send).name == "emails"
