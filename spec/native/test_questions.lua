-- SPDX-License-Identifier: MIT
-- prosody_relay.questions: who may answer, and how often (G13).

local lu = require "luaunit";
local st = require "util.stanza";

local clock = 1000;

-- A fresh copy of the module that reads this clock
local function load_questions()
	local time = require "util.time";
	package.loaded["util.time"] = { monotonic = function () return clock; end };
	package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.questions"] = nil, nil;
	local ok, questions = pcall(require, "prosody_relay.questions");
	package.loaded["util.time"], package.loaded["prosody_relay.pending"], package.loaded["prosody_relay.questions"] = time, nil, nil;
	assert(ok, questions);
	return questions;
end

local questions = load_questions();

local TestQuestions = {};

local sent, timer;

local function new_module()
	sent, timer = {}, nil;
	local module = {};
	function module.send(_, stanza) sent[#sent + 1] = stanza; end
	function module.add_timer(_, _, callback) timer = callback; end
	return module;
end

local function ask(open, record)
	open:ask(questions.get("room@here.example", "entity@there.example/r"), record, 10);
	return sent[#sent];
end

local function answer(question, attr)
	local stanza = st.reply(question);
	for name, value in pairs(attr or {}) do stanza.attr[name] = value; end
	return stanza;
end

TestQuestions["test (G13) the entity that was asked answers once, with a result or an error"] = function ()
	local open = questions.new(new_module(), error);
	local first, second = { about = "first" }, { about = "second" };
	local one, two = ask(open, first), ask(open, second);
	lu.assertEquals({ first.own, first.peer, open:count() }, { "room@here.example", "entity@there.example/r", 2 });
	lu.assertNotEquals(one.attr.id, two.attr.id);
	lu.assertIs(open:take(answer(two)), second);
	lu.assertNil(open:take(answer(two)));
	lu.assertIs(open:take(st.error_reply(one, "cancel", "forbidden")), first);
	lu.assertEquals(open:count(), 0);
end;

TestQuestions["test (G13) nobody else answers, nobody answers to another address, and a request is no answer"] = function ()
	local open, record = questions.new(new_module(), error), {};
	local question = ask(open, record);
	for _, forged in ipairs { { from = "entity@there.example" }, { from = "there.example" }, { to = "here.example" }, { id = "other" },
		{ type = "get" } } do
		lu.assertNil(open:take(answer(question, forged)));
	end
	lu.assertIs(open:take(answer(question)), record);
end;

TestQuestions["test (G13) an answer that comes before ask() returns is taken"] = function ()
	local module, taken = new_module(), nil;
	local open = questions.new(module, error);
	function module.send(_, stanza) taken = open:take(answer(stanza)); end
	local record = {};
	open:ask(questions.get("a.example", "b.example"), record, 10);
	lu.assertIs(taken, record);
	lu.assertEquals(open:count(), 0);
end;

TestQuestions["test (G13) silence ends a question once, also after a reload; what is withdrawn does not end"] = function ()
	local silent, module = {}, new_module();
	local open = questions.new(module, error);
	local record, withdrawn = {}, {};
	ask(open, withdrawn);
	local question = ask(open, record);
	open:withdraw(withdrawn);
	local again = questions.new(module, function (ended) silent[#silent + 1] = ended; end, open:save());
	clock = clock + 9;
	lu.assertEquals(timer(), 1);
	lu.assertEquals(#silent, 0);
	clock = clock + 2;
	lu.assertNil(timer());
	lu.assertEquals(#silent, 1);
	lu.assertIs(silent[1], record);
	lu.assertNil(again:take(answer(question)));
end;

return TestQuestions;
