-- SPDX-License-Identifier: MIT
-- After an outage the mirror reads missed messages from the master's archive (G8, XEP-0313). It does so if the master cannot know that it has
-- repeated everything. Such a master was restarted, or does not run this module. The mirror asks once for all its users. It asks for the time since
-- the master's last stanza, the latest page first.
--
-- current: state of the resync in progress (mirror/resync). current.archive = { pages (lists of messages, the latest page first), page (the page
-- that is arriving), count }

local datetime = require "util.datetime";
local jid_bare = require "util.jid".bare;
local rsm = require "util.rsm";
local st = require "util.stanza";

local limits = lib "link/limits";
local hygiene = lib "link/hygiene";
local liveness = lib "mirror/liveness";
local room_info = lib "mirror/room_info";

local xmlns_client = "jabber:client";
local xmlns_delay = "urn:xmpp:delay";
local xmlns_form = "jabber:x:data";
local xmlns_forward = "urn:xmpp:forward:0";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_sid = "urn:xmpp:sid:0";

local page_size, max_messages = 50, 500;

local backfill = {};

local function ask(room, current, before)
	local query = st.stanza("query", { xmlns = xmlns_mam })
		:tag("x", { xmlns = xmlns_form; type = "submit" })
			:tag("field", { var = "FORM_TYPE"; type = "hidden" }):text_tag("value", xmlns_mam):up()
			:tag("field", { var = "start" }):text_tag("value", datetime.datetime(current.since)):up()
		:up()
		:add_child(rsm.generate { max = page_size; before = before });
	local question = st.iq({ type = "set"; id = liveness.new_id(); from = room.jid; to = room.fmuc.authority.peer }):add_child(query);
	query.attr.queryid = question.attr.id;
	room.fmuc.authority:ask("archive", question);
end

-- begin(room, current) -> whether archived messages are still to come. Called at the end of what the master repeats by itself
function backfill.begin(room, current)
	if current.archive then return true; end
	if current.is_complete or not room_info.has(room, xmlns_mam) then return false; end
	current.archive = { pages = {}; page = {}; count = 0 };
	ask(room, current, true);
	return true;
end

-- Removes the client namespace, which Prosody's own stanzas do not carry
local function unqualify(element)
	if element.attr.xmlns == xmlns_client then element.attr.xmlns = nil; end
	for _, child in ipairs(element.tags) do unqualify(child); end
end

-- The archived message in the form in which the master repeats room history, or nil
local function as_history(result, master)
	local forwarded = result:get_child("forwarded", xmlns_forward);
	local stamp = forwarded and forwarded:find("{" .. xmlns_delay .. "}delay@stamp");
	local message = forwarded and forwarded:get_child("message", xmlns_client);
	if not stamp or not message or jid_bare(message.attr.from) ~= master or message.attr.type ~= "groupchat" then return nil; end
	message = hygiene.copy("message of the master's archive", message, { room_jid = master });
	unqualify(message);
	if message:get_child("subject") and not message:get_child("body") then return nil; end -- the master has already sent the current subject
	message:tag("stanza-id", { xmlns = xmlns_sid; by = master; id = result.attr.id }):up();
	return message:tag("delay", { xmlns = xmlns_delay; from = master; stamp = stamp }):up();
end

-- take(room, current, stanza) -> whether the master's message is about its archive. current: nil when no resync is in progress
function backfill.take(room, current, stanza)
	local result = stanza:get_child("result", xmlns_mam);
	local authority = room.fmuc.authority;
	if not result or stanza.attr.type == "groupchat" or stanza.attr.from ~= authority.peer then return false; end
	local archive = current and current.archive;
	authority:hear();
	if not archive or not authority.asked or authority.asked.id ~= result.attr.queryid then return true; end
	local message = as_history(result, authority.peer);
	if message and archive.count < max_messages and limits.has_room_for(archive, message, authority.peer) then
		table.insert(archive.page, message);
		archive.count = archive.count + 1;
	end
	return true;
end

-- finish(current): no more pages will come. The archived messages, also those of an incomplete page, go before what the master has repeated by
-- itself
function backfill.finish(current)
	local messages, pages = current.archive.page, current.archive.pages;
	for i = #pages, 1, -1 do table.move(pages[i], 1, #pages[i], #messages + 1, messages); end
	table.move(current.messages, 1, #current.messages, #messages + 1, messages);
	current.messages = messages;
end

-- go_on(room, current, answer) -> whether another page will come. answer: the master's answer that ends a page, or an error
function backfill.go_on(room, current, answer)
	local archive = current.archive;
	local page, fin = archive.page, answer:get_child("fin", xmlns_mam);
	local set = fin and rsm.get(fin);
	local first = set and set.first and set.first[1];
	table.insert(archive.pages, page);
	archive.page = {};
	local is_last = not first or fin.attr.complete == "true" or fin.attr.complete == "1" or #page == 0 or archive.count >= max_messages;
	if not is_last then ask(room, current, first); end
	return not is_last;
end

return backfill;
