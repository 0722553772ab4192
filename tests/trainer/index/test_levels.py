"""The levels as a model: what training, the exhaustive reference and the beam say of a node is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index.hierarchy import parents_of
from hsnn.trainer.index.levels import level_log_shares

every_depth = pytest.mark.parametrize("levels", [1, 2, 3])


@every_depth
def test_a_level_is_scored_in_training_as_it_is_served(toy, levels):
    small = toy(levels, items=4)  # so that some families hold no candidate
    view = small.view()
    shares = level_log_shares(small.step.leaf_log_share, small.config.model.levels)
    everything = small.levels.log_probs(small.step.users, shares)  # (B, K)
    last = view.scores[-1]
    assert last.nodes[last.columns].tolist() == view.leaves.tolist()
    torch.testing.assert_close(last.log_p, everything[:, last.nodes])
    torch.testing.assert_close(view.leaf_log_probs, everything[:, torch.from_numpy(view.leaves)])


@every_depth
def test_with_weights_of_one_the_ensemble_is_a_distribution_over_leaves(toy, levels):
    small = toy(levels)
    with torch.no_grad():
        small.levels.ensemble.fill_(1.0)
    shares = level_log_shares(small.step.leaf_log_share, small.config.model.levels)
    log_p = small.levels.log_probs(small.step.users, shares)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(log_p)))


@every_depth
def test_log_probabilities_by_hand(toy, levels):
    """One user, one leaf after another: sum of log-softmax among siblings on the way down."""
    small = toy(levels, users=1)
    model, made = small.config.model, small.levels
    shares = level_log_shares(small.step.leaf_log_share, model.levels)
    found = made.log_probs(small.step.users, shares)[0].detach()
    for leaf in range(model.leaves):
        total = torch.tensor(0.0)
        for level, count in enumerate(model.levels):
            node = leaf // (model.leaves // count)
            siblings = made.hierarchy.family_size(level)
            family = range(node // siblings * siblings, (node // siblings + 1) * siblings)
            heads = small.step.users[level].view(-1, model.dim)
            over_arch, vectors = made.over_archs[level], made.node_features(level)
            logits = [
                torch.logsumexp(heads @ vectors[k], 0) + over_arch.bias[k] + over_arch.share * shares[level][k]
                for k in family
            ]
            own = torch.log_softmax(torch.stack(logits), 0)[node - family[0]]
            total = own if level == 0 else own + made.ensemble[level - 1] * total
        assert float(found[leaf]) == pytest.approx(float(total.detach()), abs=1e-4)


@every_depth
def test_the_vector_of_a_node_is_the_sum_of_the_codes_on_its_path(toy, levels):
    hierarchy = toy(levels).levels.hierarchy
    counts = hierarchy.levels
    for level in range(levels):
        for node, vector in enumerate(hierarchy.node_vectors(level)):
            path = [node // (counts[level] // counts[above]) for above in range(level + 1)]
            expected = sum(hierarchy.codes[above][k] for above, k in enumerate(path))
            torch.testing.assert_close(vector, expected)


@every_depth
def test_a_path_goes_to_the_nearest_child_of_the_nearest(toy, levels):
    small = toy(levels)
    hierarchy, points = small.levels.hierarchy, small.base.detach()
    with torch.no_grad():
        paths = hierarchy.assign_paths(points)
        for item, point in enumerate(points):
            residual, node = point, 0
            for level, path in enumerate(paths):
                siblings = hierarchy.family_size(level)
                children = range(node * siblings, (node + 1) * siblings)
                apart = [float((residual - hierarchy.codes[level][k])[:-1].square().sum()) for k in children]
                torch.testing.assert_close(path.residual[item], residual)
                assert path.distances[item].tolist() == pytest.approx(apart, rel=1e-3, abs=1e-4)
                node = children[int(np.argmin(apart))]
                assert int(path.nodes[item]) == node
                assert int(path.choice[item]) == node - children[0]
                residual = residual - hierarchy.codes[level][node]


@pytest.mark.parametrize("levels", [2, 3])
def test_a_full_beam_finds_all_leaves_and_a_narrow_one_some_with_the_same_values(toy, levels):
    small = toy(levels)
    model, users = small.config.model, small.step.users
    shares = level_log_shares(small.step.leaf_log_share, model.levels)
    everything = small.levels.log_probs(users, shares)
    seen, scored = small.levels.beam_log_probs(users, shares, max(model.levels))
    torch.testing.assert_close(seen, everything)
    assert scored == sum(model.levels)
    narrow, few = small.levels.beam_log_probs(users, shares, 2)
    found = narrow > -torch.inf
    torch.testing.assert_close(narrow[found], everything[found])
    children = model.children[-1]
    assert found.sum(1).tolist() == [2 * children] * len(found)
    assert few == model.nodes + sum(2 * count for count in model.children)
    families = found.view(len(found), -1, children)  # leaves come family by family, and whole
    assert (families.all(2) | ~families.any(2)).all()


def test_a_beam_of_one_follows_the_best_child(toy):
    small = toy(3)
    model, users = small.config.model, small.step.users
    shares = level_log_shares(small.step.leaf_log_share, model.levels)
    seen, _ = small.levels.beam_log_probs(users, shares, 1)
    logits = small.levels.over_archs[0](users[0], small.levels.node_features(0), slice(None), shares[0])
    assert (seen.argmax(1) // (model.leaves // model.nodes)).tolist() == logits.argmax(1).tolist()


@given(
    st.lists(st.floats(0.01, 1.0), min_size=12, max_size=12),
    st.sampled_from([(12,), (4, 12), (3, 6, 12), (1, 2, 12)]),
)
def test_shares_are_those_of_a_nodes_family(masses, levels):
    leaf = np.array(masses) / sum(masses)
    found = level_log_shares(torch.from_numpy(np.log(leaf)), levels)
    for level, count in enumerate(levels):
        mass = leaf.reshape(count, -1).sum(1)
        family = (
            1.0 if level == 0 else np.repeat(leaf.reshape(levels[level - 1], -1).sum(1), count // levels[level - 1])
        )
        np.testing.assert_allclose(found[level].exp().numpy(), mass / family, rtol=1e-6)


@given(st.integers(1, 7), st.lists(st.integers(0, 100), min_size=1))
def test_parents(siblings, nodes):
    assert parents_of(torch.tensor(nodes), siblings).tolist() == [node // siblings for node in nodes]


def test_the_coarsest_level_has_the_largest_model():
    assert ModelConfig(node_heads=8, children=(2, 2)).level_heads == [8, 4, 2]
    assert ModelConfig(node_heads=1, children=(2, 2)).level_heads == [1, 1, 1]
