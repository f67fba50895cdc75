"""Values to JSON text and back: a queue's input, output and error.

What comes back is equal to what went in, or it is refused on the way in, with the path to blame.
What asks comes first; each file imports from those below it:

    exceptions   declared errors, by their fields or their `args`
    converter    from a type annotation to the two functions of its values
    codec        both ways between a value and its JSON text
    schema       JSON Schema of the values of a type
    classes      attrs classes and dataclasses
    containers   lists, sets, tuples, mappings
    unions       what tells the members of a union apart
    choices      Enum, Literal, Flag
    fields       what a class is made of
    annotations  which kind of type an annotation names, and what its parts are
    leaves       types that have no parts
    text         JSON text, and what neither it nor PostgreSQL can hold
    refusal      a refusal, and how it learns where in the value it is
"""

from .codec import Codec
from .converter import value_codec
from .exceptions import error_codec
from .refusal import Undecodable

__all__ = ["Codec", "Undecodable", "error_codec", "value_codec"]
