"""Calls of the HTTP API: what is sent, what comes back, and when a failed one is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
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
from hsnn.streaming.retry import BACKOFF
from hsnn.streaming.schema.events import Event

Result = TypeVar("Result")

# Statuses after which the same call may succeed: a rate limit, a proxy without its server, a server that is busy or
# not ready. Status 0 is no answer. 504 is missing: the call was too large for its deadline, and would be again.
_REPEATED = frozenset({0, 429, 502, 503})


class Call(NamedTuple, Generic[Result]):
    """A call of the HTTP API, whose body is JSON.

    Attributes
    ----------
    method, path
    body : bytes or None
    answer : type
        Of the body of the answer.
    """

    method: str
    path: str
    body: bytes | None
    answer: type[Result]

    def result(self, response: httpx.Response) -> Result:
        """Decode a response.

        Raises
        ------
        ClientError
            It has an error status; the text is the server's.
        """
        if response.is_success:
            return msgspec.json.decode(response.content, type=self.answer)
        pause = response.headers.get("retry-after", "")
        raise ClientError(_error_text(response), response.status_code, int(pause) if pause.isdigit() else 0)


def retrieve(user: str | int, fields: dict[str, Any]) -> Call[Answer]:
    """Make the call for items for one user."""
    return _ask("/v1/retrieve", {"user": user, **fields}, Request)


def retrieve_many(requests: Sequence[Request]) -> Call[AnswersBody]:
    """Make the call for the answers to many requests."""
    return Call("POST", "/v1/retrieve_many", msgspec.json.encode(QueriesBody(list(requests))), AnswersBody)


def similar(items: Sequence[str | int], fields: dict[str, Any]) -> Call[Answer]:
    """Make the call for items like given ones."""
    return _ask("/v1/similar", {"items": list(items), **fields}, SimilarRequest)


def listed(name: str, fields: dict[str, Any]) -> Call[Answer]:
    """Make the call for a list that has a `name`: popular, latest."""
    return _ask(f"/v1/{name}", fields, ListRequest)


def described(kind: str, name: str | int) -> Call[dict[str, Any]]:
    """Make the call for what the server knows of one of ``items`` or ``users``."""
    return Call("GET", f"/v1/{kind}/{quote(str(name), safe='')}", None, dict)


def version() -> Call[dict[str, Any]]:
    """Make the call for the version in use."""
    return Call("GET", "/v1/version", None, dict)


def events(sent: Sequence[Event]) -> Call[AcceptedBody]:
    """Make the call that appends events to the log."""
    return Call("POST", "/v1/events", msgspec.json.encode(list(sent)), AcceptedBody)


def _ask(path: str, fields: dict[str, Any], kind: type[Query]) -> Call[Answer]:
    body = msgspec.json.encode(msgspec.convert(fields, kind, from_attributes=True))
    return Call("POST", path, body, Answer)


def unreachable(url: object, error: httpx.HTTPError) -> ClientError:
    """Make the error of a call that got no answer."""
    return ClientError(f"{url} does not answer ({error or type(error).__name__}); is it up?")


class Attempts:
    """Attempts of one call, within its time. All calls can be repeated: those that write do so once per event id.

    Parameters
    ----------
    seconds
        Time of the call with all its attempts and pauses.
    retries
        Attempts after the first, at most.
    clock
        Monotonic clock, seconds.

    Examples
    --------
    >>> now = 0.0
    >>> attempts = Attempts(5.0, retries=2, clock=lambda: now)
    >>> attempts.pause_after(ClientError("busy", 503))
    0.05
    >>> attempts.pause_after(ClientError("too many", 429, retry_after=3))
    3.0
    >>> now = 4.5
    >>> attempts.left
    0.5
    """

    def __init__(self, seconds: float, retries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._end, self._retries, self._clock = clock() + seconds, retries, clock
        self._failures = 0

    @property
    def left(self) -> float:
        """Seconds that the next attempt may take; positive."""
        return max(self._end - self._clock(), 0.001)

    def pause_after(self, error: ClientError) -> float:
        """Return the seconds to wait before the next attempt; raise the error where there is none."""
        self._failures += 1
        pause = max(float(error.retry_after), BACKOFF.compute(self._failures))
        if error.status not in _REPEATED or self._failures > self._retries or pause >= self.left:
            raise error
        return pause


def _error_text(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["detail"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}"
