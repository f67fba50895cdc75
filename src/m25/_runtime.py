"""What all services of one client share."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

from ._database_health import DatabaseHealth, Tries
from ._emitter import Emitter
from ._hints import Hints
from ._ids import IdSource
from ._store.protocol import Store


@attrs.frozen
class Runtime:
    """One for each client, given to each of its services."""

    store: Store
    events: Emitter
    #: Spreads load over time, and need not be secret; a simulation gives one with a seed.
    rng: random.Random
    hints: Hints = attrs.field(factory=Hints)
    make_id: Callable[[], str] = attrs.field(factory=IdSource)
    health: DatabaseHealth = attrs.field(
        init=False, default=attrs.Factory(lambda self: DatabaseHealth(self.events), takes_self=True)
    )

    def tries(self) -> Tries:
        """A counter of failures, for one loop that calls the database."""
        return Tries(self.health, self.rng)
