"""Runs on the Redis server, asked by the reporter thread: the rules of `judge.py` for a fleet.

Redis runs a script as one step, so that two processes never share an event's place. It works from
Redis 5 on (its effects are what replicas get, so it may read the clock) and on Valkey.

All keys of a fleet have one hash tag, so they live together in a cluster, and all expire:

- a culprit, a hash: `interval`, `silent_until`, `seen_at`, `had_event`, `events` and `micros` that
  were held back, `reservation` that was the last;
- the hour, a sorted set: reservations by their moment;
- a reservation, a hash: what it took and what it replaced, for an hour, in case its event is lost;
- a process: the number of the last batch of counts it sent, so that none counts twice.

Times are milliseconds of the server's clock: those of the workers need not agree.
"""

# KEYS: the process, the hour, then as the request says: the culprit of each count; culprit and
# reservation of each settlement; culprit and reservation of what is asked for. ARGV: the request.
SCRIPT = """
local request = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local HOUR = 3600000
local process, hour = KEYS[1], KEYS[2]
local used = 2

local function next_key()
  used = used + 1
  return KEYS[used]
end

local function number(value)
  return tonumber(value or 0)
end

-- Lua would write large numbers as 1.7e+12.
local function whole(value)
  return string.format('%.0f', value)
end

local function keep(culprit)
  redis.call('PEXPIRE', culprit, whole(request.keep))
end

-- Counts

local is_new = request.batch and number(redis.call('GET', process)) < request.batch
if is_new then
  redis.call('SET', process, whole(request.batch), 'PX', whole(HOUR))
end
for _, count in ipairs(request.counts) do
  local culprit = next_key()
  if is_new then
    redis.call('HINCRBY', culprit, 'events', whole(count[1]))
    redis.call('HINCRBY', culprit, 'micros', whole(count[2]))
    local seen_at = math.max(number(redis.call('HGET', culprit, 'seen_at')), now - count[3])
    redis.call('HSET', culprit, 'seen_at', whole(seen_at))
    keep(culprit)
  end
end

-- Settlements: of events that were not sent, or that told nothing of what was held back

for _, became in ipairs(request.settlements) do
  local culprit, reservation = next_key(), next_key()
  local took = redis.call('HMGET', reservation, 'events', 'micros', 'interval', 'silent_until',
    'had_event')
  if took[1] then
    redis.call('HINCRBY', culprit, 'events', took[1])
    redis.call('HINCRBY', culprit, 'micros', took[2])
    if became ~= 'untold' then
      redis.call('ZREM', hour, reservation)
      if redis.call('HGET', culprit, 'reservation') == reservation then
        redis.call('HSET', culprit, 'had_event', took[5])
        if became == 'failed' then
          redis.call('HSET', culprit, 'interval', took[3], 'silent_until', took[4])
        end
      end
    end
    redis.call('DEL', reservation)
    keep(culprit)
  end
end

-- May an event be sent?

local ask = request.ask
if not ask then
  return {}
end
local culprit, reservation = next_key(), next_key()

-- Asked again because the answer was lost on its way.
local before = redis.call('HMGET', reservation, 'new_interval', 'new_silent_until', 'events',
  'micros')
if before[1] then
  return {'permit', math.max(0, number(before[2]) - now), number(before[1]), number(before[3]),
    number(before[4])}
end

local known = redis.call('HMGET', culprit, 'interval', 'silent_until', 'seen_at', 'had_event',
  'events', 'micros')
local interval, had_event = number(known[1]), number(known[4])
-- No later than they can be: the server's clock may have been set back.
local silent_until = math.min(number(known[2]), now + interval)
if known[3] and interval > 0 and now - number(known[3]) >= 2 * interval then
  interval, silent_until = 0, 0
end
redis.call('HSET', culprit, 'interval', whole(interval), 'silent_until', whole(silent_until),
  'seen_at', whole(now))
keep(culprit)
if ask.backs_off and now < silent_until then
  return {'backoff', silent_until - now, interval}
end

if ask.uses_allowance then
  redis.call('ZREMRANGEBYSCORE', hour, '-inf', whole(now - HOUR))
  redis.call('ZREMRANGEBYSCORE', hour, '(' .. whole(now), '+inf')
  local sent = redis.call('ZCARD', hour)
  local most = ask.most
  if had_event == 1 then
    most = most - ask.kept
  end
  if sent >= most then
    local oldest = redis.call('ZRANGE', hour, sent - most, sent - most, 'WITHSCORES')
    return {'allowance', number(oldest[2]) + HOUR - now, interval}
  end
  redis.call('ZADD', hour, whole(now), reservation)
  redis.call('PEXPIRE', hour, whole(HOUR))
end

local new_interval, new_silent_until = interval, silent_until
if ask.backs_off then
  new_interval = math.min(ask.largest, interval > 0 and interval * 2 or ask.first)
  new_silent_until = now + new_interval
end
local events, micros = number(known[5]), number(known[6])
redis.call('HSET', reservation, 'events', whole(events), 'micros', whole(micros),
  'interval', whole(interval), 'silent_until', whole(silent_until), 'had_event', whole(had_event),
  'new_interval', whole(new_interval), 'new_silent_until', whole(new_silent_until))
redis.call('PEXPIRE', reservation, whole(HOUR))
redis.call('HSET', culprit, 'interval', whole(new_interval),
  'silent_until', whole(new_silent_until), 'had_event', '1', 'reservation', reservation,
  'events', '0', 'micros', '0')
return {'permit', math.max(0, new_silent_until - now), new_interval, events, micros}
"""
