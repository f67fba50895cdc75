"""`python -m m25` is `m25`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
