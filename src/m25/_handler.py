"""A queue's own code (handler, setup, codecs), and how it is called.

For a job that runs, this code is called from here alone, and each method says what it may raise. A
user's code may raise anything; whatever it raises ends its own attempt, and concerns no other job.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, cast

import attrs
import trio

from ._cancelling import forget_reasons
from ._codec import Codec, Undecodable
from ._duration import as_timedelta
from ._errors import SetupSwallowed, SetupUnusable, ValueRefused
from ._groups import only_leaf
from ._handler_errors import GiveUp, Request, RetryAfter, Snooze
from ._job import Error, Input, Output
from ._retry import GIVE_UP, Exponential, Retry
from ._signature import Arguments

if TYPE_CHECKING:
    from ._running_job import RunningJob


@attrs.frozen
class NotBegun:
    """The answer of `run` where `begin` has said that the handler must not be called."""


class Undecided(Exception):
    """A retry function raised, or returned what is no decision."""


class _NoDecision(Undecided, ValueError):
    """It returned what is no decision."""


@attrs.frozen
class Handler(Generic[Input, Output, Error]):
    """One for each queue."""

    #: Awaited with an input and, with `setup`, what that has yielded. The user's own function, or
    #: what calls that with all else that it takes, or elsewhere.
    function: Callable[..., Awaitable[Output]]
    setup: Callable[[], AbstractAsyncContextManager[Any]] | None
    #: The declared errors.
    errors: tuple[type[Error], ...]
    input_codec: Codec[Input]
    output_codec: Codec[Output]
    error_codec: Codec[Error]
    #: What the user's own function takes.
    arguments: Arguments = attrs.field(factory=lambda: Arguments("input"))
    #: How the queue's jobs are tried again, where the queue says it.
    retry: Retry | None = None

    def decode_input(self, text: str) -> Input:
        """Read an input.

        Raises:
            Undecodable: the text is not that of an input, or the codec raised anything else but
                `KeyboardInterrupt`.
        """
        try:
            return self.input_codec.decode(text)
        except (Undecodable, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise Undecodable("", f"its decoder raised {type(error).__name__}") from error

    def run(
        self,
        value: Input,
        begin: Callable[[], Awaitable[bool]],
        returned: Callable[[Output], None],
    ) -> Awaitable[Output | NotBegun]:
        """Run the handler on one input, and `setup` around it; to be awaited.

        With `setup`, `begin` is awaited after it and before the handler: where `begin` answers
        false, the claim is fenced, and the handler is not called. `returned` is called after the
        handler has returned and before `setup` is left. Without `setup` neither is called.

        Raises:
            SetupSwallowed: the handler did not return, and setup swallowed the reason.
            SetupUnusable: setup returned no async context manager.
            BaseException: whatever setup or handler raised; `sort_raised` separates what is their
                own from what only passed through them.
        """
        if self.setup is None:
            # Returned as it is: another coroutine around it would slow down each of its steps.
            return self.function(value)
        return self._run_with_setup(self.setup, value, begin, returned)

    async def _run_with_setup(
        self,
        setup: Callable[[], AbstractAsyncContextManager[Any]],
        value: Input,
        begin: Callable[[], Awaitable[bool]],
        returned: Callable[[Output], None],
    ) -> Output | NotBegun:
        swallowed: BaseException | None = None
        manager = setup()
        if not isinstance(manager, AbstractAsyncContextManager):
            # To try again would not help: it is an attempt that has failed.
            if not await begin():
                return NotBegun()
            raise SetupUnusable(manager)
        try:
            async with manager as resource:
                if not await begin():
                    return NotBegun()
                try:
                    output = await self.function(value, resource)
                except BaseException as error:
                    swallowed = error
                    raise
                returned(output)
                return output
            # A `return` in the block does not lead here: `setup` has swallowed an exception.
            if isinstance(swallowed, Exception):
                raise swallowed
            raise SetupSwallowed(
                "setup's block ended the handler before it returned, by a scope of its own"
            ) from swallowed
        finally:
            # Its traceback has this frame: see `Executor`.
            del swallowed

    def encode_output(self, output: Output) -> str:
        """Write what the handler returned.

        Raises:
            ValueRefused: the output cannot be kept as JSON, or the codec raised anything else but
                `KeyboardInterrupt`.
        """
        try:
            return self.output_codec.encode(output, "output")
        except (ValueRefused, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise _encoder_raised("output", error) from error

    def encode_error(self, error: Error) -> str:
        """Write the declared error that the handler raised.

        Raises:
            ValueRefused: as `encode_output` does.
        """
        try:
            return self.error_codec.encode(error, "error")
        except (ValueRefused, KeyboardInterrupt):
            raise
        except BaseException as raised:
            raise _encoder_raised("error", raised) from raised

    def declared(self, raised: BaseException) -> Error | None:
        """The declared error that was raised, by itself or as the only leaf of a group, if any."""
        if isinstance(raised, self.errors):
            return raised
        leaf = only_leaf(raised)
        return leaf if isinstance(leaf, self.errors) else None

    def next_attempt_in(
        self,
        retry: Retry,
        error: BaseException,
        counted: int,
        job: Callable[[], RunningJob[Any, Any, Any]],
        rng: random.Random,
    ) -> timedelta | None:
        """How long after the failure of a job the next attempt may run; `None` if none is to.

        `counted` is the attempt's number without those that were lost. `job` makes what a
        function is given, and may raise anything.

        Raises:
            Undecided: the rule is a function, and has not decided; the cause says why.
        """
        rule = retry.rule_for(error)
        if rule is GIVE_UP:
            return None
        if isinstance(rule, timedelta):
            return rule
        if isinstance(rule, Exponential):
            return rule.after(counted, rng)
        if not isinstance(error, Exception):
            raise Undecided(f"a retry function decides about no {type(error).__name__}")
        try:
            decision = rule(job(), error)
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            raise Undecided("the retry function raised") from raised
        if decision is GIVE_UP:
            return None
        return as_timedelta(decision, "what the retry function returns", _NoDecision, zero=True)


def request_of(raised: BaseException) -> Request | None:
    """What a handler has asked for, by itself or as the only leaf of a group, if anything."""
    leaf = only_leaf(raised)
    return leaf if isinstance(leaf, (RetryAfter, GiveUp, Snooze)) else None


def kept_of(raised: BaseException, request: Request | None) -> BaseException:
    """What is kept of an exception, which is this request or none: the cause of a request that was
    raised from one.
    """
    return raised if request is None or request.__cause__ is None else request.__cause__


def _encoder_raised(what: str, error: BaseException) -> ValueRefused:
    return ValueRefused(what, "", f"its encoder raised {type(error).__name__}")


@attrs.frozen
class Raised:
    """An exception that came out of a handler, sorted."""

    #: The part that the handler raised by itself, if there is one.
    own: BaseException | None
    #: The part that must be raised again: `KeyboardInterrupt`, and cancellation from outside.
    passing: BaseException | None

    @property
    def is_interrupt(self) -> bool:
        """Whether `KeyboardInterrupt` is in the part that must be raised again."""
        passing = self.passing
        if isinstance(passing, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", passing)
            return group.subgroup(KeyboardInterrupt) is not None
        return isinstance(passing, KeyboardInterrupt)


def sort_raised(error: BaseException) -> Raised:
    """Separate what a handler raised by itself from what only passed through it.

    What it raised by itself does not repeat why the handler was cancelled.
    """
    raised = _sort(error)
    if raised.own is not None:
        forget_reasons(raised.own)  # rule: no reason of a cancellation is printed
    return raised


def _sort(error: BaseException) -> Raised:
    if isinstance(error, Exception) and not isinstance(error, BaseExceptionGroup):
        return Raised(error, None)
    passes: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
    if being_cancelled():  # rule: only a cancellation from outside passes
        # Without a cancelled scope around us, a `Cancelled` is one that the handler has kept from a
        # scope of its own. Were it raised again, the nursery of the executors would take it for its
        # own and end, and the queue would stop without an event.
        passes += (trio.Cancelled,)
    if isinstance(error, passes):
        return Raised(None, error)
    if not isinstance(error, BaseExceptionGroup):
        return Raised(error, None)
    group = cast("BaseExceptionGroup[BaseException]", error)
    passing, own = group.split(passes)
    return Raised(own, passing)


def being_cancelled() -> bool:
    """Whether a scope around the caller is cancelled."""
    return trio.current_effective_deadline() == -math.inf


def is_cancellation(error: BaseException | None) -> bool:
    """Whether an exception is `Cancelled`, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
