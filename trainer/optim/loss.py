"""Losses of a step from its gathered rows: item level, learned levels and tasks. Nothing is changed here.

JOIM, HSNN (arXiv 2408.06653) §4: one supervised loss per level, summed. The index learner
(`trainer.index.learner`) decides which gradients reach items and nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.shard import StepTotals, mean
from hsnn.trainer.index.batch import IndexBatch, IndexOutput
from hsnn.trainer.index.hierarchy import index_vectors
from hsnn.trainer.index.objective import IndexObjective, distillation_loss, interaction_loss
from hsnn.trainer.index.regularizers import warm_up_factor
from hsnn.trainer.model.monn import Monn, UserVectors
from hsnn.trainer.modules.losses import dislike_losses, sampled_softmax_losses
from hsnn.trainer.optim.gather import GatheredRows
from hsnn.trainer.optim.step import GradientStep, StepCandidates
from hsnn.trainer.optim.task_loss import task_logits, task_loss
from hsnn.trainer.retrieval.index_recall import PROBES

# Added to the logit of an item that would not be served: finite, and far below all others.
_BARRED = -1e4


class StepSums(NamedTuple):
    """Sums over the queries of a step, other than gradients; those of all shards add up to the step's.

    Attributes
    ----------
    losses : (3,)
        Item loss of the new events, node loss, task loss.
    user : (d + p,)
        Statistics for `Monn.update_mean_user`.
    learner : any shape
        Statistics for `IndexLearner.update_user_statistics`.
    probabilities : (J, A)
        Task probabilities of labelled items; zero for those of other shards.
    ranks : (B,)
        Share of the candidates that rank above each query's target; zero for queries of other shards.
    probes : (PROBES, K + 1)
        Of the step's first queries: log probabilities of the leaves, and the share of the candidates that rank above
        the target. Zero for those of other shards; (0, K + 1) before there are nodes, and where none are wanted.
    """

    losses: Tensor
    user: Tensor
    learner: Tensor
    probabilities: Tensor
    ranks: Tensor
    probes: Tensor


class LevelLosses(NamedTuple):
    """Losses of the levels.

    Attributes
    ----------
    item : (B,)
        Of the item level.
    nodes : ()
        Sum of those of the learned levels.
    ranks : (B,)
        Share of the candidates that rank above the target.
    """

    item: Tensor
    nodes: Tensor
    ranks: Tensor


class StepResult(NamedTuple):
    """Result of a step before weights change: the loss to minimize, the sums, and the output of the index."""

    loss: Tensor
    sums: StepSums
    view: IndexOutput | None


def ranks_among(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the share of the candidates that rank above each target, (B,)."""
    values = logits.detach().numpy()
    above = np.count_nonzero(values > np.take_along_axis(values, targets.numpy()[:, None], 1), axis=1)
    return torch.from_numpy(above.astype(np.float32) / np.float32(values.shape[1]))


def _of_all_shards(values: Tensor, totals: StepTotals) -> Tensor:
    """Put the values of this shard's queries at their place among all queries; the others are zero."""
    placed = torch.zeros(totals.queries)
    placed[totals.first : totals.first + len(values)] = values
    return placed


