-- SPDX-License-Identifier: MIT
-- XEP-0355 (Namespace Delegation): the server hands the IQ requests of whole namespaces to a managing entity (a component, an account of
-- this server, or a remote service) and passes its answers on, unnoticed by the users. The administrator decides what is delegated (admin
-- mode), or each user for her account (client mode, "client/mode").
--
-- One table of requests per entity ("entity"); hooks are added once, none per request. What an answer must look like is in "wrapper", when
-- an entity is there in "watch", what it is told in "introduction", what service discovery shows in "disco/nesting" and "disco/bare".
-- The main part is "delegation".

-- Delegations belong to virtual hosts. A component that has the module enabled, or inherits the global option, has none (R4, B6).
if module:get_host_type() ~= "local" then return; end

require "prosody_relay.loading".start(module, "delegation");
