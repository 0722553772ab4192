"""Configurations that the quality benchmark compares: a name, and what it changes of the trainer's defaults.

`default` is what every other one is compared with. Nested tables merge (``{"model": {"beam": 32}}``); the rest is
checked as a configuration file would be.
"""

from __future__ import annotations

from typing import Any

from trainer.config import TrainerConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "sil": {"index": {"learner": "sil"}},
}


def configured(name: str, seed: int) -> TrainerConfig:
    """Make the configuration of a variant.

    Raises
    ------
    SystemExit
        There is no such variant, or what it changes is no configuration; the text says what is wrong.
    """
    if name not in VARIANTS:
        raise SystemExit(f"no variant is called {name}; benchmarks/variants.py has: {', '.join(VARIANTS)}")
    try:
        return TrainerConfig.model_validate({**VARIANTS[name], "seed": seed})
    except ValueError as error:
        raise SystemExit(f"benchmarks/variants.py, {name}: {error}") from error
