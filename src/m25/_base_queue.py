"""What is known of a queue without its handler: enough to put jobs on it, and to read them.

It imports nothing that runs jobs: a program that only enqueues has neither handlers nor Trio.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict

import attrs

from ._job import Error, Input, Output_co

if TYPE_CHECKING:
    from ._codec import Codec
    from ._fair import Fair
    from ._retry import Retry


#: What is done with a job in whose input something is not known.
UnknownFields: TypeAlias = Literal["release", "refuse", "ignore"]


class QueueSchema(TypedDict):
    """What `Queue.json_schema` returns: JSON Schemas."""

    #: Of what is enqueued.
    input: dict[str, Any]
    #: Of what the handler returns.
    output: dict[str, Any]
    #: Of what is in `error_data`: of a queue without declared errors, of nothing.
    error: dict[str, Any]


@attrs.frozen(eq=False, kw_only=True)
class BaseQueue(Generic[Input, Output_co, Error]):
    """What enqueues, reads and cancels jobs takes one of these: a `Queue` or a `DeclaredQueue`.

    Both declare these fields themselves, with what is checked of them.
    """

    name: str
    default_job_timeout: timedelta
    poll_interval: timedelta
    size_limit: int
    retry: Retry | None
    unknown_fields: UnknownFields
    fair_by: Fair | None
    ordered_by: str | None
    input_type: Any
    input_codec: Codec[Input] = attrs.field(init=False, repr=False)
    output_codec: Codec[Output_co] = attrs.field(init=False, repr=False)
    error_codec: Codec[Error] = attrs.field(init=False, repr=False)

    def json_schema(self) -> QueueSchema:
        """The JSON Schemas of inputs, outputs and declared errors, as they are in the job table.

        They are of draft 2020-12, and each stands by itself: for producers in other languages, and
        for whoever reads outputs there. That of a codec given by hand says nothing.
        """
        return QueueSchema(
            input=self.input_codec.make_schema(),
            output=self.output_codec.make_schema(),
            error=self.error_codec.make_schema(),
        )

    @property
    def ignores_unknown(self) -> bool:
        """Whether fields that its types do not have are left out, where its values are read."""
        return self.unknown_fields == "ignore"

    @property
    def default_max_attempts(self) -> int:
        """How many attempts a job has at most that does not say."""
        return 1 if self.retry is None else self.retry.max_attempts

    @property
    def default_retry_delay(self) -> timedelta:
        """What the row of a job that does not say has as its delay."""
        return timedelta(0) if self.retry is None else self.retry.row_delay
