from __future__ import annotations

import json

import pytest

from benchmarks.serving import __main__ as serving
from benchmarks.serving import modes, over_http, workers


def test_unknown_peers_and_small_catalogues_are_refused(capsys):
    for arguments in (["--peers", "elsewhere"], ["--items", "10"]):
        with pytest.raises(SystemExit):
            serving.main(arguments)
    assert "there are: hnswlib, faiss" in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_run_finds_what_an_exhaustive_search_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "USERS", 5)
    monkeypatch.setattr(serving, "ROUNDS", 1)
    serving.main(["--items", "2000", "--peers", "hnswlib,faiss", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["sizes"]["2000"]
    assert found["engine"][-1]["recall"] > 0.99
    assert min(look["recall"] for look in found["engine, filtered"]) > 0.99
    assert all(look["us"] > 0 for looks in found.values() for look in looks)


@pytest.mark.slow
@pytest.mark.long("compiled kernels")
@pytest.mark.timeout(600)
def test_modes_find_the_same_by_both_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(modes, "ASKED", 3)
    modes.main(["--items", "2000", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["sizes"]["2000"]
    assert set(found) == {"exact", "exhaustive", "similar"}
    assert min(found["similar"]["recall"].values()) > 0.99
    assert found["exact"]["scored_share"]["engine"] < found["exhaustive"]["scored_share"]["engine"] == 1


@pytest.mark.slow
@pytest.mark.long("compiled kernels")
@pytest.mark.timeout(600)
def test_a_server_is_measured_over_http(tmp_path, monkeypatch):
    monkeypatch.setattr(over_http, "ROUNDS", 1)
    over_http.main(["--items", "2000", "--requests", "100", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["items"] == 2000
    assert found["this checkout"]["per_cpu_second"] > 1
    assert 0 < found["this checkout"]["p50_ms"] <= found["this checkout"]["p99_ms"]


@pytest.mark.slow
@pytest.mark.long("compiled kernels")
@pytest.mark.timeout(600)
def test_servers_of_one_and_of_two_workers_are_measured_in_turns(tmp_path):
    sizes = ["--items", "2000", "--workers", "1,2", "--connections", "4"]
    workers.main([*sizes, "--seconds", "0.5", "--rounds", "1", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())["workers"]
    assert found.keys() == {"1", "2"}
    for one in found.values():
        assert one["per_second"] > 1
        assert one["per_cpu_second"] > 1
        assert 0 < one["p50_ms"] <= one["p99_ms"]
    assert found["2"]["memory_mib"] > found["1"]["memory_mib"]
