"""What makes the hooks of a type asks for those of its parts: by this interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .leaves import Hook


class Maker(Protocol):
    """Makes the hooks of one direction: from values to plain JSON, or from plain JSON to values."""

    #: The names that the annotations of classes may use beside those of their modules.
    names: Mapping[str, Any]
    #: The classes that a hook was asked for.
    classes: list[Any]
    #: Whether a field that a class does not have is left out, where it is not refused.
    ignores_unknown: bool

    def hook(self, kind: Any, place: str = "") -> Hook:
        """The function of a type's values; its refusals have `place` in front of their paths.

        Raises:
            Unsupported: there is none.
        """
        ...

    def opposite(self, kind: Any) -> Hook:
        """The hook of a type in the other direction."""
        ...

    def once(self, key: object, make: Callable[[], Hook]) -> Hook:
        """A function that is made once for a key, and may be asked for while it is being made."""
        ...
