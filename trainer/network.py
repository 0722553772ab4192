"""Weights, optimisers and the gradient step: item level and node level trained jointly.

JOIM, HSNN (arXiv 2408.06653) §4: one supervised loss per level, summed; gradients reach the node vectors through the
straight-through assignment. What differs, because it measured better: the index sees detached item vectors through a
head of its own, and balance is OneShot's KL with running hard statistics (2607.27475).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.arrays import Array
from trainer.config import TrainerConfig
from trainer.embedding import EmbeddingTable
from trainer.model import Monn, Users, sampled_softmax
from trainer.node_objective import NodeLevel, NodeObjective
from trainer.node_seeding import revive, seed_nodes
from trainer.queries import Queries, inputs

_CONTENT_SCALE = 0.1


class Candidates(NamedTuple):
    """The distinct items a batch is scored against.

    Attributes
    ----------
    rows : (U,) int64
    tokens : (rows of the catalogue, T) int32
        Content tokens of every row.
    states : (U, F) float32
    log_q : (U,) float32
    targets : (B,) int64
        Index of each event's item among `rows`.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int32]
    states: NDArray[np.float32]
    log_q: NDArray[np.float32]
    targets: NDArray[np.int64]


class Losses(NamedTuple):
    """Losses of one step and the nodes (U,) its candidates were assigned to (None before the nodes are seeded)."""

    item: float
    node: float
    nodes: NDArray[np.int64] | None

    @property
    def finite(self) -> bool:
        """Whether the step was made; a loss that is not finite would spoil every weight it reaches."""
        return math.isfinite(self.item) and math.isfinite(self.node)


class _Vectors(NamedTuple):
    """Static vectors (n, d+1) of some items, the leaves they were made of, and the content rows of the second leaf."""

    vectors: Tensor
    ids: Tensor
    content: Tensor
    content_rows: NDArray[np.int64]


