"""Client of the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from hsnn.serving.errors import ClientError
from hsnn.serving.schema import (
    AcceptedBody,
    Answer,
    AnswersBody,
    ListRequest,
    QueriesBody,
    Query,
    Request,
    SimilarRequest,
)
from hsnn.streaming.schema.events import Event


class Client:
    """Client of one server, with a connection that is reused for all requests. Thread-safe.

    Parameters
    ----------
    url
        As in ``http://127.0.0.1:8080``.
    token
        Bearer token, if the server requires one.
    timeout
        Seconds that a call may take, at most.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 5.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

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
        return self._ask("/v1/retrieve", {"user": user, **fields}, Request)

    def similar(self, items: Sequence[str | int], **fields: Any) -> Answer:
        """Find items like given ones; `fields` are others of `SimilarRequest`; raises as `retrieve` does."""
        return self._ask("/v1/similar", {"items": list(items), **fields}, SimilarRequest)

    def popular(self, **fields: Any) -> Answer:
        """List the most popular items; `fields` are those of `ListRequest`; raises as `retrieve` does."""
        return self._ask("/v1/popular", fields, ListRequest)

    def latest(self, **fields: Any) -> Answer:
        """List the newest items; `fields` are those of `ListRequest`; raises as `retrieve` does."""
        return self._ask("/v1/latest", fields, ListRequest)

    def retrieve_many(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer many requests in their order; raises as `retrieve` does."""
        body = msgspec.json.encode(QueriesBody(list(requests)))
        return msgspec.json.decode(self._call("POST", "/v1/retrieve_many", body), type=AnswersBody).answers

    def version(self) -> dict[str, Any]:
        """Get the version in use, its position and sizes; raises as `retrieve` does."""
        version: dict[str, Any] = msgspec.json.decode(self._call("GET", "/v1/version"))
        return version

    def item(self, item: str | int) -> dict[str, Any]:
        """Get node, state and features of an item; raises as `retrieve` does, with status 404 for an unknown one."""
        description: dict[str, Any] = msgspec.json.decode(self._call("GET", f"/v1/items/{quote(str(item), safe='')}"))
        return description

    def send_events(self, events: Sequence[Event]) -> int:
        """Append events to the log; return how many, once they are in it.

        An event that was accepted before, by its id, counts once, so that a failed call can be repeated. Raises as
        `retrieve` does; the token needs the scope `write`.
        """
        body = msgspec.json.encode(list(events))
        return msgspec.json.decode(self._call("POST", "/v1/events", body), type=AcceptedBody).accepted

    def user(self, user: str | int) -> dict[str, Any]:
        """Get history and past items of a user; raises as `retrieve` does, with status 404 for an unknown one."""
        description: dict[str, Any] = msgspec.json.decode(self._call("GET", f"/v1/users/{quote(str(user), safe='')}"))
        return description

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _ask(self, path: str, fields: dict[str, Any], kind: type[Query]) -> Answer:
        body = msgspec.json.encode(msgspec.convert(fields, kind, from_attributes=True))
        return msgspec.json.decode(self._call("POST", path, body), type=Answer)

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            response = self._http.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise ClientError(
                f"{self._http.base_url} does not answer ({error or type(error).__name__}); is it up?"
            ) from error
        if not response.is_success:
            raise ClientError(_error_text(response), response.status_code)
        return response.content


def _error_text(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}"
