"""`Unique`: a key of which a queue has one job at a time, and what becomes of a second one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from ._duration import Duration, as_timedelta
from ._errors import InvalidJob
from ._text import check_text

#: For how long a job holds its key, as users say it.
While: TypeAlias = Literal["pending", "live", "ever"]
#: The same as it is kept; `within` is until a time.
Holding: TypeAlias = Literal["pending", "live", "ever", "within"]
#: What becomes of a job whose key another one holds.
Then: TypeAlias = Literal["refuse", "return", "replace", "debounce", "rerun_after"]
#: What an `enqueue` of a job with a key has come to.
UniqueOutcome: TypeAlias = Literal["new", "returned", "replaced", "debounced", "rerun"]

#: With the name of its queue, a key longer than this in UTF-8 does not fit into an index entry.
_LONGEST_KEY: Final = 1_000


def _within(value: Duration | None) -> timedelta | None:
    return None if value is None else as_timedelta(value, "within", InvalidJob)


def _check_key(_unique: object, _field: object, value: Any) -> None:
    check_text(value, "the key of a Unique", InvalidJob)
    if len(value.encode()) > _LONGEST_KEY:
        raise InvalidJob(
            f"the key of a Unique must be at most {_LONGEST_KEY} bytes long in UTF-8, "
            f"and {value[:40]!r}… is longer; a hash of it would do"
        )


def _check_one_of(*allowed: object) -> Any:
    def check(_unique: object, field: attrs.Attribute[Any], value: Any) -> None:
        if value not in allowed:
            given = ", ".join(map(repr, filter(None, allowed)))
            raise InvalidJob(f"{field.name} must be one of {given}, not {value!r:.80}")

    return check


@attrs.frozen
class Unique:
    """A key of which a queue has one job at a time: `Job(x, unique=Unique("invoice 7"))`.

    A job holds its key for as long as it asked to, whatever a later one of that key asks for. Keys
    of different queues have nothing to do with each other, nor with a `unique_key`.

    Raises:
        InvalidJob: an option is unknown, or two do not go together.
    """

    #: Up to 1,000 bytes long in UTF-8.
    key: str = attrs.field(validator=_check_key)
    #: For how long the job holds the key: `"pending"`, until it is first claimed, and not again
    #: when it is released or retried; `"live"`, until it has ended, with all its attempts;
    #: `"ever"`, also after that, and after its row is deleted. `None` is `"live"`, unless `within`
    #: is given.
    while_: While | None = attrs.field(
        default=None, validator=_check_one_of(None, *get_args(While))
    )
    #: For how long from now the job holds the key, whatever becomes of it: in seconds, or as a
    #: `timedelta`. In place of `while_`.
    within: timedelta | None = attrs.field(default=None, kw_only=True, converter=_within)
    #: What becomes of the job where another one, its twin, holds the key.
    #:
    #: - `"refuse"`: `UniqueJobConflict` is raised.
    #: - `"return"`: the twin is returned as it is.
    #: - `"replace"`: the twin gets the input and the options of this one, but for its time; where
    #:   it has begun, this one is refused.
    #: - `"debounce"`: the same, and its time is that of this one.
    #: - `"rerun_after"`: the same as `"replace"`; but where the twin has begun, this one waits
    #:   until the twin has ended, with all its attempts. However often that is asked for, one more
    #:   waits, with the latest input.
    then: Then = attrs.field(
        default="refuse", kw_only=True, validator=_check_one_of(*get_args(Then))
    )

    def __attrs_post_init__(self) -> None:
        if self.within is not None and self.while_ is not None:
            raise InvalidJob("a Unique has while_, or within: give one of the two")
        if self.then == "rerun_after" and self.holding != "live":
            raise InvalidJob('then="rerun_after" goes with while_="live" alone')

    @property
    def holding(self) -> Holding:
        """For how long the job holds the key."""
        if self.within is not None:
            return "within"
        return self.while_ or "live"
