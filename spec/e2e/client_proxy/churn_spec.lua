-- SPDX-License-Identifier: MIT
-- mod_client_proxy while resources come and go at random, 1,000 times. Meanwhile requests are in flight, faults of all kinds happen, and the
-- module is reloaded. Every request gets one answer, never from a resource that left before the request was sent. The counts are printed.

local bed = require "bed";
local proxy = require "client_proxy";
local st = require "util.stanza";

local STEPS, SEED = 1000, 2018;
local accounts = { "impl@capulet.lit", "second@capulet.lit" };

for version in bed.versions() do
describe("churn of client_proxy on Prosody " .. version, function ()
	local s, capulet, users, online, requests, gone, counts;

	local function request_of(user, id) return requests[user.jid .. " " .. id]; end

	-- what a resource does with a request
	local manners = {
		function (impl, request) proxy.answer(impl, request); end;
		function () end; -- has it in flight when it leaves
		function (impl, request) impl:send(st.error_reply(request, "cancel", "feature-not-implemented")); end;
		function (impl, request) impl:send(st.error_reply(request, "wait", "service-unavailable")); end;
		function (impl, request) -- twice, and for somebody else
			proxy.answer(impl, request);
			proxy.answer(impl, request);
			impl:send(st.iq({ type = "result"; id = request.attr.id; to = "proxy.capulet.lit/" .. users[1].jid }));
		end;
	};

	local function come(step)
		-- few names, so that they are used again
		local jid = ("%s/r%d"):format(accounts[math.random(2)], math.random(12));
		if online[jid] then return nil; end
		local impl = capulet:client(jid);
		impl.on_stanza = function (stanza)
			if stanza.attr.type ~= "get" and stanza.attr.type ~= "set" then return; end
			-- most answer, and each keeps some
			manners[math.random(3) > 1 and 1 or math.random(#manners)](impl, stanza);
		end;
		impl.jid = jid .. " " .. step; -- the name under which it answers
		impl:send(math.random(5) == 1 and "<presence><priority>-1</priority></presence>" or "<presence/>");
		online[jid] = impl;
		return true;
	end

	local ways_to_go = {
		function (impl) impl:close(); end;
		function (impl) impl:kill(); end;
		function (impl) impl:send "<presence type='unavailable'/>"; impl:sync(); impl:close(); end;
		function (impl) -- only this resource cannot be seen any more
			impl:send(st.presence({ type = "error"; to = "proxy.capulet.lit" }):tag("error", { type = "cancel" })
				:tag("gone", { xmlns = "urn:ietf:params:xml:ns:xmpp-stanzas" }));
			impl:sync();
			impl:close();
		end;
	};

	local function go()
		local jids = {};
		for jid in pairs(online) do jids[#jids + 1] = jid; end
		if #jids == 0 then return nil; end
		table.sort(jids);
		local jid = jids[math.random(#jids)];
		local impl = online[jid];
		online[jid] = nil;
		ways_to_go[math.random(#ways_to_go)](impl);
		s:wait_until(function ()
			return capulet:eval(("return prosody.full_sessions[%q] == nil"):format(jid));
		end, 5, "end of " .. jid);
		gone[impl.jid] = counts.requests;
		return true;
	end

	local function ask()
		counts.requests = counts.requests + 1;
		local user = users[math.random(#users)];
		local id = "q" .. counts.requests;
		requests[user.jid .. " " .. id] = { number = counts.requests };
		user:send(proxy.request(id, math.random(2) == 1 and "node@proxy.capulet.lit" or nil, math.random(2) == 1 and "get" or "set"));
	end

	local function receive(user, reply)
		local request = request_of(user, reply.attr.id);
		if not request or request.answered then counts.doubled = counts.doubled + 1; return; end
		request.answered = true;
		if reply.attr.type == "result" then
			counts.answered = counts.answered + 1;
			local left = gone[reply:find("{urn:test}answer@by")];
			if left and left < request.number then counts.by_the_dead = counts.by_the_dead + 1; end
		else
			local _, condition = reply:get_error();
			counts.errors[condition] = (counts.errors[condition] or 0) + 1;
		end
	end

	local function report()
		local errors, failed = {}, 0;
		for condition, count in pairs(counts.errors) do
			errors[#errors + 1] = condition .. " " .. count;
			failed = failed + count;
		end
		table.sort(errors);
		local lost = counts.requests - counts.answered - failed;
		print(("churn on %s, seed %d: %d comings and goings, %d requests, %d answered, errors: %s; lost %d, doubled %d, by the dead %d"):format(
			version, SEED, STEPS, counts.requests, counts.answered, table.concat(errors, ", "), lost, counts.doubled, counts.by_the_dead));
		return lost;
	end

	it("loses, doubles and invents nothing (P5a, P10, P12, P14, P21)", bed.scenario(function (scenario)
		s = scenario;
		math.randomseed(SEED);
		online, requests, gone, counts = {}, {}, {}, { requests = 0; answered = 0; doubled = 0; by_the_dead = 0; errors = {} };
		capulet = s:node { version = version; log_level = "info"; config = [[
			VirtualHost "capulet.lit"
			Component "proxy.capulet.lit" "client_proxy"
				target_address = { "impl@capulet.lit", "second@capulet.lit" }
				client_proxy_timeout = 30
				client_proxy_max_pending_per_user = 1000
				client_proxy_eject_time = 1
		]] };
		capulet:allow_log("is left out for");
		for _, account in ipairs(accounts) do capulet:add_user(account); end
		proxy.reload(capulet);
		users = { capulet:client("juliet@capulet.lit/balcony"), capulet:client("juliet@capulet.lit/\u{5d0}"), capulet:client("romeo@capulet.lit/x") };
		for _, user in ipairs(users) do
			user.on_stanza = function (stanza)
				if stanza.name == "iq" and stanza.attr.id:find("^q") then receive(user, stanza); end
			end;
		end
		local done = 0;
		while done < STEPS do
			local size = 0;
			for _ in pairs(online) do size = size + 1; end
			local goes = math.random(8) <= (size > 5 and 5 or 3);
			if goes and go() or not goes and come(done) then
				done = done + 1;
				for _ = 1, 3 do ask(); end
				if done % 100 == 0 then proxy.reload(capulet); end
			end
		end
		for _, impl in pairs(online) do impl:close(); end
		s:wait_until(function () return counts.requests == counts.answered + (function ()
			local failed = 0;
			for _, count in pairs(counts.errors) do failed = failed + count; end
			return failed;
		end)(); end, 10, report);
		for _, user in ipairs(users) do user:sync(); end
		assert.equal(0, report());
		assert.equal(0, counts.doubled);
		assert.equal(0, counts.by_the_dead);
		-- there was something to lose
		assert.is_true(counts.answered > 1000 and counts.errors["service-unavailable"] > 100);
	end));
end);
end
