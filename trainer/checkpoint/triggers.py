"""Checkpoint triggers: every so many events learned, or so much stream time.

Both lie at multiples, which every run over the same log passes with the same batches.
"""

from __future__ import annotations

from hsnn.trainer.config.model import TrainerConfig


class CheckpointTriggers:
    """Detects when multiples of `trainer.checkpoint_events` and `trainer.checkpoint_time`.

    Parameters
    ----------
    config
    events, watermark
        Where training starts.

    Examples
    --------
    >>> triggers = CheckpointTriggers(TrainerConfig(checkpoint_events=100), 0, 0)
    >>> [triggers.passed(events, 0) for events in (60, 120, 180, 240)]
    [False, True, False, True]
    """

    def __init__(self, config: TrainerConfig, events: int, watermark: int) -> None:
        self._every = config.checkpoint_events or 0, int(1000 * (config.checkpoint_time or 0))
        self._last = self._multiples(events, watermark)

    def passed(self, events: int, watermark: int) -> bool:
        """Whether a multiple was passed since the last call."""
        last, self._last = self._last, self._multiples(events, watermark)
        return self._last != last

    def _multiples(self, *reached: int) -> list[int]:
        return [now // every if every else 0 for now, every in zip(reached, self._every, strict=True)]
