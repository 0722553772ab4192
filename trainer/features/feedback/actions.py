"""Actions as columns: weight, whether it is a dislike, and whether its value rates the item."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.actions import LIKES, normalised_action
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.metrics import UNNAMED_ACTIONS

_log = logging.getLogger(__name__)

# Spellings that are remembered and warned of, at most: producers could send any number of them.
_MOST_SPELLINGS = 1024

# Bits of an action's code, which is one of 4,095 for a named action: two named actions rarely share one.
_CODE_BITS = 12


class ActionColumns(NamedTuple):
    """Actions of n engagements.

    Attributes
    ----------
    weights : (n,) float32
    disliked : (n,) bool
    rated : (n,) int64
        Index of the action in `ActionTable.rated`, -1 for an action whose value is no rating.
    codes : (n,) int64
        A number from 0 to 4095 by action; 0 for all that are in no table, so that made-up names are one action.
    """

    weights: NDArray[np.float32]
    disliked: NDArray[np.bool_]
    rated: NDArray[np.int64]
    codes: NDArray[np.int64]


class _Rule(NamedTuple):
    weight: float
    disliked: bool
    rated: int
    code: int


class ActionTable:
    """Looks up actions; case and separators of a name do not count.

    Attributes
    ----------
    rated : tuple of names, as `normalised_action` spells them
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._exact = config.action_weights
        self._weights = {normalised_action(name): weight for name, weight in config.action_weights.items()}
        self._disliked = frozenset(map(normalised_action, config.dislikes))
        self.rated = tuple(dict.fromkeys(map(normalised_action, config.rated_actions)))
        tasks = map(normalised_action, config.model.tasks)
        self._named = LIKES | self._disliked | {*self.rated, *self._weights, *tasks}
        self._rules: dict[str, _Rule] = {}

    def read(self, actions: Sequence[str]) -> ActionColumns:
        """Look up the actions of n engagements, and warn once of each that is in no table."""
        distinct = dict.fromkeys(actions)
        if len(self._rules) + len(distinct) > _MOST_SPELLINGS:
            self._rules.clear()
        places = {action: place for place, action in enumerate(distinct)}
        index = np.fromiter(map(places.__getitem__, actions), np.int64, len(actions))
        rules = [self._rule(action) for action in distinct]
        columns = list(zip(*rules, strict=True)) or [(), (), (), ()]
        unnamed = np.array([rule.code == 0 for rule in rules], np.bool_)[index].sum() if rules else 0
        if unnamed:
            UNNAMED_ACTIONS.inc(int(unnamed))
        return ActionColumns(
            weights=np.array(columns[0], np.float32)[index],
            disliked=np.array(columns[1], np.bool_)[index],
            rated=np.array(columns[2], np.int64)[index],
            codes=np.array(columns[3], np.int64)[index],
        )

    def _rule(self, action: str) -> _Rule:
        rule = self._rules.get(action)
        if rule is None:
            rule = self._rules[action] = self._new_rule(action)
        return rule

    def _new_rule(self, action: str) -> _Rule:
        name = normalised_action(action)
        weight = self._exact.get(action, self._weights.get(name, 1.0))
        rated = self.rated.index(name) if name in self.rated else -1
        if name in self._named:
            return _Rule(weight, name in self._disliked, rated, 1 + crc32(name.encode()) % ((1 << _CODE_BITS) - 1))
        _log.warning(
            "the action %r is in no table: it is learned as a sign of interest with weight 1; name it in "
            "trainer.action_weights with its weight, or in trainer.dislikes if it speaks against its item",
            action,
        )
        return _Rule(1.0, disliked=False, rated=-1, code=0)
