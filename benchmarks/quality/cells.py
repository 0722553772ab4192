"""Cells of the quality benchmark: one run on one data set with one configuration and seed, cached on disk.

The file name of a cell is a digest of everything that its figures depend on except the code: data, configuration, seed
and protocol. The digest of the code is stored beside it, so that cells made by older code can be recognised and rerun.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from benchmarks.quality.alterations import ALTERATIONS
from benchmarks.quality.variants import configured, identity
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.metrics.run import Run, load, save
from hsnn.evaluation.report.summary import summary
from hsnn.streaming.datasets import load as load_data
from hsnn.streaming.datasets.base import Dataset

YOUNG = (1000, 5000, 20_000)
"""First events of each set that are measured as streams of their own."""

_ROOMS = ("streaming", "trainer", "indexer", "serving", "evaluation")
# Events per batch, as in the default configuration of streaming.
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Protocol:
    """How queries of a data set are sampled; see `hsnn.evaluation.harness.prequential.evaluate`.

    Attributes
    ----------
    limit : number of engagements, from the beginning; None: all
    query_share, query_from, query_to
    """

    limit: int | None
    query_share: float
    query_from: float = 0.5
    query_to: float = 1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the benchmark.

    Attributes
    ----------
    data, variant, seed
    protocol : Protocol
    baselines : names from `hsnn.evaluation.baselines.registry`
    """

    data: str
    variant: str
    seed: int
    protocol: Protocol
    baselines: tuple[str, ...]

    def key(self) -> dict[str, Any]:
        """Everything that the figures depend on, except the code."""
        return {
            "data": self.data,
            "seed": self.seed,
            "config": identity(self.variant),
            "protocol": asdict(self.protocol),
            "baselines": list(self.baselines),
            "batch": _BATCH,
        }

    def path(self, cache: Path) -> Path:
        """File of the run; its figures are in the ``.json`` file beside it."""
        digest = hashlib.sha256(json.dumps(self.key(), sort_keys=True).encode()).hexdigest()[:16]
        return cache / f"{self.data}-{self.seed}-{digest}.npz"

    def is_cached(self, cache: Path, code: str | None = None) -> bool:
        """Whether the run is in the cache, made by this `code` if that is given."""
        figures = self.path(cache).with_suffix(".json")
        if not (figures.exists() and self.path(cache).exists()):
            return False
        return code is None or json.loads(figures.read_text("utf-8"))["code"] == code

    def run(self, cache: Path) -> None:
        """Run the evaluation and store it in the cache."""
        code = code_digest()  # of the code loaded now, whatever is edited during the run
        data = _data(source(self.data), self.protocol.limit)
        config = config_for_dataset(configured(self.variant, self.seed), data).model_copy(update={"threads": 1})
        protocol = self.protocol
        with ALTERATIONS.get(self.variant, nullcontext)():
            run = evaluate(
                data,
                config,
                _BATCH,
                query_share=protocol.query_share,
                query_from=protocol.query_from,
                query_to=protocol.query_to,
                baselines=self.baselines,
            )
        path = self.path(cache)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(run, path)
        figures = {"variant": self.variant, "key": self.key(), "code": code, "summary": summary(run)}
        aside = path.with_suffix(".part.json")
        aside.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        aside.replace(path.with_suffix(".json"))

    def load(self, cache: Path) -> Run:
        """Read the run from the cache."""
        return load(self.path(cache))


def source(name: str) -> str:
    """Data set behind a name of the grid: ``globo-news-300k`` is a part of ``globo-news``."""
    return name.removesuffix("-300k").removesuffix("-whole")


def code_digest() -> str:
    """SHA-256 of the source files that figures depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (ROOT / room).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache(1)
def _data(name: str, limit: int | None) -> Dataset:
    return load_data(name, limit=limit)
