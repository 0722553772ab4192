"""Variants that the quality benchmark compares: a name, and changes of the trainer's defaults.

Every other variant is compared with `default`. Nested tables merge (``{"model": {"beam": 32}}``); values are validated
like those of a configuration file. Variants of `ALTERATIONS` change the code in place of the configuration.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from benchmarks.quality.alterations import ALTERATIONS
from hsnn.trainer.config.ids import IdsConfig
from hsnn.trainer.config.model import TrainerConfig

_ONESHOT: dict[str, Any] = {"learner": "oneshot", "follow": 0.03}
_LTI: dict[str, Any] = {"learner": "lti", "flops": 0.1, "sharpness": 10.0, "sharpness_ramp": 20_000.0, "ramp": 10_000}

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    # index learners
    "sil": {"index": {"learner": "sil", "distillation": 0.0}},
    "sil_distilled": {"index": {"learner": "sil"}},
    "oneshot": {"index": _ONESHOT},
    "lti": {"index": _LTI},
    "streaming_vq": {"index": {"learner": "streaming_vq"}},
    # parts of the default
    "no_distillation": {"index": {"distillation": 0.0}},
    "taste_alone": {"index": {"popularity": 0.0}},
    "slow_nodes": {"index": {"follow": 0.03}},
    "beam_negatives": {"index": {"beam_negatives": 0.5}},
    # stabilisers, of the learners that have them
    "lti_no_temperature": {"index": _LTI | {"sharpness_ramp": 0.0}},
    "lti_no_balance": {"index": _LTI | {"flops": 0.0, "balance": 0.0}},
    "lti_no_warm_up": {"index": _LTI | {"ramp": 0}},
    "lti_no_revival": {"index": _LTI | {"revive": False}},
    "oneshot_no_balance": {"index": _ONESHOT | {"balance": 0.0}},
    # levels and sizes
    "two_levels": {"model": {"nodes": 32, "children": [8]}},
    "three_levels": {"model": {"nodes": 16, "children": [4, 4]}},
    "nodes_512": {"model": {"nodes": 512}},
    "node_heads_1": {"model": {"node_heads": 1}},
    "node_heads_16": {"model": {"node_heads": 16}},
    # HILL's
    "snapping": {"index": {"snap_every": 5000}},
    "representatives": {"index": {"representatives": True}},
    "test_time": {"index": {"test_time": 4, "test_time_interest": 0.05}},
    "extra_steps": {"index": {"extra_steps": 4}},
    # the item level
    "cross": {"model": {"cross": True}},
    "small": {"model": {"preset": "small"}},
    "small_cross": {"model": {"preset": "small", "cross": True}},
    "no_tasks": {"judgement_weight": 0.0},
    # the start of a stream
    "late": {"index": {"early": False, "seed_after": 2048}},
    # parts of the model
    "no_pairs": {"model": {"pair_features": False}},
    "slow_steps": {"slow_step": 128},
    "replay": {"slow_step": 128, "replay": 1.0},
    **{name: {} for name in ALTERATIONS},
}

_IRRELEVANT = {"seed", "threads", "checkpoint_events", "checkpoint_time"}
"""Keys that quality does not depend on."""


def digest(name: str) -> str:
    """SHA-256 of `identity`."""
    return hashlib.sha256(json.dumps(identity(name), sort_keys=True).encode()).hexdigest()


def identity(name: str) -> dict[str, Any]:
    """Return the part of a variant's configuration that its figures depend on, and which alteration it has.

    Keys that were added later and are off are left out, so that older results keep their file names.
    """
    config = configured(name, 0)
    later = {"ids"} if config.ids == IdsConfig() else set()
    values: dict[str, Any] = config.model_dump(mode="json", exclude=_IRRELEVANT | later)
    return values | {"altered": name} if name in ALTERATIONS else values


def configured(name: str, seed: int) -> TrainerConfig:
    """Create the configuration of a variant.

    Raises
    ------
    SystemExit
        There is no such variant, or its changes are not valid; the text says what is wrong.
    """
    if name not in VARIANTS:
        raise SystemExit(f"no variant is called {name}; benchmarks/quality/variants.py has: {', '.join(VARIANTS)}")
    try:
        return TrainerConfig.model_validate({**VARIANTS[name], "seed": seed})
    except ValueError as error:
        raise SystemExit(f"benchmarks/quality/variants.py, {name}: {error}") from error
