"""The ids of what a job starts are the same whenever it runs, and in order."""

from __future__ import annotations

from uuid import UUID

from m25._child_ids import child_id
from m25._ids import IdSource

PARENT = IdSource()()


def test_each_child_of_each_incarnation_has_an_id_of_its_own_which_is_always_the_same() -> None:
    said = [
        (parent, nursery, key, 0, incarnation)
        for parent in (PARENT, IdSource()())
        for nursery in ("#0", "=a")
        for key in ("q #0", "=q")
        for incarnation in (0, 1)
    ]
    ids = [child_id(*each) for each in said]
    assert len(set(ids)) == len(said)
    assert ids == [child_id(*each) for each in said]
    assert {UUID(id).version for id in ids} == {8}
    assert {id[:13] for id in ids[:8]} == {PARENT[:13]}


def test_children_are_in_the_order_in_which_they_were_started() -> None:
    ids = [child_id(PARENT, "#0", f"q #{number}", number, 0) for number in range(5000)]
    assert ids == sorted(ids)
