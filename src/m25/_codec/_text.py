"""JSON text, and what neither it nor PostgreSQL's jsonb can hold."""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final, NoReturn, cast

from ._refusal import Refusal, key_part, reason_of

#: How deeply lists and objects may be nested. Python's own parser, and the stacks of those who
#: handle a value, set limits in the hundreds; so that a refusal is clear, ours comes first.
DEEPEST: Final = 200

#: From here on, a float's shortest form has an exponent. PostgreSQL writes such a number out: it
#: comes back as an integer.
_EXPONENT_FROM: Final = 1e16

_SPACES: Final = " \t\r\n"


def _refuse_constant(name: str) -> NoReturn:
    raise Refusal(f"{name} is not a JSON number")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_decode: Final = _decoder.decode
_raw_decode: Final = _decoder.raw_decode


def _make_encoder() -> Callable[[Any], str]:
    """The standard library's encoder, made once; its `encode` would make one for each value."""
    slow = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return slow.encode
    chunks: Callable[[Any, int], Iterable[str]] = make(
        None, slow.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
    )
    join = "".join
    return lambda plain: join(chunks(plain, 0))


_encode: Final = _make_encoder()


def to_text(plain: Any, *, bounded: bool = False) -> str:
    """Write a plain JSON value; `bounded` if its type says that it is not nested too deeply.

    Raises:
        Refusal: it holds what cannot be kept; with the path.
    """
    try:
        text = _encode(plain)
        # Quick tests on the whole; only what fails them is searched. A backslash that was in a
        # string is doubled, so the first may also hit what is harmless.
        if (
            "\\u0000" not in text
            and (text.isascii() or text.encode())
            and (bounded or text.count("[") + text.count("{") < DEEPEST or not _is_too_deep(plain))
        ):
            return text
    except (ValueError, TypeError, RecursionError) as error:
        find_fault(plain)
        raise Refusal(reason_of(error)) from error
    find_fault(plain)
    return text


def from_text(text: str | bytes) -> Any:
    """Read JSON text.

    Raises:
        Refusal: it is none, or holds what Python cannot.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        # As PostgreSQL writes it there are no spaces around it.
        if text[:1] not in _SPACES:
            plain, end = _raw_decode(text)
            if end == len(text):
                return plain
        return _decode(text)
    except RecursionError as error:
        raise Refusal("nested too deeply") from error
    except ValueError as error:
        reason = "an integer has too many digits" if "digits" in str(error) else reason_of(error)
        raise Refusal(reason) from error


def find_fault(value: Any) -> None:
    """Search what was to be written as JSON for what cannot be.

    Raises:
        Refusal: at the first that is found; with the path.
    """
    _find_fault(value, 0)


def _find_fault(value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        _check_finite(value)
    elif isinstance(value, int):
        _check_digits(value)
    elif isinstance(value, list | tuple | dict):
        _check_depth(depth)
        for part, item in _parts(cast("list[Any] | dict[Any, Any]", value)):
            try:
                _find_fault(item, depth + 1)
            except Refusal as refusal:
                raise refusal.inside(part) from refusal.__cause__
    elif value is not None:
        raise Refusal(f"{type(value).__name__} is not a JSON type")


def _parts(value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_key(key)
            yield key_part(key), item
    else:
        for index, item in enumerate(value):
            yield f"[{index}]", item


def untyped(value: Any, _: Any = None) -> Any:
    """Check a value that has no other type than to be plain JSON, and make it fit to be written.

    Raises:
        Refusal: it would not come back equal; with the path.
    """
    return _untyped(value, 0)


def _untyped(value: Any, depth: int) -> Any:
    kind: type = value.__class__
    if kind is str:
        _check_text(value)
    elif kind is int:
        _check_digits(value)
    elif kind is float:
        return untyped_float(value)
    elif kind is list or kind is dict:
        _check_depth(depth)
        keys = [key for key in value if type(key) is not str] if kind is dict else ()
        if keys:
            raise Refusal("is a key that is not a string", key_part(keys[0]))
        found: list[Any] = []
        for part, item in _parts(value):
            try:
                found.append(_untyped(item, depth + 1))
            except Refusal as refusal:
                raise refusal.inside(part) from refusal.__cause__
        return found if kind is list else dict(zip(value, found, strict=True))
    elif value is not None and kind is not bool:
        raise Refusal(f"{kind.__name__} is not a JSON type")
    return value


def untyped_float(value: float, _: Any = None) -> float | int:
    """Write a float so that it comes back equal, although nothing will say that it was one.

    1e23 is 99999999999999991611392, and PostgreSQL would hand back 100000000000000000000000.

    Raises:
        Refusal: it is not finite.
    """
    _check_finite(value)
    return int(value) if abs(value) >= _EXPONENT_FROM else value


def float_from_int(value: int) -> float:
    """The float that PostgreSQL handed back as this integer.

    Raises:
        Refusal: there is none.
    """
    try:
        number = float(value)
    except OverflowError as error:
        raise Refusal("is more than a float can hold") from error
    # The digits may be those of its shortest form, which mean the float, and are not its value.
    if number != value and int(Decimal(repr(number))) != value:
        raise Refusal("is an integer that a float cannot hold exactly")
    return number


def _is_too_deep(plain: Any) -> bool:
    """Whether a value that could be written is nested more deeply than we allow."""
    level = [plain]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if issubclass(value.__class__, dict):
                below += value.values()
            elif issubclass(value.__class__, list | tuple):
                below += value
        if not below:
            return False
        level = below
    return True


def _check_depth(depth: int) -> None:
    if depth >= DEEPEST:
        raise Refusal(f"nested more than {DEEPEST} levels deep, or within itself")


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise Refusal(f"{value} is not a JSON number")


def _check_digits(value: int) -> None:
    try:
        str(value)
    except ValueError as error:
        raise Refusal("is an integer of too many digits") from error


def _check_key(key: Any) -> None:
    if isinstance(key, str):
        try:
            _check_text(key)
        except Refusal as refusal:
            raise Refusal(f"is a key that {refusal.reason}", key_part(key)) from refusal
    elif not isinstance(key, int | float) and key is not None:
        raise Refusal("is a key that is not a string", key_part(key))


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refusal("holds the character NUL, which PostgreSQL cannot")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal("holds a lone surrogate, which is no character") from error
