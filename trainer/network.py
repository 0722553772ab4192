"""Weights, optimisers and the gradient step: item level and learned levels trained jointly.

JOIM, HSNN (arXiv 2408.06653) §4: one supervised loss per level, summed, one gradient step. Which gradients reach items
and nodes is the index learner's matter (`trainer.index.learner`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.arrays import Array
from trainer.config import TrainerConfig
from trainer.embedding import EmbeddingTable
from trainer.index import upkeep
from trainer.index.hierarchy import index_part
from trainer.index.objective import IndexObjective, distillation, interaction_error, surprise
from trainer.index.stabilisers import warm_up
from trainer.index.test_time import kept_pairs
from trainer.index.view import IndexStep, IndexView
from trainer.inputs import Inputs, inputs
from trainer.item_rows import ItemRows
from trainer.leaves import Leaves
from trainer.model import Monn, Users, sampled_softmax_losses, weighted_mean
from trainer.places import Places, distinct_rows
from trainer.prepared import Judged
from trainer.queries import Queries
from trainer.safe_steps import EXTRA, JUDGED, STEP, GradientGuard, gradient_norm

_FEATURE_SCALE = 0.05


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
    uniform : (n,) int64
        Indices of those among `rows` that were drawn uniformly.
    cross : (B, U, C) float32 or None
        Cross features, where the model has them.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int32]
    states: NDArray[np.float32]
    log_q: NDArray[np.float32]
    targets: NDArray[np.int64]
    uniform: NDArray[np.int64]
    cross: NDArray[np.float32] | None = None


class Losses(NamedTuple):
    """Losses of one step, and the leaves (U,) its candidates were assigned to (None before the nodes are seeded).

    `chances` (J, A) are the probabilities that were given to the labels of judged items before they were learned.
    `refused` says why the step was not made; empty if it was. A step that was refused changed nothing.
    """

    item: float
    node: float
    leaves: NDArray[np.int64] | None
    judged: float = 0.0
    chances: NDArray[np.float32] | None = None
    refused: str = ""


class Network:
    """All weights with their optimisers.

    Attributes
    ----------
    monn : Monn
    items : ItemRows
        Id and content embeddings, and the static vectors they make.
    features : EmbeddingTable
        Rows of hashed user features, then of context features (2 * buckets + 1, t); the last one stays zero.
    objective : IndexObjective
        Of the learned levels.
    guard : GradientGuard
        Refuses unsafe steps.
    seeded_at : int or None
        Events learned when the nodes were taken from items; None before.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        model = config.model
        torch.manual_seed(config.seed)
        self.monn = Monn(model)
        self.items = ItemRows(config, self.monn.item_tower)
        self.features = EmbeddingTable(2 * model.buckets + 1, model.token_dim, _FEATURE_SCALE, config.seed)
        self.features.weight[-1] = 0
        self.objective = IndexObjective(config)
        self.seeded_at: int | None = None
        self.monn.levels.hierarchy.head.requires_grad_(self.objective.learner.learns_head)
        index = list(self.monn.levels.hierarchy.parameters())
        own = {id(weight) for weight in index}
        others = [weight for weight in self.monn.parameters() if id(weight) not in own]
        groups = [{"params": others, "lr": config.dense_rate}, {"params": index, "lr": config.index.rate}]
        self.optimiser = torch.optim.Adam(groups, foreach=True)
        self.guard = GradientGuard()

    @property
    def seeded(self) -> bool:
        """Whether the nodes have been taken from items."""
        return self.seeded_at is not None

    def step(
        self,
        queries: Queries,
        candidates: Candidates,
        weights: NDArray[np.float32],
        leaves: Leaves,
        events: int,
        judged: Judged | None = None,
        fresh: int | None = None,
    ) -> Losses:
        """Learn from one batch.

        Parameters
        ----------
        queries
            Of B events.
        weights : (B,)
        leaves
            Where items are now.
        events
            Learned so far.
        judged
            Items that were shown to people, with what became of them.
        fresh
            The first so many events are new, and the item loss that is returned is theirs; None: all.
        """
        asked = [queries] if judged is None else [queries, judged.queries]
        rows, places = distinct_rows(candidates.rows, [one.history_items for one in asked], judged)
        taken = self.items.take(rows, candidates.tokens[rows])
        table, features = self._features(asked, taken.vectors, places.history)
        vectors = functional.embedding(torch.from_numpy(places.candidates), taken.vectors)  # (U, W)
        users = self.monn.users(features)
        of_events = users if judged is None else users.some(slice(0, len(weights)))
        targets, weight = torch.from_numpy(candidates.targets), torch.from_numpy(weights)
        log_q = torch.from_numpy(candidates.log_q)

        view = self._view(of_events, vectors, candidates, weight, leaves, events)
        coarse = view.coarse if view else torch.zeros(len(targets), len(vectors))
        cross = None if candidates.cross is None else torch.from_numpy(candidates.cross)
        parts = self.monn.parts(of_events, vectors, torch.from_numpy(candidates.states), coarse, cross)
        logits = self.monn.over_arch(parts)  # (B, U)
        item_losses = sampled_softmax_losses(logits, log_q, targets)  # (B,)
        item_loss = weighted_mean(item_losses, weight)
        node_loss = torch.zeros(())
        if view:
            node_loss = self.objective.loss(view) + self._taught(view, logits, parts.interaction, candidates, leaves)
        judged_loss, chances = self._judge(judged, users, taken.vectors, places, len(weights), leaves)
        new_loss = weighted_mean(item_losses[:fresh], weight[:fresh])
        losses = Losses(
            float(new_loss.detach()), float(node_loss.detach()), view.leaves if view else None,
            float(judged_loss.detach()), chances,
        )  # fmt: skip
        total = item_loss + node_loss + self._config.judgement_weight * judged_loss
        if refused := self._descend(STEP, total, [*taken.leaves, table.leaf]):
            return losses._replace(refused=refused)
        self.items.give(rows, taken, self._config.embedding_rate)
        self.features.give(table.rows, table.leaf, self._config.embedding_rate)
        self.monn.observe(of_events)
        self.objective.learner.observe(of_events.item[:, : self._config.model.dim].detach())
        if view:
            self.objective.after(view)
        return losses

    def judge_alone(
        self, judged: Judged, tokens: NDArray[np.int32], leaves: Leaves
    ) -> tuple[str, NDArray[np.float32] | None]:
        """One step on judged items alone, for a batch without lessons.

        Why it was refused (empty if it was made), and the probabilities given before.
        """
        rows, places = distinct_rows(np.zeros(0, np.int64), [judged.queries.history_items], judged)
        taken = self.items.take(rows, tokens[rows])
        table, features = self._features([judged.queries], taken.vectors, places.history)
        loss, chances = self._judge(judged, self.monn.users(features), taken.vectors, places, 0, leaves)
        refused = self._descend(JUDGED, self._config.judgement_weight * loss, [*taken.leaves, table.leaf])
        if not refused:
            self.items.give(rows, taken, self._config.embedding_rate)
            self.features.give(table.rows, table.leaf, self._config.embedding_rate)
        return refused, chances

    def more(
        self, queries: Queries, candidates: Candidates, weights: NDArray[np.float32], leaves: Leaves, events: int,
        *, test_time: bool,
    ) -> None:  # fmt: skip
        """One more step of the learned levels alone: on test-time pairs (`test_time`), or on all events as before."""
        rows, places = distinct_rows(candidates.rows, [queries.history_items], None)
        with torch.no_grad():
            vectors = self.items.vectors(rows, candidates.tokens[rows])
            _, asked = self._features([queries], vectors, places.history)
            known = self.monn.user_features(asked)
        users = self.monn.users_of(known)
        view = self._view(users, vectors[torch.from_numpy(places.candidates)], candidates, torch.from_numpy(weights),
                          leaves, events)  # fmt: skip
        if view is None:
            return
        mask = None
        if test_time:
            items = candidates.rows[candidates.targets]
            beam = self._config.model.beam
            mask = kept_pairs(view, self._config.index, beam, leaves, queries.history_items, items)
            if not any(level.any() for level in mask):
                return
        self._descend(EXTRA, surprise(view, mask), [])

    def _view(
        self, users: Users, vectors: Tensor, candidates: Candidates, weight: Tensor, leaves: Leaves, events: int
    ) -> IndexView | None:
        """Return what the learned levels say; nothing before they are seeded."""
        if self.seeded_at is None:
            return None
        step = IndexStep(
            index_part(vectors, self._config.model.dim), users.levels, torch.from_numpy(candidates.targets), weight,
            torch.from_numpy(candidates.log_q), candidates.uniform, torch.from_numpy(leaves.node_log_share()),
            events - self.seeded_at,
        )  # fmt: skip
        return self.objective.view(self.monn.levels, step)

    def _taught(
        self, view: IndexView, logits: Tensor, interaction: Tensor | None, candidates: Candidates, leaves: Leaves
    ) -> Tensor:
        """Sum what the item level teaches the learned ones."""
        config, loss = self._config.index, torch.zeros(())
        if config.distillation:
            share = torch.from_numpy(leaves.log_share_within(candidates.rows, view.leaves))
            loss = loss + config.distillation * distillation(view, logits, share)
        if config.interaction and interaction is not None:
            explained = self.monn.over_arch.explained(interaction)
            loss = loss + config.interaction * interaction_error(view, explained)
        return warm_up(config, view.step.events) * loss

    def _judge(
        self, judged: Judged | None, users: Users, vectors: Tensor, places: Places, events: int, leaves: Leaves
    ) -> tuple[Tensor, NDArray[np.float32] | None]:
        """Weighted BCE of the tasks on judged items, and the probabilities given to their labels."""
        if judged is None:
            return torch.zeros(()), None
        of_judged = users.some(slice(events, None))
        items = functional.embedding(torch.from_numpy(places.judged), vectors)
        with torch.no_grad():
            nodes = leaves.node_of[judged.items]
            log_p = self.monn.log_probs(of_judged, torch.from_numpy(leaves.node_log_share()))
            coarse = log_p.gather(1, torch.from_numpy(np.maximum(nodes, 0).astype(np.int64)).unsqueeze(1)).squeeze(1)
            coarse = torch.where(torch.from_numpy(nodes >= 0), coarse, log_p.amin(1)) * float(self.seeded)
        cross = None if judged.cross is None else torch.from_numpy(judged.cross)
        parts = self.monn.pair_parts(of_judged, items, torch.from_numpy(judged.states), coarse, cross)
        logits, labels = self.monn.task_logits(parts), torch.from_numpy(judged.labels)
        weights = torch.from_numpy(judged.task_weights)
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none") * weights
        return losses.sum(1).mean(), torch.sigmoid(logits.detach()).numpy()

    def _features(self, asked: list[Queries], vectors: Tensor, history: NDArray[np.int64]) -> tuple[_Table, Inputs]:
        """Model inputs of queries in a row; `history` (B, L) are rows of `vectors` (n, W), n for none."""
        queries = reduce(Queries.joined, asked)
        wanted = queries.feature_rows(self._config.model.buckets)
        used, inverse = np.unique(wanted, return_inverse=True)
        empty = 2 * self._config.model.buckets
        known = used[used != empty]
        leaf = self.features.take(known)
        table = torch.cat([leaf, torch.zeros(1, leaf.shape[1])])
        places = torch.from_numpy(inverse.reshape(wanted.shape).astype(np.int64))
        first = torch.cat([vectors[:, : self._config.model.dim], torch.zeros(1, self._config.model.dim)])
        vectors_of = functional.embedding(torch.from_numpy(history), first)  # (B, L, d)
        return _Table(known, leaf), inputs(queries, vectors_of, table, places)

    def _descend(self, kind: str, loss: Tensor, leaves: Sequence[Tensor]) -> str:
        """One step of Adam on the dense weights; rows, whose `leaves` collect gradients too, take theirs afterwards.

        Say why the step was refused, before anything was changed; empty if it was made.
        """
        if not math.isfinite(float(loss.detach())):
            return "its loss is not finite"
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not self.objective.learner.task_moves_nodes:
            for codes in self.monn.levels.hierarchy.codes:
                codes.grad = None
        refused = self.guard.refusal(kind, gradient_norm([*self.monn.parameters(), *leaves]))
        if not refused:
            self.optimiser.step()
        return refused

    def upkeep(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], work: str, rng: np.random.Generator) -> None:
        """Do to the hierarchy what `trainer.index.upkeep` calls `work`, looking at the items `rows`."""
        hierarchy = self.monn.levels.hierarchy
        with torch.no_grad():
            self.objective.learner.measure(hierarchy)
            vectors, points = self._points(rows, tokens)
        if work == "start":
            upkeep.start(hierarchy, points, rng)
        elif work == "refit":
            upkeep.refit(hierarchy, points, even=self.objective.learner.evens)
        elif work == "revive":
            upkeep.revive_dead(hierarchy, self.objective.usage, points, rng)
        elif work == "snap":
            upkeep.snap(hierarchy, points)
        else:
            upkeep.represent(hierarchy, points, vectors[:, :-1])

    def expect(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], states: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Score unique `rows` (n,) for the mean user: (n,); see `trainer.worth`."""
        with torch.no_grad():
            vectors = self.items.vectors(rows, tokens[rows])
            scores: NDArray[np.float32] = self.monn.expected(vectors, torch.from_numpy(states)).numpy()
        return scores

    def assign(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> NDArray[np.int32]:
        """Leaves (n,) of the items `rows` now."""
        hierarchy = self.monn.levels.hierarchy
        with torch.no_grad():
            _, points = self._points(rows, tokens)
            return hierarchy.paths(points)[-1].nodes.numpy().astype(np.int32)

    def _points(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        """Items `rows` as the index sees them, (n, d+1), and in its own space, (n, d+1)."""
        vectors = index_part(self.items.vectors(rows, tokens[rows]), self._config.model.dim)
        return vectors, self.objective.learner.project(self.monn.levels.hierarchy, vectors)

    def weights(self) -> dict[str, Array]:
        """Copy the weights a snapshot carries: the model's own, ``content`` and ``features``."""
        arrays: dict[str, Array] = {name: weight.numpy().copy() for name, weight in self.monn.state_dict().items()}
        return arrays | {"content": self.items.content.weight.copy(), "features": self.features.weight.copy()}

    def state(self) -> dict[str, Array]:
        """Everything the next step depends on, as arrays."""
        arrays: dict[str, Array] = {f"monn.{name}": weight.numpy() for name, weight in self.monn.state_dict().items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            arrays |= {f"adam.{index}.{slot}": np.asarray(value) for slot, value in slots.items()}
        for name, table in self._tables().items():
            arrays |= {f"{name}.weight": table.weight, f"{name}.accumulator": table.accumulator}
        arrays |= {f"objective.{name}": array for name, array in self.objective.state().items()}
        arrays |= {f"guard.{name}": array for name, array in self.guard.state().items()}
        return arrays | {"seeded": np.array(-1 if self.seeded_at is None else self.seeded_at)}

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
        for prefix, table in self._tables().items():
            table.weight, table.accumulator = arrays[f"{prefix}.weight"].copy(), arrays[f"{prefix}.accumulator"].copy()
        prefix = "objective."
        self.objective.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
        prefix = "guard."
        self.guard.restore({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
        seeded = int(arrays["seeded"])
        self.seeded_at = None if seeded < 0 else seeded

    def _tables(self) -> dict[str, EmbeddingTable]:
        return {"items": self.items.ids, "content": self.items.content, "features": self.features}


class _Table(NamedTuple):
    rows: NDArray[np.int64]
    leaf: Tensor
