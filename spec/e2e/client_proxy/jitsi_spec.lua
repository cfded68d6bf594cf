-- SPDX-License-Identifier: MIT
-- mod_client_proxy: the recipe for Jitsi Meet of its README. The spec takes the configuration from the README, and sends requests as
-- lib-jitsi-meet makes them. Clients play Jicofo's side, and answer as it does.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local xmlns_focus = "http://jitsi.org/protocol/focus";
local account, host = "focus@auth.example.com", "proxy.example.com";

local file = assert(io.open("lua/mod_client_proxy/README.markdown"));
local recipe = file:read("a"):match("\nExample: Jitsi Meet with several focuses\n=+\n.-\n``` {%.lua}\n(.-)\n```");
file:close();

for version in bed.versions() do
describe("Jitsi Meet's recipe of client_proxy on Prosody " .. version, function ()
	local function answer(focus, request)
		focus:send(st.reply(request):tag("conference", { xmlns = xmlns_focus; ready = "true"; focusjid = account;
			room = request.tags[1].attr.room; ["machine-uid"] = focus.jid }):tag("property", { name = "authentication"; value = "false" }));
	end

	local function serve(focus)
		focus.on_stanza = function (stanza)
			if stanza:get_child("conference", xmlns_focus) and stanza.attr.type == "set" then answer(focus, stanza); end
		end;
	end

	-- -> a Jicofo that is there, and the id by which its session can be resumed
	local function start_focus(node, resource)
		local focus = node:client(account .. "/" .. resource);
		focus:send "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
		local id = focus:expect({ "enabled" }).attr.id;
		proxy.available(focus);
		serve(focus);
		return focus, id;
	end

	local function start(s)
		local node = s:node { version = version; config = recipe .. "\nVirtualHost \"meet.example.com\"\n"; modules = { "limits" };
			global = "limits = { c2s = { rate = \"10kb/s\" } }" };
		node:add_user(account);
		node:reload("client_proxy", host); -- or the proxy sees the new account in a few seconds
		return node;
	end

	local function send_request(client, room)
		client:send(st.iq({ type = "set"; id = room; to = host })
			:tag("conference", { xmlns = xmlns_focus; room = room .. "@conference.example.com"; ["machine-uid"] = client.jid })
				:tag("property", { name = "rtcstatsEnabled"; value = "false" }):up());
	end

	local function expect_focus(client, room)
		local conference = client:expect({ "iq", type = "result", id = room, from = host }):get_child("conference", xmlns_focus);
		assert.same({ "true", room .. "@conference.example.com" }, { conference.attr.ready, conference.attr.room });
		return conference.attr["machine-uid"];
	end

	local function ask(client, room)
		send_request(client, room);
		return expect_focus(client, room);
	end

	local function users(node)
		local clients = {};
		for i = 1, 3 do clients[i] = node:client(("guest%d@meet.example.com/web"):format(i)); end
		return clients;
	end

	it("keeps each room with its focus, whoever asks, also when that comes back (C11)", bed.scenario(function (s)
		local node = start(s);
		local one = start_focus(node, "one");
		local two = start_focus(node, "two");
		local guests, home, rooms_of = users(node), {}, { [one.jid] = {}; [two.jid] = {} };
		for i = 1, 16 do
			local room = "room" .. i;
			for _, guest in ipairs(guests) do
				local by = ask(guest, room);
				if not home[room] then
					home[room] = by;
					table.insert(rooms_of[by], room);
				end
				assert.equal(home[room], by);
			end
		end
		local room_of_one, room_of_two = rooms_of[one.jid][1], rooms_of[two.jid][1];
		assert.truthy(room_of_one and room_of_two); -- all with one focus with probability 1/32768
		-- the focus of a room ends while it is asked: it may have begun the conference, and the client asks again
		one.on_stanza = nil;
		send_request(guests[1], room_of_one);
		one:expect { "iq", type = "set", has = ("{%s}conference"):format(xmlns_focus) };
		one:close();
		proxy.expect_error(guests[1], room_of_one, "service-unavailable", host);
		assert.equal(two.jid, ask(guests[1], room_of_one));
		-- from now on the room is there, whoever comes
		start_focus(node, "one");
		for _, guest in ipairs(guests) do
			assert.equal(two.jid, ask(guest, room_of_one));
			assert.equal(two.jid, ask(guest, room_of_two));
		end
	end));

	it("gives no room to a focus that has lost its connection, until it is back with those it had (C11 C6)", bed.scenario(function (s)
		local node = start(s);
		local one, id = start_focus(node, "one");
		local guests, old = users(node), {};
		for i = 1, 8 do
			old[i] = "old" .. i;
			assert.equal(one.jid, ask(guests[1], old[i]));
		end
		local two = start_focus(node, "two");
		for _, room in ipairs(old) do assert.equal(one.jid, ask(guests[2], room)); end
		one:kill();
		s:wait_until(function ()
			return node:eval(([[return (prosody.full_sessions[%q] or {}).hibernating ~= nil]]):format(one.jid));
		end, 5, "hibernation");
		for i = 1, 8 do assert.equal(two.jid, ask(guests[3], "new" .. i)); end
		one = node:resume(one.jid, id, 0);
		serve(one);
		one:sync();
		for _, room in ipairs(old) do assert.equal(one.jid, ask(guests[3], room)); end
		for i = 1, 8 do assert.equal(two.jid, ask(guests[1], "new" .. i)); end
	end));

	it("lets a focus write more than mod_limits lets others (C11 C8)", bed.scenario(function (s)
		local node = start(s);
		local focus, guest = start_focus(node, "one"), node:client("guest@meet.example.com/web");
		local long = st.message({ to = "guest@meet.example.com/web" }):text_tag("body", ("x"):rep(100000));
		for _, client in ipairs { guest, focus } do
			client:send(long);
			guest:expect { "message", has = "body" };
		end
		local function is_throttled(client)
			return node:eval(([[return require "prosody_relay.sessions".is_throttled(%q)]]):format(client.jid));
		end
		assert.is_true(is_throttled(guest));
		assert.is_false(is_throttled(focus));
	end));
end);
end
