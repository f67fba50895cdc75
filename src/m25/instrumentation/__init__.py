"""Adapters between m25's events and those who watch: a small module for each.

`docs/events.md` lists the events with their fields. A listener is an object that says which
classes of events it `wants`, and is called with each; `m25.open(…, listeners=[…])` gives it to a
client. `m25.instrumentation.logging` writes log lines, and is always there. Others stand beside it,
a module each, imported by whoever uses it, with what it needs as an extra of the package:

- `m25.instrumentation.opentelemetry`: spans of what is enqueued and run.
- `m25.instrumentation.prometheus`: counters and histograms of what has ended, and how many jobs
  there are.

docs/telemetry.md is the page on them.
"""

from .._emitter import Listener
from .._events import AttemptFailed, Event, JobEvent, QueueEvent
from .._tracer import Tracer

__all__ = ["AttemptFailed", "Event", "JobEvent", "Listener", "QueueEvent", "Tracer"]
