"""Signals of the users: how many are active, how active, who is new, and what they do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

# Users whose share of a window is that of the busiest: a bot flood comes from few ids.
_BUSIEST = 5

# Busiest users of a window that are looked for in the next ones: people come and go, a machine stays.
_FOLLOWED = 20

# Windows in a row in which a user must have been among these.
_WINDOWS = 2

# Actions counted by name in a window; the rest counts as one, so that a producer of random names fills no memory.
_ACTIONS = 32
_OTHERS = "(others)"

SIGNALS = (
    Signal(
        name="users_rate",
        meaning="log of events per second of stream time",
        worse="both",
        floor=0.1,
        seasonal=True,
        detector="page_hinkley",
    ),
    Signal(name="users_events_each", meaning="log of events per active user", worse="both", floor=0.03, seasonal=True),
    Signal(
        name="users_busiest_share",
        meaning=f"share of the {_BUSIEST} busiest users in the events",
        worse="up",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="users_sustained_share",
        meaning=f"share of events by users who were among the {_FOLLOWED} busiest of both windows before",
        worse="up",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="users_new_share",
        meaning="share of events by users without a history",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="users_action_mix",
        meaning="PSI of the shares of actions",
        worse="up",
        floor=0.042,
        seasonal=True,
        histogram=True,
        detector="psi",
    ),
    Signal(name="users_context_missing", meaning="share of events without context", worse="both", floor=0.01),
    Signal(
        name="users_value",
        meaning="mean of the events' values, on a signed log scale",
        worse="both",
        floor=0.03,
        seasonal=True,
        detector="kswin",
    ),
    Signal(name="users_value_missing", meaning="share of events without a value", worse="both", floor=0.01),
)


class UserSignals:
    """Sums over the window; events per user are counted by row."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._actions: Counter[str] = Counter()
        self._users: list[int] = []
        self._busiest: list[list[int]] = []  # ids, ascending, of the busiest users of the last windows
        self._before = 0  # newest event time of the window before, epoch ms

    def update(self, observation: Observation) -> None:
        """Add a batch."""
        count, values = len(observation.actions), observation.values
        has_value = np.isfinite(values)
        spread = np.sign(values[has_value]) * np.log1p(np.abs(values[has_value], dtype=np.float64))
        self._sums.add(
            all=count,
            examples=len(observation.users),
            new=observation.new_users.sum(),
            contexts_missing=len(observation.contexts) - sum(map(bool, observation.contexts)),
            values=has_value.sum(),
            values_missing=len(values) - has_value.sum(),
            value=spread.sum(),
        )
        self._actions.update(observation.actions)
        if len(self._actions) > _ACTIONS:
            kept = dict(sorted(self._actions.items(), key=lambda pair: (-pair[1], pair[0]))[: _ACTIONS - 1])
            others = self._actions.total() - sum(kept.values())
            self._actions = Counter(kept | {_OTHERS: others + kept.get(_OTHERS, 0)})
        self._users += observation.users[observation.users >= 0].tolist()

    def close(self, observation: Observation) -> Mapping[str, Value]:
        """Return shares, means, and the counts of actions."""
        sums, values = self._sums, self._sums.values
        users, times = np.unique(np.array(self._users, np.int64), return_counts=True)
        seconds = (observation.ts - self._before) / 1000 if self._before else 0.0
        busiest = float(np.sort(times)[-_BUSIEST:].sum())
        found: dict[str, Value] = {
            "users_rate": math.log(values["all"] / seconds) if seconds > 0 and values.get("all") else float("nan"),
            "users_events_each": math.log(times.mean()) if len(times) else float("nan"),
            "users_busiest_share": busiest / times.sum() if len(times) else float("nan"),
            "users_sustained_share": self._sustained(users, times),
            "users_new_share": sums.share("new", "examples"),
            "users_action_mix": dict(self._actions),
            "users_context_missing": sums.share("contexts_missing", "all"),
            "users_value": sums.share("value", "values"),
            "users_value_missing": sums.share("values_missing", "all"),
        }
        sums.clear()
        self._actions, self._users, self._before = Counter(), [], observation.ts
        return found

    def _sustained(self, users: NDArray[np.int64], times: NDArray[np.int64]) -> float:
        """Return the share of events by users (n,) with `times` (n,) who were busy before, and note who is busy now."""
        share = float("nan")
        if len(self._busiest) == _WINDOWS and len(times):
            both = set(self._busiest[0]).intersection(*self._busiest[1:])
            share = float(times[np.isin(users, sorted(both))].sum() / times.sum())
        busiest = users[np.lexsort((users, -times))[:_FOLLOWED]]  # of equally busy ones those with smaller ids
        self._busiest = [*self._busiest, sorted(busiest.tolist())][-_WINDOWS:]
        return share

    def state_dict(self) -> dict[str, Any]:
        """Return the open window."""
        return {
            "sums": self._sums.state_dict(),
            "actions": dict(self._actions),
            "users": list(self._users),
            "busiest": [list(ids) for ids in self._busiest],
            "before": self._before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state["sums"])
        self._actions, self._users = Counter(state["actions"]), [int(user) for user in state["users"]]
        self._busiest = [[int(user) for user in ids] for ids in state.get("busiest", [])]  # younger than the others
        self._before = int(state["before"])


GROUP = GroupDeclaration(UserSignals, SIGNALS)
