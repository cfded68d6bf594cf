-- SPDX-License-Identifier: MIT
-- What administrators can see and do while the server runs: the links of a mirror or of a master's rooms. As commands of Prosody's shell
-- (13.0) and as one ad-hoc command of the component (XEP-0050, both versions), which only its admins may use.

local compat = require "prosody_relay.compat";
local dataforms = require "util.dataforms";
local new_form_command = require "util.adhoc".new_initial_data_form;

local node = "https://prosody-relay/fmuc#links";

-- of a link of either role
local states = { "live", "lost", "joining", "rejoining" };

local role;

local function by_address(a, b)
	if a.here ~= b.here then return a.here < b.here; end
	return a.there < b.there;
end

local function links()
	local list = role.links();
	table.sort(list, by_address);
	return list;
end

local function describe(link)
	local traffic = link.traffic;
	return ("%s  %s %s, generation 1, %s, %d local and %d remote occupants, sent %d stanzas of %d bytes, received %d of %d, %d copies saved")
		:format(link.here, role.peer:lower(), link.there, link.state, link.local_occupants, link.remote_occupants, traffic.sent,
			traffic.sent_bytes, traffic.received, traffic.received_bytes, traffic.saved);
end

local function overview()
	local list = links();
	local lines = {};
	for i, link in ipairs(list) do lines[i] = describe(link); end
	lines[#lines + 1] = ("%d links"):format(#list);
	return lines;
end

-- Both take the JID of the room at the other side, or of the one here.
local function for_links(jid, f, text)
	local count = 0;
	for _, link in ipairs(links()) do
		if link.there == jid or link.here == jid then
			f(link);
			count = count + 1;
		end
	end
	if count == 0 then return nil, ("There is no link with %s"):format(jid); end
	return true, text:format(jid);
end

local actions = {};

function actions.resync(jid)
	return for_links(jid, role.resync, "The link with %s is brought up to date");
end

function actions.drop(jid)
	return for_links(jid, role.drop, "The link with %s is closed, its users are not in the room any more");
end

-- In 13.0 the shell warns of every reload of a module on a host that has commands, and does not see those of a component. So they are
-- given to the whole server, by each component the same, and find the component by their first argument.
-- COMPAT w/0.12: its shell takes no commands of modules, which does no harm
local function add_shell_command(by_host, name, desc, args, run)
	table.insert(args, 1, { name = "host"; type = "string" });
	module:context("*"):add_item("shell-command", {
		section = "fmuc"; section_desc = "Links of mirrored rooms (mod_fmuc)";
		name = name; desc = desc; args = args;
		handler = function (shell, host, ...)
			local server = prosody.hosts[host];
			local present = server and server.modules.fmuc and by_host[host];
			if not present then return nil, ("mod_fmuc is not loaded on %s"):format(tostring(host)); end
			return run(present, shell, ...);
		end;
	});
end

local function add_shell_commands()
	local by_host = module:shared("/*/fmuc/commands");
	by_host[module.host] = { overview = overview; actions = actions };
	local jid = { name = "jid"; type = "string" };
	add_shell_command(by_host, "links", "Show the links of a mirror, or of the rooms of a service", {}, function (present, shell)
		for _, line in ipairs(present.overview()) do shell.session.print(line); end
		return true;
	end);
	add_shell_command(by_host, "resync", "Bring a mirrored room up to date", { jid }, function (present, _, peer)
		return present.actions.resync(peer);
	end);
	add_shell_command(by_host, "drop", "Close a link; the users of the mirror leave the room", { jid }, function (present, _, peer)
		return present.actions.drop(peer);
	end);
end

local function form()
	return dataforms.new {
		title = role.title;
		{ name = "FORM_TYPE"; type = "hidden"; value = node };
		{ name = "overview"; type = "text-multi"; label = "State" };
		{ name = "link"; type = "list-single"; label = role.peer };
		{ name = "action"; type = "list-single"; label = "Action"; value = "";
			options = { { value = ""; label = "None"; default = true }, { value = "resync"; label = "Bring up to date" },
				{ value = "drop"; label = "Close" } } };
	};
end

local function add_adhoc_command()
	module:depends("adhoc");
	local new_command = module:require "adhoc".new;
	local function initial_values()
		local options, known = {}, {};
		for _, link in ipairs(links()) do
			if not known[link.there] then options[#options + 1] = { value = link.there; label = link.there }; end
			known[link.there] = true;
		end
		return { overview = table.concat(overview(), "\n"); link = options };
	end
	local function submit(fields)
		local action = actions[fields.action];
		if not action then return { status = "completed"; info = "Nothing was changed" }; end
		local ok, text = action(fields.link or "");
		if not ok then return { status = "completed"; error = { message = text } }; end
		return { status = "completed"; info = text };
	end
	module:provides("adhoc", new_command(role.title, node, new_form_command(form(), initial_values, submit), "admin"));
end

local function count_states()
	local numbers = {};
	for _, link in ipairs(role.links()) do numbers[link.state] = (numbers[link.state] or 0) + 1; end
	return numbers;
end

-- shared: role (title; peer, what the other side is called; links, resync, drop: as in operation_mirror.lib.lua), metrics
return function (shared)
	role = shared.role;
	compat.on_started(module, add_shell_commands); -- not before the shell is there
	add_adhoc_command();
	shared.metrics.watch(states, count_states);
end;
