-- SPDX-License-Identifier: MIT
-- The recipient list of prosody_relay.fanout in the simplest Lua: an array in order of arrival, searched from the front.

local function new_oracle()
	local oracle = { entries = {}; groups = {} };
	local function find(jid)
		for i, entry in ipairs(oracle.entries) do
			if entry.jid == jid then return i, entry; end
		end
	end
	function oracle:add(jid, nick, group)
		if find(jid) then return nil, "exists"; end
		table.insert(self.entries, { jid = jid; nick = nick; group = group });
		if group and self:count_group(group) == 1 then table.insert(self.groups, group); end
		return true;
	end
	function oracle:remove(jid)
		local i, entry = find(jid);
		if not i then return nil; end
		table.remove(self.entries, i);
		if entry.group and self:count_group(entry.group) == 0 then
			for at, group in ipairs(self.groups) do
				if group == entry.group then table.remove(self.groups, at); end
			end
		end
		return entry.nick, entry.group;
	end
	function oracle:by_nick(nick)
		local jids = {};
		for _, entry in ipairs(self.entries) do
			if entry.nick == nick then table.insert(jids, entry.jid); end
		end
		return jids;
	end
	function oracle:count()
		return #self.entries;
	end
	function oracle:count_group(group)
		local count = 0;
		for _, entry in ipairs(self.entries) do
			if entry.group == group then count = count + 1; end
		end
		return count;
	end
	function oracle:visits(except_group)
		local visits = {};
		local function visit(entry)
			table.insert(visits, { entry.jid, entry.nick, entry.group });
		end
		for _, entry in ipairs(self.entries) do
			if not entry.group then visit(entry); end
		end
		for _, group in ipairs(self.groups) do
			for _, entry in ipairs(self.entries) do
				if group ~= except_group and entry.group == group then
					visit(entry);
					break;
				end
			end
		end
		return visits;
	end
	return oracle;
end

return new_oracle;
