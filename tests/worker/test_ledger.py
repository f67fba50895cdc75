"""The ledger: what a process runs for a queue, and what it owes the database. No database here."""

from __future__ import annotations

from typing import cast
from uuid import uuid4

import attrs
import pytest

from m25._store.protocol import ClaimedJob, JobRow, Outcome, Release
from m25._waiting_limit import WaitingLimit
from m25._worker.ahead import Ahead
from m25._worker.executor import Executor
from m25._worker.ledger import Ledger, Owed
from m25._worker.slots import Slots


def of_ten() -> Ledger:
    """A ledger of ten slots."""
    return Ledger(10, Slots(WaitingLimit(5), lambda: None), Ahead(0))


#: Tokens of claims.
FIRST, SECOND = "first", "second"


@attrs.frozen(eq=False)
class Running:
    """What the ledger knows of an executor."""

    job: ClaimedJob


def running(token: str = FIRST) -> Executor:
    """The executor of a job that was claimed with this token."""
    return cast("Executor", Running(ClaimedJob(str(uuid4()), token)))


def outcome(executor: Executor) -> Owed:
    """How the executor's attempt has ended: it has succeeded."""
    job = executor.job
    success = Outcome(job.id, job.token, None, "null", None, None, None, None, None)
    # Of which the ledger itself reads nothing.
    return Owed(success, cast("JobRow", None))


def begun(ledger: Ledger, token: str = FIRST) -> Executor:
    executor = running(token)
    ledger.begin([executor])
    return executor


def ended(ledger: Ledger, executor: Executor) -> Owed:
    """Its job ends, and the ledger owes its outcome."""
    ledger.end(executor)
    owed = outcome(executor)
    ledger.owe(owed)
    return owed


# A claim in doubt


def test_an_outcome_is_held_back_while_its_claim_is_in_doubt_and_written_after_the_answer() -> None:
    ledger = of_ten()
    ledger.ask(FIRST, 1)
    owed = ended(ledger, begun(ledger))
    assert not ledger.owes
    assert not ledger.has_outcomes
    assert ledger.next_outcomes() == []
    ledger.answered()
    assert ledger.owes
    assert ledger.next_outcomes() == [owed]


def test_an_outcome_of_another_claim_is_written_while_one_is_in_doubt() -> None:
    ledger = of_ten()
    executor = begun(ledger, FIRST)
    ledger.ask(SECOND, 1)
    owed = ended(ledger, executor)
    assert ledger.next_outcomes() == [owed]


def test_a_second_claim_cannot_be_asked_for_while_one_is_in_doubt() -> None:
    ledger = of_ten()
    ledger.ask(FIRST, 1)
    with pytest.raises(AssertionError, match="made sure of before the next"):
        ledger.ask(SECOND, 1)
    assert ledger.in_doubt == FIRST
    ledger.answered()
    ledger.ask(SECOND, 1)
    assert ledger.in_doubt == SECOND


def test_all_that_began_in_doubt_is_made_sure_of_whether_it_has_ended_or_not() -> None:
    ledger = of_ten()
    begun(ledger, FIRST)
    ended(ledger, begun(ledger, FIRST))
    ledger.ask(SECOND, 1)
    assert ledger.begun_in_doubt() == []
    still_running = begun(ledger, SECOND)
    over = ended(ledger, begun(ledger, SECOND))
    assert ledger.begun_in_doubt() == [still_running.job, over.job]
    ledger.answered()
    assert ledger.begun_in_doubt() == []


def test_what_an_earlier_manager_left_in_doubt_is_held_back_again_and_nothing_else() -> None:
    ledger = of_ten()
    before = ended(ledger, begun(ledger, FIRST))
    ledger.ask(SECOND, 1)
    early = ended(ledger, begun(ledger, SECOND))
    # The manager failed. Its clean-up tried to write all, and the database was away.
    ledger.write_held_back()
    assert ledger.next_outcomes() == [before, early]
    ledger.hold_back()
    assert ledger.next_outcomes() == [before]
    assert ledger.begun_in_doubt() == [early.job]
    ledger.answered()
    assert ledger.next_outcomes() == [before, early]


