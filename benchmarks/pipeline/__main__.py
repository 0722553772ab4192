"""The whole way from the log to the gradient step, against the step alone. Writes `results/pipeline.json`.

    make bench-pipeline
    make bench-pipeline ARGS='--events 50000 --logs redis,redis-arrow --rounds 1 --json FILE'

`bare` is the training loop on batches that were decoded before, `pipeline` the same loop on what a consumer reads from
a log that was filled before; same model, same configuration, in turn in one process, with two torch threads and with
one (the trainer's default), so that their ratio means something. One log after the other: of all servers only that of
the log at hand runs. Both loops are timed from their second batch to their last full one: a consumer's opening is no
part of its throughput, nor is its patience (`streaming.max_wait`) with what could still fill the last batch. The
profile says where a pipeline's time goes: reading and making batches alone, stage by stage, and what of that is left to
wait for when the model learns meanwhile.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.pipeline.timed_log import TimedLog
from benchmarks.quality.variants import digest
from hsnn.config.schema import Config
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.monitoring.process.gc_tuning import freeze_heap
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer import consumer as consuming
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.datasets import Dataset, load
from hsnn.streaming.log.open import open_log
from hsnn.streaming.producer.produce import produce
from hsnn.streaming.producer.records import RecordFormat
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads
from hsnn.trainer.training.learner import Learner

RESULTS = RESULTS_FOLDER / "pipeline.json"
LOGS: dict[str, tuple[str, RecordFormat]] = {
    "redis": ("redis", "json"),
    "redis-arrow": ("redis", "arrow"),
    "kafka": ("kafka", "json"),
    "kafka-arrow": ("kafka", "arrow"),
}
# torch threads of the runs: the goals are for two
THREADS = (2, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    data = _data(options.events)
    config = config_for_dataset(Config().trainer, data)
    size = Config().streaming.batch_size
    batches = [batch for batch in data.batches(size) if len(batch.engagements) == size]
    freeze_heap()  # as the trainer does; for all loops alike
    logs: dict[str, list[dict[str, Any]]] = {}
    for name in options.logs:
        with ExitStack() as stack:
            streaming = _filled(name, data, stack)
            logs[name] = [
                _measured(batches, config, streaming, rounds=options.rounds, threads=threads) for threads in THREADS
            ]
    found = {
        "data": data.name,
        "events": len(data),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "config": digest("default"),
        "runs": [
            {"threads": threads, "logs": {name: of[at] for name, of in logs.items()}}
            for at, threads in enumerate(THREADS)
        ],
    }
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(options.json.read_text())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Log to step, against the step alone.")
    parser.add_argument("--events", type=positive, default=150_000, help="events from the start of the data; 150,000")
    parser.add_argument("--logs", type=lambda text: text.split(","), default=list(LOGS), help=f"of {', '.join(LOGS)}")
    parser.add_argument("--rounds", type=positive, default=3, help="every loop so often, in turn; 3")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    options = parser.parse_args(arguments)
    if options.events < 2 * Config().streaming.batch_size:
        parser.error(f"two batches are the least: --events {2 * Config().streaming.batch_size}")
    if unknown := set(options.logs) - LOGS.keys():
        parser.error(f"no log is called {', '.join(sorted(unknown))}; there are: {', '.join(LOGS)}")
    return options


def _data(events: int) -> Dataset:
    """Globo news if HSNN_DATA names a folder that holds it, else ml-100k."""
    name = "globo-news" if (Path(os.environ.get("HSNN_DATA", "")) / "globo-news").is_dir() else "ml-100k"
    return load(name, limit=events)


def _filled(name: str, data: Dataset, stack: ExitStack) -> StreamingConfig:
    """Start a server and put the data into it."""
    kind, form = LOGS[name]
    if kind == "redis":
        url = stack.enter_context(EmbeddedRedis()).url
    else:
        url = stack.enter_context(EmbeddedKafka(Path(stack.enter_context(tempfile.TemporaryDirectory())))).url
    config, log = StreamingConfig(log=url), open_log(url)
    produce(data, log, config=config, form=form)
    log.close()
    return config


def _measured(
    batches: Sequence[Batch], config: TrainerConfig, streaming: StreamingConfig, rounds: int, threads: int
) -> dict[str, Any]:
    use_threads(threads)
    alone = _stages(streaming, len(batches))
    bare, rates, waits = [], [], []
    for _ in range(rounds):
        bare.append(_bare(batches, config))
        rate, wait = _pipeline(streaming, config, len(batches))
        rates.append(rate)
        waits.append(wait)
    return {
        "bare_events_per_second": float(np.mean(bare)),
        "events_per_second": float(np.mean(rates)),
        "ratio": float(np.mean(rates) / np.mean(bare)),
        "ratio_by_round": [float(rate / one) for rate, one in zip(rates, bare, strict=True)],
        "microseconds_per_event": alone
        | {"waited_while_learning": float(np.mean(waits)), "step": float(1e6 / np.mean(bare))},
    }


def _bare(batches: Sequence[Batch], config: TrainerConfig) -> float:
    """Events per second of the step alone."""
    learner = Learner(config)
    learner.train(learner.prepare(batches[0]))
    began = time.perf_counter()
    for batch in batches[1:]:
        learner.train(learner.prepare(batch))
    return (learner.events - len(batches[0].engagements)) / (time.perf_counter() - began)


def _pipeline(streaming: StreamingConfig, config: TrainerConfig, batches: int) -> tuple[float, float]:
    """Events per second from the log to the step, and microseconds per event waited for a batch."""
    learner, waited, log = Learner(config), 0.0, open_log(streaming.log)
    consumer = Consumer(log, streaming, prefetch=True)
    learner.train(learner.prepare(_next(consumer)))
    first, began = learner.events, time.perf_counter()
    for _ in range(batches - 1):
        asked = time.perf_counter()
        batch = _next(consumer)
        waited += time.perf_counter() - asked
        learner.train(learner.prepare(batch))
    seconds = time.perf_counter() - began
    consumer.close()
    log.close()
    return (learner.events - first) / seconds, 1e6 * waited / (learner.events - first)


def _next(consumer: Consumer) -> Batch:
    batch = consumer.next_batch(5.0)
    assert batch is not None, "the log holds less than was put into it"
    return batch


def _stages(streaming: StreamingConfig, batches: int) -> dict[str, float]:
    """Microseconds per event of reading alone, on one thread: polling, decoding, and what makes batches of it."""
    log = TimedLog(open_log(streaming.log))
    decoding = _Timed(consuming.decode_records)
    consuming.decode_records = decoding
    try:
        consumer = Consumer(log, streaming)
        _next(consumer)
        log.seconds, decoding.seconds, began = 0.0, 0.0, time.perf_counter()
        events = sum(len(_next(consumer).engagements) for _ in range(batches - 1))
        seconds = time.perf_counter() - began
    finally:
        consuming.decode_records = decoding.function
        log.close()
    parts = {"poll": log.seconds, "decode": decoding.seconds, "batch": seconds - log.seconds - decoding.seconds}
    return {name: 1e6 * one / events for name, one in parts.items()}


class _Timed:
    """A function that counts the seconds it takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.function(*arguments)
        finally:
            self.seconds += time.perf_counter() - began


if __name__ == "__main__":
    main()
