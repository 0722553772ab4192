"""Measure detection of planted drift on recorded streams: delay, missed changes, false alarms, cost.

    make bench-drift ARGS='--seeds 2 --json FILE'

Streams are data sets of HSNN_DATA, or ml-100k. `--counted` streams are counted without a model, which is quick: they
tell false alarms and the changes that users, items and pipelines show. `--learned` streams are learned, once as they
are and once per change of interests, of the catalogue or of the trainer itself. A change is planted in the middle of a
stream; it is found if a signal that is meant to find it raises an alarm within the rest. Every alarm in a twin without
a change is false: in the stream as it is, and in one that was given the rhythm of a day. Of a counted stream every seed
draws other users, and starts the changes at another event.

A sudden shift is learned twice, with and without the action `rates` on the first alarm: the recall lost is the mean,
over the events after the change, of the recall of the twin without a change less the measured one. Models that are
broken are published through a leader and its gate (`benchmarks.drift.bad_models`).
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.arguments import positive
from benchmarks.drift.counted import counted
from benchmarks.drift.learned import learned
from hsnn.streaming.datasets import load
from hsnn.trainer.threads import use_threads


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
            seeds = {each["seed"] for each in done if (each["stream"], each["model"]) == (name, run is learned)}
            left = [seed for seed in range(chosen.seeds) if seed not in seeds]
            for seed in left:
                done.append(run(name, _loaded(name), chosen.events, seed))
                _show(done[-1])
                if chosen.json is not None:
                    _write(chosen.json, done)
    for twin in ("false", "false with a rhythm"):
        twins = [each for each in done if twin in each]
        quiet, false = sum(each["events"] for each in twins), sum(len(each[twin]) for each in twins)
        print(f"{false} {twin} in {quiet:,} quiet events")
    print(f"{sum(plant['delay'] is None for each in done for plant in each['plants'].values())} changes missed")


_loaded = lru_cache(maxsize=1)(load)


def _write(path: Path, done: list[dict[str, Any]]) -> None:
    """Write the figures, one run a line: a run that was stopped goes on after the last of them."""
    lines = b",\n".join(map(msgspec.json.encode, done))
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"[\n" + lines + b"\n]\n")
    partial.replace(path)


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
