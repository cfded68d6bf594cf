-- SPDX-License-Identifier: MIT
-- The errors that a module answers with, by name, in one table for each module. Based on Prosody's util.error; texts may be formats.

local init = require "util.error".init;
local st = require "util.stanza";

local errors = {};

-- new(module, definitions) -> the registry of a module
--   definitions: [name] = { type, condition, text }, as in RFC 6120 section 8.3; text: a format of string.format, or nil
-- All functions of the registry raise for a name that is not defined; the arguments after the name are for the format.
--   error(name, …) -> an error of util.error
--   reply(stanza, name, …) -> the stanza that answers with the error
--   refuse(stanza, name, …) -> true; sends that answer
--   answer(event, name, …) -> true; sends the answer to the stanza of an event over the connection of that stanza
--   element(name, …) -> <error/>
function errors.new(module, definitions)
	local registry, made = init(module.name, definitions), {};

	function made.error(name, ...)
		if not definitions[name] then error("There is no error '" .. tostring(name) .. "'", 2); end
		local err = registry.new(name);
		if ... ~= nil then err.text = err.text:format(...); end
		return err;
	end

	function made.reply(stanza, name, ...)
		return st.error_reply(stanza, made.error(name, ...));
	end

	function made.refuse(stanza, name, ...)
		module:send(made.reply(stanza, name, ...));
		return true;
	end

	function made.answer(event, name, ...)
		event.origin.send(made.reply(event.stanza, name, ...));
		return true;
	end

	function made.element(name, ...)
		local reply = made.reply(st.iq { type = "get"; id = "" }, name, ...);
		return reply:get_child("error");
	end

	return made;
end

return errors;
