"""Index over brought vectors: learned levels, beam search, and exact dot products of the items that it finds.

The score of an item is the dot product of its vector and the user's. A level has its own user vectors, linear in the
brought one (`NodeUsers`), its own node vectors, and a log share per node: the MoNN of a level whose features are the
vectors of somebody else's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.errors import VectorFileError
from hsnn.trainer.index.levels import Levels, level_log_shares
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.rowstore.arrays import Array

FORMAT = "hsnn vector index 1"
"""Name and version of the file format."""

# Requests whose node scores are computed at once: enough for full matrix products, little memory.
_AT_ONCE = 256
# Deviation of the heads' start from the identity, relative to it: heads must differ, or they learn the same.
_SPREAD = 0.1


class NodeUsers(nn.Module):
    """User vectors of every level, linear in the brought ones; every head starts near the identity."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(config.dim, heads * config.dim, bias=False) for heads in config.level_heads)
        for layer in self.maps.parameters():
            nn.init.normal_(layer, std=_SPREAD * config.dim**-0.5)
            layer.data += torch.eye(config.dim).repeat(len(layer) // config.dim, 1)

    def forward(self, users: Tensor) -> tuple[Tensor, ...]:
        """Map users (B, d) to the users of every level, (B, m_l*d)."""
        return tuple(layer(users) for layer in self.maps)


class Answers(NamedTuple):
    """Answers of `VectorIndex.search` to B requests.

    Attributes
    ----------
    items : (B, k) int64
        Item rows, best first; -1 where fewer were found.
    scores : (B, k) float32
        Their dot products; -inf where there is no item.
    scored : (B,) int64
        Dot products of items that were computed.
    nodes : int
        Nodes scored per request.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    scored: NDArray[np.int64]
    nodes: int


class LevelMaps(NamedTuple):
    """Linear maps from brought vectors (d) to those that the levels see (w); their dot product is a log probability.

    Attributes
    ----------
    user, item : (d, w) float32
    """

    user: NDArray[np.float32]
    item: NDArray[np.float32]


class VectorIndex:
    """Learned levels over item vectors (n, d), and the leaf of every item.

    Attributes
    ----------
    config : ModelConfig
        Shape of the levels; `beam` and `budget` are the defaults of a search.
    maps : LevelMaps
    """

    def __init__(self, config: ModelConfig, items: NDArray[np.float32], maps: LevelMaps) -> None:
        self.config, self.items, self.maps = config, items, maps
        self.levels, self.node_users = Levels(config), NodeUsers(config)
        self.leaves = InvertedLists(config.leaves)
        self.leaves.reserve(len(items))

    def points(self) -> Tensor:
        """Return the items as the levels see them, with a bias of zero, (n, w+1)."""
        return functional.pad(torch.from_numpy(self.items @ self.maps.item), (0, 1))

    def level_users(self, users: NDArray[np.float32]) -> Tensor:
        """Return users (B, d) as the levels see them, (B, w)."""
        return torch.from_numpy(users @ self.maps.user)

    @torch.no_grad()
    def assign_all(self) -> None:
        """Assign every item to its leaf, by the node vectors as they are now."""
        nodes = self.levels.hierarchy.assign(self.points())
        self.leaves.assign_all(nodes.numpy().astype(np.int32))

    def set_counts(self, counts: NDArray[np.int64]) -> None:
        """Set the traffic of the items to engagement `counts` (n,); it orders the items inside the leaves."""
        # Half an engagement more: the share of an item without any is small, not zero.
        self.leaves.set_log_mass(np.arange(len(self.items)), np.log(counts + 0.5))

    @torch.no_grad()
    def search(
        self,
        users: NDArray[np.float32],
        k: int,
        *,
        beam: int | None = None,
        budget: int | None = None,
        exclude: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None,
    ) -> Answers:
        """Find the `k` best items for users (B, d): at most `budget` items of the `beam` best leaves are scored.

        Parameters
        ----------
        exclude
            Items that each user must not get, as the `indptr` (B+1,) and `indices` of a sparse matrix in CSR form.
        """
        beam, budget = beam or self.config.beam, budget or self.config.budget
        found = np.full((len(users), k), -1, np.int64)
        scores = np.full((len(users), k), -np.inf, np.float32)
        scored, nodes = np.zeros(len(users), np.int64), 0
        barred = np.zeros(len(self.items), np.bool_)
        shares = level_log_shares(torch.from_numpy(self.leaves.node_log_share()), self.config.levels)
        for start in range(0, len(users), _AT_ONCE):
            part = self.node_users(self.level_users(users[start : start + _AT_ONCE]))
            log_p, nodes = self.levels.beam_log_probs(part, shares, beam)
            for number, logits in enumerate(log_p.numpy(), start):
                own = exclude[1][exclude[0][number] : exclude[0][number + 1]] if exclude else np.zeros(0, np.int64)
                barred[own] = True
                rows = self.leaves.candidates(logits, beam, budget, lambda rows: ~barred[rows]).rows
                barred[own] = False
                products = self.items[rows] @ users[number]
                best = np.argsort(-products, kind="stable")[:k]
                found[number, : len(best)], scores[number, : len(best)] = rows[best], products[best]
                scored[number] = len(rows)
        return Answers(found, scores, scored, nodes)

    def save(self, file: Path, about: Mapping[str, str] | None = None) -> None:
        """Write the index to a new safetensors file, with its shape and `about` as metadata.

        Besides what `load` needs it holds the sum of codes per level, ``nodes.0`` and finer, for other programs.

        Raises
        ------
        VectorFileError
            The file exists, or cannot be written.
        """
        n = len(self.items)
        arrays: dict[str, Array] = {"items": self.items, "item_leaf": self.leaves.node_of[:n]}
        arrays |= {"item_log_mass": self.leaves.log_mass[:n], "map_user": self.maps.user, "map_item": self.maps.item}
        for name, module in (("levels", self.levels), ("node_users", self.node_users)):
            arrays |= {f"{name}.{key}": value.numpy() for key, value in module.state_dict().items()}
        with torch.no_grad():
            for level in range(len(self.config.levels)):
                arrays[f"nodes.{level}"] = self.levels.node_features(level).contiguous().numpy()
        metadata = {
            **(about or {}),
            "format": FORMAT,
            "model": self.config.model_dump_json(),
        }
        blob = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
        try:
            with file.open("xb") as opened:
                opened.write(blob)
        except FileExistsError as error:
            raise VectorFileError(f"{file} exists already; name another file or remove it first") from error
        except OSError as error:
            with suppress(OSError):
                file.unlink()
            raise VectorFileError(f"{file} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, file: Path) -> VectorIndex:
        """Read an index that `save` wrote.

        Raises
        ------
        VectorFileError
            The file cannot be read, or is something else.
        """
        try:
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise VectorFileError(f"{file} is not an index of format {FORMAT!r}; make one by `hsnn index fit`")
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
        except OSError as error:
            raise VectorFileError(f"{file} cannot be read: {error.strerror or error}") from error
        except SafetensorError as error:
            raise VectorFileError(f"{file} is not a readable safetensors file ({error})") from error
        config = ModelConfig.model_validate(msgspec.json.decode(metadata["model"]))
        maps = LevelMaps(arrays["map_user"].numpy(), arrays["map_item"].numpy())
        index = cls(config, arrays["items"].numpy(), maps)
        for name, module in (("levels", index.levels), ("node_users", index.node_users)):
            prefix = f"{name}."
            module.load_state_dict(
                {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            )
        index.leaves.assign_all(arrays["item_leaf"].numpy())
        index.leaves.set_log_mass(np.arange(len(index.items)), arrays["item_log_mass"].numpy())
        return index
