"""Sizes of benchmarks: nothing is measured of nothing, and no traceback says so."""

from __future__ import annotations

import pytest

from benchmarks.arguments import positive
from benchmarks.fuzz.__main__ import main as fuzz
from benchmarks.publish.__main__ import main as publish


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "many", ""])
def test_a_size_is_a_whole_number_of_at_least_1(text, capsys):
    for main, name in ((fuzz, "--messages"), (publish, "--items")):
        with pytest.raises(SystemExit) as ended:
            main([f"{name}={text}"])
        assert ended.value.code == 2
        assert f"{text!r} is not a whole number of at least 1" in capsys.readouterr().err


def test_one_is_enough():
    assert positive("1") == 1
