-- SPDX-License-Identifier: MIT
-- What the specs of mod_client_proxy share: a server with a proxy, and implementing clients.

local operation = require "operation";
local st = require "util.stanza";

local client_proxy = {
	host = "proxy.capulet.lit"; account = "impl@capulet.lit";
	-- all forms of address that a user can write to
	addresses = { "proxy.capulet.lit", "proxy.capulet.lit/res", "node@proxy.capulet.lit", "node@proxy.capulet.lit/res" };
};

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

-- reload(node, [text]): reloads the module, with text after its configuration was changed to that of config(text)
function client_proxy.reload(node, text)
	if text then node:reload_config(client_proxy.config(text)); end
	node:reload("client_proxy", client_proxy.host);
end

-- enter(node, [resources = { "a" }]) -> a client of the account for each resource, all in the pool
function client_proxy.enter(node, resources)
	node:add_user(client_proxy.account);
	-- the account may be new: let the proxy see it at once instead of in a few seconds
	client_proxy.reload(node);
	local clients = {};
	for i, resource in ipairs(resources or { "a" }) do
		clients[i] = node:client(client_proxy.account .. "/" .. resource);
		client_proxy.available(clients[i]);
	end
	return table.unpack(clients);
end

-- start(scenario, version, [resources = { "a" }], [text], [options]) -> node, and a client for each resource, all in the pool
--   options: more fields of the node, such as `global`
function client_proxy.start(s, version, resources, text, options)
	options = options or {};
	options.version, options.config = version, client_proxy.config(text);
	local node = s:node(options);
	return node, client_proxy.enter(node, resources);
end

-- start_linked(scenario, version, other_version, text) -> node, its client in the pool, a second server montague.lit, the link to it
function client_proxy.start_linked(s, version, other_version, text)
	local node = s:node { version = version; config = client_proxy.config(text); start = false };
	local montague = s:node { version = other_version; config = [[VirtualHost "montague.lit"]] };
	local link = s:link(node, montague);
	node:start();
	return node, client_proxy.enter(node), montague, link;
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

-- expect_one_of(scenario, a, b, pattern) -> the one of two clients that got a matching stanza, the other, the stanza
function client_proxy.expect_one_of(s, a, b, pattern)
	local got, other, stanza;
	s:wait_until(function ()
		for _, pair in ipairs { { a, b }, { b, a } } do
			local ok, result = pcall(pair[1].expect, pair[1], pattern, 0);
			if ok then
				got, other, stanza = pair[1], pair[2], result;
				return true;
			end
		end
	end, 5, "a stanza to either client");
	return got, other, stanza;
end

-- count_refused(node) -> number of replies that the proxy has refused so far
function client_proxy.count_refused(node)
	return select(2, node.log:tail(100000):gsub("Refused reply", ""));
end

-- expect_refused(scenario, version, options): each option, a text by its name, is refused by a message that names it
function client_proxy.expect_refused(s, version, options)
	for option, value in pairs(options) do
		local node = s:node { version = version; config = client_proxy.config(("%s = %s"):format(option, value)) };
		local complaint = ("Option '%s': expected"):format(option);
		node:allow_log(complaint);
		if not pcall(node.expect_log, node, complaint, 2) then error(("%s = %s is not refused"):format(option, value), 2); end
		node:stop();
	end
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
	return operation.metrics(node, "client_proxy", "proxy.capulet.lit");
end

return client_proxy;
