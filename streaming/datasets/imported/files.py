"""Files of any supported kind as views of DuckDB: compression, encoding, separators and quotes are found out."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import zstandard

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.sql import ImportDatabase, identifier, literal

FileKind = Literal["text", "json", "parquet", "arrow"]

ROW = "#row"
"""Column of a view: number of the row in its file, from 1."""

_KINDS: dict[str, FileKind] = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".tab", ".dat", ".data", ".item", ".user", ".inter"), "text"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
}
_COMPRESSED = (".gz", ".zst", ".zstd")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

# Bytes that are decoded at once while the encoding is found out: large reads, little memory.
_BLOCK = 1 << 22

# Characters of a text file from which its separator and quotes are told: some thousand rows.
_HEAD = 1 << 18

_SEPARATORS = ("::", "\t", ";", "|", ",")


@dataclass(frozen=True, slots=True)
class TextLayout:
    """How a text file is laid out, where that is known beforehand; None: find out.

    Attributes
    ----------
    columns
        Names of the columns of a file without a header.
    """

    separator: str | None = None
    quoted: bool | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file as a view.

    Attributes
    ----------
    name : the file's name, for messages
    view : name of the view; all its columns are text unless the file has types
    columns : name -> type of DuckDB, without `ROW`
    notes : what was found out, in words
    rejects : table of the lines of a text file that are no rows, as DuckDB writes it; None for other kinds
    broken : number of JSON values that are no objects, the row of the first, and its text
    """

    name: str
    view: str
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    rejects: str | None = None
    broken: tuple[int, int, str] = (0, 0, "")
    path: Path | None = None
    header: bool = False
    dialect: tuple[str, str] | None = None


def expand(paths: list[Path]) -> list[Path]:
    """Return the files, those of a folder by their names.

    Raises
    ------
    DataError
        There is no such file, or a folder holds none of a known kind.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inner = sorted(file for file in path.iterdir() if file.is_file() and file_kind(file) is not None)
            if not inner:
                raise DataError(f"{path} holds no file that can be read; known endings: {_endings()}")
            found += inner
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"there is no file {path}")
    return found


def file_kind(path: Path) -> FileKind | None:
    """Return the kind of a file by its name; None if it is unknown.

    Examples
    --------
    >>> file_kind(Path("clicks.csv.gz")), file_kind(Path("clicks.xlsx"))
    ('text', None)
    """
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return _KINDS.get(Path(name).suffix)


def open_file(con: ImportDatabase, path: Path, number: int, layout: TextLayout | None = None) -> OpenedFile:
    """Make a view ``file_<number>`` of a file; what is not UTF-8 is copied into the work folder first.

    Raises
    ------
    DataError
        The kind is unknown, the file is empty, or damaged.
    """
    kind = file_kind(path)
    if kind is None:
        raise DataError(f"{path}: the ending is not known; known are {_endings()}, each also with .gz or .zst")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty")
    view = f"file_{number}"
    try:
        if kind == "parquet":
            opened = _typed(con, path.name, view, f"read_parquet({literal(path)})")
        elif kind == "arrow":
            opened = _arrow(con, path, view)
        elif kind == "json":
            opened = _json(con, *_as_utf8(path, con.work, view), name=path.name, view=view)
        else:
            opened = _text(
                con, *_as_utf8(path, con.work, view), name=path.name, view=view, layout=layout or TextLayout()
            )
    except (con.error, OSError, EOFError, zstandard.ZstdError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return opened


def open_table(con: ImportDatabase, name: str, table: Any, number: int) -> OpenedFile:
    """Make a view of an Arrow table, or of a reader of record batches."""
    con.register(f"table_{number}", table)
    return _typed(con, name, f"file_{number}", identifier(f"table_{number}"))


def line_numbers(opened: OpenedFile, rows: Collection[int], refused: Collection[int]) -> dict[int, int]:
    """Return the lines of a text file on which rows begin: rows may have line breaks in quotes, or blank lines between.

    Parameters
    ----------
    rows
        Numbers of rows in the view.
    refused
        Records that are not in the view, counted from 1 with the header.

    Returns
    -------
    dict
        Row -> line, and -record -> line for those refused. Files without lines have the rows themselves.
    """
    if opened.path is None or opened.dialect is None:
        return {row: row for row in rows}
    separator, quote = opened.dialect
    wanted, found, row = {*rows, *(-record for record in refused)}, {}, 0
    with _reader(opened.path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
        # csv knows separators of one character; only the places of records matter here
        delimiter = separator[-1]
        if quote:
            records = csv.reader(text, delimiter=delimiter, quotechar=quote)
        else:
            records = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        start = 1
        for number, record in enumerate(_records(records), 1):
            if -number in wanted:
                found[-number] = start
            elif record and not (opened.header and number == 1):
                row += 1
                if row in wanted:
                    found[row] = start
            if len(found) == len(wanted):
                break
            start = records.line_num + 1
    return found


def _records(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield ["unreadable"]


def _endings() -> str:
    return ", ".join(_KINDS)


def _reader(path: Path) -> IO[bytes]:
    openers: dict[str, Any] = {"gzip": gzip.open, "zstd": zstandard.open, "none": open}
    reader: IO[bytes] = openers[_codec(path)](path, "rb")
    return reader


def _as_utf8(path: Path, work: Path, view: str) -> tuple[Path, list[str]]:
    """Return the file, or a copy of it in UTF-8, and what is to be said about that."""
    encoding = _encoding(path)
    if encoding is None:
        return path, []
    copy = work / f"{view}.utf8"
    with _reader(path) as file, copy.open("w", encoding="utf-8", newline="") as target:
        for text in codecs.iterdecode(iter(lambda: file.read(_BLOCK), b""), encoding, errors="replace"):
            target.write(text)
    return copy, [f"read as {encoding}"]


def _encoding(path: Path) -> str | None:
    """Return the encoding of a file that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    beyond_ascii = False
    with _reader(path) as file:
        block = file.read(_BLOCK)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        # Every second byte of Latin text in UTF-16 is zero; text in other encodings has none.
        for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if len(block) > 1 and block[offset:64:2].count(0) > len(block[offset:64:2]) // 2:
                return encoding
        while True:
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                # Where other characters came out well, single lines are damaged, and are refused one by one.
                beyond_ascii = beyond_ascii or not error.object[: error.start].isascii()
                return None if beyond_ascii else "cp1252"
            beyond_ascii = beyond_ascii or not text.isascii()
            if not block:
                return None
            block = file.read(_BLOCK)


