-- SPDX-License-Identifier: MIT
-- Recordings of Openfire 5.1.1 replayed against rooms of ours (mod_fmuc, generation 2), in both roles (spec/support/transcript.lua). After each step
-- the judge of the stage has read whether Openfire accepts what our room has sent (O2, O5 to O8, O13, O15, section 3 of the requirements).

local bed = require "bed";
local nodes = require "nodes";
local transcript = require "transcript";

-- What our side has said to that room, in that order
local function words_for(stage, room_jid)
	local list = {};
	for _, stanza in ipairs(stage.link:sent(stage.node)) do
		if stanza.name == "message" and stanza.attr.to == room_jid then
			list[#list + 1] = stanza:get_child_text("body") or "subject: " .. stanza:get_child_text("subject");
		end
	end
	return list;
end

-- Changes with which room our room federates. values: of node/config
local function configure(act, values)
	act.stage.node:eval(([[
		local host = prosody.hosts[%q].modules;
		host.fmuc.lib "node/config".set(host.muc.get_room_from_jid(%q), { %s });
		return true;
	]]):format(act.ours:match("@(.*)"), act.ours, values));
end

for _, versions in ipairs(nodes.crossings()) do
describe(("a room of Openfire joins ours, %s"):format(versions.e), function ()
	it("a whole session, and the smallest one (O1 N3 N6 N9 N12 N13 N14 N15 N16 O2 O5 O6 O7)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e");
		local act = stage:act("01-session");
		act:enter("alice");
		act:set_subject("alice", "Tea", "s1");
		act:say("alice", "h1 more tea?");
		act:enter("hatter");
		act:say("hatter", "h2 nothing yet");
		act:step "the first user joins at e";
		act:step "a second user joins at e";
		act:expect_occupants("alice", "Alice", "Hamlet", "Hatter", "Ophelia");
		assert.equal("owner moderator", act:item_of("alice", "Hamlet"));
		assert.equal("hamlet@e.example/pc", act:view("alice").occupants.Hamlet.jid);
		assert.is_nil(act:view("hatter").occupants.Hamlet.jid);
		act:step("a user joins at w", function () act:enter("dormouse"); end);
		act:step "hamlet says 'm1 to be'";
		act:step("alice says 'm2 or not'", function () act:say("alice", "m2 or not"); end);
		act:step "hamlet sends a chat state";
		act:step "hamlet corrects m1";
		act:step "hamlet is away";
		assert.equal("away", act:view("hatter").occupants.Hamlet.show);
		act:step("alice is away", function () act:present("alice", "Alice", "away"); end);
		act:step("alice changes the subject", function () act:set_subject("alice", "Coffee", "s2"); end);
		act:step "hamlet changes the subject";
		act:step("a user leaves at w", function () act:leave("dormouse"); end);
		act:step "a user leaves at e; another is still there";
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter");
		act:step "the last user leaves at e";
		act:step("alice says something when nobody is left", function () act:say("alice", "m3 alone"); end);
		act:expect_occupants("hatter", "Alice", "Hatter");
		act:step "hamlet joins again";
		act:step "ophelia joins after that";
		act:step "hamlet leaves by logging out";
		act:expect_occupants("alice", "Alice", "Hatter", "Ophelia");
		act:expect_words("hatter", "Alice: h1 more tea?", "Alice* Tea", "Hatter: h2 nothing yet", "Hamlet: m1 to be", "Alice: m2 or not",
			"Hamlet: m1 to be!", "Alice* Coffee", "Hamlet* Poison", "Alice: m3 alone");

		act = stage:act("02-late", { code = "room:set_historylength(0);" });
		act:step "a user joins at e; the room at w is empty";
		act:step("the first user at w joins", function () act:enter("alice"); end);
		act:expect_occupants("alice", "Alice", "Hamlet");
		act:step("the last user at w leaves", function () act:leave("alice"); end);
		act:step "the last user at e leaves";
	end));

	it("history, non-anonymous rooms, private messages and requests (N11 O2 O3 O4 O20 G10 G21)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e");
		local act = stage:act("03-history");
		act:enter("alice");
		stage:client("alice"):send([[<message type='groupchat' id='both' to=']] .. act.ours .. [['><subject>in a message</subject>
			<body>with a body</body></message>]]);
		act:say("alice", "h2 after it");
		act:step "history with a message that has a subject and a body";
		act:step "hamlet says 'm1 am I there?'";
		act:expect_words("alice", "Alice: with a body", "Alice: h2 after it", "Hamlet: m1 am I there?");

		act = stage:act("04-open", { code = "room:set_whois(\"anyone\");" });
		act:enter("alice");
		act:say("alice", "h1 hello");
		act:step "non-anonymous rooms: an owner joins at e";
		act:step "non-anonymous rooms: a participant joins at e";
		act:step("non-anonymous rooms: a participant joins at w", function () act:enter("hatter"); end);
		act:step "ophelia says 'm1 hi'";
		act:step("hatter says 'm2 hi'", function () act:say("hatter", "m2 hi"); end);
		assert.equal("ophelia@e.example/pc", act:view("hatter").occupants.Ophelia.jid);
		act:step "ophelia leaves";
		act:expect_words("hatter", "Alice: h1 hello", "Ophelia: m1 hi", "Hatter: m2 hi");
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter");

		act = stage:act("05-private", { setting = true });
		local alice = stage:client "alice";
		act:step "hamlet (e) to Ophelia (e)";
		act:step "hamlet (e) to Alice (w)";
		alice:expect { "message", type = "chat", body = "psst"; from = act.ours .. "/Hamlet" };
		act:step("alice (w) to Hamlet (e)", function ()
			alice:send(("<message type='chat' id='p3' to='%s/Hamlet'><body>psst</body></message>"):format(act.ours));
			alice:expect { "message", type = "error"; id = "p3"; from = act.ours .. "/Hamlet" };
		end);
		act:step "hamlet to Alice's nick at w, directly";
		act:step "ping: hamlet to Alice";
		alice:expect { "iq", type = "get"; id = "i1" };
		act:step("version: alice to Hamlet", function ()
			alice:send(("<iq type='get' id='i2' to='%s/Hamlet'><query xmlns='jabber:iq:version'/></iq>"):format(act.ours));
			alice:expect { "iq", type = "error"; id = "i2" };
		end);
		act:step "vCard: hamlet to Alice";
		act:expect_words("alice");
		act:expect_occupants("alice", "Alice", "Hamlet", "Hatter", "Ophelia");
	end));

	it("nicknames: changes, and one nick on both sides (N20 G6 O7 O8)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e");
		local act = stage:act("06-nicks", { setting = true });
		act:step "hamlet (e) becomes Prince";
		assert.equal("303", (act:removal_of("alice", "Hamlet")));
		act:step "hamlet says 'm1 who am I?'";
		act:step("hatter (w) becomes Hare", function () act:present("hatter", "Hare"); end);
		act:step("hatter says 'm2 who am I?'", function () act:say("hatter", "m2 who am I?"); end);
		act:step "ophelia leaves";
		act:step "hamlet, now alone at e, becomes Dane";
		act:expect_occupants("alice", "Alice", "Dane", "Hare");
		act:step "hamlet says 'm3 can you hear me?'";
		act:step("alice says 'm4 can you hear me?'", function () act:say("alice", "m4 can you hear me?"); end);
		act:expect_words("hatter", "Prince: m1 who am I?", "Hare: m2 who am I?", "Alice: m4 can you hear me?");

		act = stage:act("07-collision");
		act:enter("alice");
		act:enter("hatter");
		act:step "hamlet joins at e, first, with a nick that is taken at w";
		act:step "hamlet says 'm1 I am Alice'";
		act:step "ophelia joins at e, second, with a nick that e knows to be taken at w";
		act:step "as Ophelia";
		act:step("dormouse joins at w with a nick", function ()
			stage:client("dormouse"):send(("<presence to='%s/Ophelia'><x xmlns='http://jabber.org/protocol/muc'/></presence>"):format(act.ours));
			stage:client("dormouse"):expect { "presence", type = "error" };
		end);
		act:say("alice", "m5 I am Alice");
		act:look();
		act:expect_words("hatter", "Alice: m5 I am Alice");
		act:expect_occupants("hatter", "Alice", "Hatter", "Ophelia");
		act:leave("alice");
		act:look(); -- now the nick is hamlet's
		act:expect_occupants("hatter", "Alice", "Hatter", "Ophelia");
		assert.equal("owner moderator", act:item_of("hatter", "Alice"));
	end));

	it("moderation: kicks, roles, affiliations, bans, destruction (N17 N18 O8 O16)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e");
		local act = stage:act("08-kicked", { setting = true });
		act:step("alice (owner, w) kicks Hatter (w)", function () act:administer("alice", { nick = "Hatter"; role = "none" }); end);
		act:expect_occupants("alice", "Alice", "Hamlet", "Ophelia");
		act:step("hatter joins w again", function () act:enter("hatter"); end);
		act:step("alice (owner, w) kicks Ophelia (e)", function () act:administer("alice", { nick = "Ophelia"; role = "none" }); end);
		assert.same({ "307", "rules" }, { act:removal_of("hatter", "Ophelia") });
		act:step "ophelia says 'm1 am I still there?'";
		act:step "ophelia leaves e";
		act:step "ophelia joins e again";
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter", "Ophelia");
		act:step "hamlet (owner, e) kicks Ophelia (e)";
		assert.same({ "307", "rules" }, { act:removal_of("hatter", "Ophelia") });
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter");
		act:step "hamlet says 'm2 is she gone?'";
		act:step "hamlet (owner, e) kicks Hatter (w)";
		assert.same({ "110 307", "rules" }, { act:removal_of("hatter", "Hatter") });
		act:expect_occupants("alice", "Alice", "Hamlet");
		act:step "hatter says 'm3 am I still there?'";
		act:expect_words("alice", "Hamlet: m2 is she gone?");

		act = stage:act("09-voice", { setting = true });
		act:step "hamlet (owner, e) takes Ophelia's voice (e)";
		assert.same({ "none visitor", "owner moderator" }, { act:item_of("hatter", "Ophelia"), act:item_of("hatter", "Hamlet") });
		act:step("alice says 'm1 what was that?'", function () act:say("alice", "m1 what was that?"); end);
		act:step "hamlet says 'm2 what was that?'";
		act:step("dormouse tries to join w", function () act:enter("dormouse"); end);
		act:step("hatter leaves w", function () act:leave("hatter"); end);
		act:step("hatter tries to join w again", function () act:enter("hatter"); end);
		act:administer("alice", { nick = "Dormouse"; role = "visitor" });
		act:administer("alice", { nick = "Ophelia"; role = "participant" });
		act:administer("alice", { nick = "Hamlet"; role = "visitor" });
		act:look();
		act:expect_occupants("dormouse", "Alice", "Dormouse", "Hamlet", "Hatter", "Ophelia");
		act:expect_words("alice", "Alice: m1 what was that?", "Hamlet: m2 what was that?");

		act = stage:act("10-affiliation", { setting = true });
		act:step("alice (owner, w) makes hatter a member (w)", function ()
			act:administer("alice", { jid = "hatter@w.example"; affiliation = "member" });
		end);
		act:skip "alice (owner, w) makes ophelia (e) a member";
		act:step("alice (owner, w) makes ophelia (e) a member", function ()
			act:administer("alice", { jid = "ophelia@e.example"; affiliation = "member" });
		end);
		assert.equal("member participant", act:item_of("hatter", "Ophelia"));
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter", "Ophelia");

		act = stage:act("11-banned", { setting = true });
		act:step("alice (owner, w) bans hatter (w)", function ()
			act:administer("alice", { jid = "hatter@w.example"; affiliation = "outcast" });
		end);
		act:step("alice (owner, w) bans ophelia (e)", function ()
			act:administer("alice", { jid = "ophelia@e.example"; affiliation = "outcast" });
		end);
		act:step "ophelia leaves";
		act:step "ophelia, banned at w, joins at e";
		act:expect_occupants("alice", "Alice", "Hamlet");
		act:step("alice (owner, w) destroys the room", function ()
			stage:client("alice"):send(("<iq type='set' id='destroy' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>")
				:format(act.ours));
			stage:client("alice"):expect { "iq", id = "destroy"; type = "result" };
		end);
		act:step "hamlet says 'm1 anybody?'";
	end));

	it("FMUC off and on, refusals, a user whom its own node forgets (N5 N16 O9 O10)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e");
		local act = stage:act("17-switched", { setting = true });
		act:step("the inbound session of e is closed", function () configure(act, "inbound_peers = { }"); end);
		act:expect_occupants("alice", "Alice", "Hatter");
		act:step "hamlet says 'm1 still there?'";
		act:step("alice says 'm2 still there?'", function () act:say("alice", "m2 still there?"); end);
		act:step("dormouse joins", function () act:enter("dormouse"); end);
		act:step "ophelia leaves";
		configure(act, ("inbound_peers = { %q }"):format(act.theirs));
		act:step "ophelia joins at e again";
		act:expect_occupants("alice", "Alice", "Dormouse", "Hatter", "Ophelia");
		act:step "FMUC is switched off for the room";
		act:expect_occupants("alice", "Alice", "Dormouse", "Hatter");
		act:step "FMUC is switched on again";
		act:step "hamlet says 'm3 and now?'";
		act:expect_occupants("alice", "Alice", "Dormouse", "Hamlet", "Hatter", "Ophelia");
		act:expect_words("hatter", "Alice: m2 still there?", "Hamlet: m3 and now?");

		act = stage:act("13-circular", { is_joining = true });
		act:step "hamlet joins at e; w's room is configured to join e's";
		act:step "hamlet says 'm1 alone'";
		act:step "another user joins at e";
		act:step("alice joins at w, which tries to join e", function () act:enter("alice"); end);
		act:expect_occupants("alice", "Alice");
		stage.node:expect_log "circular@rooms.w.example is not federated with circular@rooms.e.example: it refuses: The joined node is set up to";
	end));

	it("a kick by our moderator, and what Openfire had to keep until it was let in (N7 N14 N17 O2 O21)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "o");
		local act = stage:act("raw-joined", { room = "accepts"; is_joining = false });
		act:enter("kev");
		act:step "romeo joins at o";
		act:step("N6 without the joiner's own presence");
		act:step "romeo says something";
		act:step("N13: Kev says something", function () act:say("kev", "m1"); end);
		act:step("Kev says something, to the full JID", function () act:say("kev", "m2"); end);
		act:step("N14: Ann joins", function () act:enter("ann"); end);
		act:step("N17: Romeo was kicked", function () act:administer("kev", { nick = "Romeo"; role = "none" }); end);
		act:expect_words("ann", "Romeo: l1", "Kev: m1", "Kev: m2");
		act:expect_occupants("ann", "Ann", "Kev");
		assert.is_false(act.judge.is_open);

		act = stage:act("raw-joined", { room = "no-subject"; is_joining = false });
		act:enter("kev");
		act:skip "[no-subject] romeo joins at o";
		act:step "[no-subject] romeo joins at o";
		act:skip "[no-subject] at last a subject: what had to wait comes";
		act:step "[no-subject] at last a subject: what had to wait comes";
		act:step("[no-subject] Kev says something", function () act:say("kev", "m2"); end);
		act:expect_words("kev", "Romeo: l1", "Kev: m2");
		act:expect_occupants("kev", "Juliet", "Kev", "Romeo");
	end));
