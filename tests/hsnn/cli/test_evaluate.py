"""`hsnn evaluate`, from the command line to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from hsnn.cli.app import application, main
from hsnn.evaluation.methods import CANDIDATE_ORDERS, MODEL_METHODS

METHODS = {
    "served",
    "exhaustive",
    "frozen_1h",
    "engine",
    "stan",
    "vsknn",
    "popularity",
    "popularity_filter",
    "shuffled_index",
    "covisitation",
    "two_tower",
    "hnsw",
    "ivf",
}
FIGURES = {
    "recall_at_20",
    "recall_at_50",
    "recall_at_200",
    "ndcg_at_20",
    "mrr",
    "fresh_6h_recall_at_50",
    "fresh_24h_recall_at_50",
    "rare_recall_at_50",
    "coverage",
    "popularity_share",
    "scored",
    "scored_share",
    "dots",
    "dots_share",
    "hindsight_recall_at_20",
    "hindsight_recall_at_50",
}
SMALL = (
    "--set",
    "trainer.model.dim=8",
    "--set",
    "trainer.model.hidden=16",
    "--set",
    "trainer.model.nodes=8",
    "--set",
    "trainer.model.beam=4",
    "--set",
    "trainer.model.budget=20",
    "--set",
    "trainer.index.seed_after=512",
)


@pytest.fixture
def ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small world in the format of ml-100k: two tastes, 3,000 ratings."""
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    rng = np.random.default_rng(0)
    users = rng.integers(1, 121, size=3000)
    films = 2 * rng.integers(0, 60, size=3000) + 1 + users % 2
    rows = zip(users.tolist(), films.tolist(), range(3000), strict=True)
    lines = [f"{user}\t{film}\t{3 + at % 3}\t{880_000_000 + 60 * at}" for user, film, at in rows]
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    shown = [f"{film}|Film {film} (1990)|01-Jan-1990|||{'|'.join(['0'] * 18 + ['1'])}" for film in range(1, 121)]
    (folder / "u.item").write_text("\n".join(shown) + "\n", "latin-1")
    people = [f"{user}|{20 + user % 50}|F|writer|00000" for user in range(1, 121)]
    (folder / "u.user").write_text("\n".join(people) + "\n")
    monkeypatch.setenv("HSNN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    command = ["evaluate", "--data", "ml-100k", *arguments]
    return CliRunner().invoke(application(command), command, prog_name="hsnn")


@pytest.mark.slow
def test_everything_is_compared_over_seeds_and_written_down(ratings: Path) -> None:
    done = call(
        *SMALL,
        "--query-share",
        "0.3",
        "--query-from",
        "1800",
        "--query-to",
        "2500",
        "--seeds",
        "2",
        "--baselines",
        "all",
        "--json",
        "found.json",
        "--report",
        "found.md",
    )
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads((ratings / "found.json").read_text())
    assert set(found["methods"]) == METHODS
    assert all(figures.keys() == FIGURES for figures in found["methods"].values())
    assert {"index", "events_per_second", "seeds", "per_seed", "intervals", "comparisons", "curves"} <= found.keys()
    assert found["seeds"] == len(found["per_seed"]) == 2
    assert 2500 <= found["events"] < 3000  # the pass ends with the window
    assert found["methods"]["hnsw"]["scored"] <= 20
    assert set(found["curves"]) == {*CANDIDATE_ORDERS, "popularity_filter"}
    assert "served - two tower, recall@50: " in done.output
    assert (ratings / "found.md").read_text().startswith("# hsnn on ml-100k\n\nThe served path is ")
    assert sorted(path.name for path in ratings.glob("*.svg")) == [
        "found-curves.svg",
        "found-nodes.svg",
        "found-stream.svg",
    ]


@pytest.mark.slow
def test_only_what_is_named_is_compared(ratings: Path) -> None:
    done = call(*SMALL, "--baselines", "covisitation", "--json", "found.json")
    assert done.exit_code == 0, done.output
    assert set(json.loads((ratings / "found.json").read_text())["methods"]) == {*MODEL_METHODS, "covisitation"}


@pytest.mark.slow
def test_the_hourly_session_protocol(ratings: Path) -> None:
    protocol = ("--protocol", "hourly-sessions", "--hours", "8", "--targets", "60")
    done = call(*SMALL, *protocol, "--events", "2000", "--json", "found.json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads((ratings / "found.json").read_text())
    assert set(found["modes"]) == {"per event", "frozen for an hour"}
    for figures in found["modes"].values():
        assert set(figures["methods"]) == {"served", "covisitation", "popularity", "stan", "vsknn"}
        assert figures["targets"] == 60
        assert figures["hours"] <= 8
        assert all(0 <= method["ndcg_at_20"] <= method["hr_at_20"] <= 1 for method in figures["methods"].values())
    assert "frozen for an hour" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--baselines", "itemknn"), r"no baseline is called itemknn; there are: covisitation, "),
        (("--protocol", "hourly-sessions", "--hours", "0"), "--hours"),
        (("--model", "no-such-size"), "trainer.model.preset"),
        (("--query-from", "5000", "--query-to", "4000"), "queries from event 5,000 to 4,000"),
        (("--report", "no/such/folder/r.md"), "there is no folder"),
    ],
)
def test_mistakes_are_said_in_one_sentence(
    ratings: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["hsnn", "evaluate", "--data", "ml-100k", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_the_static_protocol_measures_pairs_without_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lists = [rng.permutation(30)[:9] for _ in range(40)]
    for name, part in (("train", slice(0, 7)), ("test", slice(7, None))):
        lines = [f"{user} {' '.join(map(str, items[part]))}" for user, items in enumerate(lists)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    command = ["evaluate", "--protocol", "static", "--data", f"mine:{tmp_path}"]
    runner = CliRunner()
    done = runner.invoke(application(command), [*command, "--seeds", "2", "--json", "found.json"], prog_name="hsnn")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["users"], found["items"], found["train"], found["test"]) == (40, 30, 280, 80)
    assert len(found["runs"]) == 2
    assert f"exhaustive: R@20 {found['exhaustive']['recall']:.4f}" in done.output
    assert "seed 1, served: R@20 " in done.output
    for option in (("--events", "5"), ("--report", "found.md"), ("--model", "small")):
        refused = runner.invoke(application(command), [*command, *option], prog_name="hsnn")
        assert refused.exit_code == 2, refused.output
        assert f"{option[0]} is of the prequential protocol" in refused.output
