-- SPDX-License-Identifier: MIT
-- What administrators can see and do while the server runs: the pool, resource by resource, and who is left out by hand. As commands of
-- Prosody's shell (13.0) and as one ad-hoc command of the component (XEP-0050, both versions), which only its admins may use.

local dataforms = require "util.dataforms";
local new_form_command = require "util.adhoc".new_initial_data_form;

local node = "https://prosody-relay/client_proxy#pool";

local commands = {};
local commands_mt = { __index = commands };

-- new(pool, requests, health) -> commands
local function new(pool, requests, health)
	return setmetatable({ pool = pool; requests = requests; health = health }, commands_mt);
end

local function state_of(member)
	if member.ejected then return "left out: " .. member.ejected; end
	return member.barred and "not admitted: " .. member.barred or "is asked";
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

-- In 13.0 the shell warns of every reload of a module on a host that has commands, and does not see those of a component. So they are
-- given to the whole server, by each proxy the same, and find the proxy by their first argument.
-- COMPAT w/0.12: its shell takes no commands of modules, which does no harm
local function add_shell_command(by_host, name, desc, args, run)
	table.insert(args, 1, { name = "host"; type = "string" });
	module:context("*"):add_item("shell-command", {
		section = "client_proxy"; section_desc = "Resources that implement a component (mod_client_proxy)";
		name = name; desc = desc; args = args;
		handler = function (shell, host, ...)
			local self = by_host[host];
			if not self then return nil, ("mod_client_proxy is not loaded on %s"):format(tostring(host)); end
			return run(self, shell, ...);
		end;
	});
end

local function add_shell_commands(self)
	local by_host = module:shared("/*/client_proxy/commands");
	by_host[module.host] = self;
	local jid = { name = "jid"; type = "string" };
	add_shell_command(by_host, "resources", "Show the resources of a component and their state", {}, function (proxy, shell)
		for _, line in ipairs(proxy:overview()) do shell.session.print(line); end
		return true;
	end);
	add_shell_command(by_host, "eject", "Send no requests to a resource for now", { jid }, function (proxy, _, resource)
		return proxy:eject(resource);
	end);
	add_shell_command(by_host, "readmit", "Send requests to a resource that was left out", { jid }, function (proxy, _, resource)
		return proxy:readmit(resource);
	end);
end

local form = dataforms.new {
	title = "Resources of the implementing client";
	{ name = "FORM_TYPE"; type = "hidden"; value = node };
	{ name = "overview"; type = "text-multi"; label = "State" };
	{ name = "resource"; type = "list-single"; label = "Resource" };
	{ name = "action"; type = "list-single"; label = "Action"; value = "";
		options = { { value = ""; label = "None"; default = true }, { value = "eject"; label = "Leave out" }, { value = "readmit"; label = "Readmit" } } };
};

local function add_adhoc_command(self)
	module:depends("adhoc");
	local new_command = module:require "adhoc".new;
	local function initial_values()
		local options = {};
		for jid in self.pool:each() do options[#options + 1] = { value = jid; label = jid }; end
		return { overview = table.concat(self:overview(), "\n"); resource = options };
	end
	local function submit(fields)
		local action, resource = fields.action, fields.resource;
		if action ~= "eject" and action ~= "readmit" then return { status = "completed"; info = "Nothing was changed" }; end
		local ok, text = self[action](self, resource or "");
		if not ok then return { status = "completed"; error = { message = text } }; end
		return { status = "completed"; info = text };
	end
	module:provides("adhoc", new_command("Resources of the implementing client", node, new_form_command(form, initial_values, submit), "admin"));
end

-- start(): offers the commands from now on
function commands:start()
	add_shell_commands(self);
	add_adhoc_command(self);
end

-- stop(): the module is unloaded
function commands.stop()
	module:shared("/*/client_proxy/commands")[module.host] = nil;
end

return { new = new };
