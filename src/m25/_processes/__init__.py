"""Functions called in processes of their own, which are killed where the call is cancelled.

It knows nothing of jobs: a function is named by its module, and takes a text and returns one.

    program ── pipe ───▶ keeper, which kills all processes once the program has ended
       │                    ┊
       └─── socket ────▶ process … one for each call at once; used again for the next

trio-parallel, which does much of this, was tried and not taken: it does not say which processes
there are, so that nobody could kill them after the program was killed; it leaves without a bound,
by a thread; and it pickles what goes to and fro, which breaks exceptions.

`pool` is the program's side. `_child` and `_keeper` are scripts that import the standard library
alone: `_child` is the other end of the socket.
"""

from .pool import MARK, WAITS, ProcessPool, Target

__all__ = ["MARK", "WAITS", "ProcessPool", "Target"]
