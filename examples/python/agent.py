#!/usr/bin/env python3
"""An agent for TCP tunnels, from SPEC.md alone: Python 3.9 or later, standard library only.

    ADIT_SECRET=ads_… python3 agent.py --gateway 127.0.0.1:7000 --upstream 127.0.0.1:5432

It speaks the native carrier below TLS (SPEC 2 rule 3), to a gateway that was started with --plain-agents: Python's `ssl`
gives programs no exporter, to which the proof of a TLS session is bound. So it is a proof of the specification, and a
start for an agent in a language whose TLS has one.
"""

import argparse
import asyncio
import base64
import os
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "wire-proto" / "python"))

from adit_wire import (  # noqa: E402
    Credential,
    Order,
    Refused,
    check_head,
    decode,
    encode,
    encode_frame,
    prefixed,
    take_frame,
    take_message,
    transcript,
)

WINDOW = 1 << 18
# Section 16.2.
CODES = {"PROTOCOL": 1, "MALFORMED": 2, "FRAME_TOO_LARGE": 3, "UNKNOWN_FRAME": 4, "UNEXPECTED": 5, "FLOW_CONTROL": 6}
CODES.update({"STREAM_CLOSED": 8, "AUTH_FAILED": 11, "UPSTREAM_UNREACHABLE": 0x20, "UPSTREAM_RESET": 0x22})
UNKNOWN_TUNNEL = 0x23


class Stream:
    """One stream, both ways: credit is the sum since it began (section 3.5)."""

    def __init__(self, number, limit):
        self.id, self.limit, self.sent, self.received, self.granted = number, limit, 0, 0, WINDOW
        self.credit = asyncio.Event()
        self.inbox = asyncio.Queue()
        self.ended, self.finished = False, False


