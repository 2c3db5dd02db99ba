-- SPDX-License-Identifier: GPL-2.0-or-later
-- For wrk: counts answers that are not the file which was asked for, as page() in servers.py makes it.
-- Arguments: the file's size, how many good answers are enough, a file to be made then.
local threads = {}

function setup(thread)
	table.insert(threads, thread)
end

function init(args)
	bad, good = 0, 0
	local bytes = {}
	for i = 0, tonumber(args[1]) - 1 do
		bytes[i + 1] = string.char(i * 7 % 251)
	end
	wanted = table.concat(bytes)
	enough, mark = tonumber(args[2]), args[3]
end

function response(status, headers, body)
	if status == 200 and body == wanted then
		good = good + 1
		if good == enough then
			io.open(mark, 'w'):close()
		end
	else
		bad = bad + 1
	end
end

function done(summary, latency, requests)
	local bad, good = 0, 0
	for _, thread in ipairs(threads) do
		bad = bad + thread:get("bad")
		good = good + thread:get("good")
	end
	local e = summary.errors
	print(string.format("torpor %d %d %d", good, bad, e.connect + e.read + e.write + e.timeout))
end
