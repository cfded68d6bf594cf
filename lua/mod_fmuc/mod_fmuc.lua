-- SPDX-License-Identifier: MIT
-- Federated MUC: one copy of each stanza per server on the link, fan-out at the edge.
-- Generation 1: ProtoXEP "Federated MUC for constrained environments" 0.0.1 (also published as XEP-0289 v0.1).
--
--   Component "mirror.example.net" "fmuc"              the mirror role: local users join rooms of other servers through it
--   Component "rooms.example.net" "muc"                the master role: rooms of this service may be mirrored
--       modules_enabled = { "fmuc" }

local configmanager = require "core.configmanager";
local loading = require "prosody_relay.loading";

local roles = { fmuc = "mirror"; muc = "master" };
local role = roles[configmanager.get(module.host, "component_module")];

if not role then
	error("mod_fmuc works as a component of its own (Component \"mirror.example.net\" \"fmuc\") or in the modules_enabled of a "
		.. "Component \"…\" \"muc\"; " .. module.host .. " is neither", 0);
end

-- lib(name) -> what the file name.lib.lua returns
function lib(name)
	return module:require(name);
end

local modules, muc = prosody.hosts[module.host].modules, nil;

-- A reload of mod_muc removes the rooms of the running instance. So this module reloads too.
loading.start(module, role .. "/" .. role, function () return modules.muc ~= muc; end);
muc = modules.muc;
