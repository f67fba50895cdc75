"""Adapters between m25's events and those who watch: a small module for each.

`docs/events.md` lists the events with their fields. A listener is an object that says which
classes of events it `wants`, and is called with each. `m25.instrumentation.logging` writes log
lines, and is always there. Others stand beside it, a module each, imported by whoever uses it, with
what it needs as an extra of the package:

- `m25.instrumentation.opentelemetry`: a span from `JobStarted` to the event that ends the attempt,
  kept by the attempt's id, with `error` as the span's exception.
- `m25.instrumentation.prometheus`: counters and histograms, a label for the queue and one for the
  event's name; never one for ids, of which there is no end.

Neither is there yet.
"""
