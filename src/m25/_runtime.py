"""What everything that runs for one client shares."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

from ._database_health import DatabaseHealth, Tries
from ._emitter import Emitter
from ._hints import Hints
from ._ids import IdSource
from ._loop_watch import LoopWatch
from ._store.protocol import Store


@attrs.frozen
class Runtime:
    """One for each client, handed to each of its services."""

    store: Store
    events: Emitter
    #: Spreads load, and guards nothing; a simulation gives one with a seed.
    rng: random.Random
    hints: Hints = attrs.field(factory=Hints)
    make_id: Callable[[], str] = attrs.field(factory=IdSource)
    health: DatabaseHealth = attrs.field(
        init=False, default=attrs.Factory(lambda self: DatabaseHealth(self.events), takes_self=True)
    )
    loop_watch: LoopWatch = attrs.field(
        init=False, default=attrs.Factory(lambda self: LoopWatch(self.events), takes_self=True)
    )

    def tries(self) -> Tries:
        """What a loop that calls the database counts its failures with."""
        return Tries(self.health, self.rng)
