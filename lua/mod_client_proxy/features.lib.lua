-- SPDX-License-Identifier: MIT
-- Whether a resource has a feature. The module asks each resource once by disco#info (XEP-0030). Resources with the same hash in their
-- presence (XEP-0115) share one answer, if the hash fits the answer.

local calculate_hash = require "util.caps".calculate_hash;
local new_id = require "util.id".short;
local new_cache = require "util.cache".new;
local st = require "util.stanza";

local xmlns_caps = "http://jabber.org/protocol/caps";
local xmlns_info = "http://jabber.org/protocol/disco#info";
local answer_timeout, asked_again = 30, 60; -- seconds
local known_hashes = 100;
local hash_size = 28; -- bytes of a SHA-1 in base64

local features = {};
local features_mt = { __index = features };

local function is_listed(query, feature)
	for child in query:childtags("feature") do
		if child.attr.var == feature then return true; end
	end
	return false;
end

-- new(feature, on_verdict, [saved]) -> features
--   feature: the required one; on_verdict(jid, [reason]): called when a resource has answered, reason: why it is not admitted;
--   saved: result of :save() of an earlier instance, whose feature may have been another
local function new(feature, on_verdict, saved)
	local self = setmetatable({
		feature = feature; on_verdict = on_verdict; missing = ("feature %s is missing"):format(feature);
		by_hash = new_cache(known_hashes); asked = {};
	}, features_mt);
	if saved and saved.feature == feature then
		for i = #saved.hashes, 1, -1 do self.by_hash:set(saved.hashes[i].hash, saved.hashes[i].listed); end
		self.asked = saved.asked;
	end
	return self;
end

-- caps(presence) -> the hash in a presence stanza, or nil
local function caps(presence)
	local c = presence:get_child("c", xmlns_caps);
	local hash = c and c.attr.hash == "sha-1" and c.attr.ver;
	-- clients can write any text there
	return hash and #hash <= hash_size and hash or nil;
end

local function conclude(self, jid, question, reason)
	-- the resource may have gone or changed in the meantime
	if self.asked[jid] ~= question then return; end
	question.reason, question.open = reason, nil;
	self.on_verdict(jid, reason);
end

local function ask(self, jid, question)
	local query = st.iq({ type = "get"; id = new_id(); from = module.host; to = jid }):tag("query", { xmlns = xmlns_info });
	module:send_iq(query, nil, answer_timeout):next(function (event)
		local info = event.stanza:get_child("query", xmlns_info);
		local listed = info and is_listed(info, self.feature);
		if info and question.caps and calculate_hash(info) == question.caps then
			self.by_hash:set(question.caps, listed);
		end
		conclude(self, jid, question, not listed and self.missing or nil);
	end, function (err)
		conclude(self, jid, question, ("%s in answer to disco#info"):format(err.condition));
		if err.type ~= "wait" then return; end
		question.again = true;
		module:add_timer(asked_again, function ()
			if self.asked[jid] == question then ask(self, jid, question); end
		end);
	end);
end

-- check(jid, [caps]) -> nil when the resource has the feature; else why it is not admitted, and true while its answer is still awaited
function features:check(jid, hash)
	local listed = hash and self.by_hash:get(hash);
	if listed ~= nil then
		self.asked[jid] = nil;
		return not listed and self.missing or nil;
	end
	local question = self.asked[jid];
	if not question or question.caps ~= hash then
		question = { caps = hash; reason = "features are not known yet"; open = true };
		self.asked[jid] = question;
		ask(self, jid, question);
	end
	return question.reason, question.open;
end

-- forget(jid): the resource has gone
function features:forget(jid)
	self.asked[jid] = nil;
end

-- save() -> plain table for module.save(), without questions that are open or due again: the next instance asks those.
function features:save()
	local hashes, asked = {}, {};
	for hash, listed in self.by_hash:items() do hashes[#hashes + 1] = { hash = hash; listed = listed }; end
	for jid, question in pairs(self.asked) do
		if not (question.open or question.again) then asked[jid] = question; end
	end
	return { feature = self.feature; hashes = hashes; asked = asked };
end

return { new = new; caps = caps };
