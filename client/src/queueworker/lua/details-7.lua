--[[
  Read who runs what in one queue, which jobs come next and came last, and how long they take; write nothing.
    KEYS   the parts named in queueworker.detailsample.PARTS, in that order
    ARGV[1] key prefix of the queue, with the last colon
    ARGV[2] how many active jobs to look at, those taken first
    ARGV[3] how many jobs to look at at each end of the queue
    ARGV[4] how many completed jobs to look at
    ARGV[5] how many workers to look at
    ARGV[6] how many fields of statistics to return whole; of more, those of the names seen here
    ARGV[7] how many names that is at most
    ARGV[8] how many classes a histogram has at most
    ARGV[9] longest text to return, in bytes
    ARGV[10] what stands for a name that is longer
  Returns the list that queueworker.detailsample.details_of takes.
  The keys of jobs and locks cannot be declared: the ids are only known here.
]]
local base, ends, longest = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[9])
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function short(text)
  return text and #text <= longest and text or false
end
local function name_of(text)
  return text and (short(text) or ARGV[10]) or false
end
local function owner_of(worker, token)
  local owner = worker ~= "" and worker or token and string.match(token, "^(.+):")
  return owner and short(owner) or false
end
local function names_of(...)
  local names = {}
  for _, ids in ipairs({...}) do
    for _, id in ipairs(ids) do names[#names + 1] = name_of(redis.call("HGET", base .. id, "name")) end
  end
  return names
end

local active = {}
local ids = redis.call("LRANGE", KEYS[1], -tonumber(ARGV[2]), -1)
for from = 1, #ids, 500 do
  local locks = {}
  local last_at = math.min(from + 499, #ids)
  for at = from, last_at do locks[at - from + 1] = base .. ids[at] .. ":lock" end
  local tokens = redis.call("MGET", unpack(locks))
  for at = from, last_at do
    local job = redis.call("HMGET", base .. ids[at], "name", "pb", "processedOn", "stc")
    local token, row = tokens[at - from + 1], 5 * at
    active[row - 4] = name_of(job[1])
    active[row - 3] = owner_of(job[2], token)
    active[row - 2] = short(job[3])
    active[row - 1] = short(job[4])
    active[row] = token and 1 or 0
  end
end

local waiting, prioritized = redis.call("LLEN", KEYS[2]), redis.call("ZCARD", KEYS[3])
local tail = redis.call("LRANGE", KEYS[2], -ends, -1)
local head = #tail < ends and redis.call("ZRANGE", KEYS[3], 0, ends - #tail - 1) or {}
local behind = 0
if prioritized > 0 then
  behind = math.min(prioritized, math.max(1, math.floor(ends * prioritized / (waiting + prioritized))))
end
local newest = behind < ends and redis.call("LRANGE", KEYS[2], 0, ends - behind - 1) or {}
local last = behind > 0 and redis.call("ZRANGE", KEYS[3], -behind, -1) or {}
local next_names, last_names = names_of(tail, head), names_of(newest, last)

local finished = {}
for _, id in ipairs(redis.call("ZRANGE", KEYS[4], 0, tonumber(ARGV[4]) - 1, "REV")) do
  local job = redis.call("HMGET", base .. id, "name", "processedOn", "finishedOn")
  finished[#finished + 1] = name_of(job[1])
  finished[#finished + 1] = short(job[2])
  finished[#finished + 1] = short(job[3])
end

local statistics = {}
local function keep(field, number)
  if number and short(number) and #field <= longest + 10 then
    statistics[#statistics + 1] = field
    statistics[#statistics + 1] = number
  end
end
if redis.call("HLEN", KEYS[5]) <= tonumber(ARGV[6]) then
  local all = redis.call("HGETALL", KEYS[5])
  for at = 1, #all, 2 do keep(all[at], all[at + 1]) end
else
  local seen, left = {}, tonumber(ARGV[7])
  local function look_up(name)
    if not name or seen[name] or left == 0 then return end
    seen[name], left = true, left - 1
    local fields = {name .. ":jobs", name .. ":ms"}
    for class = 0, tonumber(ARGV[8]) - 1 do fields[#fields + 1] = name .. ":h" .. class end
    for at, number in ipairs(redis.call("HMGET", KEYS[5], unpack(fields))) do keep(fields[at], number) end
  end
  for _, name in ipairs(next_names) do look_up(name) end
  for _, name in ipairs(last_names) do look_up(name) end
  for at = 1, #active, 5 do look_up(active[at]) end
  for at = 1, #finished, 3 do look_up(finished[at]) end
end

local workers = {}
local beats = redis.call("ZRANGE", KEYS[6], 0, tonumber(ARGV[5]) - 1, "REV", "WITHSCORES")
for from = 1, #beats, 1000 do
  local names = {}
  for at = from, math.min(from + 999, #beats), 2 do names[#names + 1] = beats[at] end
  for at, about in ipairs(redis.call("HMGET", KEYS[7], unpack(names))) do
    if short(names[at]) then
      workers[#workers + 1] = names[at]
      workers[#workers + 1] = beats[from + 2 * at - 1]
      workers[#workers + 1] = short(about)
    end
  end
end

return {now, redis.call("LLEN", KEYS[1]), active, next_names, last_names, finished, statistics, workers}
