"""The quality benchmark: its grid, its cache, its tables."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.quality import __main__, ablation, cells, variants
from benchmarks.quality.cells import Cell, Protocol
from benchmarks.tables.quality import quality as quality_table
from tests.evaluation.planted_data import planted

CELL = Cell("ml-100k", "default", 0, Protocol(2000, 0.5), ("popularity",))


def test_variants_are_configurations(monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "small", {"model": {"beam": 7}, "index": {"balance": 0.5}})
    config = variants.configured("small", 3)
    assert (config.model.beam, config.index.balance, config.seed) == (7, 0.5, 3)
    assert config.model.nodes == variants.configured("default", 3).model.nodes
    monkeypatch.setitem(variants.VARIANTS, "wrong", {"model": {"beems": 7}})
    with pytest.raises(SystemExit, match=r"(?s)variants.py, wrong: .*model.beems"):
        variants.configured("wrong", 0)
    with pytest.raises(SystemExit, match=r"no variant is called other; .* has: default, "):
        variants.configured("other", 0)


def test_a_cell_is_named_by_what_its_figures_depend_on(tmp_path, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "narrow", {"model": {"beam": 7}})
    monkeypatch.setitem(variants.VARIANTS, "same", {})
    other = [
        replace(CELL, data="kuairand"),
        replace(CELL, seed=1),
        replace(CELL, variant="narrow"),
        replace(CELL, protocol=Protocol(2000, 0.4)),
        replace(CELL, baselines=()),
        replace(CELL, variant="no_skip"),
        replace(CELL, variant="no_mask"),
    ]
    assert len({cell.path(tmp_path) for cell in (CELL, *other)}) == 8
    assert replace(CELL, variant="same").path(tmp_path) == CELL.path(tmp_path)


def test_code_is_told_apart(tmp_path, monkeypatch):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "a.py").write_text("1")
    monkeypatch.setattr(cells, "ROOT", tmp_path)
    before = cells.code_digest()
    (tmp_path / "trainer" / "a.py").write_text("2")
    assert cells.code_digest() != before


@pytest.fixture
def small_grid(tmp_path, monkeypatch):
    """The bench over a planted data set and two variants, in this process."""
    model = {
        "dim": 8,
        "state_dim": 4,
        "hidden": 16,
        "history": 4,
        "token_dim": 4,
        "buckets": 256,
        "nodes": 12,
        "beam": 3,
        "budget": 25,
    }
    base = {"model": model, "index": {"seed_after": 512}, "uniform_negatives": 48}
    monkeypatch.setattr(
        variants, "VARIANTS", {"default": base, "narrow": {**base, "model": {**model, "beam": 1, "budget": 5}}}
    )
    monkeypatch.setattr(__main__, "VARIANTS", variants.VARIANTS)
    monkeypatch.setattr(__main__, "SETS", {"ml-100k": Protocol(None, 0.4)})
    monkeypatch.setattr(__main__, "MAIN_SETS", ("ml-100k",))
    monkeypatch.setattr(__main__, "YOUNG", (1000,))
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "quality.json")
    monkeypatch.setattr(__main__, "ROOT", tmp_path)
    monkeypatch.setattr(cells, "_data", lambda name, limit: planted(limit or 3000))
    made = []

    class Here:
        """Runs at once what is submitted."""

        def __init__(self, *_, **__) -> None:
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, work, cache):
            from concurrent.futures import Future

            made.append(work.__self__)
            future: Future[None] = Future()
            future.set_result(work(cache))
            return future

    monkeypatch.setattr(__main__, "ProcessPoolExecutor", Here)
    return made


@pytest.mark.slow
def test_a_bench_goes_on_where_it_was_and_compares_on_the_same_queries(small_grid, tmp_path):
    arguments = ["--cache", str(tmp_path / "cache"), "--seeds", "2", "--baselines", "popularity,popularity_filter"]
    __main__.main([*arguments, "--variants", "default"])
    assert [cell.protocol.limit for cell in small_grid] == [1000, 1000, None, None]  # young streams first
    __main__.main([*arguments, "--variants", "narrow"])
    assert [(cell.variant, cell.seed) for cell in small_grid[4:]] == [("narrow", 0), ("narrow", 1)]
    __main__.main([*arguments, "--variants", "default"])  # nothing is made, and what is known of the other stays
    assert len(small_grid) == 6
    found = json.loads((tmp_path / "quality.json").read_text())
    of = found["sets"]["ml-100k"]["variants"]
    assert set(of) == {"default", "narrow"}
    lost = of["narrow"]["minus_reference"]["served"]["recall_at_20"]
    values = [of[name]["intervals"]["served"]["recall_at_20"]["per_seed"] for name in ("narrow", "default")]
    assert lost["per_seed"] == pytest.approx([ours - theirs for ours, theirs in zip(*values, strict=True)])
    assert lost["mean"] < -0.05  # five items cannot hold what twenty-five do
    counting = {"covisitation", "popularity", "stan", "vsknn"}
    young = found["sets"]["ml-100k"]["young"]["1000"]
    assert counting < set(young["methods"])
    against = found["against_counting"]
    assert against["streams"] == ["ml-100k, first 1,000", "ml-100k"]
    assert against["comparisons"] == 2 * (4 + 1)  # of the grown stream popularity alone was asked for
    assert {one["method"] for one in against["behind"]} <= counting
    page = quality_table(found)
    assert page.startswith(f"Counting is ahead of the served path in {len(against['behind'])} of 10 comparisons")
    assert "| 1,000 | " in page
    assert "### ml-100k" in page
    assert f"`{of['default']['config'][:12]}`" in page
    assert f"{100 * of['default']['methods']['served']['recall_at_50']:.2f}" in page
    assert "| narrow |" in page
    lost = of["narrow"]["minus_reference"]["served"]["recall_at_50"]
    assert f"{100 * lost['mean']:+.2f}" in page
    of["default"]["config"] = "another"
    (tmp_path / "quality.json").write_text(json.dumps(found))
    __main__.main([*arguments, "--variants", "default"])  # what was compared with another default goes
    assert set(json.loads((tmp_path / "quality.json").read_text())["sets"]["ml-100k"]["variants"]) == {"default"}


@pytest.mark.slow
def test_an_ablation_compares_on_the_same_queries_and_leaves_the_other_results_alone(small_grid, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "RESULTS", tmp_path / "ablation.json")
    monkeypatch.setattr(__main__, "PARTS", ("narrow", "no_mask"))
    monkeypatch.setattr(ablation, "YOUNG", (1000,))
    variants.VARIANTS["no_mask"] = variants.VARIANTS["default"]
    __main__.main(["--cache", str(tmp_path / "cache"), "--ablation"])
    assert [(cell.protocol.limit, cell.variant) for cell in small_grid] == [
        (1000, "default"),
        (1000, "narrow"),
        (1000, "no_mask"),
        (None, "default"),
        (None, "narrow"),
        (None, "no_mask"),
    ]
    assert not (tmp_path / "quality.json").exists()
    whole = json.loads((tmp_path / "ablation.json").read_text())["sets"]["ml-100k"]["streams"]["whole"]["variants"]
    for name in ("narrow", "no_mask"):
        for figure, (mean, error) in whole[name]["minus_default"].items():
            assert mean == pytest.approx(whole[name][figure] - whole["default"][figure])
            assert 0 <= error < 0.1
    *_, default, _, no_mask = [cell.load(tmp_path / "cache").ranks["served"] for cell in small_grid]
    assert (default != no_mask).any()
    assert whole["narrow"]["minus_default"]["recall_at_20"][0] < -0.05  # five items cannot hold what twenty-five do


@pytest.mark.slow
def test_passes_of_other_code_are_used_and_said_or_made_again(small_grid, tmp_path, monkeypatch, capsys):
    arguments = ["--cache", str(tmp_path / "cache"), "--seeds", "1", "--baselines", "none"]
    __main__.main(arguments)
    monkeypatch.setattr(__main__, "code_digest", lambda: "another")
    __main__.main(arguments)
    assert "2 passes were made by other code" in capsys.readouterr().out
    assert len(small_grid) == 2
    __main__.main([*arguments, "--fresh"])
    assert len(small_grid) == 4


def test_unknown_names_are_said(capsys):
    for arguments in (["--sets", "ml-1b"], ["--variants", "no-such"]):
        with pytest.raises(SystemExit):
            __main__.main(arguments)
    assert "no data set is called ml-1b; there are: ml-100k, globo-news" in capsys.readouterr().err
