"""List the keys of a configuration model, convert between nested and dotted form, and suggest the nearest key."""

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
        """Whether ``none`` is allowed."""
        return type(None) in _alternatives(self.field.annotation)

    @property
    def duration(self) -> bool:
        """Whether the value is a duration."""
        return any(_is_duration(part) for part in (*self.field.metadata, *_metadata(self.field.annotation)))

    @property
    def open(self) -> bool:
        """Whether the value is a table with names chosen by the user, as in ``trainer.action_weights.click``."""
        return any(get_origin(part) is dict for part in _alternatives(self.field.annotation))

    @property
    def listed(self) -> bool:
        """Whether the value is a list."""
        return any(get_origin(part) in (tuple, list) for part in _alternatives(self.field.annotation))


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield all keys of a model in order, those of nested models last."""
    sections = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections.append((field.annotation, f"{prefix}{name}."))
        else:
            yield Key(prefix + name, field)
    for section, name in sections:
        yield from keys(section, name)


def flatten(tree: Mapping[str, Any], known: Mapping[str, Key], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of a nested mapping; the value of an open key stays one table."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and prefix + name not in known:
            yield from flatten(value, known, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def nested(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Build a nested mapping from dotted names; the inverse of `flatten`.

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
    # A key that ends the same is meant whatever stands before it; else half of the characters must agree.
    matches = get_close_matches(name, same_end or names, n=1, cutoff=0.0 if same_end else 0.5)
    return matches[0] if matches else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _metadata(annotation: Any) -> Iterator[Any]:
    for part in _alternatives(annotation):
        yield from getattr(part, "__metadata__", ())


def _is_duration(part: Any) -> bool:
    return isinstance(part, BeforeValidator) and getattr(part.func, "__name__", "") == "parse_duration"
