"""Send a trainer a million messages of which most are hostile: no crash, and every event accounted for.

    make fuzz
    make fuzz ARGS='--messages 100000 --log redis --seed 7 --json FILE'

Good interactions, impressions, items, users and Arrow records, and between them everything that a broken producer or an
attacker might send (`benchmarks/fuzzing/`), through the real consumer into a real, tiny learner; now and then both are
started anew from their state. The dead-letter limit is lifted. Exit status 1 if an event is unaccounted for.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.fuzz.messages import Hostile
from benchmarks.fuzz.trial import Trial, streaming
from benchmarks.paths import RESULTS_FOLDER
from hsnn.embedded import EmbeddedRedis
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "fuzz.json"
LOGS = ("memory", "redis", "kafka")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if every event is accounted for."""
    options = _options(arguments)
    use_threads(1)
    logging.disable(logging.ERROR)  # a line per batch of dead letters, and per command that is none
    config = streaming()
    with log_of(options.log) as log:
        source = Hostile(options.seed, config, wild_clock=options.log != "kafka")
        try:
            figures = Trial(log, config, source).run(options.messages)
        except AssertionError as error:
            print(f"fuzz: {error}", file=sys.stderr)
            return 1
    text = json.dumps({"log": options.log, "seed": options.seed, **figures}, indent=2) + "\n"
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(text, "utf-8")
    print(text, end="")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Send a trainer hostile messages.")
    parser.add_argument("--messages", type=positive, default=1_000_000, help="how many; 1,000,000")
    parser.add_argument("--log", choices=LOGS, default="memory", help="where they lie; memory")
    parser.add_argument("--seed", type=int, default=0, help="of the messages; 0")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


@contextmanager
def log_of(kind: str) -> Iterator[EventLog]:
    """Open a log that is gone afterwards."""
    if kind == "memory":
        yield MemoryLog()
        return
    from hsnn.embedded.kafka import EmbeddedKafka

    with EmbeddedRedis() if kind == "redis" else EmbeddedKafka() as server:
        log = open_log(server.url + ("?retention=50000" if kind == "redis" else ""))
        try:
            yield log
        finally:
            log.close()


if __name__ == "__main__":
    sys.exit(main())
