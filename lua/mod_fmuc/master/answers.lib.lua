-- SPDX-License-Identifier: MIT
-- Answers to mirrored users, from the room or from this module. They go to the user's address at the mirror (M8).

local errors = lib "errors";
local generation1 = lib "dialect/generation1";
local jid_bare = require "util.jid".bare;

local answers = {};

-- origin(origin, room_jid, user_on_mirror, [join]) -> an origin for mod_muc, whose answers go to that full JID. join: data about the user's
-- join (master/links)
function answers.origin(origin, room_jid, user_on_mirror, join)
	local function send(reply)
		if reply.name == "presence" then
			module:fire_event("fmuc-join-refused", { error = reply:get_child("error") });
			reply = generation1.refusal(reply:get_child("error"), { id = reply.attr.id });
		end
		reply.attr.from, reply.attr.to = room_jid, user_on_mirror;
		module:send(reply);
		return true;
	end
	return setmetatable({ send = send; fmuc_join = join }, { __index = origin });
end

-- refuse(origin, stanza, user_on_mirror, name, …) -> true; the user gets the error of that name
function answers.refuse(origin, stanza, user_on_mirror, ...)
	return answers.origin(origin, jid_bare(stanza.attr.to), user_on_mirror).send(errors.reply(stanza, ...));
end

return answers;
