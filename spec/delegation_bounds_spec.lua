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
		managing.remote = true;
		managing:up(jid);
		return managing;
	end

	it("delegations by users: one for each user and namespace, and nothing of entities that have none (C7, G29)", function ()
		local entities = {};
		local grants = load_lib "grants".new({
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
		grant("juliet", "urn:x:one", 0);
		local before = heap();
		-- of one user, to any number of entities
		for i = 1, 1000 do grant("juliet", "urn:x:one", i); end
		assert.equal(1, count(entities));
		logged = {};
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
end);
