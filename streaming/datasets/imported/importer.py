"""Import of files: stage them, leave out what cannot be used, sort by time, write, and say what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.files import OpenedFile, TextLayout, line_numbers, open_file, open_table
from hsnn.streaming.datasets.imported.formats import FORMATS, Preset
from hsnn.streaming.datasets.imported.guess import guess_map
from hsnn.streaming.datasets.imported.mapping import KINDS, FileMap, Kind, render_map
from hsnn.streaming.datasets.imported.profile import advise, idle_limit, profile
from hsnn.streaming.datasets.imported.report import FileReport, ImportReport, Refusal
from hsnn.streaming.datasets.imported.sql import ImportDatabase
from hsnn.streaming.datasets.imported.staging import Staged, create_tables, stage
from hsnn.streaming.datasets.imported.store import (
    FORMAT,
    Description,
    write_description,
)
from hsnn.streaming.datasets.imported.write import write_tables


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What to import.

    Attributes
    ----------
    name
        Of the data set.
    files
        Paths, none of them a folder.
    tables
        Name -> table in memory, where there are no files.
    map
        Which column is what; None: guess.
    format
        Name of a preset; None: a map or a guess.
    """

    name: str
    files: Sequence[Path] = ()
    tables: Mapping[str, Any] | None = None
    map: FileMap | None = None
    format: str | None = None


