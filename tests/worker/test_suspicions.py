"""When a job is taken for lost: plain values in, plain values out."""

from __future__ import annotations

import math

from m25._store.protocol import Suspect
from m25._worker.suspicions import RECONNECTING, Suspicions

PATIENCE = 6.0
SUSPECT = Suspect("q", "01a2", "token", "100.0", is_expired=True, is_abandoned=False, length=20.0)
NEARLY = SUSPECT._replace(is_expired=False)
ABANDONED = NEARLY._replace(is_abandoned=True)


def suspicions() -> Suspicions:
    return Suspicions({"q": PATIENCE})


def look(found: Suspicions, at: float, *suspects: Suspect) -> list[Suspect]:
    return found.look(suspects, began=at, ended=at + 0.01)


def test_one_look_proves_nothing() -> None:
    assert look(suspicions(), 0, SUSPECT) == []


def test_a_lease_that_was_over_for_as_long_as_an_owner_needs_to_renew_it_is_lost() -> None:
    found = suspicions()
    assert look(found, 0, SUSPECT) == []
    assert look(found, PATIENCE / 2, SUSPECT) == []
    assert look(found, PATIENCE, SUSPECT) == [SUSPECT]


def test_a_lease_that_was_seen_before_it_was_over_is_lost_as_soon_as_it_is() -> None:
    found = suspicions()
    look(found, 0, NEARLY)
    assert look(found, PATIENCE, SUSPECT) == [SUSPECT]


def test_a_lease_that_was_renewed_is_another_lease() -> None:
    found = suspicions()
    look(found, 0, SUSPECT)
    renewed = SUSPECT._replace(lease_expires_at="105.0")
    assert look(found, PATIENCE, renewed) == []
    assert look(found, 2 * PATIENCE, renewed) == [renewed]


def test_a_job_that_was_claimed_again_is_another_job() -> None:
    found = suspicions()
    look(found, 0, SUSPECT)
    assert look(found, PATIENCE, SUSPECT._replace(token="another")) == []


def test_after_a_look_that_failed_every_owner_has_its_time_again() -> None:
    found = suspicions()
    look(found, 0, SUSPECT)
    found.forget()
    assert look(found, PATIENCE, SUSPECT) == []
    assert look(found, 2 * PATIENCE, SUSPECT) == [SUSPECT]


def test_a_look_that_took_long_counts_as_the_first() -> None:
    """The server stood still; at its end every lease is over, and no owner is dead."""
    found = suspicions()
    look(found, 0, NEARLY)
    assert found.look([SUSPECT], began=5, ended=35) == []
    assert look(found, 35 + PATIENCE / 2, SUSPECT) == []
    assert look(found, 35 + PATIENCE, SUSPECT) == [SUSPECT]


def test_the_owners_own_options_decide_how_long_it_may_take() -> None:
    found = suspicions()
    short = SUSPECT._replace(length=1.0)
    look(found, 0, short)
    assert look(found, 1.0, short) == [short]


def test_a_worker_whose_sessions_are_gone_has_time_to_connect_again() -> None:
    found = suspicions()
    assert look(found, 0, ABANDONED) == []
    assert look(found, RECONNECTING / 2, ABANDONED) == []
    assert look(found, RECONNECTING, ABANDONED) == [ABANDONED]


def test_a_worker_that_has_connected_again_is_none_that_is_gone() -> None:
    found = suspicions()
    look(found, 0, ABANDONED)
    look(found, 1, NEARLY)
    assert look(found, RECONNECTING, ABANDONED) == []


def test_a_worker_that_has_connected_between_two_looks_and_lost_that_again_is_none_either() -> None:
    found = suspicions()
    look(found, 0, ABANDONED._replace(heard_at="1.0"))
    again = ABANDONED._replace(heard_at="2.0")
    assert look(found, RECONNECTING - 1, again) == []
    assert look(found, RECONNECTING, again) == []
    assert look(found, 2 * RECONNECTING - 1, again) == [again]


def test_a_job_of_the_originals_workers_is_lost_when_it_is_found() -> None:
    theirs = Suspect("q", "01a2", None, None, is_expired=True, is_abandoned=False, length=0.0)
    assert look(suspicions(), 0, theirs) == [theirs]


def test_the_next_look_comes_when_it_could_show_something() -> None:
    found = suspicions()
    assert found.next_look([], 0.0) == math.inf
    look(found, 0, SUSPECT)
    assert found.next_look([SUSPECT], 0.01) == 0.01 + PATIENCE
    look(found, 1, ABANDONED)
    assert found.next_look([ABANDONED], 1.01) == 1.01 + RECONNECTING
    assert found.next_look([NEARLY], 2.0) == math.inf
