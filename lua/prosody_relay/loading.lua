-- SPDX-License-Identifier: MIT
-- Loads a module of several files as a whole or not at all (case F23): when loading fails, nothing of the module stays. A reload ends the
-- running instance only if the options are right and all files compile.
--
-- The module has a file settings.lib.lua, which returns the options, or raises what is wrong with them. Its field `format` is the version of what
-- module.save returns. A version of the module with another format cannot go on with that, so a reload is refused.

local lfs = require "lfs";

local modulemanager = require "core.modulemanager";
local commands = require "prosody_relay.commands";

local loading = {};

-- Prosody forgets a module that failed to load, but keeps its hooks, timers and items. It may have failed before it defined module.unload.
local function undo(module)
	module.reloading = false; -- no instance follows
	if module.unload then
		local ok, err = pcall(module.unload);
		if not ok then module:log("warn", "What had been loaded could not be unloaded: %s", err); end
	end
	commands.stop(module);
	module.loaded = false; -- ends its timers
	for object, event, handler in module.event_handlers:iter(nil, nil, nil) do object.remove_handler(event, handler); end
	for key, items in pairs(module.items or {}) do
		for i = #items, 1, -1 do module:remove_item(key, items[i]); end
	end
end

-- Calls the function with the name of each library file in the directory, as module:require wants it
local function each_library(directory, callback, prefix)
	prefix = prefix or "";
	for entry in lfs.dir(directory..prefix) do
		-- LuaRocks installs name.lib.lua as name.lua
		local name = entry:match("^([^.]+)%.lib%.lua$") or entry:match("^([^.]+)%.lua$");
		if name then
			callback(prefix..name);
		elseif entry:match("^[^.]+$") and lfs.attributes(directory..prefix..entry, "mode") == "directory" then
			each_library(directory, callback, prefix..entry.."/");
		end
	end
end

-- start(module, name, [is_forced]): runs the file settings.lib.lua, then name.lib.lua, which loads the others and defines module.save.
-- From then on module:require runs each file once, so that its state and its hooks are there once.
--   is_forced() -> whether a reload must happen even with a wrong option: the module then keeps the options that it had
function loading.start(module, name, is_forced)
	local require, files = module.require, {};
	function module.require(self, file)
		if files[file] == nil then files[file] = require(self, file) or true; end
		return files[file];
	end

	local function load()
		local readable, err = pcall(module.require, module, "settings");
		if not readable then
			files.settings = module.saved_state and module.saved_state.settings;
			if not files.settings then error(err, 0); end
			module:log("error", "%s; the module goes on with the options that it had", tostring(err));
		end
		if module.saved_state and module.saved_state.format ~= files.settings.format then
			module:log("warn", "The state of an earlier version cannot be used; the module begins anew");
			module.saved_state = nil;
		end
		module:require(name);
	end

	local loads, err = xpcall(load, debug.traceback);
	if not loads then
		undo(module);
		error(err, 0);
	end

	local function compile(file)
		local code, path = modulemanager.loader:load_code_ext(module.name, file, "lib.lua", {});
		return code and path or error(path, 0);
	end

	-- The options of the next instance; raises when a file of it does not compile, or an option is wrong. An upgrade may have brought files and
	-- removed some, so the folder says which files there are. The options are read last, since that may load other modules. They are read by the
	-- files as they are now, of which the running instance keeps its own copies.
	local function next_settings()
		each_library(compile("settings"):match("^.*/"), compile);
		local kept = files;
		files = {};
		local readable, settings = pcall(module.require, module, "settings");
		files = kept;
		return readable and settings or error(settings, 0);
	end

	local save, unload, is_handed_on = module.save, module.unload, false;
	-- Raises when the next instance cannot go on: then Prosody keeps this one
	function module.save()
		is_handed_on = false;
		local forced = is_forced and is_forced();
		local readable, settings = pcall(next_settings);
		if not readable and not forced then error(settings, 0); end
		if readable and settings.format ~= files.settings.format then
			if forced then return {}; end -- the next instance cannot use the state
			error("This version of the module cannot go on with the state of the running one: restart Prosody", 0);
		end
		local saved = save();
		saved.format, saved.settings = files.settings.format, forced and files.settings;
		is_handed_on = true;
		return saved;
	end

	-- When Prosody reloads all the same, nothing goes on: this instance answers who waits
	function module.unload()
		if module.reloading and not is_handed_on then module.reloading = false; end
		return unload();
	end
end

return loading;
