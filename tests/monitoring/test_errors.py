"""Which errors get a message for users."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement

from hsnn.monitoring.errors import HsnnError, missing_package, user_message
from tests.paths import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_faults_of_the_program_keep_their_traceback() -> None:
    assert user_message(HsnnError("say this")) == "say this"
    assert user_message(ZeroDivisionError("a fault")) is None


@pytest.mark.parametrize("extra", ["arrow", "train"])
def test_a_package_is_missed_with_the_extra_that_installs_it(extra: str) -> None:
    packages = {Requirement(text).name.removeprefix("python-") for text in EXTRAS[extra]} - {"hsnn"}
    for package in packages:
        said = missing_package(ModuleNotFoundError(name=package))
        assert said is not None, package
        assert said.endswith(f"pip install 'hsnn[{extra}]'")


def test_another_extra_is_named_where_all_of_it_is_needed() -> None:
    said = user_message(ModuleNotFoundError(name="pyarrow"), "all")
    assert said is not None
    assert said.endswith("pip install 'hsnn[all]'")
    assert user_message(ModuleNotFoundError(name="hsnn.absent"), "all") is None
