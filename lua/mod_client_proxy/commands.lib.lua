-- SPDX-License-Identifier: MIT
-- What admins can see and do while the server runs: list the resources of the pool, leave a resource out, readmit it.
-- prosody_relay.commands offers the commands.

local relay_commands = require "prosody_relay.commands";

local node = "https://prosody-relay/client_proxy#pool";

local commands = {};
local commands_mt = { __index = commands };

-- new(pool, requests, health) -> commands
local function new(pool, requests, health)
	return setmetatable({ pool = pool; requests = requests; health = health }, commands_mt);
end

local function state_of(member)
	if member.ejected then return "left out: " .. member.ejected; end
	if member.barred then return "not admitted: " .. member.barred; end
	return member.is_hibernating and "hibernates, is asked last" or "is asked";
end

local function by_jid(a, b) return a.jid < b.jid; end

-- overview() -> array of lines: one for each resource, and a summary
function commands:overview()
	local members, lines = {}, {};
	for _, member in self.pool:each() do members[#members + 1] = member; end
	table.sort(members, by_jid);
	for i, member in ipairs(members) do
		lines[i] = ("%s  priority %d, %s, %d in flight, %s"):format(member.jid, member.priority, member.show or "available",
			member.load, state_of(member));
	end
	lines[#lines + 1] = ("%d of %d resources can be asked, %d requests in flight"):format(self.pool:count(), #members, self.requests:count());
	return lines;
end

-- eject(jid) -> true, text; or nil, text when there is no such resource
function commands:eject(jid)
	if not self.health:hold(jid) then return nil, ("There is no resource %s"):format(jid); end
	return true, ("%s gets no requests until it is readmitted, or logs in anew"):format(jid);
end

-- readmit(jid) -> true, text; or nil, text when it was not left out
function commands:readmit(jid)
	if not self.health:readmit(jid) then return nil, ("%s is not left out"):format(jid); end
	return true, ("%s gets requests again, as far as the configuration admits it"):format(jid);
end

-- start(): offers the commands from now on
function commands:start()
	local function action(name, label, desc)
		return { name = name; label = label; desc = desc; run = function (jid) return self[name](self, jid); end };
	end
	relay_commands.start(module, {
		title = "Resources of the implementing client"; node = node;
		list = "resources"; list_desc = "Show the resources of a component and their state";
		overview = function () return self:overview(); end;
		subject = "resource"; subject_label = "Resource";
		subjects = function ()
			local jids = {};
			for jid in self.pool:each() do jids[#jids + 1] = jid; end
			return jids;
		end;
		actions = {
			action("eject", "Leave out", "Send no requests to a resource for now");
			action("readmit", "Readmit", "Send requests to a resource that was left out");
		};
	});
end

-- stop(): the module is unloaded
function commands.stop()
	relay_commands.stop(module);
end

return { new = new };
