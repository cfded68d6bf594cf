-- SPDX-License-Identifier: MIT
-- Raw client streams and XEP-0114 components. They send any bytes and keep every stanza that arrives until the scenario asks for it.

local loop = require "bed.loop";
local match = require "bed.match";
local new_xmpp_stream = require "util.xmppstream".new;
local st = require "util.stanza";
local base64 = require "util.encodings".base64.encode;
local sha1 = require "util.hashes".sha1;
local jid_split = require "util.jid".split;

local stream = {};
local stream_mt = { __index = stream };

local stanza_size_limit = 64 * 1024 * 1024;

local callbacks = { stream_ns = "http://etherx.jabber.org/streams" };

function callbacks.streamopened(self, attr)
	self.notopen = nil;
	self.stream_attr = attr;
end

function callbacks.streamclosed(self)
	self.ended = true;
end

function callbacks.handlestanza(self, stanza)
	-- the parser adds the stream's language to each stanza; what was sent is what a scenario wants to see
	if stanza.attr["xml:lang"] == (self.stream_attr["xml:lang"] or "en") then stanza.attr["xml:lang"] = nil; end
	stanza.attr.xmlns = stanza.attr.xmlns ~= self.default_ns and stanza.attr.xmlns or nil;
	self.inbox[#self.inbox + 1] = stanza;
	self.count = self.count + 1;
	if self.on_stanza then self.on_stanza(stanza); end
end

function callbacks.error(self, condition, stanza)
	self.ended = true;
	self.stream_error = condition == "stream-error" and stanza or tostring(condition);
end

local listener = {};
local streams = setmetatable({}, { __mode = "k" });

function listener.onconnect(conn)
	streams[conn].connected = true;
end

function listener.onincoming(conn, data)
	local self = streams[conn];
	local ok, err = self.parser:feed(data);
	if not ok and not self.ended then
		self.ended, self.stream_error = true, tostring(err);
	end
end

function listener.ondisconnect(conn, err)
	local self = streams[conn];
	self.closed = err or true;
end

local kinds = {
	client = { default_ns = "jabber:client", port = 5222 };
	component = { default_ns = "jabber:component:accept", port = 5347 };
};

local function new_parser(self)
	local kind_callbacks = setmetatable({ default_ns = self.default_ns }, { __index = callbacks });
	self.notopen = true;
	self.parser = new_xmpp_stream(self, kind_callbacks, stanza_size_limit);
end

local function open(self, attr)
	attr.xmlns = self.default_ns;
	attr["xmlns:stream"] = "http://etherx.jabber.org/streams";
	self:send("<?xml version='1.0'?>" .. st.stanza("stream:stream", attr):top_tag());
end

-- connect(kind, address, jid) -> stream without any authentication; kind is "client" or "component"
local function connect(kind, address, jid)
	local self = setmetatable({ jid = jid; inbox = {}; count = 0; default_ns = kinds[kind].default_ns }, stream_mt);
	new_parser(self);
	local conn = assert(loop.server.addclient(address, kinds[kind].port, listener, "*a"));
	streams[conn] = self;
	self.conn = conn;
	loop.wait_until(function () return self.connected or self.closed; end, nil, "connection of " .. jid);
	return self;
end

local function authenticated(address, jid, password)
	local node, host = jid_split(jid);
	local self = connect("client", address, jid);
	open(self, { to = host; version = "1.0" });
	self:expect { "features", has = "{urn:ietf:params:xml:ns:xmpp-sasl}mechanisms" };
	self:send(st.stanza("auth", { xmlns = "urn:ietf:params:xml:ns:xmpp-sasl"; mechanism = "PLAIN" })
		:text(base64("\0" .. node .. "\0" .. password)));
	self:expect { "success" };
	new_parser(self);
	open(self, { to = host; version = "1.0" });
	self:expect { "features", has = "{urn:ietf:params:xml:ns:xmpp-bind}bind" };
	self.host = host;
	return self;
end

-- client(address, jid, password) -> authenticated stream bound to the resource of jid (or to one the server chose)
function stream.client(address, jid, password)
	local _, _, resource = jid_split(jid);
	local self = authenticated(address, jid, password);
	local bind = st.iq({ type = "set"; id = "bind" }):tag("bind", { xmlns = "urn:ietf:params:xml:ns:xmpp-bind" });
	if resource then bind:text_tag("resource", resource); end
	self:send(bind);
	self.jid = self:expect({ "iq", id = "bind", type = "result" }):find("{urn:ietf:params:xml:ns:xmpp-bind}bind/jid#");
	return self;
end

-- resume(address, jid, password, id, h) -> authenticated stream that resumes a session of XEP-0198.
-- id: of that session; h: number of stanzas that were received on it
function stream.resume(address, jid, password, id, h)
	local self = authenticated(address, jid, password);
	self:send(st.stanza("resume", { xmlns = "urn:xmpp:sm:3"; previd = id; h = tostring(h) }));
	self:expect { "resumed", previd = id };
	return self;
end

-- component(address, host, secret) -> authenticated component stream
function stream.component(address, host, secret)
	local self = connect("component", address, host);
	open(self, { to = host });
	loop.wait_until(function () return self.stream_attr or self.closed; end, nil, "component stream header");
	self:send(st.stanza("handshake"):text(sha1(self.stream_attr.id .. secret, true)));
	self:expect { "handshake" };
	self.host = host;
	return self;
end

-- send(data): a stanza, or any bytes; straight onto the wire
function stream:send(data)
	if self.closed then error(self.jid .. " is disconnected: " .. tostring(self.stream_error or self.closed), 2); end
	self.conn:write(tostring(data));
end

-- expect(pattern, [timeout]) -> the first stanza that matches (bed.match), waited for, removed from the inbox; raises when none comes
function stream:expect(pattern, timeout)
	local found;
	loop.wait_until(function ()
		found = match.take(self.inbox, pattern);
		return found or self.closed;
	end, timeout, function ()
		return ("%s expected %s, its inbox:\n%s"):format(self.jid, match.describe(pattern), match.list(self.inbox));
	end);
	return found or error(("%s was disconnected (%s) while expecting %s, its inbox:\n%s"):format(self.jid,
		tostring(self.stream_error or self.closed), match.describe(pattern), match.list(self.inbox)), 2);
end

-- expect_none(pattern, [seconds]): raises when a match is in the inbox or arrives within the time (0 looks at the inbox only)
function stream:expect_none(pattern, seconds)
	local deadline = loop.now() + (seconds or 0.5);
	local found;
	repeat
		found = match.take(self.inbox, pattern);
		if not found and loop.now() < deadline then loop.wait(math.min(0.02, deadline - loop.now())); end
	until found or loop.now() >= deadline;
	found = found or match.take(self.inbox, pattern);
	if found then error(("%s got what it should not: %s"):format(self.jid, tostring(found)), 2); end
end

-- next([timeout]) -> the next stanza, whatever it is
function stream:next(timeout)
	return self:expect({}, timeout);
end

-- drain() -> everything in the inbox, which is then empty
function stream:drain()
	local inbox = self.inbox;
	self.inbox = {};
	return inbox;
end

-- sync(): a round trip to the client's own server; what that server had sent before has arrived afterwards
function stream:sync()
	self.syncs = (self.syncs or 0) + 1;
	local id = "bed-sync-" .. self.syncs;
	local from = self.default_ns == "jabber:component:accept" and self.host or nil; -- 13.0 demands it of components
	self:send(st.iq({ type = "get"; id = id; to = self.host; from = from }):tag("sync", { xmlns = "urn:x-prosody-relay:bed" }));
	self:expect({ "iq", id = id });
end

-- close(): end the stream in order, and wait for the server to do the same
function stream:close()
	if self.closed then return; end
	self:send("</stream:stream>");
	loop.wait_until(function () return self.ended or self.closed; end, nil, "end of the stream of " .. self.jid);
	self.conn:close();
end

-- kill(): reset the connection without a word
function stream:kill()
	if self.closed then return; end
	self.conn.conn:setoption("linger", { on = true; timeout = 0 });
	self.conn:destroy();
	self.closed = "killed";
end

return stream;
