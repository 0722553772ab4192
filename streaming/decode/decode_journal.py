"""DecodeJournal: a record that ends the process whenever it is decoded does so three times, not for ever.

What is being decoded is noted in a file that outlives the process (one small write for each poll; it need not outlive
the machine). A start that finds a note knows what its predecessor died of, maybe. From then on the noted records are
decoded one by one, each with a note of its own, and one that is found in `STARTS` starts in a row becomes a dead letter
of the same place in the log, which a replay in the same folder therefore meets again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec

from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.dead_letters.writer import WHOLE_RECORD, DeadLetter
from hsnn.streaming.decode.event_table import EventTable, RowKind, table_of_records
from hsnn.streaming.log.records import Position, RecordBatch

STARTS = 3
"""Starts in a row that end while they decode the same record, after which it is a dead letter: a machine that is short
of memory for another reason, or an operator's kill, hits the same record once, maybe twice."""

# Bytes of a note: a topic's name of at most 249 characters, and four numbers. Always as many, so that one write
# replaces the note before.
_NOTE_BYTES = 512

_log = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True):
    """Records that were being decoded, from offset `first` to `last`; `crc` is of the value of a single one."""

    topic: str
    partition: int
    first: int
    last: int
    crc: int = 0
    starts: int = 1

    def covers(self, position: Position, offset: int) -> bool:
        """Whether a record is among these."""
        return position == (self.topic, self.partition) and self.first <= offset <= self.last

    def overlaps(self, records: RecordBatch) -> bool:
        """Whether any of these may be among some records."""
        same = records.position == (self.topic, self.partition)
        return same and self.first <= int(records.offsets[-1]) and int(records.offsets[0]) <= self.last

    @property
    def is_single(self) -> bool:
        """Whether it is about one record."""
        return self.first == self.last


class _Known(msgspec.Struct):
    """What the file beside the note holds: what is suspected, and what became a dead letter."""

    suspect: Note | None = None
    fatal: list[Note] = msgspec.field(default_factory=list)


class DecodeJournal:
    """Decodes records, with a note of what is under way; for one reader.

    Parameters
    ----------
    folder
        Where the files are: the folder of checkpoints.
    worker
        Number of this process among those that share the folder.
    """

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self._file: int | None = None
        self._known_path = folder / f"decoding-{worker}.json"
        self._known = _Known()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / f"decoding-{worker}", os.O_RDWR | os.O_CREAT, 0o644)
            if self._known_path.exists():
                self._known = msgspec.json.decode(self._known_path.read_bytes(), type=_Known)
            left = os.pread(self._file, _NOTE_BYTES, 0).strip()
            self._judge(msgspec.json.decode(left, type=Note) if left else None)
        except (OSError, msgspec.MsgspecError) as error:  # a full disk, half a file: reading goes on without
            _log.warning("%s cannot be used, so that a record that ends the process is not found: %s", folder, error)

    def _judge(self, left: Note | None) -> None:
        """Compare what the process before was decoding when it ended with what those before it were."""
        before, self._known.suspect = self._known.suspect, None
        if left is not None:
            again = before is not None and before.covers((left.topic, left.partition), left.first)
            suspect = msgspec.structs.replace(left, starts=before.starts + 1 if before is not None and again else 1)
            where = f"{left.topic}/{left.partition} at offset {left.first}"
            if suspect.is_single and suspect.starts >= STARTS:
                self._known.fatal.append(suspect)
                _log.error("%s: the record ended %d starts in a row and is a dead letter", where, suspect.starts)
            else:
                self._known.suspect = suspect
                _log.warning("%s: the process before ended while it decoded the records from there on", where)
        if before is not None or left is not None:
            temporary = self._known_path.with_suffix(".tmp")
            temporary.write_bytes(msgspec.json.encode(self._known))
            temporary.replace(self._known_path)
        self._write(b"")

    def decode(self, records: RecordBatch, decode: Callable[[RecordBatch], EventTable]) -> EventTable:
        """Decode records of one partition; those that end the process give a dead letter each."""
        watched = self._known.fatal if self._known.suspect is None else [*self._known.fatal, self._known.suspect]
        if not any(note.overlaps(records) for note in watched):
            return self._decode_noted(records, decode)
        tables, start = [], 0
        for row, offset in enumerate(records.offsets.tolist()):
            if any(note.covers(records.position, offset) for note in watched):
                if start < row:
                    tables.append(self._decode_noted(records[start:row], decode))
                tables.append(self._decode_watched(records[row : row + 1], decode))
                start = row + 1
        if start < len(records):
            tables.append(self._decode_noted(records[start:], decode))
        return EventTable.concat(tables)

    def _decode_watched(self, record: RecordBatch, decode: Callable[[RecordBatch], EventTable]) -> EventTable:
        for note in self._known.fatal:
            if note.covers(record.position, int(record.offsets[0])) and note.crc == crc32(record.values[0] or b""):
                table = table_of_records(record, RowKind.DEAD)
                detail = f"the process ended {note.starts} times in a row while it decoded this record"
                table.payload[0] = DeadLetter(record[0], WHOLE_RECORD, DeadLetterReason.FATAL, detail)
                return table
        return self._decode_noted(record, decode)

    def _decode_noted(self, records: RecordBatch, decode: Callable[[RecordBatch], EventTable]) -> EventTable:
        first, last = int(records.offsets[0]), int(records.offsets[-1])
        crc = crc32(records.values[0] or b"") if first == last else 0
        self._write(msgspec.json.encode(Note(*records.position, first, last, crc)))
        table = decode(records)
        self._write(b"")
        return table

    def _write(self, note: bytes) -> None:
        if self._file is None:
            return
        try:
            os.pwrite(self._file, note.ljust(_NOTE_BYTES), 0)
        except OSError as error:  # a full disk: the checkpoints say so, too
            _log.warning("what is being decoded cannot be noted any more: %s", error)
            self._file = None
