"""Lanes: threads that answer calls, so that the event loop is never blocked and every call ends by its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from hsnn.serving.errors import BusyError, DeadlineError

Result = TypeVar("Result")


class Lane:
    """One thread that runs calls in the order in which they come.

    One is enough: calls that read the mirror's caches exclude each other.

    Parameters
    ----------
    name
        Of the thread.
    waiting
        Most calls that wait or run; further ones are refused at once.
    """

    def __init__(self, name: str, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting, self._count = waiting, 0

    async def run(self, call: Callable[[], Result], seconds: float) -> Result:
        """Run a call in the thread and return its result.

        A call that is still waiting at its deadline never starts; one that runs goes on, and its result is discarded.

        Raises
        ------
        DeadlineError
            There is no result after `seconds`.
        BusyError
            Too many calls wait already.
        """
        if self._count >= self._waiting:
            raise BusyError(f"{self._count} calls wait for an answer already; send this one again later")
        self._count += 1
        future = self._executor.submit(copy_context().run, call)  # with the ids of log lines
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: self._count_down(loop, done))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            raise DeadlineError(
                f"there was no answer within {seconds:g} s; ask for less at once, or raise serving.deadline"
            ) from None

    def close(self) -> None:
        """Drop what waits, and let the thread end after what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _count_down(self, loop: asyncio.AbstractEventLoop, _done: Future[Result]) -> None:
        """Count a call that is over, on the event loop, where all counting is done."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._decrement)

    def _decrement(self) -> None:
        self._count -= 1
