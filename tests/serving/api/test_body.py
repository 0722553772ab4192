from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hsnn.serving.api.body import SMALL_BODY, BodyReader
from hsnn.serving.errors import BusyError, SlowBodyError, TooLargeError

LARGEST = 1_000_000


class Arriving:
    """A request whose body arrives in parts; without an end it never completes."""

    def __init__(self, *sizes: int, ends: bool = True, declared: int | None = None) -> None:
        self.headers = {} if declared is None else {"content-length": str(declared)}
        self._sizes, self._ends, self.read = sizes, ends, 0

    async def stream(self) -> AsyncIterator[bytes]:
        for size in self._sizes:
            self.read += size
            yield b"x" * size
        if not self._ends:
            await asyncio.Event().wait()


def test_a_body_is_read_whole():
    async def run() -> None:
        with await BodyReader(LARGEST).read(Arriving(10, 70_000, 3)) as body:
            assert len(body.content) == 70_013

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arriving", "read"),
    [(Arriving(400_000, 400_000, 400_000, 400_000), 1_200_000), (Arriving(9, declared=LARGEST + 1), 0)],
)
def test_a_body_that_is_too_large_is_not_read_to_its_end(arriving, read):
    with pytest.raises(TooLargeError, match="1000000 bytes"):
        asyncio.run(BodyReader(LARGEST).read(arriving))
    assert arriving.read == read


def test_a_body_that_never_ends_is_given_up_and_its_bytes_given_back():
    async def run() -> None:
        reader = BodyReader(LARGEST, seconds=0.02)
        for _ in range(20):  # more than are held at once
            with pytest.raises(SlowBodyError, match=r"within 0\.02 s"):
                await reader.read(Arriving(900_000, ends=False))

    asyncio.run(run())


def test_unfinished_bodies_fill_a_bounded_memory_and_small_ones_pass():
    async def run() -> None:
        reader = BodyReader(LARGEST)
        unfinished = [asyncio.create_task(reader.read(Arriving(900_000, ends=False))) for _ in range(100)]
        await asyncio.sleep(0.01)
        refused = [task for task in unfinished if task.done()]
        assert all(isinstance(task.exception(), BusyError) for task in refused)
        assert (100 - len(refused)) * (900_000 - SMALL_BODY) <= 8 * LARGEST
        with await reader.read(Arriving(SMALL_BODY)) as small:
            assert len(small.content) == SMALL_BODY
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        with await reader.read(Arriving(LARGEST)) as body:
            assert len(body.content) == LARGEST

    asyncio.run(run())
