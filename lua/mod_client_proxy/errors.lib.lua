-- SPDX-License-Identifier: MIT
-- Errors that this module sends to users and implementing clients (prosody_relay.errors). Errors of the other side are passed on unchanged.

return require "prosody_relay.errors".new(module, {
	-- about stanzas that the service does not take
	["malformed-request"] = { "cancel", "bad-request", "An IQ needs an id, a type, and in a request one payload" };
	["no-presence"] = { "cancel", "feature-not-implemented", "This service does not handle presence" };
	["no-messages"] = { "cancel", "feature-not-implemented", "This service does not handle messages" };
	["no-requests-to-users"] = { "cancel", "feature-not-implemented", "The implementing client cannot send requests to users" };
	["service-is-no-room"] = { "cancel", "service-unavailable", "This service is no chat room" };
	["user-is-no-room"] = { "cancel", "service-unavailable", "Users are no chat rooms" };

	-- about the implementing client
	["no-client-online"] = { "cancel", "service-unavailable", "No implementing client is online" };
	["no-client-reachable"] = { "cancel", "service-unavailable", "No implementing client can be reached" };
	["client-gone"] = { "cancel", "service-unavailable", "The implementing client has gone" };
	["client-disconnected"] = { "cancel", "service-unavailable", "The implementing client has lost its connection" };
	["client-silent"] = { "wait", "remote-server-timeout", "The implementing client did not answer" };
	["shutting-down"] = { "cancel", "service-unavailable", "The service is shutting down" };

	-- about users, for the implementing client
	["user-unknown"] = { "cancel", "item-not-found", "That user has not written to the service recently" };
	["user-silent"] = { "wait", "remote-server-timeout", "The user did not answer" };

	-- about limits
	["too-many-requests"] = { "wait", "resource-constraint", "Too many requests are waiting for an answer" };
	["too-many-requests-of-user"] = { "wait", "resource-constraint", "Too many requests of this user are waiting for an answer" };
	["too-many-requests-of-server"] = { "wait", "resource-constraint", "Too many requests of this server's users are waiting for an answer" };
	["too-many-requests-of-servers"] = { "wait", "resource-constraint", "Too many requests of servers under one domain are waiting for an answer" };
	["too-long-requests"] = { "wait", "resource-constraint", "Too long requests of this user are waiting for an answer" };
	["too-many-requests-for-each"] = { "wait", "resource-constraint", "Too many requests are waiting for each implementing client" };
	["too-many-requests-to-users"] = { "wait", "resource-constraint", "Too many requests to users are waiting for an answer" };
	["too-many-subscriptions"] = { "wait", "resource-constraint", "Too many subscriptions" };
	["subscription-not-saved"] = { "wait", "internal-server-error", "The subscription could not be saved" };
});
