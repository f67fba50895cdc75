"""All checks, in the order in which they are made; docs/doctor.md is written from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import looks
from .check import A_SERVER, Check

CHECKS: Final[Sequence[Check]] = (
    # The server
    Check(
        "server",
        "this server is {product}, on which m25 does not work: {reason}",
        "run m25 on PostgreSQL, 13 or newer",
        needs=(),
        look=looks.server,
    ),
    Check(
        "read_only",
        "nothing can be written here: {reason}",
        "give the address of the primary (with several hosts, add target_session_attrs=read-write),"
        " or reset default_transaction_read_only of the role and the database",
        needs=A_SERVER,
    ),
    Check(
        "fsync",
        "{setting} is off on this server: if its machine fails, jobs are lost or run again, and the"
        " database may be spoilt",
        "`alter system set {setting} = on; select pg_reload_conf()`",
        needs=A_SERVER,
    ),
    Check(
        "synchronous_commit",
        "{setting} is off for this role or database: jobs that were enqueued, and results that were"
        " written, are lost if the server fails within a moment",
        "set it on for the roles that enqueue and work; m25 writes many jobs in one commit anyway",
        needs=A_SERVER,
    ),
    Check(
        "encoding",
        "database {database} has the encoding {encoding}: a job with a character that it cannot"
        " hold is refused",
        "move it to a database with the encoding UTF8 (`create database … encoding 'UTF8'`)",
        needs=A_SERVER,
    ),
    Check(
        "timeouts",
        "{setting} of this role or database is {milliseconds} ms: {consequence}",
        "set it to 0, or to {least} or more, for the roles that enqueue and work",
        needs=A_SERVER,
    ),
    Check(
        "connections",
        "{place} has {used} connections, and {setting} allows {most}: new ones are refused soon",
        "look in pg_stat_activity for who holds them; give programs smaller pools, or put a pooler"
        " in between",
        needs=A_SERVER,
    ),
    Check(
        "wraparound",
        "the oldest row of database {database} was frozen {age:,} {kind} ago: at 2,000,000,000"
        " PostgreSQL takes no more writes",
        "end what keeps vacuum from freezing (old_transaction, prepared_transaction,"
        " replication_slot), then run `vacuum freeze` in this database",
        needs=A_SERVER,
    ),
    Check(
        "clock",
        "the clock of this machine is {seconds:s} {direction} the server's: what programs here"
        " schedule for a time comes by as much too early or too late",
        "have both machines set their clocks by NTP",
        needs=A_SERVER,
        look=looks.clock,
    ),
    Check(
        "notify",
        "a notification did not arrive within {seconds:s}: workers find new jobs at their next poll"
        " only",
        "if there is a pooler in between in transaction mode, give workers an address that goes to"
        " the server, or have it pool sessions",
        needs=(*A_SERVER, "read_only"),
        look=looks.notify,
    ),
    Check(
        "notify_queue",
        "the server's queue of notifications is full to {percent} %: once it is full, no"
        " transaction that notifies can commit",
        "end the transactions of sessions that listen: see old_transaction and idle_in_transaction,"
        " in all databases of this server",
        needs=A_SERVER,
    ),
    Check(
        "replication_slot",
        "nobody reads the replication slot {slot}, which keeps {megabytes:,} MB of the log: the"
        " disk fills",
        "start what should read it, or `select pg_drop_replication_slot('{slot}')`",
        needs=A_SERVER,
    ),
    # Who is in the way
    Check(
        "prepared_transaction",
        "the prepared transaction {gid} of {owner} has been there for {age:s}: it holds its locks,"
        " and dead rows cannot be vacuumed",
        "`commit prepared '{gid}'` or `rollback prepared '{gid}'`, as its coordinator would",
        needs=A_SERVER,
    ),
    Check(
        "old_transaction",
        "a transaction of {role} ({program}, pid {pid}) has been open for {age:s}: claims slow"
        " down, as dead rows cannot be vacuumed",
        "find out what it does; `select pg_terminate_backend({pid})` ends it",
        needs=A_SERVER,
    ),
    Check(
        "idle_in_transaction",
        "a session of {role} ({program}, pid {pid}) has a transaction open, and has sent nothing"
        " for {age:s}: it holds its locks, and dead rows cannot be vacuumed",
        "commit or roll back there; `select pg_terminate_backend({pid})` ends it, and"
        " idle_in_transaction_session_timeout does so in time",
        needs=A_SERVER,
    ),
    Check(
        "table_lock",
        "{role} ({program}, pid {pid}) {verb} {mode} on {table}, since {age:s}: nothing is written"
        " meanwhile",
        "wait for it, or `select pg_terminate_backend({pid})`; do such work with a lock_timeout, or"
        " concurrently",
        needs=A_SERVER,
    ),
    # The schema
    Check(
        "rights",
        "role {role} lacks {what}",
        "grant it, as its owner; docs/security.md has the rights of each role",
        needs=A_SERVER,
    ),
    Check(
        "schema",
        "schema {schema!r} {state}",
        "{remedy}",
        needs=(*A_SERVER, "rights"),
        look=looks.schema,
    ),
    Check(
        "row_security",
        "policies may hide rows of {table} from role {role}: such jobs wait for ever",
        "`alter table {table} disable row level security`, or give the roles that work bypassrls",
    ),
    Check(
        "unlogged",
        "{table} is unlogged: if the server fails, all that is in it is gone",
        "`alter table {table} set logged`",
    ),
    Check(
        "distributed",
        "Citus has distributed {table}: m25's statements lock and update rows of many jobs, and"
        " their guarantees are PostgreSQL's own",
        "`select undistribute_table('{table}')`",
        look=looks.distributed,
    ),
    Check(
        "index",
        "the index {name} {problem}: statements that need it read the whole table",
        "`{remedy}`",
        look=looks.index,
    ),
    Check(
        "trigger",
        "the trigger {name} of {table} {problem}: what deleted or released jobs leave behind stays",
        "`{remedy}`",
        look=looks.trigger,
    ),
    Check(
        "replica_identity",
        "{table} is published ({publication}) with replica identity {identity}: every update is"
        " refused",
        "`alter table {table} replica identity default`",
    ),
    Check(
        "autovacuum",
        "autovacuum is off {place}: claims slow down with each job",
        "`{remedy}`",
    ),
    Check(
        "dead_rows",
        "{table} has {dead:,} dead rows beside {live:,} live ones, and no vacuum has come for"
        " {age:s}: claims walk over them",
        "end what keeps them (old_transaction, idle_in_transaction, prepared_transaction,"
        " replication_slot), then `vacuum {table}`",
    ),
    Check(
        "kept_for_ever",
        "{table} has about {rows:,} rows ({size}), and nothing deletes old ones",
        "declare `keep=` for the queues (docs/retention.md), or run `m25 prune` now and then",
    ),
    # The queues
    Check(
        "paused",
        "queue {queue!r} has been paused for {age:s} ({reason}), and its oldest job has been due"
        " for {due:s}",
        "`m25 resume {queue:q}`, if it is to go on",
    ),
    Check(
        "stopped_key",
        "keys of queue {queue!r} stand still, {keys} in number: the first for {age:s}, since job"
        " {job} has failed for good, and what is behind it waits",
        "mend what was wrong and `m25 retry {job}`, or let what is behind it go on by"
        ' `m25 skip {job}`; declare the queue with if_failed="pass" where later jobs are to go on',
    ),
    Check(
        "unserved",
        "nobody serves queue {queue!r}: its oldest job has been due for {age:s}, and none of"
        " {workers} live workers names it",
        "start a worker with that queue, or correct the queue's name where the jobs are enqueued",
        look=looks.unserved,
    ),
    Check(
        "stalled",
        "no job of queue {queue!r} runs, though live workers name it ({workers}): its oldest,"
        " {job}, has been due for {age:s}, and waits for {why}",
        "look for the queue's name in the log of its workers; where they say nothing of it, restart"
        " them",
        look=looks.stalled,
    ),
    Check(
        "stuck",
        "{jobs} jobs of queue {queue!r} are left by workers that are gone, the oldest, {job}, for"
        " {age:s}, and nobody takes them over",
        "start a worker of the queue: it takes them over within half a minute",
    ),
    Check(
        "past_deadline",
        "job {job} of queue {queue!r} goes on {age:s} after its deadline: its handler does not end"
        " though it is cancelled",
        "`m25 stack {job}` shows where it waits: it must not shield itself for long; restarting its"
        " worker ends it",
    ),
    Check(
        "cancel_ignored",
        "job {job} of queue {queue!r} still runs, {age:s} after its cancel was asked for",
        "`m25 stack {job}` shows where it waits: it must not shield itself for long; restarting its"
        " worker ends it",
    ),
    Check(
        "silent_worker",
        "worker {worker} (queues: {queues}) has said nothing for {age:s}, and is still connected:"
        " its process stands still",
        "look for a handler that blocks Trio's loop (LoopStalled in its log), and restart it",
    ),
    Check(
        "originals",
        "workers of the original m25 run jobs of queue {queue!r}, and know nothing of {what}",
        "stop those workers, or take it away from the queue",
    ),
    Check(
        "schedule_zone",
        "schedule {name!r} is in the time zone {timezone!r}, which is not known on this machine:"
        " a worker here has no ticks of it",
        "install the time zones of the system, or the package tzdata, or correct the name",
        look=looks.schedule_zone,
    ),
    Check(
        "schedule_overdue",
        "schedule {name!r} should have ticked at {tick}, {age:s} ago, and did not",
        "start a process that declares it, or pause it: `m25 schedules --pause {name:q}`",
        look=looks.schedule_overdue,
    ),
)
