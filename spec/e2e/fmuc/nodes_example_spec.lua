-- SPDX-License-Identifier: MIT
-- mod_fmuc: the example of federated rooms in its README, three servers, as a new user would try it.

local bed = require "bed";
local example = require "example";
local nodes = require "nodes";

local text = example.section("Example: three servers");
local shore_config, ship_config = table.unpack(example.blocks(text, "lua"));
local accept, join = table.unpack(example.blocks(text, "sh"));
local commands = table.unpack(example.blocks(example.section("Example: two servers"), "sh"));
local make_room, accept_room = text:match("\n    (/join bridge@[^\n]+)\n    (/room [^\n]+)\n");
local links = text:match("and why it is not up:\n\n(.-)\n    1 links\n");

local harbour = "harbour@rooms.shore.example";

-- The configuration of the other ship, as the README says
local function of_beagle(config)
	return (config:gsub("argo", "\0"):gsub("beagle", "argo"):gsub("%z", "beagle"));
end

for _, versions in ipairs(nodes.crossings()) do
describe(("the README's example of federated rooms, ships with %s and shore with %s"):format(versions.e, versions.w), function ()
	it("has everybody of three servers in one room, and shows the links (N1 G19)", bed.scenario(function (s)
		local shore = example.new_server(s, versions.w, shore_config, "prosodyctl adduser ada@shore.example", commands);
		local argo = example.new_server(s, versions.e, ship_config, "prosodyctl adduser captain@argo.example", commands);
		local beagle = example.new_server(s, versions.e, of_beagle(ship_config), "prosodyctl adduser charles@beagle.example", commands);
		local captain = example.start_profanity(s, argo, "captain@argo.example");
		captain:type(make_room);
		captain:expect("Room locked");
		captain:type(accept_room);
		captain:expect("Room unlocked");
		local ada, charles = shore:client("ada@shore.example/desk"), beagle:client("charles@beagle.example/cabin");
		for client, room in pairs { [ada] = harbour .. "/Ada"; [charles] = "bridge@rooms.beagle.example/Charles" } do
			client:send(("<presence to='%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>"):format(room));
			client:expect { "presence", from = room };
			client:send(("<iq type='set' id='open' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/>"
				.. "</query></iq>"):format(room:match("^[^/]+")));
			client:expect { "iq", type = "result", id = "open" };
		end
		example.federate(shore, accept);
		example.federate(argo, join);
		example.federate(beagle, of_beagle(join));
		for _, node in ipairs { shore, argo, beagle } do
			local room = node == shore and harbour or ("bridge@rooms.%s.example"):format(node == argo and "argo" or "beagle");
			nodes.expect_occupants(node, room, "Ada", "Captain", "Charles");
		end
		captain:type("Ahoy");
		for _, client in ipairs { ada, charles } do client:expect { "message", body = "Ahoy" }; end
		charles:send(("<message type='groupchat' to='bridge@rooms.beagle.example' id='m'><body>A finch</body></message>"));
		captain:expect("Charles: A finch");
		local admin = argo:client("captain@argo.example/admin");
		local shown = example.overview(admin, "rooms.argo.example", "Links of rooms");
		assert.truthy(shown:find(example.pattern(links)), shown);
	end));
end);
end
