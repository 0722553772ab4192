"""Fitting of learned levels to brought vectors: the trainer's objective, several passes over training engagements.

Items stay as they were brought; what is learned is where they lie and which nodes a user's items are in. A step draws
the trainer's candidates (items of the batch, and uniform ones) and sums the losses of the levels
(`hsnn.trainer.index.objective`) with their distillation: the brought model's softmax over the candidates is the teacher
of the leaves. As a search leaves out what a user was trained with, the teacher does, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.distributed.shard import StepTotals
from hsnn.trainer.index import maintenance
from hsnn.trainer.index.batch import IndexBatch, IndexOutput
from hsnn.trainer.index.objective import IndexObjective, distillation_loss, node_log_loss
from hsnn.trainer.index.test_time_training import select_test_time_pairs
from hsnn.trainer.vector_index.exhaustive import csr_of_pairs, csr_rows
from hsnn.trainer.vector_index.index import LevelMaps, VectorIndex

Report = Callable[[int, int, float], None]
"""Called after a step with the steps done, their number, and the loss."""

# Root mean square of the items' numbers in front of the levels: that of learned vectors, which learning rates suit.
_SIZE = 0.2
# Factors on dot products among which the likelihood of the pairs chooses, relative to a deviation of 1 per user.
_TEMPERATURES = np.geomspace(0.25, 16, 13)
# Pairs and uniform items by which that factor is chosen: enough for two digits.
_SAMPLE = 512
# Between refits the task loss alone moves the nodes: the few items of a leaf in one batch have no useful mean.
_INDEX = IndexConfig(follow=0.0)
# Leaves that a budget is spent on: enough that what the last one holds makes no difference.
_LEAVES_PER_BUDGET = 40
# Items per leaf between which that many are made: fewer leaves the nodes more work than the items.
_PER_LEAF = (5, 20)
# Leaves at most: k-means over a million items takes minutes. All are one level, whatever their number, since in two a
# leaf is the sum of two nodes: on Gowalla 64 x 64 of these keep 90% of the recall, and 512 of one level 98%.
_MOST_LEAVES = 4096
# Leaves opened, as a multiple of the square root of their number.
_BEAM = 4
# Share of the largest principal variance of the users below which a direction counts as empty: rounding of float32.
_FLAT = 1e-10
# Logit of an item that the teacher leaves out: its probability is zero, and its product with a log finite.
_LEFT_OUT = -1e4


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Shape of the levels and length of the fit.

    Attributes
    ----------
    nodes, children, heads
        As `nodes`, `children` and `node_heads` of `hsnn.trainer.config.model.ModelConfig`.
    beam, budget
        Leaves opened and items scored per request, unless a search says otherwise.
    width : int
        Numbers that the levels see of a vector: principal directions of the dot products; at most as many as it has.
    passes : int
        Over the users, in training: of Gowalla's exhaustive recall eight keep 99.5%, one 99.3%.
    batch, uniform : int
        Pairs per step, one of a user; candidates drawn uniformly besides their items.
    rate, user_rate : float
        Adam rates of the node vectors and of the users' maps at the start; both fall to zero by a half cosine.
    refits : int
        Runs of k-means over the items, spread over the first half of the fit.
    index : IndexConfig
        Learner and weights of the losses.
    seed : int
    """

    nodes: int
    children: tuple[int, ...] = ()
    heads: int = 2
    beam: int = 64
    budget: int = 200
    width: int = 512
    passes: int = 8
    batch: int = 1024
    uniform: int = 2048
    rate: float = 3e-3
    user_rate: float = 5e-4
    refits: int = 0
    index: IndexConfig = _INDEX
    seed: int = 0

    @classmethod
    def for_items(cls, items: int, share: float, seed: int = 0) -> FitSettings:
        """Return one level for so many items, five to twenty to a leaf; at most a `share` of them is scored.

        Examples
        --------
        >>> settings = FitSettings.for_items(40_981, 0.02)
        >>> settings.nodes, settings.children, settings.beam, settings.budget
        (2049, (), 181, 819)
        >>> FitSettings.for_items(1_000_000, 0.02).nodes
        4096
        """
        budget, (least, most) = max(1, int(share * items)), _PER_LEAF
        per_leaf = min(max(budget / _LEAVES_PER_BUDGET, least), most)
        leaves = min(max(2, round(items / per_leaf)), _MOST_LEAVES)
        return cls(nodes=leaves, beam=round(_BEAM * leaves**0.5), budget=budget, seed=seed)


