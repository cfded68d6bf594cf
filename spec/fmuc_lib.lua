-- SPDX-License-Identifier: MIT
-- The files of mod_fmuc without a server.

-- fmuc_lib(module, [known]) -> lib, as that of mod_fmuc.lua: lib(name) runs the file name.lib.lua once, and returns what the file returns
--   module: in place of Prosody's; known: [name] = what lib() returns for that name
return function (module, known)
	local loaded = {};
	for name, value in pairs(known or {}) do loaded[name] = value; end
	local env = setmetatable({ module = module }, { __index = _G });
	function env.lib(name)
		if loaded[name] == nil then loaded[name] = assert(loadfile("lua/mod_fmuc/" .. name .. ".lib.lua", "t", env))() or true; end
		return loaded[name];
	end
	return env.lib;
end;
