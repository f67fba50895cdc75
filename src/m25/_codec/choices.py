"""Enum, Literal and Flag: values of which there are only some."""

# ruff: noqa: BLE001 - what is caught is raised again, with its place

from __future__ import annotations

import enum
from collections.abc import Collection
from types import NoneType
from typing import Any, get_args

from .annotations import Unsupported, is_literal, name_of
from .leaves import Hook
from .maker import Maker
from .refusal import Refusal, described, reraise, shown


def choices(kind: Any) -> dict[tuple[type, Any], Any]:
    """From each choice's JSON form, with its type since 1 == True, to the choice.

    Raises:
        Unsupported: one has no such form, or two have the same.
    """
    table: dict[tuple[type, Any], Any] = {}
    for choice in get_args(kind) if is_literal(kind) else kind:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if type(plain) not in (str, int, bool, NoneType):
            raise Unsupported(
                f"{name_of(kind)} cannot be carried as JSON: {shown(plain)} is not a string, a "
                "whole number, a truth value or None"
            )
        if (type(plain), plain) in table:
            raise Unsupported(f"two members of {name_of(kind)} are {shown(plain)} in JSON")
        table[type(plain), plain] = choice
    return table


def encode_choice(_maker: Maker, kind: Any, place: str) -> Hook:
    """From a member of an Enum or a Literal to its JSON form."""
    # Choices are told apart by their class, too: 1 == True, and an IntEnum's are integers.
    return _look_up(
        {(choice.__class__, choice): plain for (_, plain), choice in choices(kind).items()},
        kind,
        place,
    )


def decode_choice(_maker: Maker, kind: Any, place: str) -> Hook:
    """From its JSON form to a member of an Enum or a Literal."""
    table = choices(kind)
    return _look_up(table, kind, place, {json_type for json_type, _ in table})


def _look_up(
    table: dict[tuple[type, Any], Any],
    kind: Any,
    place: str,
    newer_types: Collection[type] = (),
) -> Hook:
    """A table as a function; what is not in it, and of `newer_types`, may be in a newer one."""

    def either_way(value: Any, _: Any = None) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            pass  # A KeyError prints the value: it does not become the refusal's context.
        except Exception as error:
            reraise(error, place)
        raise Refusal(
            f"must be one of {name_of(kind)}, and this {described(value)} is not",
            place,
            is_newer=value.__class__ in newer_types,
        )

    return either_way


def encode_flag(_maker: Maker, kind: Any, place: str) -> Hook:
    """From a Flag to its number."""

    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is not kind:
            raise Refusal(f"must be {name_of(kind)}, not {described(value)}", place)
        return value.value

    return to_json


def decode_flag(_maker: Maker, kind: Any, place: str) -> Hook:
    """From its number to a Flag."""

    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not int:
            raise Refusal(f"must be a whole number, not {described(value)}", place)
        try:
            found = kind(value)
            # Some flags drop the bits they do not know: by their boundary, or by an early 3.11.
            if found.value == value:
                return found
        except ValueError:
            pass  # It prints the value: it does not become the refusal's context.
        except Exception as error:
            reraise(error, place)
        raise Refusal(f"is no combination of {name_of(kind)}", place, is_newer=value > 0)

    return decoder
