-- SPDX-License-Identifier: MIT
-- The command with which users see and revoke what they have delegated (XEP-0355 section 6: C22, D36).
--
-- The server stores nothing between the two forms. The second form names the entity, and both act on the sender's own delegations only. So a
-- session of the command belongs to its user and survives reloads and restarts. It costs nothing if the user does not finish it.

local dataforms = require "util.dataforms";
local jid_prep = require "util.jid".prep;

local consent = module:require "client/consent";
local address = module:require "display".address;
local errors = module:require "errors";
local label = module:require "client/namespaces".label;

local node = "urn:xmpp:delegation:2#configure";

-- What a user delegates, by entity: sorted list of { jid, namespaces (sorted list), kept }
local function entities_of(of_user)
	local list, by_jid = {}, {};
	for namespace, grant in pairs(of_user or {}) do
		local entry = by_jid[grant.entity];
		if not entry then
			entry = { jid = grant.entity; namespaces = {}; kept = true };
			by_jid[grant.entity], list[#list + 1] = entry, entry;
		end
		entry.namespaces[#entry.namespaces + 1] = namespace;
		entry.kept = entry.kept and grant.kept or false;
	end
	table.sort(list, function (a, b) return a.jid < b.jid; end);
	for _, entry in ipairs(list) do table.sort(entry.namespaces); end
	return list, by_jid;
end

local function choose_entity(list)
	local options, layout = {}, { title = "Delegations"; instructions = "These entities manage features of your account. Choose one to revoke that." };
	for i, entry in ipairs(list) do
		options[i] = { value = entry.jid; label = address(entry.jid); default = i == 1 };
		layout[i] = { type = "fixed"; value = ("%s: %s"):format(address(entry.jid), table.concat(entry.namespaces, ", ")) };
	end
	layout[#layout + 1] = { name = "FORM_TYPE"; type = "hidden"; value = node };
	layout[#layout + 1] = { name = "entity"; type = "list-single"; label = "Entity"; options = options };
	return { status = "executing"; actions = { "next"; default = "next" }; form = dataforms.new(layout) };
end

local function choose_namespaces(entry, may_persist)
	local layout = {
		title = "Delegations to "..address(entry.jid); instructions = "Answer No to what this entity shall not manage any more.";
		{ name = "FORM_TYPE"; type = "hidden"; value = node };
		{ name = "configured"; type = "hidden"; value = entry.jid };
	};
	for _, namespace in ipairs(entry.namespaces) do
		layout[#layout + 1] = consent.choice(namespace, label(namespace), "1");
	end
	if may_persist then layout[#layout + 1] = consent.keep_choice(entry.kept and "1" or "0"); end
	return { status = "executing"; actions = { "prev", "complete"; default = "complete" }; form = dataforms.new(layout) };
end

-- A missing field changes nothing
local function configure(grants, user, resource, entry, values)
	local revoked = {};
	for _, namespace in ipairs(entry.namespaces) do
		local value = values[namespace];
		if value ~= nil and value ~= "1" then revoked[namespace] = true; end
	end
	grants:revoke(user, function (grant, namespace) return grant.entity == entry.jid and revoked[namespace]; end);
	if values.persist ~= nil then grants:set_wish(user, entry.jid, values.persist == "1", resource); end
	local lines = {};
	for _, namespace in ipairs(entry.namespaces) do
		if revoked[namespace] then lines[#lines + 1] = namespace; end
	end
	if #lines == 0 then return { status = "completed"; info = "Nothing was revoked" }; end
	return { status = "completed"; info = ("%s does not manage any more: %s"):format(address(entry.jid), table.concat(lines, ", ")) };
end

-- start(client_mode, grants): offers the command to the users of the host
local function start(client_mode, grants)
	local function handle(_, data)
		local session = prosody.full_sessions[data.from];
		if data.action == "cancel" then return { status = "canceled" }; end
		-- a sender without a session here has delegated nothing in it
		if not session then return { status = "error"; error = errors.error("no-session") }; end
		client_mode:confirm(session);
		local list, by_jid = entities_of(grants:of(session.username));
		if #list == 0 then return { status = "completed"; info = "You have delegated nothing" }; end
		local values = data.form and data.action ~= "prev" and consent.read_values(data.form) or {};
		local entry = by_jid[jid_prep(values.configured or values.entity or "")];
		if not entry then
			if not values.configured and not values.entity then return choose_entity(list); end
			return { status = "completed"; info = "This entity manages nothing for you" };
		end
		if not values.configured then return choose_namespaces(entry, client_mode.may_persist); end
		return configure(grants, session.username, session.resource, entry, values);
	end
	module:depends("adhoc");
	local new_command = module:require "adhoc".new;
	module:provides("adhoc", new_command("Delegations", node, handle, "local_user"));
end

return { start = start };
