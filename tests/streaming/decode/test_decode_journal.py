"""Records that end the process: found by the notes that it left, and passed over at the fourth start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.decode.decode_journal import STARTS, DecodeJournal
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.topics import TopicRole


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def records(count: int = 5, first: int = 10) -> RecordBatch:
    value = b'{"type":"interaction","id":1,"ts":5,"user":7,"item":"a","action":"click"}'
    return RecordBatch.from_records([Record("engagements", 0, first + n, b"k", value, (), 6) for n in range(count)])


def decode(batch: RecordBatch) -> EventTable:
    return decode_records(TopicRole.ENGAGEMENTS, batch)


def deadly(*offsets: int):
    def run(batch: RecordBatch) -> EventTable:
        if set(offsets) & set(batch.offsets.tolist()):
            raise Killed
        return decode(batch)

    return run


def test_a_record_that_kills_is_a_dead_letter_after_three_starts_and_its_neighbours_are_read(tmp_path):
    for _ in range(STARTS):
        with pytest.raises(Killed):
            DecodeJournal(tmp_path).decode(records(), deadly(12))
    for _ in range(2):  # and it stays one
        table = DecodeJournal(tmp_path).decode(records(), deadly(12))
        assert table.kind.tolist() == [RowKind.INTERACTION] * 2 + [RowKind.DEAD] + [RowKind.INTERACTION] * 2
        assert (table.payload[2].reason, table.payload[2].record.offset) == (DeadLetterReason.FATAL, 12)
        assert table.offset.tolist() == [10, 11, 12, 13, 14]


def test_two_deadly_records_are_found_one_after_the_other(tmp_path):
    starts = 0
    while True:
        try:
            table = DecodeJournal(tmp_path).decode(records(), deadly(11, 13))
            break
        except Killed:
            starts += 1
    assert starts == 2 * STARTS
    assert [row for row in range(5) if table.kind[row] == RowKind.DEAD] == [1, 3]


def test_ends_at_other_places_and_starts_that_went_well_count_nothing(tmp_path):
    for _ in range(STARTS - 1):
        with pytest.raises(Killed):
            DecodeJournal(tmp_path).decode(records(), deadly(12))
    DecodeJournal(tmp_path).decode(records(), decode)  # enough memory this time
    for offset in (12, 14, 12, 14):
        with pytest.raises(Killed):
            DecodeJournal(tmp_path).decode(records(), deadly(offset))
    assert (DecodeJournal(tmp_path).decode(records(), decode).kind == RowKind.INTERACTION).all()


def test_another_record_at_the_same_offset_is_read(tmp_path):
    for _ in range(STARTS):
        with pytest.raises(Killed):
            DecodeJournal(tmp_path).decode(records(), deadly(12))
    other = records()
    other.values[2] = other.values[2].replace(b'"a"', b'"b"')  # the topic was made anew
    assert (DecodeJournal(tmp_path).decode(other, decode).kind == RowKind.INTERACTION).all()


def test_each_worker_has_its_own_notes(tmp_path):
    with pytest.raises(Killed):
        DecodeJournal(tmp_path, 1).decode(records(), deadly(12))
    assert not (tmp_path / "decoding-0").exists()
    assert (tmp_path / "decoding-1").read_bytes().strip()


@pytest.mark.parametrize("left", [b"half a no", b'{"topic": 5}'])
def test_a_damaged_note_ends_nothing(tmp_path, left):
    (tmp_path / "decoding-0").write_bytes(left)
    assert len(DecodeJournal(tmp_path).decode(records(), decode)) == 5


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    assert len(DecodeJournal(tmp_path / "file").decode(records(), decode)) == 5
    assert "cannot be used" in caplog.text


@pytest.mark.slow
def test_the_note_outlives_a_killed_process(tmp_path: Path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.streaming.decode.test_decode_journal import records\n"
        "from hsnn.streaming.decode.decode_journal import DecodeJournal\n"
        "DecodeJournal(Path(sys.argv[1])).decode(records(1), lambda batch: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    for _ in range(STARTS):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=os.environ, check=False)
        assert done.returncode == -signal.SIGKILL
    assert DecodeJournal(tmp_path).decode(records(1), decode).payload[0].reason == DeadLetterReason.FATAL
