--[[
  Read everything that one queue says of itself, at one moment, and write nothing.
    KEYS   the parts named in queueworker.sample.PARTS, in that order
    ARGV[1] key prefix of the queue, with the last colon
    ARGV[2] horizon in ms: how far ahead to look for delayed jobs that fall due
    ARGV[3] how many jobs at the tail of wait to look at
    ARGV[4] how many priorities to look at
  Returns the list that queueworker.sample.snapshot_of takes.
  A job's own hash is the one key that cannot be declared: its id is only known here.
]]
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function due_bound(due)
  return string.format("%.0f", (due + 1) * 4096 - 1)
end
-- A delay without end makes an infinite score, which no whole number of a reply stands for.
local function score_of(text)
  return math.min(tonumber(text), 9007199254740992)
end
local oldest = nil
local function consider(ready)
  if ready and (oldest == nil or ready < oldest) then oldest = ready end
end
local function ready_since(id)
  local job = redis.call("HMGET", ARGV[1] .. id, "timestamp", "opts", "processedOn")
  local added = tonumber(job[1] or nil)
  if not added then return nil end
  local delay = 0
  if job[2] then
    local decoded, opts = pcall(cjson.decode, job[2])
    if decoded and type(opts) == "table" and type(opts["delay"]) == "number" then
      delay = math.max(0, opts["delay"])
    end
  end
  return math.floor(math.max(added + delay, tonumber(job[3] or nil) or 0))
end
for _, id in ipairs(redis.call("LRANGE", KEYS[1], -tonumber(ARGV[3]), -1)) do
  consider(ready_since(id))
end
local from = "-inf"
for _ = 1, tonumber(ARGV[4]) do
  local head = redis.call("ZRANGEBYSCORE", KEYS[3], from, "+inf", "WITHSCORES", "LIMIT", 0, 1)
  if #head == 0 then break end
  consider(ready_since(head[1]))
  from = string.format("%.0f", (math.floor(score_of(head[2]) / 4294967296) + 1) * 4294967296)
end
local first = redis.call("ZRANGE", KEYS[5], 0, 0, "WITHSCORES")
local next_delayed = false
if #first > 0 then
  next_delayed = math.floor(score_of(first[2]) / 4096)
  if next_delayed <= now then consider(next_delayed) end
end
local meta = redis.call("HMGET", KEYS[9], "paused", "concurrency", "max", "duration")
local scheduler = redis.call("ZRANGEBYSCORE", KEYS[14], string.format("%.0f", now), "+inf", "WITHSCORES", "LIMIT", 0, 1)
return {
  now,
  redis.call("EXISTS", KEYS[9]),
  redis.call("LLEN", KEYS[1]),
  redis.call("LLEN", KEYS[2]),
  redis.call("ZCARD", KEYS[3]),
  redis.call("LLEN", KEYS[4]),
  redis.call("ZCARD", KEYS[5]),
  redis.call("ZCOUNT", KEYS[5], "-inf", due_bound(now)),
  redis.call("ZCOUNT", KEYS[5], "-inf", due_bound(now + tonumber(ARGV[2]))),
  next_delayed,
  redis.call("ZCARD", KEYS[6]),
  redis.call("ZCARD", KEYS[7]),
  redis.call("ZCARD", KEYS[8]),
  meta[1], meta[2], meta[3], meta[4],
  redis.call("GET", KEYS[10]),
  redis.call("PTTL", KEYS[10]),
  redis.call("GET", KEYS[11]),
  redis.call("HGET", KEYS[12], "count"),
  redis.call("HGET", KEYS[13], "count"),
  #scheduler > 0 and math.floor(score_of(scheduler[2])) or false,
  oldest or false,
}
