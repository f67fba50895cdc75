"""`Store` without a database: the same promises, kept in the memory of one process.

It is there for tests and simulations: any number of clients share one store, whole clusters in one
process, under Trio's mock clock. What each statement in `sql/` does to the job table is done here
under the same name to a dictionary of rows, and every move is checked against the lifecycle. The
reasons are given there, beside the statements.
"""

from .store import MemoryStore
from .way import Fault

__all__ = ["Fault", "MemoryStore"]
