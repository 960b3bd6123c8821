--[[
  Read everything that one queue says of itself, at one moment, and write nothing.
    KEYS   the parts named in queueworker.sample.PARTS, in that order
    ARGV[1] key prefix of the queue, with the last colon
    ARGV[2] horizon in ms: how far ahead to look for delayed jobs that fall due
    ARGV[3] how many jobs at the tail of wait to look at
    ARGV[4] how many priorities to look at
    ARGV[5] 1 to look for the newest event, 0 where this user may not
  Returns the list that queueworker.sample.snapshot_of takes.
  A job's own hash is the one key that cannot be declared: its id is only known here.
  What an empty list or set cannot tell is not asked for: half of the time goes into the calls.
]]
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local horizon = tonumber(ARGV[2])
-- A delay without end makes an infinite score, which no whole number of a reply stands for.
local function score_of(text)
  return math.min(tonumber(text), 9007199254740992)
end
-- A number that a reply can hold, for producers write what they like.
local function moment(value)
  local number = tonumber(value or nil)
  return number and number > -9007199254740992 and number < 9007199254740992 and number or nil
end
-- Returns since when a job is ready, or the one known already where this one cannot be older.
local function older(oldest, id)
  local job = redis.call("HMGET", ARGV[1] .. id, "timestamp", "opts", "processedOn")
  local added = moment(job[1])
  if not added then return oldest end
  local ready = math.max(added, moment(job[3]) or 0)
  if oldest and ready >= oldest then return oldest end
  if job[2] and string.find(job[2], '"delay"', 1, true) then
    local decoded, opts = pcall(cjson.decode, job[2])
    local delay = decoded and type(opts) == "table" and type(opts["delay"]) == "number" and moment(opts["delay"])
    ready = math.max(ready, added + (delay or 0))
  end
  ready = math.floor(ready)
  return oldest and math.min(oldest, ready) or ready
end
local waiting = redis.call("LLEN", KEYS[1])
local oldest_waiting = nil
if waiting > 0 then
  local tail = redis.call("LRANGE", KEYS[1], -tonumber(ARGV[3]), -1)
  for at = #tail, 1, -1 do oldest_waiting = older(oldest_waiting, tail[at]) end
end
local prioritized = redis.call("ZCARD", KEYS[3])
local oldest_prioritized = nil
if prioritized > 0 then
  local from = "-inf"
  for _ = 1, tonumber(ARGV[4]) do
    local head = redis.call("ZRANGEBYSCORE", KEYS[3], from, "+inf", "WITHSCORES", "LIMIT", 0, 1)
    if #head == 0 then break end
    oldest_prioritized = older(oldest_prioritized, head[1])
    from = (math.floor(score_of(head[2]) / 4294967296) + 1) * 4294967296
  end
end
local delayed = redis.call("ZCARD", KEYS[5])
local next_delayed = nil
if delayed > 0 then
  local first = redis.call("ZRANGE", KEYS[5], 0, 0, "WITHSCORES")
  next_delayed = math.floor(score_of(first[2]) / 4096)
end
local function due_by(moment)
  if not next_delayed or next_delayed > moment then return 0 end
  return redis.call("ZCOUNT", KEYS[5], "-inf", (moment + 1) * 4096 - 1)
end
local meta = redis.call("HMGET", KEYS[9], "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
local exists = (meta[1] or meta[2] or meta[3] or meta[4] or meta[5]) and 1 or redis.call("EXISTS", KEYS[9])
local limiter = redis.call("GET", KEYS[10])
local scheduler = redis.call("ZRANGEBYSCORE", KEYS[14], now, "+inf", "WITHSCORES", "LIMIT", 0, 1)
local newest = false
if ARGV[5] == "1" then
  local found = redis.pcall("XREVRANGE", KEYS[15], "+", "-", "COUNT", 1)
  if found["err"] then
    if string.find(found["err"], "WRONGTYPE", 1, true) then return found end
    newest = ""
  elseif found[1] then
    newest = found[1][1]
  end
end
return {
  now,
  exists,
  waiting,
  redis.call("LLEN", KEYS[2]),
  prioritized,
  redis.call("LLEN", KEYS[4]),
  delayed,
  due_by(now),
  due_by(now + math.floor(horizon / 4)),
  due_by(now + math.floor(horizon / 2)),
  due_by(now + horizon),
  next_delayed or false,
  redis.call("ZCARD", KEYS[6]),
  redis.call("ZCARD", KEYS[7]),
  redis.call("ZCARD", KEYS[8]),
  meta[1], meta[2], meta[3], meta[4],
  limiter,
  limiter and redis.call("PTTL", KEYS[10]) or -2,
  redis.call("GET", KEYS[11]),
  redis.call("HGET", KEYS[12], "count"),
  redis.call("HGET", KEYS[13], "count"),
  scheduler[2] and math.floor(score_of(scheduler[2])) or false,
  oldest_waiting or false,
  oldest_prioritized or false,
  newest,
}
