"""Discovery of the baselines: every module of this package may declare some in a tuple `BASELINES`."""

from __future__ import annotations

import pkgutil
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from importlib import import_module

import hsnn.evaluation.baselines
from hsnn.evaluation.baselines.base import Baseline, BaselineContext, BaselineDeclaration
from hsnn.evaluation.errors import ProtocolError
from hsnn.trainer.config.model import TrainerConfig


@lru_cache(1)
def declarations() -> dict[str, BaselineDeclaration]:
    """Find all declared baselines by name: counting ones first, then cheap ones, each after those that it needs.

    Examples
    --------
    >>> [name for name, declared in declarations().items() if declared.counting]
    ['covisitation', 'popularity', 'stan', 'vsknn']
    """
    package = hsnn.evaluation.baselines
    modules = [import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    found: list[BaselineDeclaration] = [declared for module in modules for declared in getattr(module, "BASELINES", ())]
    found.sort(key=lambda declared: (not declared.counting, not declared.default, len(declared.needs), declared.name))
    return {declared.name: declared for declared in found}


def default_baselines() -> tuple[str, ...]:
    """Name the baselines that are measured unless asked otherwise."""
    return tuple(name for name, declared in declarations().items() if declared.default)


def counting_baselines() -> tuple[str, ...]:
    """Name the baselines that count: no model, no index."""
    return tuple(name for name, declared in declarations().items() if declared.counting)


def parse_baselines(text: str) -> tuple[str, ...]:
    """Read ``default``, ``counting``, ``all``, ``none`` or a comma-separated list of names.

    Examples
    --------
    >>> parse_baselines("none"), parse_baselines("ivf, popularity")
    ((), ('popularity', 'ivf'))

    Raises
    ------
    ProtocolError
        A name is not known.
    """
    groups = {
        "default": default_baselines(),
        "counting": counting_baselines(),
        "all": tuple(declarations()),
        "none": (),
    }
    if text in groups:
        return groups[text]
    return ordered_baselines(name.strip() for name in text.split(",") if name.strip())


def ordered_baselines(names: Iterable[str]) -> tuple[str, ...]:
    """Put `names` into the order of `declarations`; raises as `parse_baselines` does."""
    wanted, known = set(names), declarations()
    if unknown := sorted(wanted - set(known)):
        raise ProtocolError(f"no baseline is called {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


def create_baselines(names: Collection[str], config: TrainerConfig, budgets: Sequence[int]) -> list[Baseline]:
    """Create baselines, in the order in which they learn and answer.

    Popularity is always among them, because it tells which targets are rare, and so is what a named one needs.

    Parameters
    ----------
    names
        As in `declarations`.
    config
        Of the trainer whose model is served.
    budgets
        Points of the curves, in items; the last one is the budget of the answers.
    """
    known = declarations()
    needed = {name for wanted in names for name in known[wanted].needs}
    created: dict[str, Baseline] = {}
    for name in ordered_baselines({"popularity", *names, *needed}):
        created[name] = known[name].create(BaselineContext(config, tuple(budgets), created))
    return list(created.values())
