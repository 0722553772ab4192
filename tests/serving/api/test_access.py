from __future__ import annotations

import pytest

from hsnn.serving.api.access import Access, Token, read_tokens
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.errors import ForbiddenError, RateLimitError, ServerTokenError, UnauthorizedError


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER abc", " Bearer  abc "])
def test_the_scheme_is_read_in_any_case(header):
    assert Access({"shop": Token("abc")}).authorize(header, Scope.READ) == "shop"


@pytest.mark.parametrize(
    "header", ["", "abc", "Bearer", "Bearer ", "Basic abc", "Bearer ab", "Bearer abcd", "Bearer \udcff"]
)
def test_other_headers_are_refused(header):
    with pytest.raises(UnauthorizedError, match="Bearer TOKEN"):
        Access({"shop": Token("abc")}).authorize(header, Scope.READ)


def test_tokens_have_scopes():
    access = Access({"in": Token("w", frozenset({Scope.WRITE})), "out": Token("r", frozenset({Scope.READ}))})
    assert access.authorize("Bearer r", Scope.READ) == "out"
    with pytest.raises(ForbiddenError, match="'in' has no scope 'read'"):
        access.authorize("Bearer w", Scope.READ)


def test_without_tokens_everybody_may_call():
    access = Access({})
    assert access.admit("", Scope.READ) is None
    access.charge(None, 1000)


def test_each_token_has_a_rate_of_its_own():
    now = 0.0
    access = Access({"a": Token("a", rate=3.0), "b": Token("b")}, clock=lambda: now)
    for _ in range(3):
        access.admit("Bearer a", Scope.READ)
    with pytest.raises(RateLimitError, match="'a' may send 3 queries per second") as refused:
        access.admit("Bearer a", Scope.READ)
    assert refused.value.retry_after == pytest.approx(1 / 3)
    for _ in range(100):
        access.admit("Bearer b", Scope.READ)
    now = 0.34
    access.admit("Bearer a", Scope.READ)
    with pytest.raises(RateLimitError):
        access.admit("Bearer a", Scope.READ)


def test_a_call_of_many_queries_leaves_a_debt():
    now = 0.0
    access = Access({"a": Token("a", rate=10.0)}, clock=lambda: now)
    access.charge(access.admit("Bearer a", Scope.READ), 99)  # 100 queries; 90 more than a second's worth
    now = 9.0
    with pytest.raises(RateLimitError):
        access.admit("Bearer a", Scope.READ)
    now = 9.2
    access.admit("Bearer a", Scope.READ)


def test_tokens_come_from_the_environment(monkeypatch):
    config = ServingConfig(token_env="HSNN_TEST_ONE", tokens={"shop": {"env": "HSNN_TEST_TWO", "rate": 2}})
    monkeypatch.setenv("HSNN_TEST_ONE", "one\n")
    with pytest.raises(ServerTokenError, match=r"'shop'.*HSNN_TEST_TWO"):
        read_tokens(config)
    monkeypatch.setenv("HSNN_TEST_TWO", "two")
    tokens = read_tokens(config)
    assert tokens["default"] == Token("one")
    assert tokens["shop"] == Token("two", frozenset({Scope.READ}), 2.0)
    monkeypatch.setenv("HSNN_TEST_TWO", "one")
    with pytest.raises(ServerTokenError, match="'default' and 'shop' are the same"):
        read_tokens(config)