def _escapes_by_backslash(text: str, separator: str) -> bool:
    r"""Whether quotes inside quoted texts have a backslash before them, and are not doubled.

    Where quotes are doubled a text may end in a backslash, or have one before a quote; but then a separator, the end of
    the line or a second quote follows.

    Examples
    --------
    >>> _escapes_by_backslash(r'"5\" disc","tape"', ","), _escapes_by_backslash(r'"tape","5\""', ",")
    (True, True)
    >>> _escapes_by_backslash(r'"a\","b\""c"', ",")
    False
    """
    ends = rf"{re.escape(separator)}\r\n"
    return re.search(rf'\\"(?:[^"{ends}]|"(?:[{ends}]|$))', text) is not None


def _text(con: ImportDatabase, path: Path, notes: list[str], *, name: str, view: str, layout: TextLayout) -> OpenedFile:
    with _reader(path) as file:
        head = file.read(_HEAD).decode("utf-8", errors="replace").removeprefix("\ufeff")
    skip, separator = 0, layout.separator
    # Spreadsheets write such a line before the header.
    if marked := re.match(r"sep=(.)\r?\n", head):
        head, skip, separator = head[marked.end() :], 1, marked[1]
    first = head.splitlines()[0] if head.strip() else ""
    if not first:
        raise DataError(f"{name} begins with an empty line; a header with the names of the columns is needed")
    separator = separator or _separator(first)
    quoted = layout.quoted
    if quoted is None:
        quoted = re.search(rf'(^|{re.escape(separator)}|\n)\s*"', head) is not None
    quote = '"' if quoted else ""
    escape = "\\" if quoted and _escapes_by_backslash(head, separator) else quote
    if layout.columns is None:
        header = next(csv.reader([first.replace(separator, "\x1f")], delimiter="\x1f"), [])
        columns = _unique(header)
        _check_header(name, header, separator)
    else:
        columns = list(layout.columns)
        columns += [f"column{number}" for number in range(len(columns) + 1, first.count(separator) + 2)]
        columns = columns[: first.count(separator) + 1]
    rejects = f"{view}_rejects"
    typed = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
    options = (
        f"auto_detect=false, delim={literal(separator)}, quote={literal(quote)}, escape={literal(escape)}, "
        f"skip={skip}, header={'false' if layout.columns else 'true'}, columns={{{typed}}}, store_rejects=true, "
        f"rejects_table={literal(rejects)}, rejects_scan={literal(view + '_scans')}, "
        f"compression={literal(_codec(path))}"
    )
    con.execute(
        f"CREATE VIEW {view} AS SELECT row_number() OVER () AS {identifier(ROW)}, * FROM "
        f"read_csv({literal(path)}, {options})"
    )
    shown = {"\t": "tab"}.get(separator, separator)
    notes = [*notes, f"separated by {shown}"] if separator != "," else notes
    return OpenedFile(
        name=name,
        view=view,
        columns=dict.fromkeys(columns, "VARCHAR"),
        notes=notes,
        rejects=rejects,
        path=path,
        header=layout.columns is None,
        dialect=(separator, quote),
    )


