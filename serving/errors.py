"""Errors of `serving`."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError


class RequestError(HsnnError):
    """The request cannot be answered as it stands; the text says why, and which values are known."""


class UnknownIdError(HsnnError):
    """No item or user of this id is known."""


class NotReadyError(HsnnError):
    """No version of the index has been loaded yet."""


class ServerTokenError(HsnnError):
    """A token is configured, but its environment variable is empty."""


class UnauthorizedError(HsnnError):
    """The token is missing or wrong."""


class ForbiddenError(HsnnError):
    """The token is not for this call."""


class RateLimitError(HsnnError):
    """A token, key or address has used up its rate; `retry_after` is how many seconds the next call should wait."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BusyError(HsnnError):
    """As many calls wait, or as many bytes have arrived, as the server holds at once."""


class BackpressureError(HsnnError):
    """More events wait for the log than the server holds; `retry_after` is when to send again, in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EventsNotTakenError(HsnnError):
    """The log did not confirm the events of a call, so that they have to be sent again; `retry_after` as above."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SlowBodyError(HsnnError):
    """The body of the request did not arrive in time."""


class TooLargeError(HsnnError):
    """The body is larger than the server reads."""


class DeadlineError(HsnnError):
    """The call took longer than the server allows."""


class ServerError(HsnnError):
    """The server cannot start."""


class ConsoleError(HsnnError):
    """The console cannot show or do what was asked; `status` is the HTTP status that the caller gets."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ClientError(HsnnError):
    """The server cannot be reached, or refused.

    Attributes
    ----------
    status : int
        HTTP status; 0 without an answer.
    retry_after : int
        Seconds to wait before the call is repeated, as the server says; 0 where it says nothing.
    """

    def __init__(self, message: str, status: int = 0, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
