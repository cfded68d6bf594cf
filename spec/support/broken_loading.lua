-- SPDX-License-Identifier: MIT
-- Modules that fail at each step while they load (case F23), and what they leave behind in the server.

local assert = require "luassert";

local broken_loading = {};

-- Defines in the server: name, host; left() -> list of what there is of the module: its event handlers (of any host and of the server);
-- its filters, items, running timers and shell commands
local left = [[
	local name, host = %q, %q;
	local api, modulemanager = require "core.moduleapi", require "core.modulemanager";
	local timers, items = {}, {}; -- those that the module adds from now on

	local function is_ours(handler)
		local source = debug.getinfo(handler, "S").source;
		if source:find("/mod_" .. name .. "/", 1, true) or source:find("/prosody_relay/", 1, true) then return true; end
		-- what Prosody hooks for a module
		if not source:find("moduleapi", 1, true) then return false; end
		for i = 1, math.huge do
			local variable, value = debug.getupvalue(handler, i);
			if not variable then return false; end
			if variable == "self" and value.name == name then return true; end
		end
	end

	local function left()
		local found = {};
		local function look(what, handler)
			if is_ours(handler) then
				local info = debug.getinfo(handler, "S");
				table.insert(found, ("%%s %%s:%%d"):format(what, info.short_src:match("[^/]*$"), info.linedefined));
			end
		end
		local function look_at_events(where, events)
			for event, handlers in pairs(events._event_map) do
				for handler in pairs(handlers) do look(where .. " " .. event, handler); end
			end
		end
		look_at_events("server", prosody.events);
		for each, data in pairs(prosody.hosts) do look_at_events(each, data.events); end
		for _, session in pairs(prosody.full_sessions) do
			for _, list in pairs(session.filters or {}) do
				for _, filter in ipairs(list) do look("filter", filter); end
			end
		end
		for item, key in pairs(items) do table.insert(found, "item " .. key); end
		for _, timer in ipairs(timers) do
			if timer.module_env.loaded ~= false then look("timer", timer.callback); end
		end
		if api.shared({ name = name; host = host }, "/*/" .. name .. "/commands")[host] then table.insert(found, "shell commands"); end
		return found;
	end
]];

-- Defines fail_at(n, [early]): the n-th step of the module from now on raises an error. A step is to hook, to add something or to send.
-- Steps do not count whose traceback has one of the texts in the list.
-- Defines steps() -> number of steps since fail_at.
local failing = [[
	local count, failing, early = 0, nil, {};
	local function is_early()
		local traceback = early[1] and debug.traceback();
		for _, text in ipairs(early) do
			if traceback:find(text, 1, true) then return true; end
		end
	end
	for _, method in ipairs { "add_item", "add_timer", "hook_object_event", "send" } do
		local original = api[method];
		api[method] = function (self, ...)
			if self.name ~= name or is_early() then return original(self, ...); end
			count = count + 1;
			if count == failing then error("deliberate failure", 0); end
			-- those of the shell belong to the server for good, and find out which hosts have the module
			if method == "add_item" and (...) ~= "shell-command" then items[select(2, ...)] = (...); end
			local result = original(self, ...);
			if method == "add_timer" then table.insert(timers, result); end
			return result;
		end
	end
	local remove_item = api.remove_item;
	function api.remove_item(self, key, item)
		items[item] = nil;
		return remove_item(self, key, item);
	end
	-- Prosody takes the items of a module that it unloads itself
	prosody.hosts[host].events.add_wrapper(false, function (handlers, event, data)
		if event:find("^item%-removed/") then items[data.item] = nil; end
		return handlers(event, data);
	end);

	local function fail_at(n, texts) count, failing, early, timers = 0, n, texts or {}, {}; end
	local function steps() return count; end
]];

local function allow_failures(node, name)
	node:allow_log("deliberate failure");
	node:allow_log("Error saving module '[^']*:" .. name .. "' state");
	node:allow_log("Aborting reload due to error");
end

-- left(node, name, host) -> list of what there is of the module in the server
function broken_loading.left(node, name, host)
	return node:eval(left:format(name, host) .. "return left();");
end

-- check(node, name, host, [stays]): the module must be loaded. It is loaded anew and fails at its first step. Then it is loaded and fails at its
-- second step, and so on until it loads. The same is done with a reload. Nothing may be left each time. In the end the module is loaded.
--   stays: pattern of what is left on purpose
function broken_loading.check(node, name, host, stays)
	allow_failures(node, name);
	local result = node:eval(left:format(name, host) .. failing .. [[
		local result = { left = {} };
		local function is_loaded() return modulemanager.is_loaded(host, name); end
		local function look(how)
			for _, what in ipairs(left()) do table.insert(result.left, ("%s, step %s: %s"):format(how, failing, what)); end
		end
		local n = 0;
		repeat
			n = n + 1;
			fail_at(nil);
			modulemanager.unload(host, name);
			look("unloaded");
			fail_at(n);
			modulemanager.load(host, name);
			if not is_loaded() then look("load"); end
		until steps() < n;
		result.steps = n;
		n = 0;
		repeat
			n = n + 1;
			fail_at(nil);
			if not is_loaded() then modulemanager.load(host, name); end
			fail_at(n);
			modulemanager.reload(host, name);
			if not is_loaded() then look("reload"); end
		until steps() < n;
		fail_at(nil);
		result.is_loaded = is_loaded();
		return result;
	]]);
	for i = #result.left, 1, -1 do
		if stays and result.left[i]:find(stays) then table.remove(result.left, i); end
	end
	assert.same({}, result.left);
	assert.is_true(result.is_loaded);
	assert.is_true(result.steps > 20);
end

-- reload(node, name, host, n, early) -> whether the module is loaded after a reload in which its n-th step failed; whether it had so many steps.
-- Early steps do not count, whose traceback has one of the texts: before they are over, nothing could answer what was in flight.
-- load(node, name, host): the module must not be loaded
function broken_loading.reload(node, name, host, n, early)
	allow_failures(node, name);
	local result = node:eval(left:format(name, host) .. failing .. ([[
		fail_at(%d, { "%s" });
		modulemanager.reload(host, name);
		local done = steps();
		fail_at(nil);
		return { is_loaded = modulemanager.is_loaded(host, name) and true or false; steps = done };
	]]):format(n, table.concat(early, '", "')));
	return result.is_loaded, result.steps >= n;
end

function broken_loading.load(node, name, host)
	node:eval(("assert(require 'core.modulemanager'.load(%q, %q))"):format(host, name));
end

-- break_file(node, name, file): from now on that file of the module cannot be loaded, and all others can
function broken_loading.break_file(node, name, file)
	allow_failures(node, name);
	node:eval(([[
		local loader = require "core.modulemanager".loader;
		loader.load_code_ext = nil; -- the one before
		local load_code_ext = loader.load_code_ext;
		function loader:load_code_ext(plugin, resource, ...)
			if plugin == %q and resource == %q then return nil, "deliberate failure of " .. resource; end
			return load_code_ext(self, plugin, resource, ...);
		end
	]]):format(name, file));
end

return broken_loading;
