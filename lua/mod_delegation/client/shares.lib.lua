-- SPDX-License-Identifier: MIT
-- What users have granted to one managing entity (client mode, XEP-0355 section 5): what the entity is told about each user (C14, C21).
-- Also which requests are in flight for which grant (C25), and the delegations that users of the entity share (C24).
--
-- It is the field `shares` of the entity while there is a grant. "client/grants" decides what is granted.

local st = require "util.stanza";

local config = module:require "config";
local ids = module:require "ids";

local xmlns_delegation = "urn:xmpp:delegation:2";

-- Errors of a server for a resource (RFC 6121 section 8.5.3.2.3) or an account that does not exist
local gone_conditions = { ["service-unavailable"] = true; ["recipient-unavailable"] = true; ["item-not-found"] = true; ["gone"] = true };

local shares = {};
local shares_mt = { __index = shares };

-- new(managing, timeout, on_gone) -> shares, with no grant yet; the entity knows what it was told before a module reload
--   timeout: seconds for each request; on_gone(): the entity is one resource, and is gone for good (C15)
local function new(managing, timeout, on_gone)
	return setmetatable({
		managing = managing; timeout = timeout; on_gone = on_gone;
		-- namespace -> { delegation (its field `users` counts them), mt (of the users' views of the delegation) }
		shared = {};
		-- user name -> namespace -> the user's view of the delegation
		users = {};
		-- user name -> the grants of this user that the entity was told last, as text
		told = managing.saved_told or {};
		-- view of a delegation -> id of the request to the entity -> true
		in_flight = {};
	}, shares_mt);
end

-- Tells the entity all that this user delegates to it (C14, D34); namespaces: sorted list
local function tell(address, user, namespaces)
	local message = st.message({ from = module.host; to = address; id = ids.new() })
		:tag("delegation", { xmlns = xmlns_delegation; to = user.."@"..module.host });
	for _, namespace in ipairs(namespaces) do
		message:tag("delegated", { namespace = namespace }):up();
	end
	module:send(message:reset());
end

-- bid_farewell(address, told): tells an entity that it manages nothing any more for the users it was told of
--   address: nil if the entity is not available; told: field of an instance, may be nil
local function bid_farewell(address, told)
	if not address then return; end
	for user in pairs(told or {}) do tell(address, user, {}); end
end

-- add(user, namespace) -> the delegation in force for requests for this user; the entity is not told yet
function shares:add(user, namespace)
	local shared = self.shared[namespace];
	if not shared then
		local delegation = config.delegation(namespace, { jid = self.managing.jid }, self.timeout);
		delegation.client, delegation.users = true, 0;
		shared = { delegation = delegation; mt = { __index = delegation } };
		self.shared[namespace] = shared;
		self.managing:manage(delegation);
	end
	shared.delegation.users = shared.delegation.users + 1;
	local view = setmetatable({ user = user }, shared.mt);
	self.users[user] = self.users[user] or {};
	self.users[user][namespace] = view;
	return view;
end

-- remove(user, namespace): requests in flight are answered with an error now (C25)
function shares:remove(user, namespace)
	local view = self.users[user][namespace];
	for id in pairs(self.in_flight[view] or {}) do
		self.managing:cancel(id, "revoked");
	end
	self.users[user][namespace] = nil;
	if next(self.users[user]) == nil then self.users[user] = nil; end
	local delegation = self.shared[namespace].delegation;
	delegation.users = delegation.users - 1;
	if delegation.users == 0 then
		self.shared[namespace] = nil;
		self.managing:unmanage(delegation);
	end
end

-- is_empty() -> boolean: no grant is left
function shares:is_empty()
	return next(self.users) == nil;
end

local function namespaces_of(self, user)
	local namespaces = {};
	for namespace in pairs(self.users[user] or {}) do namespaces[#namespaces + 1] = namespace; end
	table.sort(namespaces);
	return namespaces, namespaces[1] and table.concat(namespaces, " ");
end

-- announce(user): tells the entity what this user grants now; if it is not available, it is told when it comes
function shares:announce(user)
	local address = self.managing.address;
	if not address or self.lost then return; end
	local namespaces, text = namespaces_of(self, user);
	self.told[user] = text;
	tell(address, user, namespaces);
end

-- introduced(): the entity is available. It is told what it does not know from before a module reload (D29). An entity on another server may
-- not be available at all. So it is told about a user only before her first request (C21).
function shares:introduced()
	local users = {};
	for user in pairs(self.told) do users[user] = true; end
	for user in pairs(self.managing.remote and {} or self.users) do users[user] = true; end
	for user in pairs(users) do
		local _, text = namespaces_of(self, user);
		if self.told[user] ~= text then self:announce(user); end
	end
end

-- again(): the entity may have forgotten everything
function shares:again()
	self.told = {};
	self:introduced();
end

-- revoke_all(): no user grants anything any more
function shares:revoke_all()
	bid_farewell(self.managing.address, self.told);
	self.told = {};
end

-- gone(): the entity is not available any more
function shares:gone()
	self.told = {};
	if self.managing.resource then self.on_gone(); end
end

-- failed(stanza): the entity, or its server in its place, has given this bad answer to a request
function shares:failed(stanza)
	if not self.managing.remote or not self.managing.resource or stanza.attr.type ~= "error" then return; end
	local _, condition = stanza:get_error();
	if gone_conditions[condition] then
		self.lost = true;
		self.on_gone();
	end
end

-- forwarding(id, record, view): a request is about to be sent to the entity
function shares:forwarding(id, record, view)
	if not self.told[view.user] then self:announce(view.user); end
	record.outer_id, record.user = id, view.user;
	self:track(record, view);
end

function shares:track(record, view)
	self.in_flight[view] = self.in_flight[view] or {};
	self.in_flight[view][record.outer_id] = true;
end

-- released(record): a request has left the table of the entity
function shares:released(record)
	if not record.user then return; end
	local view = self.users[record.user] and self.users[record.user][record.namespace];
	local of_view = self.in_flight[view];
	if not of_view then return; end
	of_view[record.outer_id] = nil;
	if next(of_view) == nil then self.in_flight[view] = nil; end
end

-- adopt_requests(managing): after a module reload, takes over the requests in flight to an entity. Requests of grants that did not come back
-- get an error.
local function adopt_requests(managing)
	local users, orphans = managing.shares and managing.shares.users or {}, {};
	for id, record in managing.requests:each() do
		local view = record.user and users[record.user] and users[record.user][record.namespace];
		if view then
			managing.shares:track(record, view);
		elseif record.user then
			orphans[#orphans + 1] = id;
		end
	end
	for _, id in ipairs(orphans) do managing:cancel(id, "revoked"); end
end

return { new = new; bid_farewell = bid_farewell; adopt_requests = adopt_requests };
