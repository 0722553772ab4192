import pytest
import redis

from hsnn.embedded.process import free_port
from hsnn.streaming.redis.client import Redis, bulk, connect, identity
from hsnn.streaming.redis.keys import key


@pytest.mark.every_server
def test_values_stay_bytes_and_identity_is_stable(server_url: str, redis_client: Redis) -> None:
    for shard in range(4):
        redis_client.set(key("x", shard=shard), b"\xff")
        assert redis_client.get(key("x", shard=shard)) == b"\xff"
    name, again = identity(redis_client), connect(server_url)
    assert len(name.split()) == (3 if "+cluster" in server_url else 1)
    assert identity(again) == name
    again.close()


@pytest.mark.slow  # a client retries for some seconds
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_unreachable_server_is_a_connection_error(scheme: str) -> None:
    with pytest.raises(redis.ConnectionError):
        connect(f"{scheme}://127.0.0.1:{free_port()}", socket_timeout=0.2).ping()


@pytest.mark.every_server
def test_bulk_client_sends_large_values_without_a_copy(redis_client: Redis) -> None:
    second = bulk(redis_client)
    large = bytes(range(256)) * 4096
    second.hset(key("large"), mapping={b"a": large, b"b": b"small"})
    assert redis_client.hgetall(key("large")) == {b"a": large, b"b": b"small"}
    if second is not redis_client:
        packed = second.connection_pool.get_connection()._command_packer.pack("HSET", "x", "a", large)
        assert any(part is large for part in packed)
        second.close()
