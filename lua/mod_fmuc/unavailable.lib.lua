-- SPDX-License-Identifier: MIT
-- What users of a mirror are told about rooms that they cannot join, or not any more: no such room, no mirrors there, destroyed (G17, F15, F16).
--
-- A destroyed room may name another one to go to. Users get that room's address as the master says it; the address of its mirror here, if
-- the room is on the same service or on one that is listed in fmuc_allow_masters.

local policy = module:require "policy";
local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local relay_jid = require "prosody_relay.jid";
local st = require "util.stanza";

local xmlns_fmuc = "http://isode.com/protocol/fmuc";
local xmlns_stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas";

local unavailable = {};

-- error(type, condition, [text]) -> <error/> element
function unavailable.error(type, condition, text)
	local err = st.stanza("error", { type = type }):tag(condition, { xmlns = xmlns_stanzas }):up();
	if text then err:text_tag("text", text, { xmlns = xmlns_stanzas }); end
	return err;
end

local function address_here(text, master)
	local room_jid = jid_prep(text);
	local host = room_jid and jid_host(room_jid);
	if not host or not policy.may_be_mirrored(room_jid) then return nil; end
	if host ~= jid_host(master) and not policy.lists_masters() then return nil; end
	return relay_jid.mirror(room_jid, module.host);
end

-- follow(element, master): changes the address that a <destroy/>, or an <error/> with <gone/>, of that master names -> element
function unavailable.follow(element, master)
	if element.name == "destroy" then
		element.attr.jid = element.attr.jid and address_here(element.attr.jid, master) or element.attr.jid;
		return element;
	end
	local gone = element:get_child("gone", xmlns_stanzas);
	local named = gone and gone:get_text():match("^xmpp:([^?]+)");
	local here = named and address_here(named, master);
	if not here then return element; end
	local err = unavailable.error(element.attr.type, "gone", element:get_child_text("text", xmlns_stanzas));
	err.tags[1]:text("xmpp:" .. here .. "?join");
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
	local text = err:get_child_text("text", xmlns_stanzas);
	local destroy = st.stanza("destroy", { jid = err:get_child_text("gone", xmlns_stanzas):match("^xmpp:([^?]+)") });
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
-- room_info.lib.lua
function unavailable.error_for(master, info)
	if info.features[xmlns_fmuc] then return nil; end
	local type, condition, text;
	if info.failed then type, condition, text = info.failed:get_error(); end
	if info.failed == false then
		return unavailable.error("wait", "remote-server-timeout", "The server of " .. master .. " does not answer");
	elseif info.is_undeliverable then
		return unavailable.error(type, condition, text);
	elseif condition == "gone" then
		return unavailable.follow(st.clone(info.failed:get_child("error")), master);
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
	return is_absent and info and info.failed == nil and unavailable.error_for(master, info) or unavailable.follow(st.clone(err), master);
end

return unavailable;
