-- SPDX-License-Identifier: MIT
-- mod_fmuc: messages may have the same text and the same id. They are different messages if the master gives them different stanza-ids.
-- Then each of them is shown once (F14, G3). A program that watches something sends such messages.

local bed = require "bed";
local fake = require "fake_master";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local say = federation.say;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_fmuc, xmlns_sid = "http://isode.com/protocol/fmuc", "urn:xmpp:sid:0";

local archive = "modules_enabled = { \"muc_mam\" }\n";
local archiving_master = federation.master_config:gsub("\"fmuc\"", "%0, \"muc_mam\"");

local function meet(s, versions, mirror)
	return federation.meet(s, versions, { master = archiving_master; mirror = federation.mirror_config .. "\t" .. archive .. (mirror or "") });
end

-- how often the client was told that by a message
local function count(client, text)
	local found = 0;
	for _, stanza in ipairs(client:drain()) do
		if stanza:get_child_text("body") == text then found = found + 1; end
	end
	return found;
end

local function alert(client, room_jid)
	say(client, room_jid, "disk full", "alert");
end

local function cut(s, f)
	f.link:cut();
	s:wait_until(function () return outages.phase(f) == "lost"; end, 10, "outage");
end

local function restore(s, f)
	f.link:expect_broken();
	f.link:restore();
	outages.wait_until_live(s, f);
	outages.settle(f);
end

local function stamped(stanza, id)
	return stanza:tag("stanza-id", { xmlns = xmlns_sid; by = fake.room; id = id }):up();
end

