"""``hsnn evaluate``: measure retrieval offline, on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from hsnn.cli.options import ConfigFile, DataSet, Overrides, settings
from hsnn.config.schema import Config
from hsnn.evaluation.baselines.registry import parse_baselines
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.hourly_sessions import evaluate_hourly
from hsnn.evaluation.harness.prequential import Run
from hsnn.evaluation.harness.prequential import evaluate as evaluate_prequentially
from hsnn.evaluation.metrics.hourly import hourly_figures
from hsnn.evaluation.metrics.precision import precision_warning
from hsnn.evaluation.report.hourly import hourly_shortfalls, hourly_table
from hsnn.evaluation.report.summary import across, probabilities, sentences, shortfalls, table
from hsnn.streaming.datasets import load
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig


class EvaluationProtocol(StrEnum):
    """Protocols of `hsnn evaluate`."""

    PREQUENTIAL = "prequential"
    HOURLY_SESSIONS = "hourly-sessions"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """What to measure.

    Attributes
    ----------
    data : name of a data set, or name:path
    events : number of its first engagements to use; None: all
    query_share, query_from, query_to : as in `hsnn.evaluation.harness.prequential.evaluate`
    baselines : ``default``, ``counting``, ``all``, ``none`` or names with commas
    seeds : number of runs; the first has the configured seed, each next one the next seed
    """

    data: str
    events: int | None = None
    query_share: float = 0.05
    query_from: float = 0.5
    query_to: float = 1.0
    baselines: str = "default"
    seeds: int = 1


def evaluate(
    data: DataSet,
    config: ConfigFile = None,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="size of the model: sets trainer.model.preset")] = None,
    baselines: Annotated[
        str, typer.Option(help="what to compare with: default, counting, all, none, or names with commas")
    ] = "default",
    seeds: Annotated[int, typer.Option(min=1, help="runs, each with the next seed")] = 1,
    events: Annotated[int | None, typer.Option(min=1, help="first engagements of the data set; all")] = None,
    query_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="share of the events that are queried")] = 0.05,
    query_from: Annotated[
        float, typer.Option(min=0.0, help="first event that is queried; up to 1 a share of the stream")
    ] = 0.5,
    query_to: Annotated[float, typer.Option(min=0.0, help="end of the pass; up to 1 a share of the stream")] = 1.0,
    protocol: Annotated[
        EvaluationProtocol,
        typer.Option(
            help="what is asked; hourly-sessions: the last clicks of sessions; static: pairs without times (gowalla)"
        ),
    ] = EvaluationProtocol.PREQUENTIAL,
    hours: Annotated[int, typer.Option(min=1, help="of hourly-sessions: hours predicted, after the first")] = 190,
    targets: Annotated[int | None, typer.Option(min=1, help="of hourly-sessions: sessions sampled; all")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    report: Annotated[Path | None, typer.Option(help="write a Markdown report here, plots beside it")] = None,
) -> None:
    """Measure retrieval on a data set: test, then train, in one pass and one process."""
    preset = [] if model is None else [f"trainer.model.preset={model}"]
    loaded = settings(config, [*(overrides or ()), *preset]).config
    for file in (json_file, report):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {file.absolute().parent} to write to")
    if protocol is EvaluationProtocol.STATIC:
        for name, given in (("--model", model), ("--events", events), ("--report", report)):
            if given is not None:
                raise typer.BadParameter(f"{name} is of the prequential protocol; the static one does not know it")
        run_static(data, seeds, json_file)
        return
    task = EvaluationTask(
        data=data,
        events=events,
        query_share=query_share,
        query_from=query_from,
        query_to=query_to,
        baselines=baselines,
        seeds=seeds,
    )
    if protocol is EvaluationProtocol.HOURLY_SESSIONS:
        run_hourly(loaded, data, events=events, hours=hours, targets=targets, json_file=json_file)
    else:
        run_evaluation(loaded, task, json_file, report)


def run_static(data: str, seeds: int, json_file: Path | None) -> None:
    """Measure a static data set, print the figures, and write them to `json_file` if given."""
    from hsnn.evaluation.static.protocol import BackboneSettings, evaluate_static
    from hsnn.streaming.datasets import cache
    from hsnn.streaming.datasets.static_pairs import load_static
    from hsnn.trainer.threads import use_threads

    use_threads(1)
    pairs = load_static(data)
    folder = cache.folder(f"static-{pairs.name}")
    figures = evaluate_static(pairs, BackboneSettings(), folder, typer.echo, seeds=seeds)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        typer.echo(f"written to {json_file}")


def run_evaluation(config: Config, task: EvaluationTask, json_file: Path | None, report: Path | None) -> None:
    """Measure under `config` and print the figures; write them to `json_file` and `report` (Markdown) if given."""
    console = Console()
    parse_baselines(task.baselines)  # raises for an unknown name, before the data set is read
    dataset = load(task.data, limit=task.events)
    trainer = config_for_dataset(config.trainer, dataset)
    runs = [
        _run_seed(
            dataset, trainer.model_copy(update={"seed": trainer.seed + number}), task, config=config, console=console
        )
        for number in range(task.seeds)
    ]
    figures = across(runs) | {"data": dataset.name, "config": config.digest()}
    _print_figures(console, figures, task)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        console.print(f"written to {json_file}", markup=False)
    if report is not None:
        from hsnn.evaluation.report.markdown import write

        files = write(report, runs, figures, f"hsnn on {dataset.name}")
        console.print(f"written to {', '.join(map(str, files))}", markup=False)


def run_hourly(
    config: Config, data: str, *, events: int | None, hours: int, targets: int | None, json_file: Path | None
) -> None:
    """Evaluate by the hour and print the figures; write them to `json_file` if given."""
    console, dataset = Console(), load(data, limit=events)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{dataset.name}, by the hour", total=len(dataset.engagements))
        runs = evaluate_hourly(
            dataset,
            config_for_dataset(config.trainer, dataset),
            config.streaming.batch_size,
            hours=hours,
            targets=targets,
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    modes = {mode: hourly_figures(run) for mode, run in runs.items()}
    for mode, figures in modes.items():
        for line in hourly_shortfalls(mode, figures):
            console.print(line)
        console.print(hourly_table(mode, figures, dataset.name))
    if json_file is not None:
        found = {"data": dataset.name, "config": config.digest(), "modes": modes}
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
        console.print(f"written to {json_file}", markup=False)


def _run_seed(data: Dataset, trainer: TrainerConfig, task: EvaluationTask, *, config: Config, console: Console) -> Run:
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"{data.name}, one pass, seed {trainer.seed}", total=len(data.engagements))
        return evaluate_prequentially(
            data,
            trainer,
            config.streaming.batch_size,
            query_share=task.query_share,
            query_from=task.query_from,
            query_to=task.query_to,
            baselines=parse_baselines(task.baselines),
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _print_figures(console: Console, figures: Mapping[str, Any], task: EvaluationTask) -> None:
    queries = f"{figures['queries']:,.0f} queries, {figures['seeds']} seed(s)"
    title = f"{figures['data']}: {figures['events']:,} events, {queries}; percent"
    if warning := precision_warning(int(figures["queries"])):
        console.print(warning, style="yellow")
    for line in shortfalls(figures):
        console.print(line)
    console.print(table(figures, title))
    for sentence in _differences(figures) if task.seeds > 1 else sentences(figures):
        console.print(sentence)
    if calibration := probabilities(figures):
        console.print(calibration)
    settings = ", ".join(f"{name.replace('_', ' ')} {setting}" for name, setting in figures["settings"].items())
    console.print(f"settings, chosen on queries before these: {settings}")
    console.print(f"{figures['events_per_second']:,.0f} events/s learned")


def _differences(figures: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"{pair.replace('_', ' ')}, recall@50: {100 * interval['mean']:+.2f} points, 95% interval over the seeds "
        f"{100 * interval['low']:+.2f} to {100 * interval['high']:+.2f}"
        for pair, by_figure in figures["comparisons"].items()
        for interval in [by_figure["recall_at_50"]]
    ]
