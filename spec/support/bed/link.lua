-- SPDX-License-Identifier: MIT
-- The relay on the s2s path between two nodes. Each direction of connecting has its own listening address. The caller's name server gives out
-- this address for the other node's hosts. The relay counts, parses and keeps everything that crosses. It can delay, slow, hold and cut it.
-- TLS ends at the link and begins anew behind it. The link shows the certificate of the node that it stands for. So the link counts, delays
-- and cuts the plain text of the streams. The handshakes are between each node and the link: the delay of the link does not apply to them.

local loop = require "bed.loop";
local match = require "bed.match";
local new_xmpp_stream = require "util.xmppstream".new;
local socket = require "socket";
local ssl = require "ssl";

local link = {};
local link_mt = { __index = link };

local s2s_port = 5269;
local is_stanza = { message = true; presence = true; iq = true };
local xmlns_tls, xmlns_sasl, xmlns_smacks = "urn:ietf:params:xml:ns:xmpp-tls", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sm:3";

local function on_element(pipe, element)
	local sink, name, xmlns = pipe.sink, element.name, element.attr.xmlns;
	if is_stanza[name] and not xmlns then
		sink.stanzas[#sink.stanzas + 1] = element;
		sink.inbox[#sink.inbox + 1] = element;
	elseif xmlns == xmlns_smacks then
		-- when a server acknowledges depends on the moment: no part of what a stanza costs
		sink.bytes = sink.bytes - #tostring(element);
		if name == "enabled" then pipe.pair.managed = true; end
	elseif xmlns == xmlns_tls and name == "proceed" then
		pipe.proceeds = true;
	elseif xmlns == xmlns_sasl then
		pipe.restarts = true; -- with the next header
	end
end

-- parser that files the stanzas of one direction of one connection
local function recorder(pipe)
	local session = { notopen = true };
	local parser = new_xmpp_stream(session, {
		stream_ns = "http://etherx.jabber.org/streams"; default_ns = "jabber:server";
		streamopened = function (_, attr) session.notopen, session.lang = nil, attr["xml:lang"] or "en"; end;
		streamclosed = function () end;
		error = function () session.broken = true; end;
		handlestanza = function (_, stanza)
			if stanza.attr["xml:lang"] == session.lang then stanza.attr["xml:lang"] = nil; end
			on_element(pipe, stanza);
		end;
	}, 64 * 1024 * 1024);
	return function (data)
		if not session.broken then parser:feed(data); end
	end;
end

local function record(pipe, data)
	if not pipe.recorder or pipe.restarts and data:find("^<%?xml") then
		pipe.recorder, pipe.restarts = recorder(pipe), nil;
	end
	pipe.recorder(data);
end

local function new_sink()
	return { stanzas = {}; inbox = {}; bytes = 0 };
end

-- one half of a connection: bytes from `sink`'s node on their way to `target`
local function new_pipe(self, sink)
	return { sink = sink; due = 0; queue = {}; link = self };
end

-- A TLS context that has the certificate of the node
local function tls_context(mode, node)
	return assert(ssl.newcontext { mode = mode; protocol = "any"; key = node.key; certificate = node.certificate });
end

-- The node that opened the connection has just been told to proceed
local function start_tls(pair)
	for _, pipe in pairs { pair.forth, pair.back } do pipe.recorder = nil; end
	pair.near:starttls(tls_context("server", pair.to));
	pair.far:starttls(tls_context("client", pair.from));
end

-- Makes the connection end by a reset. LuaSec's objects have no options, so this reaches for the socket below.
local function reset_at_close(conn)
	local alias = socket.tcp();
	alias:setfd(conn.conn:getfd());
	alias:setoption("linger", { on = true; timeout = 0 });
	alias:setfd(-1);
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
		if not pipe.pair.dropped then
			pipe.target:write(chunk.data);
			if chunk.proceeds then start_tls(pipe.pair); end
		end
	end
end

local function pass(pipe, data)
	local sink, self = pipe.sink, pipe.link;
	if sink.ends then return; end
	if sink.cut_after then
		if #data >= sink.cut_after then
			pipe.target:write(data:sub(1, sink.cut_after));
			sink.cut_after, sink.ends = nil, true; -- whatever else comes until the cut would stand in the middle of a stanza
			loop.after(0.05, function () self:cut(); end);
			return;
		end
		sink.cut_after = sink.cut_after - #data;
	end
	sink.bytes = sink.bytes + #data;
	record(pipe, data);
	pipe.due = math.max(loop.now() + (self.seconds or 0), pipe.due);
	if self.bytes_per_second then pipe.due = pipe.due + #data / self.bytes_per_second; end
	table.insert(pipe.queue, { data = data; due = pipe.due; proceeds = pipe.proceeds });
	pipe.proceeds = nil;
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
		local pair = { near = near; link = self; from = from; to = to };
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
	local self = setmetatable({ a = a; b = b; pairs = {}; sinks = { [a] = new_sink(), [b] = new_sink() } }, link_mt);
	self.address = { [a] = address_ab, [b] = address_ba };
	self.servers = { listen(self, address_ab, a, b), listen(self, address_ba, b, a) };
	return self;
end

-- sent(node) -> list of all stanzas that crossed from this node, in order
function link:sent(node)
	return self.sinks[node].stanzas;
end

-- bytes(node) -> bytes of plain text that crossed from this node, stream set-up included, acknowledgements of stanzas not
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

-- is_managed(node) -> has this node a stream over the link, and has each of them stream management in force (XEP-0198)?
function link:is_managed(node)
	local managed;
	for pair in pairs(self.pairs) do
		if pair.from == node then
			if not pair.managed then return false; end
			managed = true;
		end
	end
	return managed == true;
end

-- expect_broken(): waits until both servers know that the link is cut: no stream is left, and none waits for a connection
function link:expect_broken()
	loop.wait_until(function ()
		return self.a:streams_to(self.b) == 0 and self.b:streams_to(self.a) == 0;
	end, nil, "the servers to lose their streams");
end

local function all_managed(self)
	for pair in pairs(self.pairs) do
		if not pair.managed then return false; end
	end
	return true;
end

-- settle(): waits until all that either server has sent was received, and what it caused as well: each stanza is acknowledged, in both
-- directions, and no new one has come meanwhile. What a server will do on its own later is not waited for.
function link:settle()
	local function count() return #self.sinks[self.a].stanzas + #self.sinks[self.b].stanzas; end
	local function is_idle(node, other) return select(2, node:streams_to(other)) == 0; end
	loop.wait_until(function ()
		local before = count();
		return all_managed(self) and is_idle(self.a, self.b) and is_idle(self.b, self.a) and is_idle(self.a, self.b) and before == count();
	end, nil, "the link to settle");
end

-- expect(node, pattern, [timeout]) -> first stanza from the node that matches and was not taken before
function link:expect(node, pattern, timeout)
	local found;
	local inbox = self.sinks[node].inbox;
	loop.wait_until(function ()
		found = match.take(inbox, pattern);
		return found;
	end, timeout, function ()
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
	for _, sink in pairs(self.sinks) do sink.ends = nil; end
	for pair in pairs(self.pairs) do
		reset_at_close(pair.near);
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