local function delayed(stanza, seconds)
	local stamp = require "util.datetime".datetime(os.time() - (seconds or 0));
	return stanza:tag("delay", { xmlns = "urn:xmpp:delay"; from = fake.room; stamp = stamp }):up();
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and the same words, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("shows each alert that was said in an outage, though an earlier one had the same id and text (F14 G3)", bed.scenario(function (s)
		local f = meet(s, versions);
		for _ = 1, 2 do alert(f.curtis, master_room); end
		for _ = 1, 2 do
			for _, client in ipairs { f.curtis, f.kev, f.bob } do client:expect { "message", id = "alert" }; end
		end
		cut(s, f);
		for _ = 1, 3 do alert(f.curtis, master_room); end
		for _ = 1, 3 do f.curtis:expect { "message", id = "alert" }; end
		restore(s, f);
		assert.same({ 3, 3, 0 }, { count(f.kev, "disk full"), count(f.bob, "disk full"), count(f.curtis, "disk full") });
	end));

	it("shows each alert to a mirror that begins, or that a restarted master knows no more (F14 G4)", bed.scenario(function (s)
		local f = federation.new(s, versions, { master = archiving_master; mirror = federation.mirror_config .. "\t" .. archive });
		for _ = 1, 3 do alert(f.curtis, master_room); end
		for _ = 1, 3 do f.curtis:expect { "message", id = "alert" }; end
		federation.enter(f.kev, "Kev");
		f.kev:expect { "message", has = "subject" };
		assert.equal(3, count(f.kev, "disk full"));
		f.kev:send(federation.join(mirror_room, "Kev")); -- the history once more, from the mirror
		f.kev:expect { "message", has = "subject" };
		assert.equal(3, count(f.kev, "disk full"));
	end));

	for _, nomirror in ipairs { false, true } do
	local mode = nomirror and ", fired and forgotten" or "";
	it("sends each alert of a local user once over an outage" .. mode .. " (F14 G16)", bed.scenario(function (s)
		local f = meet(s, versions, "\tfmuc_nomirror = " .. tostring(nomirror) .. "\n");
		alert(f.kev, mirror_room);
		for _, client in ipairs { f.curtis, f.kev, f.bob } do client:expect { "message", id = "alert" }; end
		f.link:stall();
		for _ = 1, 2 do alert(f.kev, mirror_room); end
		s:wait_until(function () return f.link:waiting(f.remote) > 0; end, 5, "messages on their way");
		f.kev:sync();
		cut(s, f); -- they are lost, and nobody knows
		say(f.curtis, master_room, "missed");
		f.curtis:expect { "message", body = "missed" };
		restore(s, f);
		assert.same({ 2, 2, 2 }, { count(f.curtis, "disk full"), count(f.kev, "disk full"), count(f.bob, "disk full") });
	end));
	end

	it("shows local users and the room an alert with the id that its author gave it, when it is fired and forgotten (M21 F14)", bed.scenario(function (s)
		local f = meet(s, versions, "\tfmuc_nomirror = true\n");
		for _ = 1, 3 do alert(f.kev, mirror_room); end
		for _ = 1, 3 do
			for _, client in ipairs { f.curtis, f.kev, f.bob } do
				assert.equal("alert", client:expect({ "message", body = "disk full" }).attr.id);
			end
		end
	end));

	it("takes back once what local users said with the same words on their own (F14 G1)", bed.scenario(function (s)
		local f = meet(s, versions, "\tfmuc_grace_period = 1; fmuc_outage_policy = \"autonomous\"\n");
		cut(s, f);
		f.kev:expect({ "presence", type = "unavailable", from = mirror_room .. "/Curtis" }, 10);
		for _ = 1, 2 do alert(f.kev, mirror_room); end
		for _ = 1, 2 do
			for _, client in ipairs { f.kev, f.bob } do client:expect { "message", id = "alert" }; end
		end
		f.link:restore();
		outages.wait_until_live(s, f);
		f.kev:expect({ "presence", from = mirror_room .. "/Curtis", type = false }, 10);
		outages.settle(f);
		assert.same({ 2, 0, 0 }, { count(f.curtis, "disk full"), count(f.kev, "disk full"), count(f.bob, "disk full") });
		-- and what is repeated of it in the next outage is known
		cut(s, f);
		alert(f.curtis, master_room);
		restore(s, f);
		assert.equal(1, count(f.kev, "disk full"));
	end));

	it("shows a message of a master once that comes twice, and both of two that have one id (F14 F9)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev", nil, { xmlns_fmuc, xmlns_sid });
		for _, text in ipairs { "one", "one", "other" } do f.fake:send(stamped(fake.message("Alice", text, text), "same")); end
		f.fake:send(stamped(fake.message("Alice", "one", "one"), "new"));
		f.fake:send(fake.message("Alice", "over"));
		f.kev:expect { "message", body = "over" };
		assert.equal(2, count(f.kev, "one"));
	end));

	it("shows an alert that a broken stream sends again, though an earlier one said the same (F14 F1)", bed.scenario(function (s)
		local f = fake.new(s, versions);
		fake.admit(f, f.kev, "Kev", nil, { xmlns_fmuc, xmlns_sid });
		local function sent_again(id) -- as by mod_smacks of the master's server
			return stamped(fake.message("Alice", "disk full", "alert"), id):tag("delay", { xmlns = "urn:xmpp:delay"; from = "fake.example.com";
				stamp = require "util.datetime".datetime() }):up();
		end
		f.fake:send(stamped(fake.message("Alice", "disk full", "alert"), "i1"));
		for _, id in ipairs { "i1", "i2", "i2" } do f.fake:send(sent_again(id)); end
		f.fake:send(fake.message("Alice", "over"));
		f.kev:expect { "message", body = "over" };
		assert.equal(2, count(f.kev, "disk full"));
	end));

	it("knows what it fired and forgot by words where the master chose the id, each once (F14 M21)", bed.scenario(function (s)
		local f = fake.new(s, versions, federation.believing_config .. "\tfmuc_nomirror = true; fmuc_grace_period = 20\n");
		fake.admit(f, f.kev, "Kev", nil, { xmlns_fmuc, xmlns_sid });
		for _ = 1, 2 do
			say(f.kev, fake.mirror, "disk full", "alert");
			f.kev:expect { "message", id = "alert" };
			f.fake:expect { "message", id = "alert" };
		end
		f.remote:eval [[ -- a quarter of an hour ago
			for _, box in pairs(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) do
				for _, entry in ipairs(box) do entry.written = entry.written - 1000; end
			end
		]];
		s:wait_until(function ()
			return f.remote:eval [[return next(prosody.hosts["mirror.remote.example.com"].modules.fmuc.module.save().outbox) == nil]];
		end, 5, "end of the wait");
		f.fake:send(st.presence({ type = "error"; from = fake.room; to = fake.mirror })
			:tag("error", { type = "cancel" }):tag("item-not-found", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }):up():up());
		local again = f.fake:expect { "presence", type = false, to = fake.room .. "/Kev", has = federation.fmuc };
		f.fake:send(fake.presence("Kev", again.attr.id));
		for _, id in ipairs { "i1", "i2", "i3" } do f.fake:send(delayed(stamped(fake.message("Kev", "disk full", "alert"), id))); end
		f.fake:send(fake.subject());
		f.fake:send(fake.message("Alice", "over"));
		f.kev:expect { "message", body = "over" };
		assert.equal(1, count(f.kev, "disk full")); -- the third: said by another session with that nick
	end));
end);
end
