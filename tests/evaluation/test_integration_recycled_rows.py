"""Rows that change hands while it is served: no answer and no mirrored state ever takes one item for another."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.indexer.store.version import Version
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.events import Item
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.model.item_encoder import Encoder

IDS = IdsConfig(
    items=IdLimits(cap=200, expire_after=100.0, floor=10),
    users=IdLimits(cap=50, expire_after=120.0, floor=5),
    reuse_after=256,
)


class Witness:
    """Remembers from the stream alone, by name, what mirrors must know by row."""

    def __init__(self, system: OfflineSystem) -> None:
        self.system, self.clicked = system, defaultdict(list)
        self.versions: list[Version] = []
        load = system.mirror.load_version
        system.mirror.load_version = lambda version, deltas=(): self.versions.append(version) or load(version, deltas)

    def sees(self, batch) -> None:
        for user, item in zip(batch.engagements.user, batch.engagements.item, strict=True):
            self.clicked[user].append(item)

    def named(self, rows) -> list[str]:
        ids = self.system.mirror.state.items.ids.ids
        return [ids[row] for row in rows]

    def checks(self) -> int:
        state = self.system.mirror.state
        alive = np.flatnonzero(state.alive())
        self.checks_items(state, alive)
        self.checks_users(state)
        return len(alive)

    def checks_items(self, state, alive) -> None:
        learner, names = self.system.learner, self.named(alive)
        assert learner.items.table.find(names).tolist() == alive.tolist()
        assert learner.alive(alive).all()
        topics = [state.items.features.features(row) for row in alive.tolist()]
        assert topics == [{"topic": name.partition("-")[0]} for name in names]
        assert np.allclose(state.index.vectors[alive], self.vectors(alive, names, topics), atol=1e-6)
        assert np.array_equal(state.states.values[alive], learner.states.values[alive])

    def vectors(self, rows, names, features):
        """What the items' vectors are by the version's model; one that is not in it under its row has no id part."""
        snapshot, model = self.versions[-1].snapshot, self.system.learner.config.model
        known = dict(zip(snapshot.item_ids, snapshot.items["embeddings"], strict=True))
        rows_of = {name: row for row, name in enumerate(snapshot.item_ids)}
        own = np.zeros((len(names), model.dim + 1), np.float32)
        for at, (row, name) in enumerate(zip(rows.tolist(), names, strict=True)):
            if rows_of.get(name) == row:
                own[at] = known[name]
        content = pad_tokens(
            [hash_features(one, model.buckets, model.item_tokens) for one in features], model.item_tokens
        )
        return Encoder(model, snapshot.model).vectors(own, content)

    def checks_users(self, state) -> None:
        for user in self.clicked:
            row = state.users.ids.row(user)
            own = self.system.learner.users.table.find([user])[0]
            assert row == own
            if row >= 0:
                items = state.users.histories.items[row]
                held = self.named(items[items >= 0])
                assert is_part(held, self.clicked[user])

    def asks(self, users) -> None:
        for mode in ("beam", "exhaustive", "popularity"):
            for answer in retrieve(self.system.mirror, [Request(user=user, k=20, mode=mode) for user in users]):
                rows = self.system.learner.items.table.find(answer.items)
                assert (rows >= 0).all()
                assert self.system.learner.alive(rows).all()
                assert len({*answer.items}) == len(answer.items)


def described(batch: Batch) -> Batch:
    """Describe all items of a batch again, as for those who come back."""
    names = [*dict.fromkeys(batch.engagements.item)]
    items = [Item(id=name, ts=batch.watermark, features={"topic": name.partition("-")[0]}) for name in names]
    return replace(batch, items=items, item_sent_at=[0] * len(items))


def is_part(some: list[str], of: list[str]) -> bool:
    """Whether `some` are among `of`, in this order."""
    rest = iter(of)
    return all(one in rest for one in some)


@pytest.fixture
def limited(config):
    return config.model_copy(update={"ids": IDS, "expire_after_idle": 200.0})


@pytest.mark.slow
def test_no_item_is_ever_taken_for_another(limited, new_data):
    system = OfflineSystem(limited, snapshot_every=60.0, snapshot_events=512)
    witness, epochs, most_alive = Witness(system), set(), 0
    data = new_data(6000, drifting=True, users=80)
    for number, batch in enumerate(map(described, data.batches(64))):
        witness.sees(batch)
        system.learn(system.prepare(batch))
        epochs.add(system.epoch)
        if system.mirror.loaded:
            assert system.mirror.epoch == system.epoch
            most_alive = max(most_alive, witness.checks())
            if number % 4 == 0:
                witness.asks(["u1", "u2", "nobody"])
    assert len(epochs) > 2
    assert len({*data.engagements.item}) > len(system.learner.items)
    assert most_alive > 20


def test_quality_is_not_judged_while_rows_change_hands(limited, new_data):
    with pytest.raises(ProtocolError, match=r"judge the model without trainer\.ids"):
        evaluate(new_data(500), limited, 64)
