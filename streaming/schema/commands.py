"""Commands: records of the control topic, JSON objects that name what they want in ``op``.

A command is a record like others: it is met where its ``ts`` says, and again at the same place by whoever reads the log
again. So what it changes is a function of log positions, as everything else that is learned.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec

from hsnn.streaming.schema.events import Millis

_log = logging.getLogger(__name__)

Rate = Annotated[float, msgspec.Meta(gt=0, le=100)]
Node = Annotated[int, msgspec.Meta(ge=0)]


class End(msgspec.Struct, tag_field="op", tag="end", frozen=True, omit_defaults=True):
    """All events up to `ts` (epoch ms) were sent: what waits for more of them need not."""

    ts: Millis = 0


class SetRates(msgspec.Struct, tag_field="op", tag="rates", frozen=True, omit_defaults=True):
    """Learn at these rates from here on; one that is not named stays as it is."""

    ts: Millis = 0
    dense_rate: Rate | None = None
    embedding_rate: Rate | None = None


class Rebalance(msgspec.Struct, tag_field="op", tag="rebalance", frozen=True, omit_defaults=True):
    """Split leaves that hold too much and merge away those that hold next to nothing.

    Attributes
    ----------
    generation
        Rebalances that the sender knew of. Carried out only while the trainer knows of no other: so once, however often
        the command is sent, and never on nodes that are not those the sender saw.
    version
        Version of the index that was looked at; for people.
    split, merge
        Leaves. What the trainer does depends on its own view of them: a command may be late.
    over, under
        A node is split above `over` times the mean of its family, and merged below `under` times.
    """

    ts: Millis = 0
    generation: int = 0
    version: int = 0
    split: tuple[Node, ...] = ()
    merge: tuple[Node, ...] = ()
    over: Annotated[float, msgspec.Meta(gt=1)] = 5.0
    under: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05


Command = End | SetRates | Rebalance

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def encode_end(ts: int) -> bytes:
    """Write the command that says that all events up to `ts` (epoch ms) were sent.

    Examples
    --------
    >>> encode_end(5), latest_end([b"?", encode_end(5), b'{"op": "other", "ts": 9}']), latest_end([])
    (b'{"op":"end","ts":5}', 5, -1)
    """
    return msgspec.json.encode(End(ts))


def latest_end(records: list[bytes]) -> int:
    """Latest time up to which some commands say that all was sent, epoch ms; -1 if none does."""
    return max((command.ts for command in decode_commands(records, quiet=True) if isinstance(command, End)), default=-1)


def decode_commands(records: list[bytes] | tuple[bytes, ...], *, quiet: bool = False) -> list[Command]:
    """Read commands, in order; what is none is passed over, with a line in the log unless `quiet`.

    Examples
    --------
    >>> decode_commands([b'{"op": "rates", "dense_rate": 0.001}', b'{"op": "rates", "dense_rate": -1}'], quiet=True)
    [SetRates(ts=0, dense_rate=0.001, embedding_rate=None)]
    """
    found: list[Command] = []
    for record in records:
        try:
            found.append(_decoder.decode(record))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not quiet:
                _log.error("a record of the control topic is no command and is passed over: %s", error)
    return found
