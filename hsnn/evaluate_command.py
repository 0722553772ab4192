"""``hsnn evaluate``: how good retrieval is, offline, on a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from evaluation.harness import evaluate
from evaluation.report import sentences, summary, table
from hsnn.config import Config
from streaming.datasets import load


def evaluate_data(config: Config, data: str, events: int | None, query_share: float, json_file: Path | None) -> None:
    """Evaluate `data` under `config` and show the figures; write them to `json_file` if given."""
    console = Console()
    dataset = load(data, limit=events)
    trainer = config.trainer
    if trainer.expire_after_idle is None:
        trainer = trainer.model_copy(update={"expire_after_idle": dataset.expire_after_idle})
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"{dataset.name}, one pass", total=len(dataset.engagements))
        run = evaluate(
            dataset, trainer, config.streaming.batch_size, query_share=query_share,
            report=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    figures = summary(run, trainer.model.budget) | {"data": dataset.name, "config": config.digest()}
    _show(console, figures)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        console.print(f"written to {json_file}", markup=False)


def _show(console: Console, figures: Mapping[str, Any]) -> None:
    title = (
        f"{figures['data']}: {figures['events']:,} events, {figures['queries']:,} queries on the second half; percent"
    )
    console.print(table(figures, title))
    for sentence in sentences(figures):
        console.print(sentence)
    hours = figures["popularity_half_life_hours"]
    console.print(f"popularity's best half-life: {'none, it never forgets' if hours is None else f'{hours:g} h'}")
    console.print(f"{figures['events_per_second']:,.0f} events/s learned")
