-- SPDX-License-Identifier: MIT
-- What users of a mirror are told about rooms that they cannot join, or not any more: no such room, no mirrors there, destroyed (G17, F15, F16).
--
-- A destroyed room may name another one to go to. Users get the address as its owner gave it, whether or not that room can be mirrored.

local st = require "util.stanza";

local xmlns_fmuc = lib "dialect/generation1".xmlns;
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local unavailable = {};

-- error(type, condition, [text]) -> <error/> element
function unavailable.error(type, condition, text)
	local err = st.stanza("error", { type = type }):tag(condition, { xmlns = xmlns_stanzas }):up();
	if text then err:text_tag("text", text, { xmlns = xmlns_stanzas }); end
	return err;
end

-- gone(destroy) -> the <error/> that says the same as <destroy/>, to somebody who wants to join
function unavailable.gone(destroy)
	local err = unavailable.error("cancel", "gone", destroy:get_child_text("reason"));
	if destroy.attr.jid then err.tags[1]:text("xmpp:" .. destroy.attr.jid .. "?join"); end
	return err;
end

-- destroyed(err) -> the <destroy/> that says the same as an <error/> with <gone/>, to somebody who is in the room
function unavailable.destroyed(err)
	local text, where = err:get_child_text("text", xmlns_stanzas), err:get_child_text("gone", xmlns_stanzas) or "";
	local destroy = st.stanza("destroy", { jid = where:match("^xmpp:([^?]+)") });
	if text then destroy:text_tag("reason", text); end
	return destroy;
end

local address_hint = "To join room@rooms.example.org here, join room\\40rooms.example.org@" .. module.host .. ": write \\40 for the @.";

-- no_address(reason) -> text for somebody who wants to join what cannot be a mirrored room. reason: of prosody_relay.jid, unmirror()
function unavailable.no_address(reason)
	if reason == "nested" then return "This is a mirror already. Mirrors of mirrors are not possible: join the room that is mirrored."; end
	return "This is not the address of a mirrored room. " .. address_hint;
end

-- error_for(master, info) -> the <error/> for somebody who wants to join a room that cannot be mirrored; or nil when it can. info: of
-- mirror/room_info
function unavailable.error_for(master, info)
	if info.features[xmlns_fmuc] then return nil; end
	local type, condition, text;
	if info.failed then type, condition, text = info.failed:get_error(); end
	if info.failed == false then
		return unavailable.error("wait", "remote-server-timeout", "The server of " .. master .. " does not answer");
	elseif info.is_undeliverable then
		return unavailable.error(type, condition, text);
	elseif condition == "gone" then
		return st.clone(info.failed:get_child("error"));
	elseif condition == "item-not-found" then
		return unavailable.error("cancel", "item-not-found", "There is no room " .. master);
	elseif type == "wait" or condition == "remote-server-not-found" then
		return unavailable.error(type, condition, text or "The server of " .. master .. " cannot reach it now");
	end
	return unavailable.error("cancel", "feature-not-implemented",
		"The server of " .. master .. " does not support mirrors. Join " .. master .. " itself.");
end

-- is_absence(err) -> whether an <error/> says that there is no such room, or none any more
function unavailable.is_absence(err)
	return (err:get_child("item-not-found", xmlns_stanzas) or err:get_child("gone", xmlns_stanzas)) ~= nil;
end

-- refusal(master, info, err) -> the <error/> for somebody whose join the master has refused with the <error/> err. A room that the master
-- describes, but does not find when it is joined, is one of a service without mirrors. info: what is known of the room, or nil
function unavailable.refusal(master, info, err)
	local is_absent = err:get_child("item-not-found", xmlns_stanzas) ~= nil;
	return is_absent and info and info.failed == nil and unavailable.error_for(master, info) or err;
end

return unavailable;
