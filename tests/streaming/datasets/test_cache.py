from __future__ import annotations

from pathlib import Path

import pytest

from hsnn.streaming.datasets import cache


def write(folder: Path) -> None:
    (folder / "file").write_text("whole")


def test_a_folder_is_fetched_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def fetch(folder: Path) -> None:
        calls.append(folder)
        write(folder)

    target = tmp_path / "data" / "x"
    assert cache.fill(target, fetch) == cache.fill(target, fetch) == target
    assert (target / "file").read_text() == "whole"
    assert len(calls) == 1


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    def fetch(folder: Path) -> None:
        write(folder)
        raise OSError("line cut")

    with pytest.raises(OSError, match="line cut"):
        cache.fill(tmp_path / "data" / "x", fetch)
    assert list((tmp_path / "data").iterdir()) == []


def test_second_of_two_concurrent_fetches_keeps_the_first(tmp_path: Path) -> None:
    target = tmp_path / "x"

    def fetch(folder: Path) -> None:
        write(folder)
        target.mkdir()
        (target / "file").write_text("first")

    assert cache.fill(target, fetch) == target
    assert (target / "file").read_text() == "first"


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path))
    assert cache.folder("x") == tmp_path / "data" / "x"
    monkeypatch.delenv("HSNN_CACHE")
    assert cache.folder("x") == Path.home() / ".cache" / "hsnn" / "data" / "x"
