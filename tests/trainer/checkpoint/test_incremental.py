"""Checkpoints that share files: each is what a whole one would be, and damage costs no more than it must."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from hsnn.trainer.checkpoint import incremental
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.checkpoint.learner_copy import LearnerCopy
from hsnn.trainer.checkpoint.row_delta import TableRows
from hsnn.trainer.checkpoint.store import ARRAYS, MANIFEST, VALUES, CheckpointStore
from hsnn.trainer.checkpoint.verify import array_facts, find_damage
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.training.learner import Learner

ABOUT: dict[str, Any] = {"events": 1, "watermark": 2, "model": {}, "config_digest": "", "threads": 1}


class Writer:
    """Writes checkpoints of a learner, one after the other; has their digests."""

    def __init__(self, folder: Path, learner: Learner, world: Any, teach: Any) -> None:
        self.store, self.learner, self.world, self.teach = CheckpointStore(folder, 3), learner, world, teach
        self.copy, self.since = LearnerCopy(learner), ""
        self.digests: dict[str, str] = {}

    def write(self, batches: int = 1, size: int = 16) -> str:
        """Learn a little, and write."""
        if batches:
            self.teach(self.learner, self.world, batches, size)
        arrays, values = self.learner.state_dict()
        self.copy.begin()
        self.teach(self.learner, self.world, 1, size)
        self.copy.advance(60.0)
        rows = TableRows(self.copy.tables, self.since)
        self.since = self.store.write(self.copy.dense_arrays(), {"learner": self.copy.values}, rows=rows, **ABOUT)
        self.digests[self.since] = digest(arrays, {"learner": values})
        return self.since

    def digest(self, name: str) -> str:
        """Of what can be read."""
        found = self.store.read(name)
        return digest(found.arrays, found.values)

    def chain(self, name: str) -> tuple[str, ...]:
        return self.store.manifest(name).chain


@pytest.fixture(scope="module")
def first(config, new_world, teach) -> Learner:
    """A learner at the first checkpoint; not to be changed."""
    model = config.model.model_copy(update={"buckets": 4096, "pair_features": False})  # most of a table stays as it is
    learner = Learner(config.model_copy(update={"model": model}))
    teach(learner, new_world(), 12)
    return learner


@pytest.fixture
def learner(first, copy_of) -> Learner:
    return copy_of(first)


@pytest.fixture
def writer(tmp_path, learner, new_world, teach) -> Writer:
    world = new_world(seed=3)
    world.now = learner.watermark
    return Writer(tmp_path, learner, world, teach)


@pytest.mark.slow
def test_every_checkpoint_of_a_chain_is_what_a_whole_one_would_be(writer, learner, monkeypatch):
    monkeypatch.setattr(incremental, "_MAX_DELTAS", 3)
    kinds = []
    for _ in range(8):
        name = writer.write()
        kinds.append(len(writer.chain(name)))
        assert all(writer.digest(one) == writer.digests[one] for one in writer.store.names())
        assert find_damage(writer.store, name) == []
    assert kinds == [1, 2, 3, 4] * 2  # whole again after three files of rows
    found = writer.store.read(name)
    again = Learner.from_state_dict(learner.config, found.arrays, found.values["learner"])
    arrays, values = again.state_dict()
    assert digest(arrays, {"learner": values}) == writer.digests[name]


@pytest.mark.slow
def test_files_are_shared_and_every_folder_has_all_of_them(writer):
    one, two = writer.write(), writer.write()
    base, rows = writer.chain(two)
    folder = writer.store.folder
    assert os.path.samefile(folder / one / base, folder / two / base)
    assert (folder / two / rows).stat().st_size < (folder / two / base).stat().st_size / 2
    for path in (folder / one).iterdir():
        path.unlink()
    (folder / one).rmdir()
    assert writer.digest(two) == writer.digests[two]


@pytest.mark.slow
def test_rows_that_outgrow_half_of_the_tables_are_written_with_all_others(writer, monkeypatch):
    writer.write()
    sizes = []
    for _ in range(12):
        name = writer.write(batches=4, size=128)
        files = writer.store.manifest(name).files
        base, *rows = (files[file].bytes for file in writer.chain(name))
        sizes.append(len(rows))
        assert sum(rows) <= base / 2 + 4096 * len(rows)
    assert 0 in sizes
    assert max(sizes) > 0


@pytest.mark.slow
def test_where_links_cannot_be_made_files_are_copied(writer, monkeypatch):
    one = writer.write()

    def no_links(*_: Any) -> None:
        raise OSError("not on this file system")

    monkeypatch.setattr(os, "link", no_links)
    two = writer.write()
    base = writer.chain(two)[0]
    folder = writer.store.folder
    assert not os.path.samefile(folder / one / base, folder / two / base)
    assert writer.digest(two) == writer.digests[two]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lost", "torn", "gone", "other"])
def test_where_nothing_can_be_gone_on_from_all_is_written(writer, how, caplog):
    one = writer.write()
    path = writer.store.folder / one / writer.chain(one)[0]
    if how == "lost":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "gone":
        writer.since = "checkpoint-00000077"
    else:  # another version of the code had other arrays
        writer.copy.tables = [table for table in writer.copy.tables if table.table.name != "frequency"]
    with caplog.at_level(logging.ERROR):
        two = writer.write()
    assert len(writer.chain(two)) == 1
    assert ("writing all tables whole" in caplog.text) == (how != "other")
    if how != "other":
        assert writer.digest(two) == writer.digests[two]


FILES = ("base", "older rows", "rows", ARRAYS, VALUES, MANIFEST)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["torn", "emptied", "lost", "flipped"])
def test_the_newest_one_that_is_whole_is_used(writer, caplog, file, how):
    """Whatever is damaged: a file of its own costs one checkpoint, a shared one all that share it, never more."""
    writer.store.write(*writer.learner.state_dict(), **ABOUT)  # one that shares nothing
    names = [writer.write() for _ in range(3)]
    files = dict(zip(FILES[:3], writer.chain(names[-1]), strict=True))
    path = writer.store.folder / names[-1] / files.get(file, file)
    blob = path.read_bytes()
    at = len(blob) // 2
    if how == "lost":
        path.unlink()
    else:
        flipped = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        path.write_bytes({"torn": blob[:-1], "emptied": b"", "flipped": flipped}[how])
    shared = {"base": 3, "older rows": 2}.get(file, 1) if how != "lost" else 1
    expected = ["checkpoint-00000001", *names][-1 - shared]
    with caplog.at_level(logging.ERROR):
        found = writer.store.newest()
    assert found is not None
    assert found.name == expected
    assert sum(record.name.startswith("hsnn.") for record in caplog.records) == shared
    assert caplog.text.count("going back to the one before") == shared
    assert len(find_damage(writer.store, names[-1])) == 1
    with pytest.raises(CheckpointError):
        writer.store.read(names[-1])


@pytest.mark.slow
def test_one_with_other_tables_is_kept_beside_those_that_share_theirs(writer, monkeypatch):
    monkeypatch.setattr(incremental, "_MAX_DELTAS", 5)
    names = [writer.write() for _ in range(11)]
    bases = {name: writer.chain(name)[0] for name in writer.store.names()}
    assert writer.store.names() == [names[5], *names[8:]]
    assert bases[names[5]] != bases[names[8]]
    more = [writer.write(), writer.write()]  # the last one has tables of its own
    assert writer.store.names() == [names[10], *more]


@pytest.mark.slow
def test_facts_of_a_table_are_those_of_the_whole(writer):
    writer.write()
    name = writer.write(batches=3)
    arrays = writer.store.read(name).arrays
    found = {one.name: one for one in array_facts(writer.store, name)}
    assert found.keys() == arrays.keys()
    for own, array in arrays.items():
        assert (found[own].shape, found[own].bytes) == (array.shape, array.nbytes), own
