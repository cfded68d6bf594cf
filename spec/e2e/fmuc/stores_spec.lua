-- SPDX-License-Identifier: MIT
-- The files of mod_fmuc may be damaged, or somebody else's. They keep no server from starting or stopping, and are kept aside. Nor does an error
-- while the server stops.

local bed = require "bed";
local federation = require "federation";
local loop = require "bed.loop";
local nodes = require "nodes";
local shell = require "shell";
local sha256 = require "util.hashes".sha256;

local say, enter = federation.say, federation.enter;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local contents = {
	"return {", "return 5", "return { record = 5 }", "return { record = { room = 5 } }", "\0\1\2", "return { record = { nicks = {} } }", "",
	("return { record = { room = %q; master = \"other@talk.example.com\"; nicks = { Kev = true } } }"):format(mirror_room),
	("return { record = { room = %q; master = %q; nicks = { 1 } } }"):format(mirror_room, master_room),
	("return { record = { room = %q; master = %q; nicks = \"Kev\" } }"):format(mirror_room, master_room),
};

local park, lawn = "park@rooms.e.example", "lawn@rooms.w.example";

-- of the room park, under the key of the room lawn; %s: its users
local record = ("return { record = { room = %q; peer = %q; direction = \"up\"; users = { %%s } } }"):format(park, lawn);
local remembered = {
	"return {", "return 5", "return { record = 5 }", "return { record = { room = 5; peer = 5 } }", "\0\1\2", "",
	record:format("5"), record:format("a = 5"), record:format("[\"a@e.example/pc\"] = { }"), record:format("[\"@/\"] = { nick = \"A\" }"),
	record:format("[\"a@e.example/pc\"] = { nick = \"\\255\" }"), record:format("[\"a@e.example/pc\"] = { nick = \"A\"; gone = \"soon\" }"),
	(record:format(""):gsub("\"up\"", "\"left\"")), (record:format(""):gsub("users = {  }", "users = 5")), (record:format(""):gsub("lawn", "other")),
};

-- of a link between two nodes; %s: more of its one user
local node = "fmuc_nodes = { ['a@b'] = { direction = 'up'; told = {}; outbox = { series = 's'; sent = 0; received = 0; messages = {} };"
	.. " brought = { A = { real_jid = 'a@b/c'; role = 'participant'; affiliation = 'none'; %s } } } }";

local function write(path, text)
	local file = assert(io.open(path, "wb"));
	file:write(text);
	file:close();
end

local function exists(path)
	local file = io.open(path);
	if file then file:close(); end
	return file ~= nil;
end

