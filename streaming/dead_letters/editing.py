"""Dead letters as text that a person changes: one line of JSON each, with what is wrong and the value."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from hsnn.streaming.dead_letters.reader import StoredDeadLetter
from hsnn.streaming.errors import EditingError

_HELP = (
    "# Change the values; delete the lines of letters not to be sent. Lines that begin with # are no letters.\n"
    "# A value is JSON under `value`, other text under `text`, other bytes under `base64`.\n"
)


def as_lines(letters: Iterable[StoredDeadLetter]) -> str:
    """Write letters as lines of JSON, under a few lines of help."""
    return _HELP + "".join(
        json.dumps(
            {"letter": letter.identity, "reason": letter.reason, "detail": letter.detail, **_shown(letter)},
            ensure_ascii=False,
        )
        + "\n"
        for letter in letters
    )


def read_edited(text: str, letters: Iterable[StoredDeadLetter]) -> dict[str, bytes | None]:
    """Read lines that `as_lines` wrote and a person changed: value by identity of the letter.

    What was not changed keeps its bytes. Letters whose lines are gone are not in the result.

    Raises
    ------
    EditingError
        A line is no JSON, names an unknown letter, or has no value.
    """
    known = {letter.identity: letter for letter in letters}
    edited: dict[str, bytes | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            fields = json.loads(line)
            letter = known[fields["letter"]]
            edited[letter.identity] = _value(fields, letter)
        except (ValueError, TypeError, KeyError) as error:
            raise EditingError(
                f"line {number} cannot be sent ({type(error).__name__}: {error}): {line[:100]}"
            ) from error
    return edited


def _shown(letter: StoredDeadLetter) -> dict[str, Any]:
    """Show the value of a letter in the form that is easiest to change."""
    value = letter.record.value
    if value is None:
        return {"value": None}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
    try:
        return {"value": json.loads(text)}
    except (ValueError, RecursionError):
        return {"text": text}


def _value(fields: dict[str, Any], letter: StoredDeadLetter) -> bytes | None:
    shown = _shown(letter)
    if {name: fields[name] for name in ("value", "text", "base64") if name in fields} == shown:
        return letter.record.value
    if "base64" in fields:
        return base64.b64decode(fields["base64"], validate=True)
    if "text" in fields:
        return str(fields["text"]).encode()
    return None if fields["value"] is None else json.dumps(fields["value"], ensure_ascii=False).encode()
