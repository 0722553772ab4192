from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsnn.serving.config import Scope, ServingConfig


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_open_hosts_need_a_token_or_a_word(host):
    with pytest.raises(ValidationError, match="token_env"):
        ServingConfig(host=host)
    assert ServingConfig(host=host, allow_open=True).host == host
    assert ServingConfig(host=host, token_env="TOKEN").host == host
    assert ServingConfig(host=host, tokens={"shop": {"env": "SHOP"}}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_nothing(host):
    assert ServingConfig(host=host).token_variables() == {}


def test_the_token_of_token_env_has_every_scope_and_others_read_by_default():
    config = ServingConfig(token_env="ONE", tokens={"shop": {"env": "SHOP", "rate": 5}})
    assert {name: (token.env, token.scopes) for name, token in config.token_variables().items()} == {
        "default": ("ONE", (Scope.READ, Scope.WRITE)),
        "shop": ("SHOP", (Scope.READ,)),
    }


@pytest.mark.parametrize(
    "token",
    [
        {},
        {"env": ""},
        {"env": "A", "rate": 0},
        {"env": "A", "rate": float("inf")},
        {"env": "A", "scopes": []},
        {"env": "A", "scopes": ["admin"]},
    ],
)
def test_a_token_that_cannot_work_is_refused(token):
    with pytest.raises(ValidationError, match=r"tokens\.shop"):
        ServingConfig(tokens={"shop": token})


@pytest.mark.parametrize("only", ["tls_cert", "tls_key"])
def test_certificate_and_key_go_together(only):
    with pytest.raises(ValidationError, match="set both, or neither"):
        ServingConfig(**{only: "file.pem"})
