"""What a process runs for one queue, and what it still owes the database. No I/O, and no waiting.

A claim gives jobs to this process, and has a token. Until the claim's answer has come the claim is
in doubt: the database may have committed it or not. At most one claim is in doubt at a time, since
the manager makes sure of a doubtful claim before it claims again.

A job may begin while its claim is in doubt. Its outcome must not be written before the claim is
known to be committed: the database would find no such claim, and refuse the outcome. So such an
outcome is held back.

Where a queue has a limit, the write of outcomes may claim the next jobs. It is a claim like others,
and the jobs that it has brought are there for the claimer to begin.

A row may be locked, by anybody and for as long as they like. What is to be written to it stays
owed, apart from the rest, until it is to be tried again.

    ask → (jobs begin) → answered              the claim is committed
        ↘ the answer is lost: in doubt ↗       after the database was asked what became of it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final, NamedTuple

from .._process_slots import ProcessSlots
from .._progress import ProgressNotes
from .._retry import Retry
from .._store.protocol import ClaimedJob, JobRow, Outcome, Release
from . import plan
from .ahead import Ahead, AheadJob
from .slots import Slots

if TYPE_CHECKING:
    from .endings import InDoubt
    from .executor import Executor

#: The most outcomes that one statement writes: to prepare it, and to sort out its answer, is to
#: take less than a millisecond.
_LARGEST_WRITE: Final = 200


class Owed(NamedTuple):
    """An outcome that the database does not have yet, and whose it is."""

    outcome: Outcome
    #: The attempt's, as it was claimed.
    row: JobRow
    #: What the queue says of retries, if anything.
    retry: Retry | None = None

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has at most."""
        return plan.max_attempts(self.row, self.retry)

    def with_children_of(self, job_id: str | None) -> Owed:
        """The same of a job that has started others, where `job_id` is its id."""
        if job_id is None:
            return self
        return self._replace(outcome=self.outcome._replace(children_of=job_id))

    @property
    def job(self) -> ClaimedJob:
        """The job, with the claim that it was run by."""
        return ClaimedJob(self.outcome.id, self.outcome.token)


class Granted(NamedTuple):
    """Jobs that a claim has brought, and that have not begun."""

    token: str
    rows: Sequence[JobRow]
    #: When the claim was sent, by Trio's clock.
    asked_at: float
    #: By id, the places of those that share one; see `Places`.
    places: Mapping[str, str] = {}


