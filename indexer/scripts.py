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
-- KEYS: lease, pointer, versions, new version hash, old delta stream, hold.
-- ARGV: lease, new number, old number or '', last delta of the old version that was seen, superseding delta,
--       'heed' or 'ignore' (what to do about a hold), hold to place or ''.
if ARGV[6] == 'heed' and redis.call('EXISTS', KEYS[6]) == 1 then return 'HELD' end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 'MOVED' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'GONE' end
if ARGV[3] ~= '' then
  local newest = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)
  if (newest[1] and newest[1][1] or '0-0') ~= ARGV[4] then return 'MOVED' end
  redis.call('XADD', KEYS[5], '*', 'd', ARGV[5])
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[2])
if ARGV[7] ~= '' then redis.call('SET', KEYS[6], ARGV[7]) end
return 'OK'
"""
)
"""The pointer moves only if the old version stands where the builder saw it, and publishing is not held."""

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

MEND = (
    _FENCE
    + """
-- KEYS: lease, version hash, item map. ARGV: lease, then (item, node or '') for each item.
if redis.call('EXISTS', KEYS[2]) == 0 then return 'GONE' end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[3], ARGV[i])
  else redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
end
return 'OK'
"""
)
"""An item map is set right; readers, who follow base and deltas, need not be told."""

NOTE = (
    _FENCE
    + """
-- KEYS: lease, jobs, history of the job. ARGV: lease, job, its state, a run that ended or '', runs kept.
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[2] .. ':runs', 1)
  redis.call('LPUSH', KEYS[3], ARGV[4])
  redis.call('LTRIM', KEYS[3], 0, ARGV[5] - 1)
end
return 'OK'
"""
)
"""State, count and history of a job change together."""

REQUEST = (
    _FENCE
    + """
-- KEYS: lease, position, jobs. ARGV: lease, request's entry, 'run', 'pause', 'resume' or '', job, the request.
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == 'pause' then redis.call('HSET', KEYS[3], ARGV[4] .. ':paused', ARGV[5])
elseif ARGV[3] == 'resume' then redis.call('HDEL', KEYS[3], ARGV[4] .. ':paused') end
return 'OK'
"""
)
"""A request is taken off the stream and its lasting part done, by the leader alone."""

KEEP = (
    _FENCE
    + """
-- KEYS: lease, the key. ARGV: lease, what it holds from now on.
redis.call('SET', KEYS[2], ARGV[2])
return 'OK'
"""
)
"""A note that the leader makes for itself and its successors."""
