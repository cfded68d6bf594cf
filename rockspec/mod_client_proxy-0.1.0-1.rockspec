package = "mod_client_proxy"
version = "0.1.0-1"
source = {
	url = "prosody-relay-0.1.0.tar.gz",
}
description = {
	summary = "Prosody component whose service is implemented by the resources of an ordinary account",
	license = "MIT",
}
dependencies = { "lua ~> 5.4", "prosody-relay ~> 0.1" }
build = {
	-- Nothing to compile. Not "builtin": that copies the source tree's whole lua/ folder into the rock.
	type = "none",
	copy_directories = {}, -- not doc/, which is for developers
	install = {
		lua = {
			["mod_client_proxy"] = "lua/mod_client_proxy/mod_client_proxy.lua",
			["mod_client_proxy.addresses"] = "lua/mod_client_proxy/addresses.lib.lua",
			["mod_client_proxy.admission"] = "lua/mod_client_proxy/admission.lib.lua",
			["mod_client_proxy.approval"] = "lua/mod_client_proxy/approval.lib.lua",
			["mod_client_proxy.breaks"] = "lua/mod_client_proxy/breaks.lib.lua",
			["mod_client_proxy.commands"] = "lua/mod_client_proxy/commands.lib.lua",
			["mod_client_proxy.copies"] = "lua/mod_client_proxy/copies.lib.lua",
			["mod_client_proxy.dialogues"] = "lua/mod_client_proxy/dialogues.lib.lua",
			["mod_client_proxy.disco"] = "lua/mod_client_proxy/disco.lib.lua",
			["mod_client_proxy.errors"] = "lua/mod_client_proxy/errors.lib.lua",
			["mod_client_proxy.features"] = "lua/mod_client_proxy/features.lib.lua",
			["mod_client_proxy.health"] = "lua/mod_client_proxy/health.lib.lua",
			["mod_client_proxy.messages"] = "lua/mod_client_proxy/messages.lib.lua",
			["mod_client_proxy.metrics"] = "lua/mod_client_proxy/metrics.lib.lua",
			["mod_client_proxy.outbound"] = "lua/mod_client_proxy/outbound.lib.lua",
			["mod_client_proxy.overdue"] = "lua/mod_client_proxy/overdue.lib.lua",
			["mod_client_proxy.pool"] = "lua/mod_client_proxy/pool.lib.lua",
			["mod_client_proxy.presence"] = "lua/mod_client_proxy/presence.lib.lua",
			["mod_client_proxy.proxy"] = "lua/mod_client_proxy/proxy.lib.lua",
			["mod_client_proxy.refusals"] = "lua/mod_client_proxy/refusals.lib.lua",
			["mod_client_proxy.relay"] = "lua/mod_client_proxy/relay.lib.lua",
			["mod_client_proxy.requests"] = "lua/mod_client_proxy/requests.lib.lua",
			["mod_client_proxy.settings"] = "lua/mod_client_proxy/settings.lib.lua",
			["mod_client_proxy.strategies"] = "lua/mod_client_proxy/strategies.lib.lua",
			["mod_client_proxy.subscribers"] = "lua/mod_client_proxy/subscribers.lib.lua",
			["mod_client_proxy.subscriptions"] = "lua/mod_client_proxy/subscriptions.lib.lua",
			["mod_client_proxy.targets"] = "lua/mod_client_proxy/targets.lib.lua",
			["mod_client_proxy.trials"] = "lua/mod_client_proxy/trials.lib.lua",
			["mod_client_proxy.users"] = "lua/mod_client_proxy/users.lib.lua",
		},
	},
}
