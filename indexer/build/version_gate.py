"""The version gate: a version that is damaged, or clearly worse than the one in use, is not flipped to.

Damage is looked for in every snapshot: numbers that are not finite, weights of another scale than before, stamps that
are ahead of the trainer's streams or behind the version in use. Quality is the **self-score**: for a sample of users,
the last item of their history is to be found from the history before it, among a sample of items and in the nodes that
the beam opens. If that is worse than what the version in use had, beyond noise, the model of that version answers the
very same queries; only if it is better there, too, is the new version refused. A stream that got harder for both models
refuses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.errors import VersionNotFoundError, VersionRefusedError
from hsnn.indexer.store import streams
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.cross_features import CROSS_FEATURES
from hsnn.trainer.features.item_counters import STATE_FEATURES
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.model.scorer import Scorer

# Users and items of a self-score: a standard error of 2 points, in tens of milliseconds.
_USERS, _ITEMS = 512, 1000

# Users that a self-score needs: with fewer, the first versions of a stream, chance decides.
_LEAST_USERS = 100

# Share of the sampled items that an item must rank among to count as found.
_TOP = 0.05

# Standard errors, and share of the score, that a version must be worse by: chance alone refuses one in a million.
_ERRORS, _WORSE = 5.0, 0.2

# Factor between the scales of the weights of two versions beyond which one of them is wrong, and the number of events
# from which it is looked at: training moves the scale by a few per cent between versions, but for a stream's beginning.
_SCALE, _SETTLED = 3.0, 20_000


class SelfScore(NamedTuple):
    """Shares of the queries whose item was found among all sampled items, and in the nodes that the beam opens."""

    items: float
    nodes: float
    queries: int


class _Reference(NamedTuple):
    """What is kept of the version in use."""

    version: int
    epoch: int
    events: int
    scale: dict[str, float]
    score: SelfScore | None


class VersionGate:
    """Judges versions before the flip to them; keeps the scale and the self-score of the one in use.

    Parameters
    ----------
    load_version
        Loads a version with its snapshot, when a new one has to be compared with it on the same queries.
    """

    def __init__(self, load_version: Callable[[int], Version]) -> None:
        self._load_version = load_version
        self._judged: dict[int, _Reference] = {}

    def check(self, reader: IndexReader, manifest: VersionManifest, snapshot: Snapshot, base: IndexBase) -> None:
        """Check a version that is about to be written.

        Raises
        ------
        VersionRefusedError
            It must not be served; the text says why.
        """
        name = f"version {manifest.version} of snapshot {manifest.snapshot}"
        number = reader.current()
        current = None if number is None else reader.manifest(number)
        problem = not_finite(snapshot, base) or wrong_stamps(reader, snapshot, current)
        if problem:
            raise VersionRefusedError(f"{name} is damaged: {problem}; the version in use stays")
        scale, reference = scales(snapshot, base), self._judged.get(number or 0)
        if reference is None and current is not None and current.epoch == manifest.epoch:
            reference = self._judge_loaded(current.version)  # an earlier leader has judged it, or nobody
        if reference is not None and reference.epoch == manifest.epoch and reference.events >= _SETTLED:
            for part, value in scale.items():
                before = reference.scale[part]
                if before > 0 and not 1 / _SCALE <= value / before <= _SCALE:
                    raise VersionRefusedError(
                        f"{name} is damaged: the {part} are {value / before:.3g} times as large as in version "
                        f"{reference.version}; the version in use stays"
                    )
        score = self_score(snapshot, base, queries_of(snapshot))
        if reference is not None and score is not None and reference.score is not None:
            self._compare(name, reference, score, snapshot)
        self._judged[manifest.version] = _Reference(
            manifest.version, manifest.epoch, manifest.events, scale=scale, score=score
        )
        self._judged = {kept: self._judged[kept] for kept in (number, manifest.version) if kept in self._judged}

    def _judge_loaded(self, number: int) -> _Reference | None:
        """Judge a version that is in use already; None if it cannot be loaded any more."""
        try:
            version = self._load_version(number)
        except VersionNotFoundError:
            return None
        snapshot, index, manifest = version.snapshot, version.index, version.manifest
        score = self_score(snapshot, index, queries_of(snapshot))
        found = _Reference(number, manifest.epoch, manifest.events, scale=scales(snapshot, index), score=score)
        self._judged[number] = found
        return found

    def _compare(self, name: str, reference: _Reference, score: SelfScore, snapshot: Snapshot) -> None:
        """Refuse a version whose self-score is worse, unless the one in use is as bad on the same queries."""
        assert reference.score is not None
        if not (worse(score.items, reference.score.items, score) or worse(score.nodes, reference.score.nodes, score)):
            return
        version = self._load_version(reference.version)
        if version.manifest.epoch != snapshot.manifest.epoch:
            return  # its rows mean other items: it cannot answer these queries
        theirs = self_score(version.snapshot, version.index, _known_to(queries_of(snapshot), len(version.index.nodes)))
        if theirs is None:
            return
        for what, mine, other in (("items", score.items, theirs.items), ("nodes", score.nodes, theirs.nodes)):
            if worse(mine, other, score):
                raise VersionRefusedError(
                    f"{name} is worse than version {reference.version}, which readers keep: of {score.queries} users' "
                    f"last items it finds {mine:.1%} ({what}), the version in use {other:.1%}"
                )


def worse(share: float, before: float, score: SelfScore) -> bool:
    """Tell whether a share is worse than another one of as many queries, beyond noise.

    Examples
    --------
    >>> worse(0.1, 0.5, SelfScore(0.1, 0.1, 500)), worse(0.45, 0.5, SelfScore(0.45, 0.45, 500))
    (True, False)
    """
    common = (share + before) / 2
    error = math.sqrt(max(2 * common * (1 - common), 1e-9) / score.queries)
    return before - share > max(_ERRORS * error, _WORSE * before)


def damage(reader: IndexReader, version: Version) -> str:
    """Say what is damaged in a version by itself: numbers that are not finite, stamps that cannot be; empty if nothing.

    A wrong stamp is not seen in answers to queries out of the snapshot: states are what the version misses.
    """
    return not_finite(version.snapshot, version.index) or wrong_stamps(reader, version.snapshot, None)


def finds_less(new: Version, old: Version) -> bool | None:
    """Tell whether a version finds less than an older one when both answer the same queries, those of `new`.

    None where that cannot be told: there are too few users or items, or their rows mean different items.
    """
    if new.manifest.epoch != old.manifest.epoch:
        return None
    queries = _known_to(queries_of(new.snapshot), len(old.index.nodes))
    mine, theirs = (self_score(version.snapshot, version.index, queries) for version in (new, old))
    if mine is None or theirs is None:
        return None
    return worse(mine.items, theirs.items, mine) or worse(mine.nodes, theirs.nodes, mine)


def not_finite(snapshot: Snapshot, base: IndexBase) -> str:
    """Name an array with numbers that are not finite; empty if there is none."""
    arrays = {f"weights {name}": array for name, array in snapshot.model.items()}
    arrays |= {"item embeddings": snapshot.items["embeddings"], "item vectors": base.vectors}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1)) if array.ndim else np.zeros(1)
            return f"{len(rows):,} row(s) of the {name} are not finite"
    return ""


def wrong_stamps(reader: IndexReader, snapshot: Snapshot, current: VersionManifest | None) -> str:
    """Say which stamp of a snapshot cannot be; empty if all can."""
    manifest = snapshot.manifest
    for stream, stamp in (("state", manifest.state_id), ("feed", manifest.feed_id)):
        last = streams.last_id(reader.redis, reader.key(stream))
        # A stream of which everything was trimmed shows no last entry: nothing is known of its end then.
        if last != streams.STREAM_START and streams.entry_order(stamp) > streams.entry_order(last):
            return f"it continues the stream {stream} after {stamp}, and the stream ends at {last}"
    if current is not None and current.epoch == manifest.epoch and manifest.events < current.events:
        return f"it has {manifest.events:,} events of epoch {manifest.epoch}, and the version in use {current.events:,}"
    return ""


def scales(snapshot: Snapshot, base: IndexBase) -> dict[str, float]:
    """Compute root mean squares: of the dense weights together, and of the item vectors."""
    dense = [array for name, array in snapshot.model.items() if name not in ("content", "features")]
    floats = [array for array in dense if array.dtype.kind == "f" and array.size]
    total, count = sum(float(np.square(each, dtype=np.float64).sum()) for each in floats), sum(e.size for e in floats)
    indexed = base.vectors[base.nodes >= 0]
    vectors = float(np.sqrt(np.square(indexed, dtype=np.float64).mean())) if indexed.size else 0.0
    return {"dense weights": math.sqrt(total / count) if count else 0.0, "item vectors": vectors}


def queries_of(snapshot: Snapshot) -> tuple[QueryArrays, NDArray[np.int64]]:
    """Make queries from the histories of a sample of users: all but the last item, which is the target (B,).

    The users whose last engagement is newest: they are whom the version will serve.
    """
    histories, times = snapshot.users["items"], snapshot.users["times"]
    if not len(histories) or histories.shape[1] < 2:
        chosen = np.zeros(0, np.int64)
    else:
        fit = np.flatnonzero((histories[:, -1] >= 0) & (histories[:, -2] >= 0))
        chosen = fit[np.argsort(-times[fit, -1], kind="stable")][:_USERS]
    blank = np.full((len(chosen), 1), -1, histories.dtype)
    before = np.concatenate([blank, histories[chosen, :-1]], 1)
    before_times = np.concatenate([np.zeros((len(chosen), 1), times.dtype), times[chosen, :-1]], 1)
    contexts = np.full((len(chosen), 0), -1, np.int32)
    queries = QueryArrays(
        history_items=before,
        history_times=before_times,
        user_tokens=snapshot.users["tokens"][chosen],
        context_tokens=contexts,
        now=times[chosen, -1],
    )
    return queries, histories[chosen, -1].astype(np.int64)


def _known_to(queries: tuple[QueryArrays, NDArray[np.int64]], rows: int) -> tuple[QueryArrays, NDArray[np.int64]]:
    """Restrict queries to those whose items a model with so many rows knows."""
    asked, targets = queries
    known = np.flatnonzero((targets < rows) & (asked.history_items < rows).all(1))
    return asked.select(known), targets[known]


def self_score(snapshot: Snapshot, base: IndexBase, queries: tuple[QueryArrays, NDArray[np.int64]]) -> SelfScore | None:
    """Let a snapshot's model find the targets of queries; None where there are too few, or no nodes."""
    asked, targets = queries
    kept = np.flatnonzero(base.nodes[targets] >= 0)
    asked, targets = asked.select(kept), targets[kept]
    living = np.flatnonzero(base.nodes >= 0)
    if len(targets) < _LEAST_USERS or len(living) < _LEAST_USERS:
        return None
    config = ModelConfig.model_validate(snapshot.manifest.model)
    scorer, rng = Scorer(config, snapshot.model), np.random.default_rng(snapshot.manifest.snapshot)
    sizes = np.bincount(base.nodes[living], minlength=config.leaves)
    shares = np.log(np.maximum(sizes, 0.5) / sizes.sum()).astype(np.float32)
    padded = asked._replace(context_tokens=np.full((len(targets), config.context_tokens), -1, np.int32))
    encoded = scorer.encode(padded, base.vectors, shares)
    sample = np.sort(rng.choice(living, min(_ITEMS, len(living)), replace=False))
    rows = np.union1d(sample, targets)
    # Without the counters: popularity finds most items whatever the weights are, and would hide what is to be seen.
    cross = None if not config.cross else np.zeros((len(targets), len(rows), CROSS_FEATURES), np.float32)
    scores = scorer.score_all(
        encoded,
        base.vectors[rows],
        np.zeros((len(rows), STATE_FEATURES), np.float32),
        nodes=base.nodes[rows],
        cross=cross,
    )
    own = scores[np.arange(len(targets)), np.searchsorted(rows, targets)]
    found = np.isfinite(own) & ((scores > own[:, None]).mean(1) < _TOP)  # nothing exceeds what is not a number
    opened = np.argsort(-encoded.leaf_log_probs, axis=1, kind="stable")[:, : config.beam]
    reached = (opened == base.nodes[targets][:, None]).any(1)
    return SelfScore(float(found.mean()), float(reached.mean()), len(targets))
