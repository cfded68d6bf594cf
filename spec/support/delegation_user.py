# SPDX-License-Identifier: MIT
# A user with the data forms and ad-hoc commands of slixmpp, for spec/e2e/delegation/example_spec.lua.
# Arguments: JID, password, address of the server, entity, and what to do: yes, no, cancel (answers to the next question), set=TEXT, get (the
# note), show, revoke (with the command). Prints what it sees, one line each.

import asyncio, os, sys, slixmpp
from xml.etree.ElementTree import Element

NODE = "urn:xmpp:delegation:2#configure"
NOTES = "urn:example:notes"
TIMEOUT = 10 * float(os.environ.get("PATIENCE", 10))


class User(slixmpp.ClientXMPP):
    def __init__(self, jid, password, entity):
        super().__init__(jid, password)
        self.entity = entity
        for plugin in "xep_0004", "xep_0030", "xep_0050":
            self.register_plugin(plugin)
        self.forms = asyncio.Queue()
        self.add_event_handler("session_start", self.start)
        self.add_event_handler("message_xform", self.forms.put_nowait)

    async def note(self, kind, text=None):
        request = self.Iq()
        request["type"] = kind
        element = Element("{%s}note" % NOTES)
        element.text = text
        request.append(element)
        try:
            answer = await request.send(timeout=TIMEOUT)
            print("note:", answer.xml[0].text, flush=True)
        except slixmpp.exceptions.IqError as error:
            print("note:", error.iq["error"]["condition"], flush=True)

    async def step(self, action, session=None, values=None):
        payload = None
        if values is not None:
            payload = self["xep_0004"].make_form(ftype="submit")
            for var, value in values.items():
                payload.add_field(var=var, value=value)
        return await self["xep_0050"].send_command(
            self.boundjid.host, NODE, action=action, sessionid=session, payload=payload, timeout=TIMEOUT)

    async def configure(self, changes):
        first = await self.step("execute")
        session = first["command"]["sessionid"]
        print("entities:", [option["value"] for option in first["command"]["form"].get_fields()["entity"]["options"]], flush=True)
        second = await self.step("next", session, {"entity": self.entity})
        form = second["command"]["form"]
        values = {var: field["value"] for var, field in form.get_fields().items()}
        print("values:", {var: values[var] for var in sorted(values) if var in (NOTES, "persist")}, flush=True)
        values.update(changes)
        last = await self.step("complete", session, values)
        print("note of the command:", last["command"]["notes"], last["command"]["status"], flush=True)

    async def start(self, event):
        self.send_presence()
        for action in sys.argv[5:]:
            if action in ("yes", "no", "cancel"):
                message = await self.forms.get()
                form = message["form"]
                if action == "cancel":
                    form.cancel()
                else:
                    fields = form.get_fields()
                    print("asked:", fields[NOTES]["label"], fields[NOTES]["value"], sorted(fields), flush=True)
                    form.reply()
                    form["values"] = {NOTES: action == "yes" and "1" or "0", "persist": "1"}
                reply = self.Message()
                reply["to"] = message["from"]
                reply["type"] = "normal"
                reply.append(form)
                reply.send()
            elif action == "revoke":
                await self.configure({NOTES: "0"})
            elif action == "show":
                await self.configure({})
            elif action.startswith("set="):
                await self.note("set", action[4:])
            elif action == "get":
                await self.note("get")
        self.disconnect()


user = User(sys.argv[1], sys.argv[2], sys.argv[4])
user.connect((sys.argv[3], 5222), force_starttls=False, disable_starttls=True)
user.process(forever=False)
