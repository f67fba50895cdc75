"""Values to JSON text and back: a queue's input, output and error.

What comes back is equal to what went in, or it is refused on the way in, with the path to blame.

    _text      JSON text, and what neither it nor PostgreSQL can hold
    _scalars   both directions of the types that have no parts
    _kinds     what a type annotation says
    _values    from a type annotation to the two functions of its values
    _errors    the same for exceptions
"""

from ._codec import Codec
from ._errors import error_codec
from ._refusal import Undecodable
from ._values import value_codec

__all__ = ["Codec", "Undecodable", "error_codec", "value_codec"]
