"""The Adit wire protocol from SPEC.md and the .proto files alone: Python 3.9 or later, standard library only.

Frames (section 3), records (section 4), control messages and heads by a small protobuf reader that reads the published
`.proto` files themselves (sections 6 and 10), credentials and proofs (section 7). It shares no line with the Rust crate.
"""

import base64
import hashlib
import hmac
import re
from pathlib import Path

PROTO = Path(__file__).resolve().parent.parent / "proto" / "adit" / "wire" / "v1"
U64 = (1 << 64) - 1


class Refused(Exception):
    """A broken rule: the code of SPEC 16.2 that the session, stream or answer then has."""

    def __init__(self, code, why=""):
        super().__init__(f"{code}: {why}")
        self.code = code


# Section 3.2: number: (name, scope, least, most). A scope is "session" (id 0), "stream" (another id) or "any".
KINDS = {
    0x00: ("HELLO", "session", 8, 1024),
    0x01: ("OPEN", "stream", 4, 4100),
    0x02: ("DATA", "stream", 0, 65535),
    0x03: ("CREDIT", "stream", 8, 8),
    0x04: ("STREAMS", "session", 8, 8),
    0x05: ("RESET", "stream", 4, 4),
    0x06: ("STOP", "stream", 4, 4),
    0x07: ("PING", "session", 8, 8),
    0x08: ("GOAWAY", "session", 8, 264),
    0x09: ("CLOSE", "session", 4, 260),
    0x80: ("DATAGRAM", "stream", 0, 16376),
    0x81: ("BLOCKED", "any", 8, 8),
    0x82: ("PAD", "session", 0, 65535),
}
NUMBERS = {name: number for number, (name, _, _, _) in KINDS.items()}


def header(octets):
    """Judges eight octets by themselves, in the order of section 3.1; gives kind, flag, length, id."""
    kind, flags = octets[0], octets[1]
    length, stream = int.from_bytes(octets[2:4], "big"), int.from_bytes(octets[4:8], "big")
    if kind not in KINDS:
        if kind & 0x80:
            return kind, False, length, stream
        raise Refused("UNKNOWN_FRAME", f"kind {kind:#04x}")
    _, scope, least, most = KINDS[kind]
    if (scope == "stream" and stream == 0) or (scope == "session" and stream != 0):
        raise Refused("PROTOCOL", "id")
    if length < least:
        raise Refused("MALFORMED", "too short")
    if length > most:
        raise Refused("MALFORMED" if least == most else "FRAME_TOO_LARGE", "too long")
    flag = bool(flags & 1) and KINDS[kind][0] in ("OPEN", "DATA", "PING", "GOAWAY")
    if kind == 0x02 and length == 0 and not flag:
        raise Refused("MALFORMED", "DATA of nothing")
    return kind, flag, length, stream


def take_frame(buffer):
    """The first frame of a bytearray, which loses it; None until all of it is there."""
    if len(buffer) < 8:
        return None
    kind, flag, length, stream = header(buffer)
    if len(buffer) < 8 + length:
        return None
    body = bytes(buffer[8 : 8 + length])
    del buffer[: 8 + length]
    return frame(kind, flag, length, stream, body)


def frame(kind, flag, length, stream, body):
    number = lambda at, size: int.from_bytes(body[at : at + size], "big")
    name = KINDS[kind][0] if kind in KINDS else None
    if name is None:
        return {"skipped": kind, "length": length}
    if name == "HELLO":
        return {"kind": name, **hello(body)}
    if name == "OPEN":
        return {"kind": name, "id": stream, "credit": number(0, 4), "head": body[4:].hex(), "fin": flag}
    if name == "DATA":
        return {"kind": name, "id": stream, "payload": body.hex(), "fin": flag}
    if name in ("CREDIT", "BLOCKED"):
        return {"kind": name, "id": stream, "limit": number(0, 8)}
    if name == "STREAMS":
        return {"kind": name, "limit": number(0, 8)}
    if name in ("RESET", "STOP"):
        return {"kind": name, "id": stream, "code": number(0, 4)}
    if name == "PING":
        return {"kind": name, "sequence": number(0, 8), "ack": flag}
    if name == "GOAWAY":
        ends = {"last_id": number(0, 4), "code": number(4, 4), "reason": body[8:].hex(), "heads_up": flag}
        return {"kind": name, **ends}
    if name == "CLOSE":
        return {"kind": name, "code": number(0, 4), "reason": body[4:].hex()}
    if name == "DATAGRAM":
        return {"kind": name, "flow": stream, "payload": body.hex()}
    return {"kind": name, "length": length}


# Section 16.3: number: (name, octets, default); features apart.
PARAMETERS = {1: ("max_streams", 4), 2: ("stream_window", 4), 3: ("max_datagram", 2)}


