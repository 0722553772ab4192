"""What an earlier release has left: which formats it is in, and what is done about them."""

from __future__ import annotations

from collections.abc import Iterator

from hsnn.config.loader import Loaded
from hsnn.config.schema import Config
from hsnn.doctor.finding import Finding
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import LAYOUT
from hsnn.streaming.redis.layout import convert_layout, moved_keys, read_layout
from hsnn.trainer.checkpoint.renamed_parts import FORMAT
from hsnn.trainer.checkpoint.store import CheckpointStore


def upgrade_stored(loaded: Loaded, *, dry_run: bool) -> Iterator[Finding]:
    """Compare the formats of what is stored with those of this release, and convert unless it is a dry run."""
    config = loaded.config
    text = "no file" if loaded.file is None else f"{loaded.file} has format {loaded.file_format}, that of this release"
    yield Finding("config", "ok", text)
    yield _checkpoints(config)
    client = connect(config.redis.url)
    try:
        found = read_layout(client)
        if found is None:
            yield Finding("redis", "ok", f"nothing there; layout {LAYOUT} will be written")
        elif found == LAYOUT:
            yield Finding("redis", "ok", f"layout {found}, that of this release")
        elif found > LAYOUT:
            yield Finding("redis", "fail", f"layout {found} is newer than {LAYOUT}, that of this release")
        elif dry_run:
            count = sum(1 for _ in moved_keys(client))
            yield Finding("redis", "warn", f"layout {found} -> {LAYOUT}: {count:,} keys would get other names")
        else:
            yield Finding(
                "redis", "ok", f"layout {found} -> {LAYOUT}: {convert_layout(client):,} keys have other names"
            )
    finally:
        client.close()


def _checkpoints(config: Config) -> Finding:
    folder = config.trainer.checkpoint_dir
    store = CheckpointStore(folder, config.trainer.checkpoints_kept) if folder.exists() else None
    newest = store.names()[-1:] if store else []
    if store is None or not newest:
        return Finding("checkpoints", "ok", f"none in {folder}")
    found = store.manifest(newest[0]).format or 1
    if found > FORMAT:
        return Finding("checkpoints", "fail", f"format {found} is newer than {FORMAT}, that of this release")
    how = (
        "that of this release"
        if found == FORMAT
        else f"converted to {FORMAT} when it is read; the next one is written so"
    )
    return Finding("checkpoints", "ok", f"{newest[0]} has format {found}, {how}")
