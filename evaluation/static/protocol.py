"""Run of the static protocol: a backbone's vectors ranked exhaustively, levels learned on them, both on the test pairs.

The backbone's two exponents are chosen on a tenth of the training pairs, which is then learned again; no choice is made
on the test pairs.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.static.backbone import Spectrum, cached_spectrum
from hsnn.evaluation.static.ranking import RankingFigures, ranking_figures
from hsnn.streaming.datasets.static_pairs import StaticPairs
from hsnn.trainer.vector_index.exhaustive import csr_of_pairs, csr_rows, exhaustive_top
from hsnn.trainer.vector_index.fit import FitSettings, IndexFit
from hsnn.trainer.vector_index.index import VectorIndex

Say = Callable[[str], None]

K = 20
"""Length of an answer, in the published tables."""
SCORED_SHARE = 0.02
"""Share of the items that the learned levels may have scored per request."""

# Share of the rates of the start with which extra steps are taken: they refine what has been learned.
_EXTRA_RATE = 0.1
# Share of the training pairs on which the exponents are chosen.
_HELD_OUT = 0.1


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """Rank of the backbone and the exponents that are tried.

    Attributes
    ----------
    width, rounds : int
        As in `hsnn.evaluation.static.backbone.decompose`.
    powers, popularities : floats
        Values of p and b.
    validation_users : int
        Users, drawn at random, on whom they are compared.
    """

    width: int = 768
    rounds: int = 4
    powers: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5)
    popularities: tuple[float, ...] = (0.5, 0.6)
    validation_users: int = 2500


@dataclass(frozen=True, slots=True)
class Backbone:
    """Vectors of a backbone and how they were chosen.

    Attributes
    ----------
    users : (U, d) float32
    items : (n, d) float32
    chosen : name -> value
        Width and exponents.
    tried : list of mappings
        Exponents with their recall and NDCG on the validation pairs.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    chosen: dict[str, float]
    tried: list[dict[str, float]] = field(default_factory=list)


def fit_backbone(data: StaticPairs, settings: BackboneSettings, folder: Path, say: Say) -> Backbone:
    """Choose the exponents on held-out training pairs, then compute the vectors from all of them.

    Parameters
    ----------
    folder
        Where decompositions are kept.
    """
    rng, shape = np.random.default_rng(0), (data.users, data.items)
    held_out = rng.random(len(data.train)) < _HELD_OUT
    rest, validation = data.train[~held_out], data.train[held_out]
    say(f"decomposing {len(rest):,} pairs, rank {settings.width}")
    spectrum = cached_spectrum(rest, shape, settings.width, settings.rounds, folder=folder)
    asked = np.sort(rng.choice(data.users, min(settings.validation_users, data.users), replace=False))
    known, wanted = (csr_rows(csr_of_pairs(pairs, data.users), asked) for pairs in (rest, validation))
    tried = []
    for power in settings.powers:
        for popularity in settings.popularities:
            users, items = spectrum.vectors(settings.width, power, popularity)
            found = ranking_figures(exhaustive_top(users[asked], items, K, known), wanted)
            tried.append({"power": power, "popularity": popularity, "recall": found.recall, "ndcg": found.ndcg})
            say(f"p = {power:g}, b = {popularity:g}: validation R@{K} {found.recall:.4f}, NDCG@{K} {found.ndcg:.4f}")
    best = max(tried, key=lambda one: one["ndcg"])
    say(f"decomposing all {len(data.train):,} training pairs")
    whole = cached_spectrum(data.train, shape, settings.width, settings.rounds, folder=folder)
    return _backbone(whole, settings.width, best, tried)


def _backbone(spectrum: Spectrum, width: int, best: dict[str, float], tried: list[dict[str, float]]) -> Backbone:
    users, items = spectrum.vectors(width, best["power"], best["popularity"])
    chosen = {"width": float(items.shape[1]), "power": best["power"], "popularity": best["popularity"]}
    return Backbone(users, items, chosen, tried)


def rank_exhaustively(data: StaticPairs, backbone: Backbone) -> tuple[NDArray[np.int64], RankingFigures]:
    """Rank all items for all users by the backbone: the answers (U, k), and their figures on the test pairs."""
    known, wanted = (csr_of_pairs(pairs, data.users) for pairs in (data.train, data.test))
    found = exhaustive_top(backbone.users, backbone.items, K, known)
    return found, ranking_figures(found, wanted)


