"""Recommended rules: the action on an alarm of each signal, for `monitoring.rules`."""

from __future__ import annotations

from collections.abc import Mapping

from hsnn.monitoring.config import Action
from hsnn.monitoring.watching.monitor import declared_groups

# What no action of the system corrects is told to people: a producer, a campaign, rates that somebody set.
_OTHERS: Action = "notify"

_RULES: Mapping[str, Action] = {
    "model_loss": "rates",
    "model_normalised_entropy": "rates",
    "model_popularity_gap": "rates",
    "model_recall": "rates",
    # New items are recommended once a version of the index has them.
    "items_unseen_share": "refresh",
    "items_age": "refresh",
    "items_arrivals": "refresh",
    "index_max_over_mean": "rebalance",
    "index_dead_share": "rebalance",
}


def recommended_rules() -> dict[str, Action]:
    """Return the action recommended for each signal, by name.

    Examples
    --------
    >>> rules = recommended_rules()
    >>> rules["model_loss"], rules["users_rate"]
    ('rates', 'notify')
    """
    names = sorted(signal.name for group in declared_groups().values() for signal in group.signals)
    return {name: _RULES.get(name, _OTHERS) for name in names}
