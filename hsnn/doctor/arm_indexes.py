"""Check of the indexes of other loops that arms of the server's experiment name."""

from __future__ import annotations

from collections.abc import Iterator

from hsnn.config.schema import Config
from hsnn.doctor.finding import Finding
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import LAYOUT
from hsnn.streaming.redis.layout import read_layout


def check_arm_indexes(client: Redis, config: Config) -> Iterator[Finding]:
    """Check that each prefix that an arm names is that of a loop of this release which has published."""
    for prefix in config.serving.experiment.prefixes:
        yield _check(client, prefix)


def _check(client: Redis, prefix: str) -> Finding:
    layout, name = read_layout(client, prefix), f"index {prefix}"
    if layout is None:
        text = "nothing is kept under this prefix, which an arm names: start its loop, or correct the prefix of the arm"
        return Finding(name, "fail", text)
    if layout != LAYOUT:
        return Finding(name, "fail", f"its keys have layout {layout}, and this release reads {LAYOUT}: use one release")
    version = IndexReader(client, prefix).current()
    if version is None:
        return Finding(name, "warn", "no version yet: the server's own index answers for its arms until there is one")
    return Finding(name, "ok", f"version {version}")
