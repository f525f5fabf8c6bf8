#!/usr/bin/env python3
"""Checks exported events against docs/reference/hash-rule.md.

Reads JSON lines from the files named, or from standard input; with --vectors,
checks hash-vectors.json instead. Prints the last position and hash, or the first
position that is wrong (status 1). Shares no code with the server.
"""
import base64
import hashlib
import json
import struct
import sys

ATTRIBUTES = (
    "id source type dataschema tenant stream sequence position time recorded correlation causation command index count "
    "claims actor decidedby forkedfrom traceparent keyids"
).split()
MANDATORY = set(ATTRIBUTES[:10]) | {"index", "count"}


class Broken(Exception):
    """The first thing that is wrong."""


def leaf(event, data):
    h = hashlib.sha256()
    for name in ATTRIBUTES:
        value = event.get(name)
        if value is None:
            if name in MANDATORY:
                raise Broken(f"attribute {name} is missing")
            h.update(b"\xff\xff\xff\xff")
            continue
        if value == "":
            raise Broken(f"attribute {name} is present and empty")
        raw = value.encode()
        h.update(struct.pack(">I", len(raw)) + raw)
    h.update(struct.pack(">I", len(data)) + data)
    return h.digest()


def check(lines):
    position, previous, recorded, sequences = None, None, "", {}
    for line in lines:
        event = json.loads(line)
        where = event.get("position", "?")
        try:
            if position is None:
                position, previous = int(where) - 1, bytes.fromhex(event["prevhash"])
                whole = position == 0
                if whole and previous != bytes(32):
                    raise Broken("the first previous hash is not zero")
            if int(where) != position + 1:
                raise Broken(f"expected position {position + 1}: events are missing or out of order")
            if event["prevhash"] != previous.hex():
                raise Broken("previous hash differs: an event before it was changed, added or removed")
            data = base64.b64decode(event["data_base64"], validate=True)
            digest = hashlib.sha256(previous + leaf(event, data)).digest()
            if event["hash"] != digest.hex():
                raise Broken("hash differs: this event was changed")
            stream, sequence = event["stream"], int(event["sequence"])
            expected = sequences.get(stream, 0 if whole else sequence - 1) + 1
            if sequence != expected or event["id"] != f"{stream}/{sequence}":
                raise Broken(f"sequence {sequence} of {stream}, expected {expected}")
            if event["recorded"] < recorded:
                raise Broken("recorded before its predecessor")
        except (Broken, KeyError, ValueError) as e:
            raise Broken(f"position {where}: {e}") from e
        position, previous, recorded, sequences[stream] = position + 1, digest, event["recorded"], sequence
    return position or 0, (previous or bytes(32)).hex()


def check_vectors(path):
    with open(path, encoding="utf-8") as f:
        vectors = json.load(f)["vectors"]
    for v in vectors:
        got = leaf(v["attributes"], base64.b64decode(v["data_base64"]))
        chain = hashlib.sha256(bytes.fromhex(v["prevhash"]) + got).hexdigest()
        merkle = hashlib.sha256(b"\x00" + got).hexdigest()
        if (got.hex(), chain, merkle) != (v["leaf"], v["hash"], v["merkle_leaf"]):
            raise Broken(f"vector {v['name']} differs")
    return len(vectors)


def main(args):
    try:
        if args[:1] == ["--vectors"]:
            print(check_vectors(args[1]), "vectors hold")
            return 0
        files = [open(a, encoding="utf-8") for a in args] or [sys.stdin]
        print(*check(line for f in files for line in f if line.strip()))
        return 0
    except Broken as e:
        print(e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
