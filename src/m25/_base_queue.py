"""What is known of a queue without its handler: enough to put jobs on it, and to read them.

It imports nothing that runs jobs: a program that only enqueues has neither handlers nor Trio.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic

from ._job import Error, Input, Output_co

if TYPE_CHECKING:
    from ._codec import Codec
    from ._retry import Retry


class BaseQueue(Generic[Input, Output_co, Error]):
    """What enqueues, reads and cancels jobs takes one of these: a `Queue` or a `DeclaredQueue`."""

    __slots__ = ()

    if TYPE_CHECKING:
        # Attributes of attrs in the classes below, which may not be set.

        @property
        def name(self) -> str: ...
        @property
        def default_job_timeout(self) -> timedelta: ...
        @property
        def retry(self) -> Retry | None: ...
        @property
        def poll_interval(self) -> timedelta: ...
        @property
        def size_limit(self) -> int: ...
        @property
        def input_type(self) -> Any: ...
        @property
        def input_codec(self) -> Codec[Input]: ...
        @property
        def output_codec(self) -> Codec[Output_co]: ...
        @property
        def error_codec(self) -> Codec[Error]: ...

    @property
    def default_max_attempts(self) -> int:
        """How many attempts a job has at most that does not say."""
        return 1 if self.retry is None else self.retry.max_attempts
