-- SPDX-License-Identifier: MIT
-- What the specs of mod_delegation's client mode share: the steps by which an entity gets a namespace of a user.

local assert = require "luassert";
local st = require "util.stanza";
local delegation = require "delegation_bed";

local bed = {};

bed.xmlns = "urn:xmpp:delegation:2";
bed.unavailable = "error/{urn:ietf:params:xml:ns:xmpp-stanzas}service-unavailable";

-- condition(name) -> path of an error condition, for patterns
function bed.condition(name)
	return "error/{urn:ietf:params:xml:ns:xmpp-stanzas}"..name;
end

-- A server capulet.lit with client mode and the component ent.capulet.lit
--   host: text of more options of the host; options: as of delegation_bed, delegations (text), namespaces (text of the allowlist)
function bed.server(s, version, host, options)
	options = options or {};
	options.host = ([[
		delegation_client_mode = true
		delegation_client_namespaces = { %s }
	]]):format(options.namespaces or [["urn:x:one", "urn:x:two", "http://jabber.org/protocol/pubsub"]])..(host or "");
	return delegation.server(s, version, options.delegations or "", options);
end

-- client(node, jid) -> an available resource, which gets what is sent to the account
function bed.client(node, jid)
	local client = node:client(jid);
	client:send("<presence/>");
	client:expect { "presence", from = jid };
	return client;
end

-- ask(entity, user, namespaces, [changes]) -> id of the request; changes: attributes of the iq
local last_id = 0;
function bed.ask(entity, user, namespaces, changes)
	last_id = last_id + 1;
	local attr = { type = "get"; id = "ask"..last_id; to = "capulet.lit"; from = entity.host == entity.jid and entity.jid or nil };
	for name, value in pairs(changes or {}) do attr[name] = value; end
	local iq = st.iq(attr):tag("query", { xmlns = bed.xmlns; to = user or nil });
	for _, namespace in ipairs(namespaces) do
		iq:tag("delegate", { namespace = namespace or nil }):up();
	end
	entity:send(iq:reset());
	return attr.id;
end

-- asked(entity, user, namespaces): as ask, and accepted
function bed.asked(entity, user, namespaces, changes)
	local id = bed.ask(entity, user, namespaces, changes);
	local answer = entity:expect { "iq", id = id };
	assert.equal("result", answer.attr.type, tostring(answer));
	assert.equal(0, #answer.tags);
end

bed.question = { "message", from = "capulet.lit", has = "{jabber:x:data}x" };

-- fields(form) -> var -> field
function bed.fields(message)
	local fields = {};
	for field in message:get_child("x", "jabber:x:data"):childtags("field") do
		if field.attr.var then fields[field.attr.var] = field; end
	end
	return fields;
end

-- question(client) -> the form that came, its challenge
function bed.question_to(client)
	local message = client:expect(bed.question);
	return message, bed.fields(message).challenge:get_child_text("value");
end

-- submit(client, challenge, values, [changes]): as the example of the XEP; changes: type, form_type (false: none), to
function bed.submit(client, challenge, values, changes)
	changes = changes or {};
	local message = st.message({ to = changes.to or "capulet.lit"; id = changes.id })
		:tag("x", { xmlns = "jabber:x:data"; type = changes.type or "submit" });
	local function add(var, value)
		message:tag("field", { var = var }):text_tag("value", value):up();
	end
	if changes.form_type ~= false then add("FORM_TYPE", changes.form_type or ""); end
	if challenge then add("challenge", challenge); end
	for var, value in pairs(values) do add(var, value); end
	client:send(message:reset());
end

-- state(entity, user, [from]) -> sorted list of what the entity is told next about the user
function bed.state(entity, user)
	local message = entity:expect { "message", from = "capulet.lit"; where = function (stanza)
		local child = stanza:get_child("delegation", bed.xmlns);
		return child and child.attr.to == user;
	end };
	assert.truthy(message.attr.id);
	local list = {};
	for delegated in message:get_child("delegation", bed.xmlns):childtags("delegated") do
		list[#list + 1] = delegated.attr.namespace;
		assert.equal(0, #delegated.tags);
	end
	table.sort(list);
	return list, message;
end

bed.any_state = { "message", has = "{urn:xmpp:delegation:2}delegation" };

-- grant(entity, client, namespaces, [more]): from the request to the notification; more: other fields of the answer
function bed.grant(entity, client, namespaces, more)
	local user = require "util.jid".bare(client.jid);
	bed.asked(entity, user, namespaces);
	local _, challenge = bed.question_to(client);
	local values = {};
	for _, namespace in ipairs(namespaces) do values[namespace] = "1"; end
	for var, value in pairs(more or {}) do values[var] = value; end
	bed.submit(client, challenge, values);
	return bed.state(entity, user);
end

-- forwards(client, entity, namespace, [to]): one request and its answer through this entity
function bed.forwards(client, entity, namespace, to)
	local id = delegation.request(client, namespace, { to = to });
	local outer, inner = delegation.forwarded(entity);
	delegation.answer(entity, outer, inner);
	client:expect { "iq", type = "result", id = id, has = "{urn:x:done}done" };
	return outer, inner;
end

-- not_forwarded(client, entity, namespace, [to]): the server answers itself, that it does not know this
function bed.not_forwarded(client, entity, namespace, to)
	local id = delegation.request(client, namespace, { to = to });
	client:expect { "iq", type = "error", id = id, has = bed.unavailable };
	entity:expect_none({ "iq", has = "{urn:xmpp:delegation:2}delegation" }, 0);
end

return bed;
