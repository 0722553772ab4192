"""The static protocol from pairs to figures, on two tastes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsnn.evaluation.static import protocol
from hsnn.evaluation.static.protocol import BackboneSettings, describe_served, evaluate_static
from hsnn.streaming.datasets.static_pairs import StaticPairs

SETTINGS = BackboneSettings(width=8, rounds=4, powers=(1.0, 2.0), popularities=(0.5,), validation_users=80)
ITEMS = 200


@pytest.fixture(scope="module")
def data() -> StaticPairs:
    """Users of two tastes, each with twelve training and four test items out of the hundred of a taste."""
    rng = np.random.default_rng(0)
    users, per_user = 120, 16
    chosen = rng.permuted(np.tile(np.arange(ITEMS // 2), (users, 1)), axis=1)[:, :per_user]
    items = 2 * chosen + np.arange(users)[:, None] % 2
    rows = np.broadcast_to(np.arange(users)[:, None], items.shape)
    train, test = (
        np.unique(np.stack([rows[:, part].ravel(), items[:, part].ravel()], 1), axis=0)
        for part in (slice(0, 12), slice(12, None))
    )
    return StaticPairs("planted", train, test, users=users, items=ITEMS)


@pytest.fixture(scope="module")
def figures(data: StaticPairs, tmp_path_factory: pytest.TempPathFactory) -> dict:
    said: list[str] = []
    folder = tmp_path_factory.mktemp("static")
    found = evaluate_static(data, SETTINGS, folder, said.append, seeds=2, extra_passes=1, kept=folder)
    return found | {"said": said, "folder": folder}


@pytest.mark.slow
def test_figures_are_of_the_data_and_of_every_seed(figures):
    assert (figures["users"], figures["items"], figures["train"], figures["test"]) == (120, ITEMS, 1440, 480)
    assert len(figures["runs"]) == 2
    assert figures["exhaustive"]["recall"] > 20 / ITEMS  # chance
    for run in figures["runs"]:
        assert list(run) == ["served", "test_time", "extra_steps"]
        for served in run.values():
            assert served["kept"] == pytest.approx(served["recall"] / figures["exhaustive"]["recall"])
            assert 0 < served["scored"] <= protocol.SCORED_SHARE * ITEMS
            assert served["scored_share"] == pytest.approx(served["scored"] / ITEMS)
    # As many ordinary steps as passes have; of test-time training those whose pairs are dropped are not made.
    assert figures["runs"][0]["extra_steps"]["steps"] == 1
    assert figures["runs"][0]["test_time"]["steps"] <= 1
    assert any(line.startswith("seed 1, test time: R@20 ") for line in figures["said"])


def test_exponents_are_chosen_on_training_pairs_alone(data, figures, tmp_path):
    """Other test pairs change neither what was tried nor what was chosen."""
    other = data._replace(test=np.array([[0, int(np.setdiff1d(np.arange(ITEMS), data.train[:12, 1])[0])]]))
    backbone = protocol.fit_backbone(other, SETTINGS, tmp_path, lambda line: None)
    assert backbone.tried == figures["backbone"]["tried"]
    assert [(one["power"], one["popularity"]) for one in backbone.tried] == [(1.0, 0.5), (2.0, 0.5)]
    best = max(backbone.tried, key=lambda one: one["ndcg"])
    assert backbone.chosen == {"width": 8.0, "power": best["power"], "popularity": best["popularity"]}


def test_a_run_goes_on_with_the_next_seed(data, figures, monkeypatch):
    made: list[int] = []

    def fit(data, backbone, settings, *_, **__):
        made.append(settings.seed)
        return figures["runs"][0]

    monkeypatch.setattr(protocol, "_fit_levels", fit)
    folder = figures["folder"]
    again = evaluate_static(data, SETTINGS, folder, print, seeds=3, extra_passes=1, kept=folder)
    assert made == [2]
    assert again["runs"][:2] == figures["runs"]


def test_a_search_of_everything_keeps_everything(data, tmp_path: Path):
    backbone = protocol.fit_backbone(data, SETTINGS, tmp_path, lambda line: None)
    exhaustive = protocol.rank_exhaustively(data, backbone)
    levels = protocol.FitSettings(nodes=4, passes=1, batch=60, uniform=60, beam=4, budget=ITEMS, width=4)
    index = protocol.IndexFit(backbone.users, backbone.items, data.train, levels).train()
    served = protocol.served_figures(data, backbone, index, exhaustive)
    assert served["kept"] == pytest.approx(1.0)
    assert served["overlap"] == pytest.approx(1.0)
    assert served["scored"] == ITEMS - 12  # a user's training items are not scored
    assert served["nodes"] == 4
    assert describe_served(served).endswith(
        "100.00% of the exhaustive recall with 94.00% of the items and 4 nodes scored"
    )
