"""Every entry of the original's reference has a counterpart here, and a test that shows it.

The entries are listed as they stand there; an entry without counterpart or without test fails.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import m25
from m25 import cli

TESTS = Path(__file__).parents[1]

#: Entry of the original → its counterpart, and the test that shows it.
ENTRIES: dict[str, tuple[Callable[[], Any], str]] = {
    # Types
    "FailureReason.Errored": (
        lambda: m25.FailureReason.ERRORED,
        "worker/test_running.py::test_a_declared_error_comes_back_equal",
    ),
    "FailureReason.HeartbeatTimeout": (
        lambda: m25.FailureReason.HEARTBEAT_TIMEOUT,
        "faults/test_processes.py::test_the_jobs_of_a_killed_process_run_again_within_the_bound",
    ),
    "FailureReason.JobTimeout": (
        lambda: m25.FailureReason.JOB_TIMEOUT,
        "worker/test_running.py::test_a_handler_is_cancelled_at_its_deadline",
    ),
    "FailureReason.Crash": (
        lambda: m25.FailureReason.CRASH,
        "worker/test_running.py::test_anything_else_that_is_raised_is_a_crash_with_its_traceback",
    ),
    "Job": (
        lambda: m25.Job,
        "model/test_job.py::test_a_job_of_an_input_alone_runs_at_once_and_once",
    ),
    "JobCancelError.JobCancelFetchError": (
        lambda: _under(m25.errors.JobCancelFetchError, m25.JobCancelError),
        "enqueue/test_enqueueing.py::test_a_job_that_is_not_there_is_not_found",
    ),
    "JobCancelError.InvalidState": (
        lambda: _under(m25.InvalidState, m25.JobCancelError),
        "enqueue/test_enqueueing.py::test_only_a_pending_job_can_be_cancelled",
    ),
    "JobId": (lambda: m25.JobId, "model/test_job.py::test_a_job_id_is_made_of_a_uuid_or_its_text"),
    "JobRecord": (
        lambda: m25.JobRecord,
        "worker/test_running.py::test_the_record_says_when_what_happened",
    ),
    "JobRecordDecodeError.JobRecordFetchInvalidStatusError": (
        lambda: _under(
            m25.errors.JobRecordFetchInvalidStatusError, m25.errors.JobRecordDecodeError
        ),
        "worker/test_poison.py::test_a_status_that_nobody_knows_is_raised_by_its_name",
    ),
    "JobRecordDecodeError.JobRecordFetchInvalidFailureReason": (
        lambda: _under(
            m25.errors.JobRecordFetchInvalidFailureReason, m25.errors.JobRecordDecodeError
        ),
        "worker/test_poison.py::test_every_variant_of_an_unreadable_record_is_raised_by_its_name",
    ),
    "JobRecordDecodeError.JobRecordFetchJsonDecodeError": (
        lambda: _under(m25.errors.JobRecordFetchJsonDecodeError, m25.errors.JobRecordDecodeError),
        "worker/test_poison.py::test_every_variant_of_an_unreadable_record_is_raised_by_its_name",
    ),
    "JobRecordFetchError.JobRecordFetchQueryError": (
        lambda: _under(m25.errors.JobRecordFetchQueryError, m25.JobRecordFetchError),
        "faults/test_outages.py::test_a_client_that_only_enqueues_survives_an_outage",
    ),
    "JobRecordFetchError.JobRecordFetchDecodeErrors": (
        lambda: _under(m25.errors.JobRecordFetchDecodeErrors, m25.JobRecordFetchError),
        "worker/test_poison.py::test_every_variant_of_an_unreadable_record_is_raised_by_its_name",
    ),
    "JobRecordFetchError.NoJobRecordFound": (
        lambda: _under(m25.NoJobRecordFound, m25.JobRecordFetchError),
        "enqueue/test_enqueueing.py::test_a_job_that_is_not_there_is_not_found",
    ),
    "JobStatus.Pending": (
        lambda: m25.JobStatus.PENDING,
        "worker/test_running.py::test_a_job_is_run_and_its_output_comes_back",
    ),
    "JobStatus.Reserved": (
        lambda: m25.JobStatus.RESERVED,
        "client/test_clients.py::test_a_job_is_reserved_while_its_executor_initialises",
    ),
    "JobStatus.Executing": (
        lambda: m25.JobStatus.EXECUTING,
        "worker/test_running.py::test_a_handler_gets_its_record_from_current_job",
    ),
    "JobStatus.Succeeded": (
        lambda: m25.JobStatus.SUCCEEDED,
        "worker/test_running.py::test_a_job_is_run_and_its_output_comes_back",
    ),
    "JobStatus.Failed": (
        lambda: m25.JobStatus.FAILED,
        "worker/test_running.py::test_a_declared_error_comes_back_equal",
    ),
    "JobStatus.Cancelled": (
        lambda: m25.JobStatus.CANCELLED,
        "enqueue/test_enqueueing.py::test_a_pending_job_can_be_cancelled_and_does_not_run",
    ),
    "M25": (lambda: m25.M25, "client/test_clients.py::test_a_client_refuses_use_after_its_block"),
    "Queue": (
        lambda: m25.Queue,
        "declaring/test_queue_declaration.py::test_a_queue_made_by_hand_has_the_defaults_of_the_contract",
    ),
    # Values
    "add_queue": (
        lambda: m25.M25.add_queue,
        "client/test_clients.py::test_a_second_queue_of_the_same_name_is_refused",
    ),
    "cancel_job": (
        lambda: m25.M25.cancel_job,
        "enqueue/test_enqueueing.py::test_a_pending_job_can_be_cancelled_and_does_not_run",
    ),
    "enqueue": (
        lambda: m25.M25.enqueue,
        "enqueue/test_enqueueing.py::test_a_job_enqueued_in_a_transaction_exists_if_that_commits",
    ),
    "get_job": (
        lambda: m25.M25.get_job,
        "worker/test_running.py::test_a_job_is_run_and_its_output_comes_back",
    ),
    "new": (lambda: m25.open, "client/test_clients.py::test_a_client_can_be_opened_by_a_url"),
    "new_job": (
        lambda: m25.Job,
        "model/test_job.py::test_a_job_of_an_input_alone_runs_at_once_and_once",
    ),
    "retry": (
        lambda: m25.Job.retry,
        "worker/test_running.py::test_a_failed_attempt_is_followed_by_the_next_after_its_delay",
    ),
    "schedule": (
        lambda: m25.Job.schedule,
        "worker/test_running.py::test_a_scheduled_job_runs_at_its_time_and_not_before",
    ),
    "start": (
        lambda: m25.M25.start,
        "client/test_clients.py::test_a_queue_that_does_not_initialise_is_named",
    ),
    "supervised": (
        lambda: m25.M25.run,
        "client/test_clients.py::test_queues_run_as_a_child_of_the_callers_nursery",
    ),
    "timeout": (
        lambda: m25.Job.with_timeout,
        "worker/test_running.py::test_a_failed_attempt_is_followed_by_the_next_after_its_delay",
    ),
    "unique_key": (
        lambda: m25.Job.with_unique_key,
        "enqueue/test_enqueueing.py::test_a_unique_key_is_held_until_its_job_fails_or_is_cancelled",
    ),
    "migrate": (
        lambda: cli.main,
        "cli/test_cli.py::test_apply_migrates_and_a_second_time_finds_nothing_to_do",
    ),
}

#: The fields of a record in the original, in its order.
RECORD = [
    "id",
    "queue_name",
    "created_at",
    "scheduled_at",
    "input",
    "reserved_at",
    "started_at",
    "cancelled_at",
    "finished_at",
    "timeout",
    "status",
    "output",
    "deadline",
    "latest_heartbeat_at",
    "failure_reason",
    "error_data",
    "attempt",
    "max_attempts",
    "original_attempt_id",
    "previous_attempt_id",
    "retry_delay",
    "unique_key",
]

_CODECS_BY_HAND = (
    "declaring/test_queue_declaration.py::test_with_codecs_by_hand_no_annotation_is_needed"
)

#: The options of a queue in the original, and the test that shows each.
OPTIONS = {
    "name": "client/test_clients.py::test_a_second_queue_of_the_same_name_is_refused",
    "max_concurrency": "worker/test_running.py::test_no_more_jobs_run_at_once_than_max_concurrency",
    "input_to_json": _CODECS_BY_HAND,
    "input_decoder": _CODECS_BY_HAND,
    "output_to_json": _CODECS_BY_HAND,
    "output_decoder": _CODECS_BY_HAND,
    "error_to_json": _CODECS_BY_HAND,
    "error_decoder": _CODECS_BY_HAND,
    "handler_function": "worker/test_running.py::test_a_job_is_run_and_its_output_comes_back",
    "default_job_timeout": "worker/test_running.py::test_the_record_says_when_what_happened",
    "poll_interval": "worker/test_running.py::test_rows_that_nobody_told_of_are_found_by_polling",
    "heartbeat_interval": "faults/test_processes.py::test_heartbeats_renew_the_lease",
    "allowed_heartbeat_misses": (
        "worker/test_heartbeats.py::"
        "test_an_executor_that_leaves_too_many_unanswered_is_cancelled_and_tried_again"
    ),
    "executor_init_timeout": (
        "client/test_clients.py::"
        "test_a_job_whose_executor_does_not_initialise_goes_back_and_is_tried_again"
    ),
    "reserved_timeout": (
        "house/test_original.py::test_a_reservation_of_the_originals_is_returned_after_reserved_timeout"
    ),
}


def _under(error: type[Exception], parent: type[Exception]) -> type[Exception]:
    assert issubclass(error, parent)
    assert issubclass(error, m25.M25Error)
    return error


@functools.cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def _check_test(named: str) -> None:
    file, _, name = named.partition("::")
    assert name in _tests_in(file), f"there is no {named}"


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_of_the_original_has_a_counterpart_and_a_test(entry: str) -> None:
    counterpart, shown_by = ENTRIES[entry]
    assert counterpart() is not None
    _check_test(shown_by)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_originals_queue_is_one_here_and_has_a_test(option: str) -> None:
    assert option in attrs.fields_dict(m25.Queue)
    _check_test(OPTIONS[option])


def test_a_record_begins_with_the_fields_of_the_original_in_its_order() -> None:
    fields = [field.name for field in attrs.fields(m25.JobRecord)]
    assert len(RECORD) == 22
    assert fields[:22] == RECORD


@pytest.mark.parametrize("kind", [m25.JobStatus, m25.FailureReason])
def test_there_is_no_status_and_no_reason_that_the_original_does_not_know(kind: type) -> None:
    named = [entry for entry in ENTRIES if entry.startswith(f"{kind.__name__}.")]
    assert len(list(kind)) == len(named)  # type: ignore[call-overload]


def test_enqueueing_reading_and_cancelling_take_a_connection_of_the_callers() -> None:
    for method in (m25.M25.enqueue, m25.M25.get_job, m25.M25.cancel_job):
        assert "connection" in inspect.signature(method).parameters


def test_a_job_has_the_five_options_of_the_original_and_a_method_for_each() -> None:
    fields = attrs.fields_dict(m25.Job)
    for option in ("scheduled_at", "timeout", "max_attempts", "retry_delay", "unique_key"):
        assert option in fields
    for method in ("schedule", "with_timeout", "retry", "with_unique_key"):
        assert callable(getattr(m25.Job, method))
