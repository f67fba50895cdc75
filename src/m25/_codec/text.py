"""JSON text, and what neither it nor PostgreSQL's jsonb can hold."""

from __future__ import annotations

import json
import json.encoder
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from decimal import Decimal
from itertools import islice
from operator import length_hint
from typing import Any, Final, NoReturn, cast

from .annotations import is_class
from .refusal import Refusal, key_part, reason_of, reraise

#: How deeply lists and objects may be nested. Python's own parser, and the stacks of those who
#: handle a value, set limits in the hundreds; so that a refusal is clear, ours comes first.
DEEPEST: Final = 200

#: From here on, a float's shortest form has an exponent. PostgreSQL writes such a number out: it
#: comes back as an integer.
_EXPONENT_FROM: Final = 1e16

#: Integers below this have fewer digits than the least limit that can be set for Python.
_SHORT: Final = 10**600

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
        Refusal: it holds what cannot be kept; `find_fault` finds out where.
    """
    try:
        text = _encode(plain)
        # Quick tests on the whole. A backslash that was in a string is doubled, so the first may
        # also hit what is harmless.
        if (
            "\\u0000" not in text
            and (text.isascii() or text.encode())
            and (bounded or text.count("[") + text.count("{") < DEEPEST or not _is_too_deep(plain))
        ):
            return text
    except (ValueError, TypeError, RecursionError) as error:
        # A UnicodeEncodeError prints the character: none becomes the refusal's context.
        reason = reason_of(error)
    else:
        find_fault(plain)
        return text
    find_fault(plain)
    raise Refusal(reason)


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
    except RecursionError:
        reason = "nested too deeply"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"is not JSON from character {error.pos + 1} on"
    except ValueError:
        reason = "an integer has too many digits"
    raise Refusal(reason)


def find_fault(plain: Any, value: Any = None) -> None:
    """Search what was to be written as JSON for what cannot be.

    `value` is what it was made of, if that is known: the path is then that in the value.

    Raises:
        Refusal: at the first that is found; with the path.
    """
    _find_fault(plain, value, 0)


def _find_fault(plain: Any, value: Any, depth: int) -> None:
    if isinstance(plain, str):
        _check_text(plain)
    elif isinstance(plain, float):
        _check_finite(plain)
    elif isinstance(plain, int):
        check_digits(plain)
    elif isinstance(plain, list | tuple | dict):
        _check_depth(depth)
        for place, part, made_of in _parts(cast("list[Any] | dict[Any, Any]", plain), value):
            try:
                _find_fault(part, made_of, depth + 1)
            except Refusal as refusal:
                reraise(refusal, place)
    elif plain is not None:
        raise Refusal(f"{type(plain).__name__} is not a JSON type")


def _parts(
    plain: list[Any] | tuple[Any, ...] | dict[Any, Any], value: Any
) -> Iterable[tuple[str, Any, Any]]:
    """The parts of what is plain JSON: where each is, the part, and what it was made of."""
    if not isinstance(plain, dict):
        found = _made_of(value, list | tuple | deque, plain)
        for index, part in enumerate(plain):
            yield f"[{index}]", part, found and found[index]
    elif is_class(type(value)):
        for key, part in plain.items():
            yield f".{key}", part, getattr(value, key, None)
    else:
        found = _made_of(value, dict, plain)
        for (key, part), own_key in zip(plain.items(), found or plain, strict=True):
            place = key_part(own_key)
            _check_key(key, place)
            yield place, part, found and found[own_key]


def _made_of(value: Any, kinds: Any, plain: Sized) -> Any:
    """What plain JSON was made of, part by part; or `None`."""
    return value if isinstance(value, kinds) and len(value) == len(plain) else None


def untyped(value: Any, depth: int = 0) -> Any:
    """Check a value that has no other type than to be plain JSON, and make it fit to be written.

    `depth` is how many lists and dicts it is in.

    Raises:
        Refusal: it would not come back equal; with the path.
    """
    kind: type = value.__class__
    if kind is str:
        if not value.isascii() or "\0" in value:
            _check_text(value)
    elif kind is int:
        if not -_SHORT < value < _SHORT:
            check_digits(value)
    elif kind is float:
        return untyped_float(value)
    elif kind is list:
        return _untyped_list(value, depth)
    elif kind is dict:
        return _untyped_dict(value, depth)
    elif value is not None and kind is not bool:
        raise Refusal(f"{kind.__name__} is not a JSON type")
    return value


def _untyped_list(value: list[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    depth += 1
    items = iter(value)
    try:
        return [untyped(item, depth) for item in items]
    except Refusal as refusal:
        reraise(refusal, f"[{index_of_latest(items, value)}]")


def _untyped_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    _check_depth(depth)
    depth += 1
    for key in value:
        if key.__class__ is not str:
            raise Refusal("is a key that is not a string", key_part(key))
        if not key.isascii() or "\0" in key:
            _check_key(key, key_part(key))
    pairs = iter(value.items())
    try:
        return {key: untyped(item, depth) for key, item in pairs}
    except Refusal as refusal:
        reraise(refusal, key_part(key_of_latest(pairs, value)))


def index_of_latest(items: Iterator[Any], whole: Sized) -> int:
    """The index, in a container that is iterated over, of what the iterator gave at last.

    The iterators of Python's own containers know how much is left. So nothing has to be counted
    where nothing fails.
    """
    return len(whole) - length_hint(items) - 1


def key_of_latest(pairs: Iterator[Any], whole: Mapping[Any, Any]) -> Any:
    """The key, in a mapping that is iterated over, of what the iterator gave at last."""
    return next(islice(whole, index_of_latest(pairs, whole), None))


def untyped_float(value: float) -> float | int:
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


def check_digits(value: int) -> None:
    """See that an integer can be written, and read again.

    Raises:
        Refusal: it has more digits than Python reads.
    """
    try:
        str(value)
    except ValueError as error:
        raise Refusal("is an integer of too many digits") from error


def _check_key(key: Any, place: str) -> None:
    if isinstance(key, str):
        try:
            _check_text(key)
        except Refusal as refusal:
            raise Refusal(f"is a key that {refusal.reason}", place) from refusal
    elif not isinstance(key, int | float) and key is not None:
        raise Refusal("is a key that is not a string", place)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refusal("holds the character NUL, which PostgreSQL cannot")
    try:
        text.encode()
    except UnicodeEncodeError:
        pass  # It prints the character: it does not become the refusal's context.
    else:
        return
    raise Refusal("holds a lone surrogate, which is no character")
