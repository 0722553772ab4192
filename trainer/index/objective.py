"""Training objective of the index: JOIM's loss per level, the learner's loss, regularizers and optional losses.

HSNN (arXiv 2408.06653) §4 sums one supervised loss per level. Here the loss of a level is the log loss, among its
siblings, of the node of the user's next item; the sum over levels is the log loss of the leaf.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.batch import IndexBatch, IndexOutput
from hsnn.trainer.index.learner_registry import new_learner
from hsnn.trainer.index.levels import Levels, ScoredNodes, level_log_shares
from hsnn.trainer.index.regularizers import NodeUsage, flops_balance, kl_balance, sharpness_at, warm_up_factor
from hsnn.trainer.modules.logsumexp import logsumexp
from hsnn.trainer.rowstore.arrays import Array, select_prefix


class IndexObjective:
    """Loss of the learned levels, with the running node usage that the balance loss needs.

    Attributes
    ----------
    learner : IndexLearner
    usage : NodeUsage
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config, self._model = config.index, config.model
        self.learner = new_learner(config)
        self.usage = NodeUsage(config.model.levels)

    def forward(self, levels: Levels, step: IndexBatch) -> IndexOutput:
        """Assign the candidates and score the levels."""
        projected = self.learner.project(levels.hierarchy, step.base)
        paths = levels.hierarchy.assign_paths(projected)
        shares = level_log_shares(step.leaf_log_share, self._model.levels)
        return IndexOutput(
            batch=step,
            levels=levels,
            projected=projected,
            paths=paths,
            scores=levels.scores(step.users, shares, paths),
            sharpness=sharpness_at(self._config, step.events),
        )

    def loss(self, view: IndexOutput) -> Tensor:
        """Sum the losses that do not need the item level, ()."""
        config, share = self._config, view.batch.totals.share
        total = node_log_loss(view) + self.learner.loss(view)
        if self.learner.differentiable_assignment:
            if config.balance:
                total = total + config.balance * share * kl_balance(view, self.usage)
            if config.flops:
                total = total + config.flops * share * flops_balance(view)
        if config.reconstruction:
            total = total + config.reconstruction * share * reconstruction_loss(view)
        if config.beam_negatives:
            total = total + config.beam_negatives * beam_negative_loss(view, self._model.beam)
        return warm_up_factor(config, view.batch.events) * total

    def after_step(self, view: IndexOutput) -> None:
        """Move nodes and update usage after a gradient step was applied; not called for a refused step."""
        self.learner.after_step(view)
        self.usage.update(view)

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next step depends on."""
        arrays: dict[str, Array] = {f"usage_{level}": shares for level, shares in enumerate(self.usage.shares)}
        return arrays | {f"learner.{name}": array for name, array in self.learner.state_dict().items()}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""
        self.usage.shares = [arrays[f"usage_{level}"].copy() for level in range(len(self.usage.shares))]
        self.learner.load_state_dict(select_prefix(arrays, "learner."))


def node_log_loss(view: IndexOutput, mask: list[Tensor] | None = None) -> Tensor:
    """Sum the log loss of the target's node among its siblings over levels; `mask` (B,) per level selects users."""
    total, step = torch.zeros(()), view.batch
    for level, scores in enumerate(view.scores):
        column = scores.columns[step.targets].unsqueeze(1)  # (B, 1)
        losses = -scores.own.flatten(1).gather(1, column).squeeze(1)  # (B,)
        total = total + step.mean(losses if mask is None else losses * mask[level])
    return total


def beam_negative_loss(view: IndexOutput, beam: int) -> Tensor:
    """Compute the log loss of the target's node against the nodes that a beam keeps, summed over levels.

    Beam-aware training, after OTM: the negatives of a level come from a beam search for this user, not from the batch.
    """
    total, step = torch.zeros(()), view.batch
    for scores, opened in zip(view.scores, opened_nodes(view, beam), strict=True):
        column = scores.columns[step.targets].unsqueeze(1)  # (B, 1)
        others = opened.log_p.masked_fill(opened.nodes == scores.nodes[column], -torch.inf)  # (B, b)
        logits = torch.cat([scores.log_p.gather(1, column), others], 1)  # (B, 1 + b)
        total = total + step.mean(-torch.log_softmax(logits, 1)[:, 0])
    return total


def opened_nodes(view: IndexOutput, beam: int) -> list[ScoredNodes]:
    """Run a beam search as a request would; return the nodes that it keeps for each user, (B, <= beam) per level."""
    levels, step = view.levels, view.batch
    shares = level_log_shares(step.leaf_log_share, levels.hierarchy.levels)
    return [visited.top(beam) for visited in levels.beam_search(step.users, shares, beam)]


def reconstruction_loss(view: IndexOutput) -> Tensor:
    """Compute the squared error of the sum of codes as an estimate of the item, relative to the items' mean square."""
    last = len(view.paths) - 1
    left: Tensor = view.paths[last].residual - view.levels.hierarchy.codes[last][view.paths[last].nodes]  # (U, d)
    return left.square().sum(1).mean() / view.projected.detach().square().sum(1).mean().clamp_min(1e-12)


def distillation_loss(view: IndexOutput, item_logits: Tensor, log_share: Tensor) -> Tensor:
    """Compute the cross-entropy of the leaf-level ranking against the item level's, with equal weight on every user.

    The soft labels are the item level's (detached), also for items without engagement: HSNN's distillation on
    unlabelled data, with the finest level as teacher.

    Parameters
    ----------
    view
        Of B users, U candidates.
    item_logits : (B, U)
    log_share : (U,)
        Log share of each candidate in its leaf's traffic.
    """
    log_q, scores = view.batch.log_q, view.scores[-1]
    users, leaves = scores.log_p.shape
    teacher = torch.softmax(item_logits.detach() - log_q, 1)
    # All that the student knows of a user is in the leaves, so that sums over U candidates become sums over K leaves.
    offset = log_share - log_q  # (U,): what it adds to a leaf's log probability for one of its items, whoever asks
    largest = offset.max()
    in_leaf = torch.zeros(leaves).index_add_(0, scores.columns, (offset - largest).exp()).log() + largest  # (K,)
    wanted = torch.zeros(users, leaves).index_add_(1, scores.columns, teacher)  # (B, K)
    normaliser = logsumexp(scores.log_p + in_leaf, 1)
    return (normaliser - (wanted * scores.log_p).sum(1) - teacher @ offset).mean()


def interaction_loss(view: IndexOutput, interaction_logits: Tensor) -> Tensor:
    """Compute the squared error of the levels' interaction towers against the item level's part of the logits."""
    total, wanted = torch.zeros(()), interaction_logits.detach()
    for level, over_arch in enumerate(view.levels.over_archs):
        nodes = view.paths[level].nodes
        vectors = view.levels.node_features(level)[nodes]  # (U, d)
        own = over_arch.interaction_logits(view.batch.users[level], vectors)  # type: ignore[operator]
        total = total + functional.mse_loss(own, wanted)
    return total
