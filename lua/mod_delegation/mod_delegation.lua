-- SPDX-License-Identifier: MIT
-- XEP-0355 (Namespace Delegation): the server sends all IQ requests of a namespace to a managing entity and passes its answers on. The
-- entity is a component, an account of this server, or a remote service. Users do not notice it. The administrator decides what is delegated
-- (admin mode), or each user for her account (client mode, "client/mode").
--
-- The main part is "delegation". Each entity has one table of requests ("entity"); hooks are added once, not for each request. "wrapper" checks
-- answers. "watch" knows when an entity is available, and "introduction" what it is told. "disco/nesting" and "disco/bare" change what service
-- discovery shows.

-- Only virtual hosts have delegations. A component has none, even if it enables the module or inherits the global option (R4, B6).
if module:get_host_type() ~= "local" then return; end

require "prosody_relay.loading".start(module, "delegation");
