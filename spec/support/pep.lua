-- SPDX-License-Identifier: MIT
-- What a user does with a PEP service (XEP-0163), and what she sees of it.

local assert = require "luassert";
local st = require "util.stanza";

local pubsub = "http://jabber.org/protocol/pubsub";
local xmlns_info = "http://jabber.org/protocol/disco#info";
local xmlns_mood = "urn:x:mood";

local pep = {};

-- Seconds to wait for a service that answers from a database, on a busy machine
pep.patience = 30;

-- ask(user, payload, [{ to, type = "get" }]) -> answer
local last_id = 0;
function pep.ask(user, payload, options)
	options = options or {};
	last_id = last_id + 1;
	user:send(st.iq({ type = options.type or "get"; id = "ask" .. last_id; to = options.to }):add_child(payload));
	return user:expect({ "iq", id = "ask" .. last_id }, pep.patience);
end

-- query(xmlns, [node]), in_pubsub(name, [attributes], [xmlns]) -> payload; the latter is open, for more children of the element `name`
function pep.query(xmlns, node)
	return st.stanza("query", { xmlns = xmlns; node = node });
end

function pep.in_pubsub(name, attr, xmlns)
	return st.stanza("pubsub", { xmlns = xmlns or pubsub }):tag(name, attr);
end

-- publish(user, node, id, mood, [to]) -> answer: to the user's own account, or another one
function pep.publish(user, node, id, mood, to)
	local item = pep.in_pubsub("publish", { node = node }):tag("item", { id = id }):text_tag("mood", mood, { xmlns = xmlns_mood });
	return pep.ask(user, item, { type = "set"; to = to });
end

-- items(user, node, [to]) -> answer
function pep.items(user, node, to)
	return pep.ask(user, pep.in_pubsub("items", { node = node }), { to = to });
end

-- mood_in(answer) -> the mood of the first item in it, or nil
function pep.mood_in(answer)
	return (answer:find("{" .. pubsub .. "}pubsub/items/item/{" .. xmlns_mood .. "}mood#"));
end

-- succeeds(answer), fails(condition, answer) -> the answer, which is asserted to be a result, or an error with this condition
function pep.succeeds(answer)
	assert.equal("result", answer.attr.type, tostring(answer));
	return answer;
end

function pep.fails(condition, answer)
	assert.equal("error", answer.attr.type, tostring(answer));
	assert.equal(condition, select(2, answer:get_error()), tostring(answer));
	return answer;
end

-- counts(answer) -> how often disco#info has each feature and each identity ("category/type")
function pep.counts(answer)
	local found = {};
	for _, tag in ipairs(pep.succeeds(answer):get_child("query", xmlns_info).tags) do
		local name = tag.name == "identity" and tag.attr.category .. "/" .. tag.attr.type or tag.attr.var;
		if name then found[name] = (found[name] or 0) + 1; end
	end
	return found;
end

return pep;
