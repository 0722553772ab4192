"""The churn benchmark: its world's truth, its protocol, and the system and a peer that go through it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.churn import protocol
from benchmarks.churn.planted_data import PlantedData, concatenate
from benchmarks.churn.vector_set_server import NoVectorSetsError, vector_server
from tests.paths import ROOT


class Perfect:
    """An index that does everything right, but for what `keeps` says."""

    def __init__(self, world, keeps=False):
        self.world, self.keeps = world, keeps

    def build(self, items):
        self.items = items

    def replace(self, gone, new):
        kept = np.ones(len(self.items.numbers), np.bool_) if self.keeps else ~np.isin(self.items.numbers, gone.numbers)
        self.items = concatenate([type(new)(*(column[kept] for column in self.items)), new])

    def wait_until_visible(self):
        pass

    def search(self, user, k):
        return self.items.numbers[np.argsort(-(self.items.vectors @ self.world.queries[user]))[:k]]

    def bytes(self):
        return self.items.vectors.nbytes

    def details(self):
        return {}

    def end(self):
        pass


def test_a_perfect_index_has_recall_1_and_a_stale_one_returns_what_is_gone():
    looks = protocol.run(Perfect(world := PlantedData(2000, 40, 0)), world, world.new_items(2000, 0.0), [0.1, 1.0])[
        "looks"
    ]
    assert [(look["churn"], look["recall"], look["gone"]) for look in looks] == [
        (0.0, 1.0, 0),
        (0.1, 1.0, 0),
        (1.0, 1.0, 0),
    ]
    world = PlantedData(2000, 40, 0)
    stale = protocol.run(Perfect(world, keeps=True), world, world.new_items(2000, 0.0), [0.5])["looks"][-1]
    assert stale["gone"] > 0
    assert stale["recall"] < 1


def test_clusters_rise_and_fall():
    world = PlantedData(2000, 4, 0)
    early, late = world.new_items(2000, 0.0).tokens[:, 0], world.new_items(2000, 1.0).tokens[:, 0]
    assert np.mean(early) < world.clusters / 2 < np.mean(late)


@pytest.mark.slow
@pytest.mark.long
def test_the_program_measures_the_system_beside_peers(tmp_path, monkeypatch):
    monkeypatch.delenv("REDIS_SERVER", raising=False)
    file = tmp_path / "churn.json"
    options = [
        "--items",
        "2000",
        "--users",
        "60",
        "--churn",
        "0.1",
        "--peers",
        "hnswlib,vectorset",
        "--json",
        str(file),
    ]
    command = [sys.executable, "-m", "benchmarks.churn", *options]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found = json.loads(file.read_text())["sizes"]["2000"]["competitors"]
    assert set(found) == {"hsnn", "refitted", "hnswlib"}
    assert "vectorset: left out" in ended.stdout
    for of in found.values():
        assert [look["churn"] for look in of["looks"]] == [0.0, 0.1]
        assert all(look["recall"] > 0.8 and look["gone"] == 0 for look in of["looks"])


def test_a_server_without_vector_sets_is_named(monkeypatch):
    from hsnn.embedded.redis import server_binary

    monkeypatch.setenv("REDIS_SERVER", str(server_binary()))
    with pytest.raises(NoVectorSetsError, match="has no vector sets"):
        vector_server()
