"""`Fair`: how the jobs of a queue take turns between keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from ._errors import InvalidQueue
from ._limits import check_path
from ._text import check_text


def _check_key(_: Fair, __: attrs.Attribute[str], value: object) -> None:
    check_path(value, "the key of fair_by")


def _check_weights(_: Fair, __: attrs.Attribute[Mapping[str, float]], value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidQueue(f"the weights of fair_by must be a mapping, not {value!r:.80}")
    given: Mapping[object, object] = value  # pyright: ignore[reportUnknownVariableType]
    for key, weight in given.items():
        check_text(key, "a key among the weights of fair_by", InvalidQueue)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InvalidQueue(f"the weight of {key!r:.80} must be a number, not {weight!r:.80}")
        if not (math.isfinite(weight) and 0.001 <= weight <= 1000):
            raise InvalidQueue(f"the weight of {key!r:.80} must be from 0.001 to 1,000")


@attrs.frozen
class Fair:
    """Between which keys a queue is fair: `m25.Fair("customer", weights={"ada": 3})`.

    Args:
        key: a path into the input's JSON, by its names with dots in between.
        weights: how much more than others, or less, a key has of the workers while there are jobs
            of several; a key that is not here has a weight of 1.

    Raises:
        InvalidQueue: it is none of these.
    """

    key: str = attrs.field(validator=_check_key)
    weights: Mapping[str, float] = attrs.field(factory=dict, kw_only=True, validator=_check_weights)

    @property
    def path(self) -> Sequence[str]:
        """The key's path, name by name."""
        return self.key.split(".")


def as_fair(value: Fair | str | None) -> Fair | None:
    """A queue's option, which may be the key alone."""
    return Fair(value) if isinstance(value, str) else value


def check_fair(name: str, value: object) -> None:
    """Check a queue's option."""
    if value is not None and not isinstance(value, Fair):
        raise InvalidQueue(
            f"{name} must be a path into the input's JSON, such as 'customer', or a m25.Fair; not"
            f" {value!r:.80}"
        )
