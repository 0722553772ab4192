from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsnn.serving.api import ingest_keys
from hsnn.serving.api.ingest_keys import IngestKeys
from hsnn.serving.config import IngestKeyConfig, ServingConfig
from hsnn.serving.errors import ForbiddenError, RateLimitError, UnauthorizedError

KEY, OTHER = "pk_0123456789abcdef", "pk_fedcba9876543210"
PAGE = "https://shop.example"


def keys(clock=lambda: 0.0, **settings) -> IngestKeys:
    return IngestKeys({"page": IngestKeyConfig(key=KEY, origins=(PAGE,), **settings)}, clock)


def test_a_key_that_was_taken_out_of_the_configuration_is_refused():
    assert keys().authorize(KEY, PAGE) == "page"
    with pytest.raises(UnauthorizedError, match="taken back"):
        IngestKeys({}).authorize(KEY, PAGE)


def test_a_key_may_be_for_all_origins_but_not_for_none():
    everywhere = IngestKeys({"page": IngestKeyConfig(key=KEY, origins=("*",))})
    assert everywhere.authorize(KEY, "https://any.example") == "page"
    with pytest.raises(ForbiddenError, match="no origin"):
        everywhere.authorize(KEY, "")


def test_one_address_cannot_use_up_what_is_there_for_all():
    limited = keys(rate=10.0, address_rate=3.0)
    for _ in range(3):
        limited.admit(KEY, PAGE, "192.0.2.1")
    for _ in range(50):
        with pytest.raises(RateLimitError, match="one address"):
            limited.admit(KEY, PAGE, "192.0.2.1")
    for host in range(2, 9):
        limited.admit(KEY, PAGE, f"192.0.2.{host}")
    with pytest.raises(RateLimitError, match="'page' may send 10 events"):
        limited.admit(KEY, PAGE, "192.0.2.99")


def test_a_subscriber_of_ipv6_is_one_address():
    limited = keys(address_rate=1.0)
    limited.admit(KEY, PAGE, "2001:db8::1")
    with pytest.raises(RateLimitError):
        limited.admit(KEY, PAGE, "2001:db8::ffff:2")
    limited.admit(KEY, PAGE, "2001:db8:0:1::1")


def test_the_address_that_was_silent_longest_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(ingest_keys, "_MOST_ADDRESSES", 2)
    limited = keys(address_rate=1.0)
    limited.admit(KEY, PAGE, "192.0.2.1")
    limited.admit(KEY, PAGE, "192.0.2.2")
    with pytest.raises(RateLimitError):
        limited.admit(KEY, PAGE, "192.0.2.1")
    limited.admit(KEY, PAGE, "192.0.2.3")
    with pytest.raises(RateLimitError):
        limited.admit(KEY, PAGE, "192.0.2.1")
    limited.admit(KEY, PAGE, "192.0.2.2")  # forgotten, hence new


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "https://", "ftp://shop.example", ""])
def test_an_origin_has_a_scheme_and_no_path(origin):
    with pytest.raises(ValidationError):
        IngestKeyConfig(key=KEY, origins=(origin,))


def test_keys_are_long_and_differ():
    with pytest.raises(ValidationError):
        IngestKeyConfig(key="short", origins=(PAGE,))
    page = {"key": KEY, "origins": [PAGE]}
    with pytest.raises(ValidationError, match="taken back alone"):
        ServingConfig(ingest_keys={"a": page, "b": page})
    assert len(ServingConfig(ingest_keys={"a": page, "b": page | {"key": OTHER}}).ingest_keys) == 2
