"""Construction of the baselines by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hsnn.evaluation.baselines.ann_indexes import ANN_INDEXES, AnnBaseline
from hsnn.evaluation.baselines.base import Baseline
from hsnn.evaluation.baselines.covisitation import CovisitationBaseline
from hsnn.evaluation.baselines.popularity import PopularityBaseline
from hsnn.evaluation.baselines.popularity_filter import PopularityFilterBaseline
from hsnn.evaluation.baselines.shuffled_index import ShuffledIndexBaseline
from hsnn.evaluation.baselines.two_tower import TwoTowerBaseline
from hsnn.trainer.config.model import TrainerConfig


def create_baselines(names: Collection[str], config: TrainerConfig, budgets: Sequence[int]) -> list[Baseline]:
    """Create baselines, in the order in which they learn and answer.

    Popularity is always among them: it tells which targets are rare. The two-tower model is among them if an index
    searches its vectors.

    Parameters
    ----------
    names
        Of `hsnn.evaluation.methods.BASELINES`.
    config
        Of the trainer whose model is served.
    budgets
        Points of the curves, in items; the last one is the budget of the answers.
    """
    model = config.model
    baselines: list[Baseline] = [PopularityBaseline()]
    if "covisitation" in names:
        baselines.append(CovisitationBaseline())
    if "shuffled_index" in names:
        baselines.append(ShuffledIndexBaseline(model.leaves, config.seed))
    if {"two_tower", *ANN_INDEXES} & set(names):
        two_tower = TwoTowerBaseline(config)
        baselines.append(two_tower)
        baselines += [AnnBaseline(name, two_tower, model) for name in ANN_INDEXES if name in names]
    if "popularity_filter" in names:
        baselines.append(PopularityFilterBaseline(budgets))
    return baselines
