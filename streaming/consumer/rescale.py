"""Consumers' states in a checkpoint, of one worker or several, and how another number of workers goes on from them.

With the same number every worker gets its own state back, to the last bit. With another one, what hangs on partitions
goes to their new owners: places, impressions that wait, actions that wait for them. What only remembers (ids for
duplicates, last actions for repeats) goes to all: it does no harm where its users never come, and is forgotten in time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hsnn.streaming.consumer.partition_assignment import PartitionAssignment
from hsnn.streaming.consumer.watermark import NO_TIME
from hsnn.streaming.join.pending import GROUP, PARTITION, TS

State = Mapping[str, Any]
_COLUMNS = 9
"""Of a saved table of waiting rows."""


def pack_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a checkpoint holds of the states of all workers; that of a single one is itself."""
    if len(states) == 1:
        return states[0]
    places = {tuple(place[:2]): place for state in reversed(states) for place in state["places"]}
    sent_at = max(state["sent_at"] for state in states)
    workers = [{name: value for name, value in state.items() if name != "sent_at"} for state in states]
    return {"workers": workers, "places": [*places.values()], "sent_at": sent_at}


def unpack_state(saved: State, assignment: PartitionAssignment, shared_topics: Sequence[str]) -> State:
    """State of one worker, from what `packed` returned; `shared` are the topics that every worker reads."""
    states = [one | {"sent_at": saved["sent_at"]} for one in saved["workers"]] if "workers" in saved else [saved]
    if len(states) == assignment.world_size:
        return states[assignment.rank]
    own = [state for state in states if any(_owned(place, assignment, ()) for place in state["places"])]
    return {
        "version": states[0]["version"],
        "places": _places(states, assignment, shared_topics),
        "watermark": _watermark([state["watermark"] for state in own or states]),
        "counts": _counts([state["counts"] for state in states], first=assignment.rank == 0),
        "sent_at": saved["sent_at"],
        "dedup": _dedup([state["dedup"] for state in states]),
        "letters": {},  # shares of dead letters among the last events, of other partitions
        "joiner": None if states[0]["joiner"] is None else _joiner([state["joiner"] for state in states], assignment),
    }


def _owned(place: Sequence[Any], share: PartitionAssignment, shared: Sequence[str]) -> bool:
    return place[0] in shared or share.owns(place[1])


def _places(states: Sequence[State], share: PartitionAssignment, shared: Sequence[str]) -> list[Sequence[Any]]:
    """Places of the partitions of a worker; of those that all read, the one that all have come to."""
    found: dict[tuple[str, int], Sequence[Any]] = {}
    for state in states:
        for place in state["places"]:
            if _owned(place, share, shared):
                position = place[0], place[1]
                found[position] = min(place, found.get(position, place), key=_offset)
    return list(found.values())


def _offset(place: Sequence[Any]) -> tuple[int, int]:
    return place[2], place[3]


def _watermark(marks: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Stream time of the slowest: what the others are ahead comes again only as the order of their partitions."""
    return {
        name: min((mark[name] for mark in marks if mark[name] != NO_TIME), default=NO_TIME)
        for name in ("value", "start")
    }


def _counts(counts: Sequence[Mapping[str, Any]], *, first: bool) -> dict[str, Any]:
    """Sum the counts of all, for the first worker; the others begin anew."""
    total: dict[str, Any] = {}
    for name, one in counts[0].items():
        if isinstance(one, dict):
            total[name] = dict(sum((Counter(each[name]) for each in counts), Counter[str]())) if first else {}
        else:
            total[name] = sum(each[name] for each in counts) if first else 0
    return total


def _dedup(states: Sequence[Sequence[Sequence[Sequence[Any]]]]) -> list[list[list[Any]]]:
    """Ids of all, by kind, in the order of their stream time, each once per user."""
    kinds: list[list[list[Any]]] = []
    for kinds_of in zip(*states, strict=True):
        latest: dict[tuple[str, str], int] = {}
        for ids, users, marks in kinds_of:
            for name, user, mark in zip(ids, users, marks, strict=True):
                latest[name, user] = max(mark, latest.get((name, user), mark))
        ordered = sorted(latest.items(), key=lambda entry: entry[1])
        kinds.append(
            [[pair[0] for pair, _ in ordered], [pair[1] for pair, _ in ordered], [mark for _, mark in ordered]]
        )
    return kinds


def _joiner(states: Sequence[Mapping[str, Any]], share: PartitionAssignment) -> dict[str, Any]:
    """Give a worker the waiting rows of its partitions, by event time; all hear an end again if one has not."""
    offsets = [sum(state["impressions"] for state in states[:at]) for at in range(len(states))]
    return {
        "tasks": states[0]["tasks"],
        "shown": _rows([state["shown"] for state in states], offsets, share),
        "actions": _rows([state["actions"] for state in states], [0] * len(states), share),
        "repeats": _repeats([state["repeats"] for state in states]),
        "impressions": sum(state["impressions"] for state in states),
        "ended": min(state["ended"] for state in states),
    }


def _rows(
    tables: Sequence[Sequence[Sequence[Any]]], offsets: Sequence[int], share: PartitionAssignment
) -> list[list[Any]]:
    rows = []
    for table, offset in zip(tables, offsets, strict=True):
        for row in zip(*table, strict=True):
            if share.owns(row[PARTITION]):
                rows.append([*row[:GROUP], row[GROUP] + offset, *row[GROUP + 1 :]])
    rows.sort(key=lambda row: row[TS])
    return [[row[column] for row in rows] for column in range(_COLUMNS)]


def _repeats(states: Sequence[Sequence[Sequence[Any]]]) -> list[list[Any]]:
    """Return the last action of every user, least lately active first."""
    last: dict[str, tuple[Any, ...]] = {}
    for state in states:
        for user, *action in zip(*state, strict=True):
            if user not in last or last[user][2] < action[2]:
                last[user] = tuple(action)
    ordered = sorted(last.items(), key=lambda entry: entry[1][2])
    return [[user for user, _ in ordered], *([action[at] for _, action in ordered] for at in range(3))]