class Ledger:
    """One for each manager; it outlasts the manager's restarts."""

    def __init__(
        self,
        max_concurrency: int,
        slots: Slots,
        ahead: Ahead,
        process: ProcessSlots | None = None,
    ) -> None:
        self._max_concurrency = max_concurrency
        #: Those of the process, over all its queues, if these are bounded.
        self._process = process
        #: Which of those that run have given their slot back.
        self.slots = slots
        #: The jobs that are claimed, and have no slot yet.
        self.ahead = ahead
        #: Whether a claim is under way, and how many slots the jobs that it brings may take.
        self.is_claiming = False
        self._claiming = 0
        #: By token as well as id: a job that was released may be claimed again, by another token,
        #: before its executor has ended.
        self.running: dict[ClaimedJob, Executor] = {}
        #: The token of the claim that was asked for and is not known to be committed, if any.
        self.in_doubt: str | None = None
        self._granted: Granted | None = None
        self._outcomes: list[Owed] = []
        #: Outcomes of jobs whose claim is in doubt.
        self._held_back: list[Owed] = []
        self._releases: list[Release] = []
        #: Outcomes and releases whose rows somebody had locked when they were last tried.
        self._locked_outcomes: list[Owed] = []
        self._locked_releases: list[Release] = []
        #: Of the releases, those whose jobs may have succeeded, as nobody answered to their commit.
        self.commits_in_doubt: dict[ClaimedJob, InDoubt] = {}
        #: What handlers have noted of their progress, and is not written.
        self._progress: dict[ClaimedJob, ProgressNotes] = {}
        #: Whether all of it is to be written now: a heartbeat has come.
        self.progress_is_due = False

    # Claims

    def claim_size(self, more: int = 0) -> int:
        """How many jobs to claim now, or once `more` jobs run."""
        size = self._own_claim_size(more)
        if self._process is not None:
            # rule: a claim counts what runs of other queues
            size = max(0, min(size, self._process.room(self) - more))
        return size

    def _own_claim_size(self, more: int = 0) -> int:
        """The same, as if the process ran no other queue."""
        return plan.claim_size(
            max_concurrency=self._max_concurrency,
            # rule: a claim counts what runs
            running=len(self.running) + more - self.slots.without,
            unwritten=len(self._outcomes) + len(self._locked_outcomes),
        )

    def ask(self, token: str, size: int) -> None:
        """A claim is about to be sent, for so many slots."""
        assert self.in_doubt is None, "a claim in doubt must be made sure of before the next claim"
        self.in_doubt = token
        self.is_claiming = True
        self._claiming = size
        if self._process is not None:
            self._process.leave(self)

    def grant_jobs(self, jobs: Granted) -> None:
        """The claim has brought jobs. It is under way until the claimer has begun them."""
        self._granted = jobs

    def take_granted(self) -> Granted | None:
        """The jobs that were granted, if any, and begin now; their claim is not `answered` yet."""
        jobs, self._granted = self._granted, None
        if jobs is not None:
            self.is_claiming, self._claiming = False, 0
        return jobs

    def asked(self) -> None:
        """The claim is under way no more: what it brought runs, or is not known yet."""
        self.is_claiming, self._claiming = False, 0
        self.grant()

    def answered(self) -> None:
        """The claim is in doubt no more: the jobs that it gave are ours, or known to be fenced."""
        self.in_doubt = self._granted = None
        self.is_claiming, self._claiming = False, 0
        self.write_held_back()

    def begun_in_doubt(self) -> list[ClaimedJob]:
        """The jobs that have begun, or have ended already, although their claim is in doubt."""
        jobs = [*self.running, *(owed.job for owed in self._held_back)]
        return [job for job in jobs if job.token == self.in_doubt]

    # Jobs that are claimed ahead

    def next_ahead(self, most: int, now: float) -> list[AheadJob]:
        """The jobs that are to begin now, of those that were claimed ahead: as many as there are
        slots free, and up to so many.
        """
        if not self.ahead:
            return []
        # rule: what was claimed ahead waits for a slot
        jobs = self.ahead.take(min(most, self.claim_size() - self._claiming), now)
        if jobs and self._process is not None:
            self._process.leave(self)
        return jobs

    def give_back(self, jobs: Iterable[AheadJob]) -> None:
        """These, which are not ahead any more, are to be released: they have not begun."""
        for row, token, *_ in jobs:
            children_of = row.job_id if row.has_children else None
            self.owe_release(Release(row.id, token, children_of=children_of, claimed_ahead=True))

    # Running jobs

    def begin(self, executor: Executor) -> None:
        """A job runs from now on."""
        self.running[executor.job] = executor

    def end(self, executor: Executor) -> None:
        """A job runs no more."""
        del self.running[executor.job]
        self.ahead.ended()
        self.slots.end(executor)
        self.grant()

    def grant(self) -> None:
        """Let those go on that gave their slots back, as far as there are slots."""
        if self._process is not None:
            self._process.freed()
        elif self.slots.is_wanted:
            # rule: who waited takes a slot again
            self.slots.grant(self._free)

    @property
    def _free(self) -> int:
        """How many slots are free for those that are to go on."""
        # These are counted as running, each with the slot that it wants.
        held = len(self.running) - self.slots.without_any
        return self._max_concurrency - held - self._claiming

    # Slots of the process

    @property
    def held(self) -> int:
        """How many slots of the process its handlers hold, or are to have as they go on."""
        return len(self.running) - self.slots.without_any + self.wanted

    @property
    def claiming(self) -> int:
        """How many slots of the process the claim that is under way may need."""
        return self._claiming

    @property
    def wanted(self) -> int:
        """How many handlers wait for a slot to go on, and may have one of the queue's own."""
        # rule: who waits for a slot of its queue keeps no other queue waiting
        return max(0, min(self.slots.wanted, self._free))

    def grant_wanted(self, free: int) -> None:
        """Let so many of these go on."""
        self.slots.grant(free)  # rule: who waited takes a slot of the process again

    def wait_for_process(self, *, has_work: bool) -> None:
        """Wait for slots of the process, if it has fewer than the queue could use for its work."""
        if self._process is None:
            return
        wanted = self._own_claim_size() if has_work else 0
        if wanted > self.claim_size():
            self._process.wait(self, wanted)
        else:
            self._process.leave(self)

    @property
    def may_claim_ahead(self) -> bool:
        """Whether no other queue waits for slots."""
        return self._process is None or not self._process.is_waited_for(self)

    # Outcomes and releases

    def owe(self, owed: Owed) -> None:
        """An outcome is to be written."""
        # rule: an outcome of a claim in doubt is held back
        early = owed.outcome.token == self.in_doubt
        (self._held_back if early else self._outcomes).append(owed)

    def owe_release(self, release: Release) -> None:
        """A job is to be released."""
        self._releases.append(release)

    def write_held_back(self) -> None:
        """Let the outcomes that were held back be written, whatever became of their claim: where it
        was not committed, the database refuses them.
        """
        self._outcomes += self._held_back
        self._held_back.clear()

    def hold_back(self) -> None:
        """Hold the outcomes of a claim in doubt back again. The clean-up of a manager that failed
        let them be written, and may not have come to it.
        """
        if self.in_doubt is not None:
            self.retry_locked()
            outcomes, self._outcomes = self._outcomes, []
            for owed in outcomes:
                self.owe(owed)

    @property
    def has_outcomes(self) -> bool:
        """Whether outcomes are to be written, now or once they are not locked any more."""
        return bool(self._outcomes or self._locked_outcomes)

    @property
    def owes(self) -> bool:
        """Whether there is anything to write now."""
        return bool(self._outcomes or self._releases or self.progress_is_due)

    @property
    def has_locked(self) -> bool:
        """Whether there is anything to write to rows that were locked when they were last tried."""
        return bool(self._locked_outcomes or self._locked_releases)

    def retry_locked(self) -> None:
        """What was locked is to be written now, after the rest."""
        self._outcomes += self._locked_outcomes
        self._locked_outcomes.clear()
        self._releases += self._locked_releases
        self._locked_releases.clear()

    def next_outcomes(self) -> Sequence[Owed]:
        """What to write next. It stays owed until it is `written`: a write whose answer is lost is
        repeated, and changes nothing twice.
        """
        return self._outcomes[:_LARGEST_WRITE]

    def written(self, outcomes: Sequence[Owed], locked: AbstractSet[str] = frozenset()) -> None:
        """The database has taken these, the latest `next_outcomes`, or refused them for good; but
        for those of the jobs that are `locked`.
        """
        del self._outcomes[: len(outcomes)]
        self._locked_outcomes += (owed for owed in outcomes if owed.outcome.id in locked)

    def next_releases(self) -> Sequence[Release]:
        """What to release next. It stays owed until it is `released`."""
        return self._releases[:]

    def released(self, jobs: Sequence[Release], locked: AbstractSet[str] = frozenset()) -> None:
        """These, the latest `next_releases`, were released, or their claims were fenced; but for
        those of the jobs that are `locked`.
        """
        del self._releases[: len(jobs)]
        self._locked_releases += (job for job in jobs if job.id in locked)

    # Progress

    def note_progress(self, job: ClaimedJob, notes: ProgressNotes) -> None:
        """A handler has noted how far it has come: to be written with the next heartbeat, and
        before the job's outcome or release.
        """
        self._progress[job] = notes

    @property
    def has_progress(self) -> bool:
        """Whether there is any progress to be written with the next heartbeat."""
        return bool(self._progress)

    def next_progress(self, jobs: Iterable[ClaimedJob]) -> dict[ClaimedJob, ProgressNotes]:
        """What to write now: all once a heartbeat has come, and else that of `jobs`, whose outcomes
        or releases are written next.

        It is gone from here, and comes back by `note_progress`.
        """
        if self.progress_is_due:
            self.progress_is_due = False
            jobs = list(self._progress)
        return {
            job: self._progress.pop(job)
            for job in jobs
            # Before a claim is committed, the database would say that it is fenced.
            if job in self._progress and job.token != self.in_doubt
        }

    def kept_alive(self, answered: Iterable[Executor]) -> list[ClaimedJob]:
        """The claims to renew: of executors that answered a heartbeat, and of unwritten outcomes.

        The claim of an unwritten outcome must hold until the outcome is written. A claim in doubt
        is left out: before it is committed, the database would say that it is fenced.
        """
        jobs = [each.job for each in answered if each.job.token != self.in_doubt]
        # rule: what is unwritten is kept alive
        return jobs + [owed.job for owed in (*self._outcomes, *self._locked_outcomes)]

    def unwritten(self) -> tuple[str, ...]:
        """The ids of all jobs whose outcome or release is owed."""
        outcomes = (*self._outcomes, *self._locked_outcomes, *self._held_back)
        releases = (*self._releases, *self._locked_releases)
        return (*(owed.outcome.id for owed in outcomes), *(job.id for job in releases))
