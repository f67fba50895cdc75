"""Results: wait for a job's output or error, call one as a function, and follow its progress."""

import sys
from collections.abc import AsyncGenerator

import attrs
import trio

import m25


@attrs.frozen
class NoWords(Exception):
    text: str


@m25.queue("words", errors=(NoWords,))
async def longest_word(text: str) -> str:
    if not text.split():
        raise NoWords(text)
    return max(text.split(), key=len)


async def pages_after(page: int | None) -> AsyncGenerator[int]:
    for number in range(1 if page is None else page + 1, 4):
        yield number


@m25.queue("books")
async def print_book(pages: int) -> int:
    job = m25.current_job()
    # A second attempt would go on behind the last page that the first one printed.
    async for page in job.cursor("pages", pages_after, key=lambda page: page):
        await job.report(done=page, total=pages)
    return pages


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(longest_word)
        m.add_queue(print_book)
        await m.start()

        print("the longest word:", await m.call(longest_word, "structured concurrency"))

        record = await m.enqueue(longest_word, " ")
        try:
            await m.result(longest_word, record.id)
        except NoWords:
            print("refused: no words")

        book = await m.enqueue(print_book, 3)
        with trio.fail_after(60):
            async for progress in m.progress(print_book, book.id):
                print(f"page {progress.done} of {progress.total}")
            print(await m.result(print_book, book.id), "pages")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
