"""Which errors get a message for users."""

from __future__ import annotations

from hsnn.monitoring.errors import HsnnError, user_message


def test_faults_of_the_program_keep_their_traceback() -> None:
    assert user_message(HsnnError("say this")) == "say this"
    assert user_message(ZeroDivisionError("a fault")) is None
