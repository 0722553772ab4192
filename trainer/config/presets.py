"""Sizes of a MoNN by name: counts of user, item and interaction vectors of HSNN (arXiv 2408.06653), table of sizes."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"dim": 40, "user_vectors": 8, "item_vectors": 1, "interaction_vectors": 1, "over_arch": "mlp"},
    "medium": {"dim": 48, "user_vectors": 10, "item_vectors": 4, "interaction_vectors": 1, "over_arch": "mlp"},
    "large": {"dim": 48, "user_vectors": 30, "item_vectors": 8, "interaction_vectors": 1, "over_arch": "mlp"},
}
"""What each name sets; ``tiny`` is the defaults: one dot product. Keys that are given beside a name win over it."""


def apply_preset(values: dict[str, Any]) -> dict[str, Any]:
    """Add what the preset named in `values` sets and `values` do not.

    Examples
    --------
    >>> sizes = apply_preset({"preset": "small", "dim": 16})
    >>> sizes["user_vectors"], sizes["dim"]
    (8, 16)
    """
    return PRESETS.get(str(values.get("preset", "tiny")), {}) | values
