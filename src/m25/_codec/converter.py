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
    deque                           an array; one with a maxlen is refused
    Iterable, Collection, Sequence  a list's
    NamedTuple                      an array
    dict, Counter                   an object; keys have a form as string, or are whole numbers
    Enum, Flag                      its value
    Literal                         itself
    datetime, date, time            ISO 8601; a datetime must be aware, and comes back in UTC
    timedelta                       seconds, as a string of decimal digits
    UUID, Decimal, Fraction, Path   a string
    IPv4Address and its kin         a string
    bytes                           base64, as a string
    NewType, Annotated, Final       what they name, annotate, or qualify
    Any, object                     a plain JSON value, as it is

A datetime comes back as the same instant. Python calls the two equal, unless it is in an hour that
the clocks of its zone repeat or skip: such a datetime equals none of another zone (PEP 495).

A number comes back equal in Python's sense. PostgreSQL has no negative zero: -0.0 comes back as
0.0. Where nothing says that a number is a float, as in `Any` and in `int | float`, a float of 1e16
or more comes back as the int that it equals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from .._errors import InvalidQueue
from . import annotations as kinds
from .annotations import Unsupported, name_of
from .choices import decode_choice, decode_flag, encode_choice, encode_flag
from .classes import decode_class, encode_class
from .codec import Codec
from .containers import (
    decode_mapping,
    decode_named_tuple,
    decode_sequence,
    decode_tuple,
    decode_typed_dict,
    encode_mapping,
    encode_named_tuple,
    encode_sequence,
    encode_tuple,
    encode_typed_dict,
)
from .fields import runs_code
from .leaves import LEAVES, Hook, is_leaf, never, path
from .maker import Maker
from .schema import value_schema
from .text import find_fault
from .unions import decode_union, encode_union

#: Makes the hook of a type, for a place, with the hooks of its parts.
Make: TypeAlias = Callable[[Maker, Any, str], Hook]

_ENCODING: Final = 0
_DECODING: Final = 1

# Why this table, and not cattrs' own dispatch: cattrs asks `functools.singledispatch` before it
# asks any predicate, and singledispatch goes by base classes. With a hook for `str`, that hook is
# asked for a StrEnum as well, although a predicate for enums was registered; a hook for `int` is
# asked for bools and each IntEnum, and one for `date` for datetimes.
_MAKES: Final[list[tuple[Callable[[Any], bool], Make, Make]]] = [
    (kinds.is_class, encode_class, decode_class),
    (kinds.is_enum, encode_choice, decode_choice),
    (kinds.is_literal, encode_choice, decode_choice),
    (kinds.is_flag, encode_flag, decode_flag),
    (kinds.is_union, encode_union, decode_union),
    (kinds.is_named_tuple, encode_named_tuple, decode_named_tuple),
    (kinds.is_tuple, encode_tuple, decode_tuple),
    (kinds.is_sequence, encode_sequence, decode_sequence),
    (kinds.is_typed_dict, encode_typed_dict, decode_typed_dict),
    (kinds.is_mapping, encode_mapping, decode_mapping),
    (
        kinds.is_path,
        lambda _, kind, place: path(kind)[_ENCODING](place),
        lambda _, kind, place: path(kind)[_DECODING](place),
    ),
    (kinds.is_never, lambda _, __, place: never(place), lambda _, __, place: never(place)),
]


def value_codec(
    annotation: Any,
    where: str,
    names: Mapping[str, Any] | None = None,
    *,
    ignores_unknown: bool = False,
) -> Codec[Any]:
    """Make the codec of the values that `annotation` describes.

    `names` are those that the annotations of classes may use beside those of their modules. With
    `ignores_unknown`, fields that a class does not have are left out, and not refused.

    Raises:
        InvalidQueue: it cannot carry them; the message names the type and begins with `where`.
    """
    encoders, decoders = Converter.both(names or {}, ignores_unknown=ignores_unknown)
    try:
        return Codec(
            encoders.hook(annotation),
            decoders.hook(annotation),
            find_fault,
            bounded=not encoders.recursive,
            prove=any(map(runs_code, encoders.classes)),
            make_schema=partial(
                value_schema, annotation, names or {}, ignores_unknown=ignores_unknown
            ),
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
            f"{where}: {name_of(annotation)} cannot be carried as JSON: {error!r}"
        ) from error


class Converter:
    """Makes the functions of one direction: of types, and of the types that these are made of.

    A function is made for a place in what holds it: a field, or one item of a tuple. It puts that
    place in front of the path of each refusal. So the path of a fault is known without a second
    run, and costs nothing where there is no fault.
    """

    @classmethod
    def both(
        cls, names: Mapping[str, Any], *, ignores_unknown: bool = False
    ) -> tuple[Converter, Converter]:
        """One for each direction: from values to plain JSON, and back."""
        encoders = cls(_ENCODING, names, ignores_unknown)
        decoders = cls(_DECODING, names, ignores_unknown)
        encoders._opposite, decoders._opposite = decoders, encoders
        return encoders, decoders

    def __init__(self, direction: int, names: Mapping[str, Any], ignores_unknown: bool) -> None:
        #: Whether a type that was asked for holds itself.
        self.recursive = False
        self.names = names
        self.ignores_unknown = ignores_unknown
        self.classes: list[Any] = []
        self._direction = direction
        self._opposite = self
        # `None` while the function is being made.
        self._made: dict[object, Hook | None] = {}

    def hook(self, kind: Any, place: str = "") -> Hook:
        """The function of a type's values; its refusals have `place` in front of their paths.

        Raises:
            Unsupported: there is none.
        """
        kind = kinds.bare(kind)
        return self.once((kind, place), lambda: self._make(kind, place))

    def opposite(self, kind: Any) -> Hook:
        """The hook of a type in the other direction."""
        return self._opposite.hook(kind)

    def once(self, key: object, make: Callable[[], Hook]) -> Hook:
        """A function that is made once for a key, and may be asked for while it is being made."""
        try:
            known = key in self._made
        except TypeError:
            # A type is annotated with what has no hash. Such a type does not hold itself.
            return make()
        if not known:
            self._made[key] = None
            self._made[key] = make()
        hook = self._made[key]
        if hook is not None:
            return hook
        self.recursive = True
        made = self._made

        def later(*arguments: Any) -> Any:
            hook = made[key]
            assert hook is not None
            return hook(*arguments)

        return later

    def _make(self, kind: Any, place: str) -> Hook:
        if is_leaf(kind):
            return LEAVES[kind][self._direction](place)
        for predicate, *makes in _MAKES:
            if predicate(kind):
                return makes[self._direction](self, kind, place)
        if isinstance(kind, TypeVar):
            raise Unsupported(f"nothing says what the type variable {kind.__name__} stands for")
        raise Unsupported(
            f"{name_of(kind)} cannot be carried as JSON; use an attrs class or a dataclass, or "
            "give the queue's codec by hand"
        )
