"""Client of the HTTP API for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from hsnn.serving.client import calls
from hsnn.serving.errors import ClientError
from hsnn.serving.schema import Answer, Request
from hsnn.streaming.schema.events import Event

Result = TypeVar("Result")


class AsyncClient:
    """Client of one server for asyncio: the methods of `Client`, to be awaited.

    Parameters
    ----------
    url, token, timeout, retries
        As of `Client`.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 5.0, *, retries: int = 2) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers)
        self._timeout, self._retries = timeout, retries

    async def retrieve(self, user: str | int, **fields: Any) -> Answer:
        """Retrieve items for one user; `fields` and errors as of `Client.retrieve`."""
        return await self._run(calls.retrieve(user, fields))

    async def similar(self, items: Sequence[str | int], **fields: Any) -> Answer:
        """Find items like given ones."""
        return await self._run(calls.similar(items, fields))

    async def popular(self, **fields: Any) -> Answer:
        """List the most popular items."""
        return await self._run(calls.listed("popular", fields))

    async def latest(self, **fields: Any) -> Answer:
        """List the newest items."""
        return await self._run(calls.listed("latest", fields))

    async def retrieve_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer many requests in their order."""
        return (await self._run(calls.retrieve_many(requests))).answers

    async def version(self) -> dict[str, Any]:
        """Get the version in use, its position and sizes."""
        return await self._run(calls.version())

    async def item(self, item: str | int) -> dict[str, Any]:
        """Get node, state and features of an item."""
        return await self._run(calls.described("items", item))

    async def user(self, user: str | int) -> dict[str, Any]:
        """Get history and past items of a user."""
        return await self._run(calls.described("users", user))

    async def send_events(self, events: Sequence[Event]) -> int:
        """Append events to the log; return how many, once they are in it."""
        return (await self._run(calls.events(events))).accepted

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: calls.Call[Result]) -> Result:
        attempts = calls.Attempts(self._timeout, self._retries)
        while True:
            try:
                return call.result(
                    await self._http.request(call.method, call.path, content=call.body, timeout=attempts.left)
                )
            except httpx.HTTPError as error:
                failed = calls.unreachable(self._http.base_url, error)
                failed.__cause__ = error
            except ClientError as error:
                failed = error
            await asyncio.sleep(attempts.pause_after(failed))
