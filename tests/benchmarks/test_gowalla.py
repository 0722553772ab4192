"""The Gowalla benchmark, from files to its results."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gowalla import __main__
from benchmarks.tables.static import gowalla as gowalla_table


@pytest.mark.slow
def test_results_are_written_kept_and_made_again(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    lists = [rng.permutation(30)[:9] for _ in range(40)]
    for name, part in (("train", slice(0, 7)), ("test", slice(7, None))):
        lines = [f"{user} {' '.join(map(str, items[part]))}" for user, items in enumerate(lists)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "gowalla.json")
    monkeypatch.setattr(__main__, "CACHE", tmp_path / "kept")
    arguments = ["--data", f"mine:{tmp_path}", "--seeds", "1"]
    __main__.main(arguments)
    assert "seed 0, extra steps: R@20" in capsys.readouterr().out
    found = json.loads((tmp_path / "gowalla.json").read_text())
    assert (found["data"], found["users"], found["items"], found["test"]) == ("mine", 40, 30, 80)
    assert "| learned levels, then test-time training |" in gowalla_table(found)
    [kept] = (tmp_path / "kept").glob("levels-*.json")
    kept.write_text(kept.read_text().replace('"recall":', '"recall":9', 1))
    __main__.main(arguments)
    assert json.loads((tmp_path / "gowalla.json").read_text()) != found  # what was kept is used
    __main__.main([*arguments, "--fresh"])
    assert json.loads((tmp_path / "gowalla.json").read_text()) == found  # and made again, to the bit
