-- SPDX-License-Identifier: MIT
-- Errors for users who cannot join a room (any more): no such room, no support for mirrors, destroyed (G17, F15, F16).
--
-- A destroyed room may name another room. Users get its address as the owner gave it, whether or not that room can be mirrored.

local st = require "util.stanza";

local errors = lib "errors";
local xmlns_fmuc = lib "dialect/generation1".xmlns;
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local unavailable = {};

local function error_element(type, condition, text)
	return st.error_reply(st.iq { type = "get"; id = "" }, type, condition, text):get_child("error");
end

-- gone(destroy) -> the <error/> that says the same as <destroy/>, for a user who wants to join
function unavailable.gone(destroy)
	local err = error_element("cancel", "gone", destroy:get_child_text("reason"));
	if destroy.attr.jid then err.tags[1]:text("xmpp:" .. destroy.attr.jid .. "?join"); end
	return err;
end

-- destroyed(err) -> the <destroy/> that says the same as an <error/> with <gone/>, for a user who is in the room
function unavailable.destroyed(err)
	local text, where = err:get_child_text("text", xmlns_stanzas), err:get_child_text("gone", xmlns_stanzas) or "";
	local destroy = st.stanza("destroy", { jid = where:match("^xmpp:([^?]+)") });
	if text then destroy:text_tag("reason", text); end
	return destroy;
end

-- error_for(master, info) -> the <error/> for a user whose room cannot be mirrored; or nil when it can. info: of mirror/room_info
function unavailable.error_for(master, info)
	if info.features[xmlns_fmuc] then return nil; end
	local type, condition, text;
	if info.failed then type, condition, text = info.failed:get_error(); end
	if info.failed == false then
		return errors.element("server-of-room-silent", master);
	elseif info.is_undeliverable then
		return error_element(type, condition, text);
	elseif condition == "gone" then
		return st.clone(info.failed:get_child("error"));
	elseif condition == "item-not-found" then
		return errors.element("no-master-room", master);
	elseif type == "wait" or condition == "remote-server-not-found" then
		return error_element(type, condition, text or "The server of " .. master .. " cannot reach it now");
	end
	return errors.element("no-mirrors-there", master, master);
end

-- is_absence(err) -> whether an <error/> says that the room does not exist, or not any more
function unavailable.is_absence(err)
	return (err:get_child("item-not-found", xmlns_stanzas) or err:get_child("gone", xmlns_stanzas)) ~= nil;
end

-- refusal(master, info, err) -> the <error/> for a user whose join the master has refused with the <error/> err. If the master describes a room but
-- does not find it on a join, its service has no mirrors. info: of mirror/room_info, or nil
function unavailable.refusal(master, info, err)
	local is_absent = err:get_child("item-not-found", xmlns_stanzas) ~= nil;
	return is_absent and info and info.failed == nil and unavailable.error_for(master, info) or err;
end

return unavailable;
