"""What ids that gave up their row were described as, for when they come back: their descriptions are not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import ByteStrings, byte_string_arrays, read_byte_strings


class DepartedRecords:
    """Records by id, the latest `room` of them.

    Examples
    --------
    >>> records = DepartedRecords(room=2)
    >>> records.put([("a", b"1"), ("b", b"2"), ("c", b"3")])
    >>> records.pop("a"), records.pop("c"), records.pop("c")
    (None, b'3', None)
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._records: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._records)

    def put(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Remember records; the oldest ones are forgotten where there is no room."""
        for name, record in records:
            self._records.pop(name, None)
            self._records[name] = record
        for name in list(islice(self._records, max(len(self._records) - self._room, 0))):
            del self._records[name]

    def pop(self, name: str) -> bytes | None:
        """Return and forget the record of an id; None if there is none."""
        return self._records.pop(name, None)

    def state_dict(self) -> dict[str, Array]:
        """Return the records as arrays, the oldest first."""
        names = ByteStrings.from_list([name.encode(errors="surrogatepass") for name in self._records])
        return byte_string_arrays("names", names) | byte_string_arrays(
            "records", ByteStrings.from_list(list(self._records.values()))
        )

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned; without it, as of an older checkpoint, there are none."""
        if not arrays:
            return
        names, records = (read_byte_strings(arrays, part).to_list() for part in ("names", "records"))
        decoded = [name.decode(errors="surrogatepass") for name in names]
        self._records = dict(zip(decoded, records, strict=True))