end);

describe(("our room joins one of Openfire, %s"):format(versions.e), function ()
	it("a whole session, the smallest one, history (N3 N6 N8 N9 N12 N13 N14 N15 N16 O3 O4 O12)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		-- Openfire keeps the ids that the joining node has given; ours, without an archive, gives none
		local act = stage:act("01-session", { renames = { ["<stanza%-id [^>]*by=\"session@rooms%.e%.example\"></stanza%-id>"] = "" } });
		act:step("the first user joins at e", function () act:enter("hamlet"); end);
		act:step("a second user joins at e", function () act:enter("ophelia"); end);
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Hatter", "Ophelia");
		assert.same({ "owner moderator", "none participant" }, { act:item_of("ophelia", "Alice"), act:item_of("hamlet", "Hatter") });
		assert.equal("alice@w.example/pc", act:view("hamlet").occupants.Alice.jid);
		act:step "a user joins at w";
		act:step("hamlet says 'm1 to be'", function () act:say("hamlet", "m1 to be"); end);
		act:step "alice says 'm2 or not'";
		act:step("hamlet sends a chat state", function ()
			stage:client("hamlet"):send(("<message type='groupchat' to='%s'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
				:format(act.ours));
		end);
		act:step("hamlet corrects m1", function ()
			stage:client("hamlet"):send(("<message type='groupchat' to='%s' id='m1b'><body>m1 to be!</body><replace id='m1' xmlns='%s'/></message>")
				:format(act.ours, "urn:xmpp:message-correct:0"));
		end);
		act:step("hamlet is away", function () act:present("hamlet", "Hamlet", "away"); end);
		act:step "alice is away";
		assert.equal("away", act:view("hamlet").occupants.Alice.show);
		act:step "alice changes the subject";
		act:step("hamlet changes the subject", function () act:set_subject("hamlet", "Poison", "s3"); end);
		act:step "a user leaves at w";
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Hatter", "Ophelia");
		act:step("a user leaves at e; another is still there", function () act:leave("ophelia"); end);
		act:expect_words("hamlet", "Alice: h1 more tea?", "Hatter: h2 nothing yet", "Alice* Tea", "Hamlet: m1 to be", "Alice: m2 or not",
			"Hamlet: m1 to be!", "Alice* Coffee", "Hamlet* Poison");
		act:step("the last user leaves at e", function () act:leave("hamlet"); end);
		act:step "alice says something when nobody is left";
		act:step("hamlet joins again", function () act:enter("hamlet"); end);
		act:expect_words("hamlet", "Alice: h1 more tea?", "Hatter: h2 nothing yet", "Hamlet: m1 to be", "Alice: m2 or not", "Hamlet: m1 to be!",
			"Hamlet* Poison", "Alice: m3 alone", "Alice* Coffee");
		act:step("ophelia joins after that", function () act:enter("ophelia"); end);
		-- history is in the order of time: what is said today comes after the recording
		act:expect_words("ophelia", "Alice: h1 more tea?", "Hatter: h2 nothing yet", "Alice: m3 alone", "Hamlet: m1 to be", "Alice: m2 or not",
			"Hamlet: m1 to be!", "Alice* Coffee");
		act:step("hamlet leaves by logging out", function () act:leave("hamlet"); end);
		act:expect_occupants("ophelia", "Alice", "Hatter", "Ophelia");

		act = stage:act("02-late");
		act:step("a user joins at e; the room at w is empty", function () act:enter("hamlet"); end);
		act:step "the first user at w joins";
		act:expect_occupants("hamlet", "Alice", "Hamlet");
		act:step "the last user at w leaves";
		act:expect_occupants("hamlet", "Hamlet");
		act:step("the last user at e leaves", function () act:leave("hamlet"); end);

		act = stage:act("02-late", { room = "hasty"; renames = { ["late@"] = "hasty@" } });
		act:step("a user joins at e; the room at w is empty", function ()
			act:enter("hamlet");
			act:leave("hamlet"); -- before the answer
		end);
		assert.is_false(act.judge.is_open);

		act = stage:act("03-history");
		act:step("history with a message that has a subject and a body", function () act:enter("hamlet"); end);
		act:step("hamlet says 'm1 am I there?'", function () act:say("hamlet", "m1 am I there?"); end);
		act:expect_words("hamlet", "Alice: with a body", "Alice: h2 after it", "Hamlet: m1 am I there?");
		act:expect_occupants("hamlet", "Alice", "Hamlet");
	end));

	it("non-anonymous rooms, private messages and requests, nicknames (N11 N20 O4 O20 G6 G21)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		local act = stage:act("04-open", { code = "room:set_whois(\"anyone\");" });
		act:step("non-anonymous rooms: an owner joins at e", function () act:enter("hamlet"); end);
		act:step("non-anonymous rooms: a participant joins at e", function () act:enter("ophelia"); end);
		act:step "non-anonymous rooms: a participant joins at w";
		act:step("ophelia says 'm1 hi'", function () act:say("ophelia", "m1 hi"); end);
		act:step "hatter says 'm2 hi'";
		assert.equal("hatter@w.example/pc", act:view("ophelia").occupants.Hatter.jid);
		act:step("ophelia leaves", function () act:leave("ophelia"); end);
		act:expect_words("hamlet", "Alice: h1 hello", "Ophelia: m1 hi", "Hatter: m2 hi");
		act:expect_occupants("hamlet", "Alice", "Hamlet", "Hatter");

		act = stage:act("05-private", { setting = true });
		local hamlet = stage:client "hamlet";
		act:skip "hamlet (e) to Alice (w)";
		act:step("hamlet (e) to Alice (w)", function ()
			hamlet:send(("<message type='chat' id='p2' to='%s/Alice'><body>psst</body></message>"):format(act.ours));
			hamlet:expect { "message", type = "error"; id = "p2"; from = act.ours .. "/Alice" };
		end);
		act:step "alice (w) to Hamlet (e)";
		hamlet:expect { "message", type = "chat", body = "psst"; from = act.ours .. "/Alice" };
		act:skip "ping: hamlet to Alice";
		act:step("ping: hamlet to Alice", function ()
			hamlet:send(("<iq type='get' id='i1' to='%s/Alice'><ping xmlns='urn:xmpp:ping'/></iq>"):format(act.ours));
			hamlet:expect { "iq", type = "error"; id = "i1" };
		end);
		act:step "version: alice to Hamlet";
		hamlet:expect { "iq", type = "get"; id = "i2" };
		act:step("vCard: hamlet to Alice", function ()
			hamlet:send(("<iq type='get' id='i3' to='%s/Alice'><vCard xmlns='vcard-temp'/></iq>"):format(act.ours));
			hamlet:expect { "iq", type = "error"; id = "i3" };
		end);
		act:expect_words("hamlet");
		act:expect_occupants("hamlet", "Alice", "Hamlet", "Hatter", "Ophelia");

		act = stage:act("06-nicks", { setting = true });
		act:step("hamlet (e) becomes Prince", function () act:present("hamlet", "Prince"); end);
		act:step("hamlet says 'm1 who am I?'", function () act:say("hamlet", "m1 who am I?"); end);
		act:step "hatter (w) becomes Hare";
		assert.equal("303", (act:removal_of("hamlet", "Hatter")));
		act:step "hatter says 'm2 who am I?'";
		act:step("ophelia leaves", function () act:leave("ophelia"); end);
		act:expect_words("hamlet", "Prince: m1 who am I?", "Hare: m2 who am I?");
		act:expect_occupants("hamlet", "Alice", "Hare", "Prince");
		act:step("hamlet, now alone at e, becomes Dane", function () act:present("hamlet", "Dane"); end);
		act:answer_join("01-session", { Hatter = "Hare" });
		act:expect_occupants("hamlet", "Alice", "Dane", "Hare");
		assert.is_nil(act:removal_of("hamlet", "Alice"));
		act:step("hamlet says 'm3 can you hear me?'", function () act:say("hamlet", "m3 can you hear me?"); end);
		act:step "alice says 'm4 can you hear me?'";
		act:expect_words("hamlet", "Prince: m1 who am I?", "Hare: m2 who am I?", "Dane: m3 can you hear me?");
		act:present("hamlet", "Ghost");
		act:look();
		act:confirm_left();
		act:answer_join("01-session", nil, "hamlet joins again"); -- all that was said, also what our room does not remember
		act:expect_words("hamlet", "Prince: m1 who am I?", "Hare: m2 who am I?", "Dane: m3 can you hear me?", "Alice* Coffee");
	end));

	it("one nick on both sides (G6 O8 N20)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		local act = stage:act("07-collision");
		act:step("hamlet joins at e, first, with a nick that is taken at w", function () act:enter("hamlet", "Alice"); end);
		act:expect_occupants("hamlet", "Alice");
		act:step("hamlet says 'm1 I am Alice'", function () act:say("hamlet", "m1 I am Alice"); end);
		act:skip "as Ophelia";
		act:step("as Ophelia", function () act:enter("ophelia"); end);
		act:answer_join "07-collision";
		act:step "dormouse joins at w with a nick";
		act:expect_occupants("ophelia", "Alice", "Hatter", "Ophelia");
		assert.equal("hamlet@e.example/pc", act:view("hamlet").occupants.Alice.jid);
		act:say("hamlet", "m2 still Alice");
		act:say("ophelia", "m3 I am not");
		act:look();
		act:present("hamlet", "Hamlet");
		stage:client("hamlet"):expect { "presence", type = false, from = act.ours .. "/Alice"; where = function (presence)
			return presence:find(nodes.muc_user .. "/item@jid") == "alice@w.example/pc";
		end };
		act:look();
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Hatter", "Ophelia");
		assert.equal("alice@w.example/pc", act:view("hamlet").occupants.Alice.jid);
	end));

	it("moderation: kicks, roles, affiliations, bans (N17 N18 O8 O16)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		local act = stage:act("08-kicked", { setting = true });
		act:step "alice (owner, w) kicks Hatter (w)";
		assert.same({ "307", "rules" }, { act:removal_of("ophelia", "Hatter") });
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Ophelia");
		act:step "hatter joins w again";
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Hatter", "Ophelia");
		act:step "alice (owner, w) kicks Ophelia (e)";
		assert.same({ "110 307", "rules" }, { act:removal_of("ophelia", "Ophelia") });
		act:expect_occupants("hamlet", "Alice", "Hamlet", "Hatter");
		act:skip "ophelia joins e again";
		act:step("ophelia joins e again", function () act:enter("ophelia"); end);
		act:step("hamlet (owner, e) kicks Ophelia (e)", function () act:administer("hamlet", { nick = "Ophelia"; role = "none" }); end);
		act:step("hamlet says 'm2 is she gone?'", function () act:say("hamlet", "m2 is she gone?"); end);
		act:step("hamlet (owner, e) kicks Hatter (w)", function () act:administer("hamlet", { nick = "Hatter"; role = "none" }); end);
		act:expect_occupants("hamlet", "Alice", "Hamlet");
		act:step "hatter says 'm3 am I still there?'";
		act:expect_words("hamlet", "Hamlet: m2 is she gone?");

		act = stage:act("09-voice", { setting = true });
		act:step("hamlet (owner, e) takes Ophelia's voice (e)", function () act:administer("hamlet", { nick = "Ophelia"; role = "visitor" }); end);
		act:step "alice says 'm1 what was that?'";
		act:step("hamlet says 'm2 what was that?'", function () act:say("hamlet", "m2 what was that?"); end);
		act:expect_words("ophelia", "Alice: m1 what was that?", "Hamlet: m2 what was that?");

		act = stage:act("10-affiliation", { setting = true });
		act:step "alice (owner, w) makes hatter a member (w)";
		assert.same({ "member participant", "owner moderator" }, { act:item_of("hamlet", "Hatter"), act:item_of("hamlet", "Alice") });
		act:step("ophelia leaves e", function () act:leave("ophelia"); end);
		act:step("ophelia tries to join e again", function () act:enter("ophelia"); end);
		act:step "alice (owner, w) makes ophelia (e) a member";
		assert.equal("none participant", act:item_of("hamlet", "Ophelia"));
		act:expect_occupants("ophelia", "Alice", "Hamlet", "Hatter", "Ophelia");

		act = stage:act("11-banned", { setting = true });
		act:step "alice (owner, w) bans hatter (w)";
		assert.equal("301", (act:removal_of("hamlet", "Hatter")));
		act:step "alice (owner, w) bans ophelia (e)";
		act:expect_occupants("hamlet", "Alice", "Hamlet", "Ophelia");
		act:step("ophelia leaves", function () act:leave("ophelia"); end);
		act:step("ophelia, banned at w, joins at e", function () act:enter("ophelia"); end);
		act:step "alice (owner, w) destroys the room";
		act:expect_occupants("hamlet", "Hamlet", "Ophelia");
		act:step("hamlet says 'm1 anybody?'", function () act:say("hamlet", "m1 anybody?"); end);
		act:expect_words("ophelia", "Alice: h1 more tea?", "Hatter: h2 nothing yet", "Alice* Tea", "Hamlet: m1 anybody?");
	end));

	it("FMUC off and on, and refusals (N5 N16 O9 O10)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		local act = stage:act("17-switched", { setting = true });
		act:step "the inbound session of e is closed";
		act:expect_occupants("hamlet", "Hamlet", "Ophelia");
		act:step("hamlet says 'm1 still there?'", function () act:say("hamlet", "m1 still there?"); end);
		act:step "alice says 'm2 still there?'";
		act:step "dormouse joins";
		act:skip "ophelia joins at e again"; -- our room has asked again at once
		act:step "ophelia joins at e again";
		act:expect_occupants("hamlet", "Alice", "Dormouse", "Hamlet", "Hatter", "Ophelia");
		act:step("FMUC is switched off for the room", function () configure(act, "outbound_peer = ''"); end);
		act:expect_occupants("hamlet", "Hamlet", "Ophelia");
		act:step("FMUC is switched on again", function () configure(act, ("outbound_peer = %q"):format(act.theirs)); end);
		act:expect_occupants("hamlet", "Alice", "Dormouse", "Hamlet", "Hatter", "Ophelia");
		act:step("hamlet says 'm3 and now?'", function () act:say("hamlet", "m3 and now?"); end);
		act:step "w's system properties: xmpp.muc.room.fmuc.enabled = false";
		act:step("hamlet says 'm4 and now?'", function () act:say("hamlet", "m4 and now?"); end);
		act:expect_words("ophelia", "Hamlet: m1 still there?", "Alice: m2 still there?", "Hamlet: m3 and now?", "Hamlet: m4 and now?");

		act = stage:act("13-circular");
		act:step("hamlet joins at e; w's room is configured to join e's", function () act:enter("hamlet"); end);
		act:expect_occupants("hamlet", "Hamlet");
		act:step("hamlet says 'm1 alone'", function () act:say("hamlet", "m1 alone"); end);
		act:step("another user joins at e", function () act:enter("ophelia"); end);
		act:expect_occupants("ophelia", "Hamlet", "Ophelia");
	end));

	it("hand-written stanzas: resync by part and rejoin, history with private messages, changes of nick (N4 N16 N17 N20 O2 O7 O20)",
			bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "o");
		local act = stage:act("raw-joining", { room = "as-specified", renames = { ["<stanza%-id [^>]*id=\"SID\"></stanza%-id>"] = "" } });
		act:step("N3: a join as in the XEP", function () act:enter("kev"); end);
		act:step("N12: a message to the bare room", function () act:say("kev", "m1"); end);
		act:step("the same to the full JID", function () act:say("kev", "m2"); end);
		act:step("N14: a second user", function () act:enter("ann"); end);
		act:step("a status change", function () act:present("ann", "Ann", "away"); end);
		act:step("a role change", function () act:administer("kev", { nick = "Ann"; role = "visitor" }); end);
		act:skip "romeo says something";
		act:step "romeo says something";
		act:skip "N20: a resync by parting and joining again";
		act:step("N20: a resync by parting and joining again", function ()
			act:leave("ann");
			act:leave("kev");
		end);
		act:step("and Kev joins again", function () act:enter("kev"); end);
		act:expect_occupants("kev", "Kev", "Romeo");
		act:expect_words("kev", "Romeo: before", "Juliet: before", "Kev: m1", "Kev: m2", "Romeo: l1", "Kev: m3", "Romeo: m5");
		act:step("Kev is kicked at the raw node", function ()
			stage.node:eval(([[return prosody.hosts["rooms.raw.example"].modules.muc.get_room_from_jid(%q):set_role(true, %q, nil, "rules");]])
				:format(act.ours, act.ours .. "/Kev"));
		end);

		act = stage:act("raw-joining", { room = "nick-change" });
		act:skip "[nick-change] Kev and Ann join";
		act:step("[nick-change] Kev and Ann join", function ()
			act:enter("kev");
			act:enter("ann");
		end);
		act:step("Kev becomes Kevin", function () act:present("kev", "Kevin"); end);
		act:leave("ann");
		act:look();
		act:expect_occupants("kev", "Juliet", "Kevin", "Romeo");
	end));
