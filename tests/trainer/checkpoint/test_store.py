"""A checkpoint is whole or it is not there; what is damaged is noticed, named, and passed over."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hsnn.trainer.checkpoint import store as store_module
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.errors import CheckpointError

MODEL = ModelConfig().model_dump(mode="json")
FILES = ("arrays.safetensors", "values.msgpack", "manifest.json")


def write(store: CheckpointStore, events: int) -> str:
    manifest = {"events": events, "watermark": 5, "model": MODEL, "config_digest": "d", "threads": 1}
    return store.write({"a": np.arange(events)}, {"n": events, "nested": {"x": [1, "y", None]}}, **manifest)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "made" / "for it", kept=3)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "made" / "for it"


def test_what_is_written_is_read(store):
    name = write(store, 7)
    checkpoint = store.newest()
    assert checkpoint is not None
    assert checkpoint.name == name
    assert checkpoint.arrays["a"].tolist() == list(range(7))
    assert checkpoint.values == {"n": 7, "nested": {"x": [1, "y", None]}}
    assert (checkpoint.manifest.events, checkpoint.manifest.watermark, checkpoint.manifest.model) == (7, 5, MODEL)


def test_nothing_there_is_no_error(store):
    assert store.newest() is None
    assert store.names() == []


def test_the_newest_few_are_kept(store):
    names = [write(store, events) for events in (10, 20, 30, 40, 50)]
    assert store.names() == names[-3:]
    assert store.newest().values["n"] == 50


def test_the_newest_is_the_last_one_written_whatever_it_has_learned(store):
    """Going back to an older one and on from there: what was written last counts."""
    write(store, 900)
    write(store, 20)
    assert store.newest().values["n"] == 20
    for number in range(9, 12):
        write(store, number)
    assert store.newest().values["n"] == 11


def test_the_same_position_twice_leaves_the_first_in_place(store, folder):
    first, second = write(store, 5), write(store, 5)
    assert first != second
    assert store.names() == [first, second]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["torn", "emptied", "lost", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(store, folder, caplog, file, damage):
    write(store, 10)
    path = folder / write(store, 20) / file
    blob = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        middle = len(blob) // 2
        flipped = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
        path.write_bytes({"torn": blob[:-1], "emptied": b"", "flipped": flipped}[damage])
    with caplog.at_level(logging.ERROR):
        checkpoint = store.newest()
    assert checkpoint.values["n"] == 10
    assert sum(record.name.startswith("hsnn.") for record in caplog.records) == 1
    assert str(path.parent) in caplog.text
    assert "going back to the one before" in caplog.text


def put(path, at: int, byte: int) -> None:
    """Change one byte in place: a file that is cut short and written anew goes to the disk every time."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


@pytest.mark.parametrize("file", FILES)
def test_every_single_flipped_bit_is_noticed(store, folder, file):
    path = folder / write(store, 3) / file
    blob = path.read_bytes()
    original = store.read(path.parent.name)
    for at, byte in enumerate(blob):
        put(path, at, byte ^ 1 << (at % 8))
        try:
            found = store.read(path.parent.name)
        except CheckpointError:
            continue
        finally:
            put(path, at, byte)
        assert file == "manifest.json"  # white space: it says the same
        assert found.manifest == original.manifest
    assert path.read_bytes() == blob
    assert store.read(path.parent.name).manifest == original.manifest


def test_all_damaged_is_an_error_that_says_what_to_do(store, folder):
    for events in (1, 2):
        (folder / write(store, events) / "values.msgpack").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"every checkpoint in .*for it is damaged; remove the folder"):
        store.newest()


def test_a_writer_killed_on_the_way_leaves_nothing_that_counts(store, folder, monkeypatch):
    write(store, 10)
    with monkeypatch.context() as patch:
        patch.setattr(
            "hsnn.trainer.checkpoint.store.sync_folder", lambda path: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            write(store, 20)
    assert [path.name[0] for path in folder.iterdir()].count(".") == 1
    again = CheckpointStore(folder, kept=3)
    assert again.newest().values["n"] == 10
    assert len(list(folder.iterdir())) == 2  # looking changes nothing: somebody may be writing
    write(again, 30)
    assert sorted(path.name for path in folder.iterdir()) == again.names()


def test_the_manifest_is_written_last_and_all_is_synced_before_the_name_is_given(store, folder, monkeypatch):
    done = []
    write_file, sync = store_module.write_new, store_module.sync_folder
    monkeypatch.setattr(
        store_module, "write_new", lambda path, all_: (done.append(path.name), write_file(path, all_))[1]
    )
    monkeypatch.setattr(
        store_module, "sync_folder", lambda path: (done.append((path.name, len(store.names()))), sync(path))
    )
    name = write(store, 1)
    assert done == ["arrays.safetensors", "values.msgpack", "manifest.json", (f".writing-{name}", 0), (folder.name, 1)]


def test_other_things_in_the_folder_are_let_be(store, folder):
    (folder / "checkpoint-of-mine").mkdir()
    (folder / "notes.txt").write_text("x")
    write(store, 1)
    assert store.newest().values["n"] == 1
    assert (folder / "checkpoint-of-mine").exists()


def test_a_manifest_says_who_can_read_it(store, folder):
    text = (folder / write(store, 1) / "manifest.json").read_text()
    for word in ("events", "watermark", "config_digest", "threads", "sha256", '"nodes": 256'):
        assert word in text
