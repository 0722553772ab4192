"""Looking at checkpoints: cheap by sizes, sure by SHA-256, and never in the way of a trainer that writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hsnn.trainer.checkpoint.store import ARRAYS, MANIFEST, VALUES, CheckpointStore
from hsnn.trainer.checkpoint.verify import array_facts, find_checkpoint, find_damage, list_checkpoints, open_store
from hsnn.trainer.errors import CheckpointError

FILES = (ARRAYS, VALUES, MANIFEST)


def write(store: CheckpointStore, events: int) -> str:
    arrays = {"b": np.arange(events), "a": np.zeros((2, 3), np.float32), "one": np.array(1.0)}
    return store.write(arrays, {"n": events}, events=events, watermark=5, model={}, config_digest="d", threads=1)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path, kept=3)
    for events in (10, 20):
        write(store, events)
    return store


def harm(path: Path, how: str) -> None:
    blob = path.read_bytes()
    middle = len(blob) // 2
    if how == "lost":
        path.unlink()
    else:
        flipped = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
        path.write_bytes({"torn": blob[:-1], "flipped": flipped}[how])


def test_a_list_says_what_each_is(store: CheckpointStore) -> None:
    one, two = list_checkpoints(store)
    assert (one.name, two.name) == ("checkpoint-00000001", "checkpoint-00000002")
    assert one.manifest is not None
    assert (one.manifest.events, one.manifest.watermark, one.damage) == (10, 5, "")
    folder = store.folder / one.name
    assert one.bytes == sum((folder / file).stat().st_size for file in FILES)
    assert one.written_at == folder.stat().st_mtime


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["torn", "lost", "flipped"])
def test_damage_is_seen_and_named(store: CheckpointStore, file: str, how: str) -> None:
    harm(store.folder / "checkpoint-00000002" / file, how)
    assert find_damage(store, "checkpoint-00000001") == []
    (found,) = find_damage(store, "checkpoint-00000002")
    assert "checkpoint-00000002" in found
    cheap = [one.damage for one in list_checkpoints(store)]
    assert cheap[0] == ""
    assert (cheap[1] == "") == (how == "flipped" and file != MANIFEST)  # a cheap look does not read the large files


def test_every_damaged_file_is_named(store: CheckpointStore) -> None:
    for file in (ARRAYS, VALUES):
        harm(store.folder / "checkpoint-00000001" / file, "flipped")
    assert [text.partition(": ")[2].split()[0] for text in find_damage(store, "checkpoint-00000001")] == [
        ARRAYS,
        VALUES,
    ]


def test_a_manifest_of_nonsense_is_damage_too(store: CheckpointStore) -> None:
    (store.folder / "checkpoint-00000001" / MANIFEST).write_text("[1]")
    assert list_checkpoints(store)[0].manifest is None
    assert "not whole" in list_checkpoints(store)[0].damage


def test_what_a_trainer_removes_meanwhile_is_left_out(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = store.names()
    monkeypatch.setattr(store, "names", lambda: names)
    shutil.rmtree(store.folder / names[0])
    assert [one.name for one in list_checkpoints(store)] == names[1:]


def test_an_old_checkpoint_is_never_seen_half_removed(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (seen.append(store.names()), real(path)))
    write(store, 30)
    write(store, 40)
    assert seen == [[f"checkpoint-0000000{number}" for number in (2, 3, 4)]]
    assert sorted(os.listdir(store.folder)) == seen[0]


def test_by_name_by_number_or_the_newest(store: CheckpointStore) -> None:
    assert (
        find_checkpoint(store, None)
        == find_checkpoint(store, "2")
        == find_checkpoint(store, "checkpoint-00000002")
        == "checkpoint-00000002"
    )
    with pytest.raises(CheckpointError, match=r"no checkpoint 7 in .*there are checkpoint-00000001, "):
        find_checkpoint(store, "7")
    with pytest.raises(CheckpointError, match=r"no checkpoint \.\./x in"):
        find_checkpoint(store, "../x")


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere; trainer\.checkpoint_dir"):
        open_store(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        find_checkpoint(open_store(tmp_path), None)


def test_facts_of_arrays_agree_with_the_arrays(store: CheckpointStore) -> None:
    arrays = store.read("checkpoint-00000001").arrays
    found = array_facts(store, "checkpoint-00000001")
    assert [(one.name, one.shape, one.bytes) for one in found] == [
        (name, arrays[name].shape, arrays[name].nbytes) for name in sorted(arrays)
    ]
    assert [one.dtype for one in found] == ["F32", "I64", "F64"]


@pytest.mark.parametrize("blob", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_header_that_cannot_be_read_is_said(store: CheckpointStore, blob: bytes) -> None:
    (store.folder / "checkpoint-00000001" / ARRAYS).write_bytes(blob)
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors cannot be read"):
        array_facts(store, "checkpoint-00000001")
