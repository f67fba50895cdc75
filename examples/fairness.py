"""A queue that is fair between customers. `python examples/fairness.py DSN`."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class Photo:
    customer: str
    number: int


ended: list[str] = []


# Whoever has put most of them, the others take their turns.
@m25.queue("example photos", fair_by="customer", max_concurrency=2)
async def photos(photo: Photo) -> None:
    await trio.sleep(0.01)
    ended.append(photo.customer)


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(photos)
        many = await m.enqueue_many(photos, [Photo("ada", number) for number in range(200)])
        few = await m.enqueue_many(photos, [Photo("bob", number) for number in range(5)])
        await m.start()
        for id in (*few.ids, *many.ids):
            await m.wait(photos, id)
        before_bobs_last = ended[: len(ended) - ended[::-1].index("bob")]
        print("bob's photos are done while ada's wait:", before_bobs_last.count("ada") < 100)
        print("photos done:", len(ended))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
