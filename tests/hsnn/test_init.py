"""`import hsnn` is cheap and offers the public names of all rooms."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import hsnn
from tests.base_installation import BASE_INSTALLATION
from tests.paths import ROOT


def test_every_public_name_is_there() -> None:
    for name in hsnn.__all__:
        assert getattr(hsnn, name) is not None
    assert dir(hsnn) == sorted(hsnn.__all__)


def test_type_checkers_see_the_same_names_as_users() -> None:
    tree = ast.parse((ROOT / "hsnn" / "__init__.py").read_text())
    imported = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {name: imported[name] for name in hsnn.__all__} == hsnn._MODULES


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"nonsense.*Learner"):
        hsnn.nonsense  # noqa: B018


def test_importing_it_imports_no_room() -> None:
    code = (
        "import sys, hsnn; print([name for name in ('torch', 'numpy', 'hsnn.trainer', 'redis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_name_that_the_base_installation_cannot_import_says_what_to_install() -> None:
    code = BASE_INSTALLATION + "import hsnn; hsnn.Client\ntry: hsnn.Learner\nexcept ImportError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("hsnn.Learner: this needs the package torch")
    assert "pip install 'hsnn[train]'" in done.stdout


@pytest.mark.slow
def test_reading_the_configuration_does_not_import_torch() -> None:
    code = (
        "import sys, hsnn.config.loader; print([name for name in ('torch', 'pyarrow', 'kafka') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
