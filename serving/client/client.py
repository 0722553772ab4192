"""Client of the HTTP API for threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from hsnn.serving.client import calls
from hsnn.serving.errors import ClientError
from hsnn.serving.schema import Answer, Request
from hsnn.streaming.schema.events import Event

Result = TypeVar("Result")


class Client:
    """Client of one server, with connections that are reused. Thread-safe; `AsyncClient` is the one for asyncio.

    Parameters
    ----------
    url
        As in ``http://127.0.0.1:8080``.
    token
        Bearer token, if the server requires one.
    timeout
        Seconds that a call may take, at most, with its repetitions.
    retries
        How often a call is repeated that got no answer, or whose status says that it may succeed later.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 5.0, *, retries: int = 2) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers)
        self._timeout, self._retries = timeout, retries

    def retrieve(self, user: str | int, **fields: Any) -> Answer:
        """Retrieve items for one user.

        Parameters
        ----------
        user
            Id.
        **fields
            Any other field of `hsnn.serving.schema.Request`, as JSON values or as the types there.

        Raises
        ------
        ClientError
            No answer, or an error status; the text is the server's.
        """
        return self._run(calls.retrieve(user, fields))

    def similar(self, items: Sequence[str | int], **fields: Any) -> Answer:
        """Find items like given ones; `fields` are others of `SimilarRequest`; raises as `retrieve` does."""
        return self._run(calls.similar(items, fields))

    def popular(self, **fields: Any) -> Answer:
        """List the most popular items; `fields` are those of `ListRequest`; raises as `retrieve` does."""
        return self._run(calls.listed("popular", fields))

    def latest(self, **fields: Any) -> Answer:
        """List the newest items; `fields` are those of `ListRequest`; raises as `retrieve` does."""
        return self._run(calls.listed("latest", fields))

    def retrieve_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer many requests in their order; raises as `retrieve` does."""
        return self._run(calls.retrieve_many(requests)).answers

    def version(self) -> dict[str, Any]:
        """Get the version in use, its position and sizes; raises as `retrieve` does."""
        return self._run(calls.version())

    def item(self, item: str | int) -> dict[str, Any]:
        """Get node, state and features of an item; raises as `retrieve` does, with status 404 for an unknown one."""
        return self._run(calls.described("items", item))

    def user(self, user: str | int) -> dict[str, Any]:
        """Get history and past items of a user; raises as `retrieve` does, with status 404 for an unknown one."""
        return self._run(calls.described("users", user))

    def send_events(self, events: Sequence[Event]) -> int:
        """Append events to the log; return how many, once they are in it.

        An event that was accepted before, by its id, counts once, so that a failed call can be repeated. Raises as
        `retrieve` does; the token needs the scope `write`.
        """
        return self._run(calls.events(events)).accepted

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _run(self, call: calls.Call[Result]) -> Result:
        attempts = calls.Attempts(self._timeout, self._retries)
        while True:
            try:
                return call.result(self._http.request(call.method, call.path, content=call.body, timeout=attempts.left))
            except httpx.HTTPError as error:
                failed = calls.unreachable(self._http.base_url, error)
                failed.__cause__ = error
            except ClientError as error:
                failed = error
            time.sleep(attempts.pause_after(failed))
