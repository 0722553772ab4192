"""How many events a second a server takes over HTTP, durably, beside bare appends of the same events to the same log.

    make bench ARGS='ingest'
    python -m benchmarks.ingest --events 200000 --batch 100 --callers 4 --rounds 3 --kafka --json FILE

A real `hsnn serve` and the embedded Redis with an append-only file (appendfsync everysec), with `--kafka` the embedded
Kafka after it; callers in this process: all of them share the cores. A bare append has records of one event each ready,
and appends and flushes each batch before the next one. Rounds alternate. After them the log must hold every event that
was accepted. Writes `results/ingest.json`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER
from hsnn.demo.processes import RoleProcesses
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.topics import TopicRole

# seconds that a server may take to start on a busy machine
_READY_SECONDS = 120.0
# events per call: Arrow is for bulk
_ARROW_BATCH = 10_000
# epoch ms of the first event
_TS = 1_700_000_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Events over HTTP, beside bare appends.")
    parser.add_argument("--events", type=positive, default=200_000, help="per round; 200000")
    parser.add_argument("--batch", type=positive, default=100, help="events per call; 100")
    parser.add_argument("--callers", type=positive, default=4, help="connections that send at the same time; 4")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--kafka", action="store_true", help="measure Kafka, too")
    parser.add_argument("--json", type=Path, default=RESULTS_FOLDER / "ingest.json")
    options = parser.parse_args(arguments)
    found = run(options, kafka=False)
    if options.kafka:
        found["kafka"] = run(options, kafka=True)
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))


def run(options: argparse.Namespace, *, kafka: bool) -> dict[str, Any]:
    """Measure all ways in turn on one log, as often as there are rounds."""
    rates: dict[str, list[float]] = {}
    load = [os.getloadavg()[0]]  # that of others included: on a busy machine only the ratios mean something
    costs: dict[str, list[float]] = {}
    own: dict[str, list[float]] = {}  # of this process: callers, or who appends
    with served(kafka=kafka) as (port, url):
        log, config = open_log(url), StreamingConfig()
        topic = config.engagements_topic
        accepted = 0
        for number in range(options.rounds):
            events = make_events(options.events, number)
            plain, columns = json_bodies(events, options.batch), arrow_bodies(events, _ARROW_BATCH)
            records = make_records(events, options.batch)
            ways: dict[str, Callable[[], int]] = {
                "http": partial(send, port, plain, options.callers),
                "http_arrow": partial(send, port, columns, options.callers),
                "append": partial(append, log, topic, records),
            }
            for name, way in ways.items():
                used, spent, began = server_seconds(port), time.process_time(), time.perf_counter()
                count = way()
                rates.setdefault(name, []).append(count / (time.perf_counter() - began))
                own.setdefault(name, []).append(1e6 * (time.process_time() - spent) / count)
                if name != "append":
                    costs.setdefault(name, []).append(1e6 * (server_seconds(port) - used) / count)
                accepted += count
        stored = count_events(log, topic)
        log.close()
    assert stored == accepted, f"{accepted} events were accepted, the log holds {stored}"
    return {
        "events": options.events,
        "batch": options.batch,
        "callers": options.callers,
        "cores": os.cpu_count(),
        "load_average": [round(value, 1) for value in (*load, os.getloadavg()[0])],
        "log": "Kafka, one broker, acks=all" if kafka else "Redis Streams, appendfsync everysec",
        "accepted": accepted,
        "in_log": stored,
        "events_per_second": {name: round(median(found)) for name, found in rates.items()},
        "server_cpu_us_per_event": {name: round(median(found), 1) for name, found in costs.items()},
        "callers_cpu_us_per_event": {name: round(median(found), 1) for name, found in own.items()},
        "rounds": {name: [round(rate) for rate in found] for name, found in rates.items()},
    }


@contextmanager
def served(*, kafka: bool) -> Iterator[tuple[int, str]]:
    """Run a log and a server; yield the server's port and the log's address."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsnn-ingest-")))
        roles, port_file = RoleProcesses(folder), folder / "port"
        redis = stack.enter_context(EmbeddedRedis(folder=folder / "redis"))
        log = stack.enter_context(EmbeddedKafka(folder / "kafka")) if kafka else redis
        settings = [f"redis.url={redis.url}", f"streaming.log={log.url}", "serving.port=0"]
        try:
            sets = [word for setting in settings for word in ("--set", setting)]
            roles.start("server", ["serve", *sets, "--port-file", str(port_file)])
            roles.wait_until(port_file.exists, "the server", _READY_SECONDS)
            yield int(port_file.read_text()), log.url
        finally:
            roles.end()


def make_events(count: int, round_number: int) -> list[dict[str, Any]]:
    """Make interactions of 20,000 users with 5,000 items."""
    return [
        {
            "type": "interaction",
            "id": f"{round_number}-{number}",
            "ts": _TS + number,
            "user": f"user-{number * 7919 % 20_000}",
            "item": f"item-{number * 104_729 % 5000}",
            "action": "click",
            "context": {"device": "phone"},
        }
        for number in range(count)
    ]


def json_bodies(events: Sequence[dict[str, Any]], size: int) -> list[bytes]:
    return [json.dumps(batch, separators=(",", ":")).encode() for batch in batches(events, size)]


def arrow_bodies(events: Sequence[dict[str, Any]], size: int) -> list[bytes]:
    names = ("ts", "user", "item", "action", "context")
    return [
        write_interactions(
            **{name: [event[name] for event in batch] for name in names}, id=[f"a{event['id']}" for event in batch]
        )
        for batch in batches(events, size)
    ]


def batches(events: Sequence[dict[str, Any]], size: int) -> Iterator[Sequence[dict[str, Any]]]:
    return (events[start : start + size] for start in range(0, len(events), size))


def send(port: int, bodies: list[bytes], callers: int) -> int:
    """Send bodies over several connections; return how many events were accepted."""
    counts = [0] * callers

    def call(caller: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in bodies[caller::callers]:
            connection.request("POST", "/v1/events", body)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 202, answer
            counts[caller] += json.loads(answer)["accepted"]
        connection.close()

    threads = [Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def server_seconds(port: int) -> float:
    """Read the processor time that the server has used, seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        lines = page.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("process_cpu_seconds_total ")))


def make_records(events: Sequence[dict[str, Any]], size: int) -> list[list[ProducerRecord]]:
    return [
        [
            ProducerRecord(event["user"].encode(), json.dumps(event, separators=(",", ":")).encode(), (), _TS)
            for event in batch
        ]
        for batch in batches(events, size)
    ]


def append(log: EventLog, topic: str, batches_: Sequence[Sequence[ProducerRecord]]) -> int:
    """Append batches, each flushed before the next; return how many records."""
    count = 0
    for records in batches_:
        count += log.append(topic, records)
        log.flush()
    return count


def count_events(log: EventLog, topic: str) -> int:
    """Count the interactions in the log as the consumer reads them."""
    log.seek({(topic, partition): 0 for partition in log.partitions(topic)})
    count = 0
    while log.lag():
        for records in log.poll(10_000, 0.1):
            count += int((decode_records(TopicRole.ENGAGEMENTS, records).kind == RowKind.INTERACTION).sum())
    return count


if __name__ == "__main__":
    main()
