-- SPDX-License-Identifier: MIT
-- Removes elements from stanzas, by where a stanza comes from and where it goes. Each way has one table of rules (prosody_relay.stanza
-- explains rules) and takes one linear pass over the stanza. Callers use
--
--   hygiene.copy(way, stanza, [context]) -> a cleaned copy
--   hygiene.cleaned(way, stanza, [context]) -> the stanza itself when it is clean, else a cleaned copy. For an event: event.stanza = …
--   hygiene.filter(way, stanza, [context]) -> the stanza, cleaned in place. The stanza must be the caller's own.
--
-- context: the data that the rules of the way need; a comment at the rules names it. What a narrow link leaves out: link/bandwidth.

local jid_prep = require "util.jid".prep;
local stanza_lib = require "prosody_relay.stanza";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_fmuc = lib "dialect/generation1".xmlns;
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local xmlns_sid = "urn:xmpp:sid:0";

local goes = false;

-- Elements that only services may send to each other (G21)
local between_services = { fmuc = goes; nomirror = goes };

-- "this is you" and results of entering the room: between a room and one user
local own_codes = { ["110"] = true; ["201"] = true; ["210"] = true };

-- about the room, for a user who joins: everybody sees real JIDs, the room is logged
local codes_at_join = { ["100"] = true; ["170"] = true };

local known_affiliations = { owner = true; admin = true; member = true; outcast = true }; -- apart from none

-- Nobody else dates a stanza in the name of this server. The other side would take it for one that is sent again (link/repeats).
local function is_no_date_of_this_server(child)
	return child.attr.from == nil or child.attr.from ~= module.host;
end

-- Nor in the name of context.by, if there is one
local function is_no_date_of_this_node(child, context)
	return is_no_date_of_this_server(child) and not (context and context.by[child.attr.from]);
end

local own_dates = { delay = { stays = is_no_date_of_this_server } };

-- Nobody else gives ids in the name of context.by (set of bare JIDs), or dates in the name of context.room_jid
local function is_by_others(child, context)
	return not context.by[jid_prep(child.attr.by)];
end

local function is_from_others(child, context)
	return child.attr.from ~= context.room_jid;
end

local function is_for_many(status)
	return not own_codes[status.attr.code];
end

-- One occupant may see it in a presence, many others may not (G21). context.is_hidden: not all recipients may see real JIDs
local function hide_real_jid(child, context)
	if context.is_hidden then child.attr.jid = nil; end
end

local item_for_many = { change = hide_real_jid; within = { [""] = { actor = { change = hide_real_jid } } } };

local function clean_item(item, context)
	if not known_affiliations[item.attr.affiliation] then item.attr.affiliation = "none"; end
	hide_real_jid(item, context);
end

-- A client may not choose its own identifiers (G9, G10). context.by: the room here and the room at the master
local from_client = {
	[xmlns_delay] = own_dates;
	[xmlns_fmuc] = between_services;
	[xmlns_occupant_id] = { ["occupant-id"] = goes };
	[xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } };
};

-- At most one occupant-id, and no stanza-id in the name of context.by. context.has_occupant_ids: the master controls the occupant-ids
local ids_from_master = {
	[xmlns_occupant_id] = { ["occupant-id"] = { once = true; stays = function (_, context) return context.has_occupant_ids; end } };
	[xmlns_sid] = from_client[xmlns_sid];
};

local without_id_of_room = { [xmlns_sid] = { ["stanza-id"] = { stays = function (child, context) return child.attr.by ~= context.room_jid; end } } };

local function with(rules, more)
	local all = {};
	for xmlns, names in pairs(rules) do all[xmlns] = names; end
	for xmlns, names in pairs(more) do all[xmlns] = names; end
	return all;
end

