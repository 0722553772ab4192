"""Precedence of the sources, unknown keys in each of them, values of every kind."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hsnn.config.loader import ConfigError, load
from hsnn.config.schema import Config
from tests.hsnn.config.conftest import write_config
from tests.paths import ROOT

FILE = """
[streaming]
batch_size = 11
partitions = 2
[trainer]
expire_after_idle = "2h"
[trainer.model]
dim = 8
"""


def test_each_source_is_stronger_than_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(tmp_path, FILE)
    assert load().config.streaming.batch_size == 11
    monkeypatch.setenv("HSNN_STREAMING__BATCH_SIZE", "22")
    monkeypatch.setenv("HSNN_TRAINER__MODEL__BEAM", "5")
    loaded = load(overrides=["streaming.batch_size=33"])
    config = loaded.config
    assert (config.streaming.batch_size, config.streaming.partitions, config.trainer.model.beam) == (33, 2, 5)
    assert config.trainer.model.dim == 8
    assert config.streaming.group == Config().streaming.group
    assert loaded.origins == {
        "streaming.batch_size": "--set",
        "streaming.partitions": path.name,
        "trainer.expire_after_idle": path.name,
        "trainer.model.dim": path.name,
        "trainer.model.beam": "HSNN_TRAINER__MODEL__BEAM",
    }


def test_the_file_is_named_by_option_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_config(tmp_path, "[streaming]\nbatch_size = 7\n", "other.toml")
    assert load(other).config.streaming.batch_size == 7
    monkeypatch.setenv("HSNN_CONFIG", str(other))
    assert load().config.streaming.batch_size == 7
    with pytest.raises(ConfigError, match=r"missing\.toml.*config init"):
        load(tmp_path / "missing.toml")


def test_without_any_source_it_is_the_defaults() -> None:
    loaded = load()
    assert loaded.config == Config()
    assert loaded.origins == {}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("streaming.batchsize", "streaming.batch_size"),
        ("hsnn.trainer.model.monn.dimm", "trainer.model.dim"),
        ("model.dim", "trainer.model.dim"),
        ("redis.uri", "redis.url"),
        ("dim", "trainer.model.dim"),
    ],
)
def test_an_unknown_key_is_rejected_in_every_source_with_the_nearest_named(
    key: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rf"{key}; did you mean {meant}\?"
    with pytest.raises(ConfigError, match=f"--set: .*{expected}"):
        load(overrides=[f"{key}=1"])
    path = write_config(tmp_path, f"{key} = 1\n", "typo.toml")
    with pytest.raises(ConfigError, match=rf"typo\.toml: .*{expected}"):
        load(path)
    variable = "HSNN_" + key.upper().replace(".", "__")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=f"{variable}: .*{expected}"):
        load()


def test_a_key_unlike_any_other_says_where_the_list_is() -> None:
    with pytest.raises(ConfigError, match="config show"):
        load(overrides=["zzz.qqq=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("streaming.batch_size=0", r"--set: streaming\.batch_size = '0': .*greater than or equal to 1"),
        ("streaming.batch_size=many", r"streaming\.batch_size = 'many': .*integer"),
        ("streaming.max_wait=10 parsecs", r"'10 parsecs' is not a duration; .*'10s'"),
        ("monitoring.rules.mix_drift=explode", r"--set: monitoring\.rules\.mix_drift = 'explode': .*'refresh'"),
        ("trainer.model.ignored_features=title", "written as JSON"),
        ("streaming.batch_size", "section.key=value"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_source(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(overrides=[override])


def test_a_bad_value_in_a_file_or_variable_names_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path, "[streaming]\nbatch_size = -1\n")
    with pytest.raises(ConfigError, match=r"hsnn\.toml: streaming\.batch_size = -1"):
        load()
    write_config(tmp_path, "streaming = [\n")
    with pytest.raises(ConfigError, match=r"hsnn\.toml is not TOML"):
        load()
    write_config(tmp_path, "")
    monkeypatch.setenv("HSNN_TRAINER__MODEL__IGNORED_FEATURES", "title")
    with pytest.raises(ConfigError, match="JSON"):
        load()


def test_values_of_every_kind_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSNN_TRAINER__ACTION_WEIGHTS__CLICK", "0.5")
    monkeypatch.setenv("HSNN_TRAINER__MODEL__IGNORED_FEATURES", '["title", "plot"]')
    monkeypatch.setenv("HSNN_MONITORING", '{"stalled_after": "1m"}')
    overrides = ["trainer.action_weights.like=3", "monitoring.rules.mix_drift=none", "trainer.expire_after_idle=1d"]
    config = load(overrides=overrides).config
    assert config.trainer.action_weights == {"click": 0.5, "like": 3.0}
    assert config.trainer.model.ignored_features == ("title", "plot")
    assert config.monitoring.stalled_after == 60.0
    assert config.monitoring.rules == {"loss_drift": "refresh", "mix_drift": "none", "mass_expiry": "notify"}
    assert config.trainer.expire_after_idle == 86400.0
    assert load(overrides=["trainer.expire_after_idle=none"]).config.trainer.expire_after_idle is None


def test_the_example_in_the_docs_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(example)
    load(write_config(tmp_path, example))


def test_the_number_of_the_format_is_read_and_a_newer_one_refused(tmp_path: Path) -> None:
    numbered = load(write_config(tmp_path, "format = 1\n[streaming]\nbatch_size = 7\n"))
    assert (numbered.config.streaming.batch_size, numbered.file_format) == (7, 1)
    assert load(write_config(tmp_path, "[streaming]\nbatch_size = 7\n")).file_format == 1
    for number, text in (("2", "a newer release has written it"), ('"1"', "not the number of a format")):
        with pytest.raises(ConfigError, match=text):
            load(write_config(tmp_path, f"format = {number}\n"))


def test_an_arm_with_the_prefix_of_the_server_itself_is_refused() -> None:
    arms = '{"own": {"share": 1}, "same": {"prefix": "shop-b"}}'
    overrides = ["redis.prefix=shop-b", "serving.experiment.name=x", f"serving.experiment.arms={arms}"]
    with pytest.raises(ConfigError, match=r"arms\.same\.prefix is 'shop-b', as redis\.prefix is"):
        load(None, overrides)
    assert load(None, overrides[1:]).config.serving.experiment.prefixes == ["shop-b"]
