package = "mod_fmuc"
version = "0.1.0-1"
source = {
	url = "prosody-relay-0.1.0.tar.gz",
}
description = {
	summary = "Federated MUC for Prosody (XEP-0289): one copy of each stanza per server on the link",
	license = "MIT",
}
dependencies = { "lua ~> 5.4", "prosody-relay ~> 0.1" }
build = {
	-- Nothing to compile. Not "builtin": that copies the source tree's whole lua/ folder into the rock.
	type = "none",
	copy_directories = {}, -- not doc/, which is for developers
	install = {
		lua = {
			["mod_fmuc"] = "lua/mod_fmuc/mod_fmuc.lua",
			["mod_fmuc.adoption"] = "lua/mod_fmuc/adoption.lib.lua",
			["mod_fmuc.allowpm"] = "lua/mod_fmuc/allowpm.lib.lua",
			["mod_fmuc.archive"] = "lua/mod_fmuc/archive.lib.lua",
			["mod_fmuc.avatar"] = "lua/mod_fmuc/avatar.lib.lua",
			["mod_fmuc.bandwidth"] = "lua/mod_fmuc/bandwidth.lib.lua",
			["mod_fmuc.bandwidth_mirror"] = "lua/mod_fmuc/bandwidth_mirror.lib.lua",
			["mod_fmuc.changes"] = "lua/mod_fmuc/changes.lib.lua",
			["mod_fmuc.commands"] = "lua/mod_fmuc/commands.lib.lua",
			["mod_fmuc.bounds"] = "lua/mod_fmuc/bounds.lib.lua",
			["mod_fmuc.crossing"] = "lua/mod_fmuc/crossing.lib.lua",
			["mod_fmuc.delivery"] = "lua/mod_fmuc/delivery.lib.lua",
			["mod_fmuc.for_many"] = "lua/mod_fmuc/for_many.lib.lua",
			["mod_fmuc.former"] = "lua/mod_fmuc/former.lib.lua",
			["mod_fmuc.from_master"] = "lua/mod_fmuc/from_master.lib.lua",
			["mod_fmuc.gate"] = "lua/mod_fmuc/gate.lib.lua",
			["mod_fmuc.ids"] = "lua/mod_fmuc/ids.lib.lua",
			["mod_fmuc.greeting"] = "lua/mod_fmuc/greeting.lib.lua",
			["mod_fmuc.journal"] = "lua/mod_fmuc/journal.lib.lua",
			["mod_fmuc.kicked"] = "lua/mod_fmuc/kicked.lib.lua",
			["mod_fmuc.links"] = "lua/mod_fmuc/links.lib.lua",
			["mod_fmuc.master"] = "lua/mod_fmuc/master.lib.lua",
			["mod_fmuc.messages_from_master"] = "lua/mod_fmuc/messages_from_master.lib.lua",
			["mod_fmuc.metrics"] = "lua/mod_fmuc/metrics.lib.lua",
			["mod_fmuc.mirror"] = "lua/mod_fmuc/mirror.lib.lua",
			["mod_fmuc.mirrored_room"] = "lua/mod_fmuc/mirrored_room.lib.lua",
			["mod_fmuc.operation_master"] = "lua/mod_fmuc/operation_master.lib.lua",
			["mod_fmuc.operation_mirror"] = "lua/mod_fmuc/operation_mirror.lib.lua",
			["mod_fmuc.outage"] = "lua/mod_fmuc/outage.lib.lua",
			["mod_fmuc.outbox"] = "lua/mod_fmuc/outbox.lib.lua",
			["mod_fmuc.passing"] = "lua/mod_fmuc/passing.lib.lua",
			["mod_fmuc.policy"] = "lua/mod_fmuc/policy.lib.lua",
			["mod_fmuc.presences"] = "lua/mod_fmuc/presences.lib.lua",
			["mod_fmuc.private"] = "lua/mod_fmuc/private.lib.lua",
			["mod_fmuc.private_master"] = "lua/mod_fmuc/private_master.lib.lua",
			["mod_fmuc.probe"] = "lua/mod_fmuc/probe.lib.lua",
			["mod_fmuc.quiet"] = "lua/mod_fmuc/quiet.lib.lua",
			["mod_fmuc.rejoin"] = "lua/mod_fmuc/rejoin.lib.lua",
			["mod_fmuc.requests"] = "lua/mod_fmuc/requests.lib.lua",
			["mod_fmuc.requests_to_room"] = "lua/mod_fmuc/requests_to_room.lib.lua",
			["mod_fmuc.resync"] = "lua/mod_fmuc/resync.lib.lua",
			["mod_fmuc.room_info"] = "lua/mod_fmuc/room_info.lib.lua",
			["mod_fmuc.room_iq"] = "lua/mod_fmuc/room_iq.lib.lua",
			["mod_fmuc.same"] = "lua/mod_fmuc/same.lib.lua",
			["mod_fmuc.seen"] = "lua/mod_fmuc/seen.lib.lua",
			["mod_fmuc.strays"] = "lua/mod_fmuc/strays.lib.lua",
			["mod_fmuc.traffic"] = "lua/mod_fmuc/traffic.lib.lua",
			["mod_fmuc.trust"] = "lua/mod_fmuc/trust.lib.lua",
			["mod_fmuc.watch"] = "lua/mod_fmuc/watch.lib.lua",
		},
	},
}
