-- SPDX-License-Identifier: MIT
-- What admins see of a module and do with it while the server runs: an overview, and actions on one of its items. There are commands of
-- Prosody's shell (13.0), and one ad-hoc command of the module's host (XEP-0050, both versions). Only admins of the host may use that.

local dataforms = require "util.dataforms";
local new_form_command = require "util.adhoc".new_initial_data_form;

local compat = require "prosody_relay.compat";

local commands = {};

-- In 13.0 the shell warns of every reload of a module on a host with commands. It does not see commands of a component. So each host adds
-- the same commands to the whole server. Their first argument names the host.
-- COMPAT w/0.12: its shell ignores commands of modules
local function add_shell_commands(module, offer)
	local by_host = module:shared(("/*/%s/commands"):format(module.name));
	by_host[module.host] = by_host[module.host] or {};
	by_host[module.host][offer.list] = offer;
	local server = module:context("*");
	-- items of its own: the module's items belong to the host; a plain assignment would go to the module
	rawset(server, "items", {});
	local function add(name, desc, args, run)
		table.insert(args, 1, { name = "host"; type = "string" });
		server:add_item("shell-command", {
			section = module.name; section_desc = ("%s (mod_%s)"):format(offer.title, module.name);
			name = name; desc = desc; args = args;
			handler = function (shell, host, ...)
				local present = by_host[host] and by_host[host][offer.list];
				if not present then return nil, ("mod_%s is not loaded on %s"):format(module.name, tostring(host)); end
				return run(present, shell, ...);
			end;
		});
	end
	add(offer.list, offer.list_desc, {}, function (present, shell)
		for _, line in ipairs(present.overview()) do shell.session.print(line); end
		return true;
	end);
	for i, action in ipairs(offer.actions) do
		local args = { { name = offer.subject; type = "string" } };
		for _, arg in ipairs(action.args or {}) do args[#args + 1] = { name = arg; type = "string" }; end
		add(action.name, action.desc, args, function (present, _, ...) return present.actions[i].run(...); end);
	end
end

local function form_of(offer)
	local options = { { value = ""; label = "None"; default = true } };
	for _, action in ipairs(offer.actions) do options[#options + 1] = { value = action.name; label = action.label }; end
	local form = {
		title = offer.title;
		{ name = "FORM_TYPE"; type = "hidden"; value = offer.node };
		{ name = "overview"; type = "text-multi"; label = "State" };
		{ name = offer.subject; type = offer.subjects and "list-single" or "text-single"; label = offer.subject_label };
		{ name = "action"; type = "list-single"; label = "Action"; value = ""; options = options };
	};
	for _, field in ipairs(offer.fields or {}) do form[#form + 1] = { name = field.name; type = "text-single"; label = field.label }; end
	return dataforms.new(form);
end

local function add_adhoc_command(module, offer)
	module:depends("adhoc");
	local new_command = module:require "adhoc".new;
	local function initial_values()
		if not offer.subjects then return { overview = table.concat(offer.overview(), "\n") }; end
		local choices = {};
		for _, subject in ipairs(offer.subjects()) do choices[#choices + 1] = { value = subject; label = subject }; end
		return { overview = table.concat(offer.overview(), "\n"); [offer.subject] = choices };
	end
	local function submit(fields)
		for _, action in ipairs(offer.actions) do
			if action.name == fields.action then
				local values = {};
				for i, arg in ipairs(action.args or {}) do values[i] = fields[arg] or ""; end
				local ok, text = action.run(fields[offer.subject] or "", table.unpack(values));
				if not ok then return { status = "completed"; error = { message = text } }; end
				return { status = "completed"; info = text };
			end
		end
		return { status = "completed"; info = "Nothing was changed" };
	end
	module:provides("adhoc", new_command(offer.title, offer.node, new_form_command(form_of(offer), initial_values, submit), "admin"));
end

-- start(module, offer): offers the commands from now on
--   offer.title: title of the overview; offer.node: of the ad-hoc command; offer.overview() -> array of lines
--   offer.list, offer.list_desc: name and help of the shell command that prints them
--   offer.subject, offer.subject_label: name and label of the item that an action needs; offer.subjects() -> array of strings, or nil as the
--   function: any text may be the subject
--   offer.actions: array of { name, label (in the form), desc (help of the shell), args (names of further texts), run(subject, text…) -> true,
--   text; or nil, text }
--   offer.fields: array of { name, label } of these texts in the form
function commands.start(module, offer)
	-- after the shell is loaded
	compat.on_started(module, function () add_shell_commands(module, offer); end);
	add_adhoc_command(module, offer);
end

-- stop(module): the module is unloaded
function commands.stop(module)
	module:shared(("/*/%s/commands"):format(module.name))[module.host] = nil;
end

return commands;
