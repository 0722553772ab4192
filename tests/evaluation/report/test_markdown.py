"""The Markdown report and its plots."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from hsnn.evaluation.errors import MissingPackageError
from hsnn.evaluation.report.markdown import write
from hsnn.evaluation.report.plots import over_stream
from hsnn.evaluation.report.summary import across, percent, probabilities

pytestmark = pytest.mark.slow


def test_a_report_is_written_with_its_plots_beside_it(run, tmp_path):
    found = across([run, run])
    files = write(tmp_path / "found.md", [run, run], found, "hsnn on a planted data")
    assert [path.name for path in files] == ["found.md", "found-stream.svg", "found-curves.svg", "found-nodes.svg"]
    text = files[0].read_text()
    assert text.startswith("# hsnn on a planted data\n")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert [(tmp_path / name).exists() for name in pictures] == [True] * 3
    for name, figures in found["methods"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name.replace('_', ' ')} |"))
        assert percent(figures["recall_at_50"]) in row
    for path in files[1:]:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    drawn = files[2].read_text()
    assert "popularity filter" in drawn
    assert "served, budget 25" in drawn


def test_probabilities_are_reported_where_impressions_tell(run, tmp_path):
    text = write(tmp_path / "a.md", [run], across([run]), "t")[0].read_text()
    assert "normalised entropy" not in text
    judged = replace(run, predicted=np.full(4, 0.5, np.float32), engaged=np.array([1, 0, 0, 0], np.float32))
    found = across([judged])
    text = write(tmp_path / "b.md", [judged], found, "t")[0].read_text()
    assert f"## Probabilities\n\n{probabilities(found)}.\n" in text
    assert "4 shown items" in text
    assert "normalised entropy 1.233 (" in text
    assert "calibration 2.000 (" in text


def test_the_same_runs_give_the_same_files(run, tmp_path):
    found = across([run])
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        texts.append([path.read_bytes() for path in write(tmp_path / name / "r.md", [run], found, "t")])
    assert texts[0] == texts[1]


def test_recall_over_the_stream_averages_to_recall(run):
    days, recalls = over_stream(run, "served")
    assert len(days) == len(recalls) == 20
    assert (np.diff(days) > 0).all()
    assert recalls.mean() == pytest.approx((run.ranks["served"] < 50).mean(), abs=0.01)


def test_without_matplotlib_it_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"the report needs matplotlib.*hsnn\[evaluation\]"):
        write(tmp_path / "r.md", [run], across([run]), "t")
