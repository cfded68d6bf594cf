-- SPDX-License-Identifier: MIT
-- Reads what a module has stored. A file may be damaged, or written by another program: it must not keep a server from starting or
-- stopping. Unusable data is kept under another name for the admin, and one line in the log says so. The module starts without it.

local datamanager = require "util.datamanager";

local stores = {};

-- Moves the data out of the way -> where it is now, or nil
local function set_aside(module, name, key, data)
	local path = datamanager.getpath(key, module.host, name, "dat");
	if os.rename(path, path .. ".broken") then return path .. ".broken"; end
	-- the storage does not use files
	local aside = data ~= nil and module:open_store(name .. "_broken");
	if aside and aside:set(key, type(data) == "table" and data or { data = data }) then
		module:open_store(name):set(key, nil);
		return ("%s_broken"):format(name);
	end
end

-- read(module, name, key, is_valid) -> data, or nil when there is none or it is unusable
--   name: of the store (keyval); key: user, or nil for the host itself
--   is_valid(data) -> boolean; may raise
function stores.read(module, name, key, is_valid)
	local opened, data, err = pcall(function () return module:open_store(name):get(key); end);
	if opened and data == nil and not err then return nil; end
	if opened and data ~= nil then
		local checked, valid = pcall(is_valid, data);
		if checked and valid then return data; end
		err = "it is not what this module has written";
	elseif not opened then
		err = data;
		data = nil;
	end
	local aside = set_aside(module, name, key, data);
	module:log("error", "The stored data '%s'%s cannot be used (%s); %s, and the module starts without it", name, key and " of " .. key or "", err,
		aside and "it is kept as " .. aside or "it could not be put aside");
	return nil;
end

return stores;
