"""Export of a checkpoint's model weights: one safetensors file, with arrays named as in a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from safetensors.numpy import save

from hsnn.trainer.checkpoint.store import Checkpoint
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.rowstore.arrays import Array

# Begins the names of the dense weights in a checkpoint.
_DENSE = "network.monn."

# Embedding tables in a checkpoint, and their names in the export.
_TABLES = {"network.content.weight": "content", "network.features.weight": "features"}


def weights_of(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Select the model's weights from a checkpoint's arrays, named as by `hsnn.trainer.optim.network.Network`.

    Embeddings of single items are left out: they belong to rows, which mean nothing without the id table.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.zeros(1)
    >>> sorted(weights_of({"network.monn.a.b": one, "network.features.weight": one, "network.adam.0.step": one}))
    ['a.b', 'features']
    """
    dense = {name.removeprefix(_DENSE): array for name, array in arrays.items() if name.startswith(_DENSE)}
    return dense | {short: arrays[name] for name, short in _TABLES.items() if name in arrays}


def export(checkpoint: Checkpoint, file: Path) -> dict[str, Array]:
    """Write the weights to a new file, with metadata that identifies the checkpoint; return them.

    Raises
    ------
    CheckpointError
        The file exists, or cannot be written.
    """
    weights, manifest = weights_of(checkpoint.arrays), checkpoint.manifest
    about = {
        "checkpoint": checkpoint.name,
        "events": str(manifest.events),
        "watermark": str(manifest.watermark),
        "config_digest": manifest.config_digest,
        "model": msgspec.json.encode(manifest.model).decode(),
    }
    blob = save(weights, about)
    try:
        with file.open("xb") as opened:
            opened.write(blob)
    except FileExistsError as error:
        raise CheckpointError(f"{file} exists already; name another file or remove it first") from error
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        raise CheckpointError(f"cannot write {file}: {error.strerror}") from error
    return weights
