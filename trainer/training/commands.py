"""Steering: what commands of the control topic change in a learner, at their position in the log.

``rates`` sets learning rates. ``rebalance`` evens the nodes of the families that its leaves lie in, by the learner's
own view of the living items. Both are part of the checkpoint, so that a restart goes on as it was steered.

A **generation** is the nodes between two rebalances. A command names the generation that its sender saw; a repeated or
late one names a past one, and is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsnn.streaming.schema.commands import Rebalance, SetRates, decode_commands
from hsnn.trainer.metrics import REBALANCES
from hsnn.trainer.training.maintenance import FIT_SAMPLE, living_rows, sampled

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

_log = logging.getLogger(__name__)


class Steering:
    """What was commanded so far.

    Attributes
    ----------
    generation : int
        Rebalances carried out.
    dense_rate, embedding_rate : float or None
        As commanded; None: as configured.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.dense_rate: float | None = None
        self.embedding_rate: float | None = None

    def state(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        vars(self).update(state)


def obey(learner: Learner, records: Sequence[bytes]) -> None:
    """Carry out the commands among some records of the control topic, in order."""
    for command in decode_commands(list(records)):
        if isinstance(command, SetRates):
            _set_rates(learner, command)
        elif isinstance(command, Rebalance):
            _rebalance(learner, command)


def steer(learner: Learner) -> None:
    """Have a learner's network learn at the rates that were commanded."""
    learner.network.set_rates(learner.steering.dense_rate, learner.steering.embedding_rate)


def _set_rates(learner: Learner, command: SetRates) -> None:
    steering = learner.steering
    steering.dense_rate = command.dense_rate or steering.dense_rate
    steering.embedding_rate = command.embedding_rate or steering.embedding_rate
    steer(learner)
    _log.info("rates as commanded: dense %s, embedding %s", steering.dense_rate, steering.embedding_rate)


def _rebalance(learner: Learner, command: Rebalance) -> None:
    steering = learner.steering
    living = living_rows(learner)
    if command.generation != steering.generation or not learner.network.seeded or not len(living):
        REBALANCES.labels("passed_over").inc()
        return
    rng = np.random.default_rng([learner.config.seed, learner.steps, steering.generation])
    split = learner.network.rebalance(sampled(living, FIT_SAMPLE, rng), learner.items.tokens, command)
    learner.leaves.move(living, learner.network.assign(living, learner.items.tokens))
    steering.generation += 1
    REBALANCES.labels("done").inc()
    _log.info("rebalance %d for version %d: %d nodes split", steering.generation, command.version, split)
