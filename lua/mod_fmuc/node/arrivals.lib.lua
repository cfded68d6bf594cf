-- SPDX-License-Identifier: MIT
-- What another node says about its users (N14, N15, N17): how that enters this room. A user of another node is an occupant like any other, under
-- the real JID that the node names. This room's own rules decide whether it shows the user (node/authority). What users say: node/messages.

local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local jid_prep = require "util.jid".prep;
local jid_resource = require "util.jid".resource;
local st = require "util.stanza";

local announce = lib "node/announce";
local authority = lib "node/authority";
local equivalent = lib "link/equivalent";
local collisions = lib "node/collisions";
local hygiene = lib "link/hygiene";
local limits = lib "link/limits";
local linked = lib "room/linked";
local links = lib "node/links";
local once = lib "link/log".once;
local trust = lib "link/trust";
local turns = lib "room/turns";

local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local arrivals = {};

local function occupant_jid(room, nick)
	return room.jid .. "/" .. nick;
end

-- Lets mod_muc handle a presence of that session. join: of new_join(), if the session is to enter the room
local function pass(room, presence, join)
	room:handle_normal_presence({ type = "component"; host = module.host; send = function () end; fmuc_join = join }, presence);
end

local function presence_of(room, entry)
	local presence = entry.presence and st.clone(entry.presence) or st.presence();
	presence.attr = { from = entry.real_jid; to = occupant_jid(room, entry.nick) };
	return presence;
end

-- A node has its own picture of the room. mod_muc would make it for each user whom the node brings.
function linked.methods.send_occupant_list(room, to, ...)
	if linked.link_of(room, to, "generation2") then return; end
	return linked.stock(room).send_occupant_list(room, to, ...);
end

-- skip_history(event): the same for the history ("muc-get-history")
function arrivals.skip_history(event)
	if not linked.link_of(event.room, event.to, "generation2") then return; end
	event.next_stanza = function () end;
	return true;
end

-- Whether the other node has left, or parted the user, while others did their work
local function is_over(room, link, entry)
	return links.brought(link)[entry.nick] ~= entry or links.get(room, link.peer) ~= link;
end

-- For check_nick() and check_join() of master/joins: the nick stays as it is. Meanwhile a handler of another module may wait, and the other node may
-- leave or part the user. is_trial: see gets_nick()
local function new_join(room, link, entry, is_trial)
	return setmetatable({ occupant_jid = occupant_jid(room, entry.nick); is_trial = is_trial }, { __index = function (_, key)
		if key == "is_over" then return is_over(room, link, entry); end
	end });
end

local function pass_join(room, link, entry, is_trial)
	local join = new_join(room, link, entry, is_trial);
	pass(room, presence_of(room, entry):tag("x", { xmlns = xmlns_muc }):up(), join);
	return join;
end

-- check_trial(event): all handlers have let a user in who is not to enter yet ("muc-occupant-pre-join", the last handler)
function arrivals.check_trial(event)
	local join = event.origin.fmuc_join;
	if not join or not join.is_trial then return; end
	join.is_accepted = true;
	return true;
end

-- The user of this node, or of another one, who has that nick here -> person; or nil
local function holder(room, nick)
	local occupant = room:get_occupant_by_nick(occupant_jid(room, nick));
	if not occupant then return nil; end
	return links.entry_of(room, occupant) or { real_jid = occupant.jid; since = collisions.since(room, nick);
		is_registered = collisions.is_registered(room, nick, occupant.jid); is_own = true };
end

local function kick_loser(room, nick)
	room:set_role(true, occupant_jid(room, nick), nil, "Another user of this federated room has this nickname");
end

-- Another user who has the nick of that user here -> person; or nil
local function rival(room, entry)
	local other = holder(room, entry.nick);
	return other and jid_bare(other.real_jid) ~= jid_bare(entry.real_jid) and other or nil;
end

-- Whether the nick is free for that user, or becomes free (G6). Where the other node does not know this rule, users who are here stay. Nobody makes
-- way for a user whom the rules of this room keep out. Nobody loses a nick that is registered here.
local function gets_nick(room, link, entry)
	local other = rival(room, entry);
	if not other then return true; end
	if not links.mark(link) or other.is_own and other.is_registered or not collisions.wins(entry, other) then return false; end
	if not pass_join(room, link, entry, true).is_accepted then return false, "refused"; end
	other = rival(room, entry); -- handlers of other modules may have waited
	if not other then return true; end
	if other.is_own then kick_loser(room, entry.nick); else arrivals.hide(room, other, "taken"); end
	return true;
