"""Sizes of benchmarks: nothing is measured of nothing, and no traceback says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import fuzz, publish
from benchmarks.sizes import positive


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "many", ""])
def test_a_size_is_a_whole_number_of_at_least_1(text, capsys):
    for main, name in ((fuzz.main, "--messages"), (publish.main, "--items")):
        with pytest.raises(SystemExit) as ended:
            main([f"{name}={text}"])
        assert ended.value.code == 2
        assert f"{text!r} is not a whole number of at least 1" in capsys.readouterr().err


def test_one_is_enough():
    assert positive("1") == 1
