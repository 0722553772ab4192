"""Consumers' states in a checkpoint, of one worker or several, and how another number of workers resumes from them.

With the same number every worker gets its own state back, to the last bit. With another one, what belongs to partitions
goes to their new owners: offsets, impressions that wait, actions that wait for them. What only remembers (ids for
deduplication, last interactions for repeats) goes to all workers: it does no harm where its users never come, and
expires.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hsnn.streaming.consumer.partition_assignment import PartitionAssignment
from hsnn.streaming.decode.event_table import NO_TIME
from hsnn.streaming.join.pending import SavedRow

State = Mapping[str, Any]


def pack_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a checkpoint holds of the states of all workers; that of a single one is itself."""
    if len(states) == 1:
        return states[0]
    places = {tuple(place[:2]): place for state in reversed(states) for place in state["places"]}
    sent_at = max(state["sent_at"] for state in states)
    workers = [{name: value for name, value in state.items() if name != "sent_at"} for state in states]
    return {"workers": workers, "places": [*places.values()], "sent_at": sent_at}


def unpack_state(saved: State, assignment: PartitionAssignment, shared_topics: Sequence[str]) -> State:
    """Return the state of one worker from what `pack_states` returned.

    Parameters
    ----------
    saved
    assignment
        The worker's, which may be of another number of workers than the states.
    shared_topics
        Topics that every worker reads.
    """
    states = [state | {"sent_at": saved["sent_at"]} for state in saved["workers"]] if "workers" in saved else [saved]
    if len(states) == assignment.world_size:
        return states[assignment.rank]
    # Workers that had a partition that this one owns now: it continues at the slowest of their watermarks.
    previous = [state for state in states if any(_reads(place, assignment, ()) for place in state["places"])]
    joiner = None
    if states[0]["joiner"] is not None:
        joiner = _merge_joiners([state["joiner"] for state in states], assignment)
    return {
        "version": states[0]["version"],
        "places": _select_places(states, assignment, shared_topics),
        "watermark": _slowest_watermark([state["watermark"] for state in previous or states]),
        "counts": _sum_counts([state["counts"] for state in states], first=assignment.rank == 0),
        "sent_at": saved["sent_at"],
        "dedup": _merge_dedup([state["dedup"] for state in states]),
        "letters": {},  # shares of dead letters among the last events, of other partitions
        "joiner": joiner,
    }


def _reads(place: Sequence[Any], assignment: PartitionAssignment, shared_topics: Sequence[str]) -> bool:
    topic, partition = place[0], place[1]
    return topic in shared_topics or assignment.owns(partition)


def _select_places(
    states: Sequence[State], assignment: PartitionAssignment, shared_topics: Sequence[str]
) -> list[Sequence[Any]]:
    """Select the entries of a worker's partitions; of those that all read, the one that all have reached."""
    selected: dict[tuple[str, int], Sequence[Any]] = {}
    for state in states:
        for place in state["places"]:
            if _reads(place, assignment, shared_topics):
                position = place[0], place[1]
                selected[position] = min(place, selected.get(position, place), key=_offset_and_index)
    return list(selected.values())


def _offset_and_index(place: Sequence[Any]) -> tuple[int, int]:
    return place[2], place[3]


def _slowest_watermark(watermarks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the smallest watermark; faster partitions reach theirs again when their next rows are merged."""
    return min(
        (mark for mark in watermarks if mark["value"] != NO_TIME),
        key=lambda mark: int(mark["value"]),
        default=watermarks[0],
    )


def _sum_counts(counts: Sequence[Mapping[str, Any]], *, first: bool) -> dict[str, Any]:
    """Sum the counts of all, for the first worker; the others begin at zero."""
    total: dict[str, Any] = {}
    for name, value in counts[0].items():
        if isinstance(value, dict):
            total[name] = dict(sum((Counter(each[name]) for each in counts), Counter[str]())) if first else {}
        else:
            total[name] = sum(each[name] for each in counts) if first else 0
    return total


def _merge_dedup(states: Sequence[Sequence[Sequence[Sequence[Any]]]]) -> list[list[list[Any]]]:
    """Merge the events that all workers remember, per kind: in the order of their watermarks, each once."""
    merged: list[list[list[Any]]] = []
    for columns_of_kind in zip(*states, strict=True):
        latest: dict[str, int] = {}
        for keys, watermarks in columns_of_kind:
            for key, watermark in zip(keys, watermarks, strict=True):
                latest[key] = max(watermark, latest.get(key, watermark))
        ordered = sorted(latest.items(), key=lambda entry: entry[1])
        merged.append([[key for key, _ in ordered], [watermark for _, watermark in ordered]])
    return merged


def _merge_joiners(states: Sequence[Mapping[str, Any]], assignment: PartitionAssignment) -> dict[str, Any]:
    """Give a worker the waiting rows of its partitions, by event time."""
    # Every joiner numbered its impressions from 0: those of later workers are shifted, so that no two are the same.
    shifts = [sum(state["impressions"] for state in states[:i]) for i in range(len(states))]
    return {
        "tasks": states[0]["tasks"],
        "shown": _select_rows([state["shown"] for state in states], shifts, assignment),
        "actions": _select_rows([state["actions"] for state in states], [0] * len(states), assignment),
        "repeats": _merge_repeats([state["repeats"] for state in states]),
        "impressions": sum(state["impressions"] for state in states),
        # The smallest: a worker that has not read an end command yet will, and then so do all.
        "ended": min(state["ended"] for state in states),
    }


def _select_rows(
    tables: Sequence[Sequence[Sequence[Any]]], shifts: Sequence[int], assignment: PartitionAssignment
) -> list[list[Any]]:
    rows: list[SavedRow] = []
    for table, shift in zip(tables, shifts, strict=True):
        for row in map(SavedRow._make, zip(*table, strict=True)):
            if assignment.owns(row.partition):
                rows.append(row._replace(impression=row.impression + shift))
    rows.sort(key=lambda row: row.ts)
    return [[row[column] for row in rows] for column in range(len(SavedRow._fields))]


def _merge_repeats(states: Sequence[Sequence[Sequence[Any]]]) -> list[list[Any]]:
    """Return the last interaction of every user, least lately active first."""
    last: dict[str, tuple[Any, ...]] = {}
    for state in states:
        for user, item, impression_id, ts in zip(*state, strict=True):
            if user not in last or last[user][2] < ts:
                last[user] = (item, impression_id, ts)
    ordered = sorted(last.items(), key=lambda entry: entry[1][2])
    return [[user for user, _ in ordered], *([values[i] for _, values in ordered] for i in range(3))]
