package = "prosody-relay"
version = "0.1.0-1"
source = {
	-- One tarball is the source of all four rocks; `make rocks` puts it into each source rock.
	url = "prosody-relay-0.1.0.tar.gz",
}
description = {
	summary = "Native core of the Prosody modules mod_client_proxy, mod_delegation and mod_fmuc",
	detailed = [[
		JID escaping, Jabber address translation and fan-out lists in C for the Prosody XMPP server (0.12 and 13.0, Lua 5.4).
		The modules that use it are rocks of their own.
	]],
	license = "MIT",
}
dependencies = { "lua ~> 5.4" }
build = {
	-- Not "builtin": that copies a source tree's whole lua/ folder into every rock, all plugins into the core's.
	type = "make",
	build_target = "all",
	build_variables = {
		BUILD = "build/rock",
		CFLAGS = "$(CFLAGS)",
		DEPS = "true", -- installs no packages
		LDFLAGS = "$(LIBFLAG)",
		LUA_CFLAGS = "-I$(LUA_INCDIR)",
	},
	install_pass = false,
	copy_directories = {}, -- not doc/, which is for developers
	install = {
		lua = {
			["prosody_relay.init"] = "lua/prosody_relay/init.lua",
			["prosody_relay.commands"] = "lua/prosody_relay/commands.lua",
			["prosody_relay.compat"] = "lua/prosody_relay/compat.lua",
			["prosody_relay.errors"] = "lua/prosody_relay/errors.lua",
			["prosody_relay.fair_cache"] = "lua/prosody_relay/fair_cache.lua",
			["prosody_relay.fanout"] = "lua/prosody_relay/fanout.lua",
			["prosody_relay.jat"] = "lua/prosody_relay/jat.lua",
			["prosody_relay.jid"] = "lua/prosody_relay/jid.lua",
			["prosody_relay.loading"] = "lua/prosody_relay/loading.lua",
			["prosody_relay.metrics"] = "lua/prosody_relay/metrics.lua",
			["prosody_relay.options"] = "lua/prosody_relay/options.lua",
			["prosody_relay.origin"] = "lua/prosody_relay/origin.lua",
			["prosody_relay.pending"] = "lua/prosody_relay/pending.lua",
			["prosody_relay.questions"] = "lua/prosody_relay/questions.lua",
			["prosody_relay.sessions"] = "lua/prosody_relay/sessions.lua",
			["prosody_relay.shares"] = "lua/prosody_relay/shares.lua",
			["prosody_relay.stanza"] = "lua/prosody_relay/stanza.lua",
			["prosody_relay.stores"] = "lua/prosody_relay/stores.lua",
			["prosody_relay.version"] = "lua/prosody_relay/version.lua",
		},
		lib = {
			["prosody_relay.jat_c"] = "build/rock/prosody_relay/jat_c.so",
			["prosody_relay.jid_c"] = "build/rock/prosody_relay/jid_c.so",
			["prosody_relay.recipients_c"] = "build/rock/prosody_relay/recipients_c.so",
			["prosody_relay.stanza_c"] = "build/rock/prosody_relay/stanza_c.so",
			["prosody_relay.template_c"] = "build/rock/prosody_relay/template_c.so",
		},
	},
}
