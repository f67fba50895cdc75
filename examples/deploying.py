"""A type changes while old and new programs run. `python examples/deploying.py DSN`."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class LetterBefore:
    to: str


@attrs.frozen
class Letter:
    to: str
    cc: str | None = None


async def send_before(letter: LetterBefore) -> str:
    return f"sent to {letter.to}"


async def send(letter: Letter) -> str:
    return f"sent to {letter.to}, and to {letter.cc}"


# In real life each of these is in the program of its version, above its handler.
before = m25.Queue("example post", handler_function=send_before)
after = m25.Queue("example post", handler_function=send)
tolerant = m25.Queue(
    "example post tolerated", handler_function=send_before, unknown_fields="ignore"
)
producer = m25.declare("example post tolerated", input=Letter, output=str)


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(before)
        m.add_queue(tolerant)
        await m.start()

        # This worker knows what to do without the field, or would rather not wait.
        record = await m.enqueue(producer, Letter("eve", cc="bob"))
        print("a worker that ignores the field:", await m.result(producer, record.id))

        # This one leaves the job to newer workers.
        record = await m.enqueue(after, Letter("ada", cc="bob"))
        print("older:", await m.result(before, (await m.enqueue(before, LetterBefore("eve"))).id))

    async with m25.open(dsn) as m:
        m.add_queue(after)
        await m.start()
        print("newer:", await m.result(after, record.id))
        print("in attempt", (await m.get_job(after, record.id)).attempt)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
