-- SPDX-License-Identifier: MIT
-- Errors that this module sends to users and entities (prosody_relay.errors). Errors of entities to users are passed on unchanged.

return require "prosody_relay.errors".new(module, {
	-- to users
	["entity-not-available"] = { "cancel", "service-unavailable" };
	["entity-without-good-answer"] = { "cancel", "service-unavailable" };
	["too-many-unanswered"] = { "wait", "resource-constraint" };
	["form-answer-invalid"] = { "modify", "not-acceptable" };
	["no-session"] = { "auth", "forbidden" };

	-- to entities that ask for namespaces of a user
	["request-malformed"] = { "modify", "bad-request" };
	["address-of-no-account"] = { "modify", "jid-malformed" };
	["account-not-here"] = { "cancel", "item-not-found" };
	["namespace-protected"] = { "auth", "forbidden" };
	["no-namespace-allowed"] = { "auth", "forbidden" };
	["too-many-requests"] = { "wait", "resource-constraint" };
});
