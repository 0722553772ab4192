"""ExpiryAlarm: say it aloud when a mass expiry is held."""

from __future__ import annotations

import logging

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.metrics import ALARMS
from hsnn.trainer.features.mass_expiry import ALARM, DepartureClock
from hsnn.trainer.metrics import EXPIRY_HELD

_log = logging.getLogger(__name__)


class ExpiryAlarm:
    """Raises one alarm for each step that is held: a function of the log, as the departures are.

    Parameters
    ----------
    departures
        Of the learner; an alarm about what it holds already was raised before the checkpoint that it comes from.
    share
        Share of the living items that may leave at once.
    """

    def __init__(self, departures: DepartureClock, share: float) -> None:
        self._departures, self._share = departures, share
        self._raised = departures.held_from

    def update(self, watermark: int) -> list[Alarm]:
        """Return the alarm that is to be raised after a batch, if any."""
        held, begun = self._departures.held, self._departures.held_from
        EXPIRY_HELD.set(0 if held is None else held.leaving)
        if held is None and self._raised:
            _log.warning("%s is over: items leave again, up to %d", ALARM, self._departures.now)
        raised, self._raised = self._raised, begun
        if held is None or raised:
            return []
        text = (
            f"{held.leaving} of {held.alive} items would expire at once between {self._departures.now} and "
            f"{watermark}; they are held until the stream has gone on for trainer.catalogue.mass_expiry_hold, or until "
            f"`hsnn drift confirm {ALARM}:{begun}` lets them leave"
        )
        _log.error("%s: %s", ALARM, text)
        ALARMS.labels(ALARM).inc()
        share = held.leaving / held.alive
        return [Alarm(id=f"{ALARM}:{begun}", kind=ALARM, ts=begun, value=share, threshold=self._share, detail=text)]
