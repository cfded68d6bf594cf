-- SPDX-License-Identifier: MIT
-- Federated MUC: one copy of each stanza per server on the link, fan-out at the edge.
-- Generation 1: ProtoXEP "Federated MUC for constrained environments" 0.0.1 (also published as XEP-0289 v0.1).
--
--   Component "mirror.example.net" "fmuc"              the mirror role: local users join rooms of other servers through it
--   Component "rooms.example.net" "muc"                the master role: rooms of this service may be mirrored
--       modules_enabled = { "fmuc" }

local configmanager = require "core.configmanager";

local component_module = configmanager.get(module.host, "component_module");

if component_module == "fmuc" then
	module:require "mirror";
elseif component_module == "muc" then
	module:require "master";
else
	error("mod_fmuc works as a component of its own (Component \"mirror.example.net\" \"fmuc\") or in the modules_enabled of a "
		.. "Component \"…\" \"muc\"; " .. module.host .. " is neither", 0);
end