end

-- hide(room, entry, why): the room does not show that user of another node any more
function arrivals.hide(room, entry, why)
	local link = room.fmuc.link_of[entry.real_jid];
	entry.hidden = "leaving"; -- handle_left() does not bring the user back
	pass(room, st.presence({ type = "unavailable"; from = entry.real_jid; to = occupant_jid(room, entry.nick) }));
	entry.hidden = why;
	links.unbind(room, link, entry.real_jid);
end

local function enter(room, link, entry)
	links.bind(room, link, entry.real_jid);
	pass_join(room, link, entry);
	if room:get_occupant_jid(entry.real_jid) == occupant_jid(room, entry.nick) then return; end
	entry.hidden = rival(room, entry) and "taken" or "refused";
	links.unbind(room, link, entry.real_jid);
end

-- Shows a user who is not shown yet, if this room's rules allow it
local function show(room, link, entry)
	entry.hidden = nil;
	if room:get_occupant_jid(entry.real_jid) then
		entry.hidden = "elsewhere"; -- the same client, by another way
	else
		local gets, why = gets_nick(room, link, entry);
		if is_over(room, link, entry) then return; end -- the loser was the last user here
		if gets then enter(room, link, entry); else entry.hidden = why or "taken"; end
	end
	if entry.hidden then announce.update(room, entry.nick); end -- for nodes behind this one
end

-- Takes the sessions of an occupant who has left from their links. Until now, what mod_muc told them of that had to end there.
local function unbind_removed(room, occupant)
	for jid in occupant:each_session() do
		local link = linked.link_of(room, jid, "generation2");
		local entry = link and links.find(link, jid); -- under another nick, if the user has changed it
		if link and (not entry or entry.hidden) then links.unbind(room, link, jid); end
	end
end

-- The nick is free: somebody else may get it
local function show_waiting(room, nick)
	for link in links.each(room) do
		local entry = links.brought(link)[nick];
		if entry and entry.hidden == "taken" and not holder(room, nick) then show(room, link, entry); end
	end
end

-- handle_left(event): an occupant has left. Somebody else may get the nick, or the same client may be here by another way.
function arrivals.handle_left(event)
	local room, nick = event.room, jid_resource(event.nick);
	unbind_removed(room, event.occupant);
	if event.stanza and not event.stanza.attr.type then -- changes the nick, and would not see now who gets the former one
		module:add_timer(0, function () turns.apart(function () show_waiting(room, nick); end); end);
	else
		show_waiting(room, nick);
	end
	for link in links.each(room) do
		for jid in event.occupant:each_session() do
			local other = links.find(link, jid);
			if other and other.hidden == "elsewhere" and not room:get_occupant_jid(jid) then show(room, link, other); end
		end
	end
end