class Network:
    """All weights with their optimisers.

    Attributes
    ----------
    monn : Monn
    items : EmbeddingTable
        Id embeddings (rows, d+1), zero at first: an unseen item is what its content says.
    content : EmbeddingTable
        Content embeddings (buckets, d+1).
    objective : NodeObjective
        Of the learned level.
    seeded : bool
        Whether the node vectors have been taken from items.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        model = config.model
        torch.manual_seed(config.seed)
        self.monn = Monn(model)
        self.items = EmbeddingTable(1024, model.dim + 1)
        self.content = EmbeddingTable(model.buckets, model.dim + 1, _CONTENT_SCALE, config.seed)
        self.content.weight[:, -1] = 0
        self.objective = NodeObjective(config)
        self.seeded = False
        index = list(self.monn.index.parameters())
        others = [weight for name, weight in self.monn.named_parameters() if not name.startswith("index.")]
        groups = [{"params": others, "lr": config.dense_rate}, {"params": index, "lr": config.node_rate}]
        self.optimiser = torch.optim.Adam(groups, foreach=True)

    def seed(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], rng: np.random.Generator) -> None:
        """Take the node vectors from the items `rows`."""
        with torch.no_grad():
            points = self._projected(rows, tokens).numpy()
            self.monn.index.nodes.copy_(torch.from_numpy(seed_nodes(points, self._config.model.nodes, rng)))
        self.seeded = True

    def revive_nodes(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], rng: np.random.Generator) -> int:
        """Move nodes that hold next to nothing onto items of the fullest ones; return how many."""
        with torch.no_grad():
            points = self._projected(rows, tokens)
            nearest = self.monn.index.distances(points).argmin(1).numpy()
            return len(revive(self.monn.index.nodes.numpy(), self.objective.usage, points.numpy(), nearest, rng))

    def step(
        self,
        queries: Queries,
        candidates: Candidates,
        weights: NDArray[np.float32],
        uniform: NDArray[np.int64],
        node_log_share: NDArray[np.float32],
    ) -> Losses:
        """Learn from one batch; `uniform` are the indices among the candidates that were drawn uniformly."""
        known = queries.history_items >= 0
        count = len(candidates.rows)
        rows, inverse = np.unique(np.concatenate([candidates.rows, queries.history_items[known]]), return_inverse=True)
        taken = self._vectors(rows, candidates.tokens[rows], train=True)
        of_candidates = taken.vectors[torch.from_numpy(inverse[:count])]  # (U, d+1)
        users = self.monn.users(inputs(queries, _history(taken.vectors, known, inverse[count:])))
        weight, targets = torch.from_numpy(weights), torch.from_numpy(candidates.targets)

        level = self._node_level(users, of_candidates, targets, weight, uniform, torch.from_numpy(node_log_share))
        node_loss, node_logits = level[:2] if level else (torch.zeros(()), torch.zeros(len(targets), count))
        logits = self.monn.item_logits(users, of_candidates, torch.from_numpy(candidates.states), node_logits)
        item_loss = sampled_softmax(logits, torch.from_numpy(candidates.log_q), targets, weight)
        losses = Losses(float(item_loss.detach()), float(node_loss.detach()), level and level.nodes)
        if losses.finite:
            self._descend(item_loss + node_loss, rows, taken)
            if level:
                self.objective.follow(self.monn, level)
        return losses

    def _node_level(
        self, users: Users, vectors: Tensor, targets: Tensor, weight: Tensor, uniform: NDArray[np.int64], share: Tensor
    ) -> NodeLevel | None:
        """Return what the learned level says; nothing before it is seeded."""
        if not self.seeded:
            return None
        return self.objective(self.monn, users, vectors, targets, weight, uniform, share)

    def _descend(self, loss: Tensor, rows: NDArray[np.int64], taken: _Vectors) -> None:
        """One step of Adam on the dense weights and of row-wise Adagrad on the rows that were taken."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.items.give(rows, taken.ids, self._config.embedding_rate)
        self.content.give(taken.content_rows, taken.content, self._config.embedding_rate)

    def weights(self) -> dict[str, Array]:
        """Copy the weights a snapshot carries: the model's own and ``content``."""
        arrays: dict[str, Array] = {name: weight.numpy().copy() for name, weight in self.monn.state_dict().items()}
        return arrays | {"content": self.content.weight.copy()}

    def state(self) -> dict[str, Array]:
        """Everything the next step depends on, as arrays."""
        arrays: dict[str, Array] = {f"monn.{name}": weight.numpy() for name, weight in self.monn.state_dict().items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            arrays |= {f"adam.{index}.{slot}": np.asarray(value) for slot, value in slots.items()}
        for name, table in (("items", self.items), ("content", self.content)):
            arrays |= {f"{name}.weight": table.weight, f"{name}.accumulator": table.accumulator}
        return arrays | {"usage": self.objective.usage, "seeded": np.array(self.seeded)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned."""
        own = self.monn.state_dict()
        self.monn.load_state_dict({name: torch.from_numpy(arrays[f"monn.{name}"].copy()) for name in own})
        slots: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            if name.startswith("adam."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = torch.from_numpy(np.array(array))
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        for prefix, table in (("items", self.items), ("content", self.content)):
            table.weight, table.accumulator = arrays[f"{prefix}.weight"].copy(), arrays[f"{prefix}.accumulator"].copy()
        self.objective.usage, self.seeded = arrays["usage"].copy(), bool(arrays["seeded"])

    def _projected(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> Tensor:
        """Items `rows` (n,) in the index's own space (n, d)."""
        return self.monn.index.project(self._vectors(rows, tokens[rows], train=False).vectors[:, :-1])

    def _vectors(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], *, train: bool) -> _Vectors:
        """Make the static vectors of unique `rows` (n,), whose content tokens are (n, T)."""
        holder, _ = present = np.nonzero(tokens >= 0)
        used, inverse = np.unique(tokens[present], return_inverse=True)
        content_rows: NDArray[np.int64] = used.astype(np.int64)
        ids, content = self.items.take(rows), self.content.take(content_rows)
        if not train:
            ids, content = ids.detach(), content.detach()
        added = content[torch.from_numpy(inverse)]
        return _Vectors(ids.index_add(0, torch.from_numpy(holder), added), ids, content, content_rows)


def _history(vectors: Tensor, known: NDArray[np.bool_], rows: NDArray[np.int64]) -> Tensor:
    """History vectors (B, L, d), zero where nothing is known; `rows` index `vectors` for the known places."""
    history = torch.zeros(*known.shape, vectors.shape[1] - 1)
    return history.index_put((torch.from_numpy(known),), vectors[torch.from_numpy(rows), :-1])
