"""The digest of the effective values."""

from __future__ import annotations

from hsnn.config.digest import config_digest, effective
from hsnn.config.loader import load
from hsnn.config.schema import Config, known_keys


def test_the_digest_follows_values_but_not_secrets() -> None:
    def digest(*overrides: str) -> str:
        return config_digest(load(overrides=overrides).config)

    assert digest() == config_digest(Config())
    assert len(digest()) == 64
    assert digest("trainer.model.dim=16") != digest()
    assert digest("redis.url=redis://:one@h:1/0") == digest("redis.url=redis://:two@h:1/0")
    assert digest("trainer.expire_after_idle=60m") == digest("trainer.expire_after_idle=1h")


def test_effective_holds_json_values_only() -> None:
    import json

    assert set(json.loads(json.dumps(effective(Config())))) == set(known_keys())