local ways = {
	-- at both: from any sender, where no other way applies
	["from anybody"] = { [xmlns_delay] = own_dates; [xmlns_fmuc] = between_services };

	-- what stays true about an occupant (lasting_part)
	["presence to keep"] = { [xmlns_muc_user] = { x = { within = {
		[""] = { item = { within = { [""] = { actor = goes; reason = goes } } } };
		other = goes;
	} } } };

	-- at a master
	["join from a mirror"] = { [xmlns_fmuc] = between_services; [xmlns_muc] = { x = goes } };
	-- context.by: the mirror; its id has been read before
	["message from a mirror"] = {
		[xmlns_delay] = own_dates;
		[xmlns_fmuc] = between_services;
		[xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } };
	};
	-- context.is_hidden: see above
	["presence to a mirror"] = { [xmlns_muc_user] = { x = { within = { [""] = {
		status = { stays = is_for_many };
		item = item_for_many;
	} } } } };
	-- the presence of a kicked user, without its reason and payloads, which may be as long as a stanza
	["long presence to remember"] = {
		[xmlns_muc_user] = { x = { once = true; within = {
			[""] = { status = true; item = { once = true; within = { other = goes } } };
			other = goes;
		} } };
		other = goes;
	};
	["presence without the mark of a join"] = { [xmlns_muc] = { x = goes } };

	-- between nodes: what a room adds stays on its side. context.by: the room here
	["presence to a node"] = {
		[xmlns_fmuc] = between_services;
		[xmlns_muc] = { x = goes };
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
	};
	["presence to a foreign node"] = {
		[""] = { show = goes; status = goes; priority = goes };
		[xmlns_fmuc] = between_services;
		[xmlns_muc] = { x = goes };
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
	};
	["presence of a node"] = {
		[xmlns_delay] = own_dates;
		[xmlns_fmuc] = between_services;
		[xmlns_muc] = { x = goes };
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
	};
	["message to a node"] = { [xmlns_occupant_id] = { ["occupant-id"] = goes } };
	-- Openfire takes a subject for the end of the join (O2)
	["old message to a foreign node"] = { [""] = { subject = goes }; [xmlns_occupant_id] = { ["occupant-id"] = goes } };
	["message of a node"] = {
		[xmlns_delay] = { delay = { stays = is_no_date_of_this_node }; x = { stays = is_no_date_of_this_node } };
		["jabber:x:delay"] = { x = { stays = is_no_date_of_this_node } };
		[xmlns_fmuc] = between_services;
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
		[xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } };
	};

	-- the room here dates it again
	["old message of a node"] = {
		[xmlns_delay] = { delay = goes; x = goes };
		["jabber:x:delay"] = { x = goes };
		[xmlns_fmuc] = between_services;
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
		[xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } };
		["http://jabber.org/protocol/address"] = { addresses = goes }; -- of non-anonymous rooms of Openfire: real JIDs (O4)
	};

	-- at a mirror
	["presence to the master"] = {
		[xmlns_fmuc] = between_services;
		[xmlns_muc] = { x = goes };
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
	};
	["from a client"] = from_client;
	["to the master"] = with(from_client, { [xmlns_muc_user] = { x = goes } });
	-- One <x/> with one item, as clients expect: a client may believe a second one instead
	["presence from the master"] = with(ids_from_master, {
		[xmlns_fmuc] = between_services;
		[xmlns_muc_user] = { x = { once = true; within = { [""] = {
			status = { stays = is_for_many };
			item = { once = true; change = clean_item; within = item_for_many.within };
		} } } };
	});
	-- Nobody but this room dates messages in its name. The master removes only dates in its own name. context.room_jid: this room
	["message from the master"] = with(ids_from_master, {
		[xmlns_fmuc] = between_services;
		[xmlns_delay] = { delay = { stays = is_from_others } };
		["jabber:x:delay"] = { x = { stays = is_from_others } };
	});
	["private from the master"] = with(ids_from_master, { [xmlns_fmuc] = between_services });
	["private message from the master"] = with(ids_from_master, { [xmlns_fmuc] = between_services; [xmlns_muc_user] = { x = goes } });
	-- an occupant's presence, as the user's own presence for mod_muc
	["presence to let in"] = { [xmlns_muc_user] = { x = goes } };
	-- the <x/> of such a presence, without the codes that mod_muc itself sends to the user
	["own codes of the joining user"] = { [""] = { status = { stays = function (status) return not codes_at_join[status.attr.code]; end } } };
	-- The archive's id and date are added again later. context.room_jid: the master
	["message of the master's archive"] = {
		[xmlns_sid] = { ["stanza-id"] = goes };
		[xmlns_delay] = { delay = { stays = is_from_others } };
	};

	-- The archive here knows the id that the room has given. context.room_jid: the room
	["into the archive"] = without_id_of_room;
	-- context.room_jid: the master, which has given the same id before (F9)
	["message with the id of another"] = without_id_of_room;
};

local hygiene = {};

function hygiene.copy(way, stanza, context)
	return stanza_lib.copy(stanza, assert(ways[way], way), context);
end

function hygiene.cleaned(way, stanza, context)
	return stanza_lib.cleaned(stanza, assert(ways[way], way), context);
end

function hygiene.filter(way, stanza, context)
	return stanza_lib.filter(stanza, assert(ways[way], way), context);
end

local function is_state(child)
	return child.name == "item";
end

local function is_event(child)
	return child.name == "actor" or child.name == "reason";
end

local function find(element, matches)
	for _, child in ipairs(element.tags) do
		if matches(child) then return true; end
	end
	return false;
end

-- lasting_part(presence) -> the presence without the parts of an event (G28): the presence itself, or a copy. The occupant and its
-- role stay true. The actor, the reason and the status codes belong to the moment: newcomers do not get them.
function hygiene.lasting_part(presence)
	local x = presence:get_child("x", xmlns_muc_user);
	if not x then return presence; end
	local item = x:get_child("item");
	local has_event = find(x, function (child) return not is_state(child); end) or item ~= nil and find(item, is_event);
	return has_event and hygiene.copy("presence to keep", presence) or presence;
end

-- ways() -> iterator of the names of all ways
function hygiene.ways()
	return next, ways, nil;
end

return hygiene;
