"""Where the figures come from: Redis, the producer's file, two metrics pages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hsnn.demo.collector import FigureCollector, quantile, samples
from hsnn.demo.figures import Figures
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import start_http
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.publish.redis_writer import RedisWriter
from tests.waiting import DEADLINE


@pytest.fixture
def pages() -> Iterator[tuple[str, str]]:
    """Metrics pages of a scheduler and of a server."""
    scheduler, server = CollectorRegistry(), CollectorRegistry()
    for name, value in (("items", 42), ("nodes", 8), ("max_over_mean", 1.5), ("dead_nodes", 3), ("version", 6)):
        Gauge(f"hsnn_index_{name}", "x", registry=scheduler).set(value)
    for name, value in (("inserted", 30), ("expired", 4)):
        Counter(f"hsnn_items_{name}_total", "x", registry=scheduler).inc(value)
    Gauge("hsnn_index_version", "x", registry=server).set(5)
    freshness = Histogram("hsnn_freshness_seconds", "x", buckets=(0.1, 0.2, 1.0), registry=server)
    for seconds in [0.05] * 50 + [0.15] * 50:
        freshness.observe(seconds)
    ports = [start_http("127.0.0.1", 0, Health("x"), registry) for registry in (scheduler, server)]
    return iter([tuple(f"http://127.0.0.1:{port}" for port in ports)])  # type: ignore[list-item]


def test_everything_is_read(redis_client: Redis, pages: Iterator[tuple[str, str]], tmp_path: Path) -> None:
    produced = tmp_path / "produced.json"
    figures = Figures(wanted=500, first_ts=0)
    watch = FigureCollector(
        figures, redis_client, produced=produced, **dict(zip(("scheduler", "server"), next(pages), strict=True))
    )
    watch.refresh()
    assert (figures.accounted, figures.index.items, figures.index.version) == (0, 42, 5)
    produced.write_text(json.dumps({"engagements": 400, "finished": False, "seconds": 1.0}))
    recall = {"recall_at_20": {"served": 0.2, "popularity": 0.1}}
    RedisWriter(redis_client).write_progress(
        {
            "trained": 300,
            "impressions": 40,
            "pending": 6,
            "dead_lettered": 2,
            "dropped": {"duplicate": 3},
            "watermark": 9_000,
            "lag_records": 7,
            "lag_seconds": 0.5,
            "loss": 4.5,
            "measured": 9,
            "unmeasured": 1,
            "recall": recall,
            "recent": recall,
            "scored_share": 0.02,
            "events_per_second": 123.4,
        }
    )
    AuditTrail(redis_client, key("audit")).record("alarm", kind="loss_drift", alarm="loss_drift:1")
    watch.refresh(pages=True)
    assert (figures.produced, figures.accounted, figures.pending, figures.sent_all) == (400, 305, 95, False)
    assert (figures.impressions, figures.waiting) == (40, 6)
    assert (figures.loss, figures.rate, figures.lag_records, figures.recall) == (4.5, 123.4, 7, recall)
    assert (figures.index.new, figures.index.expired, figures.index.dead) == (30, 4, 3)
    assert figures.freshness is not None
    assert figures.freshness[0] == pytest.approx(0.1)
    assert figures.freshness[1] == pytest.approx(0.198)
    assert (figures.alarms, [entry.event for entry in figures.audit]) == (1, ["alarm"])
    assert 1.0 <= figures.seconds < DEADLINE
    assert figures.replay_speed == pytest.approx(9 / figures.seconds)
    before = figures.seconds
    time.sleep(0.05)
    watch.refresh()
    assert figures.alarms == 1, "an entry counts once"
    assert figures.seconds == before, "the clock stands while nothing is learned"
    watch.close()


def test_a_role_that_does_not_answer_leaves_the_figures_as_they_are(redis_client: Redis, tmp_path: Path) -> None:
    figures = Figures()
    figures.index.items = 5
    watch = FigureCollector(
        figures, redis_client, produced=tmp_path / "none", scheduler="http://127.0.0.1:9", server="http://127.0.0.1:9"
    )
    watch.refresh(pages=True)
    assert figures.index.items == 5
    watch.close()


def test_quantiles_of_a_histogram() -> None:
    page = 'hsnn_freshness_seconds_bucket{le="1.0"} 0.0\nhsnn_freshness_seconds_bucket{le="+Inf"} 4.0\n'
    assert quantile(samples(page), "hsnn_freshness_seconds", 0.99) == 1.0, "beyond the last bound: at least that"
    assert quantile({}, "hsnn_freshness_seconds", 0.5) is None
