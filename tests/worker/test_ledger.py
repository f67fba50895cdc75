"""What a process owes the database for one queue, where rows are locked."""

from __future__ import annotations

from m25._store.protocol import ClaimedJob, Outcome
from m25._worker.ledger import Ledger, Owed


def owed(id: str, token: str = "t") -> Owed:
    return Owed(Outcome(id, token, None, "1", None, None, None, None, None), 1, 1)


def test_what_was_locked_stays_owed_and_keeps_the_rest_from_nothing() -> None:
    ledger = Ledger(10)
    a, b, c = owed("a"), owed("b"), owed("c")
    for each in (a, b):
        ledger.owe(each)
    ledger.written(ledger.next_outcomes(), {"a"})
    assert not ledger.owes
    assert (ledger.has_outcomes, ledger.has_locked) == (True, True)
    ledger.owe(c)
    assert ledger.next_outcomes() == [c]
    ledger.retry_locked()
    assert ledger.next_outcomes() == [c, a]
    ledger.written([c, a])
    assert (ledger.owes, ledger.has_outcomes, ledger.has_locked) == (False, False, False)


def test_what_is_locked_is_kept_alive_counted_and_told_of_as_unwritten() -> None:
    ledger = Ledger(2)
    for number in range(502):
        ledger.owe(owed(str(number)))
    full = ledger.claim_size()
    ledger.written(ledger.next_outcomes(), {str(number) for number in range(500)})
    assert ledger.claim_size() == full == 0
    assert len(ledger.kept_alive(())) == len(ledger.unwritten()) == 502


def test_a_release_that_was_locked_is_tried_again() -> None:
    ledger = Ledger(2)
    jobs = [ClaimedJob("a", "t"), ClaimedJob("b", "t")]
    for job in jobs:
        ledger.owe_release(job)
    ledger.released(ledger.next_releases(), {"b"})
    assert not ledger.owes
    assert ledger.unwritten() == ("b",)
    ledger.retry_locked()
    assert ledger.next_releases() == jobs[1:]


def test_a_locked_outcome_of_a_claim_in_doubt_is_held_back_again() -> None:
    ledger = Ledger(2)
    ledger.ask("t")
    ledger.owe(owed("a"))
    ledger.write_held_back()
    ledger.written(ledger.next_outcomes(), {"a"})
    ledger.hold_back()
    assert not ledger.has_outcomes
    assert ledger.begun_in_doubt() == [ClaimedJob("a", "t")]
