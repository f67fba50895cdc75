"""A worker process for the tests: runs the queue "sleeps" until it is asked to end.

It prints a line for each thing that happens, and logs to standard error as JSON lines.
"""

import json
import logging
import os
import sys

import trio
import trio.testing

import m25

#: Such a job lasts as long as its process; where it is run again elsewhere, it is done at once.
LIFELONG = 3_600.0


class JsonLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        names = ("event", "job_id", "queue", "attempt")
        facts = {name: getattr(record, f"m25_{name}", None) for name in names}
        line = json.dumps({"logger": record.name, **facts})
        print(line, file=sys.stderr, flush=True)


@m25.queue(
    "sleeps",
    max_concurrency=4,
    poll_interval=0.2,
    heartbeat_interval=0.2,
    allowed_heartbeat_misses=2,
    allowed_losses=int(os.environ.get("M25_TEST_ALLOWED_LOSSES", "100")),
)
async def sleeps(seconds: float) -> int:
    print(f"begun {m25.current_job().id}", flush=True)
    if seconds < 0:
        os._exit(3)
    if seconds != LIFELONG or not m25.current_job().losses:
        await trio.sleep(seconds)
    return os.getpid()


async def main(dsn: str, grace: float) -> None:
    async with m25.open(dsn, shutdown_grace=grace) as m:
        m.add_queue(sleeps)
        await m.start(60)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m25.until_signal)
            # Ready to be asked to end, too: it takes a turn until the receiver is open. To sleep
            # for a moment is no such turn where the machine is busy: that may be over by the next.
            await trio.testing.wait_all_tasks_blocked()
            print("ready", flush=True)
        print("ending", flush=True)


if __name__ == "__main__":
    logging.getLogger("m25").addHandler(JsonLines())
    logging.getLogger("m25").propagate = False
    trio.run(main, sys.argv[1], float(sys.argv[2]))
