"""Faults that the harness must find: planted in a trainer's process by patches, never in the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsnn.streaming.consumer.consumer import Consumer
from hsnn.trainer.training.learner import Learner

FAULTS = ("generator", "position")


def plant(fault: str | None) -> None:
    """Break this process: the step that random numbers are drawn by starts anew, or reading starts one record late."""
    if fault == "generator":
        _forget_steps()
    elif fault == "position":
        _skip_a_record()


def _forget_steps() -> None:
    restore = Learner.restore.__func__  # type: ignore[attr-defined]

    def forgetful(cls: type[Learner], config: Any, arrays: Any, values: Mapping[str, Any]) -> Learner:
        return restore(cls, config, arrays, {**values, "steps": 0})

    Learner.restore = classmethod(forgetful)  # type: ignore[method-assign,assignment]


def _skip_a_record() -> None:
    start = Consumer.__init__

    def late(self: Consumer, *args: Any, state: dict[str, Any] | None = None, **more: Any) -> None:
        start(self, *args, state=None if state is None else _off_by_one(state), **more)

    Consumer.__init__ = late  # type: ignore[method-assign]


def _off_by_one(state: dict[str, Any]) -> dict[str, Any]:
    """Move the first partition of the engagements on by a record, unless it is at its beginning."""
    places = [list(place) for place in state["places"]]
    first = next(place for place in places if place[0] == "engagements")
    first[2] += 1 if first[2] else 0
    return {**state, "places": places}
