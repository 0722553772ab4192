"""Commands: records of the control topic, JSON objects with the operation in ``op``.

A command is applied at the place in the stream that its ``ts`` gives, and at the same place whenever the log is read
again. So its effect is a function of log positions, like everything else that is learned.
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
    """Declare that all events up to `ts` (epoch ms) were sent, so that nothing waits for more of them."""

    ts: Millis = 0


class SetRates(msgspec.Struct, tag_field="op", tag="rates", frozen=True, omit_defaults=True):
    """Change learning rates from here on; None leaves a rate as it is."""

    ts: Millis = 0
    dense_rate: Rate | None = None
    embedding_rate: Rate | None = None


class BoostRates(msgspec.Struct, tag_field="op", tag="boost", frozen=True, omit_defaults=True):
    """Multiply the learning rates by `factor` until the stream's time is `until`, epoch ms; a later one replaces it."""

    ts: Millis = 0
    factor: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    until: Millis = 0


class Rebalance(msgspec.Struct, tag_field="op", tag="rebalance", frozen=True, omit_defaults=True):
    """Split leaves that hold too many items, and merge away those that hold almost none.

    Attributes
    ----------
    generation
        Number of rebalances that the sender knew of. The command is applied only if the trainer knows of as many: so
        once, however often it is sent, and never to nodes other than those the sender saw.
    version
        Version of the index that the sender inspected; for log lines.
    split, merge
        Leaves. The trainer decides by its own, possibly newer, view of them.
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


class Expire(msgspec.Struct, tag_field="op", tag="expire", frozen=True, omit_defaults=True):
    """Confirm that items whose time ends by `until` (epoch ms) leave, however many these are."""

    ts: Millis = 0
    until: Millis = 0


Command = End | SetRates | BoostRates | Rebalance | Expire

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def encode_end(ts: int) -> bytes:
    """Encode the command that declares all events up to `ts` (epoch ms) sent.

    Examples
    --------
    >>> encode_end(5), latest_end([b"?", encode_end(5), b'{"op": "other", "ts": 9}']), latest_end([])
    (b'{"op":"end","ts":5}', 5, -1)
    """
    return msgspec.json.encode(End(ts))


def latest_end(records: list[bytes]) -> int:
    """Return the latest `ts` of the `End` commands among the records, epoch ms; -1 if there is none."""
    return max((command.ts for command in decode_commands(records, quiet=True) if isinstance(command, End)), default=-1)


def decode_commands(records: list[bytes] | tuple[bytes, ...], *, quiet: bool = False) -> list[Command]:
    """Decode commands, in order; invalid records are skipped, with a log line unless `quiet`.

    Examples
    --------
    >>> decode_commands([b'{"op": "rates", "dense_rate": 0.001}', b'{"op": "rates", "dense_rate": -1}'], quiet=True)
    [SetRates(ts=0, dense_rate=0.001, embedding_rate=None)]
    """
    commands: list[Command] = []
    for record in records:
        try:
            commands.append(_decoder.decode(record))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not quiet:
                _log.error("a record of the control topic is no command and is skipped: %s", error)
    return commands
