"""What must be atomic in Redis: each write checks the fencing token in the same script.

All keys of a script lie in one shard. ``KEYS[1]`` is that shard's lease and ``ARGV[1]`` what it must hold. Scripts
answer ``OK`` or the reason why nothing was written.
"""

from __future__ import annotations

_FENCE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end\n"

# A record's place is found by the map: "leaf:slot". `part`, `map` and `ends` are names of keys, `leaves` the beginning
# of the leaves' names, which lie in the same slot.
_PLACES = """
local width = tonumber(redis.call('HGET', part, 'width') or '-1')
if width < 0 then return 'GONE' end
local size = 8 + 4 * width
local function int(number) return struct.pack('<i4', number) end
local function rub_out(leaf, slot, row)
  local name, at = leaves .. ':' .. leaf, slot * size
  if tonumber(row) < 0 then return end
  if redis.call('GETRANGE', name, at, at + 3) == int(row) then redis.call('SETRANGE', name, at, int(-row - 1)) end
end
local function place_of(item)
  local place = redis.call('HGET', map, item)
  if place then return place:match('^(%d+):(%d+)$') end
end
local function take_out(item, row)
  local leaf, slot = place_of(item)
  if slot then rub_out(leaf, slot, row) end
  redis.call('HDEL', map, item)
  redis.call('ZREM', ends, item)
end
local function put_in(item, row, leaf, record, dies)
  local name, old_leaf, slot = leaves .. ':' .. leaf, place_of(item)
  local stays = old_leaf == leaf and redis.call('GETRANGE', name, slot * size, slot * size + 3) == int(row)
  if not stays then
    if slot then rub_out(old_leaf, slot, row) end
    local length = redis.call('STRLEN', name)
    slot = math.ceil(length / size)
    if length % size > 0 then redis.call('SETRANGE', name, (slot - 1) * size, int(-2147483648)) end
  end
  redis.call('SETRANGE', name, slot * size, record)
  redis.call('HSET', map, item, leaf .. ':' .. slot)
  if dies == '0' then redis.call('ZREM', ends, item) else redis.call('ZADD', ends, dies, item) end
end
"""

APPLY = (
    _FENCE
    + """
-- KEYS: lease, part, item map, expiry set, delta stream, beginning of the leaves' names.
-- ARGV: lease, number of this call, then (item, row, leaf or '', record, end of life or 0, delta) for each item.
local part, map, ends, leaves = KEYS[2], KEYS[3], KEYS[4], KEYS[6]
"""
    + _PLACES
    + """
if tonumber(ARGV[2]) <= tonumber(redis.call('HGET', part, 'calls') or '0') then return 'OK' end
redis.call('HSET', part, 'calls', ARGV[2])
for i = 3, #ARGV, 6 do
  if ARGV[i + 2] == '' then take_out(ARGV[i], ARGV[i + 1])
  else put_in(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end
  redis.call('XADD', KEYS[5], '*', 'd', ARGV[i + 5], 'c', ARGV[2])
end
return 'OK'
"""
)
"""Leaf, item map, expiry set and delta stream change together, for many items; a call that was done, or that a later
one has overtaken, changes nothing."""

FLIP = (
    _FENCE
    + """
-- KEYS: lease, pointer, versions, new version hash, old delta stream, hold.
-- ARGV: lease, new number, old number or '', last delta of the old version that was seen, superseding delta,
--       'heed' or 'ignore' (what to do about a hold), hold to place or '', number that a call to the old version has.
if ARGV[6] == 'heed' and redis.call('EXISTS', KEYS[6]) == 1 then return 'HELD' end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 'MOVED' end
if redis.call('EXISTS', KEYS[4]) == 0 then return 'GONE' end
if ARGV[3] ~= '' then
  local newest = redis.call('XREVRANGE', KEYS[5], '+', '-', 'COUNT', 1)
  if (newest[1] and newest[1][1] or '0-0') ~= ARGV[4] then return 'MOVED' end
  redis.call('XADD', KEYS[5], '*', 'd', ARGV[5], 'c', ARGV[8])
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[2])
if ARGV[7] ~= '' then redis.call('SET', KEYS[6], ARGV[7]) end
return 'OK'
"""
)
"""The pointer moves only if the old version stands where the builder saw it, and publishing is not held."""

ANNOUNCE = (
    _FENCE
    + """
-- KEYS: lease, announcements. ARGV: lease, number of the version.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 100, '*', 'n', ARGV[2])
return 'OK'
"""
)
"""Readers are told of a version that they will be flipped to."""

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

REMOVE = (
    _FENCE
    + """
-- KEYS: lease, then the keys to remove. ARGV: lease.
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'OK'
"""
)
"""Keys of what nobody reads any more go."""

MEND = (
    _FENCE
    + """
-- KEYS: lease, part, item map, expiry set, beginning of the leaves' names. ARGV: lease, number of records to rub out,
-- (leaf, slot, row) for each, then (item, row, leaf or '', record, end of life or 0) for each item.
local part, map, ends, leaves = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
"""
    + _PLACES
    + """
local items = 3 + 3 * tonumber(ARGV[2])
for i = 3, items - 1, 3 do rub_out(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for i = items, #ARGV, 5 do
  if ARGV[i + 2] == '' then take_out(ARGV[i], ARGV[i + 1])
  else put_in(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end
end
return 'OK'
"""
)
"""Leaves, item map and expiry set are set right; readers, who follow base and deltas, need not be told."""

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
