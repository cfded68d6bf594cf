-- Prosody's conventions (its own .luacheckrc), for Lua 5.4 only. Plugins see the part of the module API that 0.12 and 13.0 share:
-- what only one of them has is reached through prosody_relay.compat.
std = "lua54c"
max_line_length = 150
codes = true
exclude_files = { "build/", "rocks/" }
ignore = { "411/err", "421/err", "411/ok", "421/ok" }

local plugins = {
	module = true,
	allow_defined_top = true,
	read_globals = {
		"hosts", "prosody",

		-- module instance
		"module.event_handlers", "module.global", "module.host", "module.items", "module.loaded", "module.name", "module.path",
		"module.reloading", "module.saved_state",

		-- module API
		"module.add_extension", "module.add_feature", "module.add_identity", "module.add_item", "module.add_timer", "module.broadcast",
		"module.context", "module.daily", "module.depends", "module.fire_event", "module.get_directory", "module.get_host",
		"module.get_host_items", "module.get_host_type", "module.get_name", "module.get_option", "module.get_option_array",
		"module.get_option_boolean", "module.get_option_inherited_set", "module.get_option_number", "module.get_option_path",
		"module.get_option_scalar", "module.get_option_set", "module.get_option_string", "module.get_status", "module.handle_items",
		"module.hook", "module.hook_global", "module.hook_object_event", "module.hook_tag", "module.hourly", "module.load_resource",
		"module.log", "module.log_status", "module.measure", "module.metric", "module.open_store", "module.provides",
		"module.remove_item", "module.require", "module.send", "module.send_iq", "module.set_global", "module.set_status",
		"module.shared", "module.unhook", "module.unhook_object_event", "module.weekly", "module.wrap_event", "module.wrap_global",
		"module.wrap_object_event",
	},
	globals = {
		-- what a module may define
		"module.add_host", "module.command", "module.environment", "module.load", "module.ready", "module.restore", "module.save",
		"module.unload",
	},
}

files["lua/mod_*/"] = plugins
files["lua/mod_fmuc/"] = { globals = { "lib" } }
files["spec/support/bed/plugins/"] = plugins
files["lua/prosody_relay/"] = { read_globals = { "prosody" } }
files["spec/"] = { std = "+busted" }
files["bench/"] = { read_globals = { "prosody" } }
files["spec/native/"] = { allow_defined_top = true } -- luaunit finds its suites as globals Test...
files["rockspec/"] = { std = "rockspec" }
files[".busted"] = { std = "lua54c+lua51c" }
