-- SPDX-License-Identifier: MIT
-- Remaining service discovery on bare JIDs (XEP-0355 sections 7.2.4 and 7.2.5: D25, D26, R3): the server is asked first. If it does
-- not know the answer, the request goes to the managing entity of the pseudo-namespace.

local st = require "util.stanza";

local capture = module:require "disco/capture";

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_pubsub = "http://jabber.org/protocol/pubsub";

local function fire(event_name, event)
	return module:fire_event(event_name, event);
end

-- Whether mod_pep has this node. While PEP is delegated, the entity has the user's nodes and not mod_pep. So the server counts such a node as
-- unknown (R6).
local function is_internal_pubsub_node(event, node)
	local reply = st.reply(event.stanza):tag("query", { xmlns = xmlns_disco_info; node = node });
	capture(fire, "account-disco-info-node", { origin = event.origin; stanza = event.stanza; reply = reply; node = node; exists = false });
	for _, tag in ipairs(reply.tags[1].tags) do
		if tag.name == "identity" and tag.attr.category == "pubsub" then return true; end
	end
	return false;
end

local function is_unknown(handled, answer)
	if not handled then return true; end
	if not answer or answer.attr.type ~= "error" then return false; end
	local _, condition = answer:get_error();
	return condition == "item-not-found";
end

-- start(delegation_for, forward)
--   delegation_for(stanza, namespace) -> the delegation in force for this request, or nil
--   forward(event, delegation) -> true: sends the request to the managing entity
local function start(delegation_for, forward)
	local function wrap(what, needs_node)
		local event_name = ("iq-get/bare/http://jabber.org/protocol/disco#%s:query"):format(what);
		local pseudo_namespace = ("urn:xmpp:delegation:2:bare:disco#%s:*"):format(what);
		module:wrap_event(event_name, function (handlers, name, event)
			local stanza = event.stanza;
			local node = stanza.tags[1].attr.node;
			if node == "" then node = nil; end
			local delegation = (node or not needs_node) and delegation_for(stanza, pseudo_namespace);
			if not delegation then return handlers(name, event); end
			if not node or delegation_for(stanza, xmlns_pubsub) and is_internal_pubsub_node(event, node) then
				return forward(event, delegation);
			end
			local handled, answer = capture(handlers, name, event);
			if is_unknown(handled, answer) then return forward(event, delegation); end
			if answer then event.origin.send(answer); end
			return handled;
		end);
	end
	wrap("info", true);
	-- without node: all items come from the entity, none from the server (D26, D27)
	wrap("items", false);
end

return { start = start };
