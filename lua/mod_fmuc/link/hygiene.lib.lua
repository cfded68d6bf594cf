-- SPDX-License-Identifier: MIT
-- What is taken out of stanzas, by where they come from and where they go: one table of rules for each way, and one linear pass over the
-- stanza (prosody_relay.stanza says what rules are). Whoever deals with a stanza uses
--
--   hygiene.copy(way, stanza, [context]) -> a copy as it may go on
--   hygiene.cleaned(way, stanza, [context]) -> the stanza itself where nothing goes, else such a copy. For an event: event.stanza = …
--   hygiene.filter(way, stanza, [context]) -> the stanza, changed in place: for one that is the caller's
--
-- context has what the rules of that way need, each named where the rules are. What a narrow link leaves out: link/bandwidth.

local jid_prep = require "util.jid".prep;
local stanza_lib = require "prosody_relay.stanza";

local xmlns_delay = "urn:xmpp:delay";
local xmlns_fmuc = lib "dialect/generation1".xmlns;
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local xmlns_sid = "urn:xmpp:sid:0";

local goes = false;

-- What only services may say to each other (G21)
local between_services = { fmuc = goes; nomirror = goes };

-- "this is you", or what comes of entering the room, which is between a room and its user
local own_codes = { ["110"] = true; ["201"] = true; ["210"] = true };

-- about the room, for who joins it: everybody sees real JIDs, the room is logged
local codes_at_join = { ["100"] = true; ["170"] = true };

local known_affiliations = { owner = true; admin = true; member = true; outcast = true }; -- besides none

-- Nobody but the room in context.by may give a message its id or its date. by: set of bare JIDs
local function is_by_others(child, context)
	return not context.by[jid_prep(child.attr.by)];
end

local function is_from_others(child, context)
	return child.attr.from ~= context.room_jid;
end

local function is_for_many(status)
	return not own_codes[status.attr.code];
end

-- What one occupant may know of a presence and many others may not (G21). context.is_hidden: real JIDs are not for all who get it
local function hide_real_jid(child, context)
	if context.is_hidden then child.attr.jid = nil; end
end

local item_for_many = { change = hide_real_jid; within = { [""] = { actor = { change = hide_real_jid } } } };

local function clean_item(item, context)
	if not known_affiliations[item.attr.affiliation] then item.attr.affiliation = "none"; end
	hide_real_jid(item, context);
end

-- What a client says about identifiers goes (G9, G10): nobody identifies himself. context.by: the room here and the room at the master
local from_client = {
	[xmlns_fmuc] = between_services;
	[xmlns_occupant_id] = { ["occupant-id"] = goes };
	[xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } };
};

-- At most one occupant-id, and no stanza-id but the master's own. context.by: those who may not give ids here; context.has_occupant_ids:
-- the master takes care of them
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
	-- at both: from anybody, where nothing else holds
	["from anybody"] = { [xmlns_fmuc] = between_services };

	-- what holds on of an occupant (lasting_part)
	["presence to keep"] = { [xmlns_muc_user] = { x = { within = {
		[""] = { item = { within = { [""] = { actor = goes; reason = goes } } } };
		other = goes;
	} } } };

	-- at a master
	["join from a mirror"] = { [xmlns_fmuc] = between_services; [xmlns_muc] = { x = goes } };
	-- context.by: the mirror, whose id has been read before
	["message from a mirror"] = { [xmlns_fmuc] = between_services; [xmlns_sid] = { ["stanza-id"] = { stays = is_by_others } } };
	-- context.is_hidden as above
	["presence to a mirror"] = { [xmlns_muc_user] = { x = { within = { [""] = {
		status = { stays = is_for_many };
		item = item_for_many;
	} } } } };
	-- who was kicked, without a reason or a presence that are as long as a stanza
	["long presence to remember"] = {
		[xmlns_muc_user] = { x = { once = true; within = {
			[""] = { status = true; item = { once = true; within = { other = goes } } };
			other = goes;
		} } };
		other = goes;
	};
	["presence without the mark of a join"] = { [xmlns_muc] = { x = goes } };

	-- at a mirror
	["presence to the master"] = {
		[xmlns_fmuc] = between_services;
		[xmlns_muc] = { x = goes };
		[xmlns_muc_user] = { x = goes };
		[xmlns_occupant_id] = { ["occupant-id"] = goes };
	};
	["from a client"] = from_client;
	["to the master"] = with(from_client, { [xmlns_muc_user] = { x = goes } });
	-- One <x/> with one item, as clients expect: what a second one says, they may believe instead
	["presence from the master"] = with(ids_from_master, {
		[xmlns_fmuc] = between_services;
		[xmlns_muc_user] = { x = { once = true; within = { [""] = {
			status = { stays = is_for_many };
			item = { once = true; change = clean_item; within = item_for_many.within };
		} } } };
	});
	-- Nobody but this room dates in its name; the master removes such stamps only if they are in its own. context.room_jid: this room
	["message from the master"] = with(ids_from_master, {
		[xmlns_fmuc] = between_services;
		[xmlns_delay] = { delay = { stays = is_from_others } };
		["jabber:x:delay"] = { x = { stays = is_from_others } };
	});
	["private from the master"] = with(ids_from_master, { [xmlns_fmuc] = between_services });
	["private message from the master"] = with(ids_from_master, { [xmlns_fmuc] = between_services; [xmlns_muc_user] = { x = goes } });
	-- an occupant's presence as that user's own, which mod_muc is to let in
	["presence to let in"] = { [xmlns_muc_user] = { x = goes } };
	-- the x of such a presence, whose codes mod_muc gives to the user
	["own codes of the joining user"] = { [""] = { status = { stays = function (status) return not codes_at_join[status.attr.code]; end } } };
	-- of the archive; the id and the date there are added again. context.room_jid: the master
	["message of the master's archive"] = {
		[xmlns_sid] = { ["stanza-id"] = goes };
		[xmlns_delay] = { delay = { stays = is_from_others } };
	};

	-- into the archive of this side, which knows the id that the room has given. context.room_jid: the room
	["into the archive"] = without_id_of_room;
	-- context.room_jid: the master, which has given that id before (F9)
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

-- lasting_part(presence) -> the presence without what belongs to an event (G28): itself when there is nothing of the kind, or a copy. Who an
-- occupant is, and in which role, holds on. Who changed it, why, and the status codes belong to the moment: newcomers do not get them.
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
