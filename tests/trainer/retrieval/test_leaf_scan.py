from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.retrieval.leaf_records import LeafRecords, RecordColumns
from hsnn.trainer.retrieval.leaf_scan import Opening, ScanQuery, scan_leaves

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]

ITEMS, LEAVES, WIDTH = 600, 8, 4


@pytest.mark.parametrize("pairs", [0, 100, 590])
@pytest.mark.parametrize("wanted", [1, 20, 500])
def test_the_best_items_are_chosen_however_many_pairs_there_are(pairs, wanted):
    rng = np.random.default_rng(pairs + wanted)
    vectors = rng.normal(size=(ITEMS, WIDTH + 1)).astype(np.float32)
    nodes, states = rng.integers(LEAVES, size=ITEMS).astype(np.int32), ItemCounters()
    states.reserve(ITEMS)
    records = LeafRecords(LEAVES, WIDTH, popularity_factor=0.0)
    columns = RecordColumns(nodes, vectors, np.zeros((ITEMS, 1), np.float32), np.full(ITEMS, 10))
    records.rebuild(columns, states)
    pair_rows = np.sort(rng.choice(ITEMS, pairs, replace=False))
    query = ScanQuery(
        vector=rng.normal(size=WIDTH).astype(np.float32),
        leaf_scores=np.zeros(LEAVES, np.float32),
        leaf_logits=np.zeros(LEAVES, np.float32),
        mask=np.zeros(0, np.bool_),
        boosts=np.zeros(0, np.float32),
        excluded=np.zeros(0, np.int64),
        pair_rows=pair_rows,
        pair_scores=rng.normal(size=pairs).astype(np.float32),
        departed_to=5,
    )
    rows, scores, considered, *_ = scan_leaves(records.arrays, query, Opening(LEAVES, ITEMS, 1), wanted)
    expected = vectors[:, :WIDTH] @ query.vector + vectors[:, -1]
    expected[pair_rows] += query.pair_scores
    assert considered == ITEMS
    assert sorted(rows.tolist()) == sorted(np.argsort(-expected)[:wanted].tolist())
    assert scores == pytest.approx(expected[rows], abs=1e-5)
