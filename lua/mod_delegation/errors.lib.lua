-- SPDX-License-Identifier: MIT
-- Errors that this module sends to users and entities (prosody_relay.errors). Errors of entities to users are passed on unchanged.

return require "prosody_relay.errors".new(module, {
	-- to users whose requests are delegated, without a text: the server's own answers have none
	["entity-not-available"] = { "cancel", "service-unavailable" };
	["entity-without-good-answer"] = { "cancel", "service-unavailable" };
	["too-many-unanswered"] = { "wait", "resource-constraint" };

	-- to users in client mode
	["form-answer-invalid"] = { "modify", "not-acceptable", "This does not answer a question that is open" };
	["no-session"] = { "auth", "forbidden", "Only a connected client of this account can do this" };

	-- to entities that ask for namespaces of a user
	["request-not-get"] = { "modify", "bad-request", "The request must be of type get" };
	["no-account-named"] = { "modify", "bad-request", "The attribute 'to' of the query must name an account" };
	["no-namespace-named"] = { "modify", "bad-request", "The query must have a <delegate/>, and each of these a namespace" };
	["address-of-no-account"] = { "modify", "jid-malformed", "The attribute 'to' of the query must be the bare JID of an account" };
	["account-not-here"] = { "cancel", "item-not-found", "The attribute 'to' of the query must name an account of this host" };
	["namespace-protected"] = { "auth", "forbidden", "The namespaces of delegation itself cannot be delegated" };
	["no-namespace-allowed"] = { "auth", "forbidden", "The administrator lets users delegate none of these namespaces" };
	["too-many-requests"] = { "wait", "resource-constraint", "Too many requests in a short time" };
});
