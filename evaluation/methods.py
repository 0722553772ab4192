"""Constants that all methods and figures share."""

from __future__ import annotations

# Half-lives in hours, from six minutes to 100 days; the last one never decays. A grid this wide keeps the baseline
# strong: a badly chosen half-life makes popularity look weaker than it is.
POPULARITY_HALF_LIVES = (0.1, 0.25, 0.5, 1.0, 4.0, 24.0, 168.0, 720.0, 2400.0, float("inf"))

# The number of most-clicked items that count as popular; targets outside of them are rare.
POPULAR_ITEMS = 50

# The number of items of each answer that coverage and popularity share look at: about one screen.
TOP_K = 20

# Scoring budgets, in items, of the curves of recall against work.
CURVE_BUDGETS = (50, 100, 200, 500, 1000)

CANDIDATE_ORDERS = ("merge", "merge_traffic", "whole_nodes", "whole_nodes_dense")
"""Orders in which candidates could be scored, one curve each; see `hsnn.evaluation.harness.candidate_orders`."""

MODEL_METHODS = ("served", "exhaustive", "frozen_1h", "engine")
"""Methods of the served model itself, which are always measured: the beam, all items scored, the beam on a copy of the
mirror that stands still for up to an hour, the beam with whole nodes, as servers with the compiled engine open them."""

ENGINE_K = 50
"""Items that `engine` is asked for: the largest cut of the goals. With more it scores more than the budget in full."""
