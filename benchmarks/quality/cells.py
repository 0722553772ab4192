"""Cells of the quality benchmark: one pass over one data set with one configuration and seed, kept on disk.

A cell's name holds everything that its figures depend on but the code: data, configuration, seed and protocol. The code
is written down beside it, so that cells of older code can be told and made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.paths import ROOT
from benchmarks.quality.variants import configured, identity
from hsnn.evaluation.harness.dataset_config import config_for_dataset
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.metrics.run import Run, load, save
from hsnn.evaluation.report.summary import summary
from hsnn.streaming.datasets import load as load_data
from hsnn.streaming.datasets.base import Dataset

_ROOMS = ("streaming", "trainer", "indexer", "serving", "evaluation")
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a data set is asked; see `hsnn.evaluation.harness.prequential.evaluate`.

    Attributes
    ----------
    limit : engagements taken; None: all
    query_share, query_from, query_to
    """

    limit: int | None
    query_share: float
    query_from: float = 0.5
    query_to: float = 1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One pass.

    Attributes
    ----------
    data, variant, seed
    protocol : Protocol
    baselines : names from `hsnn.evaluation.methods`
    """

    data: str
    variant: str
    seed: int
    protocol: Protocol
    baselines: tuple[str, ...]

    def key(self) -> dict[str, Any]:
        """Everything that the figures depend on, but the code."""
        return {
            "data": self.data,
            "seed": self.seed,
            "config": identity(self.variant),
            "protocol": asdict(self.protocol),
            "baselines": list(self.baselines),
            "batch": _BATCH,
        }

    def path(self, cache: Path) -> Path:
        """Where its ranks are kept; the figures are in the ``.json`` beside it."""
        digest = hashlib.sha256(json.dumps(self.key(), sort_keys=True).encode()).hexdigest()[:16]
        return cache / f"{self.data}-{self.seed}-{digest}.npz"

    def kept(self, cache: Path, code: str | None = None) -> bool:
        """Whether it was run already, by this `code` if that is given."""
        figures = self.path(cache).with_suffix(".json")
        if not (figures.exists() and self.path(cache).exists()):
            return False
        return code is None or json.loads(figures.read_text("utf-8"))["code"] == code

    def run(self, cache: Path) -> None:
        """Make the pass and keep it."""
        code = code_digest()  # what is loaded now, whatever is edited during the pass
        data = _data(source(self.data), self.protocol.limit)
        config = config_for_dataset(configured(self.variant, self.seed), data).model_copy(update={"threads": 1})
        protocol = self.protocol
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
        found = {"variant": self.variant, "key": self.key(), "code": code, "summary": summary(run)}
        aside = path.with_suffix(".part.json")
        aside.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        aside.replace(path.with_suffix(".json"))

    def load(self, cache: Path) -> Run:
        """Read the pass that was kept."""
        return load(self.path(cache))


def source(name: str) -> str:
    """Name the data set behind a name of the grid: ``globo-news-300k`` is a part of ``globo-news``."""
    return name.removesuffix("-300k").removesuffix("-whole")


def code_digest() -> str:
    """SHA-256 of the source files that figures come from."""
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (ROOT / room).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache(1)
def _data(name: str, limit: int | None) -> Dataset:
    return load_data(name, limit=limit)