def hello(body):
    """Section 3.3."""
    if body[:4] != b"ADIT":
        raise Refused("PROTOCOL", "magic")
    found = {"least": int.from_bytes(body[4:6], "big"), "most": int.from_bytes(body[6:8], "big")}
    if found["least"] > found["most"]:
        raise Refused("MALFORMED", "an empty range")
    found.update(max_streams=0, stream_window=0, max_datagram=0, features=[])
    rest, last = body[8:], 0
    while rest:
        parameter, length = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        value, cut = rest[4 : 4 + length], len(rest) < 4 + length
        if cut or parameter <= last:
            raise Refused("MALFORMED", "parameters")
        if parameter in PARAMETERS:
            name, size = PARAMETERS[parameter]
            found[name] = int.from_bytes(value, "big")
            if length != size or found[name] == 0:
                raise Refused("MALFORMED", name)
        elif parameter == 4:
            found["features"] = [int.from_bytes(value[at : at + 2], "big") for at in range(0, length, 2)]
            ascends = all(a < b for a, b in zip(found["features"], found["features"][1:]))
            if length % 2 or not 0 < length <= 128 or not ascends:
                raise Refused("MALFORMED", "features")
        rest, last = rest[4 + length :], parameter
    if found["max_datagram"] > 16376:
        raise Refused("MALFORMED", "max_datagram")
    return found


def encode_frame(value):
    """The octets of a frame in the form that take_frame gives."""
    big = lambda number, size: number.to_bytes(size, "big")
    if "skipped" in value:
        return bytes([value["skipped"], 0]) + big(value["length"], 2) + bytes(4 + value["length"])
    name, get = value["kind"], value.get
    if name == "HELLO":
        body = b"ADIT" + big(value["least"], 2) + big(value["most"], 2)
        for parameter, (key, size) in PARAMETERS.items():
            if get(key):
                body += big(parameter, 2) + big(size, 2) + big(value[key], size)
        if get("features"):
            body += big(4, 2) + big(2 * len(value["features"]), 2)
            body += b"".join(big(feature, 2) for feature in value["features"])
    elif name == "OPEN":
        body = big(value["credit"], 4) + bytes.fromhex(value["head"])
    elif name in ("DATA", "DATAGRAM"):
        body = bytes.fromhex(value["payload"])
    elif name in ("CREDIT", "STREAMS", "BLOCKED"):
        body = big(value["limit"], 8)
    elif name in ("RESET", "STOP"):
        body = big(value["code"], 4)
    elif name == "PING":
        body = big(value["sequence"], 8)
    elif name == "GOAWAY":
        body = big(value["last_id"], 4) + big(value["code"], 4) + bytes.fromhex(value["reason"])
    elif name == "CLOSE":
        body = big(value["code"], 4) + bytes.fromhex(value["reason"])
    else:
        body = bytes(value["length"])
    flag = get("fin") or get("ack") or get("heads_up") or False
    return bytes([NUMBERS[name], int(flag)]) + big(len(body), 2) + big(get("id", get("flow", 0)), 4) + body


class Order:
    """Sections 3.4 and 3.7 rule 2: what one peer may send, and when."""

    def __init__(self, dialled_by_peer):
        self.greeted, self.closed, self.sent, self.pinged = False, False, 0, 0
        self.next, self.parity = (1, 1) if dialled_by_peer else (2, 0)

    def send(self, value):
        if value.get("kind") == "PING" and not value["ack"]:
            self.sent = max(self.sent, value["sequence"])

    def receive(self, value):
        kind, stream = value.get("kind"), value.get("id", value.get("flow", 0))
        if self.closed or self.greeted == (kind == "HELLO"):
            raise Refused("UNEXPECTED", "order")
        self.greeted, self.closed = True, kind == "CLOSE"
        if kind == "OPEN":
            if stream != self.next:
                raise Refused("PROTOCOL", "id")
            self.next += 2
        elif stream and stream % 2 == self.parity and stream >= self.next:
            raise Refused("PROTOCOL", "never opened")
        if kind == "PING" and value["ack"] and not 0 < value["sequence"] <= self.sent:
            raise Refused("PROTOCOL", "an answer to nothing")
        if kind == "PING" and not value["ack"]:
            if value["sequence"] <= self.pinged:
                raise Refused("PROTOCOL", "sequence")
            self.pinged = value["sequence"]


# Protobuf, by the .proto files.


