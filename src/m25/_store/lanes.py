"""The keys of jobs: what a path leads to in an input, as the statements read it.

And of the lanes that are named by them, how much one claim looks at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from .jsonb import as_jsonb_text

#: In characters: what is behind them counts for nothing in a key.
LONGEST_KEY: Final = 200
#: At how many lanes a fair claim looks, at least.
FEWEST_LANES: Final = 50
#: At the keys of how many due jobs a claim in order looks, at least; and at how many beside.
SHORTEST_FRONT: Final = 50
MOST_KEYS: Final = 100
#: How many pending jobs such claims look at, for those that have no lane, or no place.
WALK: Final = 200


def key_of(text: str, path: Sequence[str]) -> str:
    """What a path leads to in an input as JSON, as `#>>` has it; nothing is empty."""
    if not path:
        return ""
    value = value_at(json.loads(text), path)
    if value is None:
        return ""
    return (value if isinstance(value, str) else as_jsonb_text(json.dumps(value)))[:LONGEST_KEY]


def value_at(value: Any, path: Sequence[str]) -> Any:
    """What a path leads to in a value, as `#>` has it; nothing is `None`."""
    for name in path:
        value = _within(value, name)
    return value


def _within(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).get(name)
    if isinstance(value, list) and name.lstrip("-").isdecimal():
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        at = int(name)
        return items[at] if -len(items) <= at < len(items) else None
    return None
