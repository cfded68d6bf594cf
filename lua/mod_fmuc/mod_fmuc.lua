-- SPDX-License-Identifier: MIT
-- Federated MUC: one copy of each stanza per server on the link, fan-out at the edge.
-- Generation 1: ProtoXEP "Federated MUC for constrained environments" 0.0.1 (also published as XEP-0289 v0.1).
--
--   Component "mirror.example.net" "fmuc"              the mirror role: local users join rooms of other servers through it
--   Component "rooms.example.net" "muc"                the master role: rooms of this service may be mirrored
--       modules_enabled = { "fmuc" }
--
-- The module is loaded as a whole or not at all (case F23): options are read before anything is hooked, and a failure later undoes what was.

local configmanager = require "core.configmanager";
local modulemanager = require "core.modulemanager";

local roles = { fmuc = "mirror"; muc = "master" };
local role = roles[configmanager.get(module.host, "component_module")];

if not role then
	error("mod_fmuc works as a component of its own (Component \"mirror.example.net\" \"fmuc\") or in the modules_enabled of a "
		.. "Component \"…\" \"muc\"; " .. module.host .. " is neither", 0);
end

local loaded = {};

-- lib(name) -> what the file name.lib.lua returns. As module:require, but the file runs once, so that its state and its hooks are there once.
function lib(name)
	if loaded[name] == nil then loaded[name] = module:require(name) or true; end
	return loaded[name];
end

-- The options, checked. A reload of mod_muc forces one of this module: the rooms of the running instance are gone, so that it cannot stay.
-- A wrong option then leaves those that it had.
local function read_settings()
	local readable, settings = pcall(lib, "settings");
	if readable then return settings; end
	local former = module.saved_state and module.saved_state.settings;
	if not former then error(settings, 0); end
	module:log("error", "%s; the module goes on with the options that it had", tostring(settings));
	return former;
end

local settings = read_settings();
loaded.settings = settings;

-- Prosody forgets a module that failed to load, but not its hooks, timers and items
local function undo()
	for object, event, handler in module.event_handlers:iter(nil, nil, nil) do object.remove_handler(event, handler); end
	rawset(module, "loaded", false); -- which ends timers
	for key, items in pairs(module.items or {}) do
		for i = #items, 1, -1 do module:remove_item(key, items[i]); end
	end
end

local loads, err = xpcall(lib, debug.traceback, role .. "/" .. role);
if not loads then
	undo();
	error(err, 0);
end

local save, modules = module.save, prosody.hosts[module.host].modules;
local muc = modules.muc;

-- Raises where the next instance would fail to load: then Prosody keeps this one.
function module.save()
	if modules.muc == muc then
		module:require "settings";
		for name in pairs(loaded) do
			assert(modulemanager.loader:load_code_ext(module.name, name, "lib.lua", {}));
		end
	end
	local saved = save();
	saved.settings = settings;
	return saved;
end
