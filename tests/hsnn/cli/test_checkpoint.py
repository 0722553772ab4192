"""``hsnn checkpoint`` as its users call it: what it prints, and its exit status."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner, Result

from hsnn.cli.app import application, main
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.memory import MemoryLog
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.checkpoint.store import ARRAYS, CheckpointStore
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.online.progress import TrainingProgress
from hsnn.trainer.training.learner import Learner


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """Two checkpoints of a learner that has learned nothing yet."""
    learner = Learner(TrainerConfig(model=ModelConfig(dim=4, hidden=8, buckets=16, nodes=2, history=2)))
    arrays, own = learner.state_dict()
    consumer = Consumer(MemoryLog(), StreamingConfig(partitions=2)).state_dict()
    progress = TrainingProgress()
    progress.trained, progress.dropped["duplicate"] = 12_345, 3
    values = {"consumer": consumer, "progress": progress.state_dict(), "drift": {}, "learner": own}
    model = learner.config.model.model_dump(mode="json")
    store = CheckpointStore(tmp_path / "checkpoints", kept=3)
    for events in (1000, 12_345):
        store.write(arrays, values, events=events, watermark=0, model=model, config_digest="abc", threads=2)
    return store


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(application(["checkpoint"]), ["checkpoint", *arguments], prog_name="hsnn")


def flip(store: CheckpointStore, name: str) -> None:
    path = store.folder / name / ARRAYS
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)


def test_list(store: CheckpointStore) -> None:
    done = ask("list")
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if "checkpoint-0" in line]
    assert len(rows) == 2
    for text in ("checkpoint-00000002", "whole", "12,345", "1970-01-01 00:00:00", r"[\d,]+ B", r"\d+ s"):
        assert re.search(rf" {text} ", rows[1]), text
    path = store.folder / "checkpoint-00000001" / ARRAYS
    path.write_bytes(path.read_bytes()[:-1])
    done = ask("list")
    assert done.exit_code == 0
    assert "damaged" in done.stdout
    assert "its manifest says" in done.stderr


def test_list_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    done = ask("list")
    assert (done.exit_code, done.stdout) == (0, "no checkpoints in checkpoints\n")


def test_inspect_shows_counts_positions_and_arrays(store: CheckpointStore) -> None:
    done = ask("inspect", "2")
    assert done.exit_code == 0, done.output
    array = store.read("checkpoint-00000002").arrays["network.features.weight"]
    for text in (
        "checkpoint-00000002",
        "config digest",
        "12,345",
        "duplicate",
        "engagements",
        "network.features.weight",
        "F32",
        " x ".join(map(str, array.shape)),
        f"{array.nbytes:,}",
        "nodes",
        "seal",
    ):
        assert text in done.stdout, text


@pytest.mark.slow
def test_nothing_is_cut_on_a_narrow_terminal(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    shown = ask("list").stdout + ask("inspect", "2").stdout
    assert "checkpoint-00000002" in shown
    assert "…" not in shown


def test_verify(store: CheckpointStore) -> None:
    done = ask("verify")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "2 whole, 0 damaged"
    flip(store, "checkpoint-00000001")
    assert ask("list").stderr == ""  # too cheap to see it
    done = ask("verify")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == ["checkpoint-00000002 is whole", "1 whole, 1 damaged"]
    assert "checkpoint-00000001: arrays.safetensors is not what its manifest says" in done.stderr
    assert ask("verify", "2").exit_code == 0
    assert ask("verify", "checkpoint-00000001").exit_code == 1


def test_export(store: CheckpointStore, tmp_path: Path) -> None:
    done = ask("export", "2", "weights.safetensors")
    assert done.exit_code == 0
    found = load_file(tmp_path / "weights.safetensors")
    assert f"wrote {len(found)} arrays, {sum(array.nbytes for array in found.values()):,} bytes" in done.stdout
    assert "content" in found


def test_digest(store: CheckpointStore) -> None:
    one, two = ask("digest"), ask("digest", "1")
    checkpoint = store.read("checkpoint-00000002")
    assert one.exit_code == 0
    first, *rest = one.stdout.splitlines()
    assert first == f"{digest(checkpoint.arrays, checkpoint.values)}  checkpoint-00000002"
    assert rest[0].startswith("left out")
    assert any("consumer.sent_at" in line for line in rest)
    assert two.stdout.split()[0] == first.split()[0]  # events of the manifest are no state
    parts = ask("digest", "--parts").stdout
    assert hashlib.sha256(parts.encode()).hexdigest() == first.split()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inspect", "9"), "there is no checkpoint 9 in checkpoints; there are checkpoint-00000001"),
        (("export", "2", "there"), "there exists already"),
        (("digest", "1"), "arrays.safetensors is not what its manifest says"),
        (("list", "--set", "trainer.checkpoint_dir=nowhere"), "there is no folder nowhere; trainer.checkpoint_dir"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_exit_status_2(
    store: CheckpointStore, arguments: Any, said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(store, "checkpoint-00000001")
    Path("there").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["hsnn", "checkpoint", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
