-- SPDX-License-Identifier: MIT
-- Errors that this module sends to users and peers (prosody_relay.errors). Errors of the other side are passed on unchanged.

local here = module.host;

return require "prosody_relay.errors".new(module, {
	-- about a room
	["address-of-no-room"] = { "modify", "jid-malformed", "This is not the address of a mirrored room. To join room@rooms.example.org here, join "
		.. "room\\40rooms.example.org@" .. here .. ": write \\40 for the @." };
	["mirror-of-a-mirror"] = { "modify", "jid-malformed", "This is a mirror already. Mirrors of mirrors are not possible: join the room that is "
		.. "mirrored." };
	["mirror-by-a-mirror"] = { "cancel", "not-allowed", "This is a mirror. Join the room that it mirrors." };
	["no-room"] = { "cancel", "item-not-found", "There is no such room" };
	["no-master-room"] = { "cancel", "item-not-found", "There is no room %s" };
	["no-mirrors-there"] = { "cancel", "feature-not-implemented", "The server of %s does not support mirrors. Join %s itself." };
	["server-not-allowed"] = { "cancel", "not-allowed", "Rooms of %s are not mirrored here" };
	["room-not-mirrored"] = { "cancel", "not-allowed", "This room is not mirrored here" };
	["own-rooms"] = { "cancel", "not-allowed", "A mirror has no rooms of its own" };
	["administered-elsewhere"] = { "cancel", "not-allowed", "This room is administered at %s" };
	["no-item"] = { "cancel", "item-not-found" };

	["no-room-address"] = { "modify", "jid-malformed", "%s is not the address of a room, like room@rooms.example.org" };
	["own-service"] = { "modify", "not-acceptable", "%s is a room of this service. A room federates with rooms of other services" };
	["peer-not-allowed"] = { "cancel", "not-allowed", "This server does not federate with rooms of %s (fmuc_allow_peers, fmuc_deny_peers)" };
	["no-such-mode"] = { "modify", "not-acceptable", "fmuc#mode is primary-primary or primary-replica, not %s" };
	["too-many-peers"] = { "modify", "not-acceptable", "fmuc#inbound_peers has more than %d addresses" };

	-- about the way to a room
	["server-silent"] = { "wait", "remote-server-timeout", "The room's server does not answer" };
	["server-of-room-silent"] = { "wait", "remote-server-timeout", "The server of %s does not answer" };
	["server-unreachable"] = { "wait", "remote-server-timeout", "The room's server cannot be reached" };
	["replica-cut-off"] = { "wait", "remote-server-timeout", "This room cannot reach %s. Nothing can be said here until it does" };
	["message-not-returned"] = { "wait", "remote-server-timeout", "The room's server did not return this message" };
	["message-broke-streams"] = { "wait", "remote-server-timeout", "The connection to the room's server broke each time this message was sent" };
	["message-not-got"] = { "wait", "resource-constraint", "The room's server did not get this message" };
	["occupant-silent"] = { "wait", "remote-server-timeout", "The occupant does not answer" };
	["mirror-closing"] = { "wait", "service-unavailable", "The mirror is closing" };
	["mirror-out-of-service"] = { "wait", "service-unavailable", "This mirror is not in service at present" };

	-- about a user
	["user-not-served"] = { "auth", "forbidden", "This mirror does not serve you" };
	["not-in-room"] = { "cancel", "not-acceptable", "You are not currently connected to this chat" };
	["not-in-room-any-more"] = { "cancel", "item-not-found", "You are not currently connected to this chat" };
	["archive-forbidden"] = { "auth", "forbidden" };
	["nick-taken"] = { "cancel", "conflict" };
	["nick-needed"] = { "modify", "jid-malformed", "A nickname is needed" };
	["nick-stays"] = { "modify", "not-acceptable", "Nicknames cannot be changed through a mirror" };
	["nick-stays-at-master"] = { "cancel", "not-acceptable", "Nicknames cannot be changed through a mirror" };
	["nick-registered"] = { "cancel", "not-acceptable", "You must join with your registered nickname, %s" };
	["in-room-through-mirror"] = { "cancel", "conflict", "You are in this room through a mirror" };
	["in-room-through-node"] = { "cancel", "conflict", "You are in this room already, because %s is the same room" };
	["not-heard-there"] = { "auth", "forbidden", "The rules of %s do not let you speak" };
	["subject-changed-since"] = { "cancel", "conflict", "The subject has been changed since" };

	-- about stanzas that do not cross
	["request-does-not-cross"] = { "cancel", "service-unavailable", "This kind of request does not cross a mirror" };
	["private-does-not-cross"] = { "cancel", "service-unavailable", "Private messages and requests do not cross this mirror" };
	["private-does-not-arrive"] = { "cancel", "service-unavailable", "Private messages and requests do not reach this occupant" };
	["private-not-allowed"] = { "cancel", "policy-violation", "In this room %s may send private messages" };
	["recipient-not-in-room"] = { "cancel", "item-not-found", "Recipient not in room" };
	["link-too-narrow"] = { "cancel", "policy-violation", "Only messages cross the narrow link to the other server" };
	["no-vcard"] = { "cancel", "service-unavailable" };

	-- about a mirror, at the master
	["no-real-jid"] = { "modify", "jid-malformed", "The mirror did not name the user's full JID" };
	["mirror-not-trusted"] = { "auth", "forbidden", "%s may not speak for this user here" };
	["no-name-of-mirror"] = { "cancel", "not-allowed", "This is not the address of a mirror of the room" };
	["too-many-mirrored"] = { "wait", "service-unavailable", "This mirror has brought too many users into the room" };
	["too-many-dumps"] = { "wait", "resource-constraint", "This mirror has asked for the room too often" };
	["earlier-presences"] = { "wait", "resource-constraint", "The room is still busy with earlier presences" };

	-- about limits
	["too-many-questions"] = { "wait", "resource-constraint" };
	["too-many-rooms"] = { "wait", "resource-constraint", "You are in too many mirrored rooms" };
	["no-place-for-room"] = { "wait", "resource-constraint", "This mirror cannot serve another room at present" };
	["too-many-waiting"] = { "wait", "resource-constraint", "Too many users wait for the server of %s" };
	["too-many-servers"] = { "wait", "resource-constraint", "This mirror is waiting for too many servers" };
	["too-many-messages"] = { "wait", "resource-constraint", "Too many messages are on their way already" };
	["message-too-large"] = { "modify", "policy-violation", "This message is too large, or nested too deep, for a mirrored room" };
	["presence-too-long"] = { "modify", "policy-violation", "This presence is too long" };
	["id-too-long"] = { "modify", "policy-violation", "The id of this stanza is too long" };
});
