#!/usr/bin/env python3
"""Runs every vector of ../vectors against an implementation that shares nothing with the Rust crate.

    python3 wire-proto/python/check.py [FOLDER]

It prints `N passed, N failed`, and ends with 1 if any failed.
"""

import base64
import json
import sys
from pathlib import Path

import adit_carriers as carriers
from adit_wire import (
    Credential,
    Order,
    Refused,
    check_agent_message,
    check_head,
    decode,
    encode,
    encode_frame,
    header,
    proves,
    take_frame,
    take_message,
    transcript,
)

OURS = Path(__file__).resolve().parent.parent / "vectors"
VECTORS = Path(sys.argv[1]) if len(sys.argv) > 1 else OURS


def same(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} where {wanted!r} was expected")


def refused(vector, act):
    """The error of a vector is found, and one without error has none."""
    try:
        value = act()
    except Refused as error:
        same(error.code, vector.get("error"), "code")
        return None
    same(None, vector.get("error"), "code")
    return value


def frames(vector):
    octets = bytes.fromhex(vector["hex"])

    def act():
        # A header is judged by itself, so eight octets are enough for most errors.
        header(octets)
        return take_frame(bytearray(octets))

    value = refused(vector, act)
    if value is not None:
        same(value, vector["value"])
        same(encode_frame(value).hex(), vector["hex"])


def orders(vector):
    order = Order(vector["dialled_by_peer"])
    for at, step in enumerate(vector["steps"]):
        value = take_frame(bytearray(bytes.fromhex(step["hex"])))
        if step["from"] == "us":
            order.send(value)
        elif at + 1 == len(vector["steps"]):
            refused(vector, lambda: order.receive(value))
        else:
            order.receive(value)


def message(kind, check):
    def run(vector):
        octets = bytes.fromhex(vector["hex"])
        value = refused(vector, lambda: check(octets))
        if value is not None:
            same(value, vector["value"])
            same(encode(kind, value).hex(), vector["hex"])

    return run


def credentials(vector):
    if vector.get("error"):
        try:
            Credential(vector["text"])
        except Refused:
            return
        raise AssertionError("it was read")
    credential = Credential(vector["text"])
    same(credential.id, vector["id"])
    same(credential.secret.hex(), vector["secret"])
    same(credential.verifier().hex(), vector["verifier"])


def records(vector):
    """Section 4: the messages of a flow on its stream."""
    octets, found = bytes.fromhex(vector["hex"]), []
    while len(octets) >= 2 and len(octets) >= 2 + int.from_bytes(octets[:2], "big"):
        length = int.from_bytes(octets[:2], "big")
        if length > 65507:
            break
        found.append(octets[2 : 2 + length].hex())
        octets = octets[2 + length :]
    too_long = len(octets) >= 2 and int.from_bytes(octets[:2], "big") > 65507
    same("FRAME_TOO_LARGE" if too_long else None, vector.get("error"), "code")
    if not too_long:
        same(found, vector["records"])
        same(octets.hex(), vector["rest"])


class Gateway:
    """Section 14.2, as far as traces need it: it lets everybody in, and answers no request."""

    def __init__(self, exporter):
        self.exporter, self.state, self.last, self.pending = exporter, "awaiting hello", 0, 0

    def receive(self, octets):
        value = check_agent_message(octets)
        kind = next((key for key in value if key != "request"), None)
        if self.state == "awaiting hello":
            self.on_hello(kind, value)
        elif self.state == "awaiting proof":
            if kind != "proof":
                raise Refused("UNEXPECTED", "no proof")
            self.state = "serving"
        elif kind in ("hello", "proof"):
            raise Refused("UNEXPECTED", kind)
        elif "request" in value:
            self.on_request(int(value["request"]))

    def on_hello(self, kind, value):
        if kind != "hello":
            raise Refused("UNEXPECTED", "no hello")
        offer = decode("Offer", base64.b64decode(value["hello"]["offer"]))
        if not offer.get("leastVersion", 0) <= 1 <= offer.get("mostVersion", 0):
            raise Refused("UNSUPPORTED_VERSION", "versions")
        binding = "BINDING_TLS_EXPORTER" if self.exporter else "BINDING_NONE"
        has_proof = "proof" in value["hello"]
        if offer.get("binding", "BINDING_NONE") != binding or has_proof != bool(self.exporter and "credential" in offer):
            raise Refused("AUTH_FAILED", "binding")
        challenged = not self.exporter and "credential" in offer
        self.state = "awaiting proof" if challenged else "serving"

    def on_request(self, number):
        if number <= self.last:
            raise Refused("UNEXPECTED", "number")
        self.last, self.pending = number, self.pending + 1
        if self.pending > 32:
            raise Refused("ENHANCE_CALM", "requests")


