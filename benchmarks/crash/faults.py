"""Faults that the crash test must find, injected into a trainer's process by monkey patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsnn.streaming.consumer.consumer import Consumer
from hsnn.trainer.training.learner import Learner

FAULTS = ("generator", "position")


def inject(fault: str | None) -> None:
    """Break this process: its random numbers start anew, or it reads from one record too far."""
    if fault == "generator":
        _forget_steps()
    elif fault == "position":
        _skip_a_record()


def _forget_steps() -> None:
    restore = Learner.from_state_dict.__func__  # type: ignore[attr-defined]

    def forgetful(cls: type[Learner], config: Any, arrays: Any, values: Mapping[str, Any]) -> Learner:
        return restore(cls, config, arrays, {**values, "steps": 0})

    Learner.from_state_dict = classmethod(forgetful)  # type: ignore[method-assign,assignment]


def _skip_a_record() -> None:
    start = Consumer.__init__

    def late(self: Consumer, *args: Any, state: dict[str, Any] | None = None, **more: Any) -> None:
        start(self, *args, state=None if state is None else _off_by_one(state), **more)

    Consumer.__init__ = late  # type: ignore[method-assign]


def _off_by_one(state: dict[str, Any]) -> dict[str, Any]:
    """Move the first partition of the engagements on by a record, unless it is at its beginning."""
    positions = [list(position) for position in state["places"]]
    first = next(position for position in positions if position[0] == "engagements")
    first[2] += 1 if first[2] else 0
    return {**state, "places": positions}