class IndexFit:
    """A fit in progress.

    Parameters
    ----------
    users : (U, d)
    items : (n, d)
    pairs : (m, 2)
        Training engagements: user row, item row; one that comes twice counts once.

    Attributes
    ----------
    index : VectorIndex
        What has been learned so far.
    """

    def __init__(
        self, users: NDArray[np.float32], items: NDArray[np.float32], pairs: NDArray[np.int64], settings: FitSettings
    ) -> None:
        self._settings, self._users = settings, users
        self._rng = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        pairs = np.unique(pairs, axis=0)
        self._starts, self._engaged = csr_of_pairs(pairs, len(users))
        self._active = np.flatnonzero(np.diff(self._starts))
        model = ModelConfig(
            dim=min(settings.width, items.shape[1]),
            nodes=settings.nodes,
            children=settings.children,
            node_heads=settings.heads,
            beam=settings.beam,
            budget=settings.budget,
        )
        config = TrainerConfig(model=model, index=settings.index, seed=settings.seed)
        maps = principal_maps(users, items, model.dim)
        self._temperature = self._find_temperature(items, pairs)
        maps = maps._replace(user=self._temperature * maps.user)
        self.index = VectorIndex(model, items, maps)
        self._objective = IndexObjective(config)
        self._points, self._level_users = self.index.points(), self.index.level_users(users)
        self._counts = np.bincount(pairs[:, 1], minlength=len(items))
        self.index.set_counts(self._counts)
        self._seed_nodes()
        self._optimizer = self._new_optimizer()
        self.steps = 0

    @property
    def steps_per_pass(self) -> int:
        """Steps in which every user with a pair comes once."""
        return -(-len(self._active) // self._settings.batch)

    def train(self, report: Report | None = None) -> VectorIndex:
        """Run all passes and return the index."""
        settings = self._settings
        total = settings.passes * self.steps_per_pass
        refits = {total // 2 * number // (settings.refits + 1) for number in range(1, settings.refits + 1)}
        for step, users in enumerate(self._batches(settings.passes)):
            if step in refits:
                self._refit()
            self._set_rates(0.5 + 0.5 * np.cos(np.pi * step / total))
            loss = self._step(users)
            if report is not None:
                report(step + 1, total, loss)
        self.index.assign_all()
        return self.index

    def extra_steps(self, passes: int, *, test_time: bool, rate: float) -> None:
        """Take extra steps on the levels' log loss: on test-time pairs (HILL), or as many ordinary ones.

        Parameters
        ----------
        rate
            Share of the rates of the start.
        """
        self._optimizer = self._new_optimizer()
        self._set_rates(rate)
        model, index = self.index.config, self._settings.index
        for users in self._batches(passes):
            view, rows = self._draw(users)
            mask = None
            if test_time:
                history, items = self._history(users), rows[view.batch.targets.numpy()]
                mask = select_test_time_pairs(
                    view=view, config=index, beam=model.beam, leaves=self.index.leaves, history=history, items=items
                )
                if not any(level.any() for level in mask):
                    continue
            self._apply(node_log_loss(view, mask))
        self.index.assign_all()

    def _batches(self, passes: int) -> list[NDArray[np.int64]]:
        size = self._settings.batch
        shuffled = (self._rng.permutation(self._active) for _ in range(passes))
        return [users[start : start + size] for users in shuffled for start in range(0, len(users), size)]

    def _draw(self, users: NDArray[np.int64]) -> tuple[IndexOutput, NDArray[np.int64]]:
        """Draw one engagement of each of some users (B,) and score the levels; also return the candidates (C,)."""
        starts, stops = self._starts[users], self._starts[users + 1]
        items = self._engaged[self._rng.integers(starts, stops)]
        drawn = self._rng.integers(len(self._counts), size=self._settings.uniform)
        rows = np.unique(np.concatenate([items, drawn]))
        # An item's expected count: one engagement of each user is drawn, all of them equally often.
        expected = len(users) * self._counts[rows] / self._counts.sum() + len(drawn) / len(self._counts)
        batch = IndexBatch(
            base=self._points[torch.from_numpy(rows)],
            users=self.index.node_users(self._level_users[torch.from_numpy(users)]),
            targets=torch.from_numpy(np.searchsorted(rows, items)),
            weight=torch.ones(len(users)),
            log_q=torch.from_numpy(np.log(expected).astype(np.float32)),
            uniform=np.searchsorted(rows, np.unique(drawn)),
            leaf_log_share=torch.from_numpy(self.index.leaves.node_log_share()),
            events=self.steps * self._settings.batch,
            totals=StepTotals(torch.tensor(float(len(users))), torch.tensor(float(len(users))), len(users)),
        )
        return self._objective.forward(self.index.levels, batch), rows

    def _step(self, users: NDArray[np.int64]) -> float:
        """Do a step on one engagement of each of some users (B,); return its loss."""
        view, rows = self._draw(users)
        loss = self._objective.loss(view)
        if weight := self._settings.index.distillation:
            share = torch.from_numpy(self.index.leaves.log_share_within(rows, view.leaves))
            loss = loss + weight * distillation_loss(view, self._teacher(users, rows), share)
        self._apply(loss)
        with torch.no_grad():
            self._objective.after_step(view)
        return float(loss.detach())

    def _apply(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.steps += 1

    def _teacher(self, users: NDArray[np.int64], rows: NDArray[np.int64]) -> Tensor:
        """Compute the brought model's logits of candidates `rows` (C,), those of a user's own items low, (B, C)."""
        logits = torch.from_numpy(self._users[users] @ (self._temperature * self.index.items[rows]).T)
        bounds, own = csr_rows((self._starts, self._engaged), users)
        owner = np.repeat(np.arange(len(users)), np.diff(bounds))
        column = np.minimum(np.searchsorted(rows, own), len(rows) - 1)
        there = rows[column] == own
        logits[torch.from_numpy(owner[there]), torch.from_numpy(column[there])] = _LEFT_OUT
        return logits

    def _history(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items of users (B,), as rows (B, L) padded with -1."""
        counts = self._starts[users + 1] - self._starts[users]
        columns = np.arange(counts.max())
        places = np.minimum(self._starts[users][:, None] + columns, len(self._engaged) - 1)
        return np.where(columns < counts[:, None], self._engaged[places], -1)

    def _find_temperature(self, items: NDArray[np.float32], pairs: NDArray[np.int64]) -> np.float32:
        """Find the factor on dot products under which a softmax over items gives the pairs the largest likelihood."""
        chosen = pairs[self._rng.integers(len(pairs), size=_SAMPLE)]
        others = self._rng.integers(len(items), size=_SAMPLE)
        users = self._users[chosen[:, 0]]
        logits = users @ items[others].T
        wanted = (users * items[chosen[:, 1]]).sum(1)
        unit = 1 / max(float(logits.std(1).mean()), 1e-12)
        losses = []
        for factor in _TEMPERATURES * unit:
            normaliser = torch.logsumexp(torch.from_numpy(factor * logits), 1).numpy() + np.log(len(items) / _SAMPLE)
            # The item itself counts among the others, else a large factor could make a probability exceed 1.
            losses.append(float((np.logaddexp(normaliser, factor * wanted) - factor * wanted).mean()))
        return np.float32(_TEMPERATURES[int(np.argmin(losses))] * unit)

    @torch.no_grad()
    def _seed_nodes(self) -> None:
        learner, hierarchy = self._objective.learner, self.index.levels.hierarchy
        everybody = self._level_users
        learner.update_user_statistics(learner.user_statistics(everybody, len(everybody)))
        learner.update_metric(hierarchy)
        maintenance.seed(hierarchy, self._points, self._rng)
        self._refit()

    def _refit(self) -> None:
        even = self._objective.learner.splits_overfull_nodes
        maintenance.refit(self.index.levels.hierarchy, self._points, even=even)
        self.index.assign_all()

    def _new_optimizer(self) -> torch.optim.Adam:
        moves = self._objective.learner.task_loss_moves_nodes
        codes = list(self.index.levels.hierarchy.codes.parameters())
        for code in codes:
            code.requires_grad_(moves)
        self.index.levels.hierarchy.head.requires_grad_(self._objective.learner.learns_head)
        others = [*self.index.levels.over_archs.parameters(), self.index.levels.ensemble]
        groups = [
            {"params": codes, "lr": self._settings.rate, "base": self._settings.rate},
            {"params": others, "lr": self._settings.rate, "base": self._settings.rate},
            {
                "params": list(self.index.node_users.parameters()),
                "lr": self._settings.user_rate,
                "base": self._settings.user_rate,
            },
        ]
        return torch.optim.Adam(groups, fused=True)

    def _set_rates(self, share: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["base"]


def principal_maps(users: NDArray[np.float32], items: NDArray[np.float32], width: int) -> LevelMaps:
    """Find the maps to `width` numbers that keep most of the dot products of users (U, d) and items (n, d).

    They are those of the truncated singular value decomposition of the score matrix. Items get a size that learning
    rates suit, and users its inverse.

    Examples
    --------
    >>> users, items = np.float32([[3, 0, 1], [0, 2, -1], [1, 1, 0]]), np.float32([[1, 0, 0], [1, 1, 0]])
    >>> maps = principal_maps(users, items, 2)  # the scores have rank 2
    >>> np.allclose((users @ maps.user) @ (items @ maps.item).T, users @ items.T, atol=1e-5)
    True
    """
    squares, turn = np.linalg.eigh((users.T @ users).astype(np.float64) / len(users))
    kept = squares > _FLAT * max(squares.max(), 1e-300)
    root = turn[:, kept] * np.sqrt(squares[kept])  # (d, r): moment of the users = root root'
    seen = items.astype(np.float64) @ root  # (n, r)
    strength, directions = np.linalg.eigh(seen.T @ seen)
    best = directions[:, np.argsort(-strength, kind="stable")[:width]]  # (r, w)
    best = np.pad(best, ((0, 0), (0, width - best.shape[1])))
    item, user = root @ best, (turn[:, kept] / np.sqrt(squares[kept])) @ best
    size = _SIZE / max(float(np.sqrt(np.square(items @ item).mean())), 1e-12)
    return LevelMaps((user / size).astype(np.float32), (item * size).astype(np.float32))
