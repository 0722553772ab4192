"""A snapshot as one value for its manifest and for each part: the hash of layout 2."""

from __future__ import annotations

import msgspec

from hsnn.trainer.snapshot_chunks import Writable


def encoded(snapshot: Writable) -> dict[bytes, bytes]:
    """Encode a snapshot or what an encoder makes of it."""
    parts = {name.encode(): b"".join(pieces) for name, pieces in snapshot.parts().items()}
    return {b"manifest": msgspec.json.encode(snapshot.manifest), **parts}
