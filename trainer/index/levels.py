"""Level models: log probabilities of nodes for users, in training and in beam search.

HSNN (arXiv 2408.06653) §3.2: a level's logit is an ensemble of its own MoNN and of the coarser levels' outputs, which
are reused. A level's own MoNN is normalised among siblings, so the ensemble of a leaf is its log probability:

    L_1 = log_softmax over all nodes of M_1
    L_l(k) = log_softmax over siblings of M_l(k)  +  w_l * L_(l-1)(parent of k)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index.hierarchy import Hierarchy, LevelPath
from hsnn.trainer.modules.over_arch import NodeOverArch


class LevelScores(NamedTuple):
    """Scores of B users at one level, on the P families (sets of F siblings) that hold the U candidates.

    Attributes
    ----------
    own : (B, P, F)
        Log probability among the siblings.
    log_p : (B, P * F)
        The ensemble.
    families : (U,) int64
        Family of each candidate.
    columns : (U,) int64
        Column of `log_p` that is each candidate's node.
    log_share : (P, F)
        Log share of the family's traffic.
    nodes : (P * F,) int64
        Node of each column.
    """

    own: Tensor
    log_p: Tensor
    families: Tensor
    columns: Tensor
    log_share: Tensor
    nodes: Tensor


class ScoredNodes(NamedTuple):
    """Nodes of one level that a beam scores, n of them for each of B users.

    Attributes
    ----------
    nodes : (B, n) int64
    log_p : (B, n)
        The ensemble.
    """

    nodes: Tensor
    log_p: Tensor

    def top(self, width: int) -> ScoredNodes:
        """Keep the `width` best of each user, (B, <= width): those that the beam opens."""
        kept = self.log_p.detach().topk(min(width, self.log_p.shape[1]), 1).indices  # (B, b)
        return ScoredNodes(self.nodes.gather(1, kept), self.log_p.gather(1, kept))


class Levels(nn.Module):
    """Hierarchy, one over-arch per level, and the weights of their ensemble."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hierarchy = Hierarchy(config)
        self.widths = tuple(heads * config.dim for heads in config.level_heads)
        self.over_archs = nn.ModuleList(
            NodeOverArch(config, count, heads) for count, heads in zip(config.levels, config.level_heads, strict=True)
        )
        self.ensemble = nn.Parameter(torch.ones(len(config.levels) - 1))
        self.represent = nn.ModuleList(nn.Linear(config.dim, config.dim, bias=False) for _ in config.levels)
        for weight in self.represent.parameters():
            nn.init.zeros_(weight)

    def node_features(self, level: int) -> Tensor:
        """Compute the node features of a level's MoNN, (K_l, d), from node vectors and representative items."""
        own = self.hierarchy.node_vectors(level)[:, :-1]
        added: Tensor = self.represent[level](self.hierarchy.representative(level))
        return own + added

    def scores(self, users: tuple[Tensor, ...], shares: list[Tensor], paths: list[LevelPath]) -> list[LevelScores]:
        """Score users, one (B, m_l*d) per level, on the families that hold the U candidates of `paths`."""
        scored: list[LevelScores] = []
        parents: Tensor | None = None
        for level, path in enumerate(paths):
            count, features = self.hierarchy.family_size(level), self.node_features(level)
            if parents is None:
                kept = torch.zeros(1, dtype=torch.int64)
                families = torch.zeros(len(path.nodes), dtype=torch.int64)
            else:
                kept, families = torch.unique(parents, return_inverse=True)  # (P,), (U,)
            nodes = (kept.unsqueeze(1) * count + torch.arange(count)).flatten()  # (P*F,)
            log_share = shares[level]
            which: Tensor | slice = slice(None)  # of level 1 all nodes are scored
            if parents is not None:
                log_share, features, which = log_share[nodes], features.index_select(0, nodes), nodes
            own = self.over_archs[level](users[level], features, which, log_share)
            own = torch.log_softmax(own.view(-1, len(kept), count), 2)  # (B, P, F)
            log_p = own.flatten(1)
            if scored:
                before = scored[-1]
                coarse = before.log_p.index_select(1, _position(before.nodes, kept))  # (B, P)
                log_p = (own + self.ensemble[level - 1] * coarse.unsqueeze(2)).flatten(1)
            columns = families * count + path.choice
            scored.append(
                LevelScores(
                    own=own,
                    log_p=log_p,
                    families=families,
                    columns=columns,
                    log_share=log_share.view(-1, count),
                    nodes=nodes,
                )
            )
            parents = path.nodes
        return scored

    def log_probs(self, users: tuple[Tensor, ...], shares: list[Tensor]) -> Tensor:
        """Compute the log probabilities of all leaves (B, K) for users, one (B, m_l*d) per level."""
        return self.level_log_probs(users, shares)[-1]

    def level_log_probs(self, users: tuple[Tensor, ...], shares: list[Tensor]) -> list[Tensor]:
        """Compute the log probabilities of all nodes of each level, (B, K_l), as `log_probs` does for the leaves."""
        log_p, levels = torch.zeros(len(users[0]), 1), []
        for level, over_arch in enumerate(self.over_archs):
            own, count = over_arch(users[level], self.node_features(level), slice(None), shares[level]), log_p.shape[1]
            log_p = self._ensemble_log_probs(level, own.view(len(own), count, self.hierarchy.family_size(level)), log_p)
            levels.append(log_p)
        return levels

    def beam_log_probs(self, users: tuple[Tensor, ...], shares: list[Tensor], width: int) -> tuple[Tensor, int]:
        """Run a beam search of `width` nodes; return the leaves' log probabilities (B, K), -inf where not visited.

        Also return the number of nodes scored per user.
        """
        visited = self.beam_search(users, shares, width)
        nodes, log_p = visited[-1]
        seen = torch.full((len(nodes), self.hierarchy.levels[-1]), -torch.inf).scatter_(1, nodes, log_p)
        return seen, sum(level.nodes.shape[1] for level in visited)

    def beam_search(self, users: tuple[Tensor, ...], shares: list[Tensor], width: int) -> list[ScoredNodes]:
        """Run a beam search for users, one (B, m_l*d) per level; return the scored nodes of every level.

        It scores all nodes of level 1, then only the children of the `width` best: large levels cost no more.
        """
        log_p = self._ensemble_log_probs(
            0, self.over_archs[0](users[0], self.node_features(0), slice(None), shares[0]).unsqueeze(1)
        )
        scored = [ScoredNodes(torch.arange(log_p.shape[1]).expand_as(log_p), log_p)]  # (B, K_1)
        for level in range(1, len(self.over_archs)):
            count = self.hierarchy.family_size(level)
            kept, coarse = scored[-1].top(width)  # (B, b)
            nodes = (kept.unsqueeze(2) * count + torch.arange(count)).flatten(1)  # (B, b*F)
            over_arch, vectors = self.over_archs[level], functional.embedding(nodes, self.node_features(level))
            own = over_arch.forward_each(users[level], vectors, nodes, shares[level][nodes])  # type: ignore[operator]
            scored.append(ScoredNodes(nodes, self._ensemble_log_probs(level, own.view(len(own), -1, count), coarse)))
        return scored

    def _ensemble_log_probs(self, level: int, own: Tensor, coarse: Tensor | None = None) -> Tensor:
        """Combine a level's own scores (B, P, F) with its parents' log probabilities (B, P): (B, P*F)."""
        own = torch.log_softmax(own, 2)
        if level and coarse is not None:
            own = own + self.ensemble[level - 1] * coarse.unsqueeze(2)
        return own.flatten(1)


def level_log_shares(leaf_log_share: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
    """Compute the log share of each node in its family's traffic, per level (K_l,), from the leaves' log shares (K,).

    Examples
    --------
    >>> first, second = level_log_shares(torch.tensor([0.1, 0.3, 0.6, 0.0]).clamp_min(1e-6).log(), (2, 4))
    >>> [round(share, 2) for share in [*first.exp().tolist(), *second.exp().tolist()]]
    [0.4, 0.6, 0.25, 0.75, 1.0, 0.0]
    """
    coarser = [torch.logsumexp(leaf_log_share.view(count, -1), 1) for count in levels[:-1]]
    joint = [*coarser, leaf_log_share]
    conditional = [joint[0]]
    for level in range(1, len(levels)):
        siblings = levels[level] // levels[level - 1]
        conditional.append(joint[level] - joint[level - 1].repeat_interleave(siblings))
    return conditional


def _position(nodes: Tensor, wanted: Tensor) -> Tensor:
    """Return the columns of the `wanted` nodes (P,) among `nodes` (k,), which are in ascending order."""
    return torch.searchsorted(nodes, wanted)
