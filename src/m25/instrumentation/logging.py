"""Events as lines of the standard library's logging.

Each line says in words what happened. For those who read fields, its record has the event's name as
`m25_event` and each field with `m25_` before its name; `record.msg` is the same for all events of a
class, so that tools which group lines by it do so by event.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from .._events import Event

#: A line names the place that emitted its event: the emitter's caller, who is our caller's.
_STACK_LEVEL: Final = 3


class LoggingListener:
    """Writes each event to the logger that its class names."""

    def __init__(self) -> None:
        self._loggers: dict[str, logging.Logger] = {}

    def wants(self, event_class: type[Event], /) -> bool:
        """Whether the logger would write a line of this class."""
        return self._logger(event_class).isEnabledFor(event_class.level)

    def __call__(self, event: Event, /) -> None:
        """Write the line."""
        logger = self._logger(type(event))
        if not logger.isEnabledFor(event.severity):
            return
        facts = event.facts()
        words = {**facts, **{name: getattr(event, name) for name in event.derived}}
        error: BaseException | None = getattr(event, "error", None)
        if getattr(event, "is_told", False):
            error = None
        path, line, function, _ = logger.findCaller(stacklevel=_STACK_LEVEL)
        record = logger.makeRecord(
            event.logger,
            event.severity,
            path,
            line,
            event.message,
            # An empty mapping is none to logging, which would then miss a place for it in the text.
            (words,) if words else (),
            None if error is None else (type(error), error, error.__traceback__),
            function,
        )
        # Not by `extra`: that raises KeyError where somebody's record factory sets the same name.
        extra: dict[str, Any] = {f"m25_{name}": value for name, value in facts.items()}
        record.__dict__.update(extra, m25_event=type(event).__name__)
        logger.handle(record)

    def _logger(self, event_class: type[Event]) -> logging.Logger:
        # `logging.getLogger` takes a lock each time.
        name = event_class.logger
        if name not in self._loggers:
            self._loggers[name] = logging.getLogger(name)
        return self._loggers[name]
