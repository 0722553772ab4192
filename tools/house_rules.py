"""Check the rules of the source tree that no published linter has: sizes of folders, names, calls, constants, words.

Run from the root of the clone: ``python -m tools.house_rules [FOLDER/ ...]``. Every complaint is one line,
``path:line: what``; the exit status is 1 if there is one. ``docs/architecture.md`` has the reasons.
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
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOMS = ("monitoring", "streaming", "trainer", "indexer", "serving", "evaluation", "hsnn")
"""Top-level folders of the product."""

PROGRAMS = ("benchmarks", "tools")
"""Top-level folders of programs about it, whose names, calls and constants are held to the same rules."""

MAX_FILES = 16
"""Files in one folder of a room, `__init__` not counted; with more, several ideas lie side by side."""

MAX_LINES = 500
"""Lines of a file; with more, several ideas lie one below the other."""

MAX_POSITIONAL = 4
"""Positional arguments of a call; with more, a reader cannot tell which is which."""

VARIADIC = frozenset({"joinpath", "Path", "key", "min", "max", "print", "zip", "einsum", "union", "execute_command"})
"""Functions whose positional arguments are all of one kind, however many; others that the same file defines."""

READABLE = frozenset({".py", ".md", ".toml", ".yml", ".lua"})
"""Files in which retired words are looked for."""

CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*$")


class Complaint(NamedTuple):
    """A line that breaks a rule; `path` is relative to the root."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Tree:
    """The files of a clone: those that are committed or would be. Links are left out, so that no file comes twice.

    Parameters
    ----------
    root
        Of a git work tree.
    """

    def __init__(self, root: Path) -> None:
        listed = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        self.root = root
        self.names = [name for name in listed if (root / name).is_file() and not (root / name).is_symlink()]
        self.product = self.sources(ROOMS)
        self.programs = self.sources(PROGRAMS)
        self.text = cache(self._text)
        self.parsed = cache(self._parsed)

    def sources(self, folders: Sequence[str]) -> list[str]:
        """Return the Python files under top-level folders."""
        return [name for name in self.names if name.endswith(".py") and name.partition("/")[0] in folders]

    def _text(self, name: str) -> str:
        return (self.root / name).read_text("utf-8")

    def _parsed(self, name: str) -> ast.Module:
        return ast.parse(self.text(name), name)


def sizes(tree: Tree) -> Iterator[Complaint]:
    """Complain of folders with too many files and of files with too many lines."""
    folders: dict[str, int] = defaultdict(int)
    for name in tree.product:
        folder, _, file = name.rpartition("/")
        folders[folder] += file != "__init__.py"
        if (lines := len(tree.text(name).splitlines())) > MAX_LINES:
            yield Complaint(name, lines, f"{lines} lines, at most {MAX_LINES}: which of its ideas wants its own file?")
    for folder, files in folders.items():
        if files > MAX_FILES:
            yield Complaint(folder, 0, f"{files} files, at most {MAX_FILES}: which of them belong together?")


def class_names(tree: Tree) -> Iterator[Complaint]:
    """Complain of a class name that stands for two things."""
    seen: dict[str, str] = {}
    for name in tree.product + tree.programs:
        for node in ast.walk(tree.parsed(name)):
            if isinstance(node, ast.ClassDef):
                if node.name in seen:
                    yield Complaint(name, node.lineno, f"the class name {node.name} is taken, by {seen[node.name]}")
                seen.setdefault(node.name, f"{name}:{node.lineno}")


def positional_arguments(tree: Tree) -> Iterator[Complaint]:
    """Complain of calls with many positional arguments."""
    for name in tree.product + tree.programs:
        nodes = list(ast.walk(tree.parsed(name)))
        variadic = VARIADIC | {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.args.vararg}
        for node in nodes:
            if not isinstance(node, ast.Call) or len(node.args) <= MAX_POSITIONAL:
                continue
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in variadic or any(isinstance(arg, ast.Starred) for arg in node.args):
                continue
            yield Complaint(name, node.lineno, f"{called} is called with {len(node.args)} positional arguments")


def formatter_switches(tree: Tree) -> Iterator[Complaint]:
    """Complain of places where the formatter is switched off."""
    for name in tree.names:
        if name.endswith(".py") and "fmt:" in tree.text(name):
            with (tree.root / name).open("rb") as file:
                for token in tokenize.tokenize(file.readline):
                    if token.type == tokenize.COMMENT and re.match(r"#\s*fmt:", token.string):
                        yield Complaint(name, token.start[0], "the formatter is switched off")


def constants(tree: Tree) -> Iterator[Complaint]:
    """Complain of number constants of a module without a comment above them or a docstring below."""
    for name in tree.product + tree.programs:
        lines, body = tree.text(name).splitlines(), tree.parsed(name).body
        for node, after in zip_longest(body, body[1:]):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not _is_arithmetic(node.value):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            if not assigned or not all(CONSTANT.match(one) for one in assigned):
                continue
            above = node.lineno >= 2 and lines[node.lineno - 2].lstrip().startswith("#")
            below = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not above and not below:
                what = f"{', '.join(assigned)} has neither unit nor reason in the line above"
                yield Complaint(name, node.lineno, what)


