# SPDX-License-Identifier: MIT
# Runs one Openfire for openfire.lua, with the tools in the folder that the environment variable OPENFIRE names.
# Argument: a JSON file that describes the server. Prints "ready PID" with the pid of the Java program, and ends when that has ended.
# With two more arguments it acts on the running server instead: a method of the tools' class Console, and a JSON list of what that takes.
# Then it prints "done".

import asyncio, json, os, sys
from pathlib import Path

tools = Path(os.environ.pop("OPENFIRE"))
if (tools / "openfire").is_dir():  # else the tools know where a build is
    os.environ["OPENFIRE"] = str(tools / "openfire")
sys.path.insert(0, str(tools))

import node

# The server has an address of its own, so it can have the ports of every other server. openfire takes these over when it is loaded.
node.C2S, node.S2S = 5222, 5269

import openfire

PATIENCE = 3600  # openfire.lua gives up earlier


def make_server(description):
    rooms = [
        openfire.Room(name, fmuc=room.get("federates", True), outbound=room.get("joins"), owners=room.get("owners", ()),
                      options=room.get("columns", {}))
        for name, room in description.pop("rooms").items()
    ]
    peers = description.pop("peers")
    server = openfire.Openfire(rooms=rooms, **description)
    for domain, (ip, port) in peers.items():
        server.dns.set_xmpp(domain, ip, port)
    return server


async def run(server):
    await server.start(PATIENCE)
    print("ready", server.pid, flush=True)
    server.proc.wait()


server = make_server(json.loads(Path(sys.argv[1]).read_text()))
if len(sys.argv) > 2:
    getattr(server.console(), sys.argv[2])(*json.loads(sys.argv[3]))
    print("done", flush=True)
else:
    asyncio.run(run(server))
