"""The indexes that a server answers from: its own, and those of other loops that arms of its experiment name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hsnn.monitoring.health import Detail
from hsnn.serving.errors import NotReadyError, RequestError
from hsnn.serving.experiment import Arm
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.arm_index import MISSING, ArmIndex
from hsnn.streaming.redis.keys import key_prefix


class AnsweringIndex(NamedTuple):
    """What answers a request.

    Attributes
    ----------
    mirror
        Of the index.
    prefix
        First part of the names of its keys; empty where the server follows no other one.
    fallback
        Why it is not the index of the request's arm, `MISSING` or `STALE`; empty if it is.
    """

    mirror: Mirror
    prefix: str = ""
    fallback: str = ""


class Indexes:
    """The server's own index, and others by prefix.

    Parameters
    ----------
    own
        Mirror of the server's own.
    others
        Those of arms.
    """

    def __init__(self, own: Mirror, others: Mapping[str, ArmIndex] | None = None) -> None:
        self._others = dict(others or {})
        self._prefix = key_prefix()
        self._own = AnsweringIndex(own, self._prefix if self._others else "")

    @property
    def names(self) -> list[str]:
        """Prefixes of all indexes, that of the server's own first."""
        return [self._prefix, *self._others]

    def of(self, arm: Arm) -> AnsweringIndex:
        """Return what answers for an arm: the server's own index where that of the arm cannot.

        Raises
        ------
        RequestError
            What was named in place of an arm is not followed here.
        NotReadyError
            It has no version yet.
        """
        if arm.prefix in ("", self._prefix):
            return self._own
        other = self._others.get(arm.prefix)
        if other is None:
            raise RequestError(
                f"the index {arm.prefix[:100]!r} is not followed here; known: {', '.join(self.names)} (an arm of "
                "serving.experiment names the prefix of another)"
            )
        problem = other.problem()
        if problem and arm.name:
            return self._own._replace(fallback=problem)
        if problem == MISSING:
            raise NotReadyError(f"the index {arm.prefix!r} has no version yet; try again when its scheduler has")
        return AnsweringIndex(other.mirror, arm.prefix)

    def details(self) -> Detail:
        """Describe the other indexes for the health page."""
        return {prefix: other.detail() for prefix, other in self._others.items()}
