"""LeaseKeeper: the thread that renews a lease in Redis while its holder works."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Protocol

from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

# Renewals per time to live: four of them in a row may fail before the lease runs out.
_RENEWALS_PER_TTL = 5


class KeptLease(Protocol):
    """A lease that was acquired."""

    @property
    def ttl(self) -> float:
        """Seconds for which it lasts after a renewal."""

    @property
    def held(self) -> bool:
        """Whether its holder may go on after a renewal that failed."""

    def renew(self) -> bool:
        """Extend it by another `ttl`; False if it was lost, for good."""

    def release(self) -> None:
        """Give it up."""


class LeaseKeeper:
    """Renew a lease from `start` until `stop`, which releases it; or from entering a block until leaving it.

    Parameters
    ----------
    lease
        An acquired lease.
    lost
        Set when the lease cannot be kept; if it is set elsewhere, the renewals end, too.
    same_server
        Returns whether Redis is still the process that it was. A restarted one may have lost the last writes, so the
        lease is given up, and the next holder begins with what is there. By default restarts are not checked for.
    on_renewal
        Called after each renewal that Redis answered.
    """

    def __init__(
        self,
        lease: KeptLease,
        lost: Event,
        *,
        same_server: Callable[[], bool] = lambda: True,
        on_renewal: Callable[[], object] = lambda: None,
    ) -> None:
        self._lease, self._lost = lease, lost
        self._same_server, self._on_renewal = same_server, on_renewal
        self._thread = Thread(target=self._renew_until_lost, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End the renewals, then release the lease."""
        self._lost.set()
        self._thread.join()
        self._lease.release()

    def __enter__(self) -> None:
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _renew_until_lost(self) -> None:
        while not self._lost.wait(self._lease.ttl / _RENEWALS_PER_TTL):
            try:
                self._renew()
            except RedisError as error:
                # An unreachable server is asked again for as long as the lease may still be valid.
                _log.warning("the lease cannot be renewed (%s)", error)
                if not self._lease.held:
                    self._lost.set()

    def _renew(self) -> None:
        if not self._lease.renew():
            _log.warning("the lease is lost to another holder")
            self._lost.set()
        elif not self._same_server():
            _log.warning("Redis was restarted; what it still holds is read again")
            self._lost.set()
        self._on_renewal()
