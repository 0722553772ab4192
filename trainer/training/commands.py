"""Commands of the control topic: what they change in a learner, at their position in the log.

``rates`` sets learning rates, ``boost`` multiplies them until a time of the stream. ``rebalance`` evens the nodes of
the families that its leaves lie in, by the learner's own view of the items that are alive. ``expire`` confirms
departures that are held. All are part of the checkpoint, so that a restart continues as commanded.

A **generation** is the nodes between two rebalances. A command names the generation that its sender saw; a repeated or
late one names a past one, and is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from hsnn.streaming.schema.commands import BoostRates, Expire, Rebalance, SetRates, decode_commands
from hsnn.trainer.metrics import REBALANCES
from hsnn.trainer.training.maintenance import FIT_SAMPLE, assign_slice, living_rows, subsample
from hsnn.trainer.training.state import LearnerState

_log = logging.getLogger(__name__)


def apply_commands(state: LearnerState, records: Sequence[bytes]) -> None:
    """Carry out the commands among some records of the control topic, in order, and end what has lasted long enough."""
    if state.commanded.boost_until and state.watermark >= state.commanded.boost_until:
        _boost(state, 1.0, 0)
    for command in decode_commands(list(records)):
        if isinstance(command, SetRates):
            _set_rates(state, command)
        elif isinstance(command, BoostRates):
            _boost(state, command.factor, command.until)
        elif isinstance(command, Rebalance):
            _rebalance(state, command)
        elif isinstance(command, Expire):
            _confirm_expiry(state, command)


def apply_rates(state: LearnerState) -> None:
    """Have the network learn at the rates that were commanded."""
    commanded, config = state.commanded, state.config
    dense, embedding = commanded.dense_rate or config.dense_rate, commanded.embedding_rate or config.embedding_rate
    state.network.set_rates(commanded.boost * dense, commanded.boost * embedding)


def _boost(state: LearnerState, factor: float, until: int) -> None:
    state.commanded.boost, state.commanded.boost_until = factor, until
    apply_rates(state)
    _log.info("learning rates times %g until %d", factor, until)


def _set_rates(state: LearnerState, command: SetRates) -> None:
    commanded = state.commanded
    commanded.dense_rate = command.dense_rate or commanded.dense_rate
    commanded.embedding_rate = command.embedding_rate or commanded.embedding_rate
    apply_rates(state)
    _log.info("rates as commanded: dense %s, embedding %s", commanded.dense_rate, commanded.embedding_rate)


def _confirm_expiry(state: LearnerState, command: Expire) -> None:
    state.departures.confirmed = max(state.departures.confirmed, command.until)
    state.let_items_leave()
    _log.info("items may leave up to %d, as commanded", command.until)


def _rebalance(state: LearnerState, command: Rebalance) -> None:
    commanded = state.commanded
    living = living_rows(state)
    if command.generation != commanded.generation or not state.network.seeded or not len(living):
        REBALANCES.labels("passed_over").inc()
        return
    rng = np.random.default_rng([state.config.seed, state.steps, commanded.generation])
    split = state.network.rebalance(subsample(living, FIT_SAMPLE, rng), state.items.tokens, command)
    state.passes.assigned = 0
    assign_slice(state)
    commanded.generation += 1
    REBALANCES.labels("done").inc()
    _log.info("rebalance %d for version %d: %d nodes split", commanded.generation, command.version, split)
