"""Waiting for a server that is away, in place of giving up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

Answer = TypeVar("Answer")


def _nobody(what: str, why: str | None) -> None:
    pass


class Patience:
    """Repeats a call that fails because a server is away, for so many seconds at most; from any thread.

    What is called must do no harm when it is done twice: of an answer that was lost nobody knows whether it was done.

    Parameters
    ----------
    seconds
        After them, the error of the last attempt is raised.
    tell
        Called with what is waited for and why, and with None in place of why once it goes on.

    Examples
    --------
    >>> answers = iter([ConnectionError("away"), 5])
    >>> def ask():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> patience = Patience(10.0, tell=lambda what, why: print(what, why))
    >>> patience.begin()
    >>> patience.call("asking", ask, (ConnectionError,))
    asking away
    asking None
    5
    """

    def __init__(self, seconds: float, tell: Callable[[str, str | None], object] | None = None) -> None:
        self.seconds, self._tell = seconds, tell or _nobody
        self._begun = False
        self._stop: Callable[[], bool] = lambda: False

    def begin(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Wait from now on, until `stop` says that nobody wants it any more.

        Before, nothing is waited for: at the start of a process a wrong address should be said at once.
        """
        self._begun, self._stop = True, stop

    def call(self, doing: str, call: Callable[[], Answer], away: tuple[type[Exception], ...]) -> Answer:
        """Return what `call` returns, at last; any error but those of `away` is raised at once."""
        since: float | None = None
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = call()
            except away as error:
                now = time.monotonic()
                first, since = since is None, since or now
                if not self._begun or self._stop() or now - since >= self.seconds:
                    self._tell(doing, None)
                    raise
                if first:
                    _log.warning("%s: %s; it is tried again for %g s", doing, error, self.seconds)
                self._tell(doing, str(error))
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if since is not None:
                    _log.warning("%s: goes on after %.1f s", doing, time.monotonic() - since)
                    self._tell(doing, None)
                return answer