for version in bed.versions() do
describe("fmuc stores, Prosody " .. version, function ()
	it("starts with whatever the store of a mirror contains, and keeps it aside (G4)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		local folder = f.remote.dir .. "/data/mirror%2eremote%2eexample%2ecom/fmuc_mirrored";
		assert.is_true(exists(("%s/%s.dat"):format(folder, sha256(mirror_room, true))));
		f.remote:stop();
		f.remote:allow_log("cannot be used");
		f.remote:allow_log("Failed to load");
		f.remote:allow_log("Error in data storage");
		local paths = {};
		for i, text in ipairs(contents) do
			paths[i] = ("%s/%s.dat"):format(folder, i == 1 and sha256(mirror_room, true) or ("key%d"):format(i));
			write(paths[i], text);
		end
		write(("%s/%s.dat"):format(folder, "of%20another"), ("return { record = { room = %q; master = %q; nicks = { Kev = true } } }")
			:format(mirror_room, master_room));
		f.remote:start();
		for i, path in ipairs(paths) do
			assert.is_true(exists(path .. ".broken") or contents[i] == "", path);
			assert.is_false(exists(path) and contents[i] ~= "", path);
		end
		local kev = f.remote:client("kev@remote.example.com/Swift");
		enter(kev, "Kev");
		say(kev, mirror_room, "here");
		f.curtis:expect { "message", body = "here", from = master_room .. "/Kev" };
		f.remote:stop();
		f.curtis:expect { "presence", type = "unavailable", from = master_room .. "/Kev" };
	end));

	it("starts with whatever it has stored of users in foreign nodes, and keeps it aside (O17)", bed.scenario(function (s)
		local e = nodes.server(s, "e", version, nil, { start = false });
		local w = nodes.server(s, "w", version);
		local link = s:link(e, w);
		nodes.make_room(w, lawn, { inbound_peers = { park } });
		e:allow_log("cannot be used");
		e:allow_log("Failed to load");
		e:allow_log("Error in data storage");
		local folder = e.dir .. "/data/rooms%2ee%2eexample/fmuc_remembered";
		shell.run("mkdir -p %s", folder);
		local key = sha256(park .. "\0" .. lawn, true);
		for i, text in ipairs(remembered) do
			local path = ("%s/%s.dat"):format(folder, key);
			write(path, text);
			write(("%s/key%d.dat"):format(folder, i), record:format(""));
			e:start();
			assert.is_true(exists(path .. ".broken") or text == "", text);
			assert.is_true(exists(("%s/key%d.dat.broken"):format(folder, i)));
			if i < #remembered then e:stop(); end
			os.remove(path .. ".broken");
		end
		nodes.make_room(e, park, { outbound_peer = lawn });
		nodes.enter(e, park, "hamlet");
		nodes.expect_occupants(w, lawn, "Hamlet");
		-- a node of this module has answered
		loop.wait_until(function () return not exists(("%s/%s.dat"):format(folder, key)); end, nil, function () return "the record to go"; end);
		-- whom the process before has brought, is taken back
		e:stop();
		write(("%s/%s.dat"):format(folder, key), record:format("[\"a@e.example/pc\"] = { nick = \"A\" }"));
		e:start();
		link:expect(e, { "presence", type = "unavailable"; from = park .. "/A"; to = lawn });
	end));

	it("opens rooms with whatever their data contain (G2 G14 G25)", bed.scenario(function (s)
		local config = federation.master_config .. "\tmuc_room_default_persistent = true\n";
		local f = federation.new(s, { master = version; mirror = version }, { master = config });
		f.talk:allow_log("cannot be used; the room goes on without it");
		for _, value in ipairs {
			"fmuc_links = 5"; "fmuc_links = { a = 5 }"; "fmuc_links = { a = { Kev = 5 } }"; "fmuc_links = { { Kev = 'a@b/c' } }";
			"fmuc_bandwidth = true"; "fmuc_bandwidth = { a = {} }"; "fmuc_kicked = 'Kev'"; "fmuc_kicked = { 5 }"; "fmuc_kicked = { {} }";
			"fmuc_appended = 'many'"; "fmuc_seen = 5"; "fmuc_seen = { ['a@b'] = 'now' }"; "fmuc_mode = 5"; "fmuc_inbound_peers = { { } }";
			"fmuc_nodes = 5"; "fmuc_nodes = { 5 }"; "fmuc_nodes = { ['a@b'] = { direction = 'up' } }"; node:format("since = 5");
			node:format("hidden = {}"); (node:format(""):gsub("'up'", "'left'")); (node:format(""):gsub("messages = {}", "messages = { {} }"));
			"fmuc_kicked = { { 'a', 'b', {} } }"; "fmuc_kicked = { { 'a', 'b', 5 } }"; "fmuc_kicked = { Kev = { 'a', 'b', { name = 'presence' } } }";
		} do
			federation.configure(f, ([[room._data.%s; room:save(true);
				prosody.hosts["talk.example.com"].modules.fmuc.lib "room/stored_data".check(room); assert(room._data.%s == nil)]])
				:format(value, value:match("^%S+")));
			federation.configure(f, ("room._data.%s; room:save(true)"):format(value));
			f.talk:reload("fmuc", "talk.example.com"); -- rooms in memory
			federation.configure(f, ("room._data.%s; room:save(true)"):format(value));
			f.talk:eval [[ -- rooms in the store
				local muc = prosody.hosts["talk.example.com"].modules.muc;
				muc.forget_room(muc.get_room_from_jid("jabberchat@talk.example.com"));
			]];
			enter(f.kev, "Kev");
			f.kev:expect { "message", has = "subject" };
			federation.configure(f, [[room:set_role(true, room.jid .. "/Kev", nil)]]);
			f.kev:expect { "presence", type = "unavailable", from = mirror_room .. "/Kev" };
			f.kev:sync();
			f.kev:drain();
		end
	end));

	it("stops although something fails in it (G4)", bed.scenario(function (s)
		local f = federation.new(s, { master = version; mirror = version });
		enter(f.kev, "Kev");
		f.curtis:expect { "presence", from = master_room .. "/Kev" };
		f.remote:allow_log("deliberate failure");
		f.remote:eval [[
			local muc = prosody.hosts["mirror.remote.example.com"].modules.muc;
			local get, failed = muc.get_room_from_jid, false;
			function muc.get_room_from_jid(...)
				if prosody.shutdown_reason and not failed then
					failed = true;
					error("deliberate failure");
				end
				return get(...);
			end
		]];
		f.remote:stop();
		f.remote:expect_log("While the server stops: .*deliberate failure");
	end));
end);
end
