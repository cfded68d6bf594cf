-- SPDX-License-Identifier: MIT
-- mod_fmuc over a link of 300 bit/s with 5 s latency each way, with an outage of a minute: what crosses is what people say, and a few
-- questions (G3, G5, G7). It takes minutes and is part of `make soak-fmuc`.

local federation = require "federation";
local outages = require "outages";
local bed = require "bed";
local uuid = require "util.uuid".generate;
local st = require "util.stanza";

local master_room, mirror_room = federation.master_room, federation.mirror_room;

local bytes_per_second, latency = 37, 5;
local pause, outage = 30, 60; -- between two messages of anybody; the link is away for so long

-- What the README says about such links
local readme = assert(io.open("lua/mod_fmuc/README.markdown"));
local advice = readme:read("a"):match("\n    (s2s_timeout = %d+\n    fmuc_join_timeout = %d+\n    fmuc_grace_period = %d+\n)");
readme:close();

-- The bytes of one message (the table in the README). The most bytes of a question or its answer, of a join, and of the master's answer to a join.
local message_up, message_down = 420, 520;
local question, join, dump = 300, 700, 2500;

-- say(client, room_jid, text): as clients do, with a chat state and an id that outlives changes
local function say(client, room_jid, text)
	local id = uuid();
	client:send(st.message({ type = "groupchat"; to = room_jid; id = id }):text_tag("body", text)
		:tag("active", { xmlns = "http://jabber.org/protocol/chatstates" }):up()
		:tag("origin-id", { xmlns = "urn:xmpp:sid:0"; id = id }):up());
end

-- run(s, versions, options, fault) -> f, with f.texts (what was said, in order), f.seen[name] (what each user was told), f.backlog
local function run(s, versions, options, fault)
	local f = federation.meet(s, versions, { global = options });
	f.texts, f.seen, f.own, f.backlog = {}, {}, { talk = 0; remote = 0 }, 0;
	local speakers = { "kev", "curtis", "bob" };
	for _, name in ipairs(speakers) do
		f.seen[name] = { bodies = {}; others = {} };
		f[name].on_stanza = function (stanza)
			local body = stanza.attr.type == "groupchat" and stanza:get_child_text("body");
			table.insert(body and f.seen[name].bodies or f.seen[name].others, body or tostring(stanza));
		end;
	end
	local function pass(seconds)
		for _ = 1, seconds do
			s:wait(1);
			f.backlog = math.max(f.backlog, f.link:waiting(f.talk), f.link:waiting(f.remote));
		end
	end
	local function speak(times)
		for _ = 1, times do
			local name = speakers[#f.texts % #speakers + 1];
			local side = name == "curtis" and "talk" or "remote";
			local text = ("message %d of %s"):format(#f.texts + 1, name);
			table.insert(f.texts, text);
			f.own[side] = f.own[side] + 1;
			say(f[name], side == "talk" and master_room or mirror_room, text);
			pass(pause);
		end
	end
	f.link:delay(latency);
	f.link:rate(bytes_per_second);
	speak(3);
	f.link[fault](f.link);
	speak(outage // pause);
	f.link:restore();
	speak(4);
	f.waited = 0;
	local function is_complete()
		for _, name in ipairs(speakers) do
			if #f.seen[name].bodies < #f.texts then return false; end
		end
		return outages.phase(f) == "live";
	end
	while not is_complete() and f.waited < 300 do
		pass(5);
		f.waited = f.waited + 5;
	end
	pass(2 * pause); -- nothing follows
	return f;
end

local function count(f, node)
	local numbers = { message = 0; presence = 0; iq = 0 };
	for _, stanza in ipairs(f.link:sent(node)) do numbers[stanza.name] = numbers[stanza.name] + 1; end
	return numbers, f.link:bytes(node);
end

local function sorted(list)
	local copy = table.move(list, 1, #list, 1, {});
	table.sort(copy);
	return copy;
end

-- most: highest numbers of joins, nudges (the master asks the mirror to join), questions, repeated messages and bytes of new connections
local function check(f, label, most)
	local up, up_bytes = count(f, f.remote);
	local down, down_bytes = count(f, f.talk);
	print(("fmuc, 300 bit/s, %s: %d messages; up %d messages, %d presences, %d iq, %d bytes; down %d, %d, %d, %d bytes; "
		.. "largest backlog %d bytes; all there %d s after the last"):format(label, #f.texts, up.message, up.presence, up.iq, up_bytes,
		down.message, down.presence, down.iq, down_bytes, f.backlog, pause + f.waited));
	for name, seen in pairs(f.seen) do
		assert.same(sorted(f.texts), sorted(seen.bodies), name .. " missed or saw twice");
		assert.same({}, seen.others, name .. " noticed more than a pause");
	end
	assert.is_true(up.message <= f.own.remote + most.repeated and down.message <= #f.texts + most.repeated, "messages were repeated");
	assert.is_true(up.presence <= most.joins and down.presence <= most.joins * 3 + most.nudges, "a storm of joins");
	assert.is_true(up.iq <= most.questions and down.iq <= most.questions, "a storm of questions");
	assert.is_true(up_bytes <= (f.own.remote + most.repeated) * message_up + most.questions * question + most.joins * join + most.connection);
	assert.is_true(down_bytes <= (#f.texts + most.repeated) * message_down + most.questions * question + most.joins * dump + most.connection);
	assert.is_true(f.backlog <= 4 * message_down + most.joins * dump + most.connection, "it piles up");
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc at 300 bit/s, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	local label = ("master %s, mirror %s, "):format(versions.master, versions.mirror);

	it("stalls for a minute with the options for slow links (G3 G5 G7)", bed.scenario(function (s)
		check(run(s, versions, advice, "stall"), label .. "stall", { joins = 0; nudges = 0; questions = 2; repeated = 0; connection = 0 });
	end));

	it("stalls for a minute with default options (G3 G5 G7)", bed.scenario(function (s)
		check(run(s, versions, nil, "stall"), label .. "stall, defaults", { joins = 1; nudges = 2; questions = 8; repeated = 2; connection = 0 });
	end));

	it("is cut for a minute with the options for slow links (G3 G5 G7)", bed.scenario(function (s)
		check(run(s, versions, advice, "cut"), label .. "cut", { joins = 1; nudges = 4; questions = 4; repeated = 4; connection = 5000 });
	end));
end);
end