def _separator(first: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", first)
    counts = {separator: unquoted.count(separator) for separator in _SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] else ","


def _check_header(name: str, header: list[str], separator: str) -> None:
    numbers = [value for value in header if re.fullmatch(r"-?\d+([.,]\d+)?|", value.strip())]
    if len(numbers) > len(header) / 2:
        raise DataError(
            f"{name}: the first line ({separator.join(header)[:80]}) looks like data; write a line with the names of "
            "the columns before it"
        )


def _unique(header: list[str]) -> list[str]:
    """Return names that differ, in upper and lower case as well, and are not empty."""
    columns: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(header, 1):
        base = column = name.strip() or f"column{number}"
        copy = 1
        while column.lower() in taken:
            copy += 1
            column = f"{base}_{copy}"
        taken.add(column.lower())
        columns.append(column)
    return columns


def _codec(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    return "gzip" if head[:2] == _GZIP else "zstd" if head == _ZSTD else "none"


def _json(con: ImportDatabase, path: Path, notes: list[str], *, name: str, view: str) -> OpenedFile:
    with _reader(path) as file:
        array = file.read(_BLOCK).decode("utf-8", errors="replace").removeprefix("\ufeff").lstrip().startswith("[")
    layout = "array" if array else "newline_delimited"
    ignore = "" if array else ", ignore_errors=true"  # an array that is not well-formed has no rows
    source = (
        f"read_json_objects({literal(path)}, format='{layout}', compression={literal(_codec(path))}"
        f"{ignore}, maximum_object_size={1 << 25})"
    )
    keys = con.execute(
        f"SELECT DISTINCT unnest(json_keys(json)) AS key FROM {source} WHERE json IS NOT NULL ORDER BY 1"
    )
    names = [str(row[0]) for row in keys]
    if not names:
        raise DataError(f"{name} holds no JSON object")
    columns = _unique(names)
    rows = f"(SELECT row_number() OVER () AS {identifier(ROW)}, json FROM {source})"
    objects = "json IS NOT NULL AND json_type(json) = 'OBJECT'"
    count, first = con.execute(f"SELECT count(*), min({identifier(ROW)}) FROM {rows} WHERE NOT ({objects})")[0]
    fields = ", ".join(
        f"json ->> {literal('$.' + _path_key(key))} AS {identifier(column)}"
        for key, column in zip(names, columns, strict=True)
    )
    con.execute(f"CREATE VIEW {view} AS SELECT {identifier(ROW)}, {fields} FROM {rows} WHERE {objects}")
    broken = (int(count), int(first), "" if array else _line(path, first)) if count else (0, 0, "")
    return OpenedFile(name=name, view=view, columns=dict.fromkeys(columns, "VARCHAR"), notes=notes, broken=broken)


def _line(path: Path, number: int) -> str:
    with _reader(path) as file:
        return next(itertools.islice(file, number - 1, None), b"").decode("utf-8", errors="replace")


def _path_key(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def _arrow(con: ImportDatabase, path: Path, view: str) -> OpenedFile:
    import pyarrow as pa
    import pyarrow.dataset as ds

    if path.suffix.lower() in _COMPRESSED:
        raise DataError(f"{path}: unpack it first; Arrow files are compressed inside")
    with path.open("rb") as file:
        whole = file.read(6) == b"ARROW1"
    # A file can be read in pieces; a stream has no list of its pieces, and is read whole.
    source = ds.dataset(path, format="ipc") if whole else pa.ipc.open_stream(path.read_bytes()).read_all()
    con.register(f"{view}_arrow", source)
    return _typed(con, path.name, view, f"{view}_arrow")


def _typed(con: ImportDatabase, name: str, view: str, source: str) -> OpenedFile:
    described = con.execute(f"DESCRIBE SELECT * FROM {source}")
    columns = {str(row[0]): str(row[1]) for row in described}
    fields = ", ".join(
        f"CAST(to_json({identifier(column)}) AS VARCHAR) AS {identifier(column)}"
        if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION"))
        # a column without a value has no type
        else f"CAST({identifier(column)} AS VARCHAR) AS {identifier(column)}"
        if kind.strip('"') == "NULL"
        else identifier(column)
        for column, kind in columns.items()
    )
    con.execute(f"CREATE VIEW {view} AS SELECT row_number() OVER () AS {identifier(ROW)}, {fields} FROM {source}")
    seen = con.execute(f"DESCRIBE {view}")
    return OpenedFile(name=name, view=view, columns={str(row[0]): str(row[1]) for row in seen[1:]})
