-- SPDX-License-Identifier: MIT
-- mod_fmuc: no two messages of a room have the same stanza-id (XEP-0359 section 3), whatever a mirror or a master claims.

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local st = require "util.stanza";

local say, stanza_ids, archive = federation.say, federation.stanza_ids, federation.archive;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_fmuc, xmlns_sid = "http://isode.com/protocol/fmuc", "urn:xmpp:sid:0";

local archiving_master = federation.master_config:gsub("\"fmuc\"", "%0, \"muc_mam\"");
local archiving_mirror = federation.mirror_config .. "\tmodules_enabled = { \"muc_mam\" }\n";
local lair = "jabberchat\\40talk.example.com@liar.remote.example.com";

local function with_id(stanza, by, id)
	return stanza:tag("stanza-id", { xmlns = xmlns_sid; by = by; id = id }):up();
end

-- what a mirror sends for its user Imp, fired and forgotten
local function forgotten(text, id)
	return with_id(st.message({ type = "groupchat"; from = lair .. "/Imp"; to = master_room; id = text }):text_tag("body", text)
		:tag("nomirror", { xmlns = xmlns_fmuc }):up(), lair, id);
end

local function assert_unique(list, count)
	local seen = {};
	for _, entry in ipairs(list) do
		local id = entry:match("^%S+");
		assert.is_nil(seen[id], "twice: " .. entry);
		seen[id] = true;
	end
	assert.equal(count, #list);
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc unique identifiers, %s mirror and %s master"):format(versions.mirror, versions.master), function ()
	it("lets no mirror name its message after another, however old, nor after one of its own or of another mirror (F9 G9)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = archiving_master .. "\tmuc_room_default_history_length = 2\n";
			mirror = archiving_mirror .. "\tfmuc_nomirror = true\n" .. [[
Component "liar.remote.example.com"
	component_secret = "hush"
]] });
		say(f.curtis, master_room, "old");
		local old = stanza_ids(f.curtis:expect { "message", body = "old" })[master_room];
		say(f.kev, mirror_room, "kev's");
		local kevs = stanza_ids(f.curtis:expect { "message", body = "kev's" })[master_room];
		for i = 1, 5 do say(f.curtis, master_room, "more " .. i); end
		f.curtis:expect { "message", body = "more 5" };
		f.talk:reload("fmuc", "talk.example.com"); -- and nothing of it is in the module's memory

		local liar = f.remote:component("liar.remote.example.com", "hush");
		liar:send(st.presence({ from = lair; to = master_room .. "/Imp" })
			:tag("fmuc", { xmlns = xmlns_fmuc; from = "imp@liar.remote.example.com/x"; ids = "" }):up());
		local prefix = liar:expect({ "presence", from = master_room, has = federation.fmuc .. "@ids" }):find(federation.fmuc .. "@ids");
		f.curtis:expect { "presence", from = master_room .. "/Imp" };
		local function id_of(text, id)
			liar:send(forgotten(text, id));
			return stanza_ids(f.curtis:expect { "message", body = text })[master_room];
		end
		assert.not_equal(old, id_of("as Curtis", old));
		assert.not_equal(kevs, id_of("as Kev", kevs));
		local next_of_kev = kevs:gsub("%d+$", function (number) return tostring(tonumber(number) + 1); end);
		assert.not_equal(next_of_kev, id_of("as Kev will", next_of_kev));
		local own = prefix .. "-1";
		assert.equal(own, id_of("own", own));
		assert.not_equal(own, id_of("own again", own));
		f.talk:reload("fmuc", "talk.example.com");
		assert.not_equal(own, id_of("own after a reload", own));
		assert.equal(prefix .. "-9", id_of("own nine", prefix .. "-9"));
		assert.not_equal(prefix .. "-8", id_of("own eight", prefix .. "-8"));
		-- who has left and comes back gets another prefix
		liar:send(st.presence({ type = "unavailable"; from = lair; to = master_room .. "/Imp" }));
		f.curtis:expect { "presence", type = "unavailable" };
		liar:send(st.presence({ from = lair; to = master_room .. "/Imp" })
			:tag("fmuc", { xmlns = xmlns_fmuc; from = "imp@liar.remote.example.com/x"; ids = "" }):up());
		f.curtis:expect { "presence", from = master_room .. "/Imp" };
		assert.not_equal(prefix .. "-10", id_of("own ten", prefix .. "-10"));
		-- Kev's mirror still may, with the next
		say(f.kev, mirror_room, "kev's next");
		local theirs = stanza_ids(f.curtis:expect { "message", body = "kev's next" })[master_room];
		assert.equal(next_of_kev, theirs);
		assert.equal(theirs, stanza_ids(f.bob:expect { "message", body = "kev's next" })[mirror_room]);
		assert_unique(archive(f.curtis, master_room), 17);
	end));

	it("takes over the ids of a mirror that was restarted, over a narrow link too, with other numbers (F9 G9 G25)", bed.scenario(function (s)
		local f = federation.meet(s, versions, { master = archiving_master;
			mirror = archiving_mirror .. "\tfmuc_nomirror = true; fmuc_bandwidth = \"messages\"\n" });
		local function id_of(client, text)
			say(client, mirror_room, text);
			local here = stanza_ids(client:expect { "message", body = text })[mirror_room];
			assert.equal(here, stanza_ids(f.curtis:expect { "message", body = text })[master_room]);
			return here;
		end
		id_of(f.kev, "one");
		f.remote:kill();
		f.remote:start();
		local kev = f.remote:client("kev@remote.example.com/Swift");
		federation.enter(kev, "Kev");
		kev:expect({ "message", has = "subject" }, 20);
		id_of(kev, "two");
		assert_unique(archive(f.curtis, master_room), 2);
	end));

	it("gives messages ids of its own where the master repeats one, live and in the history (F9 G9)", bed.scenario(function (s)
		local f = fake.new(s, versions, archiving_mirror);
		local join = fake.ask(f, f.kev, "Kev", { xmlns_fmuc, xmlns_sid });
		f.fake:send(fake.presence("Kev", join.attr.id));
		for _, text in ipairs { "first", "second" } do
			f.fake:send(with_id(fake.message("Alice", text, text), fake.room, "same")
				:tag("delay", { xmlns = "urn:xmpp:delay"; from = fake.room; stamp = "2026-01-01T00:00:00Z" }):up());
		end
		f.fake:send(fake.subject());
		f.kev:expect { "message", has = "subject" };
		for i = 1, 1200 do f.fake:send(with_id(fake.message("Alice", "filler", "f" .. i), fake.room, "filler-" .. i)); end
		f.fake:send(with_id(fake.message("Alice", "live", "live"), fake.room, "same"));
		f.fake:send(with_id(fake.message("Bob", "live too", "live too"), fake.room, "filler-600"));
		f.fake:send(with_id(fake.message("Alice", "own", "own"), fake.room, "another"));
		f.kev:expect({ "message", id = "own" }, 20);
		f.remote:reload("fmuc", "mirror.remote.example.com");
		f.fake:send(with_id(fake.message("Alice", "after a reload", "reloaded"), fake.room, "another"));
		f.kev:expect { "message", id = "reloaded" };
		local keys = f.remote:eval(([[
			local module = prosody.hosts["mirror.remote.example.com"].modules.fmuc.module;
			local count, twice = 0, {};
			for id in module:open_store("muc_log", "archive"):find(require "util.jid".node(%q), {}) do
				count = count + 1;
				if twice[id] then return id; end
				twice[id] = true;
			end
			return count;
		]]):format(fake.mirror));
		assert.equal(1 + 1200 + 4, keys); -- of two in the history with one id the second is taken for the first repeated
	end));
end);
end
