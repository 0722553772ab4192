"""Request bodies: read within a time, a size, and a bound on the bytes of all of them together."""

from __future__ import annotations

import asyncio

from fastapi import Request

from hsnn.serving.errors import BusyError, SlowBodyError, TooLargeError

SMALL_BODY = 65_536
"""Bytes that every connection may send whatever the others do, and that are decoded in well under a millisecond."""

# Largest bodies that are held at once; further bytes are refused.
_LARGE_BODIES = 8


class BodyReader:
    """Reads the bodies of all requests of a server.

    Parameters
    ----------
    largest
        Bytes of the largest body.
    seconds
        Time that a body may take to arrive.
    """

    def __init__(self, largest: int, seconds: float = 30.0) -> None:
        self._largest, self._seconds = largest, seconds
        self._room = _LARGE_BODIES * largest

    async def read(self, request: Request) -> BodyLease:
        """Read the body of a request; its bytes count against the bound until the lease is released.

        Raises
        ------
        TooLargeError
            It is larger than the largest allowed.
        SlowBodyError
            It did not arrive in time.
        BusyError
            The bodies of other requests fill the memory that is kept for them.
        """
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._largest:
            raise self._too_large()
        lease = BodyLease(self)
        try:
            async with asyncio.timeout(self._seconds):
                async for part in request.stream():
                    lease.extend(part)
        except TimeoutError:
            lease.release()
            raise SlowBodyError(
                f"the body did not arrive within {self._seconds:g} s; send it faster, or less of it"
            ) from None
        except BaseException:
            lease.release()
            raise
        return lease

    def take(self, count: int, size: int) -> None:
        """Take `count` bytes for a body of now `size` bytes."""
        if size > self._largest:
            raise self._too_large()
        if count > self._room:
            raise BusyError("the bodies of other requests fill the memory for them; send this one again later")
        self._room -= count

    def give_back(self, count: int) -> None:
        """Give bytes back."""
        self._room += count

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._largest} bytes; send fewer queries at once")


class BodyLease:
    """The bytes of one body, and what it has taken of the common bound."""

    def __init__(self, reader: BodyReader) -> None:
        self._reader, self._taken = reader, 0
        self.content = bytearray()

    def extend(self, part: bytes) -> None:
        """Append what has arrived; raises as `BodyReader.read` does."""
        size = len(self.content) + len(part)
        more = max(size - SMALL_BODY, 0) - self._taken
        self._reader.take(more, size)
        self._taken += more
        self.content += part

    def release(self) -> None:
        """Give the bytes back; may be called twice."""
        self._reader.give_back(self._taken)
        self._taken = 0
        self.content = bytearray()

    def __enter__(self) -> BodyLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
