-- SPDX-License-Identifier: MIT
-- How a link with another kind of node (Openfire) goes on after an outage, or a crash of either side. Such a node notices no cut, and does not say
-- again whom it has (O16 to O19).

local all_links = lib "link/link";
local announce = lib "node/announce";
local arrivals = lib "node/arrivals";
local links = lib "node/links";
local outage = lib "node/outage";
local remembered = lib "node/remembered";

local foreign = {};

-- resume(room, peer): a foreign node speaks, which had joined before this server crashed (O17). It sends no join for users who are there.
function foreign.resume(room, peer)
	announce.take_back(room.jid, peer);
	local link = links.open(room, peer, "down");
	links.learn_mark(link, nil);
	remembered.only(link, {});
	announce.everybody(room, link);
end

local function recall(record)
	announce.take_back(record.room, record.peer);
	for real_jid in pairs(record.users) do remembered.leave({ room_jid = record.room; peer = record.peer }, real_jid); end
end

-- recall_all(): tells all foreign nodes that the users of the process before are not there (O17)
function foreign.recall_all()
	for record in remembered.each() do
		if not all_links.get(record.room, record.peer) then recall(record); end
	end
end

-- handle_reached(event): a foreign node that had joined can be reached again; it goes on as if nothing had happened (O18)
function foreign.handle_reached(event)
	local room, link = event.room, event.link;
	announce.everybody(room, link);
	announce.repeat_waiting(room, link);
	outage.over(link);
end

-- forgotten(room, link): a foreign node that had joined was restarted
function foreign.forgotten(room, link)
	link:fire("ended");
	arrivals.forget_all(room, link);
	remembered.close(room.jid, link.peer);
	links.close(room, link);
end

-- greet(room, link): as forgotten(), or not: the other node does not say it. It waits for an answer, or gets it for the second time (O19).
function foreign.greet(room, link)
	for nick in pairs(links.told(link)) do announce.repeat_user(room, link, nick); end
	announce.everybody(room, link);
	announce.subject(room, link);
end

return foreign;