def traces(vector):
    if "error" in vector:
        gateway, buffer = Gateway(None), bytearray()

        def act():
            for step in vector["steps"]:
                buffer.extend(bytes.fromhex(step["hex"]))
                while (octets := take_message(buffer)) is not None:
                    gateway.receive(octets)

        refused(vector, act)
        return
    told = {"agent": [], "gateway": []}
    for step in vector["steps"]:
        octets = take_message(bytearray(bytes.fromhex(step["hex"])))
        check = check_agent_message if step["from"] == "agent" else lambda it: decode("GatewayMessage", it)
        told[step["from"]].append(check(octets))
    if vector["credential"]:
        proofs(vector, told)


def proofs(vector, told):
    """Both proofs of section 7.3, computed anew."""
    raw = base64.b64decode
    credential = Credential(vector["credential"])
    exporter = vector["exporter"] and bytes.fromhex(vector["exporter"])
    challenge = None if exporter else bytes.fromhex(vector["challenge"])
    hello = told["agent"][0]["hello"]
    bound = transcript(exporter, challenge, raw(hello["offer"]))
    proof = raw(hello["proof"] if exporter else told["agent"][1]["proof"]["proof"])
    same(proof, credential.proof(bound), "proof")
    same(proves(credential.verifier(), bound, proof), True, "verifier")
    same(proves(credential.verifier(), bound + b"x", proof), False, "verifier")
    welcome = next(it["welcome"] for it in told["gateway"] if "welcome" in it)
    same(raw(welcome["proof"]), credential.gateway_proof(bound, raw(welcome["settings"])), "gateway's proof")


def quic(vector):
    octets = bytes.fromhex(vector["hex"])
    if "opener" in vector:
        identity, number = carriers.stream_id(vector["opener"], vector["index"])
        same(number, vector["number"], "number")
    if vector["kind"] == "control":
        refused(vector, lambda: carriers.control_stream(octets))
    elif vector["kind"] == "stream":
        same(identity, vector["id"], "id")
        found = refused(vector, lambda: carriers.stream_head(octets))
        if found is not None:
            same([it.hex() for it in found], [vector["head"], vector["rest"]])
    elif vector.get("dropped"):
        same(carriers.flow(octets), None)
    else:
        same(carriers.flow(octets), (number, bytes.fromhex(vector["payload"])))
        same((identity.to_bytes(8, "big") + bytes.fromhex(vector["payload"])).hex(), vector["hex"])


def h2(vector):
    kind, head = vector["kind"], bytes.fromhex(vector["head"]) if "head" in vector else None
    if kind == "request":
        same(carriers.request(vector["purpose"], head), vector["fields"])
    elif kind == "answer":
        same(carriers.answer(head), vector["fields"])
    elif kind == "head":
        same(refused(vector, lambda: carriers.read_head(vector["field"])), head)
    elif kind == "trailers":
        same(carriers.trailers_code(vector["fields"]), vector["code"])
    else:
        same(carriers.reset_code(vector["number"]), vector.get("read_code", vector["code"]))
        if not vector.get("read_only"):
            same(carriers.reset_number(vector["code"]), vector["number"])


FILES = {
    "frames.json": frames,
    "orders.json": orders,
    "records.json": records,
    "agent_messages.json": message("AgentMessage", check_agent_message),
    "gateway_messages.json": message("GatewayMessage", lambda octets: decode("GatewayMessage", octets)),
    "stream_heads.json": message("StreamHead", check_head),
    "credentials.json": credentials,
    "traces.json": traces,
    "quic.json": quic,
    "h2.json": h2,
}


def main():
    passed, failed = 0, []
    same(sorted(path.name for path in VECTORS.glob("*.json")), sorted(FILES), "files")
    for name, run in FILES.items():
        for vector in json.loads((VECTORS / name).read_text()):
            try:
                run(vector)
                passed += 1
            except (AssertionError, Refused, KeyError, StopIteration) as error:
                failed.append(f"FAIL  {name}: {vector['name']} (SPEC {vector.get('section', '')}): {error!r}")
    print("\n".join(failed + [f"{passed} passed, {len(failed)} failed"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
