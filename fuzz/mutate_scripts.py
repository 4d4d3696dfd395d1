#!/usr/bin/env python3
"""Writes conformance scripts with a few octets of what they send changed: `mutate_scripts.py FILE [SEED]`."""

import json
import random
import re
import sys


def mutate(octets, dice):
    """One to three changes of hexadecimal octets: another value, one less, one more, or one twice."""
    found = re.findall("..", re.sub(r"\s", "", octets))
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(found)) if found else 0
        change = dice.choice(("value", "less", "more", "edge"))
        if change == "more" or not found:
            found.insert(at, f"{dice.randrange(256):02x}")
        elif change == "less":
            del found[at]
        else:
            found[at] = f"{dice.randrange(256):02x}" if change == "value" else dice.choice(("00", "7f", "80", "ff"))
    return "".join(found)


def main():
    scripts = json.load(open(sys.argv[1]))
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    dice = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr)
    for script in scripts:
        for step in script["steps"]:
            for kind in ("send", "control"):
                if kind in step and dice.random() < 0.5:
                    step[kind] = mutate(step[kind], dice)
    json.dump([script for script in scripts if not script.get("slow")], sys.stdout)


if __name__ == "__main__":
    main()
