"""Figures with fixed numbers, and a small data set in the format of its publisher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsnn.demo.figures import Figures, IndexFigures, Recall
from hsnn.monitoring.audit import AuditEntry


def recall(served_20: float, popularity_20: float, served_50: float, popularity_50: float) -> Recall:
    return {
        "recall_at_20": {"served": served_20, "popularity": popularity_20},
        "recall_at_50": {"served": served_50, "popularity": popularity_50},
    }


@pytest.fixture
def figures() -> Figures:
    """A run at its end: nothing lost, one alarm answered."""
    found = Figures(
        data="ml-100k",
        log="redis",
        phase="done",
        wanted=100_000,
        produced=100_000,
        sent_all=True,
        trained=99_990,
        dead_lettered=0,
        dropped={"not_joined": 10},
        seconds=50.0,
        rate=2_100.0,
        lag_records=1_234,
        lag_seconds=0.51,
        loss=5.123,
        watermark=101_000_000,
        first_ts=1_000_000,
        speed=2_500.0,
        recall=recall(0.171, 0.08, 0.3, 0.17),
        recent=recall(0.181, 0.09, 0.32, 0.18),
        measured=2_900,
        unmeasured=3,
        scored_share=0.1058,
        index=IndexFigures(items=1_682, new=855, expired=17, nodes=256, max_over_mean=3.25, dead=2, version=40),
        probes=[n / 100 for n in range(1, 101)],
        unanswered_probes=1,
        freshness=(0.36, 1.7),
        alarms=1,
    )
    found.audit.append(
        AuditEntry(at=0, event="alarm", kind="loss_drift", alarm="loss_drift:7", detail={"text": "the loss rose"})
    )
    found.audit.append(
        AuditEntry(at=1, event="outcome", kind="loss_drift", action="refresh", outcome="done", version=41)
    )
    return found


@pytest.fixture
def films(tmp_path: Path) -> Callable[[int], Path]:
    """Write a folder in GroupLens' format: `n` ratings by 60 users of three tastes, a new film every 25 ratings."""

    def write(n: int) -> Path:
        rng = np.random.default_rng(5)
        folder = tmp_path / "films"
        folder.mkdir()
        at = np.arange(n)
        users = rng.integers(1, 61, n)
        arrived = 40 + at // 25  # films known so far
        films = 1 + (rng.integers(0, arrived) // 3 * 3 + users % 3) % arrived
        films[rng.random(n) < 0.3] = 40
        films = np.where(at % 25 == 0, arrived, films)
        rows = zip(
            users.tolist(),
            films.tolist(),
            rng.integers(1, 6, n).tolist(),
            (880_000_000 + 60 * at).tolist(),
            strict=True,
        )
        (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        flags = "|".join("1" if genre == 5 else "0" for genre in range(19))
        lines = [f"{film}|Film {film} (1990)|01-Jan-1990||http://x|{flags}" for film in range(1, 42 + n // 25)]
        (folder / "u.item").write_text("\n".join(lines) + "\n", "latin-1")
        (folder / "u.user").write_text("".join(f"{user}|24|M|writer|1\n" for user in range(1, 61)))
        return folder

    return write
