import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from hsnn.indexer.admin.export import FORMATS, read_export, write_export
from hsnn.indexer.errors import ExportError, VersionNotFoundError


@pytest.fixture
def version(leader, store, toy, follow) -> dict[str, int]:
    """Version 1 with deltas: an item more, one less, one moved; item -> node."""
    leader.publish(toy.snapshot(), "test")
    toy.put("Ünï", 2)
    toy.delete("i0")
    toy.put("i3", 1)
    follow(leader)
    return store.item_nodes(1)


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_exported_is_what_readers_see(store, version, tmp_path, ending) -> None:
    file = tmp_path / f"index{ending}"
    written = write_export(store, 1, file)
    found, manifest = read_export(file)
    assert manifest == written
    assert dict(zip(found.ids, found.nodes.tolist(), strict=True)) == version
    assert found.ids[-1] == "Ünï"
    base, deltas = store.load_version(1), {delta.item: delta.vector for _, delta in store.read_deltas(1)}
    for name, vector in zip(found.ids, found.vectors, strict=True):
        row = base.snapshot.item_ids.index(name) if name not in deltas else None
        assert np.array_equal(vector, deltas[name] if row is None else base.index.vectors[row])
    chosen = [base.snapshot.item_ids[row] for row in base.index.representatives]
    for node, place in enumerate(found.representatives):
        assert place == (found.ids.index(chosen[node]) if chosen[node] in found.ids else -1)
    assert (manifest.items, manifest.version, manifest.last_delta) == (8, store.manifest(1), store.last_delta_id(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"index{ending}", f"index{ending}.json"]


def test_numpy_alone_reads_it_without_pickle(store, version, tmp_path) -> None:
    write_export(store, 1, tmp_path / "index.npz")
    with np.load(tmp_path / "index.npz", allow_pickle=False) as found:
        ends, text = found["id_ends"], found["ids"].tobytes()
        ids = [text[start:end].decode() for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        assert dict(zip(ids, found["nodes"].tolist(), strict=True)) == version
        assert (found["vectors"].shape, found["vectors"].dtype) == ((8, 3), np.float32)
        shapes = {name: [str(array.dtype), list(array.shape)] for name, array in found.items()}
    manifest = json.loads((tmp_path / "index.npz.json").read_text())
    assert manifest["arrays"] == shapes
    write_export(store, 1, tmp_path / "index.safetensors")
    assert set(load_file(tmp_path / "index.safetensors")) == set(shapes)


def test_an_index_without_items_can_be_exported(leader, store, toy, tmp_path) -> None:
    toy.pass_time(5000)
    leader.publish(toy.snapshot(), "test")
    write_export(store, 1, tmp_path / "none.npz")
    found, _ = read_export(tmp_path / "none.npz")
    assert (found.ids, found.vectors.shape) == ([], (0, 3))


def test_what_cannot_be_written_or_read_is_said(store, version, tmp_path) -> None:
    with pytest.raises(ExportError, match=r"must end with \.npz or \.safetensors"):
        write_export(store, 1, tmp_path / "index.pickle")
    with pytest.raises(ExportError, match="name a folder that exists"):
        write_export(store, 1, tmp_path / "no" / "index.npz")
    with pytest.raises(VersionNotFoundError):
        write_export(store, 9, tmp_path / "index.npz")
    file = tmp_path / "index.npz"
    write_export(store, 1, file)
    with pytest.raises(ExportError, match="exists already"):
        write_export(store, 1, file)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ExportError, match=r"not what index\.npz\.json describes"):
        read_export(file)
    with pytest.raises(ExportError, match="cannot be read as an export"):
        read_export(tmp_path / "other.npz")
