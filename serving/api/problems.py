"""Errors as HTTP answers: a status for each, and a body as of RFC 9457, ``application/problem+json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from fastapi import Response

from hsnn.serving.errors import (
    BackpressureError,
    BusyError,
    DeadlineError,
    EventsNotTakenError,
    ForbiddenError,
    NotReadyError,
    RateLimitError,
    RequestError,
    SlowBodyError,
    TooLargeError,
    UnauthorizedError,
    UnknownIdError,
)

STATUS: dict[type[Exception], int] = {
    RequestError: 422,
    UnknownIdError: 404,
    NotReadyError: 503,
    BusyError: 503,
    DeadlineError: 504,
    TooLargeError: 413,
    SlowBodyError: 408,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    RateLimitError: 429,
    BackpressureError: 429,
    EventsNotTakenError: 503,
}
"""HTTP status of each error that is reported to the client."""

PROBLEM_TYPE = "application/problem+json"
"""Media type of errors."""

# Characters of the longest error text: an error may quote what was sent, and that may be megabytes.
_LONGEST_ERROR = 1000

# Seconds after which a client may try again what the server had no room for.
_RETRY_AFTER = 1.0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every error.

    Attributes
    ----------
    type : ``urn:hsnn:`` and the kind of error, which does not change between releases
    title : name of the HTTP status
    status : the HTTP status
    detail : what was wrong, and what to do
    error : the same as `detail`
    """

    type: str
    title: str
    status: int
    detail: str
    error: str


def problem_of(error: Exception) -> Response:
    """Make the answer to an error of `STATUS`."""
    retry = getattr(error, "retry_after", _RETRY_AFTER if isinstance(error, BusyError) else None)
    headers = None if retry is None else {"Retry-After": str(math.ceil(retry))}
    return problem(STATUS[type(error)], str(error), headers, kind=_kind(type(error)))


def problem(status: int, text: str, headers: Mapping[str, str] | None = None, kind: str | None = None) -> Response:
    """Make the answer to an error; without a `kind`, that of its status."""
    title = HTTPStatus(status).phrase
    body = Problem(
        type=f"urn:hsnn:{kind or title.lower().replace(' ', '-')}",
        title=title,
        status=status,
        detail=shortened(text),
        error=shortened(text),
    )
    return Response(msgspec.json.encode(body), status, headers=headers, media_type=PROBLEM_TYPE)


def shortened(text: str) -> str:
    """Leave out the middle of a long text: its beginning says what is wrong, its end what to do.

    Examples
    --------
    >>> len(shortened("x" * 5000)) <= _LONGEST_ERROR, shortened("short")
    (True, 'short')
    """
    half = _LONGEST_ERROR // 2 - 8
    return text if len(text) <= _LONGEST_ERROR else f"{text[:half]} [...] {text[-half:]}"


def _kind(error: type[Exception]) -> str:
    """Name an error.

    Examples
    --------
    >>> _kind(NotReadyError)
    'not-ready'
    """
    name = error.__name__.removesuffix("Error")
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
