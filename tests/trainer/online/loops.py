"""Runs of the online loop: how long they are, how they stop, and what is compared."""

from __future__ import annotations

from collections.abc import Callable

from hsnn.streaming.config import StreamingConfig
from hsnn.trainer.online.loop import OnlineLoop

EVENTS, BAD, BATCH = 1024, 5, 64
STREAMING = StreamingConfig(batch_size=BATCH, partitions=2, max_wait=0.05)


class KilledError(Exception):
    """The process is gone."""


def until(loop: OnlineLoop, events: int, then: type[Exception] | None = None) -> Callable[[], bool]:
    """Stop, or die, once so many events are learned and no checkpoint is under way."""

    def stop() -> bool:
        done = loop.progress.trained >= events and not loop._publisher.busy
        if done and then is not None:
            raise then
        return done

    return stop


def settled(loop: OnlineLoop, events: int) -> Callable[[], bool]:
    """Stop once so many events are learned; every batch waits until the checkpoint of the one before is out."""

    def stop() -> bool:
        loop._publisher.wait()
        return loop.learner.events >= events

    return stop


def bits(loop: OnlineLoop) -> dict[str, bytes]:
    arrays, values = loop.learner.state_dict()
    found = {name: array.tobytes() for name, array in arrays.items()} | {"values": repr(values).encode()}
    drift = loop._drift.state_dict()
    del drift["signals.clocks"]  # two logs with the same events have been sent at other times
    return found | {
        "drift": repr(drift).encode(),
        "counts": repr(loop.progress.state_dict()).encode(),
    }
