"""Looks for the smallest history that breaks the same promise as a long one did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from .cluster import simulate
from .limits import FAULTS, MOST_JOBS, MOST_WORKERS, Limits

T = TypeVar("T")


def _mostly_last(*choices: T) -> SearchStrategy[T]:
    # What fails seldom may do so with nothing less: it has to be tried with all of it.
    return st.sampled_from([*choices, *[choices[-1]] * (2 * len(choices))])


_LIMITS = st.builds(
    Limits,
    faults=st.tuples(*(_mostly_last(set[str](), {fault}) for fault in FAULTS)).map(
        lambda each: frozenset[str]().union(*each)
    ),
    jobs=_mostly_last(*range(1, MOST_JOBS + 1)),
    # Without any, a history never ends, and nothing is promised of it.
    workers=_mostly_last(*range(1, MOST_WORKERS + 1)),
)

_SETTINGS = settings(
    max_examples=200,
    database=None,
    derandomize=True,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
)


def shrink(seed: int) -> Limits:
    """The limits of the smallest history of this seed that was found to fail as the whole does."""
    promises = _broken(simulate(seed).problems)

    def fails(limits: Limits) -> bool:
        return bool(promises & _broken(simulate(seed, limits).problems))

    try:
        return find(_LIMITS, fails, settings=_SETTINGS)
    except NoSuchExample:
        # With anything less it goes well.
        return Limits()


def _broken(problems: Iterable[str]) -> set[str]:
    """The numbers of the promises."""
    return {problem.partition(":")[0] for problem in problems}
