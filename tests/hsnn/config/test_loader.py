"""The configuration: precedence, unknown keys in every source, durations, round trip, secrets, digest."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hsnn.config.loader import Config, ConfigError, known_keys, load
from hsnn.config.render import PRESET_KEYS, commented, config_digest, effective, masked, reference, show
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


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `hsnn.toml` and no variables of whoever runs the tests."""
    import os

    for variable in list(os.environ):
        if variable.startswith("HSNN_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def written(folder: Path, text: str, name: str = "hsnn.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_each_source_is_stronger_than_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, FILE)
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
    other = written(tmp_path, "[streaming]\nbatch_size = 7\n", "other.toml")
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
    path = written(tmp_path, f"{key} = 1\n", "typo.toml")
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
    written(tmp_path, "[streaming]\nbatch_size = -1\n")
    with pytest.raises(ConfigError, match=r"hsnn\.toml: streaming\.batch_size = -1"):
        load()
    written(tmp_path, "streaming = [\n")
    with pytest.raises(ConfigError, match=r"hsnn\.toml is not TOML"):
        load()
    written(tmp_path, "")
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
    assert config.monitoring.rules == {"loss_drift": "refresh", "mix_drift": "none"}
    assert config.trainer.expire_after_idle == 86400.0
    assert load(overrides=["trainer.expire_after_idle=none"]).config.trainer.expire_after_idle is None


def test_the_written_file_explains_every_key_and_reads_back_as_the_defaults(tmp_path: Path) -> None:
    text = commented()
    loaded = load(written(tmp_path, text))
    assert loaded.config == Config()
    assert set(loaded.origins) == set(known_keys()) - PRESET_KEYS
    for key in known_keys().values():
        if key.field.description:
            mark = "# " if key.name in PRESET_KEYS else ""
            assert f"# {key.field.description}\n{mark}{key.name.rpartition('.')[2]} = " in text


def test_a_written_file_leaves_the_preset_its_say(tmp_path: Path) -> None:
    model = load(written(tmp_path, commented()), ["trainer.model.preset=medium"]).config.trainer.model
    assert (model.user_vectors, model.item_vectors, model.dim, model.over_arch) == (10, 4, 48, "mlp")


def test_what_is_shown_reads_back_and_names_origins(tmp_path: Path) -> None:
    loaded = load(overrides=["trainer.expire_after_idle=90m", "trainer.action_weights.add to cart=2"])
    text = show(loaded)
    assert 'expire_after_idle = "90m"  # --set' in text
    assert load(written(tmp_path, text)).config == loaded.config


def test_secrets_are_masked_wherever_they_stand() -> None:
    overrides = [
        "redis.url=rediss://me:pa%2055@db:6380/1",
        "streaming.log=kafka://h1:9092,h2:9092?security_protocol=SASL_SSL&sasl_plain_username=me&sasl_plain_password=pa55&x=1",
    ]
    loaded = load(overrides=overrides)
    text = show(loaded)
    assert "pa%2055" not in text
    assert "pa55" not in text
    assert 'url = "rediss://me:***@db:6380/1"' in text
    assert "sasl_plain_username=me&sasl_plain_password=***&x=1" in text
    assert masked("redis://:pw@h/0") == "redis://:***@h/0"
    assert masked("redis://h:6379/0") == "redis://h:6379/0"
    assert masked("redis://me:p@ss@h:1/0") == "redis://me:***@h:1/0"


def test_the_digest_follows_values_but_not_secrets() -> None:
    def digest(*overrides: str) -> str:
        return config_digest(load(overrides=overrides).config)

    assert digest() == config_digest(Config())
    assert len(digest()) == 64
    assert digest("trainer.model.dim=16") != digest()
    assert digest("redis.url=redis://:one@h:1/0") == digest("redis.url=redis://:two@h:1/0")
    assert digest("trainer.expire_after_idle=60m") == digest("trainer.expire_after_idle=1h")


def test_the_documentation_lists_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert reference() in page, "docs/configuration.md is out of date: run `make docs`"


def test_effective_holds_json_values_only() -> None:
    import json

    assert set(json.loads(json.dumps(effective(Config())))) == set(known_keys())


def test_the_example_in_the_docs_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(example)
    load(written(tmp_path, example))