def read_schema():
    """Messages as {name: {number: (name, type, label)}}, enums as {name: {number: name}}."""
    messages, enums = {}, {}
    for path in sorted(PROTO.glob("*.proto")):
        current = None
        for line in re.sub(r"//[^\n]*", "", path.read_text()).splitlines():
            opened = re.match(r"\s*(message|enum|oneof)\s+(\w+)", line)
            if opened and opened[1] != "oneof":
                current = (messages if opened[1] == "message" else enums).setdefault(opened[2], {})
            field = re.match(r"\s*(?:(optional|repeated)\s+)?([\w.]+|map<\w+, *\w+>)\s+(\w+)\s*=\s*(\d+);", line)
            entry = re.match(r"\s*(\w+)\s*=\s*(\d+);", line)
            if field and current is not None:
                current[int(field[4])] = (field[3], field[2], field[1])
            elif entry and current is not None:
                current[int(entry[2])] = entry[1]
    return messages, enums


MESSAGES, ENUMS = read_schema()


def varint(octets, at):
    value = shift = 0
    while True:
        if at >= len(octets) or shift > 63:
            raise Refused("MALFORMED", "varint")
        octet, at = octets[at], at + 1
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            if value > U64:
                raise Refused("MALFORMED", "varint over 64 bits")
            return value, at


