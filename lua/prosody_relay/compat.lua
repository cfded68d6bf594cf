-- SPDX-License-Identifier: MIT
-- The differences between Prosody 0.12 and 13.0 that the modules meet, in one place.

local st = require "util.stanza";

local compat = {};

-- on_started(module, callback): calls back when the server has started and all its hosts are active; at once if it has started before
function compat.on_started(module, callback)
	if prosody.start_time then
		callback();
	else
		-- COMPAT w/0.12: module.ready and module:on_ready are new in 13.0; the event exists in both
		module:hook_global("server-started", callback);
	end
end

-- on_stopping(module, callback, [priority]): calls back when the server is about to stop. An error of the callback is logged: in both
-- versions it would keep Prosody from stopping.
function compat.on_stopping(module, callback, priority)
	module:hook_global("server-stopping", function ()
		local ok, err = xpcall(callback, debug.traceback);
		if not ok then module:log("error", "While the server stops: %s", err); end
	end, priority);
end

-- Whether both ends agreed on the end of the stream: everything sent before it has then arrived. mod_s2s passes false as the reason when
-- the other end closed the stream. It passes nothing when this end closed it, and nothing or a text when the connection broke.
local function ended_in_order(event)
	if event.reason ~= nil then return event.reason == false; end
	return event.session.sends2s ~= nil and event.session.sends2s(" ") == false; -- which is how a stream closed by this end answers
end

-- on_stream_lost(module, callback): calls back with the name of the other host when a server-to-server stream may have lost stanzas.
-- The stream broke, or the other host has opened a second one and so given up the first; in the second case also with true.
function compat.on_stream_lost(module, callback)
	module:hook_global("s2sout-destroyed", function (event)
		if event.session.from_host == module.host and not ended_in_order(event) then callback(event.session.to_host); end
	end);
	module:hook_global("s2sin-destroyed", function (event)
		if ended_in_order(event) then return; end
		for host in pairs(event.session.hosts) do callback(host); end
	end);
	module:hook_global("s2sin-established", function (event)
		local new = event.session;
		for other in pairs(prosody.incoming_s2s) do
			if other ~= new and other.type == "s2sin" and other.from_host == new.from_host and other.to_host == new.to_host then
				return callback(new.from_host, true);
			end
		end
	end);
end

-- keep_order(event): keeps a stanza from overtaking others (event "route/remote", before mod_s2s at -1). Stanzas wait in session.sendq until
-- the stream is complete. But mod_s2s sends a new one at once from the moment when the other server has accepted the certificate.
function compat.keep_order(event)
	local host, stanza = prosody.hosts[event.from_host], event.stanza;
	local session = host and host.s2sout and host.s2sout[event.to_host];
	local queue = session and session.type == "s2sout" and session.sendq;
	if not queue then return; end
	if queue.push then return queue:push(st.clone(stanza)) or nil; end
	-- COMPAT w/0.12: a list of texts, each with the stanza that a failure is to answer
	local has_answer = stanza.attr.type ~= "error" and stanza.attr.type ~= "result";
	table.insert(queue, { tostring(stanza), has_answer and st.reply(stanza) });
	return true;
end

return compat;