def _is_arithmetic(value: ast.expr | None) -> bool:
    """Whether an expression is made of numbers, names and operators, with one number at least."""
    if value is None:
        return False
    parts = [part for part in ast.walk(value) if not isinstance(part, ast.operator | ast.unaryop | ast.expr_context)]
    values = [part.value for part in parts if isinstance(part, ast.Constant)]
    allowed = all(isinstance(part, ast.Constant | ast.BinOp | ast.UnaryOp | ast.Tuple | ast.Name) for part in parts)
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    return bool(values) and allowed and numbers


def mirrored_tests(tree: Tree) -> Iterator[Complaint]:
    """Complain of a test file whose path does not say which source file it tests.

    ``tests/ROOM/PACKAGE/test_NAME.py`` and ``test_NAME_ASPECT.py`` test ``ROOM/PACKAGE/NAME.py`` (or the package NAME);
    ``test_integration_WHAT.py`` tests several files.
    """
    stems: dict[str, set[str]] = defaultdict(set)
    for name in tree.names:
        if name.endswith(".py"):
            *folders, file = name.split("/")
            stems["/".join(folders)].add("init" if file == "__init__.py" else file.removesuffix(".py"))
            if folders:
                stems["/".join(folders[:-1])].add(folders[-1])
    for name in tree.names:
        match = re.fullmatch(r"tests/((?:\w+/)*\w+)/test_(\w+)\.py", name)
        if not match or match[1].partition("/")[0] == "project":
            continue
        folder, stem = match.groups()
        tested = any(stem == source or stem.startswith(f"{source}_") for source in stems[folder])
        if not tested and not stem.startswith("integration_"):
            yield Complaint(name, 1, f"no file of {folder}/ has this name; tests of several are test_integration_*.py")


def tested_sources(tree: Tree) -> Iterator[Complaint]:
    """Complain of a source file whose tests are not found by its path.

    It has a test file of its name, an example in a docstring, no function, or a line in ``tools/tested_elsewhere.toml``
    that names the test file which covers it.
    """
    listed = "tools/tested_elsewhere.toml"
    elsewhere: dict[str, str] = tomllib.loads(tree.text(listed)) if listed in tree.names else {}
    for name, test in elsewhere.items():
        if name not in tree.product or test not in tree.names:
            yield Complaint(listed, 1, f"{name if name not in tree.product else test} does not exist")
    tests: dict[str, set[str]] = defaultdict(set)
    for name in tree.names:
        folder, _, file = name.rpartition("/")
        if file.startswith("test_"):
            tests[folder].add(file.removeprefix("test_").removesuffix(".py"))
    for name in tree.product:
        folder, _, file = name.removesuffix(".py").rpartition("/")
        parent, _, package = folder.rpartition("/")
        places = ((f"tests/{folder}", file), (f"tests/{parent}", package))
        own = any(stem == what or stem.startswith(f"{what}_") for place, what in places for stem in tests[place])
        if name in elsewhere:
            if own:
                yield Complaint(listed, 1, f"{name} has tests of its name: its line is not needed")
        elif not own and file != "__init__" and ">>>" not in tree.text(name) and _has_functions(tree.parsed(name)):
            yield Complaint(name, 1, f"no test has its name; write one, or name its test in {listed}")


def _has_functions(module: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(module))


def retired_words(tree: Tree) -> Iterator[Complaint]:
    """Complain of words that the files of ``tools/retired_words`` retire."""
    folder = "tools/retired_words/"
    rules = [
        (
            re.compile(rule["pattern"], re.MULTILINE),
            rule["use"],
            tuple(rule.get("only", ())),
            tuple(rule.get("except", ())),
        )
        for name in tree.names
        if name.startswith(folder)
        for rule in tomllib.loads(tree.text(name))["word"]
    ]
    for name in tree.names:
        if Path(name).suffix not in READABLE or name.startswith(folder) or name == "CHANGELOG.md":
            continue
        here = [
            (pattern, use)
            for pattern, use, only, exempt in rules
            if (not only or name.startswith(only)) and not name.startswith(exempt or ("\0",))
        ]
        for pattern, use in here:
            for match in pattern.finditer(tree.text(name)):
                number = tree.text(name).count("\n", 0, match.end() - 1) + 1
                yield Complaint(name, number, f"{match.group().strip()!r} is retired: {use}")


RULES = (
    sizes,
    class_names,
    positional_arguments,
    formatter_switches,
    constants,
    mirrored_tests,
    tested_sources,
    retired_words,
)


def complaints(root: Path) -> list[Complaint]:
    """Apply all rules to the clone in `root`."""
    tree = Tree(root)
    return sorted({complaint for rule in RULES for complaint in rule(tree)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the complaints; 0 if there are none."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tools.house_rules", description=summary)
    parser.add_argument("folders", nargs="*", help="complain of files under these folders only")
    wanted = tuple(parser.parse_args(arguments).folders) or ("",)
    found = [complaint for complaint in complaints(Path.cwd()) if complaint.path.startswith(wanted)]
    for complaint in found:
        print(complaint)
    print(f"{len(found)} complaints." if found else "No complaints.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
