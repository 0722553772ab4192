from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hsnn.trainer.rowstore.arrays import grown, pack, unpack

ARRAYS = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1, max_size=5).filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4))
def test_arrays_come_back_bit_by_bit(arrays):
    again = unpack(pack(arrays))
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()


def test_a_view_is_written_in_its_own_order():
    array = np.arange(12).reshape(3, 4)
    assert unpack(pack({"a": array.T[1:]}))["a"].tolist() == array.T[1:].tolist()


@pytest.mark.parametrize(("rows", "expected"), [(2, 3), (3, 3), (4, 6), (50, 50)])
def test_growing(rows, expected):
    array = np.arange(3, dtype=np.int32)
    bigger = grown(array, rows, -1)
    assert len(bigger) == expected
    assert (bigger is array) is (rows <= 3)
    assert bigger[:3].tolist() == [0, 1, 2]
    assert (bigger[3:] == -1).all()
    assert bigger.dtype == np.int32
