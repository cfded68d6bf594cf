-- SPDX-License-Identifier: MIT
-- Commands for administrators (prosody_relay.commands): they show who manages what, and why a delegation is inactive. An administrator can
-- also tell an entity again what it manages.

local commands = require "prosody_relay.commands";

local function sorted_keys(map)
	local keys = {};
	for key in pairs(map) do keys[#keys + 1] = key; end
	table.sort(keys);
	return keys;
end

local function entity_line(managing)
	return ("%s  %s, %d in flight"):format(managing.name, (managing:state()), managing.requests:count());
end

local function delegation_line(delegation)
	local managing = delegation.entity;
	local _, is_sure = managing:state();
	local notes = { is_sure and "active" or managing.address and "active if the entity is there" or "inactive: "..managing.absence };
	if delegation.filtering[1] then notes[#notes + 1] = "with "..table.concat(delegation.filtering, " and "); end
	if delegation.version ~= "urn:xmpp:delegation:2" then notes[#notes + 1] = "protocol 1"; end
	if delegation.blocking then notes[#notes + 1] = "blocking"; end
	if managing.address and not delegation.pseudo and not delegation.nested then notes[#notes + 1] = "no features announced"; end
	if delegation.client then
		notes[#notes + 1] = ("granted by %d users"):format(delegation.users);
		return ("  %s  %s"):format(delegation.namespace, table.concat(notes, ", "));
	end
	return ("  %s  %s, %d in flight"):format(delegation.namespace, table.concat(notes, ", "), managing:meter(delegation.namespace).pending);
end

-- The lines of the overview: each entity, what it manages, and the entries of the configuration that are skipped
local function overview(entities, problems)
	local lines, available, jids = {}, 0, sorted_keys(entities);
	for _, jid in ipairs(jids) do
		local managing = entities[jid];
		if select(2, managing:state()) then available = available + 1; end
		lines[#lines + 1] = entity_line(managing);
		for _, delegation in ipairs(managing.delegations) do
			lines[#lines + 1] = delegation_line(delegation);
		end
	end
	table.move(problems, 1, #problems, #lines + 1, lines);
	lines[#lines + 1] = ("%d of %d managing entities are available"):format(available, #jids);
	return lines;
end

local function readvertise(managing, jid)
	if not managing then
		return nil, ("%s manages nothing here"):format(jid);
	elseif not managing.address then
		return nil, ("%s is not available: %s"):format(jid, managing.absence);
	end
	managing:introduce();
	return true, ("%s was told what it manages, and asked for its features"):format(jid);
end

-- start(entities, problems): offers the commands from now on
--   entities: JID -> managing entity; problems: lines about entries that are skipped
local function start(entities, problems)
	commands.start(module, {
		title = "Managing entities"; node = "https://prosody-relay/delegation#entities";
		list = "entities"; list_desc = "Show managing entities, what is delegated to them, and why not";
		overview = function () return overview(entities, problems); end;
		subject = "entity"; subject_label = "Managing entity";
		subjects = function () return sorted_keys(entities); end;
		actions = {
			{ name = "readvertise"; label = "Tell again"; desc = "Tell an entity again what it manages, and ask for its features";
				run = function (jid) return readvertise(entities[jid], jid); end };
		};
	});
end

-- stop(): the module is unloaded
local function stop()
	commands.stop(module);
end

return { start = start; stop = stop };