class Agent:
    def __init__(self, reader, writer, credential, upstream):
        self.reader, self.writer, self.credential, self.upstream = reader, writer, credential, upstream
        self.streams, self.order, self.control, self.window = {}, Order(dialled_by_peer=False), bytearray(), 0
        self.messages, self.registered, self.tasks = asyncio.Queue(), None, set()

    def send(self, **value):
        self.writer.write(encode_frame(value))

    async def write(self, stream, octets, fin=False):
        """DATA within the peer's credit."""
        while octets or fin:
            room = min(stream.limit - stream.sent, 16376, len(octets))
            if octets and room == 0:
                stream.credit.clear()
                await stream.credit.wait()
                continue
            part, octets = octets[:room], octets[room:]
            last = fin and not octets
            self.send(kind="DATA", id=stream.id, payload=part.hex(), fin=last)
            stream.sent += len(part)
            if last:
                break
            await self.writer.drain()

    def read(self, stream, octets):
        """What was read may be sent again."""
        if stream.received + WINDOW // 2 > stream.granted and not stream.ended:
            stream.granted = stream.received + WINDOW
            self.send(kind="CREDIT", id=stream.id, limit=stream.granted)
        return octets

    async def say(self, value):
        await self.write(self.streams[1], prefixed(encode("AgentMessage", value)))

    async def receive(self):
        buffer = bytearray()
        while octets := await self.reader.read(65536):
            buffer += octets
            while (value := take_frame(buffer)) is not None:
                self.order.receive(value)
                if value.get("kind") == "CLOSE":
                    raise SystemExit(f"the gateway closed: code {value['code']}")
                self.on_frame(value)
            await self.writer.drain()
        raise SystemExit("the connection ended")

    def on_frame(self, value):
        kind = value.get("kind")
        stream = self.streams.get(value.get("id"))
        if kind == "HELLO":
            self.window = value["stream_window"]
            self.streams[1] = Stream(1, self.window)
            self.send(kind="OPEN", id=1, credit=WINDOW, head=encode("StreamHead", {"protocol": 9}).hex(), fin=False)
            self.start(self.session())
        elif kind == "PING" and not value["ack"]:
            self.send(kind="PING", sequence=value["sequence"], ack=True)
        elif kind == "OPEN":
            self.on_open(value)
        elif kind == "DATA" and stream:
            self.on_data(stream, bytes.fromhex(value["payload"]), value["fin"])
        elif kind == "CREDIT" and stream:
            stream.limit = max(stream.limit, value["limit"])
            stream.credit.set()
        elif kind == "RESET" and stream:
            stream.ended = True
            stream.inbox.put_nowait(None)
        elif kind == "STOP" and stream and not stream.finished:
            stream.finished = True
            self.send(kind="RESET", id=stream.id, code=value["code"])

    def on_data(self, stream, octets, fin):
        if stream.ended:
            raise Refused("STREAM_CLOSED", "after the end")
        stream.received += len(octets)
        if stream.received > stream.granted:
            raise Refused("FLOW_CONTROL", "past the credit")
        if stream.id == 1:
            self.control += self.read(stream, octets)
            while (message := take_message(self.control)) is not None:
                self.messages.put_nowait(decode("GatewayMessage", message))
            return
        stream.ended = fin
        if octets:
            stream.inbox.put_nowait(octets)
        if fin:
            stream.inbox.put_nowait(b"")

    def on_open(self, value):
        stream = Stream(value["id"], value["credit"])
        try:
            head = check_head(bytes.fromhex(value["head"]))
        except Refused as error:
            return self.refuse(stream, CODES[error.code])
        ours = self.registered or {}
        if any(head.get(key) != ours.get(key) for key in ("registration", "generation")):
            return self.refuse(stream, UNKNOWN_TUNNEL)
        self.streams[stream.id] = stream
        stream.ended = value["fin"]
        self.start(self.visit(stream))

    def refuse(self, stream, code):
        self.send(kind="RESET", id=stream.id, code=code)
        self.send(kind="STOP", id=stream.id, code=code)

    def start(self, task):
        task = asyncio.ensure_future(task)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def session(self):
        """Sections 7 to 9: hello, challenge, proof, welcome, registration, and then the notices."""
        offer = {"leastVersion": 1, "mostVersion": 1, "software": "adit-python/1", "credential": self.credential.id}
        offer = encode("Offer", {**offer, "nonce": base64.b64encode(secrets.token_bytes(32)).decode()})
        await self.say({"hello": {"offer": base64.b64encode(offer).decode()}})
        challenge = base64.b64decode((await self.hear("challenge"))["nonce"])
        bound = transcript(None, challenge, offer)
        await self.say({"proof": {"proof": base64.b64encode(self.credential.proof(bound)).decode()}})
        welcome = await self.hear("welcome")
        settings = base64.b64decode(welcome["settings"])
        if base64.b64decode(welcome["proof"]) != self.credential.gateway_proof(bound, settings):
            raise SystemExit("the gateway doesn't know the credential")
        await self.say({"request": 1, "register": {"protocol": "PROTOCOL_TCP"}})
        self.registered = await self.hear("registered")
        print("serving", *self.registered["addresses"], flush=True)
        while True:
            message = await self.messages.get()
            if any(kind in message for kind in ("terminate", "superseded", "drain")):
                raise SystemExit(f"the gateway says: {message}")

    async def hear(self, kind):
        message = await self.messages.get()
        if kind not in message:
            raise SystemExit(f"no {kind}: {message}")
        return message[kind]

    async def visit(self, stream):
        """Section 10: the upstream's octets, half-close both ways."""
        try:
            reader, writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            self.refuse(stream, CODES["UPSTREAM_UNREACHABLE"])
            return
        await asyncio.gather(self.forth(stream, writer), self.back(stream, reader), return_exceptions=True)
        writer.close()
        self.streams.pop(stream.id, None)

    async def forth(self, stream, writer):
        while octets := await stream.inbox.get():
            writer.write(self.read(stream, octets))
            await writer.drain()
        if octets is None:
            writer.transport.abort()
        elif writer.can_write_eof():
            writer.write_eof()

    async def back(self, stream, reader):
        try:
            while octets := await reader.read(16376):
                await self.write(stream, octets)
            stream.finished = True
            await self.write(stream, b"", fin=True)
        except ConnectionError:
            self.send(kind="RESET", id=stream.id, code=CODES["UPSTREAM_RESET"])


async def run(flags):
    address = lambda text: (text.rsplit(":", 1)[0], int(text.rsplit(":", 1)[1]))
    reader, writer = await asyncio.open_connection(*address(flags.gateway))
    agent = Agent(reader, writer, Credential(os.environ["ADIT_SECRET"].strip()), address(flags.upstream))
    limits = {"max_streams": 256, "stream_window": WINDOW, "max_datagram": 0, "features": []}
    agent.send(kind="HELLO", least=1, most=1, **limits)
    try:
        await agent.receive()
    except Refused as error:
        agent.send(kind="CLOSE", code=CODES.get(error.code, 1), reason="")
        await writer.drain()
        raise SystemExit(f"the gateway broke a rule: {error}") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", required=True, help="host:port of a gateway that runs with --plain-agents")
    parser.add_argument("--upstream", required=True, help="host:port of the local service")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
