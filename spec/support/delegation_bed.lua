-- SPDX-License-Identifier: MIT
-- What the specs of mod_delegation share: a server with delegations, and the managing entity's side of the protocol.

local st = require "util.stanza";

local bed = {};

bed.xmlns = "urn:xmpp:delegation:2";

-- A server capulet.lit with these delegations (text of the Lua table), the component ent.capulet.lit and what else is in `hosts`
function bed.server(s, version, delegations, options)
	options = options or {};
	return s:node { version = version; log_level = options.log_level; modules = options.modules; plugins = options.plugins;
		global = options.global; config = ([[
		VirtualHost "capulet.lit"
			modules_enabled = { "delegation" }
			delegations = { %s }
			%s
		Component "ent.capulet.lit"
			component_secret = "hush"
			%s
		%s
	]]):format(delegations, options.host or "", options.component or "", options.hosts or "") };
end

-- Connects the component, answers what the server wants to know about features, and returns the component and its adverts
function bed.entity(node, features)
	local entity = node:component("ent.capulet.lit", "hush");
	bed.announce(entity, features);
	return entity;
end

-- announce(entity, [features]): from now on answers the server's disco#info queries: node -> text of the children (none by default), or
-- false for an error
function bed.announce(entity, features)
	local function answer(stanza)
		local query = stanza.name == "iq" and stanza.attr.type == "get" and stanza:get_child("query", "http://jabber.org/protocol/disco#info");
		if not query then return; end
		if features and features[query.attr.node] == false then
			entity:send(st.error_reply(stanza, "cancel", "item-not-found"));
			return;
		end
		entity:send(("<iq type='result' from='%s' to='%s' id='%s'><query xmlns='%s' node='%s'>%s</query></iq>"):format(stanza.attr.to,
			stanza.attr.from, stanza.attr.id, query.attr.xmlns, query.attr.node, features and features[query.attr.node] or ""));
	end
	for _, stanza in ipairs(entity.inbox) do answer(stanza); end
	entity.on_stanza = answer;
end

-- request(stream, xmlns, [attributes]) -> id: sends a request in a namespace
local last_id = 0;
function bed.request(stream, xmlns, attr)
	attr = attr or {};
	last_id = last_id + 1;
	local id = attr.id or "r"..last_id;
	stream:send(st.iq({ type = attr.type or "get"; id = id; to = attr.to; from = attr.from })
		:tag("query", { xmlns = xmlns; node = attr.node }));
	return id;
end

-- forwarded(entity, [pattern]) -> the next request to the entity, and the forwarded stanza in it
function bed.forwarded(entity, version)
	local outer = entity:expect { "iq", type = "set", has = ("{%s}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq"):format(
		version or bed.xmlns) };
	return outer, outer:find(("{%s}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq"):format(version or bed.xmlns));
end

-- reply(entity, outer, content): the outer result, with any content
function bed.reply(entity, outer, content)
	entity:send(("<iq type='result' id='%s' from='%s' to='%s'>%s</iq>"):format(outer.attr.id, outer.attr.to, outer.attr.from, content));
end

-- wrapped(attributes, payload, [version]) -> text of a <delegation/> around an inner iq with these attributes
function bed.wrapped(attr, payload, version)
	attr.xmlns = "jabber:client";
	return tostring(st.stanza("delegation", { xmlns = version or bed.xmlns }):tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
		:tag("iq", attr):text("@@"):reset()):gsub("@@", function () return payload or ""; end);
end

-- answer(entity, outer, inner, [payload], [attributes]): a good answer to a request, changed by attributes (false removes one)
function bed.answer(entity, outer, inner, payload, changes)
	local attr = { type = "result"; id = inner.attr.id; to = inner.attr.from; from = inner.attr.to };
	for name, value in pairs(changes or {}) do
		attr[name] = value or nil;
	end
	bed.reply(entity, outer, (bed.wrapped(attr, payload or "<done xmlns='urn:x:done'/>", outer.tags[1].attr.xmlns)));
end

-- serve(entity, payload): from now on answers everything at once with this payload: delegated requests, and those to itself too. Does no more
-- than it must, for benches.
function bed.serve(entity, payload)
	local plain = "<iq type='result' id='%s' from='%s' to='%s'>"..payload.."</iq>";
	local wrapped = "<iq type='result' id='%s' from='%s' to='%s'><delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
		.."<iq xmlns='jabber:client' type='result' id='%s' to='%s'>"..payload.."</iq></forwarded></delegation></iq>";
	entity.on_stanza = function (stanza)
		local attr = stanza.attr;
		entity.inbox = {};
		if attr.type ~= "set" then return; end
		local delegation = stanza.tags[1];
		if delegation.name ~= "delegation" then
			entity:send(plain:format(attr.id, attr.to, attr.from));
			return;
		end
		local inner = delegation.tags[1].tags[1].attr;
		entity:send(wrapped:format(attr.id, attr.to, attr.from, inner.id, inner.from));
	end;
end

-- answer_inside(node, host): the internal component answers delegated requests at once, with an empty result
function bed.answer_inside(node, host)
	node:eval(([[
		local st = require "util.stanza";
		module:context(%q):hook("iq-set/host/urn:xmpp:delegation:2:delegation", function (event)
			local inner = event.stanza:find("{urn:xmpp:delegation:2}delegation/{urn:xmpp:forward:0}forwarded/{jabber:client}iq");
			local reply = st.reply(inner);
			reply.attr.xmlns = "jabber:client";
			event.origin.send(st.reply(event.stanza):tag("delegation", { xmlns = "urn:xmpp:delegation:2" })
				:tag("forwarded", { xmlns = "urn:xmpp:forward:0" }):add_child(reply):reset());
			return true;
		end);
	]]):format(host));
end

return bed;