def served_figures(
    data: StaticPairs, backbone: Backbone, index: VectorIndex, exhaustive: tuple[NDArray[np.int64], RankingFigures]
) -> dict[str, Any]:
    """Search the index for all users and compare with the exhaustive answers."""
    known, wanted = (csr_of_pairs(pairs, data.users) for pairs in (data.train, data.test))
    answers = index.search(backbone.users, K, exclude=known)
    figures = ranking_figures(answers.items, wanted)
    width = data.items + 1
    keys = [np.arange(len(found))[:, None] * width + found for found in (answers.items, exhaustive[0])]
    return {
        "recall": figures.recall,
        "ndcg": figures.ndcg,
        "kept": figures.recall / exhaustive[1].recall,
        "overlap": float(np.isin(keys[1], keys[0]).mean()),
        "scored": float(answers.scored.mean()),
        "scored_share": float(answers.scored.mean()) / data.items,
        "nodes": answers.nodes,
    }


def evaluate_static(
    data: StaticPairs,
    settings: BackboneSettings,
    folder: Path,
    say: Say,
    *,
    seeds: int = 1,
    extra_passes: int = 0,
    kept: Path | None = None,
) -> dict[str, Any]:
    """Run the protocol and return its figures; the levels are learned once per seed.

    Parameters
    ----------
    folder
        Where decompositions are kept.
    extra_passes
        Passes of test-time training, and as many of ordinary extra steps, from the levels of each seed.
    kept
        Where the figures of each seed are kept, so that a run that was stopped goes on with the next; None: nowhere.
    """
    backbone = fit_backbone(data, settings, folder, say)
    exhaustive = rank_exhaustively(data, backbone)
    say(f"exhaustive: R@{K} {exhaustive[1].recall:.4f}, NDCG@{K} {exhaustive[1].ndcg:.4f}")
    figures: dict[str, Any] = {
        "data": data.name,
        "users": data.users,
        "items": data.items,
        "train": len(data.train),
        "test": len(data.test),
        "backbone": backbone.chosen | {"tried": backbone.tried},
        "exhaustive": {"recall": exhaustive[1].recall, "ndcg": exhaustive[1].ndcg},
        "runs": [],
    }
    for seed in range(seeds):
        levels = FitSettings.for_items(data.items, SCORED_SHARE, seed=seed)
        file = kept / f"levels-{_digest(data, settings, levels, extra_passes)}.json" if kept else None
        if file is not None and file.exists():
            run = msgspec.json.decode(file.read_bytes())
        else:
            run = _fit_levels(data, backbone, levels, exhaustive, extra_passes=extra_passes)
            if file is not None:
                file.with_suffix(".part").write_bytes(msgspec.json.encode(run))
                file.with_suffix(".part").rename(file)
        figures["runs"].append(run)
        for name, served in run.items():
            say(f"seed {seed}, {name.replace('_', ' ')}: {describe_served(served)}")
    return figures


def _fit_levels(
    data: StaticPairs,
    backbone: Backbone,
    settings: FitSettings,
    exhaustive: tuple[NDArray[np.int64], RankingFigures],
    extra_passes: int,
) -> dict[str, Any]:
    """Learn the levels, then go on from them in two ways; return the figures of each by name."""
    fit = IndexFit(backbone.users, backbone.items, data.train, settings)
    figures = {"served": served_figures(data, backbone, fit.train(), exhaustive)}
    for name, test_time in (("test_time", True), ("extra_steps", False)) if extra_passes else ():
        further = copy.deepcopy(fit)
        further.extra_steps(extra_passes, test_time=test_time, rate=_EXTRA_RATE)
        served = served_figures(data, backbone, further.index, exhaustive)
        figures[name] = served | {"steps": further.steps - fit.steps}
    return figures


def _digest(data: StaticPairs, *settings: object) -> str:
    return hashlib.sha256(data.train.tobytes() + data.test.tobytes() + repr(settings).encode()).hexdigest()[:16]


def describe_served(served: dict[str, Any]) -> str:
    """Write the figures of a search in one line."""
    return (
        f"R@{K} {served['recall']:.4f}, NDCG@{K} {served['ndcg']:.4f}, {100 * served['kept']:.2f}% of the exhaustive "
        f"recall with {100 * served['scored_share']:.2f}% of the items and {served['nodes']:,} nodes scored"
    )
