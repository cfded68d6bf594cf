-- SPDX-License-Identifier: MIT
-- mod_fmuc after an outage of which the master itself knows nothing any more: what was said is in its archive (G8).

local bed = require "bed";
local fake_master = require "fake_master";
local federation = require "federation";
local outages = require "outages";
local st = require "util.stanza";

local say = federation.say;
local fmuc, muc_user = federation.fmuc, federation.muc_user;
local master_room, mirror_room = federation.master_room, federation.mirror_room;

local xmlns_mam = "urn:xmpp:mam:2";
local is_query = { "iq", type = "set", has = "{" .. xmlns_mam .. "}query" };

-- an archive, and a history that is shorter than what was missed
local master_config = federation.master_config:gsub("\"fmuc\"", "\"fmuc\", \"muc_mam\"")
	.. "\tmuc_room_default_persistent = true\n\tmuc_room_default_history_length = 2\n\tmax_archive_query_results = 3\n";

local function meet(s, versions, more)
	local f = federation.meet(s, versions, { master = master_config; mirror = federation.mirror_config .. (more or "") });
	say(f.curtis, master_room, "before");
	for _, client in ipairs { f.curtis, f.kev, f.bob } do client:expect { "message", body = "before" }; end
	return f;
end

-- miss(f, count): so many messages while the link is cut
local function miss(f, count)
	f.link:cut();
	for i = 1, count do
		say(f.curtis, master_room, "missed " .. i);
		f.curtis:expect { "message", body = "missed " .. i };
	end
	f.link:expect_broken();
end

local function list(prefix, count)
	local texts = {};
	for i = 1, count do texts[i] = prefix .. i; end
	return texts;
end

local function count_queries(f)
	local count = 0;
	for _, stanza in ipairs(f.link:sent(f.remote)) do
		if stanza.name == "iq" and stanza:get_child("query", xmlns_mam) then count = count + 1; end
	end
	return count;
end

