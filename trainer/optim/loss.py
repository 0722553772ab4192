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
from hsnn.trainer.optim.step import GradientStep
from hsnn.trainer.optim.task_loss import task_logits, task_loss


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
    """

    losses: Tensor
    user: Tensor
    learner: Tensor
    probabilities: Tensor


class StepResult(NamedTuple):
    """Result of a step before weights change: the loss to minimize, the sums, and the output of the index."""

    loss: Tensor
    sums: StepSums
    view: IndexOutput | None


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
        item_losses, node_loss = self._levels(step=step, users=asking, vectors=vectors, view=view, totals=totals)
        weight = torch.from_numpy(step.weights).abs()
        item_loss = mean(item_losses, weight, totals.weight)
        judged_loss, probabilities = self._judge(step, users, taken, totals)
        new_loss = mean(item_losses[: step.fresh], weight[: step.fresh], totals.fresh)
        sums = StepSums(
            torch.stack([new_loss, node_loss, judged_loss]).detach(),
            self._monn.mean_user_of(asking, totals.queries),
            self._objective.learner.user_statistics(asking.item[:, : self._config.model.dim].detach(), totals.queries),
            probabilities,
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
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of the item level (B,), and the sum of those of the learned levels."""
        candidates, targets = step.candidates, torch.from_numpy(step.candidates.targets)
        coarse = view.leaf_log_probs if view else torch.zeros(len(targets), len(vectors))
        cross = None if candidates.cross is None else torch.from_numpy(candidates.cross)
        parts = self._monn.over_arch_inputs(
            users=users, vectors=vectors, states=torch.from_numpy(candidates.states), coarse=coarse, cross=cross
        )
        logits = self._monn.over_arch(parts)  # (B, U)
        log_q = torch.from_numpy(candidates.log_q)
        losses = sampled_softmax_losses(logits, log_q, targets)
        against = np.flatnonzero(step.weights < 0)
        if len(against):
            rows = torch.from_numpy(against)
            losses = losses.index_copy(0, rows, dislike_losses(logits[rows], log_q, targets[rows]))
        if view is None:
            return losses, torch.zeros(())
        return losses, self._objective.loss(view) + self.distillation_losses(
            step=step, view=view, logits=logits, interaction=parts.interaction, totals=totals
        )

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
