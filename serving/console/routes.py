"""The console's calls: path, method, scope, and what is answered; the HTTP around them is in `hsnn.serving.api`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from redis.exceptions import RedisError

from hsnn.indexer.admin.operations import open_audit_trail
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.health import Health
from hsnn.serving.config import Scope
from hsnn.serving.console import catalogue, index_view, operator_actions, stream_view, window_view
from hsnn.serving.console.history import SPAN, FigureHistory, as_series
from hsnn.serving.console.overview import Overview
from hsnn.serving.console.progress import read_loop_state, recent_signals
from hsnn.serving.errors import ConsoleError
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import StreamingError
from hsnn.streaming.redis.client import Redis

# Points of a chart, about one for every other pixel of a small one.
_POINTS = 360


class ConsoleQuery(NamedTuple):
    """What a call says: values of the path, parameters behind the question mark, body."""

    path: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes | bytearray


class ConsoleRoute(NamedTuple):
    """A call of the console.

    Attributes
    ----------
    path, method
        As FastAPI takes them.
    scope
        That a token must have.
    answer
        Makes the answer, JSON values.
    """

    path: str
    method: str
    scope: Scope
    answer: Callable[[ConsoleQuery], Any]


class _Rollback(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    hold: bool = False


class _Hold(msgspec.Struct, forbid_unknown_fields=True):
    reason: str


class _Replay(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    reason: str


class _Cards(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str]


Body = TypeVar("Body")


class Console:
    """What the console's pages show and do.

    Parameters
    ----------
    redis
        A client whose values are bytes, with the index.
    mirror, metrics, health
        Of this server.
    streaming
        Where the dead letters are.
    indexer
        For the lease that a rollback takes.
    indexes
        Prefixes of the indexes that answer.
    """

    def __init__(
        self,
        redis: Redis,
        mirror: Mirror,
        metrics: ServingMetrics,
        health: Health,
        *,
        streaming: StreamingConfig,
        indexer: IndexerConfig,
        indexes: Sequence[str] = (),
    ) -> None:
        self._reader, self._mirror = IndexReader(redis), mirror
        self._streaming, self._indexer = streaming, indexer
        self._overview = Overview(self._reader, mirror, metrics, health)
        self._history, self._indexes = FigureHistory(redis), list(indexes)

    def now(self) -> dict[str, Any]:
        """Return the document of the page *Now*."""
        return self._overview.document()

    def routes(self) -> list[ConsoleRoute]:
        """List the calls; all but actions need the scope ``read``."""
        read, write = Scope.READ, Scope.WRITE
        mirror, reader = self._mirror, self._reader
        calls: list[tuple[str, str, Scope, Callable[[ConsoleQuery], Any]]] = [
            ("now", "GET", read, lambda query: self.now()),  # noqa: ARG005
            ("history", "GET", read, self._series),
            ("items", "GET", read, lambda query: catalogue.search_items(mirror, query.parameters.get("q", ""))),
            ("items", "POST", read, lambda query: catalogue.cards(mirror, _parse(query.body, _Cards).ids)),
            ("users", "GET", read, lambda query: catalogue.search_users(mirror, query.parameters.get("q", ""))),
            ("users/{name:path}", "GET", read, lambda query: catalogue.user_history(mirror, query.path["name"])),
            ("features", "GET", read, lambda query: catalogue.describe_features(mirror)),  # noqa: ARG005
            ("indexes", "GET", read, lambda query: self._indexes),  # noqa: ARG005
            ("index", "GET", read, lambda query: index_view.hierarchy(mirror)),  # noqa: ARG005
            ("nodes/{name}", "GET", read, lambda query: index_view.node_items(mirror, _number(query.path["name"]))),
            ("versions", "GET", read, lambda query: index_view.list_versions(reader)),  # noqa: ARG005
            ("diff", "GET", read, self._difference),
            ("changes", "GET", read, lambda query: stream_view.item_changes(reader)),  # noqa: ARG005
            ("windows", "GET", read, lambda query: self._windows()),  # noqa: ARG005
            ("dead_letters", "GET", read, lambda query: stream_view.dead_letters(self._streaming)),  # noqa: ARG005
            ("signals", "GET", read, lambda query: self._signals()),  # noqa: ARG005
            ("timeline", "GET", read, lambda query: operator_actions.timeline(reader)),  # noqa: ARG005
            ("jobs", "GET", read, lambda query: operator_actions.jobs(reader)),  # noqa: ARG005
            ("jobs/{name}/{op}", "POST", write, self._ask_job),
            ("rollback", "POST", write, self._roll_back),
            ("hold", "POST", write, lambda query: operator_actions.hold(reader, _parse(query.body, _Hold).reason)),
            ("release", "POST", write, lambda query: operator_actions.release(reader)),  # noqa: ARG005
            ("replay", "POST", write, self._replay),
        ]
        return [
            ConsoleRoute(f"/v1/console/{path}", method, scope, _translated(call)) for path, method, scope, call in calls
        ]

    def _series(self, query: ConsoleQuery) -> dict[str, Any]:
        seconds = min(max(_number(query.parameters.get("seconds", str(int(SPAN)))), 1), int(SPAN))
        since = time.time_ns() // 1_000_000 - 1000 * seconds
        return as_series(self._history.read(since), _POINTS)

    def _windows(self) -> dict[str, Any]:
        return window_view.windows(read_loop_state(self._reader).progress, self._streaming)

    def _signals(self) -> list[dict[str, Any]]:
        return recent_signals(read_loop_state(self._reader).progress)

    def _difference(self, query: ConsoleQuery) -> dict[str, Any]:
        before, after = (_number(query.parameters.get(name, "")) for name in ("before", "after"))
        return index_view.version_difference(self._reader, before, after)

    def _ask_job(self, query: ConsoleQuery) -> dict[str, Any]:
        op = query.path["op"]
        if op not in ("run", "pause", "resume"):
            raise ConsoleError(f"a job cannot be asked to {op!r}; ask it to run, pause or resume", 404)
        return operator_actions.ask_job(self._reader, query.path["name"], op)

    def _roll_back(self, query: ConsoleQuery) -> dict[str, Any]:
        wanted = _parse(query.body, _Rollback)
        return operator_actions.roll_back(self._reader, self._indexer, wanted.version, wanted.hold)

    def _replay(self, query: ConsoleQuery) -> dict[str, Any]:
        wanted = _parse(query.body, _Replay)
        audit = open_audit_trail(self._reader)
        return stream_view.replay_dead_letters(self._streaming, audit, wanted.topic, wanted.reason)


def _translated(call: Callable[[ConsoleQuery], Any]) -> Callable[[ConsoleQuery], Any]:
    """Wrap a call: an unavailable Redis or log becomes an error with a status and a sentence."""

    def answer(query: ConsoleQuery) -> Any:
        try:
            return call(query)
        except RedisError as error:
            raise ConsoleError(f"Redis does not answer: {error}; see whether it runs", 503) from error
        except StreamingError as error:
            raise ConsoleError(str(error), 503) from error

    return answer


def _parse(body: bytes | bytearray, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConsoleError(f"the body is not what this call takes: {error}", 422) from error


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise ConsoleError(f"{text[:40]!r} is not a whole number", 422)
    return int(text)
