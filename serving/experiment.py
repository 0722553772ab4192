"""Experiments: several ways to answer, each for its own group of users, and shadows that answer unseen."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

import msgspec

from hsnn.serving.config import ExperimentConfig
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Request, RetrievalMode
from hsnn.streaming.schema.events import Id

# Hashes are numbers of 64 bits.
_HASHES = 2.0**64


class Arm(NamedTuple):
    """One way to answer requests in the mode ``beam``.

    Attributes
    ----------
    name : str
        Empty where there is no experiment.
    share : float
        Share of the users that it answers.
    shadow : float
        Share of the other requests that it answers unseen.
    mode : RetrievalMode or None
        In place of ``beam``.
    limits : RetrievalLimits
    prefix : str
        First part of the names of the keys of the index that answers; empty for the server's own.
    """

    name: str
    share: float
    shadow: float
    mode: RetrievalMode | None
    limits: RetrievalLimits
    prefix: str = ""

    def request(self, request: Request) -> Request:
        """Return a request of an experiment as this arm carries it out."""
        return request if self.mode is None else msgspec.structs.replace(request, mode=self.mode.value)


class Experiment:
    """Chooses how a request is answered: by a hash of its user, so that a user always has the same arm.

    Requests that name another mode than ``beam``, or an index, belong to no arm.

    Parameters
    ----------
    config
        Arms and their shares.
    limits
        Limits of what belongs to no arm, and of arms that name none.

    Examples
    --------
    >>> arms = {"narrow": {"share": 0.5, "beam": 8}, "wide": {"share": 0.5, "beam": 64}}
    >>> experiment = Experiment(ExperimentConfig.model_validate({"name": "beam", "arms": arms}), RetrievalLimits())
    >>> [experiment.arm_of(Request(user=f"u{number}")).limits.beam for number in range(6)]
    [8, 8, 64, 64, 64, 64]
    >>> experiment.arm_of(Request(user="u0", mode="popularity")).name
    ''
    """

    def __init__(self, config: ExperimentConfig, limits: RetrievalLimits) -> None:
        self._name = config.name
        self._none = Arm(name="", share=1.0, shadow=0.0, mode=None, limits=limits)
        self._arms = [
            Arm(
                name=name,
                share=arm.share,
                shadow=arm.shadow,
                mode=arm.mode,
                limits=limits._replace(beam=arm.beam or limits.beam, budget=arm.budget or limits.budget),
                prefix=arm.prefix or "",
            )
            for name, arm in config.arms.items()
        ]
        self._ends = list(accumulate(arm.share for arm in self._arms))
        self._has_shadows = any(arm.shadow for arm in self._arms)
        self._has_indexes = any(arm.prefix for arm in self._arms)

    def arm_of(self, request: Request) -> Arm:
        """Return the arm that answers a request."""
        if request.index is not None:
            return self._none._replace(prefix=request.index)
        if not self._arms or request.mode != RetrievalMode.BEAM:
            return self._none
        return self._arm_of_user(request.user)

    def arm_of_user(self, user: Id | None, index: str | None = None) -> Arm:
        """Return the arm whose index answers what is no request for items: that of the `index` named, or of the user.

        Examples
        --------
        >>> arms = {"own": {"share": 0.5}, "other": {"share": 0.5, "prefix": "challenger"}}
        >>> experiment = Experiment(ExperimentConfig.model_validate({"name": "two", "arms": arms}), RetrievalLimits())
        >>> [experiment.arm_of_user(user).prefix for user in ("u0", "u1", None)]
        ['', 'challenger', '']
        """
        if index is not None:
            return self._none._replace(prefix=index)
        return self._none if user is None or not self._has_indexes else self._arm_of_user(user)

    def _arm_of_user(self, user: Id) -> Arm:
        place = _uniform(self._name, user)
        for arm, end in zip(self._arms, self._ends, strict=True):
            if place < end:
                return arm
        return max(self._arms, key=lambda arm: arm.share)  # rounding left a gap at the end

    def groups(self, requests: Sequence[Request]) -> dict[Arm, list[int]]:
        """Return the places of requests by the arm that answers them."""
        groups: dict[Arm, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(self.arm_of(request), []).append(place)
        return groups

    def shadows_of(self, request: Request, call: str) -> list[Arm]:
        """Return the arms that answer a request unseen; `call`, the id of the call, draws them."""
        if not self._has_shadows or request.mode != RetrievalMode.BEAM or request.index is not None:
            return []
        own = self.arm_of(request)
        return [
            arm
            for arm in self._arms
            if arm.name != own.name and _uniform(f"{self._name}/{arm.name}", call) < arm.shadow
        ]


def _uniform(name: str, key: Id) -> float:
    """Hash a name and a key to a number in [0, 1]; a number and its text are the same key."""
    digest = blake2b(f"{name}/{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / _HASHES
