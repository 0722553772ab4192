from __future__ import annotations

from hsnn.config.schema import Config
from hsnn.doctor.arm_indexes import check_arm_indexes
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import LAYOUT, key

ARMS = {"own": {"share": 1}, "other": {"shadow": 0.1, "prefix": "other"}, "wide": {"prefix": "other", "beam": 64}}


def test_the_prefix_of_an_arm_is_that_of_a_loop_that_has_published(redis_client: Redis) -> None:
    config = Config.model_validate({"serving": {"experiment": {"name": "x", "arms": ARMS}}})

    def found() -> tuple[str, str, str]:
        (finding,) = check_arm_indexes(redis_client, config)
        return finding

    assert found()[:2] == ("index other", "fail")
    assert "nothing is kept under this prefix" in found()[2]
    redis_client.set(key("layout", prefix="other"), LAYOUT + 1)
    assert found()[1] == "fail"
    assert f"layout {LAYOUT + 1}" in found()[2]
    redis_client.set(key("layout", prefix="other"), LAYOUT)
    assert found()[1] == "warn"
    redis_client.set(key("current", prefix="other"), 7)
    assert found() == ("index other", "ok", "version 7")


def test_arms_without_a_prefix_are_not_checked(redis_client: Redis) -> None:
    assert not list(check_arm_indexes(redis_client, Config()))
