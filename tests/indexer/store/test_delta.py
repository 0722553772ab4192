import numpy as np
import pytest
from msgspec import MsgspecError

from hsnn.indexer.store.delta import Delta, pack_vector


def test_a_delta_survives_the_stream() -> None:
    vector = np.array([0.1, -2.0, 3.5], np.float32)
    delta = Delta("move", 3, 7, "a:b", 2, pack_vector(vector), {"genres": ["x", "y"], "n": 1}, 1, 2, 3, 4, "changed")
    back = Delta.decode(delta.encode())
    assert back == delta
    assert back.vector is not None
    np.testing.assert_array_equal(back.vector, vector)


def test_a_departure_carries_no_vector() -> None:
    assert Delta.decode(Delta("delete", 1, 2, "a", reason="expired").encode()).vector is None


def test_other_bytes_are_refused() -> None:
    with pytest.raises(MsgspecError):
        Delta.decode(b"\x93\xa5nopes\x01\x02")