end);

describe(("rooms of Openfire and ours in a row, %s"):format(versions.e), function ()
	it("ours in the middle (N1 N10 N14 N16 O3 O6 G18)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "w");
		local far = "far@rooms.w.example";
		local act = stage:act("18-chain", { inbound_peers = { far } });
		act:join_too(far);
		act:enter("hamlet");
		act:look();
		act:answer_join("04-open");
		act:expect_occupants("hamlet", "Alice", "Hamlet");
		act:step "hatter joins far@";
		act:expect_occupants("hamlet", "Alice", "Hamlet", "Hatter");
		act:step "hatter says 'm1 from the far end'";
		act:step "alice says 'm2 from the other end'";
		act:step("hamlet says 'm3 from the middle'", function () act:say("hamlet", "m3 from the middle"); end);
		act:step "alice changes the subject";
		act:step "dormouse joins";
		act:expect_occupants("hamlet", "Alice", "Dormouse", "Hamlet", "Hatter");
		act:step "dormouse leaves";
		act:expect_words("hamlet", "Alice: h1 hello", "Hatter: m1 from the far end", "Alice: m2 from the other end", "Hamlet: m3 from the middle",
			"Alice* Chains");
		assert.same({ "h1 hello", "subject: ", "m2 from the other end", "m3 from the middle", "subject: Chains" }, words_for(stage, far));
		assert.same({ "m1 from the far end", "m3 from the middle" }, words_for(stage, act.theirs));
		act:step("hamlet leaves the middle", function () act:leave("hamlet"); end);
		act:step "alice says 'm4 still there?'";
		assert.equal("m4 still there?", stage.link:expect(stage.node, { "message", id = "m4"; to = far }):get_child_text("body"));
		act:step "the last user of the far end leaves";
		assert.is_false(act.judges[far].is_open);
		assert.is_false(act.judge.is_open);
	end));

	it("ours at either end (N1 N14 N16 O3 O6 G19)", bed.scenario(function (s)
		local stage = transcript.stage(s, versions, "e", "\tfmuc_trust = { [\"rooms.e.example\"] = { \"v.example\", \"f.example\" } }\n");
		local act = stage:act("18-chain", { room = "far"; their = "chain"; is_joining = true; only = "to=\"far@";
			renames = { ["alice@w%.example"] = "alice@v.example"; ["dormouse@w%.example"] = "dormouse@v.example" } });
		act:step("hatter joins far@", function () act:enter("hatter"); end);
		act:expect_occupants("hatter", "Alice", "Hamlet", "Hatter");
		act:step("hatter says 'm1 from the far end'", function () act:say("hatter", "m1 from the far end"); end);
		act:step "alice says 'm2 from the other end'";
		act:step "hamlet says 'm3 from the middle'";
		act:step "alice changes the subject";
		act:step "dormouse joins";
		act:expect_occupants("hatter", "Alice", "Dormouse", "Hamlet", "Hatter");
		act:step "dormouse leaves";
		act:step "hamlet leaves the middle";
		act:step "alice says 'm4 still there?'";
		act:expect_words("hatter", "Alice: h1 before", "Hatter: m1 from the far end", "Alice: m2 from the other end", "Hamlet: m3 from the middle",
			"Alice* Chains", "Alice: m4 still there?");
		act:expect_occupants("hatter", "Alice", "Hatter");
		act:step("the last user of the far end leaves", function () act:leave("hatter"); end);

		act = stage:act("18-chain", { setting = 1; only = "to=\"chain@"; renames = { ["hatter@w%.example"] = "hatter@f.example" } });
		act:step "hatter joins far@";
		act:expect_occupants("alice", "Alice", "Hamlet", "Hatter");
		act:step "hatter says 'm1 from the far end'";
		act:step("alice says 'm2 from the other end'", function () act:say("alice", "m2 from the other end"); end);
		act:step "hamlet says 'm3 from the middle'";
		act:step("alice changes the subject", function () act:set_subject("alice", "Chains", "s2"); end);
		act:step("dormouse joins", function () act:enter("dormouse"); end);
		act:step("dormouse leaves", function () act:leave("dormouse"); end);
		act:step "hamlet leaves the middle";
		act:step("alice says 'm4 still there?'", function () act:say("alice", "m4 still there?"); end);
		act:expect_occupants("alice", "Alice", "Hatter");
		act:step "the last user of the far end leaves";
		assert.is_false(act.judge.is_open);
		act:expect_words("alice", "Hatter: m1 from the far end", "Alice: m2 from the other end", "Hamlet: m3 from the middle", "Alice* Chains",
			"Alice: m4 still there?");
	end));
end);
end
