"""Contexts of events: few, and repeated by many, so each distinct text is decoded once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from hsnn.streaming.schema.events import Scalar

Context = dict[str, Scalar] | None
_Text = TypeVar("_Text", str, bytes)
_decoder: msgspec.json.Decoder[Context] = msgspec.json.Decoder(Context)


class ContextDecoder(Generic[_Text]):
    """Decodes contexts; equal texts give one object, which nobody may change.

    Parameters
    ----------
    most
        Texts that are remembered; with more, all are forgotten.

    Examples
    --------
    >>> one, two, none = ContextDecoder().decode([b'{"h": 1}', b'{"h": 1}', b"null"])
    >>> one, one is two, none
    ({'h': 1}, True, None)
    """

    def __init__(self, most: int = 8192) -> None:
        self._most = most
        self._known: dict[_Text, Context] = {}

    def __len__(self) -> int:
        return len(self._known)

    def decode(self, texts: Sequence[_Text]) -> list[Context]:
        """Decode n texts.

        Raises
        ------
        msgspec.MsgspecError, RecursionError, ValueError
            One of them is no context; what was decoded before is remembered.
        """
        if len(self._known) >= self._most:
            self._known = {}  # a new one: another thread may be at work with the old one
        known = self._known
        for text in set(texts) - known.keys():
            known[text] = _decoder.decode(text)
        return [known[text] for text in texts]
