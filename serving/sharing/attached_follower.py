"""What a process does whose mirror another one writes: it notices new images, and says how the mirror is."""

from __future__ import annotations

import logging
from threading import Event, Thread

from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sharing.mirrors import AttachedMirror
from hsnn.serving.sync.follower import LOOP, VERSION, show_mirror, warm_up_first
from hsnn.serving.sync.index_gauges import IndexGauges

_log = logging.getLogger(__name__)

# Seconds between two looks; short, because the process is not ready before it has seen a version.
_LOOK = 0.1


class AttachedFollower(Thread):
    """Follows an `AttachedMirror` as `hsnn.serving.sync.follower.MirrorFollower` does one of its own process."""

    def __init__(self, mirror: AttachedMirror, metrics: ServingMetrics, health: Health) -> None:
        super().__init__(name=LOOP, daemon=True)
        self._mirror, self._gauges, self._health = mirror, IndexGauges(metrics), health
        self._stopped = Event()
        self._version = 0
        self.freshness: dict[str, float] = {}  # only who reads the streams knows

    def run(self) -> None:
        """Look until `stop` is called."""
        while not self._stopped.wait(_LOOK):
            try:
                self._look()
            except Exception:  # no heartbeat: if this repeats, the liveness check fails
                _log.exception("the shared mirror cannot be read; retrying")
                continue
            self._health.beat(LOOP)

    def stop(self) -> None:
        """Stop after the current look, and wait for it."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=10)

    def _look(self) -> None:
        if not self._mirror.loaded:
            return
        show_mirror(self._mirror, self._gauges)
        if self._mirror.version != self._version:
            self._version = self._mirror.version
            _log.info("follower: version %d", self._version)
        if not self._mirror.warm:
            self._health.set_ready(VERSION)
            warm_up_first(self._mirror, self._health)
