"""What must be atomic in Redis: each write checks the fencing token in the same script.

``KEYS[1]`` is the lease and ``ARGV[1]`` what it must hold. Scripts answer ``OK`` or the reason why nothing was written.
"""

from __future__ import annotations

_FENCE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end\n"

APPLY = (
    _FENCE
    + """
-- KEYS: lease, version hash, item map, delta stream. ARGV: lease, then (item, node or '', delta) for each item.
if redis.call('EXISTS', KEYS[2]) == 0 then return 'GONE' end
for i = 2, #ARGV, 3 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[i])
  else redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  redis.call('XADD', KEYS[4], '*', 'd', ARGV[i + 2])
end
return 'OK'
"""
)
"""Item map and delta stream of one version change together, for many items."""

FLIP = (
    _FENCE
    + """
-- KEYS: lease, pointer, versions, new version hash, old delta stream.
-- ARGV: lease, new number, old number or '', last delta of the old version that was seen, superseding delta.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 'MOVED' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'GONE' end
if ARGV[3] ~= '' then
  local newest = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)
  if (newest[1] and newest[1][1] or '0-0') ~= ARGV[4] then return 'MOVED' end
  redis.call('XADD', KEYS[5], '*', 'd', ARGV[5])
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[2])
return 'OK'
"""
)
"""The pointer moves only if the old version stands where the builder saw it."""

DROP = (
    _FENCE
    + """
-- KEYS: lease, pointer, versions, then the keys to remove. ARGV: lease, number of the version or ''.
if ARGV[2] ~= '' then
  if redis.call('GET', KEYS[2]) == ARGV[2] then return 'CURRENT' end
  redis.call('ZREM', KEYS[3], ARGV[2])
end
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'OK'
"""
)
"""Keys of an old or half-built version, or of old snapshots, go."""
