-- SPDX-License-Identifier: MIT
-- The relay on the s2s path between two nodes. Each direction of connecting has its own listening address, which the caller's name
-- server gives out for the other's hosts. Everything that crosses is counted, parsed and kept; it can be delayed, slowed, held and cut.

local loop = require "bed.loop";
local match = require "bed.match";
local new_xmpp_stream = require "util.xmppstream".new;

local link = {};
local link_mt = { __index = link };

local s2s_port = 5269;
local is_stanza = { message = true; presence = true; iq = true };

-- parser that files the stanzas of one direction of one connection
local function recorder(sink)
	local session = { notopen = true };
	local parser = new_xmpp_stream(session, {
		stream_ns = "http://etherx.jabber.org/streams"; default_ns = "jabber:server";
		streamopened = function (_, attr) session.notopen, session.lang = nil, attr["xml:lang"] or "en"; end;
		streamclosed = function () end;
		error = function () session.broken = true; end;
		handlestanza = function (_, stanza)
			if stanza.attr["xml:lang"] == session.lang then stanza.attr["xml:lang"] = nil; end
			if is_stanza[stanza.name] and not stanza.attr.xmlns then
				sink.stanzas[#sink.stanzas + 1] = stanza;
				sink.inbox[#sink.inbox + 1] = stanza;
			end
		end;
	}, 64 * 1024 * 1024);
	return function (data)
		if not session.broken then parser:feed(data); end
	end;
end

local function new_sink()
	return { stanzas = {}; inbox = {}; bytes = 0 };
end

-- one half of a connection: bytes from `sink`'s node on their way to `target`
local function new_pipe(self, sink)
	return { record = recorder(sink); sink = sink; due = 0; queue = {}; link = self };
end

local function drop(pair)
	pair.dropped = true;
	for _, conn in pairs { pair.near, pair.far } do
		conn:destroy();
	end
	pair.link.pairs[pair] = nil;
end

local function flush(pipe)
	if pipe.link.stalled then return; end
	while pipe.queue[1] and pipe.queue[1].due <= loop.now() do
		local chunk = table.remove(pipe.queue, 1);
		if not pipe.pair.dropped then pipe.target:write(chunk.data); end
	end
end

local function pass(pipe, data)
	local sink, self = pipe.sink, pipe.link;
	if sink.cut_after then
		if #data >= sink.cut_after then
			pipe.target:write(data:sub(1, sink.cut_after));
			sink.cut_after = nil;
			loop.after(0.05, function () self:cut(); end);
			return;
		end
		sink.cut_after = sink.cut_after - #data;
	end
	sink.bytes = sink.bytes + #data;
	pipe.record(data);
	pipe.due = math.max(loop.now() + (self.seconds or 0), pipe.due);
	if self.bytes_per_second then pipe.due = pipe.due + #data / self.bytes_per_second; end
	table.insert(pipe.queue, { data = data; due = pipe.due });
	flush(pipe);
	if pipe.queue[1] then
		loop.after(math.max(0, pipe.due - loop.now()), function () flush(pipe); end);
	end
end

local function listen(self, address, from, to)
	local pairs_by_conn = {};
	local listener = {};
	function listener.onconnect(near)
		if self.refusing then near:destroy(); return; end
		local pair = { near = near; link = self };
		local forth, back = new_pipe(self, self.sinks[from]), new_pipe(self, self.sinks[to]);
		forth.pair, back.pair = pair, pair;
		local far = loop.server.addclient(to.address, s2s_port, {
			onincoming = function (_, data) pass(back, data); end;
			ondisconnect = function () if not pair.dropped then drop(pair); end end;
		}, "*a");
		pair.far, pair.forth, pair.back = far, forth, back;
		forth.target, back.target = far, near;
		pairs_by_conn[near] = pair;
		self.pairs[pair] = true;
	end
	function listener.onincoming(near, data)
		local pair = pairs_by_conn[near];
		if pair and not pair.dropped then pass(pair.forth, data); end
	end
	function listener.ondisconnect(near)
		local pair = pairs_by_conn[near];
		pairs_by_conn[near] = nil;
		if pair and not pair.dropped then drop(pair); end
	end
	return assert(loop.server.listen(address, s2s_port, listener, { read_size = "*a" }));
end

-- new(a, b, address_ab, address_ba): the addresses on which a reaches b, and b reaches a
function link.new(a, b, address_ab, address_ba)
	local self = setmetatable({ pairs = {}; sinks = { [a] = new_sink(), [b] = new_sink() } }, link_mt);
	self.address = { [a] = address_ab, [b] = address_ba };
	self.servers = { listen(self, address_ab, a, b), listen(self, address_ba, b, a) };
	return self;
end

-- sent(node) -> list of all stanzas that crossed from this node, in order
function link:sent(node)
	return self.sinks[node].stanzas;
end

-- bytes(node) -> bytes that crossed from this node, stream set-up included
function link:bytes(node)
	return self.sinks[node].bytes;
end

-- waiting(node) -> bytes from this node that are on their way, or held back
function link:waiting(node)
	local bytes = 0;
	for pair in pairs(self.pairs) do
		local pipe = pair.forth.sink == self.sinks[node] and pair.forth or pair.back;
		for _, chunk in ipairs(pipe.queue) do bytes = bytes + #chunk.data; end
	end
	return bytes;
end

-- expect(node, pattern, [timeout]) -> first stanza from the node that matches and was not taken before
function link:expect(node, pattern, timeout)
	local found;
	local inbox = self.sinks[node].inbox;
	loop.wait_until(function ()
		found = match.take(inbox, pattern);
		return found;
	end, timeout or 5, function ()
		return ("%s on the link, which carried:\n%s"):format(match.describe(pattern), match.list(inbox));
	end);
	return found;
end

-- expect_none(node, pattern, [seconds])
function link:expect_none(node, pattern, seconds)
	loop.wait(seconds or 0.5);
	local found = match.take(self.sinks[node].inbox, pattern);
	if found then error("the link carried what it should not: " .. tostring(found), 2); end
end

-- forget(): start a new record: stanzas and bytes
function link:forget()
	for _, sink in pairs(self.sinks) do
		sink.stanzas, sink.inbox, sink.bytes = {}, {}, 0;
	end
end

-- delay(seconds): each chunk arrives that much later
function link:delay(seconds)
	self.seconds = seconds;
end

-- rate(bytes_per_second), in each direction; nil lifts the limit
function link:rate(bytes_per_second)
	self.bytes_per_second = bytes_per_second;
end

-- cut(): resets all connections and refuses new ones until restore()
function link:cut()
	self.refusing = true;
	for pair in pairs(self.pairs) do
		pair.near.conn:setoption("linger", { on = true; timeout = 0 });
		drop(pair);
	end
end

-- cut_after(node, bytes): lets that many more bytes of the node pass, then cuts, in the middle of a stanza or not
function link:cut_after(node, bytes)
	self.sinks[node].cut_after = bytes;
end

-- stall(): holds everything back, connections stay open
function link:stall()
	self.stalled = true;
end

-- restore(): ends cut and stall
function link:restore()
	self.refusing, self.stalled = false, false;
	for pair in pairs(self.pairs) do
		flush(pair.forth);
		flush(pair.back);
	end
end

function link:finish()
	self:cut();
	for _, server in ipairs(self.servers) do server:close(); end
end

return link;
