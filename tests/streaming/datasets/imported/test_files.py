from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsnn.streaming.datasets import DataError
from hsnn.streaming.datasets.imported.files import OpenedFile, expand, line_numbers, open_file
from hsnn.streaming.datasets.imported.sql import ImportDatabase


@pytest.fixture
def con(tmp_path: Path) -> Iterator[ImportDatabase]:
    (tmp_path / "work").mkdir()
    opened = ImportDatabase(tmp_path / "work")
    yield opened
    opened.close()


def opened(con: ImportDatabase, tmp_path: Path, content: bytes, name: str = "a.csv") -> OpenedFile:
    (tmp_path / name).write_bytes(content)
    return open_file(con, tmp_path / name, 0)


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("latin-1", ["read as cp1252"]),
        ("utf-16", ["read as utf-16"]),
        ("utf-16-le", ["read as utf-16-le"]),
        ("utf-16-be", ["read as utf-16-be"]),
    ],
)
def test_encodings(encoding: str, note: list[str], con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, "id,größe\n1,ä\n".encode(encoding))
    assert list(file.columns) == ["id", "größe"]
    assert con.execute(f"SELECT * FROM {file.view}") == [(1, "1", "ä")]
    assert file.notes == note


def test_single_damaged_lines_of_a_file_in_utf8_are_refused(con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, "id,name\n1,ä\n".encode() + b"2,\xe4\n3,c\n")
    assert con.execute(f"SELECT id, name FROM {file.view}") == [("1", "ä"), ("3", "c")]
    assert con.execute(f"SELECT line, CAST(error_type AS VARCHAR) FROM {file.rejects}") == [(3, "INVALID ENCODING")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_separators(separator: str, con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, f"id{separator}name\n1{separator}x y\n".encode())
    assert con.execute(f"SELECT id, name FROM {file.view}") == [("1", "x y")]


def test_quotes(con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, b'id,name\n1,"a ""b"", c"\n2,"d\ne"\n')
    assert con.execute(f"SELECT id, name FROM {file.view}") == [("1", 'a "b", c'), ("2", "d\ne")]


def test_a_quote_inside_of_a_text_is_no_quoting(con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, b'id\tname\n1\t7" pan\n2\tx\n', "a.tsv")
    assert con.execute(f"SELECT id, name FROM {file.view}") == [("1", '7" pan'), ("2", "x")]


def test_the_line_that_spreadsheets_write_first(con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, b"sep=;\r\nid;name\r\n1;x\r\n")
    assert con.execute(f"SELECT id, name FROM {file.view}") == [("1", "x")]


def test_names_of_columns_differ(con: ImportDatabase, tmp_path: Path) -> None:
    assert list(opened(con, tmp_path, b"id,Name,name,,\n1,2,3,4,5\n").columns) == [
        "id",
        "Name",
        "name_2",
        "column4",
        "column5",
    ]


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"", "a.csv", "is empty"),
        (b"1,2,2023\n", "a.csv", "looks like data"),
        (b"\n1,2\n", "a.csv", "empty line"),
        (b"x", "a.xlsx", r"known are \.csv"),
        (b"x", "a.parquet", r"a\.parquet cannot be read"),
        (b"\x1f\x8b\x08\x00broken", "a.csv.gz", "cannot be read"),
        (b"3\n4\n", "a.jsonl", "no JSON object"),
        (b"[{]", "a.json", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read_are_explained(
    content: bytes, name: str, text: str, con: ImportDatabase, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=text):
        opened(con, tmp_path, content, name)


def test_lines_are_those_of_the_file(con: ImportDatabase, tmp_path: Path) -> None:
    file = opened(con, tmp_path, b'id,name\n1,"a\nb"\n\n2,c,d\n3,e\n')
    assert [row[0] for row in con.execute(f"SELECT id FROM {file.view}")] == ["1", "3"]
    assert line_numbers(file, [1, 2], [4]) == {1: 2, 2: 6, -4: 5}


def test_folders_are_their_files(tmp_path: Path) -> None:
    for name in ("b.csv", "a.json", "note.md"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in expand([tmp_path, tmp_path / "b.csv"])] == ["a.json", "b.csv", "b.csv"]
    with pytest.raises(DataError, match="no file"):
        expand([tmp_path / "c.csv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file"):
        expand([tmp_path / "empty"])