-- Tries again to show users whom the room has refused. concerns(entry): which ones
local function show_refused(room, concerns)
	for link in links.each(room) do
		local refused = {};
		for _, entry in pairs(links.brought(link)) do
			if entry.hidden == "refused" and concerns(entry) then refused[#refused + 1] = entry; end
		end
		for _, entry in ipairs(refused) do
			if links.brought(link)[entry.nick] == entry then show(room, link, entry); end -- handlers of other modules may have waited
		end
	end
end

-- handle_affiliation(event): the affiliation of a user or a domain has changed, perhaps with a reserved nick ("muc-set-affiliation")
function arrivals.handle_affiliation(event)
	local room, data = event.room, event.previous_data;
	local freed_nick = data and data.reserved_nickname;
	if not room.fmuc or event.affiliation == "outcast" then return; end
	show_refused(room, function (entry)
		return jid_bare(entry.real_jid) == event.jid or jid_host(entry.real_jid) == event.jid or entry.nick == freed_nick;
	end);
end

-- handle_opened(event): an owner has set who may enter the room ("muc-config-submitted/…", after mod_muc)
function arrivals.handle_opened(event)
	if event.room.fmuc then show_refused(event.room, function () return true; end); end
end

-- may_bring(link, real_jid) -> whether the other node may speak for that user (G19, O13)
function arrivals.may_bring(link, real_jid)
	local host = jid_host(link.peer);
	if real_jid and jid_resource(real_jid) and trust.may_speak_for(host, real_jid) then return true; end
	once("node trust\0" .. host, "info", "%s does not show %s, whom %s brings: it may not speak for that domain (fmuc_trust)", link.room_jid,
		real_jid or "a user without a real JID", link.peer);
	return false;
end

local function has_place(link, nick)
	local brought = links.brought(link);
	if brought[nick] or limits.has_place(link:own("arrivals"), brought) then return true; end
	once("full node\0" .. link.peer, "warn", "%s brings more than %d users into %s; the others are not shown (fmuc_max_occupants)",
		link.peer, limits.max_occupants, link.room_jid);
	return false;
end

-- What stays of the presence, within bounds
local function kept_presence(stanza)
	local presence = limits.trimmed(hygiene.copy("presence of a node", stanza));
	if not presence or not limits.has_memory_for(stanza.attr.from, limits.presence_size(presence)) then return st.presence(); end
	presence.attr.id = nil;
	return presence;
end

local function fill(entry, stanza, said)
	entry.presence = kept_presence(stanza);
	entry.role, entry.affiliation = authority.role(said.role), authority.affiliation(said.affiliation);
	entry.is_stale = nil;
end

-- The user of the other node with that real JID has changed the nick (303, or without it)
local function change_nick(room, link, entry, nick)
	local former = entry.nick;
	links.drop(link, entry);
	entry.nick = nick;
	links.bring(link, entry);
	if entry.hidden then
		announce.update(room, former);
		return show(room, link, entry);
	end
	local other = rival(room, entry);
	if not other then pass(room, presence_of(room, entry)); end
	if room:get_occupant_jid(entry.real_jid) == occupant_jid(room, nick) then return; end
	entry.hidden = "leaving";
	pass(room, st.presence({ type = "unavailable"; from = entry.real_jid; to = occupant_jid(room, former) }));
	entry.hidden = "refused";
	links.unbind(room, link, entry.real_jid);
	if other then show(room, link, entry); end -- as somebody who is new
end

local function update(room, entry)
	pass(room, presence_of(room, entry));
end

-- After a restart of the other node the user may have another resource (O17)
local function replace_session(room, link, entry, real_jid)
	local former = entry.real_jid;
	if not entry.hidden and room:get_occupant_jid(real_jid) then arrivals.hide(room, entry, "elsewhere"); end
	links.drop(link, entry);
	entry.real_jid = real_jid;
	links.bring(link, entry);
	if entry.hidden then return; end
	enter(room, link, entry);
	pass(room, st.presence({ type = "unavailable"; from = former; to = occupant_jid(room, entry.nick) }));
	links.unbind(room, link, former);
end

-- available(room, link, nick, stanza, said): the other node says that this user is there
function arrivals.available(room, link, nick, stanza, said)
	local real_jid = jid_prep(said.real_jid);
	local told = links.told(link)[nick];
	if told and told.real_jid == real_jid and (link.state == "joining" or not trust.may_speak_for(jid_host(link.peer), real_jid)) then
		return; -- a user whom this node has brought there (N7)
	end
	if not arrivals.may_bring(link, real_jid) or not has_place(link, nick) then return; end
	local entry = links.brought(link)[nick];
	if entry and jid_bare(entry.real_jid) ~= jid_bare(real_jid) then
		arrivals.unavailable(room, link, nick, st.presence({ type = "unavailable" }), { codes = {} }); -- nobody told us that he left
		entry = nil;
	end
	local renamed = not entry and links.find(link, real_jid);
	if renamed then
		fill(renamed, stanza, said);
		return change_nick(room, link, renamed, nick);
	elseif not entry then
		entry = { nick = nick; real_jid = real_jid; since = said.since; is_registered = said.is_registered };
		fill(entry, stanza, said);
		links.bring(link, entry);
		return show(room, link, entry);
	end
	local was_hidden, former, former_role, former_affiliation = entry.hidden, entry.presence, entry.role, entry.affiliation;
	fill(entry, stanza, said);
	if entry.real_jid ~= real_jid then replace_session(room, link, entry, real_jid); end
	if not was_hidden then
		local is_same = former_role == entry.role and former_affiliation == entry.affiliation and equivalent(former, entry.presence);
		if not is_same and not entry.hidden then update(room, entry); end
	elseif was_hidden ~= "kicked" or said.is_join then
		show(room, link, entry);
	else
		announce.update(room, nick);
	end
end

local removal_codes = { ["301"] = true; ["307"] = true; ["321"] = true; ["322"] = true; ["332"] = true; ["333"] = true };

-- The codes that say why somebody was removed -> sorted list. No other code of another node is shown: to a client, 110 means itself.
local function codes_of_removal(said)
	local codes = {};
	for code in pairs(said.codes) do
		if removal_codes[code] then codes[#codes + 1] = code; end
	end
	table.sort(codes);
	return codes;
end

-- Shows that a user of another node was kicked or banned there
local function show_removal(room, occupant, said)
	local x = st.stanza("x", { xmlns = xmlns_muc_user });
	for _, code in ipairs(codes_of_removal(said)) do x:tag("status", { code = code }):up(); end
	local former_role = occupant.role;
	occupant.role = nil;
	room:save_occupant(occupant);
	room:publicise_occupant_status(occupant, x, nil, nil, said.reason, former_role);
	module:fire_event("muc-occupant-left", { room = room; nick = occupant.nick; occupant = occupant });
end

local function only_session(occupant, entry)
	for jid in occupant:each_session() do
		if jid ~= entry.real_jid then return false; end
	end
	return true;
end

-- unavailable(room, link, nick, stanza, said): the other node says that this user has left
function arrivals.unavailable(room, link, nick, stanza, said)
	local entry = links.brought(link)[nick];
	if not entry then return; end
	if said.codes["303"] and said.new_nick then return; end -- the next presence has the new nick
	links.drop(link, entry);
	local codes, occupant = codes_of_removal(said), room:get_occupant_by_real_jid(entry.real_jid);
	if entry.hidden then
		announce.update(room, nick, { codes = codes; reason = said.reason });
	elseif codes[1] and occupant and only_session(occupant, entry) then
		show_removal(room, occupant, said);
	else
		local leave = hygiene.copy("presence of a node", stanza);
		leave.attr = { type = "unavailable"; from = entry.real_jid; to = occupant_jid(room, nick) };
		pass(room, limits.trimmed(leave) or limits.bare_presence(leave));
	end
	links.unbind(room, link, entry.real_jid);
end

-- settle(room, link): it is known now that the other node knows the rule about two users with one nick (G6). Until then users who were here stayed.
function arrivals.settle(room, link)
	local contested = {};
	for _, entry in pairs(links.brought(link)) do
		if entry.hidden == "taken" then contested[#contested + 1] = entry; end
	end
	for _, entry in ipairs(contested) do
		if not is_over(room, link, entry) and entry.hidden == "taken" then show(room, link, entry); end
	end
end

-- forget_all(room, link): the users of the other node are not here any more
function arrivals.forget_all(room, link)
	local nicks = {};
	for nick in pairs(links.brought(link)) do nicks[#nicks + 1] = nick; end
	for _, nick in ipairs(nicks) do
		arrivals.unavailable(room, link, nick, st.presence({ type = "unavailable" }), { codes = { ["333"] = true } });
	end
end

-- remove(room, link, victim_jid, said): the other node says that somebody was removed there: a user whom it brought, or one of this node
function arrivals.remove(room, link, victim_jid, said)
	local entry = links.find(link, victim_jid);
	if entry then return arrivals.unavailable(room, link, entry.nick, st.presence(), said); end
	for nick, told in pairs(links.told(link)) do
		if told.real_jid == victim_jid then return arrivals.kicked(room, link, nick, said); end
	end
end

-- kicked(room, link, nick, said): another node has kicked a user whom this node told it of. The user's own node kicks the user out of all
-- nodes (N17); a node in between passes the kick on. A ban there is no matter of this node.
function arrivals.kicked(room, link, nick, said)
	if not links.told(link)[nick] then return; end
	announce.removed(link, nick);
	if not said.codes["307"] then return; end
	local person = links.person(room, nick, link);
	for other in links.each(room) do
		local entry = other ~= link and links.brought(other)[nick];
		if entry and entry == person then return announce.kick(room, other, entry, { reason = said.reason; actor = said.actor }); end
	end
	room:set_role(true, occupant_jid(room, nick), nil, said.reason);
end

-- adjust(room, link, victim_jid, said): the role or affiliation of a user of the other node has changed, as Openfire says it (section 3)
function arrivals.adjust(room, link, real_jid, said)
	local entry = links.find(link, real_jid);
	if not entry then return; end
	entry.role, entry.affiliation = authority.role(said.role), authority.affiliation(said.affiliation);
	if not entry.hidden then update(room, entry); end
end

return arrivals;
