"""Measure detection of planted drift on recorded streams: delay, missed changes, false alarms, cost.

    make bench-drift ARGS='--seeds 2 --json FILE'

Streams are data sets of HSNN_DATA, or ml-100k. `--counted` streams are counted without a model, which is quick: they
tell false alarms and the changes that users, items and pipelines show. `--learned` streams are learned, once as they
are and once per shift of interest. A change is planted in the middle of a stream; it is found if a signal that is
meant to find it raises an alarm within the rest. Every other alarm, in the twin without a change, is false.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.arguments import positive
from benchmarks.drift.plants import PLANTS, InterestShift, Plant
from benchmarks.drift.record import record
from hsnn.monitoring.config import DriftConfig
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor
from hsnn.streaming.datasets import load
from hsnn.trainer.threads import use_threads

# Signals that a shift of interest moves.
_MODEL = frozenset({"model_loss", "model_recall", "model_normalised_entropy", "model_popularity_gap"})

# Events over which a slow shift spreads, as a share of the stream.
_SLOW = 0.1

Alarms = list[tuple[int, str]]
"""Events before each alarm, and its kind."""


def watch(stream: Iterable[Observation], plant: Plant | None = None, start: int = 0, seed: int = 0) -> Alarms:
    """Run all signals over a stream, with a change of the observations from `start` events on."""
    monitor, rng, events, alarms = SignalMonitor(DriftConfig()), np.random.default_rng(seed), 0, Alarms()
    for seen in stream:
        changed = plant(seen, rng) if plant is not None and events >= start else seen
        events += len(seen.items)
        alarms += [(events, alarm.kind) for alarm in monitor.update(changed)]
    return alarms


def found(alarms: Alarms, meant: frozenset[str], start: int) -> dict[str, Any]:
    """Return the delay in events of the first alarm that was meant, None if there is none, and all kinds after it."""
    after = [(events, kind) for events, kind in alarms if events > start]
    delay = next((events - start for events, kind in after if kind in meant), None)
    return {"delay": delay, "kinds": sorted({kind for _, kind in after})}


def counted(name: str, events: int, seed: int) -> dict[str, Any]:
    """Plant the changes of observations into a stream that is counted alone."""
    stream = list(record(load(name), events, seed, model=False))
    total = sum(len(seen.items) for seen in stream)
    start = total // 2
    quiet = watch(stream)
    plants = {
        label: found([a for a in watch(stream, plant, start, seed) if a not in quiet], meant, start)
        for label, (plant, meant) in PLANTS.items()
    }
    return {"stream": name, "seed": seed, "events": total, "model": False, "false": quiet, "plants": plants}


def learned(name: str, events: int, seed: int) -> dict[str, Any]:
    """Plant shifts of interest into a stream that is learned, and time the signals beside the training."""
    data = load(name)
    began = time.process_time()
    stream = list(record(data, events, seed, model=True))
    training = time.process_time() - began
    began = time.process_time()
    quiet = watch(stream)
    watching = time.process_time() - began
    total = sum(len(seen.items) for seen in stream)
    start, plants = total // 2, {}
    for label, over in (("sudden shift", 0), ("slow shift", round(_SLOW * total))):
        change = InterestShift(list(data.engagements.item), start, over, seed)
        alarms = watch(record(data, events, seed, model=True, change=change))
        plants[label] = found([a for a in alarms if a not in quiet], _MODEL, start)
    cost = watching / training
    return {
        "stream": name,
        "seed": seed,
        "events": total,
        "model": True,
        "false": quiet,
        "plants": plants,
        "cost": cost,
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
    quiet, false = sum(each["events"] for each in done), sum(len(each["false"]) for each in done)
    missed = sum(plant["delay"] is None for each in done for plant in each["plants"].values())
    print(f"{missed} changes missed; {false} false alarms in {quiet:,} quiet events")


def _show(figures: dict[str, Any]) -> None:
    kind = "learned" if figures["model"] else "counted"
    print(f"{figures['stream']}, seed {figures['seed']}, {kind}, {figures['events']:,} events", flush=True)
    for label, plant in figures["plants"].items():
        delay = "missed" if plant["delay"] is None else f"found after {plant['delay']:,} events"
        print(f"  {label}: {delay}; {', '.join(plant['kinds'])}", flush=True)
    print(f"  quiet twin: {len(figures['false'])} false alarms {figures['false']}", flush=True)
    if "cost" in figures:
        print(f"  signals cost {figures['cost']:.1%} of the training", flush=True)


if __name__ == "__main__":
    main()
