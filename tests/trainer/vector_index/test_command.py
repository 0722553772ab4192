"""`hsnn index fit`, from files to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from typer.testing import CliRunner

from hsnn.cli.app import application
from hsnn.trainer.errors import VectorFileError
from hsnn.trainer.vector_index.command import fit_files
from hsnn.trainer.vector_index.index import VectorIndex


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Ten blocks of ten items; users of a block, each with three pairs in it."""
    rng = np.random.default_rng(0)
    block = rng.integers(10, size=300)
    items = np.repeat(np.eye(10), 10, 0) + 0.02 * rng.standard_normal((100, 10))
    pairs = np.stack([np.repeat(np.arange(300), 3), (10 * block[:, None] + rng.integers(10, size=(300, 3))).ravel()], 1)
    np.save(tmp_path / "users.npy", 3 * np.eye(10)[block])
    save_file({"vectors": items.astype(np.float32)}, tmp_path / "items.safetensors")
    np.save(tmp_path / "pairs.npy", pairs)
    return {
        "users": tmp_path / "users.npy",
        "items": tmp_path / "items.safetensors",
        "pairs": tmp_path / "pairs.npy",
        "out": tmp_path / "index.safetensors",
    }


def test_the_command_writes_an_index_that_finds_what_exhaustive_search_finds(files):
    options = [text for name, file in files.items() for text in (f"--{name}", str(file))]
    result = CliRunner().invoke(
        application(["index"]), ["index", "fit", *options, "--scored", "0.2", "-k", "5", "--passes", "2"]
    )
    assert result.exit_code == 0, result.output
    assert "300 users, 100 items" in result.output
    with safe_open(files["out"], "np") as opened:
        metadata = opened.metadata()
    assert float(metadata["recall_at_5"]) > 0.95
    assert float(metadata["scored"]) <= 20
    assert f"finds {100 * float(metadata['recall_at_5']):.2f}% of the exhaustive best 5" in result.output
    found = VectorIndex.load(files["out"]).search(np.float32(3 * np.eye(10)), 5)
    assert (found.items // 10 == np.arange(10)[:, None]).mean() > 0.95


def test_a_share_that_is_none_is_refused(files):
    options = [text for name, file in files.items() for text in (f"--{name}", str(file))]
    result = CliRunner().invoke(application(["index"]), ["index", "fit", *options, "--scored", "2"])
    assert result.exit_code == 2
    assert "a share of the items" in result.output


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"out": "index.bin"}, r"ends in \.safetensors"),
        ({"out": "items.safetensors"}, "exists already"),
        ({"out": "none/index.safetensors"}, "there is no folder"),
        ({"users": "pairs.npy"}, "user vectors are 2 wide and item vectors 10"),
        ({"pairs": "users.npy"}, r"write one array \(pairs, 2\)"),
    ],
)
def test_files_that_do_not_fit_are_refused_and_nothing_is_written(files, changed, words):
    folder = files["out"].parent
    given = files | {name: folder / file for name, file in changed.items()}
    before = sorted(folder.iterdir())
    with pytest.raises(VectorFileError, match=words):
        fit_files(**given, say=print, share=0.2, k=5, passes=1, seed=0)
    assert sorted(folder.iterdir()) == before


def test_an_answer_cannot_be_longer_than_the_catalogue(files):
    with pytest.raises(VectorFileError, match="an answer cannot have 101"):
        fit_files(**files, say=print, share=0.2, k=101, passes=1, seed=0)
