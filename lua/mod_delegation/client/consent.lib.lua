-- SPDX-License-Identifier: MIT
-- The question whether a user delegates namespaces to an entity, and her answer (XEP-0355 section 5.1: D33, C9, C11, C12). Pure: it
-- makes a stanza of a request, and reads the answer.
--
-- A request is { user, entity, namespaces (sorted list), secret (the challenge), message_id }.

local dataforms = require "util.dataforms";
local st = require "util.stanza";

local xmlns_delegation = "urn:xmpp:delegation:2";
local xmlns_form = "jabber:x:data";
local xmlns_hints = "urn:xmpp:hints";

-- The address has a line of its own, because it is the only text here that is not the server's.
local warning = "This address wants to manage features of your account that are normally managed by the server:\n\n%s\n\n"
	.."The features:\n\n%s\n\n"
	.."Be careful: whoever manages a feature sees all requests for it and answers them in your name. Allow this only if you know this address "
	.."and trust its owner. Neither the server nor its administrator has asked for it. To refuse, answer No or do nothing.";

-- choice(var, label, value) -> field of a form, No or Yes; value: "0" or "1"
local function choice(var, text, value)
	return { name = var; type = "list-single"; label = text; options = {
		{ label = "No"; value = "0"; default = value ~= "1" }, { label = "Yes"; value = "1"; default = value == "1" },
	} };
end

-- keep_choice(value) -> the field about later sessions
local function keep_choice(value)
	return choice("persist", "Keep this when you log out, until you revoke it", value);
end

local function form_of(request, label, address, may_persist)
	local layout = {
		title = "Delegation request";
		instructions = ("The address %s wants to manage the following features. Do you allow it?"):format(address(request.entity));
		{ name = "challenge"; type = "hidden"; value = request.secret };
		{ name = "FORM_TYPE"; type = "hidden"; value = xmlns_delegation };
	};
	for _, namespace in ipairs(request.namespaces) do
		layout[#layout + 1] = choice(namespace, label(namespace), "0");
	end
	if may_persist then layout[#layout + 1] = keep_choice("0"); end
	return dataforms.new(layout):form();
end

-- ask(host, request, label, address, may_persist) -> the message to the user (C9)
--   label(namespace) -> text; address(jid) -> text (E5); may_persist: whether the user may keep the grant across sessions
-- The message must not be archived: there the user would find it when the question has expired. Other devices must not get copies: a grant
-- ends with the session of the device that answers.
local function ask(host, request, label, address, may_persist)
	local lines = {};
	for i, namespace in ipairs(request.namespaces) do lines[i] = "- "..label(namespace); end
	return st.message({ from = host; to = request.user.."@"..host; type = "normal"; id = request.message_id },
			warning:format(address(request.entity), table.concat(lines, "\n")))
		:add_child(form_of(request, label, address, may_persist))
		:tag("no-permanent-store", { xmlns = xmlns_hints }):up()
		:tag("no-copy", { xmlns = xmlns_hints }):up();
end

-- The value of a field; false unless it has exactly one
local function value_of(field)
	local value;
	for child in field:childtags("value") do
		if value then return false; end
		value = child:get_text() or "";
	end
	return value or false;
end

-- read_values(form) -> field -> its value, false if it is not exactly one
local function read_values(form)
	local values = {};
	for field in form:childtags("field") do
		local var = field.attr.var;
		if var then
			-- a field that is there twice does not count
			values[var] = values[var] == nil and value_of(field);
		end
	end
	return values;
end

-- read(message) -> { type ("submit" or "cancel"), form_type, challenge, values (see read_values) }, or nil if it has no answer
-- to a form
local function read(message)
	local form = message:get_child("x", xmlns_form);
	local type = form and form.attr.type;
	if type ~= "submit" and type ~= "cancel" then return nil; end
	local values = read_values(form);
	return { type = type; form_type = values.FORM_TYPE; challenge = values.challenge; values = values };
end

-- is_ours(answer) -> boolean: whether it may answer our form; FORM_TYPE may be missing or empty (C11)
local function is_ours(answer)
	return not answer.form_type or answer.form_type == "" or answer.form_type == xmlns_delegation;
end

-- granted(request, answer) -> list of the namespaces that the user grants (C12), whether she wants to keep the grants
local function granted(request, answer)
	local list = {};
	if answer.type ~= "submit" then return list, false; end
	for _, namespace in ipairs(request.namespaces) do
		if answer.values[namespace] == "1" then list[#list + 1] = namespace; end
	end
	return list, answer.values.persist == "1";
end

return { ask = ask; read = read; read_values = read_values; is_ours = is_ours; granted = granted; choice = choice; keep_choice = keep_choice };