class StepLoss:
    """Compute the losses of a step, or of one shard of it."""

    def __init__(self, config: TrainerConfig, monn: Monn, objective: IndexObjective) -> None:
        self._config, self._monn, self._objective = config, monn, objective

    def __call__(self, step: GradientStep, taken: GatheredRows, totals: StepTotals) -> StepResult:
        """Compute all losses of the queries of `step` against its candidates."""
        inputs, vectors = taken.inputs(self._config.model.dim), taken.candidates()  # (U, W)
        users, events = self._monn.encode_users(inputs), len(step.weights)
        asking = users if step.judged is None else users.select(slice(0, events))
        view = self.index_output(step, asking, vectors, totals)
        item_losses, node_loss, ranks = self._levels(step=step, users=asking, vectors=vectors, view=view, totals=totals)
        weight = torch.from_numpy(step.weights).abs()
        item_loss = mean(item_losses, weight, totals.weight)
        judged_loss, probabilities = self._judge(step, users, taken, totals)
        new_loss = mean(item_losses[: step.fresh], weight[: step.fresh], totals.fresh)
        sums = StepSums(
            losses=torch.stack([new_loss, node_loss, judged_loss]).detach(),
            user=self._monn.mean_user_of(asking, totals.queries),
            learner=self._objective.learner.user_statistics(
                asking.item[:, : self._config.model.dim].detach(), totals.queries
            ),
            probabilities=probabilities,
            ranks=_of_all_shards(ranks, totals),
            probes=self._probes(step, asking, ranks, totals),
        )
        return StepResult(item_loss + node_loss + self._config.judgement_weight * judged_loss, sums, view)

    def index_output(
        self, step: GradientStep, users: UserVectors, vectors: Tensor, totals: StepTotals
    ) -> IndexOutput | None:
        """Compute the output of the index on candidates with vectors (U, W); None before the nodes are seeded."""
        if step.since_seeded is None:
            return None
        candidates = step.candidates
        batch = IndexBatch(
            base=index_vectors(vectors, self._config.model.dim),
            users=users.levels,
            targets=torch.from_numpy(candidates.targets),
            weight=torch.from_numpy(step.weights).clamp_min(0),  # no node is to be left because of one item in it
            log_q=torch.from_numpy(candidates.log_q),
            uniform=candidates.uniform,
            leaf_log_share=torch.from_numpy(step.leaves.node_log_share()),
            events=step.since_seeded,
            totals=totals,
        )
        return self._objective.forward(self._monn.levels, batch)

    def _levels(
        self, step: GradientStep, users: UserVectors, vectors: Tensor, view: IndexOutput | None, totals: StepTotals
    ) -> LevelLosses:
        """Compute the losses of the item level and of the learned levels."""
        candidates, targets = step.candidates, torch.from_numpy(step.candidates.targets)
        coarse = view.leaf_log_probs if view else torch.zeros(len(targets), len(vectors))
        cross = None if candidates.cross is None else torch.from_numpy(candidates.cross)
        parts = self._monn.over_arch_inputs(
            users=users, vectors=vectors, states=torch.from_numpy(candidates.states), coarse=coarse, cross=cross
        )
        logits = self._monn.over_arch(parts)  # (B, U)
        # The levels learn from the logits without pair facts: pairs that have some are candidates of their own.
        served, log_q = self._served_logits(candidates, logits), torch.from_numpy(candidates.log_q)
        losses = sampled_softmax_losses(served, log_q, targets)
        against = np.flatnonzero(step.weights < 0)
        if len(against):
            rows = torch.from_numpy(against)
            losses = losses.index_copy(0, rows, dislike_losses(served[rows], log_q, targets[rows]))
        if view is None:
            return LevelLosses(losses, torch.zeros(()), ranks_among(served, targets))
        return LevelLosses(
            losses,
            self._objective.loss(view)
            + self.distillation_losses(
                step=step, view=view, logits=logits, interaction=parts.interaction, totals=totals
            ),
            ranks_among(served, targets),
        )

    def _served_logits(self, candidates: StepCandidates, logits: Tensor) -> Tensor:
        """Add the logits of pair facts to logits (B, U), and bar the pairs that would not be served."""
        query, candidate = [candidates.excluded.query], [candidates.excluded.candidate]
        added = [torch.full((len(candidates.excluded.query),), _BARRED)]
        if (facts := candidates.facts) is not None and self._monn.pair_logits is not None:
            query += [facts.query, facts.own_query]
            candidate += [facts.candidate, facts.own_candidate]
            added += self._monn.pair_logits(facts)
        cells = torch.from_numpy(np.concatenate(query) * logits.shape[1] + np.concatenate(candidate))
        return logits.flatten().index_add(0, cells, torch.cat(added)).view_as(logits)

    @torch.no_grad()
    def _probes(self, step: GradientStep, users: UserVectors, ranks: Tensor, totals: StepTotals) -> Tensor:
        """Compute `StepSums.probes`."""
        if step.since_seeded is None or not step.probed:
            return torch.zeros(0, self._config.model.leaves + 1)
        probes = torch.zeros(PROBES, self._config.model.leaves + 1)
        if totals.first < PROBES:
            cut = slice(0, min(PROBES - totals.first, len(ranks)))
            log_probs = self._monn.log_probs(users.select(cut), torch.from_numpy(step.leaves.node_log_share()))
            place = slice(totals.first, totals.first + cut.stop)
            probes[place] = torch.cat([log_probs, ranks[cut].unsqueeze(1)], 1)
        return probes

    def distillation_losses(
        self, step: GradientStep, view: IndexOutput, logits: Tensor, interaction: Tensor | None, totals: StepTotals
    ) -> Tensor:
        """Sum the losses that distill the item level into the learned levels."""
        config, loss = self._config.index, torch.zeros(())
        part = len(logits) / totals.queries  # these losses are means over the shard's queries, and shards add up
        if config.distillation:
            share = torch.from_numpy(step.leaves.log_share_within(step.candidates.rows, view.leaves))
            loss = loss + config.distillation * part * distillation_loss(view, logits, share)
        if config.interaction and interaction is not None:
            interaction_logits = self._monn.over_arch.interaction_logits(interaction)
            loss = loss + config.interaction * part * interaction_loss(view, interaction_logits)
        return warm_up_factor(config, view.batch.events) * loss

    def _judge(
        self, step: GradientStep, users: UserVectors, taken: GatheredRows, totals: StepTotals
    ) -> tuple[Tensor, Tensor]:
        """Compute the task loss on labelled items, and the predicted probabilities (J, A) of their labels."""
        if step.judged is None:
            return torch.zeros(()), torch.zeros(0, 0)
        shown, seeded = users.select(slice(len(step.weights), None)), step.since_seeded is not None
        logits = task_logits(
            monn=self._monn, judged=step.judged, users=shown, items=taken.judged(), leaves=step.leaves, seeded=seeded
        )
        probabilities = torch.zeros(totals.judged, logits.shape[1])
        probabilities[totals.judged_cut] = torch.sigmoid(logits.detach())
        return task_loss(logits, step.judged, totals.judged), probabilities
