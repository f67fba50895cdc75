"""Which texts PostgreSQL can hold."""

from __future__ import annotations


def check_text(value: object, name: str, error: type[ValueError]) -> str:
    """Return `value`, which must be text that PostgreSQL can hold.

    Raises:
        error: it is no string, is empty, or holds NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise error(f"{name} must be a string, not {value!r:.80}")
    if not value:
        raise error(f"{name} must not be empty")
    if "\0" in value:
        raise error(f"{name} must not hold the character NUL, as {value[:80]!r} does")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise error(f"{name} must not hold a lone surrogate, as {value[:80]!r} does")
    return value
