"""Commands: records of the control topic."""

from __future__ import annotations

import msgspec

from streaming.events import Millis

END = "end"
"""All events up to the command's time were sent: what waits for more of them need not."""


class _Command(msgspec.Struct, omit_defaults=True):
    op: str = ""
    ts: Millis = 0


_decoder: msgspec.json.Decoder[_Command] = msgspec.json.Decoder(_Command)


def end(ts: int) -> bytes:
    """Write the command that says that all events up to `ts` (epoch ms) were sent.

    Examples
    --------
    >>> end(5), ended([b"?", end(5), b'{"op": "other", "ts": 9}']), ended([])
    (b'{"op":"end","ts":5}', 5, -1)
    """
    return msgspec.json.encode(_Command(END, ts))


def ended(records: list[bytes]) -> int:
    """Latest time up to which some commands say that all was sent, epoch ms; -1 if none does."""
    return max((command.ts for command in map(_read, records) if command.op == END), default=-1)


def _read(record: bytes) -> _Command:
    try:
        return _decoder.decode(record)
    except Exception:
        return _Command()  # whatever it is, it is no command
