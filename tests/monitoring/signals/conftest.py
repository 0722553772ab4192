"""A window of observations put through one group of signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, SignalGroup, Value

CloseWindow = Callable[..., Mapping[str, Value]]


@pytest.fixture
def close_window() -> CloseWindow:
    """``close_window(group, batch, ...)``: values after these batches, its state saved and restored after each."""

    def closed(declared: GroupDeclaration | SignalGroup, *batches: Observation) -> Mapping[str, Value]:
        group: Any = declared.create() if isinstance(declared, GroupDeclaration) else declared
        for batch in batches:
            group.update(batch)
            saved = msgspec.msgpack.decode(msgspec.msgpack.encode(group.state_dict()))
            fresh = type(group)()
            fresh.load_state_dict(saved)
            assert fresh.state_dict() == group.state_dict()
            group.load_state_dict(saved)
        return group.close(batches[-1])

    return closed
