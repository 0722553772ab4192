"""``hsnn evaluate``: how good retrieval is, offline, on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from hsnn.config.schema import Config
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.prequential import Run, evaluate
from hsnn.evaluation.methods import parse_baselines
from hsnn.evaluation.report.summary import across, probabilities, sentences, table
from hsnn.streaming.datasets import load
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig


@dataclass(frozen=True, slots=True)
class Task:
    """What to measure.

    Attributes
    ----------
    data : name of a data set, or name:path
    events : first engagements of it; None: all
    query_share, query_from, query_to : as in `hsnn.evaluation.harness.prequential.evaluate`
    baselines : ``all``, ``none`` or names with commas
    seeds : how many, counted from the configuration's
    """

    data: str
    events: int | None = None
    query_share: float = 0.05
    query_from: float = 0.5
    query_to: float = 1.0
    baselines: str = "all"
    seeds: int = 1


def evaluate_data(config: Config, task: Task, json_file: Path | None, report: Path | None) -> None:
    """Measure under `config` and show the figures; write them to `json_file` and `report` (Markdown) if given."""
    console = Console()
    parse_baselines(task.baselines)  # a wrong name is said before the data are read
    dataset = load(task.data, limit=task.events)
    trainer = config_for_dataset(config.trainer, dataset)
    runs = [
        _run(console, dataset, trainer.model_copy(update={"seed": trainer.seed + number}), task, config)
        for number in range(task.seeds)
    ]
    figures = across(runs) | {"data": dataset.name, "config": config.digest()}
    _show(console, figures, task)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        console.print(f"written to {json_file}", markup=False)
    if report is not None:
        from hsnn.evaluation.report.markdown import write

        files = write(report, runs, figures, f"hsnn on {dataset.name}")
        console.print(f"written to {', '.join(map(str, files))}", markup=False)


def _run(console: Console, data: Dataset, trainer: TrainerConfig, task: Task, config: Config) -> Run:
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{data.name}, one pass, seed {trainer.seed}", total=len(data.engagements))
        return evaluate(
            data,
            trainer,
            config.streaming.batch_size,
            query_share=task.query_share,
            query_from=task.query_from,
            query_to=task.query_to,
            baselines=parse_baselines(task.baselines),
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _show(console: Console, figures: Mapping[str, Any], task: Task) -> None:
    queries = f"{figures['queries']:,.0f} queries, {figures['seeds']} seed(s)"
    title = f"{figures['data']}: {figures['events']:,} events, {queries}; percent"
    console.print(table(figures, title))
    for sentence in _differences(figures) if task.seeds > 1 else sentences(figures):
        console.print(sentence)
    if shown := probabilities(figures):
        console.print(shown)
    hours = figures["popularity_half_life_hours"]
    console.print(f"popularity's best half-life: {'none, it never forgets' if hours is None else f'{hours:g} h'}")
    console.print(f"{figures['events_per_second']:,.0f} events/s learned")


def _differences(figures: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"{pair.replace('_', ' ')}, recall@50: {100 * one['mean']:+.2f} points, 95% interval over the seeds "
        f"{100 * one['low']:+.2f} to {100 * one['high']:+.2f}"
        for pair, by_figure in figures["comparisons"].items()
        for one in [by_figure["recall_at_50"]]
    ]
