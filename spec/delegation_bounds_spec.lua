-- SPDX-License-Identifier: MIT
-- mod_delegation without a server: what users and the entities that they choose can make it keep (requirement G29). The other bounds of its
-- README are filled in delegation_spec, delegation_consent_spec, and e2e in delegation_sharing_spec and delegation_privilege_spec.

local st = require "util.stanza";

local long = ("n"):rep(1000);
local kB = 1024;

describe("bounds of delegation", function ()
	local module, entity, logged, shared;

	local function load_lib(name)
		return assert(loadfile("lua/mod_delegation/"..name..".lib.lua", "t", setmetatable({ module = module }, { __index = _G })))();
	end

	-- Whatever is done with it gives itself
	local anything = setmetatable({}, { __call = function (self) return self; end });
	getmetatable(anything).__index = function () return anything; end;

	before_each(function ()
		logged, shared = {}, {};
		module = { host = "capulet.lit"; metric = anything; hook_global = anything; send = anything; add_timer = anything };
		function module.require(_, name) return load_lib(name); end
		function module.shared(_, name)
			shared[name] = shared[name] or {};
			return shared[name];
		end
		function module.log(_, level, text, ...)
			if level ~= "debug" then logged[#logged + 1] = text:format(...); end
		end
		_G.prosody = { hosts = {} };
		entity = load_lib "entity";
	end);
	after_each(function () _G.prosody = nil; end);

	local function heap()
		collectgarbage();
		collectgarbage();
		return collectgarbage("count") * 1024;
	end

	local function count(map)
		local entries = 0;
		for _ in pairs(map) do entries = entries + 1; end
		return entries;
	end

	-- An entity on another server, which users chose
	local function guest(jid)
		local managing = entity.new(jid, 10000, function () end, nil, true);
		managing:set_place("remote");
		managing:up(jid);
		return managing;
	end

	it("delegations by users: one for each user and namespace, and nothing of entities that have none (C7, G29)", function ()
		local entities = {};
		local grants = load_lib "client/grants".new({
			get = function (jid)
				entities[jid] = entities[jid] or guest(jid);
				return entities[jid];
			end;
			drop = function (jid)
				entities[jid]:down("revoked", true);
				entities[jid] = nil;
			end;
		}, 60);
		local function grant(user, namespace, i)
			local jid = ("%d%s@d%d.lit"):format(i, long, i);
			grants:change(user, { [namespace] = { entity = jid; resource = "r"; time = 0 } });
		end
		local function grant_often()
			for i = 1, 1000 do grant("juliet", "urn:x:one", i); end
			logged = {};
		end
		heap(); -- so that Lua's own table of all strings grows now to what this needs
		grant_often();
		local before = heap();
		-- of one user, to any number of entities
		grant_often();
		assert.equal(1, count(entities));
		assert.is_true(heap() - before < 50 * kB, heap() - before);
		-- of many users, each to other entities
		for i = 1, 200 do
			for turn = 1, 3 do
				for j, namespace in ipairs { "urn:x:one", "urn:x:two" } do grant("user"..i, namespace, 1000 * i + 10 * turn + j); end
			end
		end
		assert.equal(401, count(entities));
		logged = {};
		local bytes = (heap() - before) / 400;
		assert.is_true(bytes < 10 * kB, bytes);
		for i = 1, 200 do grants:revoke("user"..i); end
		grants:revoke("juliet");
		assert.same({ 0, 0, 0, 0 }, { count(entities), count(grants.users), count(grants.managing), count(shared["/*/delegation/ids"]) });
	end);

	it("warnings about an entity: one for each kind, whatever its server says (E3, G29)", function ()
		local managing = guest "ent.evil.lit";
		logged = {};
		local function bounce(condition, text)
			local iq = st.iq({ type = "get"; from = "capulet.lit"; to = "ent.evil.lit"; id = "1" });
			managing:bounced({ stanza = st.error_reply(iq, "cancel", condition, text) });
		end
		local before = heap();
		for i = 1, 1000 do
			bounce("remote-server-not-found", "Server-to-server connection failed: "..i..long);
			bounce("remote-server-timeout", "Server-to-server connection failed: "..i..long);
		end
		assert.equal(2, #logged);
		assert.matches("cannot be reached: remote%-server%-not%-found %(Server%-to%-server connection failed: 1n", logged[1]);
		assert.matches("cannot be reached: remote%-server%-timeout", logged[2]);
		assert.is_true(heap() - before < 10 * kB, heap() - before);
	end);

	describe("requests without an answer", function ()
		local delegation = { namespace = "urn:x:one"; version = "urn:xmpp:delegation:2"; timeout = 30 };
		local last_id = 0;

		-- Requests of thirty accounts, in turn, until all are refused -> how many were not
		local function fill(managing, id)
			local origin, sent, refused = { send = function () end }, 0, 0;
			while refused < 30 do
				refused = 0;
				for i = 1, 30 do
					last_id = last_id + 1;
					local iq = st.iq({ type = "get"; id = last_id..(id or ""); from = i.."@d"..i..".lit/r"; to = "juliet@capulet.lit" })
						:tag("query", { xmlns = "urn:x:one" }):up();
					if managing:forward(origin, iq, delegation) then sent = sent + 1; else refused = refused + 1; end
				end
			end
			return sent;
		end

		it("to entities that users chose: as many together as to one of the configuration, shared by their domains (G29)", function ()
			local guests = {};
			-- an entity has a tenth, whoever asks it
			guests[1] = guest "bot1@evil.lit";
			assert.equal(1000, fill(guests[1]));
			local of_evil = 1000;
			for i = 2, 20 do
				guests[i] = guest(i % 2 == 0 and ("bot%d@evil.lit"):format(i) or ("bot%d.evil.lit"):format(i));
				of_evil = of_evil + fill(guests[i]);
			end
			assert.equal(6000, of_evil);
			assert.equal("Managing entity bot20@evil.lit: entities of its domain have as many requests without an answer as may be",
				(logged[#logged]:gsub('"', "")));
			local kind = guest "kind.lit";
			assert.equal(1000, fill(kind));
			assert.equal("Managing entity kind.lit: it has as many requests without an answer as an entity that users chose may have",
				(logged[#logged]:gsub('"', "")));
			-- those of the configuration have their own, of which an account has a hundredth
			local configured = entity.new("ent.evil.lit", 10000, function () end);
			configured:up "ent.evil.lit";
			assert.equal(3000, fill(configured));
			-- over a module reload they count as before
			local saved = {};
			for i, managing in ipairs(guests) do saved[i] = managing:save(); end
			entity = load_lib "entity";
			for i, managing in ipairs(guests) do
				guests[i] = entity.new(managing.jid, 10000, function () end, saved[i], true);
				guests[i]:up(managing.jid);
			end
			assert.equal(0, fill(guest "other.evil.lit"));
			-- and they are free again when the entities are gone
			for _, managing in ipairs(guests) do managing:down("revoked", true); end
			assert.equal(1000, fill(guest "other.evil.lit"));
		end);

		it("with long ids: no more bytes than others (E7, G29)", function ()
			local guests, sent = {}, 0;
			local before = heap();
			for i = 1, 30 do
				guests[i] = guest(("bot.d%d.lit"):format(i));
				sent = sent + fill(guests[i], long);
			end
			assert.equal(5000, sent);
			local bytes = heap() - before;
			assert.is_true(bytes < 70 * 1024 * kB, bytes);
		end);
	end);

	it("requests of privileged entities: 100 of each of the configuration, 1000 of all that users chose (E4, D17, G29)", function ()
		local handler;
		function module.hook(_, _, added) handler = added; end
		local privilege = load_lib "privilege";
		-- each entity manages its own namespace
		privilege.start(function (_, _, namespace) return { owner = namespace }; end);
		local function announce(from, id, namespace)
			handler { stanza = st.iq({ type = "get"; id = "1"; from = from; to = "juliet@capulet.lit" })
				:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" }):tag("iq", { type = "get"; id = id })
				:tag("query", { xmlns = namespace or from }):reset() };
		end
		local function is_from(owner, id)
			return privilege.is_from(owner, st.iq({ type = "get"; id = id; from = "juliet@capulet.lit" }));
		end
		privilege.add("ent.capulet.lit");
		privilege.add("ent.capulet.lit", true);
		privilege.add("kind.lit", true);
		for i = 1, 200 do announce("ent.capulet.lit", "a"..i); end
		announce("kind.lit", "kind");
		local before = heap();
		for i = 1, 1000 do
			local jid = ("bot%d.evil.lit"):format(i);
			privilege.add(jid, true);
			for j = 1, 10 do announce(jid, j..long); end
		end
		local bytes = heap() - before;
		assert.is_true(bytes < 1000 * kB, bytes);
		privilege.add("flood@kind.lit", true);
		for i = 1, 1000 do announce("flood@kind.lit", i..long); end
		-- what does not come back to its sender is not remembered
		privilege.add("busy.lit", true);
		for i = 1, 200 do announce("busy.lit", "other"..i, "urn:x:other"); end
		announce("busy.lit", "own");
		assert.is_true(is_from("busy.lit", "own"));
		-- nobody's take the place of another's
		assert.is_false(is_from("bot1000.evil.lit", "kind"));
		assert.is_true(is_from("kind.lit", "kind"));
		assert.is_true(is_from("bot1000.evil.lit", "10"..long));
		assert.is_false(is_from("bot1.evil.lit", "1"..long));
		local kept = 0;
		for i = 1, 200 do
			if is_from("ent.capulet.lit", "a"..i) then kept = kept + 1; end
		end
		assert.equal(100, kept);
		assert.is_false(is_from("ent.capulet.lit", "a200"));
	end);
end);
