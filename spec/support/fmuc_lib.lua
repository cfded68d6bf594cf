-- SPDX-License-Identifier: MIT
-- Files of mod_fmuc without a server.

local fmuc_lib = {};

local function nothing() end

-- module([given]) -> a module as files of mod_fmuc see it, with what they have left in it: sent = list of stanzas, lines = list of levels and
-- formats. given[name]: what module:depends returns of that name
function fmuc_lib.module(given)
	local module = { host = "here.example"; sent = {}; lines = {}; add_timer = nothing; add_feature = nothing; fire_event = nothing;
		hook_global = nothing };
	function module.depends(_, name) return given and given[name]; end
	function module.send(_, stanza) table.insert(module.sent, stanza); end
	function module.log(_, level, text) table.insert(module.lines, level .. " " .. text); end
	return module;
end

-- new(module, [known], [globals]) -> lib, as that of mod_fmuc.lua: lib(name) runs the file name.lib.lua once, and returns what the file returns
--   module: in place of Prosody's; known[name]: what lib() returns for that name; globals: what files see instead of the usual ones
function fmuc_lib.new(module, known, globals)
	local loaded = {};
	for name, value in pairs(known or {}) do loaded[name] = value; end
	local env = setmetatable({ module = module }, { __index = function (_, key) return globals and globals[key] or _G[key]; end });
	function env.lib(name)
		if loaded[name] == nil then loaded[name] = assert(loadfile("lua/mod_fmuc/" .. name .. ".lib.lua", "t", env))() or true; end
		return loaded[name];
	end
	return env.lib;
end

return fmuc_lib;
