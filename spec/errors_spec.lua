-- SPDX-License-Identifier: MIT
-- The errors that modules answer with, by name (prosody_relay.errors).

local new = require "prosody_relay.errors".new;
local st = require "util.stanza";

describe("a registry of errors", function ()
	local sent, errors;

	before_each(function ()
		sent = {};
		errors = new({ name = "x"; send = function (_, stanza) sent[#sent + 1] = stanza; end }, {
			["no-way"] = { "cancel", "not-allowed", "Not %s" };
			["later"] = { "wait", "resource-constraint" };
		});
	end);

	local function question()
		return st.iq { type = "get"; id = "1"; from = "a@b/c"; to = "d@e" };
	end

	it("answers with the error of that name", function ()
		assert.is_true(errors.refuse(question(), "no-way", "here"));
		local reply = sent[1];
		assert.same({ "error", "1", "a@b/c", "d@e" }, { reply.attr.type, reply.attr.id, reply.attr.to, reply.attr.from });
		assert.same({ "cancel", "not-allowed", "Not here" }, { reply:get_error() });
		assert.same({ "wait", "resource-constraint" }, { errors.reply(question(), "later"):get_error() });
	end);

	it("answers over the connection that the stanza came over", function ()
		local reply;
		assert.is_true(errors.answer({ stanza = question(); origin = { send = function (stanza) reply = stanza; end } }, "no-way", "here"));
		assert.same({ "cancel", "not-allowed", "Not here" }, { reply:get_error() });
		assert.same({}, sent);
	end);

	it("fills in each text anew", function ()
		errors.error("no-way", "here");
		assert.equal("Not there", errors.error("no-way", "there").text);
	end);

	it("gives the element alone", function ()
		local element = errors.element("no-way", "here");
		assert.same({ "error", "cancel" }, { element.name, element.attr.type });
		assert.equal("Not here", element:get_child_text("text", "urn:ietf:params:xml:ns:xmpp-stanzas"));
	end);

	it("raises for a name that there is not", function ()
		assert.has_error(function () errors.reply(question(), "no-wya"); end, "There is no error 'no-wya'");
	end);
end);
