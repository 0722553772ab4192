"""The alarm that a detector raises, and the rules that map kinds of alarms to actions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hsnn.monitoring.config import Action


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A monitored value beyond its threshold.

    Attributes
    ----------
    id
        Deterministic: a replay of the same events raises an alarm with the same id, which is handled once.
    kind
        Detector that raised it, such as ``loss_drift``.
    ts
        Event time of the batch that raised it, epoch ms.
    value, threshold
        The measured value, and the threshold that it exceeds.
    detail
        One sentence for a person.
    since
        Event time at which the shift began, epoch ms; 0 where the detector does not tell.
    before
        What the value was before; the threshold where the detector does not tell.
    segment
        What moved most at that time, such as ``device=tv: 3% -> 21%``; empty where nothing did.
    also
        What else happened then, such as a change of the configuration.

    Examples
    --------
    >>> alarm = Alarm(id="loss_drift:7", kind="loss_drift", ts=7, value=6.5, threshold=5.5, detail="loss 5.0 -> 6.5")
    >>> Alarm.decode(alarm.encode()) == alarm
    True
    """

    id: str
    kind: str
    ts: int
    value: float
    threshold: float
    detail: str = ""
    since: int = 0
    before: float | None = None
    segment: str = ""
    also: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Encode as JSON, for the alarm stream."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, blob: bytes) -> Alarm:
        """Decode what `encode` wrote.

        Raises
        ------
        msgspec.MsgspecError
            The bytes are not an alarm.
        """
        return msgspec.json.decode(blob, type=cls)


class AlarmRules:
    """Actions by kind of alarm.

    Examples
    --------
    >>> rules = AlarmRules({"mix_drift": "refresh"})
    >>> rules.action_for("mix_drift"), rules.action_for("unheard_of")
    ('refresh', 'none')
    """

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = dict(actions)

    def action_for(self, kind: str) -> Action:
        """Return the action for a kind of alarm; ``none`` if there is no rule for it."""
        return self._actions.get(kind, "none")