def test_a_manager_that_failed_with_no_claim_in_doubt_leaves_outcomes_to_be_written() -> None:
    ledger = of_ten()
    owed = ended(ledger, begun(ledger))
    ledger.hold_back()
    assert ledger.next_outcomes() == [owed]


# Outcomes


def test_an_outcome_stays_owed_until_the_database_has_answered() -> None:
    ledger = of_ten()
    first = ended(ledger, begun(ledger))
    assert ledger.next_outcomes() == [first]
    # Another ends while the first is being written, and the answer to that is lost.
    second = ended(ledger, begun(ledger))
    assert ledger.next_outcomes() == [first, second]
    ledger.written([first])
    assert ledger.next_outcomes() == [second]
    ledger.written([second])
    assert not ledger.owes


def test_one_write_takes_so_many_outcomes_and_the_rest_comes_next() -> None:
    ledger = of_ten()
    owed = [ended(ledger, begun(ledger)) for _ in range(1_100)]
    written: list[Owed] = []
    sizes: list[int] = []
    while batch := ledger.next_outcomes():
        sizes.append(len(batch))
        written += batch
        ledger.written(batch)
    assert sizes == [200, 200, 200, 200, 200, 100]
    assert written == owed


def test_whoever_leaves_says_of_which_jobs_something_is_owed() -> None:
    ledger = of_ten()
    written_next = ended(ledger, begun(ledger, FIRST))
    ledger.ask(SECOND, 1)
    held_back = ended(ledger, begun(ledger, SECOND))
    cut_short = begun(ledger, FIRST)
    ledger.end(cut_short)
    ledger.owe_release(Release(*cut_short.job))
    assert ledger.unwritten() == (written_next.job.id, held_back.job.id, cut_short.job.id)


# Heartbeats


def test_a_heartbeat_renews_what_answered_and_what_is_not_written_yet() -> None:
    ledger = of_ten()
    answered, silent = begun(ledger), begun(ledger)
    unwritten = ended(ledger, begun(ledger))
    assert ledger.kept_alive([answered]) == [answered.job, unwritten.job]
    assert silent.job in ledger.running


def test_a_heartbeat_leaves_out_what_is_in_doubt() -> None:
    ledger = of_ten()
    ledger.ask(FIRST, 1)
    early = begun(ledger, FIRST)
    held_back = ended(ledger, begun(ledger, FIRST))
    assert ledger.kept_alive([early]) == []
    ledger.answered()
    assert ledger.kept_alive([early]) == [early.job, held_back.job]


# The size of a claim


def test_a_claim_counts_what_runs_and_what_is_about_to() -> None:
    ledger = of_ten()
    assert ledger.claim_size() == 10
    executors = [begun(ledger) for _ in range(4)]
    assert ledger.claim_size() == 6
    assert ledger.claim_size(more=5) == 1
    assert ledger.claim_size(more=6) == 0
    ledger.end(executors[0])
    assert ledger.claim_size() == 7


def test_a_claim_counts_outcomes_once_very_many_are_unwritten() -> None:
    ledger = of_ten()
    for _ in range(500):
        ended(ledger, begun(ledger))
    assert ledger.claim_size() == 10
    for _ in range(10):
        ended(ledger, begun(ledger))
    assert ledger.claim_size() == 0
    ledger.written(ledger.next_outcomes())
    assert ledger.claim_size() == 10


def test_a_job_that_was_released_and_claimed_again_runs_twice_until_the_first_has_ended() -> None:
    ledger = of_ten()
    first = begun(ledger, FIRST)
    again = cast("Executor", Running(ClaimedJob(first.job.id, SECOND)))
    ledger.begin([again])
    assert ledger.claim_size() == 8
    ledger.end(first)
    assert list(ledger.running) == [again.job]


# Releases


