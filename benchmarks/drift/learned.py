"""Changes planted into streams that a model learns: recall lost, with and without an action, and the signals' cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.drift.alarms import Raised, Start, found
from benchmarks.drift.bad_models import bad_models
from benchmarks.drift.counted import ITEMS
from benchmarks.drift.plants import InterestShift, NewCatalogue, StaleIndex
from benchmarks.drift.record import Change, Commands, record
from hsnn.monitoring.config import ActionsConfig, DriftConfig
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.schema.commands import BoostRates, Command, SetRates
from hsnn.trainer.config.model import TrainerConfig

# Rates of a trainer that learns nothing any more.
_FROZEN = 1e-9

# Factor of the rates while the action `rates` lasts, that of the configuration, and its length in windows: the spans of
# the configuration are those of streams with many more events an hour.
_BOOST, _BOOST_WINDOWS = ActionsConfig().rate_factor, 12

# Epoch ms after which there is no event: the action is ended by another command.
_END_OF_TIME = 253_402_300_799_999

# Share of the candidates that an item is recommended among: that of the signal `model_recall`.
_TOP = 0.02

# Events that are learned before the broken models are published, at most.
_LEARNED = 30_000

# Signals that a shift of interest moves.
_MODEL = frozenset({"model_loss", "model_recall", "model_normalised_entropy", "model_popularity_gap"})

# Events over which a slow shift spreads, as a share of the stream.
_SLOW = 0.1

# Signals that an index moves whose items are not assigned any more.
_INDEX = frozenset({"index_stale_share", "index_dead_share", "model_index_recall"})


class Learned:
    """A stream that is learned while it is watched.

    Attributes
    ----------
    alarms
    recall : (batches,) float
        Share of the batch's events whose item ranks high.
    training, watching : seconds of processor time
    """

    def __init__(
        self, data: Dataset, events: int, seed: int, change: Change | None = None, *, act: bool = False
    ) -> None:
        self._stale_from = events
        self._act, self._boosted, self._frozen_from = act, False, events
        self._stream = (data, events, seed, change)
        self._due: list[Command] = []
        self.alarms, self.recall = list[Raised](), list[float]()
        self.training = self.watching = 0.0

    def run(self, start: int, *, freeze: bool = False, stale: bool = False) -> Learned:
        """Learn it; at `start` events `freeze` stops the learning, and `stale` the assignment of items to nodes."""
        data, events, seed, change = self._stream
        self._frozen_from = start if freeze else events
        self._stale_from = start if stale else events
        stream, monitor, before = self._recorded(data, events, seed, change), SignalMonitor(DriftConfig()), 0
        while True:
            began = time.process_time()
            seen = next(stream, None)
            between = time.process_time()
            if seen is None:
                return self
            raised = monitor.update(seen)
            self.training += between - began
            self.watching += time.process_time() - between
            before += len(seen.items)
            self.alarms += [Raised(before, alarm.ts, alarm.kind) for alarm in raised]
            self.recall.append(float((seen.model.ranks < _TOP).mean()))
            self._answer(seen, [alarm.kind for alarm in raised], after=before > start)

    def _recorded(self, data: Dataset, events: int, seed: int, change: Change | None) -> Iterator[Observation]:
        commands: Commands = self._commands
        damage = StaleIndex(self._stale_from)
        return record(data, events, seed, model=True, change=change, commands=commands, damage=damage)

    def _commands(self, before: int) -> list[Command]:
        due, self._due = self._due, []
        if before >= self._frozen_from:
            due.append(SetRates(dense_rate=_FROZEN, embedding_rate=_FROZEN))
        return due

    def _answer(self, seen: Observation, kinds: list[str], *, after: bool) -> None:
        """Raise the rates at the first alarm of a model's signal after the change, and end that after some windows."""
        if self._act and after and not self._boosted and _MODEL.intersection(kinds):
            self._boosted = True
            self._due.append(BoostRates(seen.ts, _BOOST, _END_OF_TIME))
            self._left = _BOOST_WINDOWS * DriftConfig().window
        elif self._boosted and self._left > 0:
            self._left -= len(seen.items)
            if self._left <= 0:
                self._due.append(BoostRates(seen.ts, 1.0, 0))


def recall_lost(quiet: Learned, changed: Learned, start: int, total: int) -> float:
    """Return the mean recall lost per event after the change, in points."""
    first = round(len(quiet.recall) * start / total)
    return 100 * float(np.mean(np.array(quiet.recall[first:]) - np.array(changed.recall[first:])))


def learned(name: str, data: Dataset, events: int, seed: int) -> dict[str, Any]:
    """Plant changes into a stream that is learned, publish broken models of it, and time the signals."""
    total = min(events, len(data))
    start, items, plants = total // 2, list(data.engagements.item), {}
    quiet = Learned(data, total, seed).run(start)
    runs: dict[str, tuple[Learned, frozenset[str]]] = {}
    for label, over in (("sudden shift", 0), ("slow shift", round(_SLOW * total))):
        runs[label] = Learned(data, total, seed, InterestShift(items, start, over, seed)).run(start), _MODEL
    runs["frozen trainer"] = Learned(data, total, seed).run(start, freeze=True), _MODEL | {"model_step_size"}
    runs["stale index"] = Learned(data, total, seed).run(start, stale=True), _INDEX
    runs["new catalogue"] = Learned(data, total, seed, NewCatalogue(start)).run(start), ITEMS | _MODEL
    acted = Learned(data, total, seed, InterestShift(items, start, 0, seed), act=True).run(start)
    began = Start(start, int(data.engagements.ts[start - 1]))
    for label, (run, meant) in runs.items():
        plants[label] = found(run.alarms, quiet.alarms, meant, began)
        plants[label]["recall lost"] = recall_lost(quiet, run, start, total)
    plants["sudden shift"]["recall lost with rates"] = recall_lost(quiet, acted, start, total)
    return {
        "stream": name,
        "seed": seed,
        "events": total,
        "model": True,
        "false": quiet.alarms,
        "plants": plants,
        "cost": quiet.watching / quiet.training,
        "bad models": bad_models(data, TrainerConfig(seed=seed), min(events, _LEARNED), seed),
    }
