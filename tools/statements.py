"""Write `docs/statements.sql`: every statement of the store as it is sent to the server.

    python tools/statements.py

In `src/m25/_store/sql` what several statements share is written once, and stands there by its name.
This file has each of them whole, for reading, and for `explain`.
"""

from __future__ import annotations

import re
from pathlib import Path

from m25._store.statements import expanded_statements

PATH = Path(__file__).parent.parent / "docs" / "statements.sql"

HEADER = """\
-- Every statement that m25 sends for its jobs, whole, for the schema m25. Those that change the
-- schema are in schema.sql.
-- Generated from src/m25/_store/sql and the table of columns: do not edit it, run
-- `python tools/statements.py`. A test holds it to them.
"""


def generate() -> str:
    """The text of the file."""
    sections = [HEADER]
    for name, text in expanded_statements().items():
        # The names of rules are for the mutants.
        statement = re.sub(r" *-- rule: .*", "", text).replace("{schema}", "m25")
        sections.append(f"-- {name}\n--\n{statement};\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PATH.write_text(generate(), encoding="utf-8")
