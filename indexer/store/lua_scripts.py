"""Lua scripts: every atomic write checks the fencing token in the same script.

All keys of a script lie in one shard. ``KEYS[1]`` is that shard's lease and ``ARGV[1]`` the value that it must hold.
Scripts answer ``OK`` or why nothing was written: ``FENCED`` (the lease is another's), ``MOVED`` (the pointer or the
version to be replaced has changed), ``GONE`` (the version does not exist), ``CURRENT`` (readers use it), ``HELD``
(publishing is held).
"""

from __future__ import annotations

_FENCE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end\n"

# Functions that change the record of one item. The item map says where it is: "leaf:slot". `header`, `map` and `expiry`
# are names of keys, `leaves` is the prefix of the names of the leaves, which lie in the same hash slot. Rows are int32,
# little-endian: ~row, which is -row - 1, marks a record whose item has left the leaf; -2^31 marks an empty record.
_RECORDS = """
local width = tonumber(redis.call('HGET', header, 'width') or '-1')
if width < 0 then return 'GONE' end
local size = 8 + 4 * width
local function int(number) return struct.pack('<i4', number) end
-- Marks a record as removed if it still is this row's.
local function mark_removed(leaf, slot, row)
  local name, offset = leaves .. ':' .. leaf, slot * size
  if tonumber(row) < 0 then return end
  if redis.call('GETRANGE', name, offset, offset + 3) == int(row) then
    redis.call('SETRANGE', name, offset, int(-row - 1))
  end
end
-- Leaf and slot of an item; nothing if the map lacks it or its entry cannot be read.
local function location_of(item)
  local location = redis.call('HGET', map, item)
  if location then return location:match('^(%d+):(%d+)$') end
end
local function remove(item, row)
  local leaf, slot = location_of(item)
  if slot then mark_removed(leaf, slot, row) end
  redis.call('HDEL', map, item)
  redis.call('ZREM', expiry, item)
end
-- Writes an item's record: into its slot if the item stays in the leaf, else into a new one at the end of the leaf.
local function insert(item, row, leaf, record, expires_at)
  local name, old_leaf, slot = leaves .. ':' .. leaf, location_of(item)
  local stays = old_leaf == leaf and redis.call('GETRANGE', name, slot * size, slot * size + 3) == int(row)
  if not stays then
    if slot then mark_removed(old_leaf, slot, row) end
    local length = redis.call('STRLEN', name)
    slot = math.ceil(length / size)
    -- A last record that was cut short becomes an empty one; the new record goes behind it.
    if length % size > 0 then redis.call('SETRANGE', name, (slot - 1) * size, int(-2147483648)) end
  end
  redis.call('SETRANGE', name, slot * size, record)
  redis.call('HSET', map, item, leaf .. ':' .. slot)
  if expires_at == '0' then redis.call('ZREM', expiry, item) else redis.call('ZADD', expiry, expires_at, item) end
end
"""

APPLY_DELTAS = (
    _FENCE
    + """
-- KEYS: lease, header, item map, expiry set, delta stream, prefix of the names of the leaves.
-- ARGV: lease, sequence number of this call, then for each item: id, row, leaf or '' to remove it, record, time of
--       expiry or 0, delta.
local header, map, expiry, leaves = KEYS[2], KEYS[3], KEYS[4], KEYS[6]
"""
    + _RECORDS
    + """
if tonumber(ARGV[2]) <= tonumber(redis.call('HGET', header, 'calls') or '0') then return 'OK' end
redis.call('HSET', header, 'calls', ARGV[2])
for i = 3, #ARGV, 6 do
  if ARGV[i + 2] == '' then remove(ARGV[i], ARGV[i + 1])
  else insert(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end
  redis.call('XADD', KEYS[5], '*', 'd', ARGV[i + 5], 'c', ARGV[2])
end
return 'OK'
"""
)
"""Change leaf, item map, expiry set and delta stream together, for many items. A call that was carried out already, or
that arrives after one with a larger sequence number, changes nothing."""

FLIP = (
    _FENCE
    + """
-- KEYS: lease, pointer, versions, hash of the new version, delta stream of the previous version, hold.
-- ARGV: lease, new number, previous number or '', last delta of the previous version that the new one accounts for,
--       delta that says that it is superseded, 'respect' or 'ignore' (a standing hold), hold to place or '', sequence
--       number of the delta.
if ARGV[6] == 'respect' and redis.call('EXISTS', KEYS[6]) == 1 then return 'HELD' end
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
"""Move the pointer, if the builder has seen all deltas of the previous version and publishing is not held."""

ANNOUNCE = (
    _FENCE
    + """
-- KEYS: lease, announcements. ARGV: lease, number of the version.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 100, '*', 'n', ARGV[2])
return 'OK'
"""
)
"""Tell readers of a version that they will be flipped to."""

DROP_VERSION = (
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
"""Remove the keys of a version that is not current, or of a snapshot."""

REMOVE_KEYS = (
    _FENCE
    + """
-- KEYS: lease, then the keys to remove. ARGV: lease.
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 'OK'
"""
)
"""Remove keys that nobody reads any more."""

REPAIR = (
    _FENCE
    + """
-- KEYS: lease, header, item map, expiry set, prefix of the names of the leaves.
-- ARGV: lease, number of records to mark as removed, (leaf, slot, row) for each of them, then for each item: id, row,
--       leaf or '' to remove it, record, time of expiry or 0.
local header, map, expiry, leaves = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
"""
    + _RECORDS
    + """
local items = 3 + 3 * tonumber(ARGV[2])
for i = 3, items - 1, 3 do mark_removed(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
for i = items, #ARGV, 5 do
  if ARGV[i + 2] == '' then remove(ARGV[i], ARGV[i + 1])
  else insert(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) end
end
return 'OK'
"""
)
"""Repair leaves, item map and expiry set; readers follow base and deltas, so they need not be told."""

RECORD_JOB = (
    _FENCE
    + """
-- KEYS: lease, jobs, history of the job. ARGV: lease, job, its state, a run that ended or '', number of runs kept.
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[2] .. ':runs', 1)
  redis.call('LPUSH', KEYS[3], ARGV[4])
  redis.call('LTRIM', KEYS[3], 0, ARGV[5] - 1)
end
return 'OK'
"""
)
"""Change state, count and history of a job together."""

HANDLE_REQUEST = (
    _FENCE
    + """
-- KEYS: lease, position, jobs. ARGV: lease, id of the request's entry, 'run', 'pause', 'resume' or '', job, request.
redis.call('SET', KEYS[2], ARGV[2])
if ARGV[3] == 'pause' then redis.call('HSET', KEYS[3], ARGV[4] .. ':paused', ARGV[5])
elseif ARGV[3] == 'resume' then redis.call('HDEL', KEYS[3], ARGV[4] .. ':paused') end
return 'OK'
"""
)
"""Move the position behind a control request and store whether its job is paused."""

SET_VALUE = (
    _FENCE
    + """
-- KEYS: lease, the key. ARGV: lease, the new value.
redis.call('SET', KEYS[2], ARGV[2])
return 'OK'
"""
)
"""Store a value for this leader and its successors."""
