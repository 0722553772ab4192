from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import ServerTokenError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_open_hosts_need_a_token_or_a_word(host):
    with pytest.raises(ValidationError, match="token_env"):
        ServingConfig(host=host)
    assert ServingConfig(host=host, allow_open=True).host == host
    assert ServingConfig(host=host, token_env="TOKEN").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_nothing(host):
    assert ServingConfig(host=host).token() is None


def test_the_token_comes_from_the_environment(monkeypatch):
    config = ServingConfig(token_env="HSNN_TEST_TOKEN")
    with pytest.raises(ServerTokenError, match="HSNN_TEST_TOKEN"):
        config.token()
    monkeypatch.setenv("HSNN_TEST_TOKEN", "s")
    assert config.token() == "s"
