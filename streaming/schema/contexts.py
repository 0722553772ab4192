"""Decoding of event contexts: few distinct ones recur in many events, so each is decoded once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from hsnn.streaming.schema.events import Scalar

Context = dict[str, Scalar] | None
_Text = TypeVar("_Text", str, bytes)
_decoder: msgspec.json.Decoder[Context] = msgspec.json.Decoder(Context)


class ContextDecoder(Generic[_Text]):
    """Decodes contexts; equal texts give one shared object, which must not be changed.

    Parameters
    ----------
    capacity
        Texts that are cached; when it is reached, the cache is cleared.

    Examples
    --------
    >>> first, second, missing = ContextDecoder().decode([b'{"h": 1}', b'{"h": 1}', b"null"])
    >>> first, first is second, missing
    ({'h': 1}, True, None)
    """

    def __init__(self, capacity: int = 8192) -> None:
        self._capacity = capacity
        self._cache: dict[_Text, Context] = {}

    def __len__(self) -> int:
        return len(self._cache)

    def decode(self, texts: Sequence[_Text]) -> list[Context]:
        """Decode n texts.

        Raises
        ------
        msgspec.MsgspecError, RecursionError, ValueError
            A text is no context; those decoded before it stay cached.
        """
        if len(self._cache) >= self._capacity:
            self._cache = {}  # a new dict: another thread may be reading the old one
        cache = self._cache
        for text in set(texts) - cache.keys():
            cache[text] = _decoder.decode(text)
        return [cache[text] for text in texts]
