"""Signals of the model: how well it predicts the events that it has not learned yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

TOP = 0.02
"""Share of the candidates that an item must be among to count as found: about 50 of some thousand."""

LEAST = 25
"""Events of a kind before their recall is measured: its standard error is at most 0.1 then."""

SIGNALS = (
    # The quickest test for loss and recall: the model recovers from a change of interests while another one hesitates.
    Signal(
        name="model_loss",
        meaning="prequential loss, nats per event",
        worse="up",
        floor=0.03,
        detector="page_hinkley",
        slow=True,
    ),
    Signal(
        name="model_normalised_entropy",
        meaning="prequential loss over that of popularity",
        worse="up",
        floor=0.005,
        detector="page_hinkley",
        slow=True,
    ),
    Signal(
        name="model_popularity_gap",
        meaning="loss of popularity less the model's, nats per event",
        worse="down",
        floor=0.03,
        slow=True,
    ),
    Signal(
        name="model_recall",
        meaning="share of events whose item is in the top 2% of the step's candidates",
        worse="down",
        floor=0.01,
        detector="page_hinkley",
        slow=True,
    ),
    Signal(
        name="model_fresh_recall",
        meaning="the same, of events on items without earlier engagement",
        worse="down",
        floor=0.03,
    ),
    Signal(
        name="model_memory_recall",
        meaning="the same, of events on items that the user's memory holds",
        worse="down",
        floor=0.03,
    ),
    Signal(
        name="model_index_recall",
        meaning="share of the items ranked high that the index yields",
        worse="down",
        floor=0.01,
    ),
    Signal(
        name="model_calibration",
        meaning="log of predicted over observed action rate of shown items",
        worse="both",
        floor=0.05,
        detector="kswin",
    ),
    Signal(name="model_gradient_norm", meaning="log of the gradient's norm", worse="up", floor=0.1),
    # The watch asks for six times the floor: steps a twentieth as long, which no end of a higher rate explains.
    Signal(
        name="model_step_size",
        meaning="log of a dense weight's mean change per batch",
        worse="down",
        floor=0.5,
    ),
)

# A change of weights below this is none; the weights are single precision, and rates are far above.
_SMALLEST_STEP = 1e-12


class ModelSignals:
    """Means over the window, weighted by events."""

    def __init__(self) -> None:
        self._sums = Sums()

    def update(self, observation: Observation) -> None:
        """Add a batch; what the step did not measure is left out."""
        model, events, sums = observation.model, observation.events, self._sums
        if math.isfinite(model.step_size):
            sums.add(moved=model.step_size, steps=1)
        if not events:  # such as where the step was refused
            return
        for name in ("loss", "popularity_loss", "index_recall"):
            value = getattr(model, name)
            if math.isfinite(value):
                sums.add(**{name: events * value, f"{name}_events": events})
        if math.isfinite(model.gradient_norm) and model.gradient_norm > 0:
            sums.add(gradient=math.log(model.gradient_norm), gradients=1)
        if len(model.ranks) == len(observation.items):
            found = model.ranks < TOP
            sums.add(found=found.sum(), ranked=len(found))
            self._add_part("fresh", found, observation.unseen_items)
            self._add_part("memory", found, observation.repeated)
        if model.labels.size:
            sums.add(predicted=model.probabilities.sum(), observed=model.labels.sum())

    def _add_part(self, name: str, found: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> None:
        if len(chosen) == len(found):
            self._sums.add(**{f"{name}_found": (found & chosen).sum(), name: chosen.sum()})

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return the means."""
        sums, values = self._sums, self._sums.values
        loss, popularity = sums.share("loss", "loss_events"), sums.share("popularity_loss", "popularity_loss_events")
        step = sums.share("moved", "steps")
        predicted, observed = values.get("predicted", 0.0), values.get("observed", 0.0)
        found: dict[str, Value] = {
            "model_loss": loss,
            "model_normalised_entropy": loss / popularity if popularity > 0 else float("nan"),
            "model_popularity_gap": popularity - loss,
            "model_recall": sums.share("found", "ranked"),
            "model_index_recall": sums.share("index_recall", "index_recall_events"),
            "model_calibration": math.log(predicted / observed) if predicted > 0 and observed > 0 else float("nan"),
            "model_gradient_norm": sums.share("gradient", "gradients"),
            "model_step_size": math.log(max(step, _SMALLEST_STEP)) if math.isfinite(step) else step,
        }
        for part in ("fresh", "memory"):
            found[f"model_{part}_recall"] = sums.share(f"{part}_found", part, least=LEAST)
        sums.clear()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the open window."""
        return self._sums.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state)


GROUP = GroupDeclaration(ModelSignals, SIGNALS)