def fields(octets, depth=0):
    """(number, wire type, value) of each field; groups are passed over."""
    if depth > 100:
        raise Refused("MALFORMED", "nesting")
    at, found, groups = 0, [], []
    while at < len(octets):
        tag, at = varint(octets, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or number >= 1 << 29:
            raise Refused("MALFORMED", "tag")
        if wire == 0:
            value, at = varint(octets, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = octets[at : at + size], at + size
        elif wire == 2:
            size, at = varint(octets, at)
            value, at = octets[at : at + size], at + size
        elif wire == 3:
            groups.append(number)
            value = None
        elif wire == 4 and groups and groups[-1] == number:
            groups.pop()
            value = None
        else:
            raise Refused("MALFORMED", "wire type")
        if at > len(octets) or len(groups) + depth > 100:
            raise Refused("MALFORMED", "cut short, or too deep")
        if not groups and wire < 3 or wire == 5 and not groups:
            found.append((number, wire, value))
    if groups:
        raise Refused("MALFORMED", "a group without end")
    return found


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def text(octets):
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Refused("MALFORMED", "UTF-8") from None


def decode(kind, octets, depth=0):
    """A message in protobuf's canonical JSON mapping. Defaults are left out, unknown fields are ignored."""
    value = {}
    for number, wire, raw in fields(octets, depth):
        if number not in MESSAGES[kind]:
            continue
        name, type_, label = MESSAGES[kind][number]
        entry = re.match(r"map<string, *string>", type_)
        if wire != (0 if type_ in ("uint32", "uint64", "bool") or type_ in ENUMS else 2):
            raise Refused("MALFORMED", name)
        if entry:
            pair = dict((at, text(it)) for at, _, it in fields(raw, depth + 1))
            value.setdefault(camel(name), {})[pair.get(1, "")] = pair.get(2, "")
            continue
        one = scalar(type_, raw, depth)
        if label == "repeated":
            value.setdefault(camel(name), []).append(one)
        elif type_ in MESSAGES and camel(name) in value:
            value[camel(name)].update(one)
        else:
            for other in oneof(kind, name):
                value.pop(camel(other), None)
            value[camel(name)] = one
            if label is None and type_ not in MESSAGES and name not in oneof(kind, name) and raw in (0, b""):
                del value[camel(name)]
    return value


def oneof(kind, name):
    """The fields of which only the last counts."""
    if kind in ("AgentMessage", "GatewayMessage") and name != "request":
        return [name for name, _, _ in MESSAGES[kind].values() if name != "request"]
    return ["name", "key"] if kind == "Register" and name in ("name", "key") else []


def scalar(type_, raw, depth):
    if type_ in MESSAGES:
        return decode(type_, raw, depth + 1)
    if type_ in ENUMS:
        return ENUMS[type_].get(raw, raw)
    if type_ == "string":
        return text(raw)
    if type_ == "bytes":
        return base64.b64encode(raw).decode()
    if type_ == "bool":
        return raw != 0
    return str(raw) if type_ == "uint64" else raw & 0xFFFFFFFF


def encode_varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def encode(kind, value):
    """The octets of a message in that mapping, fields in ascending order."""
    out = b""
    for number, (name, type_, label) in sorted(MESSAGES[kind].items()):
        if camel(name) not in value:
            continue
        given = value[camel(name)]
        if type_.startswith("map<"):
            given = [{"key": key, "value": it} for key, it in sorted(given.items())]
            many = [b"\x0a" + sized(it["key"].encode()) + b"\x12" + sized(it["value"].encode()) for it in given]
            out += b"".join(encode_varint(number << 3 | 2) + sized(it) for it in many)
            continue
        for one in given if label == "repeated" else [given]:
            wire = 0 if type_ in ("uint32", "uint64", "bool") or type_ in ENUMS else 2
            out += encode_varint(number << 3 | wire) + encode_scalar(type_, one)
    return out


def encode_scalar(type_, one):
    if type_ in MESSAGES:
        return sized(encode(type_, one))
    if type_ in ENUMS:
        return encode_varint({name: number for number, name in ENUMS[type_].items()}.get(one, one))
    if type_ == "string":
        return sized(one.encode())
    if type_ == "bytes":
        return sized(base64.b64decode(one))
    return encode_varint(int(one))


def sized(octets):
    return encode_varint(len(octets)) + octets


# Values that SPEC sections 6, 7, 8 and 10 demand, beyond protobuf.


def check_agent_message(octets):
    message = decode("AgentMessage", octets)
    body = [key for key in message if key != "request"]
    number = int(message.get("request", 0))
    if body and (body[0] in ("hello", "proof", "leave")) == (number != 0):
        raise Refused("MALFORMED", "number")
    if "proof" in message:
        check_proof(message["proof"].get("proof"))
    if message.get("hello", {}).get("proof"):
        check_proof(message["hello"]["proof"])
    for kind in ("unregister", "renew", "signCsr", "setStatus"):
        if kind in message and "registration" not in message[kind]:
            raise Refused("MALFORMED", "registration")
    if "signCsr" in message and not message["signCsr"].get("csr"):
        raise Refused("MALFORMED", "csr")
    register = message.get("register", {})
    if register.get("name") == "" or register.get("key") == "" or register.get("port", 0) > 65535:
        raise Refused("MALFORMED", "register")
    return message


def check_proof(proof):
    if not proof:
        raise Refused("MALFORMED", "no proof")
    if len(base64.b64decode(proof)) != 32:
        raise Refused("AUTH_FAILED", "a proof of another form")


def check_head(octets):
    if len(octets) > 4096:
        raise Refused("FRAME_TOO_LARGE", "head")
    head = decode("StreamHead", octets)
    for side in ("visitor", "local"):
        address = head.get(side)
        if address is not None:
            if len(base64.b64decode(address.get("ip", ""))) not in (4, 16) or address.get("port", 0) > 65535:
                raise Refused("MALFORMED", side)
    if ("registration" in head) != ("generation" in head) or head.get("port", 0) > 65535:
        raise Refused("MALFORMED", "registration, or port")
    return head


def take_message(buffer):
    """Section 6 rule 2 and 3: the first message of a bytearray, without its length; None until it is there."""
    length = int.from_bytes(buffer[:4], "big") if len(buffer) >= 4 else 0
    if length > 65536:
        raise Refused("FRAME_TOO_LARGE", "message")
    if len(buffer) < 4 or len(buffer) < 4 + length:
        return None
    octets = bytes(buffer[4 : 4 + length])
    del buffer[: 4 + length]
    return octets


def prefixed(octets):
    return len(octets).to_bytes(4, "big") + octets


# Section 7.


class Credential:
    """Section 7.2."""

    def __init__(self, spelled):
        form = re.fullmatch(r"(ad[ks]_)([0-9a-f]{16})_([a-z2-7]{56})", spelled)
        if not form:
            raise Refused("AUTH_FAILED", "no credential")
        octets = base64.b32decode(form[3].upper())
        self.id, self.secret = form[1] + form[2], octets[:32]
        checked = b"adit/1 credential checksum" + form[1].encode() + bytes.fromhex(form[2]) + self.secret
        if hashlib.sha256(checked).digest()[:3] != octets[32:]:
            raise Refused("AUTH_FAILED", "checksum")

    def _key(self, label):
        return hmac.digest(self.secret, label, "sha256")

    def verifier(self):
        """What a gateway keeps: stored key and gateway key."""
        return hashlib.sha256(self._key(b"adit/1 agent key")).digest() + self._key(b"adit/1 gateway key")

    def proof(self, transcript):
        key = self._key(b"adit/1 agent key")
        mask = hmac.digest(hashlib.sha256(key).digest(), transcript, "sha256")
        return bytes(a ^ b for a, b in zip(key, mask))

    def gateway_proof(self, transcript, settings):
        octets = len(transcript).to_bytes(8, "big") + transcript + settings
        return hmac.digest(self._key(b"adit/1 gateway key"), octets, "sha256")


def transcript(exporter, challenge, offer):
    """Section 7.3."""
    bound = b"\x01" if exporter else b"\x00"
    return b"adit/1 control transcript" + bound + (exporter or bytes(32)) + (challenge or bytes(32)) + offer


def proves(verifier, transcript_, proof):
    """Section 7.3 rule 2: what a gateway computes from what it keeps."""
    stored = verifier[:32]
    key = bytes(a ^ b for a, b in zip(proof, hmac.digest(stored, transcript_, "sha256")))
    return hmac.compare_digest(hashlib.sha256(key).digest(), stored)
