"""What Redis runs by itself: scripts, each one atomic step, and how they are named. It knows no verb.

What is in a record is described beside the verbs.
"""

from hashlib import sha1
from typing import Final

from session_middleware.stores.redis.connections import Command

_TEXTS: Final[dict[str, str]] = {}


def script(text: str) -> str:
    """Return the name by which a server knows the script *text* once it has run it."""
    name = sha1(text.encode(), usedforsecurity=False).hexdigest()
    _TEXTS[name] = text
    return name


def in_full(command: Command) -> Command:
    """Return the command with the text of its script in place of the name; the server then knows both."""
    return ("EVAL", _TEXTS[str(command[1])], *command[2:]) if command[0] == "EVALSHA" else command


# Lets an index have a key at least until *last*. A score only grows: whoever goes through the index by score meets every
# key that stays there. What has expired goes some at a time, so that nobody waits for those of a user with very many.
_ENTER: Final = """\
local function enter(index, key, last, written, past, now)
    local before = tonumber(redis.call('ZSCORE', index, key) or 0)
    local score = math.max(tonumber(last), math.floor(before)) + written
    if score < before then score = score + 1 end
    redis.call('ZADD', index, string.format('%.17g', score), key)
    local expired = redis.call('ZRANGE', index, '-inf', past, 'BYSCORE', 'LIMIT', 0, 50)
    if #expired > 0 then redis.call('ZREM', index, unpack(expired)) end
    local longest = redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2]
    return redis.call('EXPIRE', index, string.format('%.0f', math.ceil(tonumber(longest)) - now))
end
"""
INDEX: Final = script(_ENTER + "return enter(KEYS[1], unpack(ARGV))")

# The index comes before the record, and both or none: what is to be ended must be found. With two commands a server that
# knows no scripts any more would write the record alone.
CREATE: Final = script(
    _ENTER
    + """\
enter(KEYS[2], select(3, unpack(ARGV)))
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])"""
)

# Replaces what has the nonce; also what has the new one already, because then the answer to the first try was lost, and
# whoever waits for replicas must have something to wait for.
WRITE: Final = script(
    _ENTER
    + """\
local found = redis.call('GETRANGE', KEYS[1], '0', '7')
if found ~= ARGV[1] and found ~= string.sub(ARGV[2], 1, 8) then return found == '' and 0 or -1 end
if KEYS[2] then enter(KEYS[2], select(4, unpack(ARGV))) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1"""
)

# Nothing but reading and DEL, so that it works when Redis is out of memory.
REMOVE: Final = script("""\
local found = redis.call('GETRANGE', KEYS[1], '0', '7')
if found ~= ARGV[1] then return found == '' and 0 or -1 end
return redis.call('DEL', KEYS[1])""")

# Tells a record that has expired from one that was there.
_IS_OVER: Final = """\
local function is_over(head, now)
    if type(head) ~= 'string' or #head < 13 then return false end
    local a, b, c, d, e = string.byte(head, 9, 13)
    return (((a * 256 + b) * 256 + c) * 256 + d) * 256 + e <= tonumber(now)
end
"""
DELETE: Final = script(
    _IS_OVER
    + """\
local head = redis.pcall('GETRANGE', KEYS[1], '0', '12')
local there = redis.call('DEL', KEYS[1])
return is_over(head, ARGV[1]) and 0 or there"""
)

# Puts the mark in place of a record; 2 if it is there already. For the mark Redis needs memory: if it has none, nothing is
# left.
MARK: Final = script(
    _IS_OVER
    + """\
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local head = redis.pcall('GETRANGE', KEYS[1], '0', '12')
if is_over(head, ARGV[2]) then return 0 end
local found = type(head) == 'string' and string.sub(head, 1, 8)
if found == ARGV[1] then return 2 end
if ARGV[3] and found ~= ARGV[3] then return found == '' and 0 or -1 end
if redis.pcall('SET', KEYS[1], ARGV[1], 'KEEPTTL').err then redis.call('DEL', KEYS[1]) end
return 1"""
)

# Writes the mark once more, so that there is something to wait for: the replicas get it after what was written before.
# -1 if something else is there: this is a new master, to which the end has not come.
MARK_AGAIN: Final = script("""\
local found = redis.call('GET', KEYS[1])
if found ~= ARGV[1] then return found and -1 or 0 end
local left = redis.call('PTTL', KEYS[1])
return redis.call('PEXPIRE', KEYS[1], left < 0 and 86400000 or math.max(left, 1000))""")

# Drops entries that have not changed; servers write one and the same score in more than one way.
DROP: Final = script("""\
for number = 1, #ARGV, 2 do
    if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[number]) or 0) == tonumber(ARGV[number + 1]) then
        redis.call('ZREM', KEYS[1], ARGV[number])
    end
end""")
