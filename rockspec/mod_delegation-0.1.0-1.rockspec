package = "mod_delegation"
version = "0.1.0-1"
source = {
	url = "prosody-relay-0.1.0.tar.gz",
}
description = {
	summary = "Namespace delegation for Prosody (XEP-0355)",
	license = "MIT",
}
dependencies = { "lua ~> 5.4", "prosody-relay ~> 0.1" }
build = {
	-- Nothing to compile. Not "builtin": that copies the source tree's whole lua/ folder into the rock.
	type = "none",
	copy_directories = {}, -- not doc/, which is for developers
	install = {
		lua = {
			["mod_delegation"] = "lua/mod_delegation/mod_delegation.lua",
			["mod_delegation.blocking"] = "lua/mod_delegation/blocking.lib.lua",
			["mod_delegation.client.challenges"] = "lua/mod_delegation/client/challenges.lib.lua",
			["mod_delegation.client.configure"] = "lua/mod_delegation/client/configure.lib.lua",
			["mod_delegation.client.consent"] = "lua/mod_delegation/client/consent.lib.lua",
			["mod_delegation.client.grants"] = "lua/mod_delegation/client/grants.lib.lua",
			["mod_delegation.client.mode"] = "lua/mod_delegation/client/mode.lib.lua",
			["mod_delegation.client.namespaces"] = "lua/mod_delegation/client/namespaces.lib.lua",
			["mod_delegation.client.rates"] = "lua/mod_delegation/client/rates.lib.lua",
			["mod_delegation.client.shares"] = "lua/mod_delegation/client/shares.lib.lua",
			["mod_delegation.commands"] = "lua/mod_delegation/commands.lib.lua",
			["mod_delegation.config"] = "lua/mod_delegation/config.lib.lua",
			["mod_delegation.delegation"] = "lua/mod_delegation/delegation.lib.lua",
			["mod_delegation.disco.bare"] = "lua/mod_delegation/disco/bare.lib.lua",
			["mod_delegation.disco.capture"] = "lua/mod_delegation/disco/capture.lib.lua",
			["mod_delegation.disco.nesting"] = "lua/mod_delegation/disco/nesting.lib.lua",
			["mod_delegation.display"] = "lua/mod_delegation/display.lib.lua",
			["mod_delegation.entity"] = "lua/mod_delegation/entity.lib.lua",
			["mod_delegation.errors"] = "lua/mod_delegation/errors.lib.lua",
			["mod_delegation.ids"] = "lua/mod_delegation/ids.lib.lua",
			["mod_delegation.introduction"] = "lua/mod_delegation/introduction.lib.lua",
			["mod_delegation.metrics"] = "lua/mod_delegation/metrics.lib.lua",
			["mod_delegation.pep"] = "lua/mod_delegation/pep.lib.lua",
			["mod_delegation.privilege"] = "lua/mod_delegation/privilege.lib.lua",
			["mod_delegation.requests"] = "lua/mod_delegation/requests.lib.lua",
			["mod_delegation.settings"] = "lua/mod_delegation/settings.lib.lua",
			["mod_delegation.watch"] = "lua/mod_delegation/watch.lib.lua",
			["mod_delegation.wrapper"] = "lua/mod_delegation/wrapper.lib.lua",
			["mod_delegation.written_to"] = "lua/mod_delegation/written_to.lib.lua",
		},
	},
}
