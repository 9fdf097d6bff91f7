-- Requests for wrk: KIND is noop, charge, tokenize or replay; CREDENTIAL is user:password in base64.
-- Every reply of a payment is looked at: what is not a success is counted and told.
local kind, credential, run = os.getenv("KIND"), os.getenv("CREDENTIAL"), os.getenv("RUN")
local card = '"cardnumber":"4111111111111111","cvv":"123","expiry_month":"08","expiry_year":"40","postal_code":"94105",'
local money = '"amount":"10.0","currency_code":"USD",'
local random, format, threads = math.random, string.format, {}

function setup(thread) table.insert(threads, thread) end

function init()
  local seed = io.open("/dev/urandom", "rb")
  local a, b, c, d = seed:read(4):byte(1, 4)
  seed:close()
  math.randomseed(((a * 256 + b) * 256 + c) * 128 + d % 128)
  wrk.method = "POST"
  wrk.headers["Authorization"] = "Basic " .. credential
  wrk.headers["User-Agent"] = "AHC/2.1"
  failed = 0
end

local function uuid()
  return format("%08x-%04x-4%03x-a%03x-%06x%06x", random(0, 0x7fffffff), random(0, 65535), random(0, 4095),
    random(0, 4095), random(0, 0xffffff), random(0, 0xffffff))
end

function request()
  local method = kind == "tokenize" and "tokenize" or "charge"
  local id = kind == "replay" and "replay-" .. run or uuid()
  local body = '{"transaction_id":"' .. id .. '",' .. card .. (method == "charge" and money or "")
    .. '"description":null,"method":"' .. method .. '","parameters":{}}'
  return wrk.format(nil, "/", nil, body)
end

if kind ~= "noop" then
  function response(status, _, body)
    if status ~= 200 or not body:find('"error_code":null', 1, true) then failed = failed + 1 end
  end
end

function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + (thread:get("failed") or 0) end
  local e = summary.errors
  io.write(format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    wrong + e.connect + e.read + e.write + e.timeout))
end