def import_files(plan: ImportPlan, folder: Path, report: Callable[[str], None] = lambda _: None) -> ImportReport:
    """Write a data set into an empty folder.

    Parameters
    ----------
    report
        Called with what is done, in words.

    Raises
    ------
    DataError
        A file cannot be read, a column is not found, or nothing usable is left.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as temporary:
        con = ImportDatabase(Path(temporary))
        try:
            found = _import(con, plan, folder, report=report)
        finally:
            con.close()
    sources = [path.name for path in plan.files] or list(plan.tables or {})
    write_description(folder, Description(format=FORMAT, name=plan.name, sources=sources, report=found))
    return found


def _import(con: ImportDatabase, plan: ImportPlan, folder: Path, *, report: Callable[[str], None]) -> ImportReport:
    preset = None if plan.format is None else _preset(plan.format)
    files = _open(con, plan, preset, report)
    used = plan.map or (preset.map_for(files) if preset is not None else guess_map(con, files))
    create_tables(con)
    staged: list[Staged] = []
    unread = {file.name for file in files}
    for kind in KINDS:
        for table in used.tables(kind):
            for file in files:
                if table.matches(file.name):
                    report(f"reading {kind} from {file.name}")
                    staged.append(stage(con, kind, table, file=file, part=len(staged)))
                    unread.discard(file.name)
    if unread:
        raise DataError(f"no table of the map names {', '.join(sorted(unread))}; leave it out, or add it to `files`")
    refusals = _structural(con, files, staged) + _refusals(con, staged)
    _check_not_empty(con, refusals)
    report("sorting by time and writing")
    duplicates, dangling = write_tables(con, folder)
    report("counting")
    figures = profile(con, folder)
    idle, idle_why = idle_limit(con, folder, figures)
    return ImportReport(
        map=render_map(used),
        guessed=plan.map is None and preset is None,
        files=[_file_report(con, entry) for entry in staged],
        refusals=refusals,
        duplicates=duplicates,
        dangling=dangling,
        profile=figures,
        advice=advise(figures, idle, idle_why),
        expire_after_idle=idle,
    )


def _preset(name: str) -> Preset:
    if name not in FORMATS:
        raise DataError(f"no format is called {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _open(
    con: ImportDatabase, plan: ImportPlan, preset: Preset | None, report: Callable[[str], None]
) -> list[OpenedFile]:
    if plan.tables is not None:
        return [open_table(con, name, table, number) for number, (name, table) in enumerate(plan.tables.items())]
    names = [path.name for path in plan.files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two files are called {', '.join(twice)}; files are told apart by their names")
    opened = []
    for number, path in enumerate(plan.files):
        report(f"looking at {path.name}")
        layout = preset.layout(path.name) if preset is not None else TextLayout()
        opened.append(open_file(con, path, number, layout))
    return opened


def _file_report(con: ImportDatabase, entry: Staged) -> FileReport:
    rows, taken = con.execute(
        f"SELECT count(*), count(*) FILTER (reason IS NULL) FROM staged_{entry.kind} WHERE part = {entry.part}"
    )[0]
    notes = [*entry.file.notes, *entry.notes]
    return FileReport(file=entry.file.name, kind=entry.kind, rows=rows, taken=taken, notes=notes)


def _refusals(con: ImportDatabase, staged: Sequence[Staged]) -> list[Refusal]:
    """Count the rows with a fault, by file and reason, each with the first one."""
    found = []
    for entry in staged:
        refused = _refused_records(con, entry.file)
        for column, kept in (("reason", False), ("lost", True)):
            extra = " AND reason IS NULL" if kept else ""
            groups = con.execute(
                f"SELECT {column}, count(*), min(row), arg_min(example, row) FROM staged_{entry.kind} "
                f"WHERE part = {entry.part} AND {column} IS NOT NULL{extra} GROUP BY ALL ORDER BY 2 DESC, 1"
            )
            lines = line_numbers(entry.file, [row[2] for row in groups], refused) if groups else {}
            found += [
                Refusal(
                    file=entry.file.name,
                    kind=entry.kind,
                    reason=str(reason),
                    count=count,
                    kept=kept,
                    line=lines.get(row, row),
                    example=str(example or ""),
                )
                for reason, count, row, example in groups
            ]
    return found


def _structural(con: ImportDatabase, files: Sequence[OpenedFile], staged: Sequence[Staged]) -> list[Refusal]:
    """Count the lines of text files that are no rows."""
    found = []
    for file in files:
        kinds = [entry.kind for entry in staged if entry.file is file]
        count, first, text = file.broken
        if count:
            found.append(
                _line_refusal(file, kinds[0], "the line is no JSON object", count=count, line=first, text=text)
            )
        if file.rejects is None:
            continue
        groups = con.execute(
            "SELECT error_type, count(DISTINCT line), min(line), arg_min(csv_line, line) FROM "
            f"(SELECT line, min(CAST(error_type AS VARCHAR)) AS error_type, min(csv_line) AS csv_line "
            f"FROM {file.rejects} GROUP BY line) GROUP BY ALL ORDER BY 2 DESC, 1"
        )
        lines = line_numbers(file, [], _refused_records(con, file)) if groups else {}
        for error, count, record, text in groups:
            reason = _STRUCTURE.get(str(error), str(error).lower())
            found.append(_line_refusal(file, kinds[0], reason, count=count, line=lines.get(-record, record), text=text))
    return found


def _line_refusal(file: OpenedFile, kind: Kind, reason: str, *, count: int, line: int, text: str | None) -> Refusal:
    example = (text or "").strip()[:_EXAMPLE]
    return Refusal(file=file.name, kind=kind, reason=reason, count=count, kept=False, line=line, example=example)


# Characters of a line that are shown as an example.
_EXAMPLE = 60

# Errors of DuckDB's reader of text files, in words.
_STRUCTURE = {
    "MISSING COLUMNS": "the line has fewer columns than the header",
    "TOO MANY COLUMNS": "the line has more columns than the header",
    "UNQUOTED VALUE": "a quote is not closed",
    "INVALID ENCODING": "the line is not UTF-8",
    "LINE SIZE OVER MAXIMUM": "the line is too long",
}


def _refused_records(con: ImportDatabase, file: OpenedFile) -> set[int]:
    if file.rejects is None:
        return set()
    return {int(row[0]) for row in con.execute(f"SELECT DISTINCT line FROM {file.rejects}")}


def _check_not_empty(con: ImportDatabase, refusals: Sequence[Refusal]) -> None:
    if con.execute("SELECT count(*) FROM staged_events WHERE reason IS NULL")[0][0]:
        return
    faults = [refusal for refusal in refusals if refusal.kind == "events" and not refusal.kept]
    why = "; ".join(f"{r.count:,} rows of {r.file}: {r.reason} (line {r.line}: {r.example!r})" for r in faults[:3])
    raise DataError(f"no event is left{': ' + why if why else ', there are no rows'}")
