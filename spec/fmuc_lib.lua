-- SPDX-License-Identifier: MIT
-- Files of mod_fmuc without a server: load(name, module, [more]) runs lua/mod_fmuc/NAME.lib.lua with a module made by new().

local lib = {};

-- load(name, module, [globals]) -> what that file returns; globals: table of globals that the file sees instead of the usual ones
function lib.load(name, module, globals)
	local env = setmetatable({ module = module }, { __index = function (_, key) return globals and globals[key] or _G[key]; end });
	return assert(loadfile("lua/mod_fmuc/" .. name .. ".lib.lua", "t", env))();
end

local function nothing() end

-- new([given], [globals]) -> a module as files of mod_fmuc see it, with what they have left in it: hooks[event] = handler, sent = list of
-- stanzas, lines = list of levels and formats. given[name]: what module:require and module:depends return of that name instead of a real file
function lib.new(given, globals)
	local module = { host = "here.example"; hooks = {}; sent = {}; lines = {}; add_timer = nothing; fire_event = nothing; add_feature = nothing;
		hook_global = nothing };
	local loaded, tables = given or {}, {};
	function module.require(_, name)
		loaded[name] = loaded[name] or lib.load(name, module, globals);
		return loaded[name];
	end
	module.depends = module.require;
	function module.shared(_, name)
		tables[name] = tables[name] or {};
		return tables[name];
	end
	function module.hook(_, event, handler) module.hooks[event] = module.hooks[event] or handler; end
	function module.send(_, stanza) table.insert(module.sent, stanza); end
	function module.log(_, level, text) table.insert(module.lines, level .. " " .. text); end
	return module;
end

return lib;
