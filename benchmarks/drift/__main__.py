"""Measure detection of planted drift on recorded streams: delay, missed changes, false alarms, cost.

    make bench-drift ARGS='--seeds 2 --json FILE'

Streams are data sets of HSNN_DATA, or ml-100k. `--counted` streams are counted without a model, which is quick: they
tell false alarms and the changes that users, items and pipelines show. `--learned` streams are learned, once as they
are and once per change of interests, of the catalogue or of the trainer itself. A change is planted in the middle of a
stream; it is found if a signal that is meant to find it raises an alarm within the rest. Every alarm in a twin without
a change is false: in the stream as it is, and in one that was given the rhythm of a day.

A sudden shift is learned twice, with and without the action `rates` on the first alarm: the recall lost is the mean,
over the events after the change, of the recall of the twin without a change less the measured one. Models that are
broken are published through a leader and its gate (`benchmarks.drift.bad_models`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.arguments import positive
from benchmarks.drift.bad_models import bad_models
from benchmarks.drift.plants import DAY, OF_VALUES, PLANTS, InterestShift, NewCatalogue, Plant, Rhythm, StaleIndex
from benchmarks.drift.record import Change, Commands, record
from hsnn.monitoring.config import ActionsConfig, DriftConfig
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor
from hsnn.streaming.datasets import load
from hsnn.streaming.schema.commands import BoostRates, Command, SetRates
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads

# Days that the stream with a rhythm lasts: it has a yesterday from the second one on.
_DAYS = 4

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

Alarms = list[tuple[int, str]]
"""Events before each alarm, and its kind."""


# Signals that a new catalogue moves.
_ITEMS = frozenset({"items_unseen_share", "items_concentration", "items_arrivals", "items_age"})


def watch(
    stream: Iterable[Observation], monitor: SignalMonitor, plant: Plant | None = None, *, seed: int = 0, before: int = 0
) -> Alarms:
    """Have a monitor that has seen `before` events see a stream, with a change of all observations."""
    rng, events, alarms = np.random.default_rng(seed), before, Alarms()
    for seen in stream:
        changed = seen if plant is None else plant(seen, rng)
        events += len(seen.items)
        alarms += [(events, alarm.kind) for alarm in monitor.update(changed)]
    return alarms


def restored(state: bytes) -> SignalMonitor:
    """Restore a monitor: what comes before a change is watched once for all changes."""
    monitor = SignalMonitor(DriftConfig())
    monitor.load_state_dict(msgspec.msgpack.decode(state))
    return monitor


def found(alarms: Alarms, meant: frozenset[str], start: int) -> dict[str, Any]:
    """Return the delay in events of the first alarm that was meant, None if there is none, and all kinds after it."""
    after = [(events, kind) for events, kind in alarms if events > start]
    delay = next((events - start for events, kind in after if kind in meant), None)
    return {"delay": delay, "kinds": sorted({kind for _, kind in after})}


def counted(name: str, events: int, seed: int) -> dict[str, Any]:
    """Plant the changes of observations into a stream that is counted alone."""
    stream = list(record(load(name), events, seed, model=False))
    total = sum(len(seen.items) for seen in stream)
    middle = 1 + int(np.searchsorted(np.cumsum([len(seen.items) for seen in stream]), total // 2))
    first, second = stream[:middle], stream[middle:]
    start = sum(len(seen.items) for seen in first)
    monitor = SignalMonitor(DriftConfig())
    quiet = watch(first, monitor)
    state = msgspec.msgpack.encode(monitor.state_dict())
    quiet += watch(second, restored(state), before=start)
    valued, plants = any(np.isfinite(seen.values).any() for seen in stream), {}
    for label, (plant, meant) in PLANTS.items():
        if valued or label not in OF_VALUES:
            alarms = watch(second, restored(state), plant, seed=seed, before=start)
            plants[label] = found([alarm for alarm in alarms if alarm not in quiet], meant, start)
    replaced = record(load(name), events, seed, model=False, change=NewCatalogue(start))
    plants["new catalogue"] = found(
        [a for a in watch(replaced, SignalMonitor(DriftConfig())) if a not in quiet], _ITEMS, start
    )
    span = stream[-1].ts - stream[0].ts
    rhythm = watch(stream, SignalMonitor(DriftConfig()), Rhythm(_DAYS * DAY / max(span, 1)), seed=seed)
    return {
        "stream": name,
        "seed": seed,
        "events": total,
        "model": False,
        "false": quiet,
        "false with a rhythm": rhythm,
        "plants": plants,
    }


class Learned:
    """A stream that is learned while it is watched.

    Attributes
    ----------
    alarms
    recall : (batches,) float
        Share of the batch's events whose item ranks high.
    training, watching : seconds of processor time
    """

    def __init__(self, name: str, events: int, seed: int, change: Change | None = None, *, act: bool = False) -> None:
        self._stale_from = events
        self._act, self._boosted, self._frozen_from = act, False, events
        self._stream = (name, events, seed, change)
        self._due: list[Command] = []
        self.alarms, self.recall = Alarms(), list[float]()
        self.training = self.watching = 0.0

    def run(self, start: int, *, freeze: bool = False, stale: bool = False) -> Learned:
        """Learn it; at `start` events `freeze` stops the learning, and `stale` the assignment of items to nodes."""
        name, events, seed, change = self._stream
        self._frozen_from = start if freeze else events
        self._stale_from = start if stale else events
        stream, monitor, before = self._recorded(name, events, seed, change), SignalMonitor(DriftConfig()), 0
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
            self.alarms += [(before, alarm.kind) for alarm in raised]
            self.recall.append(float((seen.model.ranks < _TOP).mean()))
            self._answer(seen, [alarm.kind for alarm in raised], after=before > start)

    def _recorded(self, name: str, events: int, seed: int, change: Change | None) -> Iterator[Observation]:
        commands: Commands = self._commands
        damage = StaleIndex(self._stale_from)
        return record(load(name), events, seed, model=True, change=change, commands=commands, damage=damage)

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


def learned(name: str, events: int, seed: int) -> dict[str, Any]:
    """Plant changes into a stream that is learned, publish broken models of it, and time the signals."""
    data = load(name)
    total = min(events, len(data))
    start, items, plants = total // 2, list(data.engagements.item), {}
    quiet = Learned(name, total, seed).run(start)
    runs: dict[str, tuple[Learned, frozenset[str]]] = {}
    for label, over in (("sudden shift", 0), ("slow shift", round(_SLOW * total))):
        runs[label] = Learned(name, total, seed, InterestShift(items, start, over, seed)).run(start), _MODEL
    runs["frozen trainer"] = Learned(name, total, seed).run(start, freeze=True), _MODEL | {"model_step_size"}
    runs["stale index"] = Learned(name, total, seed).run(start, stale=True), _INDEX
    runs["new catalogue"] = Learned(name, total, seed, NewCatalogue(start)).run(start), _ITEMS | _MODEL
    acted = Learned(name, total, seed, InterestShift(items, start, 0, seed), act=True).run(start)
    for label, (run, meant) in runs.items():
        plants[label] = found([a for a in run.alarms if a not in quiet.alarms], meant, start)
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


def main(arguments: list[str] | None = None) -> None:
    """Run the laboratory and print a line per stream and change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counted", default="ml-100k", help="streams that are counted, names with commas")
    parser.add_argument("--learned", default="ml-100k", help="streams that are learned, names with commas; '' for none")
    parser.add_argument("--events", type=positive, default=100_000, help="events of each stream, at most")
    parser.add_argument("--seeds", type=positive, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures; with it a run that was stopped goes on")
    chosen = parser.parse_args(arguments)
    use_threads(1)
    done: list[dict[str, Any]] = []
    if chosen.json is not None and chosen.json.exists():
        done = msgspec.json.decode(chosen.json.read_bytes())
    for run, names in ((counted, chosen.counted), (learned, chosen.learned)):
        for name in filter(None, names.split(",")):
            for seed in range(chosen.seeds):
                if any((o["stream"], o["seed"], o["model"]) == (name, seed, run is learned) for o in done):
                    continue
                done.append(run(name, chosen.events, seed))
                _show(done[-1])
                if chosen.json is not None:
                    chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(done)) + b"\n")
    twins = [(each["events"], each[key]) for each in done for key in ("false", "false with a rhythm") if key in each]
    quiet, false = sum(events for events, _ in twins), sum(len(alarms) for _, alarms in twins)
    missed = sum(plant["delay"] is None for each in done for plant in each["plants"].values())
    print(f"{missed} changes missed; {false} false alarms in {quiet:,} quiet events")


def _show(figures: dict[str, Any]) -> None:
    kind = "learned" if figures["model"] else "counted"
    print(f"{figures['stream']}, seed {figures['seed']}, {kind}, {figures['events']:,} events", flush=True)
    for label, plant in figures["plants"].items():
        delay = "missed" if plant["delay"] is None else f"found after {plant['delay']:,} events"
        lost = "".join(f", {key} {value:.2f} points" for key, value in plant.items() if key.startswith("recall"))
        print(f"  {label}: {delay}{lost}; {', '.join(plant['kinds'])}", flush=True)
    for twin in ("false", "false with a rhythm"):
        if twin in figures:
            print(f"  quiet twin: {len(figures[twin])} {twin} {figures[twin]}", flush=True)
    if "cost" in figures:
        print(f"  signals cost {figures['cost']:.2%} of the training", flush=True)
    for damage, outcome in figures.get("bad models", {}).items():
        served = "served" if outcome["served"] else f"refused: {outcome['reason']}"
        print(f"  model with damage: {damage}: decided after {outcome['seconds']:.2f} s; {served}", flush=True)
        if "rollback" in outcome:
            print(f"    without the gate served for {outcome['rollback']['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
