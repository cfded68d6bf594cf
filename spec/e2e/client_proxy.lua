-- SPDX-License-Identifier: MIT
-- What the specs of mod_client_proxy share: a server with a proxy, and implementing clients.

local st = require "util.stanza";

local client_proxy = { host = "proxy.capulet.lit"; account = "impl@capulet.lit" };

-- config([text]) -> configuration of a server with the proxy; text: further options of the component, or hosts
function client_proxy.config(text)
	return ([[
		VirtualHost "capulet.lit"
		Component "proxy.capulet.lit" "client_proxy"
			target_address = "impl@capulet.lit"
	%s]]):format(text or "");
end

-- available(client): sends presence, and waits until everybody on the server has it
function client_proxy.available(client, presence)
	client:send(presence or "<presence/>");
	client:sync();
end

-- approve(client): becomes available and approves the subscription of the proxy, which has asked or asks now; for accounts of another
-- server, and those that have revoked an approval
function client_proxy.approve(client)
	client_proxy.available(client);
	client:expect({ "presence", type = "subscribe", from = client_proxy.host }, 10);
	client:send "<presence type='subscribed' to='proxy.capulet.lit'/>";
	client:sync();
end

-- start(scenario, version, [resources = { "a" }], [text], [options]) -> node, and a client for each resource, all in the pool
--   options: more fields of the node, such as `global`
function client_proxy.start(s, version, resources, text, options)
	options = options or {};
	options.version, options.config = version, client_proxy.config(text);
	local node = s:node(options);
	node:add_user(client_proxy.account);
	-- the account is new: let the proxy see it at once instead of in a few seconds
	node:reload("client_proxy", client_proxy.host);
	local clients = {};
	for i, resource in ipairs(resources or { "a" }) do
		clients[i] = node:client(client_proxy.account .. "/" .. resource);
		client_proxy.available(clients[i]);
	end
	return node, table.unpack(clients);
end

-- request(id, [to], [type = "get"]) -> an IQ with a payload that names its id
function client_proxy.request(id, to, type)
	return st.iq({ type = type or "get"; id = id; to = to or client_proxy.host }):tag("question", { xmlns = "urn:test"; number = id });
end

-- answer(client, request): answers with a result that names the client and repeats the payload
function client_proxy.answer(client, request)
	client:send(st.iq({ type = "result"; id = request.attr.id; to = request.attr.from })
		:tag("answer", { xmlns = "urn:test"; by = client.jid; number = request.tags[1].attr.number }));
end

-- serve(client): answers every request from now on
function client_proxy.serve(client)
	client.on_stanza = function (stanza)
		if stanza.name == "iq" and (stanza.attr.type == "get" or stanza.attr.type == "set") then
			client_proxy.answer(client, stanza);
		end
	end;
end

-- expect_answer(client, id, [attributes]) -> the full JID that answered
function client_proxy.expect_answer(client, id, pattern)
	pattern = pattern or {};
	pattern[1], pattern.type, pattern.id = "iq", "result", id;
	return client:expect(pattern):find("{urn:test}answer@by");
end

-- expect_error(client, id, condition, [from], [timeout]) -> the error
function client_proxy.expect_error(client, id, condition, from, timeout)
	local path = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}" .. condition;
	return client:expect({ "iq"; type = "error"; id = id; from = from; has = path }, timeout);
end

-- expect_any(scenario, clients, pattern) -> the client of a list that got a matching stanza, and the stanza
function client_proxy.expect_any(s, clients, pattern)
	local found, stanza;
	s:wait_until(function ()
		for _, client in ipairs(clients) do
			local ok, result = pcall(client.expect, client, pattern, 0);
			if ok then
				found, stanza = client, result;
				return true;
			end
		end
	end, 5, "a stanza to any of the clients");
	return found, stanza;
end

-- To be the options of start, for a node whose metrics are to be seen, and which has admins
function client_proxy.with_metrics()
	return {
		global = [[
			admins = { "admin@capulet.lit" }
			statistics = "internal"
			statistics_interval = "manual"
		]];
		modules = { "admin_shell" };
	};
end

-- metrics(node) -> values of all metrics of the module: "name" or "name label" -> number
function client_proxy.metrics(node)
	return node:eval [[
		local statsmanager = require "core.statsmanager";
		prosody.events.fire_event("stats-update");
		local values = {};
		for family_name, family in pairs(statsmanager.get_metric_registry():get_metric_families()) do
			local name = family_name:match("^prosody_mod_client_proxy/(.*)");
			for labels, metric in family:iter_metrics() do
				for suffix, extra, value in metric:iter_samples() do
					if name and suffix ~= "_created" and not next(extra or {}) then
						values[name .. (suffix or "") .. (labels[2] and " " .. labels[2] or "")] = value;
					end
				end
			end
		end
		return values;
	]];
end

return client_proxy;
