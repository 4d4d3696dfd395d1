"""Chapter 15 of SPEC.md, as far as octets and fields go: what stands on QUIC's and HTTP/2's streams beside the payload.

Made from that document alone, as `adit_wire` is.
"""

import base64

from adit_wire import Refused, take_frame

MOST_HEAD = 4096
REQUEST = [[":method", "CONNECT"], [":protocol", "adit"], [":scheme", "https"], [":authority", "adit"]]
RESET = 0xAD170000
CANCELLED, MALFORMED = 0x11, 0x02
OWN_CODES = {0x7: 0x10, 0x1: 0x01, 0x3: 0x06, 0x5: 0x08, 0xB: 0x09}


# 15.2, QUIC.


def stream_id(opener, index):
    """QUIC's id, and the number of this protocol, of a bidirectional stream."""
    return (4 * index, 2 * index + 1) if opener == "client" else (4 * index + 1, 2 * index + 2)


def stream_head(octets):
    """A stream that has ended behind `octets`: its head, and the rest."""
    length = int.from_bytes(octets[:2], "big")
    if len(octets) >= 2 and length > MOST_HEAD:
        raise Refused("FRAME_TOO_LARGE", "head")
    if len(octets) < 2 + length:
        raise Refused("MALFORMED", "the stream ends within its head")
    return octets[2 : 2 + length], octets[2 + length :]


def flow(octets):
    """The number of the stream whose datagram this is, and the payload; None if it is to be dropped."""
    number = int.from_bytes(octets[:8], "big")
    if len(octets) < 8 or number % 4 > 1 or number // 4 * 2 + 2 > 2**32:
        return None
    return number // 4 * 2 + 1 + number % 4, octets[8:]


def control_stream(octets):
    """What a fresh side makes of these octets of its peer's control stream."""
    buffer, last_ping, drains = bytearray(octets), 0, 0
    while buffer:
        frame = take_frame(buffer)
        kind = frame.get("kind", "SKIPPED")
        if kind == "PING":
            # Nothing was asked: no answer is good.
            if frame["ack"] or frame["sequence"] <= last_ping:
                raise Refused("PROTOCOL", "sequence")
            last_ping = frame["sequence"]
        elif kind == "GOAWAY":
            if frame["heads_up"] != (drains == 0) or drains == 2:
                raise Refused("PROTOCOL", "order of a drain")
            drains += 1
        elif kind not in ("PAD", "BLOCKED", "SKIPPED"):
            raise Refused("UNEXPECTED", kind)


# 15.3, HTTP/2.


def head_field(head):
    return base64.urlsafe_b64encode(head).decode().rstrip("=")


def read_head(value):
    try:
        head = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Refused("MALFORMED", "base64url") from None
    if head_field(head) != value:
        raise Refused("MALFORMED", "padding, or bits left over")
    if len(head) > MOST_HEAD:
        raise Refused("FRAME_TOO_LARGE", "head")
    return head


def request(purpose, head=None):
    return REQUEST + [[":path", "/" + purpose]] + ([["adit-head", head_field(head)]] if head is not None else [])


def answer(head=None):
    return [[":status", "200"]] + ([["adit-head", head_field(head)]] if head is not None else [])


def trailers_code(fields):
    """The code of a RESET; None for FIN."""
    value = dict(fields).get("adit-reset")
    if value is None:
        return None
    is_number = value.isascii() and value.isdigit() and int(value) < 2**32
    return int(value) if is_number else MALFORMED


def reset_number(code):
    return RESET + (code if code < 0x10000 else CANCELLED)


def reset_code(number):
    return number & 0xFFFF if number & 0xFFFF0000 == RESET else OWN_CODES.get(number, CANCELLED)
