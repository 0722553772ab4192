"""Notifications: signed, and harmless when a channel fails."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

import httpx
import msgspec
import pytest

from hsnn.monitoring.config import NotifyConfig
from hsnn.monitoring.notify import SIGNATURE, TIMESTAMP, Notifier, sign

FACTS = {"alarm": "model_loss:7", "value": 6.0}


class Channel:
    """Takes webhooks and mails."""

    def __init__(self, status: int = 200) -> None:
        self.calls: list[dict[str, Any]] = []
        self.mails: list[tuple[str, EmailMessage]] = []
        self.status = status

    def post(self, url: str, **call: Any) -> httpx.Response:
        self.calls.append({"url": url, **call})
        return httpx.Response(self.status, request=httpx.Request("POST", url))

    def mail(self, address: str, timeout: float, message: EmailMessage) -> None:
        assert timeout > 0
        self.mails.append((address, message))


def test_without_channels_only_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel()
    assert Notifier(NotifyConfig(), channel.post, channel.mail)("it broke", FACTS) == {}
    assert "it broke" in caplog.text
    assert (channel.calls, channel.mails) == ([], [])


def test_a_webhook_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "key")
    channel = Channel()
    config = NotifyConfig(webhook="http://hook.example/x", secret_env="HOOK_SECRET")
    assert Notifier(config, channel.post, channel.mail)("it broke", FACTS) == {}
    (call,) = channel.calls
    assert msgspec.json.decode(call["content"]) == {"text": "it broke", **FACTS}
    assert call["headers"][SIGNATURE] == sign("key", call["headers"][TIMESTAMP], call["content"])


def test_a_secret_that_is_missing_sends_nothing_unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    channel = Channel()
    config = NotifyConfig(webhook="http://hook.example/x", secret_env="HOOK_SECRET")
    assert "HOOK_SECRET, which is not set" in Notifier(config, channel.post, channel.mail)("x", FACTS)["webhook"]
    assert channel.calls == []


def test_a_mail_has_the_facts_and_a_channel_that_fails_stops_no_other() -> None:
    channel = Channel(status=500)
    config = NotifyConfig(webhook="http://hook.example/x", smtp="mail.example:25", mail_to="ops@example.org")
    assert list(Notifier(config, channel.post, channel.mail)("it\nbroke", FACTS)) == ["webhook"]
    (address, message), *_ = channel.mails
    assert (address, message["Subject"], message["To"]) == ("mail.example:25", "hsnn: it broke", "ops@example.org")
    assert "alarm: model_loss:7" in message.get_content()
