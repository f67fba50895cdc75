"""A nursery of jobs: what it starts it waits for, and one that fails cancels the others."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class NoPicture(Exception):
    name: str


@m25.queue("pictures", errors=(NoPicture,))
async def resize(name: str) -> int:
    if not name.endswith(".png"):
        raise NoPicture(name)
    if name == "large.png":
        try:
            await trio.sleep(60)
        except trio.Cancelled:
            print("not resized:", name)
            raise
    return len(name)


@m25.queue("albums")
async def album(names: list[str]) -> int:
    size = 0
    try:
        # While it waits, it holds no slot of its queue.
        async with m25.current_job().open_nursery() as nursery:
            pictures = [await nursery.start_job(resize, name) for name in names]
        size = sum(picture.output for picture in pictures)
    except* NoPicture as group:
        for error in group.exceptions:
            print("no picture:", getattr(error, "name", error))
    return size


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(resize)
        m.add_queue(album)
        await m.start()
        print("two pictures:", await m.call(album, ["a.png", "bc.png"]))
        print("broken:", await m.call(album, ["large.png", "letter.txt"]))
        # The same outside of a handler.
        async with m.open_nursery() as nursery:
            first = await nursery.start_job(resize, "one.png")
            second = await nursery.start_job(resize, "three.png")
        print("side by side:", first.output, second.output)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
