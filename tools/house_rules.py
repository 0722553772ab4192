"""Check the rules of the source tree that no published linter has: sizes of folders, names, calls, constants, words.

Run from the root of the clone: ``python -m tools.house_rules``. Every complaint is one line, ``path:line: what``; the
exit status is 1 if there is one. The rules are explained in ``docs/architecture.md``.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("monitoring", "streaming", "trainer", "indexer", "serving", "evaluation", "hsnn")
"""Folders of the product."""

MOST_FILES = 16
"""Files in one folder of a room, `__init__` not counted: more of them are several ideas side by side."""

MOST_LINES = 500
"""Lines of a file: more of them are several ideas one below the other."""

MOST_POSITIONAL = 4
"""Positional arguments of a call: with more, a reader cannot tell which is which."""

RETIRED = ROOT / "tools" / "retired_words"
READABLE = frozenset({".py", ".md", ".toml", ".yml", ".lua"})
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*$")


class Complaint(NamedTuple):
    """One line that breaks a rule."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.what}"


@cache
def tracked() -> tuple[Path, ...]:
    """List the files that are committed, or would be; links are left out, so that no file comes twice."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return tuple(path for path in map(ROOT.joinpath, listed) if path.is_file() and not path.is_symlink())


@cache
def product() -> tuple[Path, ...]:
    """List the Python files of the rooms."""
    return tuple(path for path in tracked() if path.suffix == ".py" and room_of(path) in ROOMS)


def room_of(path: Path) -> str:
    """Name the top-level folder of a file.

    Examples
    --------
    >>> room_of(ROOT / "trainer" / "index" / "levels.py")
    'trainer'
    """
    return path.relative_to(ROOT).parts[0]


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text("utf-8"), str(path))


def sizes() -> Iterator[Complaint]:
    """Complain of folders with too many files and of files with too many lines."""
    folders = defaultdict(list)
    for path in product():
        if path.name != "__init__.py":
            folders[path.parent].append(path)
        if (lines := len(path.read_text("utf-8").splitlines())) > MOST_LINES:
            yield Complaint(path, lines, f"{lines} lines, at most {MOST_LINES}: which of its ideas wants its own file?")
    for folder, files in folders.items():
        if len(files) > MOST_FILES:
            yield Complaint(folder, 0, f"{len(files)} files, at most {MOST_FILES}: which of them belong together?")


def class_names() -> Iterator[Complaint]:
    """Complain of a class name that stands for two things."""
    seen: dict[str, tuple[Path, int]] = {}
    for path in product():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                if node.name in seen:
                    other, line = seen[node.name]
                    where = f"{other.relative_to(ROOT)}:{line}"
                    yield Complaint(path, node.lineno, f"the class name {node.name} is taken, by {where}")
                seen.setdefault(node.name, (path, node.lineno))


def positional() -> Iterator[Complaint]:
    """Complain of calls with many positional arguments; variadic functions of a path or a key's parts are let be."""
    for path in product():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL:
                name = ast.unparse(node.func)
                if name.rpartition(".")[2] in VARIADIC or any(isinstance(arg, ast.Starred) for arg in node.args):
                    continue
                yield Complaint(path, node.lineno, f"{name} is called with {len(node.args)} positional arguments")


VARIADIC = frozenset({"joinpath", "Path", "key", "min", "max", "print", "zip", "einsum", "union"})
"""Functions whose positional arguments are all of one kind."""


def formatter() -> Iterator[Complaint]:
    """Complain of places where the formatter is switched off."""
    for path in tracked():
        if path.suffix != ".py":
            continue
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT and re.match(r"#\s*fmt:", token.string):
                    yield Complaint(path, token.start[0], "the formatter is switched off")


def constants() -> Iterator[Complaint]:
    """Complain of number constants of a module without a comment above or a docstring below."""
    for path in product():
        lines = path.read_text("utf-8").splitlines()
        body = tree(path).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not _holds_a_number(node.value):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            if not names or not all(CONSTANT.match(name) for name in names):
                continue
            above = node.lineno >= 2 and lines[node.lineno - 2].lstrip().startswith("#")
            below = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not above and not below:
                yield Complaint(path, node.lineno, f"{', '.join(names)} has neither unit nor reason in a line above")


def _holds_a_number(value: ast.expr | None) -> bool:
    """Whether an expression is arithmetic of numbers alone."""
    if value is None:
        return False
    parts = [part for part in ast.walk(value) if not isinstance(part, ast.operator | ast.unaryop | ast.expr_context)]
    numbers = [part for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, int | float)]
    numbers = [part for part in numbers if not isinstance(part.value, bool)]
    allowed = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.Name)
    return bool(numbers) and all(isinstance(part, allowed) for part in parts)


def retired() -> Iterator[Complaint]:
    """Complain of retired words: identifiers in code, phrases in comments, docstrings and pages."""
    rules = [
        (re.compile(rule["pattern"]), rule["use"], tuple(rule.get("only", ())), tuple(rule.get("except", ())))
        for file in sorted(RETIRED.glob("*.toml"))
        for rule in tomllib.loads(file.read_text("utf-8"))["word"]
    ]
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if (
            path.suffix not in (".py", ".md", ".toml", ".yml", ".lua")
            or RETIRED in path.parents
            or name == "CHANGELOG.md"
        ):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            for pattern, use, only, exempt in rules:
                if (only and not name.startswith(only)) or (exempt and name.startswith(exempt)):
                    continue
                if match := pattern.search(line):
                    yield Complaint(path, number, f"{match.group()!r} is retired: {use}")


RULES = (sizes, class_names, positional, formatter, constants, retired)


def main(arguments: list[str] | None = None) -> int:
    """Print the complaints; 0 if there are none."""
    parser = argparse.ArgumentParser(prog="python -m tools.house_rules", description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", help="complain of files under these folders only")
    options = parser.parse_args(arguments)
    found = sorted({complaint for rule in RULES for complaint in rule()})
    wanted = [one for one in found if not options.paths or str(one).startswith(tuple(options.paths))]
    for complaint in wanted:
        print(complaint)
    print(f"{len(wanted)} complaints" if wanted else "No complaints.")
    return int(bool(wanted))


if __name__ == "__main__":
    sys.exit(main())
