-- SPDX-License-Identifier: MIT
-- XEP-0355 (Namespace Delegation): the server hands the IQ requests of whole namespaces to a managing entity (a component, an account of
-- this server, or a remote service) and passes its answers on, unnoticed by the users. The administrator decides what is delegated (admin
-- mode), or each user for her account (client mode, client_mode.lib.lua).
--
-- One table of requests per entity (entity.lib.lua); hooks are added once, none per request. What an answer must look like is in
-- wrapper.lib.lua, when an entity is there in watch.lib.lua, what it is told in introduction.lib.lua, what service discovery shows in
-- nesting.lib.lua and bare_disco.lib.lua.

-- Delegations belong to virtual hosts. A component that has the module enabled, or inherits the global option, has none (R4, B6).
if module:get_host_type() ~= "local" then return; end

require "prosody_relay.loading".start(module, "delegation");