for _, versions in ipairs(federation.crossings()) do
describe(("fmuc and the archive, master %s, mirror %s"):format(versions.master, versions.mirror), function ()
	it("completes what a restarted master does not know any more from its archive, page by page (G8 G4)", bed.scenario(function (s)
		local f = meet(s, versions);
		federation.configure(f, [[for _, name in ipairs { "kev", "bob" } do
				room:set_affiliation(true, name .. "@remote.example.com", "member");
			end
			room:set_members_only(true);]]);
		for _, client in ipairs { f.kev, f.bob } do client:sync(); client:drain(); end
		miss(f, 8);
		f.talk:restart();
		f.link:forget();
		f.link:restore();
		for _, client in ipairs { f.kev, f.bob } do client:expect({ "message", body = "missed 8" }, 25); end
		outages.wait_until_live(s, f);
		say(f.kev, mirror_room, "after");
		for _, client in ipairs { f.kev, f.bob } do client:expect { "message", body = "after" }; end
		assert.equal(3, count_queries(f)); -- for the whole mirror; "before" is recent enough to come again
	end));

	it("shows what was missed once, in order, as what it is (G8 G9)", bed.scenario(function (s)
		local f = meet(s, versions);
		miss(f, 5);
		f.talk:restart();
		f.link:restore();
		local texts, ids = {}, {};
		for i = 1, 5 do
			local stanza = f.kev:expect({ "message", type = "groupchat" }, 25);
			texts[i] = stanza:get_child_text("body");
			assert.equal(mirror_room .. "/Curtis", stanza.attr.from);
			assert.equal(mirror_room, stanza:find("{urn:xmpp:delay}delay@from"));
			assert.equal("id-" .. texts[i], stanza.attr.id);
			local id;
			for child in stanza:childtags("stanza-id", "urn:xmpp:sid:0") do
				assert.is_true(child.attr.by == master_room or child.attr.by == mirror_room);
				id = child.attr.id;
			end
			assert.is_nil(ids[id]);
			ids[id] = true;
		end
		assert.same(list("missed ", 5), texts);
		outages.wait_until_live(s, f);
		f.kev:sync();
		f.kev:expect_none({ "message" }, 0);
		f.bob:expect { "message", body = "missed 5" };
		-- in the room's history and archive it is as any message
		assert.is_nil(f.remote:eval(([[
			for _, entry in ipairs(prosody.hosts["mirror.remote.example.com"].modules.muc.get_room_from_jid(%q)._history) do
				if tostring(entry.stanza):find("jabber:client", 1, true) then return tostring(entry.stanza); end
			end
		]]):format(mirror_room)));
		-- and nothing is taken for missing afterwards
		local counts = federation.with_link(f.remote, mirror_room, "return { link.sent, link.received }");
		local others = federation.with_link(f.talk, master_room, "return { link.received, link.sent }");
		assert.same(others, counts);
	end));

	it("asks no archive for what the master remembers (G8 M2)", bed.scenario(function (s)
		local f = meet(s, versions);
		-- who has been in the room for a while
		f.talk:eval(([[prosody.hosts["talk.example.com"].modules.fmuc.module.save().journals[%q].since = 0]]):format(master_room));
		miss(f, 5);
		f.link:restore();
		f.bob:expect({ "message", body = "missed 5" }, 25);
		outages.wait_until_live(s, f);
		assert.equal(0, count_queries(f));
		f.link:expect_none(f.remote, { "iq", has = "{http://jabber.org/protocol/disco#info}query" }, 0.5); -- nor what the room is like
	end));

	it("does without an archive that does not answer, refuses, or says nonsense (G8)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.mirror_config .. "\tfmuc_join_timeout = 2\n");
		local features = { "http://isode.com/protocol/fmuc", xmlns_mam, "urn:xmpp:sid:0" };
		fake_master.admit(f, f.kev, "Kev", nil, features);
		local function resync(is_first)
			f.link:cut();
			f.link:expect_broken();
			f.link:restore();
			if is_first then -- afterwards the mirror knows that the master does not count
				f.fake:send(st.error_reply(f.fake:expect({ "iq", type = "get", has = "{urn:xmpp:ping}ping" }, 20), "cancel", "service-unavailable"));
			end
			local again = f.fake:expect({ "presence", to = fake_master.room .. "/Kev", has = fmuc .. "/history@since" }, 20);
			f.fake:send(fake_master.presence("Kev", again.attr.id));
			f.fake:send(fake_master.subject());
			return f.fake:expect(is_query);
		end
		local function result(query, id, message)
			local inner = message or st.message({ xmlns = "jabber:client"; type = "groupchat"; from = fake_master.room .. "/Alice"; id = id })
				:text_tag("body", id);
			f.fake:send(st.message({ from = fake_master.room; to = fake_master.mirror })
				:tag("result", { xmlns = xmlns_mam; id = "archive-" .. id; queryid = query.tags[1].attr.queryid })
					:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
						:tag("delay", { xmlns = "urn:xmpp:delay"; stamp = "2026-01-01T00:00:00Z" }):up()
						:add_child(inner));
		end
		local function is_live(text)
			f.fake:send(st.reply(f.fake:expect({ "iq", type = "get", has = "{http://jabber.org/protocol/disco#info}query" }, 15)):tag("query",
				{ xmlns = "http://jabber.org/protocol/disco#info" }):tag("feature", { var = features[1] }):up():tag("feature", { var = xmlns_mam }):up());
			f.fake:send(fake_master.message("Alice", text, text));
			f.kev:expect { "message", body = text };
		end

		resync(true); -- and silence
		is_live("after silence");

		f.fake:send(st.error_reply(resync(), "auth", "forbidden"));
		is_live("after a refusal");

		local query = resync();
		local function message(attr) attr.xmlns = "jabber:client"; return st.message(attr); end
		result(query, "stranger", message({ type = "groupchat"; from = "other@fake.example.com/Alice" }):text_tag("body", "no"));
		result(query, "private", message({ type = "chat"; from = fake_master.room .. "/Alice" }):text_tag("body", "no"));
		result(query, "subject", message({ type = "groupchat"; from = fake_master.room .. "/Alice" }):text_tag("subject", "no"));
		result(query, "nobody", message({ type = "groupchat" }):text_tag("body", "no"));
		result({ tags = { { attr = { queryid = "another" } } } }, "other query");
		result(query, "good");
		f.fake:send(st.message({ from = fake_master.room; to = fake_master.mirror }):tag("result", { xmlns = xmlns_mam; queryid = query.attr.id }));
		local function answer_incomplete(question)
			f.fake:send(st.reply(question):tag("fin", { xmlns = xmlns_mam })
				:tag("set", { xmlns = "http://jabber.org/protocol/rsm" }):text_tag("first", "archive-good"));
		end
		answer_incomplete(query);
		local further = f.fake:expect(is_query);
		assert.equal("archive-good", further:find("{" .. xmlns_mam .. "}query/{http://jabber.org/protocol/rsm}set/before#"));
		answer_incomplete(further);
		assert.equal("good", f.kev:expect({ "message", type = "groupchat", has = "body" }):get_child_text("body"));
		is_live("after nonsense");
		f.fake:expect_none(is_query, 0);
		-- what comes late is for nobody
		result(query, "late");
		f.fake:send(fake_master.message("Alice", "last", "last"));
		f.kev:expect { "message", body = "last" };
		f.kev:expect_none({ "message" }, 0);
		f.kev:expect_none({ "presence", type = "unavailable", has = muc_user .. "/status" }, 0);
	end));

	it("takes what it has got of an archive that breaks off in a busy room, and no more than 500 messages (G8 G1)", bed.scenario(function (s)
		local f = fake_master.new(s, versions, federation.mirror_config .. "\tfmuc_join_timeout = 2\n");
		local is_question = { "iq", type = "get", has = "{urn:xmpp:ping}ping" };
		fake_master.admit(f, f.kev, "Kev", nil, { "http://isode.com/protocol/fmuc", xmlns_mam });
		f.link:cut();
		f.link:expect_broken();
		f.link:restore();
		f.fake:send(st.error_reply(f.fake:expect(is_question, 20), "cancel", "service-unavailable"));
		local again = f.fake:expect({ "presence", to = fake_master.room .. "/Kev", has = fmuc .. "/history@since" }, 20);
		f.fake:send(fake_master.presence("Kev", again.attr.id));
		f.fake:send(fake_master.subject());
		local query = f.fake:expect(is_query);
		for i = 1, 505 do
			f.fake:send(st.message({ from = fake_master.room; to = fake_master.mirror })
				:tag("result", { xmlns = xmlns_mam; id = "archive-" .. i; queryid = query.tags[1].attr.queryid })
					:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
						:tag("delay", { xmlns = "urn:xmpp:delay"; stamp = "2026-01-01T00:00:00Z" }):up()
						:add_child(st.message({ xmlns = "jabber:client"; type = "groupchat"; from = fake_master.room .. "/Alice"; id = "old-" .. i })
							:text_tag("body", "old " .. i)));
		end
		for i = 1, 8 do -- and not the end; but the master is there
			f.fake:send(fake_master.message("Alice", "busy " .. i, "busy-" .. i));
			s:wait(0.5);
		end
		f.kev:expect_none({ "message" }, 0);
		f.fake:send(st.reply(f.fake:expect(is_question)));
		f.kev:expect { "message", body = "busy 8" };
		local texts = {};
		for _, stanza in ipairs(f.kev:drain()) do texts[#texts + 1] = stanza:get_child_text("body"); end
		assert.equal(507, #texts);
		assert.equal("old 1", texts[1]);
		assert.equal("old 500", texts[500]);
		assert.equal("busy 1", texts[501]);
	end));
end);
end
