"""What a checkpoint's copy hands out is what the learner itself would have."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot, make_snapshot_manifest
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder, encode_strings
from hsnn.trainer.rowstore.arrays import unpack
from hsnn.trainer.rowstore.byte_strings import ByteStrings
from hsnn.trainer.training.learner import Learner
from tests.trainer.encoded import encoded


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "cross", "limited"])
def test_the_same_fields(config, world, teach, kind):
    model = config.model.model_copy(update={"cross": kind == "cross"})
    ids = IdsConfig(items=IdLimits(cap=50), users=IdLimits(cap=20)) if kind == "limited" else IdsConfig()
    learner = Learner(config.model_copy(update={"model": model, "ids": ids, "expire_after_idle": 60.0}))
    teach(learner, world, 12)
    assert kind != "limited" or len(learner.recycler.items.vacant())
    origin = SnapshotOrigin(4, 2, "", "17-3", "18-0", "abc")
    expected = encoded(make_snapshot(learner, origin).with_checkpoint("one"))
    encoder = SnapshotEncoder(make_snapshot_manifest(learner, origin), learner.state_dict()[0], learner.tables)
    found = encoded(encoder.with_checkpoint("one"))
    assert found.keys() == expected.keys()
    for name in (b"manifest", b"ids"):
        assert found[name] == expected[name]
    for name in (b"model", b"items", b"users"):
        one, other = unpack(found[name]), unpack(expected[name])
        assert one.keys() == other.keys()
        assert all(one[at].dtype == other[at].dtype and one[at].tobytes() == other[at].tobytes() for at in one)
    assert msgspec.json.decode(found[b"manifest"])["checkpoint"] == "one"
    assert list(Snapshot.decode(found).item_ids) == list(make_snapshot(learner, origin).item_ids)


NAMES = st.lists(st.text() | st.integers(0, 700).map("x".__mul__) | st.just("y" * 65_535), max_size=12)


@given(NAMES, st.sets(st.integers(0, 11)))
def test_texts_are_encoded_as_one_would(names, vacant):
    rows = np.array([row for row in sorted(vacant) if row < len(names)], np.int64)
    names = [name if len(name.encode()) <= 65_535 else "" for name in names]
    found = b"".join(encode_strings(ByteStrings.from_list([name.encode() for name in names]), rows))
    assert found == b"".join(msgspec.msgpack.encode("" if row in rows else name) for row, name in enumerate(names))