def test_a_release_stays_owed_until_the_database_has_answered() -> None:
    ledger = of_ten()
    first, second = (Release(*running().job) for _ in range(2))
    ledger.owe_release(first)
    assert ledger.owes
    assert not ledger.has_outcomes
    asked = ledger.next_releases()
    # Another is cut short while the first is being released.
    ledger.owe_release(second)
    assert asked == [first]
    ledger.released(asked)
    assert ledger.next_releases() == [second]
    ledger.released([second])
    assert not ledger.owes
    assert ledger.next_releases() == []


# Rows that somebody has locked


def test_what_was_locked_stays_owed_and_keeps_nothing_else_from_being_written() -> None:
    ledger = of_ten()
    locked, written = (ended(ledger, begun(ledger)) for _ in range(2))
    ledger.written(ledger.next_outcomes(), {locked.job.id})
    assert not ledger.owes
    assert (ledger.has_outcomes, ledger.has_locked) == (True, True)
    later = ended(ledger, begun(ledger))
    assert ledger.next_outcomes() == [later]
    ledger.retry_locked()
    assert ledger.next_outcomes() == [later, locked]
    ledger.written([later, locked])
    assert (ledger.owes, ledger.has_outcomes, ledger.has_locked) == (False, False, False)
    assert written.job not in ledger.kept_alive([])


def test_what_is_locked_is_kept_alive_and_counted_and_said_to_be_unwritten() -> None:
    ledger = of_ten()
    for _ in range(510):
        ended(ledger, begun(ledger))
    batch = ledger.next_outcomes()
    ledger.written(batch, {owed.job.id for owed in batch})
    assert ledger.claim_size() == 0
    assert len(ledger.kept_alive([])) == len(ledger.unwritten()) == 510


def test_a_release_that_was_locked_is_tried_again() -> None:
    ledger = of_ten()
    released, locked = (running().job for _ in range(2))
    ledger.owe_release(released)
    ledger.owe_release(locked)
    ledger.released(ledger.next_releases(), {locked.id})
    assert not ledger.owes
    assert ledger.unwritten() == (locked.id,)
    ledger.retry_locked()
    assert ledger.next_releases() == [locked]


def test_a_locked_outcome_of_a_claim_in_doubt_is_held_back_again() -> None:
    ledger = of_ten()
    ledger.ask(FIRST, 1)
    early = ended(ledger, begun(ledger))
    ledger.write_held_back()
    ledger.written(ledger.next_outcomes(), {early.job.id})
    ledger.hold_back()
    assert not ledger.has_outcomes
    assert ledger.begun_in_doubt() == [early.job]


# Slots that are given back


def test_who_waits_leaves_its_slot_to_a_claim_and_goes_on_before_the_next() -> None:
    ledger = of_ten()
    executors = [begun(ledger) for _ in range(10)]
    assert ledger.claim_size() == 0
    for executor in executors[:3]:
        assert ledger.slots.give_back(executor)
    assert ledger.claim_size() == 3
    # What a claim may bring is counted while it is under way.
    ledger.ask(SECOND, 2)
    turns = [ledger.slots.want(executor) for executor in executors[:3]]
    ledger.grant()
    assert [turn is not None and turn.is_set() for turn in turns] == [True, False, False]
    begun(ledger, SECOND)
    ledger.asked()
    ledger.answered()
    assert [turn is not None and turn.is_set() for turn in turns] == [True, True, False]
    assert ledger.claim_size() == 0
    # The last one comes before a claim; and one that is let go needs no slot.
    ledger.slots.let_go(executors[2])
    assert turns[2] is not None
    assert turns[2].is_set()
    ledger.end(executors[3])
    assert ledger.claim_size() == 1
    for executor in executors:
        if executor.job in ledger.running:
            ledger.end(executor)
    assert ledger.claim_size() == 9


def test_no_more_slots_are_given_back_than_a_process_may() -> None:
    ledger = of_ten()
    executors = [begun(ledger) for _ in range(6)]
    assert [ledger.slots.give_back(each) for each in executors] == [True] * 5 + [False]
    assert [ledger.slots.tell_limit() for _ in range(2)] == [True, False]
    ledger.end(executors[0])
    assert ledger.slots.give_back(executors[5])
