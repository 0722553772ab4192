"""What an import found: files, rows that were left out, and what a trainer would learn from the rest."""

from __future__ import annotations

import msgspec


class FileReport(msgspec.Struct, kw_only=True, frozen=True):
    """What one table took from one file.

    Attributes
    ----------
    file, kind
        Name of the file, and the table.
    rows, taken
        Rows of the file that belong to the table, and those that were taken.
    notes
        How the file, its times and its numbers were read, in words.
    """

    file: str
    kind: str
    rows: int
    taken: int
    notes: list[str]


class Refusal(msgspec.Struct, kw_only=True, frozen=True):
    """Rows of a file with one fault.

    Attributes
    ----------
    kept
        Whether only the value was left out, not the row.
    line
        Of the first one: its line in a text file, else its row, from 1.
    example
        The value of the first one.
    """

    file: str
    kind: str
    reason: str
    count: int
    kept: bool
    line: int
    example: str


class Advice(msgspec.Struct, kw_only=True, frozen=True):
    """A setting that the data suggest.

    Attributes
    ----------
    key, value
        Of the configuration, as TOML.
    why
        The figures behind it.
    """

    key: str
    value: str
    why: str


class Profile(msgspec.Struct, kw_only=True, frozen=True):
    """Figures of a data set.

    Attributes
    ----------
    first, last : epoch ms
    actions : per name
    items, catalogue, unknown_items, unknown_events
        Items in all; those that were described; those that only events name, and their events.
    unused_items
        Described items without an event.
    users, described_users
    impressions : lists that were shown
    sessions, session_events
        Runs of a user's events with pauses of less than 30 minutes, and their mean length.
    unordered
        Events that stand after a later one in the files.
    repeats
        Events that are alike in time, user, item and action.
    arrivals_per_day, idle_items
        Items that were new per day after the first fifth of the time; share of the items without an event in the last
        fifth.
    peak_per_second
        Events in the busiest second.
    """

    events: int
    first: int
    last: int
    actions: dict[str, int]
    items: int
    catalogue: int
    unknown_items: int
    unknown_events: int
    unused_items: int
    users: int
    described_users: int
    impressions: int
    sessions: int
    session_events: float
    unordered: int
    repeats: int
    arrivals_per_day: float
    idle_items: float
    peak_per_second: int


class ImportReport(msgspec.Struct, kw_only=True, frozen=True):
    """Everything that an import found.

    Attributes
    ----------
    map
        The map that was used, as TOML.
    guessed
        Whether the columns were guessed.
    duplicates
        Events left out because an event of the same id, user, item and action came before.
    dangling
        Events that name an impression that there is none of.
    """

    map: str
    guessed: bool
    files: list[FileReport]
    refusals: list[Refusal]
    duplicates: int
    dangling: int
    profile: Profile
    advice: list[Advice]
    expire_after_idle: float | None
