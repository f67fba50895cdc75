"""From a type annotation to the two functions that turn its values into plain JSON and back.

cattrs writes those of classes. What is added here is strictness: each function accepts values of
its own type alone, so that what would not come back equal is refused where it goes in.

    type                            as JSON
    str, int, bool, None            themselves
    float                           a number; an int that a float can hold comes back as that float
    attrs class, dataclass          an object of its fields; one that has a default may be missing
    TypedDict                       an object of its keys
    union of classes                the same, with the class's name in "_type"
    other union                     its members', where JSON tells them apart
    list, set, frozenset, tuple     an array; a tuple's length is checked
    NamedTuple                      an array
    dict                            an object; keys have a form as string, or are whole numbers
    Enum, Flag                      its value
    Literal                         itself
    datetime, date, time            ISO 8601; a datetime must be aware, and comes back in UTC
    timedelta                       seconds, as a string of decimal digits
    UUID, Decimal, Path             a string
    bytes                           base64, as a string
    NewType, Annotated, Final       what they name, annotate, or qualify
    Any                             a plain JSON value, as it is
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType, TracebackType
from typing import Any, Final, TypeAlias, TypeVar, cast, get_origin

import attrs
import cattrs
import cattrs.gen

from .._errors import InvalidQueue
from . import _kinds as kinds
from ._codec import Codec
from ._kinds import TAG, Unsupported, name_of
from ._refusal import Refusal, key_part, reason_of, shown
from ._scalars import SCALARS, Hook, described, never, none, path
from ._text import find_fault, untyped, untyped_float

#: Makes one direction of a type.
Make: TypeAlias = Callable[[Any], Hook]

_ENCODING: Final = 0
_DECODING: Final = 1

_CATTRS: Final = cattrs.Converter(detailed_validation=False)
# They are declared to take the fields of an attrs class; ours have what of these they read.
_make_unstructure = cast("Any", cattrs.gen.make_dict_unstructure_fn_from_attrs)  # pyright: ignore[reportUnknownMemberType] - cattrs leaves out attrs' arguments
_make_structure = cast("Any", cattrs.gen.make_dict_structure_fn_from_attrs)  # pyright: ignore[reportUnknownMemberType] - the same

#: A field of such a name cannot be told to cattrs, whose own arguments have it.
_TAKEN: Final = frozenset({"attrs", "cl", "converter", "typevar_map"})


def value_codec(annotation: Any, where: str, names: Mapping[str, Any] | None = None) -> Codec[Any]:
    """Make the codec of the values that `annotation` describes.

    `names` are those that the annotations of classes may use beside those of their modules.

    Raises:
        InvalidQueue: it cannot carry them; the message names the type and begins with `where`.
    """
    fast, tracing = Carrier(names or {}), Tracer(names or {})
    try:
        return Codec(
            fast.to_json(annotation),
            fast.decoder(annotation),
            tracing.to_json(annotation),
            tracing.decoder(annotation),
            bounded=not fast.recursive,
            prove=fast.runs_code,
        )
    except Unsupported as error:
        raise InvalidQueue(f"{where}: {error}") from error
    except NameError as error:
        raise InvalidQueue(
            f"{where}: an annotation in {name_of(annotation)} cannot be resolved: {error}; declare "
            "the type at the top of its module"
        ) from error
    except Exception as error:
        raise InvalidQueue(
            f"{where}: {name_of(annotation)} cannot be carried as JSON: {reason_of(error)}"
        ) from error


class Carrier:
    """Makes the functions of types, and of the types that these are made of."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        #: Whether a type that was asked for holds itself.
        self.recursive = False
        #: Whether a class that was asked for runs code of its author's.
        self.runs_code = False
        self._names = names
        # From a type to its function; `None` while that is being made.
        self._encoders: dict[Any, Hook | None] = {}
        self._decoders: dict[Any, Hook | None] = {}
        self._makers: list[tuple[Callable[[Any], bool], Make, Make]] = [
            (kinds.is_class, self._class_to_json, self._class_decoder),
            (kinds.is_enum, self._choice_to_json, self._choice_decoder),
            (kinds.is_literal, self._choice_to_json, self._choice_decoder),
            (kinds.is_flag, _flag_to_json, _flag_decoder),
            (kinds.is_union, self._union_to_json, self._union_decoder),
            (kinds.is_named_tuple, self._named_tuple_to_json, self._named_tuple_decoder),
            (kinds.is_tuple, self._tuple_to_json, self._tuple_decoder),
            (kinds.is_sequence, self._sequence_to_json, self._sequence_decoder),
            (kinds.is_typed_dict, self._typed_dict_to_json, self._typed_dict_decoder),
            (kinds.is_mapping, self._mapping_to_json, self._mapping_decoder),
            (kinds.is_path, lambda kind: path(kind)[0], lambda kind: path(kind)[1]),
            (kinds.is_never, lambda _: never, lambda _: never),
        ]

    def to_json(self, kind: Any) -> Hook:
        """The function from a value of this type to plain JSON.

        Raises:
            Unsupported: there is none.
        """
        return self._hook(kind, self._encoders, _ENCODING)

    def decoder(self, kind: Any) -> Hook:
        """The function from plain JSON to a value of this type.

        Raises:
            Unsupported: there is none.
        """
        return self._hook(kind, self._decoders, _DECODING)

    def _hook(self, kind: Any, made: dict[Any, Hook | None], direction: int) -> Hook:
        kind = kinds.bare(kind)
        try:
            known = kind in made
        except TypeError:
            # It is annotated with what has no hash. Such a type does not hold itself.
            return self._make(kind, direction)
        if not known:
            made[kind] = None
            made[kind] = self._make(kind, direction)
        hook = made[kind]
        if hook is not None:
            return hook
        self.recursive = True

        def later(value: Any, _: Any = None) -> Any:
            hook = made[kind]
            assert hook is not None
            return hook(value)

        return later

    def _make(self, kind: Any, direction: int) -> Hook:
        if kind is Any:
            return untyped
        if kind is NoneType:
            return none
        if isinstance(kind, type) and kind in SCALARS:
            return SCALARS[kind][direction]
        for predicate, *makes in self._makers:
            if predicate(kind):
                return makes[direction](kind)
        if isinstance(kind, TypeVar):
            raise Unsupported(f"nothing says what the type variable {kind.__name__} stands for")
        raise Unsupported(
            f"{name_of(kind)} cannot be carried as JSON; use an attrs class or a dataclass, or "
            "give the queue's codec by hand"
        )

    # Classes

    def _class_to_json(self, cls: Any) -> Hook:
        origin: type = get_origin(cls) or cls
        fields = kinds.fields_of(cls, self._names)
        self.runs_code = self.runs_code or kinds.runs_code(cls)
        hooks = {field.name: self.to_json(field.type) for field in fields}
        if not _TAKEN.isdisjoint(hooks):
            return _traced_to_json(cls, hooks)
        unstructure: Hook = _make_unstructure(
            fields,
            origin,
            _CATTRS,
            _cattrs_use_linecache=False,
            **{name: cattrs.gen.override(unstruct_hook=hook) for name, hook in hooks.items()},
        )

        def to_json(value: Any, _: Any = None) -> Any:
            if value.__class__ is not origin:
                raise Refusal(f"must be {name_of(cls)}, not {described(value)}")
            return unstructure(value)

        return to_json

    def _class_decoder(self, cls: Any) -> Hook:
        origin: type = get_origin(cls) or cls
        fields = kinds.fields_of(cls, self._names)
        hooks = {field.name: self.decoder(field.type) for field in fields}
        if not _TAKEN.isdisjoint(hooks):
            return _traced_decoder(cls, fields, hooks)
        structure: Hook = _make_structure(
            fields,
            origin,
            _CATTRS,
            {each.__name__: Any for each in getattr(origin, "__parameters__", ())},
            _cattrs_use_linecache=False,
            _cattrs_forbid_extra_keys=False,
            **{name: cattrs.gen.override(struct_hook=hook) for name, hook in hooks.items()},
        )
        names = frozenset(hooks)

        def decoder(value: Any, _: Any = None) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be an object, not {described(value)}")
            if not value.keys() <= names:
                raise _unknown_key(value, names, name_of(cls))
            return structure(value, origin)

        return decoder

    # Choices

    def _choice_to_json(self, kind: Any) -> Hook:
        # Choices are told apart by their class, too: 1 == True, and an IntEnum's are integers.
        table: dict[tuple[type, Any], Any] = {
            (choice.__class__, choice): plain for (_, plain), choice in kinds.choices(kind).items()
        }

        def to_json(value: Any, _: Any = None) -> Any:
            try:
                return table[value.__class__, value]
            except (KeyError, TypeError) as error:
                raise Refusal(f"must be one of {name_of(kind)}, not {shown(value)}") from error

        return to_json

    def _choice_decoder(self, kind: Any) -> Hook:
        table = kinds.choices(kind)

        def decoder(value: Any, _: Any = None) -> Any:
            try:
                return table[value.__class__, value]
            except (KeyError, TypeError) as error:
                raise Refusal(f"must be one of {name_of(kind)}, not {shown(value)}") from error

        return decoder

    # Arrays

    def _sequence_to_json(self, kind: Any) -> Hook:
        taken: Any
        taken, item_kind = kinds.sequence(kind)
        item = self.to_json(item_kind)
        each = self._each
        ordered = taken is list

        def to_json(value: Any, _: Any = None) -> Any:
            if value.__class__ is not taken:
                raise Refusal(f"must be a {taken.__name__}, not {described(value)}")
            return each(item, value) if ordered else _in_order(each(item, value))

        return to_json

    def _sequence_decoder(self, kind: Any) -> Hook:
        made, item_kind = kinds.sequence(kind)
        item = self.decoder(item_kind)
        each = self._each
        ordered = made is list

        def decoder(value: Any, _: Any = None) -> Any:
            if value.__class__ is not list:
                raise Refusal(f"must be an array, not {described(value)}")
            return each(item, value) if ordered else made(each(item, value))

        return decoder

    def _tuple_to_json(self, kind: Any) -> Hook:
        return self._tuple(kinds.items(kind), self.to_json, tuple, list)

    def _tuple_decoder(self, kind: Any) -> Hook:
        return self._tuple(kinds.items(kind), self.decoder, list, tuple)

    def _named_tuple_to_json(self, kind: Any) -> Hook:
        origin = get_origin(kind) or kind
        return self._tuple(self._parts(kind), self.to_json, origin, list)

    def _named_tuple_decoder(self, kind: Any) -> Hook:
        origin = get_origin(kind) or kind
        return self._tuple(self._parts(kind), self.decoder, list, origin._make)

    def _parts(self, kind: Any) -> list[Any]:
        hints = kinds.hints_of(kind, self._names)
        names: tuple[str, ...] = (get_origin(kind) or kind)._fields
        for name in names:
            if name not in hints:
                raise Unsupported(f"{name_of(kind)}.{name} has no annotation")
        return [hints[name] for name in names]

    def _tuple(
        self, parts: Iterable[Any], direction: Make, taken: Any, make: Callable[[Any], Any]
    ) -> Hook:
        parts = tuple(parts)
        what = "an array" if taken is list else f"a {taken.__name__}"
        if len(parts) == 2 and parts[1] is Ellipsis:
            item = direction(parts[0])
            each = self._each

            def any_length(value: Any, _: Any = None) -> Any:
                if value.__class__ is not taken:
                    raise Refusal(f"must be {what}, not {described(value)}")
                return make(each(item, value))

            return any_length
        items = [direction(part) for part in parts]
        length = len(items)
        zipped = self._zipped

        def fixed_length(value: Any, _: Any = None) -> Any:
            if value.__class__ is not taken:
                raise Refusal(f"must be {what}, not {described(value)}")
            if len(value) != length:
                raise Refusal(f"must be {what} of {length}, not of {len(value)}")
            return make(zipped(items, value))

        return fixed_length

    # Objects

    def _mapping_to_json(self, kind: Any) -> Hook:
        key_kind, item_kind = kinds.mapping(kind)
        key, item = self._key_to_text(key_kind), self.to_json(item_kind)
        pairs = self._pairs

        def to_json(value: Any, _: Any = None) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be a dict, not {described(value)}")
            found = pairs(key, item, value)
            if len(found) != len(value):
                raise Refusal("has two keys that are the same as strings")
            return found

        return to_json

    def _mapping_decoder(self, kind: Any) -> Hook:
        key_kind, item_kind = kinds.mapping(kind)
        key, item = self._key_from_text(key_kind), self.decoder(item_kind)
        pairs = self._pairs

        def decoder(value: Any, _: Any = None) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be an object, not {described(value)}")
            return pairs(key, item, value)

        return decoder

    def _key_to_text(self, kind: Any) -> Hook:
        hook = self.to_json(kind)
        if _is_text_key(kind):
            return hook

        def to_text(key: Any) -> str:
            return str(hook(key))

        return to_text

    def _key_from_text(self, kind: Any) -> Hook:
        hook = self.decoder(kind)
        if _is_text_key(kind):
            return hook

        def from_text(text: Any) -> Any:
            try:
                number = int(text)
            except ValueError:
                number = None
            if str(number) != text:
                raise Refusal(f"must be a whole number, not {shown(text)}")
            return hook(number)

        return from_text

    def _typed_dict_to_json(self, kind: Any) -> Hook:
        return self._typed_dict(kind, self.to_json, "a dict")

    def _typed_dict_decoder(self, kind: Any) -> Hook:
        return self._typed_dict(kind, self.decoder, "an object")

    def _typed_dict(self, kind: Any, direction: Make, what: str) -> Hook:
        hints, required = kinds.keys_of(kind, self._names)
        hooks = {key: direction(hint) for key, hint in hints.items()}
        named = self._named

        def either_way(value: Any, _: Any = None) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be {what}, not {described(value)}")
            if not value.keys() <= hooks.keys():
                raise _unknown_key(value, hooks, name_of(kind))
            if not value.keys() >= required:
                missing = next(key for key in hooks if key in required and key not in value)
                raise Refusal("is missing", key_part(missing))
            return named(hooks, value)

        return either_way

    # Unions

    def _union_to_json(self, kind: Any) -> Hook:
        members = kinds.members(kind)
        tagged = sum(map(kinds.is_class, members)) > 1
        by_type: dict[type, Hook] = {}
        for member in members:
            hook = self.to_json(member)
            if tagged and kinds.is_class(member):
                hook = _with_tag(hook, kinds.class_name(member))
            for instance_type in kinds.instance_types(member):
                by_type[instance_type] = hook
        if float in by_type:
            if int in by_type:
                by_type[float] = untyped_float
            else:
                by_type[int] = by_type[float]

        def to_json(value: Any, _: Any = None) -> Any:
            hook = by_type.get(value.__class__)
            if hook is None:
                raise Refusal(f"must be {name_of(kind)}, not {described(value)}")
            return hook(value)

        return to_json

    def _union_decoder(self, kind: Any) -> Hook:
        members = kinds.members(kind)
        by_type: dict[type, Hook] = {}
        classes = [member for member in members if kinds.is_class(member)]
        chosen = [member for member in members if kinds.is_enum(member) or kinds.is_literal(member)]
        together: list[tuple[Hook, set[type]]] = []
        if len(classes) > 1:
            together.append((self._tagged_decoder(kind, classes), {dict}))
        else:
            together += [(self.decoder(cls), {dict}) for cls in classes]
        if len(chosen) > 1:
            together.append(self._any_choice(kind, chosen))
        else:
            together += [(self.decoder(each), set(kinds.json_types(each))) for each in chosen]
        for member in members:
            if member in classes or member in chosen:
                continue
            taken = set(kinds.json_types(member))
            if member is float and int in members:
                # A whole number is an int where a union has both.
                taken.discard(int)
            together.append((self.decoder(member), taken))
        for decoder, taken in together:
            for json_type in taken:
                if json_type in by_type:
                    raise Unsupported(
                        f"the members of {name_of(kind)} cannot be told apart in JSON; use "
                        "classes, which are tagged"
                    )
                by_type[json_type] = decoder

        def decoder_of_union(value: Any, _: Any = None) -> Any:
            decoder = by_type.get(value.__class__)
            if decoder is None:
                raise Refusal(f"must be {name_of(kind)}, not {described(value)}")
            return decoder(value)

        return decoder_of_union

    def _tagged_decoder(self, kind: Any, classes: list[Any]) -> Hook:
        by_tag: dict[Any, Hook] = {}
        for cls in classes:
            if any(field.name == TAG for field in kinds.fields_of(cls, self._names)):
                raise Unsupported(
                    f"{name_of(cls)} is a member of a union and has a field named {TAG!r}"
                )
            by_tag[kinds.class_name(cls)] = self.decoder(cls)
        if len(by_tag) < len(classes):
            raise Unsupported(f"two classes of {name_of(kind)} have the same name")

        def decoder(value: Any, _: Any = None) -> Any:
            fields = dict(value)
            tag = fields.pop(TAG, None)
            found = by_tag.get(tag) if isinstance(tag, str) else None
            if found is None:
                raise Refusal(f"must be one of {', '.join(map(repr, by_tag))}", key_part(TAG))
            return found(fields)

        return decoder

    def _any_choice(self, kind: Any, members: list[Any]) -> tuple[Hook, set[type]]:
        decoders: dict[tuple[type, Any], Hook] = {}
        for member in members:
            hook = self.decoder(member)
            for choice in kinds.choices(member):
                if choice in decoders:
                    raise Unsupported(
                        f"two members of {name_of(kind)} are {shown(choice[1])} in JSON"
                    )
                decoders[choice] = hook

        def decoder(value: Any, _: Any = None) -> Any:
            found = decoders.get((value.__class__, value))
            if found is None:
                raise Refusal(f"must be one of {name_of(kind)}, not {shown(value)}")
            return found(value)

        return decoder, {json_type for json_type, _ in decoders}

    # Parts, quickly

    def _each(self, item: Hook, values: Iterable[Any]) -> list[Any]:
        return [item(value) for value in values]

    def _zipped(self, items: Iterable[Hook], values: Iterable[Any]) -> list[Any]:
        return [item(value) for item, value in zip(items, values, strict=True)]

    def _pairs(self, key: Hook, item: Hook, values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key(each): item(value) for each, value in values.items()}

    def _named(self, hooks: Mapping[str, Hook], values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: hooks[key](value) for key, value in values.items()}


