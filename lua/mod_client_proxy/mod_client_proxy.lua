-- SPDX-License-Identifier: MIT
-- mod_client_proxy: a component whose service is implemented by the resources of an ordinary account.
-- Numbers (P5 ...) are those of doc/requirements; see README.markdown for what it does.
--
-- Every stanza to the component passes through proxy.lib. Each part does one job:
--   settings.lib       options
--   targets.lib        presence of the target accounts; subscriptions.lib: subscriptions to it
--   pool.lib           their resources
--   admission.lib      which of them may be asked, with features.lib; health.lib: which are left out for a while
--   addresses.lib      address translation
--   relay.lib          requests and answers: limits, failover; breaks.lib: what may be asked again; trials.lib: which resource is silent
--   strategies.lib     which resource to ask; dialogues.lib: sessions that stay with a resource
--   requests.lib       requests in flight, with copies.lib; overdue.lib: those that were given up
--   refusals.lib       replies without a request
--   errors.lib         all errors that this module words
--   metrics.lib        what is counted; commands.lib: what admins can do
--   users.lib          users who wrote recently
--   messages.lib       messages in both directions (option)
--   outbound.lib       requests of the implementing client to users (option)
--   presence.lib       users who subscribe to the proxy (option); subscribers.lib: how they are stored
--   disco.lib          service discovery and pings that the module answers (option)

if module:get_host_type() ~= "component" then
	error("mod_client_proxy has to be loaded as a component, e.g. Component \"proxy.example.com\" \"client_proxy\"", 0);
end

require "prosody_relay.loading".start(module, "proxy");
