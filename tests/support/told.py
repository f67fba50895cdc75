"""What m25 told of, as its log lines have it."""

from __future__ import annotations

import logging
from typing import Any

import pytest


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, in order, but that the loop stood still: a busy machine does that."""
    return [r for r in caplog.records if getattr(r, "m25_event", None) != "LoopStalled"]


def told(caplog: pytest.LogCaptureFixture, job_id: object = None) -> list[str]:
    """The names of the events of these, in order; of one job, if one is named."""
    return [
        record.m25_event
        for record in said(caplog)
        if hasattr(record, "m25_event")
        and (job_id is None or getattr(record, "m25_job_id", None) == str(job_id))
    ]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    """The log records of an event, in order, with its fields as `m25_queue` and so on."""
    return [record for record in caplog.records if getattr(record, "m25_event", None) == event]
