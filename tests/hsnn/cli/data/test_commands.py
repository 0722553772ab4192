from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hsnn.cli.data.commands import data_app

run = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HSNN_DATA", raising=False)


def films(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "ratings.dat").write_text("1::5::9::30\n2::6::10::10\n")
    (folder / "movies.dat").write_text("5::A (1960)::Action\n6::B (2013)::Drama\n")
    return folder


def test_list_shows_every_set_its_terms_and_where_it_is(tmp_path: Path) -> None:
    films(tmp_path / "cache" / "data" / "movietweetings")
    shown = run(data_app, ["list"])
    assert shown.exit_code == 0
    for text in (
        "ml-100k",
        "movietweetings",
        "globo-news",
        "kuairand",
        "online-retail-ii",
        "CC BY 4.0",
        "cached",
        "by path",
    ):
        assert text in shown.output


def test_get_explains_what_must_be_fetched_by_hand() -> None:
    shown = run(data_app, ["get", "kuairand"])
    assert shown.exit_code == 1
    assert "https://kuairand.com" in shown.output
    assert "CC BY-SA 4.0" in shown.output


def test_get_names_the_folder(tmp_path: Path) -> None:
    folder = films(tmp_path / "cache" / "data" / "movietweetings")
    shown = run(data_app, ["get", "movietweetings"])
    assert shown.exit_code == 0
    assert str(folder) in shown.output.replace("\n", "")


def test_describe_counts_by_path(tmp_path: Path) -> None:
    shown = run(data_app, ["describe", f"movietweetings:{films(tmp_path / 'films')}"])
    assert shown.exit_code == 0
    assert "MIT" in shown.output
    assert "rate 2" in shown.output
    assert "1970-01-01T00:00:10+00:00" in shown.output
    assert "items stay" in shown.output


def test_describe_without_files_still_shows_the_origin() -> None:
    shown = run(data_app, ["describe", "globo-news"])
    assert shown.exit_code == 1
    assert "Globo.com" in shown.output
    assert "kaggle.com" in shown.output


def test_an_unknown_name_gets_the_nearest() -> None:
    shown = run(data_app, ["describe", "kuairnd"])
    assert shown.exit_code == 1
    assert "did you mean 'kuairand'" in shown.output


def orders(folder: Path) -> Path:
    folder.mkdir()
    (folder / "orders.csv").write_text("customer;sku;created_at\n1;a;2023-11-14\n2;b;2023-11-15\n;b;2023-11-15\n")
    (folder / "products.csv").write_text("sku,name,price\na,Tea pot,1.5\n")
    return folder


@pytest.mark.slow
def test_import_shows_the_report_and_keeps_the_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run(data_app, ["import", str(orders(tmp_path / "shop")), "--name", "shop", "--html", "report.html"])
    assert shown.exit_code == 0, shown.output
    for text in ('user = "customer"', "user is missing", "orders.csv:4", "1 items that only events name", "purchase 2"):
        assert text in shown.output
    page = (tmp_path / "report.html").read_text()
    assert "orders.csv" in page
    assert "<html lang=" in page
    again = run(data_app, ["import", "shop", "--map", "shop.map.toml", "--name", "shop", "--replace"])
    assert again.exit_code == 0, again.output
    assert "shop" in run(data_app, ["list"]).output
    assert "1 items that only events name" in run(data_app, ["describe", "shop"]).output


@pytest.mark.slow
def test_validate_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run(data_app, ["validate", str(orders(tmp_path / "shop"))])
    assert shown.exit_code == 0
    assert "trainer.expire_after_idle" in shown.output
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_what_cannot_be_imported_is_one_sentence(tmp_path: Path) -> None:
    shown = run(data_app, ["import", str(tmp_path / "nothing.csv"), "--name", "shop"])
    assert shown.exit_code == 1
    assert "there is no file" in shown.output
    both = run(data_app, ["validate", str(tmp_path), "--map", "a", "--format", "gorse"])
    assert both.exit_code == 2