class Tracer(Carrier):
    """A carrier whose functions are slow, and find out where in a value a fault is."""

    def _make(self, kind: Any, direction: int) -> Hook:
        hook = super()._make(kind, direction)
        if direction == _DECODING:
            return hook

        def checked(value: Any, _: Any = None) -> Any:
            plain: Any = hook(value)
            # What has parts was checked with these.
            if plain.__class__ not in (list, dict):
                find_fault(plain)
            return plain

        return checked

    def _class_to_json(self, cls: Any) -> Hook:
        fields = kinds.fields_of(cls, self._names)
        return _traced_to_json(cls, {field.name: self.to_json(field.type) for field in fields})

    def _class_decoder(self, cls: Any) -> Hook:
        fields = kinds.fields_of(cls, self._names)
        hooks = {field.name: self.decoder(field.type) for field in fields}
        return _traced_decoder(cls, fields, hooks)

    def _each(self, item: Hook, values: Iterable[Any]) -> list[Any]:
        found: list[Any] = []
        for index, value in enumerate(values):
            with _inside(f"[{index}]"):
                found.append(item(value))
        return found

    def _zipped(self, items: Iterable[Hook], values: Iterable[Any]) -> list[Any]:
        found: list[Any] = []
        for index, (item, value) in enumerate(zip(items, values, strict=True)):
            with _inside(f"[{index}]"):
                found.append(item(value))
        return found

    def _pairs(self, key: Hook, item: Hook, values: Mapping[Any, Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for each, value in values.items():
            with _inside(key_part(each)):
                try:
                    part = key(each)
                except Refusal as refusal:
                    raise Refusal(f"is a key that {refusal.reason}") from refusal
                found[part] = item(value)
        return found

    def _named(self, hooks: Mapping[str, Hook], values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            with _inside(key_part(key)):
                found[key] = hooks[key](value)
        return found


def _traced_to_json(cls: Any, hooks: Mapping[str, Hook]) -> Hook:
    """The function from a class's instances to plain JSON, made of those of its fields."""
    origin: type = get_origin(cls) or cls

    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is not origin:
            raise Refusal(f"must be {name_of(cls)}, not {described(value)}")
        found: dict[str, Any] = {}
        for name, hook in hooks.items():
            with _inside(f".{name}"):
                found[name] = hook(getattr(value, name))
        return found

    return to_json


def _traced_decoder(cls: Any, fields: list[kinds.Field], hooks: Mapping[str, Hook]) -> Hook:
    """The function from plain JSON to a class's instances, made of those of its fields."""
    origin: type = get_origin(cls) or cls

    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not dict:
            raise Refusal(f"must be an object, not {described(value)}")
        if not value.keys() <= hooks.keys():
            raise _unknown_key(value, hooks, name_of(cls))
        found: dict[str, Any] = {}
        for field in fields:
            if field.name in value:
                with _inside(f".{field.name}"):
                    found[field.alias] = hooks[field.name](value[field.name])
            elif field.default is attrs.NOTHING:
                raise Refusal("is missing", f".{field.name}")
        return origin(**found)

    return decoder


class _inside:  # noqa: N801 - it reads as a word
    """Adds a part to the path of a refusal that passes; a bare error becomes one."""

    __slots__ = ("_part",)

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Refusal):
            error.inside(self._part)
        elif isinstance(error, Exception):
            raise Refusal(reason_of(error), self._part) from error


def _unknown_key(value: Mapping[Any, Any], known: Iterable[Any], name: str) -> Refusal:
    unknown = next(key for key in value if key not in known)
    return Refusal(f"is no part of {name}", key_part(unknown))


def _with_tag(hook: Hook, tag: str) -> Hook:
    def to_json(value: Any) -> Any:
        return {TAG: tag, **hook(value)}

    return to_json


def _is_text_key(kind: Any) -> bool:
    """Whether the keys of this type are strings in JSON; else they are whole numbers.

    Raises:
        Unsupported: they are neither.
    """
    kind = kinds.bare(kind)
    found = kinds.json_types(kind) if not kinds.is_union(kind) else []
    if found not in ([str], [int]):
        raise Unsupported(f"a key of type {name_of(kind)} has no form as a string")
    return found == [str]


def _in_order(items: list[Any]) -> list[Any]:
    """Items of a set, in an order that does not depend on how it came about."""
    try:
        items.sort()
    except TypeError:
        items.sort(key=repr)
    return items


def _flag_to_json(kind: Any) -> Hook:
    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is not kind:
            raise Refusal(f"must be {name_of(kind)}, not {described(value)}")
        return value.value

    return to_json


def _flag_decoder(kind: Any) -> Hook:
    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not int:
            raise Refusal(f"must be a whole number, not {described(value)}")
        try:
            found = kind(value)
        except ValueError as error:
            raise Refusal(f"is no combination of {name_of(kind)}") from error
        if found.value != value:
            # Some flags drop the bits they do not know: by their boundary, or by an early 3.11.
            raise Refusal(f"is no combination of {name_of(kind)}")
        return found

    return decoder
