"""All weights of the model: gradient steps, maintenance of the nodes, and state for checkpoints.

A step has three parts: `hsnn.trainer.optim.loss` computes the losses, `hsnn.trainer.optim.optimizer` computes and
applies the gradients, and running statistics (mean user, node usage, nodes that follow their items) are updated after
a step was applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.streaming.schema.commands import Rebalance
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup
from hsnn.trainer.distributed.shard import FULL_SHARD
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.index import maintenance
from hsnn.trainer.index.background_fit import BackgroundFit
from hsnn.trainer.index.hierarchy import index_vectors
from hsnn.trainer.index.maintenance import MaintenanceKind
from hsnn.trainer.index.objective import IndexObjective, node_log_loss
from hsnn.trainer.index.test_time_training import select_test_time_pairs
from hsnn.trainer.metrics import FIT_WAIT
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.optim.embedding_table import EmbeddingTable
from hsnn.trainer.optim.fingerprint import fingerprint
from hsnn.trainer.optim.gather import GatheredRows, StepTables
from hsnn.trainer.optim.gradient_guard import StepKind
from hsnn.trainer.optim.item_embeddings import ItemEmbeddings
from hsnn.trainer.optim.loss import StepLoss, StepResult
from hsnn.trainer.optim.optimizer import StepOptimizer
from hsnn.trainer.optim.step import GradientStep, StepCandidates, StepLosses
from hsnn.trainer.optim.task_loss import task_logits, task_loss
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.rowstore.arrays import Array, select_prefix

# Standard deviation of the initial feature embeddings: random, so that features differ from the first step on.
_FEATURE_SCALE = 0.05


class Network:
    """All weights of the model, with their optimizers.

    Attributes
    ----------
    monn : Monn
    items : ItemEmbeddings
        Id and content embeddings of items.
    features : EmbeddingTable
        Rows of hashed user features, then of context features (2 * buckets + 1, t); the last one stays zero.
    objective : IndexObjective
        Of the learned levels.
    seeded_at : int or None
        Events learned when the nodes were taken from items; None before.
    fit : BackgroundFit or None
        K-means over many items that is under way.
    world : ProcessGroup or None
        The workers that share every step; None for a single worker.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        model = config.model
        torch.manual_seed(config.seed)
        self.monn = Monn(model)
        self.items = ItemEmbeddings(config, self.monn.item_tower)
        self.features = EmbeddingTable(2 * model.buckets + 1, model.token_dim, _FEATURE_SCALE, config.seed)
        self.features.weight[-1] = 0
        self.objective = IndexObjective(config)
        self.seeded_at: int | None = None
        self.fit: BackgroundFit | None = None
        self.world: ProcessGroup | None = None
        self._tables = StepTables(model, self.items, self.features)
        self.compute_loss = StepLoss(config, self.monn, self.objective)
        self.optimizer = StepOptimizer(config, self.monn, self.objective.learner, self._tables)

    @property
    def seeded(self) -> bool:
        """Whether the nodes have been taken from items."""
        return self.seeded_at is not None

    def step(
        self,
        queries: QueryArrays,
        candidates: StepCandidates,
        weights: NDArray[np.float32],
        leaves: InvertedLists,
        events: int,
        judged: LabelledItems | None = None,
        fresh: int | None = None,
        least_weight: float = 0.0,
        *,
        probed: bool = True,
    ) -> StepLosses:
        """Do one gradient step on a batch, unless the guard refuses it.

        Parameters
        ----------
        queries
            Of B events.
        weights : (B,)
        leaves
            Current leaves of the items.
        events
            Number of events learned so far.
        judged
            Items that were shown to users, with their labels.
        fresh
            Number of new events, which come first; the returned item loss is theirs. None for all.
        least_weight
            Weight that the mean over the events is taken over, at least.
        probed
            Whether `StepLosses.probes` are wanted.
        """
        new = len(weights) if fresh is None else fresh
        step = GradientStep(
            queries=queries,
            candidates=candidates,
            weights=weights,
            leaves=leaves,
            since_seeded=self._since_seeded(events),
            judged=judged,
            fresh=new,
            least_weight=least_weight,
            probed=probed,
        )
        asked = [queries] if judged is None else [queries, judged.queries]
        taken = self._tables.gather(candidates.rows, candidates.tokens, asked, judged)
        outcome = self._computed(step, taken)
        losses = _losses(outcome, judged)
        if refused := self.optimizer.refusal(StepKind.BATCH, losses.finite, taken):
            return losses._replace(refused=refused)
        self.optimizer.apply(taken)
        self._update_statistics(outcome)
        return losses

    def _computed(self, step: GradientStep, taken: GatheredRows) -> StepResult:
        """Compute losses and gradients; with several workers, of this worker's shard, summed over all workers."""
        part = FULL_SHARD if self.world is None else self.world.shard(len(step.weights))
        outcome = self.compute_loss(step.part_of(part), taken.part_of(part), step.totals(part))
        self.optimizer.backward(outcome.loss)
        if self.world is not None:
            self.world.fingerprint = fingerprint(step, taken, self.world.fingerprint)
            if part.size > 1:
                self.world.all_reduce_sum([*self.optimizer.gradients(taken), *outcome.sums])
        return outcome

    def _since_seeded(self, events: int) -> int | None:
        return None if self.seeded_at is None else events - self.seeded_at

    def _update_statistics(self, outcome: StepResult) -> None:
        """Update running statistics after a step was applied; a refused one leaves no trace."""
        self.monn.update_mean_user(outcome.sums.user)
        self.objective.learner.update_user_statistics(outcome.sums.learner)
        if outcome.view:
            self.objective.after_step(outcome.view)

    def step_labelled(
        self, judged: LabelledItems, tokens: NDArray[np.int32], leaves: InvertedLists
    ) -> tuple[str, NDArray[np.float32] | None]:
        """Do one step on labelled items alone, for a batch without training events.

        Return why it was refused (empty if it was applied), and the probabilities predicted before it.
        """
        taken = self._tables.gather(np.zeros(0, np.int64), tokens, [judged.queries], judged)
        users = self.monn.encode_users(taken.inputs(self._config.model.dim))
        logits = task_logits(
            monn=self.monn, judged=judged, users=users, items=taken.judged(), leaves=leaves, seeded=self.seeded
        )
        loss = self._config.judgement_weight * task_loss(logits, judged, len(judged.items))
        self.optimizer.backward(loss)
        refused = self.optimizer.refusal(StepKind.LABELLED, bool(torch.isfinite(loss)), taken)
        if not refused:
            self.optimizer.apply(taken)
        return refused, torch.sigmoid(logits.detach()).numpy()

    def extra_step(
        self,
        queries: QueryArrays,
        candidates: StepCandidates,
        weights: NDArray[np.float32],
        leaves: InvertedLists,
        events: int,
        *,
        test_time: bool,
    ) -> None:
        """Do one more step of the learned levels alone: on test-time pairs (`test_time`), or on all events again."""
        with torch.no_grad():
            taken = self._tables.gather(candidates.rows, candidates.tokens, [queries])
            known, vectors = self.monn.user_features(taken.inputs(self._config.model.dim)), taken.candidates()
        step = GradientStep(
            queries=queries,
            candidates=candidates,
            weights=weights,
            leaves=leaves,
            since_seeded=self._since_seeded(events),
            judged=None,
            fresh=len(weights),
        )
        view = self.compute_loss.index_output(step, self.monn.encode_features(known), vectors, step.totals(FULL_SHARD))
        if view is None:
            return
        mask = None
        if test_time:
            items = candidates.rows[candidates.targets]
            beam = self._config.model.beam
            mask = select_test_time_pairs(
                view=view,
                config=self._config.index,
                beam=beam,
                leaves=leaves,
                history=queries.history_items,
                items=items,
            )
            if not any(level.any() for level in mask):
                return
        loss = node_log_loss(view, mask)
        self.optimizer.backward(loss)
        if not self.optimizer.refusal(StepKind.EXTRA, bool(torch.isfinite(loss))):
            self.optimizer.apply()

    def maintain_index(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], kind: MaintenanceKind, rng: np.random.Generator
    ) -> None:
        """Do one kind of maintenance of the hierarchy, by the items `rows` (n,)."""
        hierarchy = self.monn.levels.hierarchy
        with torch.no_grad():
            self.objective.learner.update_metric(hierarchy)
            vectors, points = self._points(rows, tokens)
        match kind:
            case MaintenanceKind.SEED:
                maintenance.seed(hierarchy, points, rng)
            case MaintenanceKind.REFIT:
                maintenance.refit(hierarchy, points, even=self.objective.learner.splits_overfull_nodes)
            case MaintenanceKind.REVIVE:
                maintenance.revive_dead(hierarchy, self.objective.usage, points, rng)
            case MaintenanceKind.SNAP:
                maintenance.snap(hierarchy, points)
            case MaintenanceKind.REPRESENT:
                maintenance.update_representatives(hierarchy, points, vectors[:, :-1])

    def begin_fit(self, rows: NDArray[np.int64], kind: MaintenanceKind, step: int) -> None:
        """Begin k-means over the items `rows` (n,) beside the steps, instead of any that is under way."""
        seed = (self._config.seed, step)
        self.fit = BackgroundFit(kind, rows, seed, even=self.objective.learner.splits_overfull_nodes)

    def advance_fit(self, tokens: NDArray[np.int32], step: int) -> MaintenanceKind | None:
        """Do what is due of the k-means under way: gather items, start it, or take its nodes; return what was taken."""
        fit, hierarchy = self.fit, self.monn.levels.hierarchy
        if fit is None or (fit.adopted_at is not None and step < fit.adopted_at):
            return None
        if fit.adopted_at is None:
            with torch.no_grad():
                fit.gather(self._points(fit.missing, tokens)[1])
                if not len(fit.missing):
                    nodes = deepcopy(hierarchy)
                    self.objective.learner.update_metric(nodes)
                    fit.start(nodes, step)
            return None
        with FIT_WAIT.time():
            fitted = fit.result()
        with torch.no_grad():
            hierarchy.metric.copy_(fitted.metric)
            for codes, renewed in zip(hierarchy.codes, fitted.codes, strict=True):
                codes.copy_(renewed)
        self.fit = None
        return fit.kind

    def rebalance(self, rows: NDArray[np.int64], tokens: NDArray[np.int32], command: Rebalance) -> int:
        """Rebalance the nodes that a command names, by the items `rows` (n,); return how many were split."""
        hierarchy = self.monn.levels.hierarchy
        self.fit = None  # its nodes would undo the command
        with torch.no_grad():
            self.objective.learner.update_metric(hierarchy)
            _, points = self._points(rows, tokens)
        return maintenance.rebalance(hierarchy, self.objective.usage, points, command)

    def set_rates(self, dense: float | None, embedding: float | None) -> None:
        """Change the learning rates; None restores the configured one."""
        self.optimizer.set_rates(dense or self._config.dense_rate, embedding or self._config.embedding_rate)

    def mean_user_scores(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], states: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Score unique `rows` (n,) for the mean user: (n,); see `hsnn.trainer.features.item_prior`."""
        with torch.no_grad():
            vectors = self.items.vectors(rows, tokens[rows])
            scores: NDArray[np.float32] = self.monn.mean_user_scores(vectors, torch.from_numpy(states)).numpy()
        return scores

    def assign(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> NDArray[np.int32]:
        """Assign the items `rows` (n,) to leaves (n,)."""
        with torch.no_grad():
            _, points = self._points(rows, tokens)
            return self.monn.levels.hierarchy.assign_projected(points).numpy().astype(np.int32)

    def node_cosines(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], nodes: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Compute the cosines (n,) of the items `rows` (n,) with the vectors of the leaves `nodes` (n,), bias aside."""
        hierarchy = self.monn.levels.hierarchy
        with torch.no_grad():
            _, points = self._points(rows, tokens)
            own = hierarchy.node_vectors(len(hierarchy) - 1)[torch.from_numpy(nodes).long()]
            cosines: NDArray[np.float32] = torch.cosine_similarity(points[:, :-1], own[:, :-1]).numpy()
        return cosines

    def _points(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        """Compute the index vectors of the items `rows`, (n, d+1), before and after projection."""
        vectors = index_vectors(self.items.vectors(rows, tokens[rows]), self._config.model.dim)
        return vectors, self.objective.learner.project(self.monn.levels.hierarchy, vectors)

    def weights(self) -> dict[str, Array]:
        """Copy the weights a snapshot carries: the model's own, ``content`` and ``features``."""
        arrays: dict[str, Array] = {name: weight.numpy().copy() for name, weight in self.monn.state_dict().items()}
        return arrays | {"content": self.items.content.weight.copy(), "features": self.features.weight.copy()}

    def full_state(self) -> dict[str, Array]:
        """Return everything that the next step depends on: `state_dict`, and the embedding tables."""
        arrays = self.state_dict()
        for name, table in self.tables.items():
            arrays |= {f"{name}.weight": table.weight, f"{name}.accumulator": table.accumulator}
        return arrays

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays in use but for the embedding tables, which are columns by row."""
        arrays: dict[str, Array] = {f"monn.{name}": weight.numpy() for name, weight in self.monn.state_dict().items()}
        arrays |= {f"adam.{name}": array for name, array in self.optimizer.state_dict().items()}
        arrays |= {f"objective.{name}": array for name, array in self.objective.state_dict().items()}
        arrays |= {f"guard.{name}": array for name, array in self.optimizer.guard.state_dict().items()}
        if self.fit is not None:
            arrays |= {f"fit.{name}": array for name, array in self.fit.state_dict().items()}
        return arrays | {"seeded": np.array(-1 if self.seeded_at is None else self.seeded_at)}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load copies of what `state_dict` returned."""
        names = self.monn.state_dict()
        self.monn.load_state_dict({name: torch.from_numpy(arrays[f"monn.{name}"].copy()) for name in names})
        self.optimizer.load_state_dict(select_prefix(arrays, "adam."))
        self.objective.load_state_dict(select_prefix(arrays, "objective."))
        self.optimizer.guard.load_state_dict(select_prefix(arrays, "guard."))
        seeded = int(arrays["seeded"])
        self.seeded_at = None if seeded < 0 else seeded
        fit = select_prefix(arrays, "fit.")
        self.fit = BackgroundFit.from_state_dict(fit, self.monn.levels.hierarchy) if fit else None

    @property
    def tables(self) -> dict[str, EmbeddingTable]:
        """Return the embedding tables by name."""
        return {"items": self.items.ids, "content": self.items.content, "features": self.features}


def _losses(outcome: StepResult, judged: LabelledItems | None) -> StepLosses:
    item, node, tasks = outcome.sums.losses.tolist()
    leaves = None if outcome.view is None else outcome.view.leaves
    return StepLosses(
        item=item,
        node=node,
        leaves=leaves,
        judged=tasks,
        probabilities=None if judged is None else outcome.sums.probabilities.numpy(),
        probes=outcome.sums.probes.numpy(),
        ranks=outcome.sums.ranks.numpy(),
    )
