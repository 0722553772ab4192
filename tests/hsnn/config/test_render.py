"""The written file, the displayed configuration, masked secrets, and the table in the documentation."""

from __future__ import annotations

from pathlib import Path

from hsnn.config.loader import load
from hsnn.config.masking import mask_address
from hsnn.config.render import PRESET_KEYS, commented, reference, show
from hsnn.config.schema import Config, known_keys
from tests.hsnn.config.conftest import write_config
from tests.paths import ROOT


def test_the_written_file_explains_every_key_and_reads_back_as_the_defaults(tmp_path: Path) -> None:
    text = commented()
    loaded = load(write_config(tmp_path, text))
    assert loaded.config == Config()
    assert set(loaded.origins) == set(known_keys()) - PRESET_KEYS
    for key in known_keys().values():
        if key.field.description:
            mark = "# " if key.name in PRESET_KEYS else ""
            assert f"# {key.field.description}\n{mark}{key.name.rpartition('.')[2]} = " in text


def test_a_written_file_leaves_the_preset_its_say(tmp_path: Path) -> None:
    model = load(write_config(tmp_path, commented()), ["trainer.model.preset=medium"]).config.trainer.model
    assert (model.user_vectors, model.item_vectors, model.dim, model.over_arch) == (10, 4, 48, "mlp")


def test_what_is_shown_reads_back_and_names_origins(tmp_path: Path) -> None:
    loaded = load(overrides=["trainer.expire_after_idle=90m", "trainer.action_weights.add to cart=2"])
    text = show(loaded)
    assert 'expire_after_idle = "90m"  # --set' in text
    assert load(write_config(tmp_path, text)).config == loaded.config


def test_what_tables_leave_open_is_shown_so_that_it_reads_back(tmp_path: Path) -> None:
    arms = '{"own": {"share": 1}, "other": {"prefix": "challenger", "beam": 64}}'
    tokens = '{"shop": {"env": "SHOP"}}'
    given = ["serving.experiment.name=x", f"serving.experiment.arms={arms}", f"serving.tokens={tokens}"]
    loaded = load(None, given)
    assert load(write_config(tmp_path, show(loaded))).config == loaded.config


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
    assert mask_address("redis://:pw@h/0") == "redis://:***@h/0"
    assert mask_address("redis://h:6379/0") == "redis://h:6379/0"
    assert mask_address("redis://me:p@ss@h:1/0") == "redis://me:***@h:1/0"


def test_the_documentation_lists_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert reference() in page, "docs/configuration.md is out of date: run `make docs`"
