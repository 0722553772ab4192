"""The keys of the configuration, read off the models; and the nearest one to a mistyped name."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration.

    Attributes
    ----------
    name
        Dotted, as in ``trainer.model.dim``.
    field
        The model's field.
    """

    name: str
    field: FieldInfo

    @property
    def optional(self) -> bool:
        """Whether ``none`` is a value."""
        return type(None) in _alternatives(self.field.annotation)

    @property
    def duration(self) -> bool:
        """Whether the value is a duration."""
        return any(_is_duration(part) for part in (*self.field.metadata, *_metadata(self.field.annotation)))

    @property
    def open(self) -> bool:
        """Whether it holds names of the user's own, as in ``trainer.action_weights.click``."""
        return any(get_origin(part) is dict for part in _alternatives(self.field.annotation))

    @property
    def listed(self) -> bool:
        """Whether the value is a list."""
        return any(get_origin(part) in (tuple, list) for part in _alternatives(self.field.annotation))


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """All keys of a model and of the models in it, in order; a model's own keys come before those of models in it."""
    inner = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner.append((field.annotation, f"{prefix}{name}."))
        else:
            yield Key(prefix + name, field)
    for section, name in inner:
        yield from keys(section, name)


def flatten(tree: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested mapping; what lies in an open key stays whole."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and prefix + name not in known:
            yield from flatten(value, known, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Turn dotted names into a nested mapping.

    Examples
    --------
    >>> nested([("a.b", 1), ("a.c", 2)])
    {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for name, value in values:
        *path, last = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = value
    return tree


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known key that a mistyped name most likely means, or None.

    Examples
    --------
    >>> nearest("streaming.batchsize", ["streaming.batch_size", "trainer.seed"])
    'streaming.batch_size'
    >>> nearest("seed", ["streaming.batch_size", "trainer.seed"])
    'trainer.seed'
    """
    names = list(known)
    last = name.rpartition(".")[2]
    same_end = [candidate for candidate in names if candidate.rpartition(".")[2] == last]
    found = get_close_matches(name, same_end or names, n=1, cutoff=0.0 if same_end else 0.5)
    return found[0] if found else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _metadata(annotation: Any) -> Iterator[Any]:
    for part in _alternatives(annotation):
        yield from getattr(part, "__metadata__", ())


def _is_duration(part: Any) -> bool:
    return isinstance(part, BeforeValidator) and getattr(part.func, "__name__", "") == "parse_duration"
