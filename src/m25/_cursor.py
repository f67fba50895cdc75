"""A cursor: goes through a source, and remembers over attempts how far it came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Any, Generic, TypeVar, cast

import trio

from ._codec import Codec, Undecodable, value_codec
from ._errors import JobRecordFetchJsonDecodeError, ValueRefused
from ._job import JobId
from ._progress import ProgressNotes
from ._text import check_text

Item = TypeVar("Item")
Key = TypeVar("Key")


class Cursor(AsyncIterator[Item], Generic[Item, Key]):
    """The items of a source that follow the position; see `RunningJob.cursor`."""

    def __init__(
        self,
        job_id: JobId,
        notes: ProgressNotes,
        name: str,
        source: Callable[[Key | None], AsyncIterable[Item]],
        key: Callable[[Item], Key],
        key_type: type[Key] | None,
    ) -> None:
        check_text(name, "a cursor's name", ValueError)
        self._job_id = job_id
        self._notes = notes
        self._name = name
        self._source = source
        self._key = key
        self._codec: Codec[Key] = value_codec(Any if key_type is None else key_type, "key")
        self._items: AsyncIterator[Item] | None = None
        #: The item that was returned last, if there is one.
        self._latest: tuple[Item] | None = None

    async def __anext__(self) -> Item:
        await trio.lowlevel.checkpoint()
        if self._items is None:
            self._items = self._open()
        if self._latest is not None:
            # Its pass of the loop has ended.
            self._move(*self._latest)
            self._latest = None
        try:
            item = await anext(self._items)
        except BaseException:
            # The source has ended, or has failed and yields no more.
            self._notes.close_cursor(self._name, self)
            raise
        self._latest = (item,)
        return item

    def _move(self, item: Item) -> None:
        what = f"the key of cursor {self._name!r}"
        key = self._codec.encode(self._key(item), what)
        if key == "null":
            raise ValueRefused(
                what, "", "it is None, which says that nothing is behind the cursor yet"
            )
        self._notes.move(self._name, key)

    def _open(self) -> AsyncIterator[Item]:
        self._notes.open_cursor(self._name, self)
        items: AsyncIterator[Item] = aiter(self._source(self._position()))
        source: object = items
        if isinstance(source, AsyncGenerator):
            self._notes.opened(cast("AsyncGenerator[Any]", source))
        return items

    def _position(self) -> Key | None:
        if (text := self._notes.position(self._name)) is None:
            return None
        try:
            return self._codec.decode(text)
        except Undecodable as error:
            raise JobRecordFetchJsonDecodeError(
                self._job_id, f"progress.cursors[{self._name!r}]", error.path, error.reason
            ) from error
