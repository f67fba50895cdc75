"""attrs classes and dataclasses: objects of their fields. cattrs writes the functions."""

# ruff: noqa: BLE001 - what is caught is raised again, with its place

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast, get_origin

import attrs
import cattrs
import cattrs.gen

from .annotations import name_of
from .containers import unknown_key
from .fields import Field, Uncarried, fields_of, uncarried
from .leaves import Hook
from .maker import Maker
from .refusal import Refusal, described, reason_of, reraise

_CATTRS: Final = cattrs.Converter(detailed_validation=False)
# They are declared to take the fields of an attrs class; ours have what of these they read.
_make_unstructure = cast("Any", cattrs.gen.make_dict_unstructure_fn_from_attrs)  # pyright: ignore[reportUnknownMemberType] - cattrs leaves out attrs' arguments
_make_structure = cast("Any", cattrs.gen.make_dict_structure_fn_from_attrs)  # pyright: ignore[reportUnknownMemberType] - the same

#: A field of such a name cannot be told to cattrs, whose own arguments have it.
_TAKEN: Final = frozenset({"attrs", "cl", "converter", "typevar_map"})

_NOTHING: Final = object()


def encode_class(maker: Maker, cls: Any, place: str) -> Hook:
    """From an instance to an object."""
    origin: type = get_origin(cls) or cls
    fields = fields_of(cls, maker.names)
    maker.classes.append(cls)
    unstructure = maker.once(("fields", cls), lambda: _unstructure(maker, cls, fields))

    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is not origin:
            raise Refusal(f"must be {name_of(cls)}, not {described(value)}", place)
        try:
            return unstructure(value)
        except Refusal as refusal:
            reraise(refusal, place)
        except Exception as error:
            reraise(error, place + _unreadable(value, fields))

    return to_json


def decode_class(maker: Maker, cls: Any, place: str) -> Hook:
    """From an object to an instance."""
    origin: type = get_origin(cls) or cls
    fields = fields_of(cls, maker.names)
    maker.classes.append(cls)
    structure = maker.once(("fields", cls), lambda: _structure(maker, origin, fields))
    names = frozenset(field.name for field in fields)
    known = names.issuperset
    ignores_unknown = maker.ignores_unknown
    required = [field.name for field in fields if field.default is attrs.NOTHING]

    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not dict:
            raise Refusal(f"must be an object, not {described(value)}", place)
        if not known(value) and not ignores_unknown:
            raise unknown_key(value, names, cls, place)
        try:
            return structure(value, origin)
        except KeyError as error:
            missing = next((name for name in required if name not in value), None)
            if missing is None:
                reraise(error, place)
            raise Refusal("is missing", f"{place}.{missing}") from error
        except Exception as error:
            reraise(error, place)

    return decoder


def _hooks(maker: Maker, fields: Iterable[Field]) -> dict[str, Hook]:
    # A hook that knows its field is what makes the path: nothing has to find out afterwards in
    # which field the function that cattrs wrote was.
    return {field.name: maker.hook(field.type, f".{field.name}") for field in fields}


def _unstructure(maker: Maker, cls: Any, fields: list[Field]) -> Hook:
    unstructure = _unstructure_fields(maker, get_origin(cls) or cls, fields)
    lost = uncarried(cls)
    if not lost:
        return unstructure
    structure = maker.opposite(cls)

    def unstructure_and_compare(value: Any) -> Any:
        plain = unstructure(value)
        try:
            again = structure(plain)
        except Exception as error:
            raise Refusal(f"could not be read again: {reason_of(error)}") from error
        for field in lost:
            if not _same(field, value, again):
                raise Refusal(
                    "would not come back equal: it is no argument of its class; if it does not "
                    "matter, leave it out of comparisons (eq=False, or compare=False)",
                    f".{field.name}",
                )
        return plain

    return unstructure_and_compare


def _same(field: Uncarried, value: Any, again: Any) -> bool:
    """Whether two instances have the same in a field, or both have nothing there."""
    own, other = (getattr(each, field.name, _NOTHING) for each in (value, again))
    if own is other:
        return True
    if own is _NOTHING or other is _NOTHING:
        return False
    try:
        return bool(field.key(own) == field.key(other))
    except Exception:
        # What cannot be compared is not known to be the same.
        return False


def _unstructure_fields(maker: Maker, origin: type, fields: list[Field]) -> Hook:
    hooks = _hooks(maker, fields)
    if not _TAKEN.isdisjoint(hooks):

        def unstructure(value: Any) -> dict[str, Any]:
            return {name: hook(getattr(value, name)) for name, hook in hooks.items()}

        return unstructure
    made: Hook = _make_unstructure(
        fields,
        origin,
        _CATTRS,
        _cattrs_use_linecache=False,
        **{name: cattrs.gen.override(unstruct_hook=hook) for name, hook in hooks.items()},
    )
    return made


def _structure(maker: Maker, origin: type, fields: list[Field]) -> Hook:
    hooks = _hooks(maker, fields)
    if not _TAKEN.isdisjoint(hooks):

        def structure(value: dict[str, Any], _: Any = None) -> Any:
            given = {
                field.alias: hooks[field.name](value[field.name])
                for field in fields
                if field.name in value or field.default is attrs.NOTHING
            }
            return origin(**given)

        return structure
    made: Hook = _make_structure(
        fields,
        origin,
        _CATTRS,
        {each.__name__: Any for each in getattr(origin, "__parameters__", ())},
        _cattrs_use_linecache=False,
        _cattrs_forbid_extra_keys=False,
        **{name: cattrs.gen.override(struct_hook=hook) for name, hook in hooks.items()},
    )
    return made


def _unreadable(value: Any, fields: Iterable[Field]) -> str:
    """The field that an instance does not have, or does not let be read, as a part of a path."""
    for field in fields:
        try:
            getattr(value, field.name)
        except Exception:
            return f".{field.name}"
    return ""
