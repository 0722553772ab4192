"""Every rule of the source tree, on a tree that keeps it and on one that breaks it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.house_rules import MAX_FILES, MAX_LINES, complaints, main

Clone = Callable[[dict[str, str]], list[str]]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Make a work tree of files with these texts, and return what is wrong with it."""

    def made(files: dict[str, str]) -> list[str]:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return [str(complaint) for complaint in complaints(tmp_path)]

    return made


RETIRED = """
[[word]]
pattern = '\\bchores\\b'
use = "maintenance"
except = ["docs/history.md"]

[[word]]
pattern = '\\bshelf\\b'
use = "retention"
only = ["indexer/"]
"""

COVERED = '"trainer/model/scorer.py" = "tests/trainer/test_integration_all.py"'


def test_a_folder_has_a_limited_number_of_files(clone: Clone) -> None:
    files = {f"trainer/model/file{number}.py": "" for number in range(MAX_FILES)}
    assert clone({**files, "trainer/model/__init__.py": ""}) == []
    assert clone({"trainer/model/one_more.py": ""})[0].startswith(f"trainer/model:0: {MAX_FILES + 1} files")


def test_a_file_has_a_limited_number_of_lines(clone: Clone) -> None:
    assert clone({"trainer/long.py": "\n" * MAX_LINES}) == []
    assert clone({"trainer/long.py": "\n" * (MAX_LINES + 1)})[0].startswith(f"trainer/long.py:{MAX_LINES + 1}: ")


def test_a_class_name_stands_for_one_thing(clone: Clone) -> None:
    assert clone({"trainer/a.py": "class Found: ...", "tests/b.py": "class Found: ..."}) == []
    assert clone({"serving/c.py": "class Found: ..."}) == [
        "trainer/a.py:1: the class name Found is taken, by serving/c.py:1"
    ]
    assert clone({"serving/c.py": "", "benchmarks/d.py": "class Found: ..."}) == [
        "benchmarks/d.py:1: the class name Found is taken, by trainer/a.py:1"
    ]


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("f(1, 2, 3, 4)", False),
        ("f(1, 2, 3, 4, 5)", True),
        ("f(1, 2, 3, 4, fifth=5)", False),
        ("a.b(1, 2, 3, 4, 5)", True),
        ("f(*many, 2, 3, 4, 5)", False),
        ("max(1, 2, 3, 4, 5)", False),
    ],
)
def test_five_positional_arguments_are_too_many(clone: Clone, call: str, refused: bool) -> None:
    assert bool(clone({"trainer/a.py": call})) is refused
    assert bool(clone({"trainer/a.py": "", "tools/a.py": call})) is refused


def test_a_function_of_any_number_of_arguments_is_called_with_them(clone: Clone) -> None:
    assert clone({"tools/a.py": "def f(*words): ...\nf(1, 2, 3, 4, 5)"}) == []


def test_the_formatter_is_never_switched_off(clone: Clone) -> None:
    assert clone({"tests/a.py": 'x = "# fmt: skip"'}) == []
    assert clone({"tests/a.py": "x = 1  # fmt: skip"}) == ["tests/a.py:1: the formatter is switched off"]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("LIMIT = 5", True),
        ("_LIMIT = 2**20", True),
        ("A, B = 1, 2", True),
        ("LIMIT: float = -0.5", True),
        ("# bytes; one message of the log\nLIMIT = 5", False),
        ('LIMIT = 5\n"""Bytes; one message of the log."""', False),
        ('NAME = "five"', False),
        ("DEBUG = True", False),
        ("limit = 5", False),
        ("LIMIT = compute(5)", False),
    ],
)
def test_a_number_has_unit_and_reason(clone: Clone, text: str, refused: bool) -> None:
    assert bool(clone({"trainer/a.py": text})) is refused
    assert bool(clone({"trainer/a.py": "", "benchmarks/b.py": text})) is refused


@pytest.mark.parametrize(
    ("test", "refused"),
    [
        ("tests/trainer/model/test_scorer.py", False),
        ("tests/trainer/model/test_scorer_bounds.py", False),
        ("tests/trainer/model/test_integration_serving.py", False),
        ("tests/trainer/test_model.py", False),
        ("tests/trainer/model/test_init.py", False),
        ("tests/trainer/test_scorer.py", True),
        ("tests/trainer/model/test_score.py", True),
        ("tests/project/test_anything.py", False),
    ],
)
def test_a_test_is_found_by_the_path_of_what_it_tests(clone: Clone, test: str, refused: bool) -> None:
    sources = {"trainer/model/__init__.py": "", "trainer/model/scorer.py": ""}
    assert bool(clone({**sources, test: ""})) is refused


def test_retired_words_do_not_come_back(clone: Clone) -> None:
    files = {
        "tools/retired_words/any.toml": RETIRED,
        "docs/history.md": "chores",
        "CHANGELOG.md": "chores",
        "trainer/a.py": "# a shelf",
    }
    assert clone(files) == []
    assert clone({"docs/page.md": "\nDo chores.", "indexer/b.py": "shelf = 1"}) == [
        "docs/page.md:2: 'chores' is retired: maintenance",
        "indexer/b.py:1: 'shelf' is retired: retention",
    ]


def test_the_exit_status_says_whether_anything_is_wrong(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone({"trainer/a.py": "LIMIT = 5", "serving/b.py": ""})
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert main(["trainer/"]) == 1
    assert main(["serving/"]) == 0
    assert capsys.readouterr().out.endswith("No complaints.\n")


def test_links_are_not_followed(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "hsnn").mkdir(parents=True)
    (tmp_path / "hsnn" / "trainer").symlink_to("../trainer")
    assert len(clone({"trainer/a.py": "LIMIT = 5"})) == 1


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ({}, "trainer/model/scorer.py:1: no test has its name"),
        ({"tests/trainer/model/test_scorer.py": ""}, ""),
        ({"tests/trainer/model/test_scorer_bounds.py": ""}, ""),
        ({"tests/trainer/test_model.py": ""}, ""),
        ({"trainer/model/scorer.py": 'def f():\n    """>>> f()"""'}, ""),
        ({"trainer/model/scorer.py": "LIMIT = 'five'"}, ""),
        ({"tests/trainer/test_integration_all.py": "", "tools/tested_elsewhere.toml": COVERED}, ""),
        ({"tools/tested_elsewhere.toml": COVERED}, "tests/trainer/test_integration_all.py does not exist"),
        (
            {
                "tests/trainer/test_integration_all.py": "",
                "tests/trainer/model/test_scorer.py": "",
                "tools/tested_elsewhere.toml": COVERED,
            },
            "its line is not needed",
        ),
    ],
)
def test_a_source_file_has_tests_that_are_found(clone: Clone, more: dict[str, str], refused: str) -> None:
    found = clone({"trainer/model/__init__.py": "", "trainer/model/scorer.py": "def f(): ...", **more})
    assert bool(found) is bool(refused)
    assert refused in "".join(found)
