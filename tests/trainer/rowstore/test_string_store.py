from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.rowstore.string_store import EncodedStrings, StringStore

PUTS = st.lists(st.dictionaries(st.integers(0, 9), st.text("abÜ\ud800", max_size=4), max_size=6), max_size=8)


@pytest.mark.slow
@given(PUTS)
def test_a_column_holds_what_was_written_last(puts):
    texts, plain = StringStore(), {}
    for put in puts:
        texts.write(np.array([*put], np.int64), EncodedStrings.from_strings([*put.values()]))
        plain |= put
        expected = [plain.get(row, "") for row in range(max(plain, default=-1) + 1)]
        assert texts == expected
        assert [texts[row] for row in range(len(texts))] == expected
        assert texts[::-2] == expected[::-2]
        same = texts.equal(np.arange(len(texts)), EncodedStrings.from_strings(["a" for _ in expected]))
        assert same.tolist() == [text == "a" for text in expected]


@pytest.mark.slow
def test_overwriting_does_not_waste_memory():
    texts, rows = StringStore(), np.arange(100)
    for number in range(0, 100_000, 97):
        texts.write(rows, EncodedStrings.from_strings([f"{number}-{row}" for row in rows]))
    assert texts[7] == "99910-7"
    assert texts.nbytes < 50_000


def test_there_is_no_row_beyond_the_last():
    texts = StringStore()
    texts.write(np.array([1]), EncodedStrings.from_strings(["b"]))
    assert (texts[-1], texts[-2], repr(texts)) == ("b", "", "['', 'b']")
    for row in (2, -3):
        with pytest.raises(IndexError, match="of 2 texts"):
            texts[row]


@pytest.mark.slow
@given(PUTS, PUTS)
def test_a_column_made_of_a_state_goes_on_alike_and_copies_stay_as_they_were(before, after):
    texts = StringStore()
    for put in before:
        texts.write(np.array([*put], np.int64), EncodedStrings.from_strings([*put.values()]))
    again, plain = StringStore.from_state_dict(texts.state_dict()), texts[:]
    copy = texts.copy(without=np.arange(0, len(texts), 2))
    for put in after:
        for one in (texts, again):
            one.write(np.array([*put], np.int64), EncodedStrings.from_strings([*put.values()]))
    assert {name: column.tobytes() for name, column in again.state_dict().items()} == {
        name: column.tobytes() for name, column in texts.state_dict().items()
    }
    assert copy == ["" if row % 2 == 0 else text for row, text in enumerate(plain)]
