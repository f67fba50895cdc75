"""What all services of one client share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import attrs

from ._database_health import DatabaseHealth, Tries
from ._emitter import Emitter
from ._hints import Hints
from ._ids import IdSource
from ._loop_watch import LoopWatch
from ._process_slots import ProcessSlots
from ._setup_failures import SetupFailures
from ._step_batches import StepBatches
from ._step_types import StepFunctions
from ._store.protocol import Store
from ._tracer import Tracer
from ._waiting_limit import WaitingLimit

#: How many characters the first half of a UUID has, as text.
_PREFIX: Final = 18


@attrs.frozen
class Runtime:
    """One for each client, given to each of its services."""

    store: Store
    events: Emitter
    #: Spreads load over time, and need not be secret; a simulation gives one with a seed.
    rng: random.Random
    hints: Hints = attrs.field(factory=Hints)
    make_id: Callable[[], str] = attrs.field(factory=IdSource)
    #: The id of this client as a worker: see `new_token`.
    worker_id: str = attrs.field(factory=lambda: f"{str(uuid4())[:_PREFIX]}-0000-000000000000")
    #: How many handlers are without a slot, since they wait for jobs.
    waiting: WaitingLimit = attrs.field(factory=WaitingLimit)
    #: How many handlers run at once, over all queues, if that is bounded.
    process_slots: ProcessSlots | None = None
    #: Who traces the jobs, if anybody does.
    tracer: Tracer | None = None
    setup_failures: SetupFailures = attrs.field(factory=SetupFailures, init=False)
    #: What functions of steps take and return; those in a transaction are given its connection.
    step_functions: StepFunctions = attrs.field(factory=StepFunctions, init=False)
    transact_functions: StepFunctions = attrs.field(factory=lambda: StepFunctions(1), init=False)
    step_batches: StepBatches = attrs.field(
        init=False, default=attrs.Factory(lambda self: StepBatches(self.store), takes_self=True)
    )
    health: DatabaseHealth = attrs.field(
        init=False, default=attrs.Factory(lambda self: DatabaseHealth(self.events), takes_self=True)
    )
    loop_watch: LoopWatch = attrs.field(
        init=False, default=attrs.Factory(lambda self: LoopWatch(self.events), takes_self=True)
    )

    def new_token(self, *, named: bool = True) -> str:
        """A token for a claim: its first half is that of the worker's id, so that others know whose
        it is; its second is random. One that is not `named` is all random: others cannot take the
        claim for given up when the worker's sessions are gone.
        """
        if not named:
            return str(uuid4())
        digits = os.urandom(8).hex()
        return f"{self.worker_id[:_PREFIX]}-{digits[:4]}-{digits[4:]}"

    def tries(self) -> Tries:
        """A counter of failures, for one loop that calls the database."""
        return Tries(self.health, self.rng)
