from __future__ import annotations

import json

import pytest

from benchmarks.parts import server_install


def test_a_base_install_has_no_torch():
    sizes = server_install.base_install()
    assert "torch" not in sizes
    assert sizes["numpy"] > 1
    assert sizes["all"] >= sum(size for name, size in sizes.items() if name != "all")


@pytest.mark.slow
def test_imports_are_measured_with_and_without_torch(tmp_path):
    server_install.main(["--rounds", "1", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert 0 < found["server"]["mib"] < found["server_after_torch"]["mib"]
