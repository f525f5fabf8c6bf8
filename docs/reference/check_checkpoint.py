#!/usr/bin/env python3
"""Checks signed checkpoints against docs/reference/checkpoint-format.md.

    check_checkpoint.py CHECKPOINTS EVENTS.jsonl [--key KEY]   a whole export, from position 1
    check_checkpoint.py --proof PROOF.json [--key KEY]         one event (hishamos checkpoint prove)

Without --key, the first checkpoint's own key is believed. Shares no code with the server.
"""
import argparse
import base64
import hashlib
import json
import sys

import check_chain
from check_chain import Broken
from check_signature import signed_by

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def checkpoints(text, key):  # of one note, or of many with an empty line behind each
    parts, before = text.rstrip("\n").split("\n\n"), 0
    for body, signatures in zip(parts[::2], parts[1::2]):
        lines = body.split("\n")
        position, own = int(lines[1]), lines[5][len("key "):]
        if position <= before or not all(signed_by(f"{body}\n\n{signatures}\n", k) for k in {own, key or own}):
            raise Broken(f"checkpoint {position}: out of order, or not signed by {key or own}")
        before, key = position, own  # a new key needs the signature of the one before
        yield position, base64.b64decode(lines[2]), bytes.fromhex(lines[3][len("chain "):])


def check_export(notes, lines):
    check_chain.check(lines)
    if lines and json.loads(lines[0])["position"] != "1":
        raise Broken("the export does not begin at position 1")
    edge, good, expected = [], 0, next(notes, None)  # edge: (height, hash) of whole subtrees
    for position, event in enumerate(map(json.loads, lines), 1):
        height, node = 0, sha(b"\0", check_chain.leaf(event, base64.b64decode(event["data_base64"])))
        while edge and edge[-1][0] == height:
            height, node = height + 1, sha(b"\1", edge.pop()[1], node)
        edge.append((height, node))
        if expected and expected[0] == position:
            root = edge[-1][1]
            for _, left in edge[-2::-1]:
                root = sha(b"\1", left, root)
            if (root, bytes.fromhex(event["hash"])) != expected[1:]:
                break
            good, expected = position, next(notes, None)
    if expected:
        raise Broken(f"positions {good + 1} to {expected[0]}: the log is not the one that was signed")
    return f"every checkpoint holds, the last at position {good}"


def check_proof(proof, key):  # RFC 9162, 2.1.3.2
    [(size, root, _)] = checkpoints(proof["checkpoint"], key)
    event = proof["event"]
    node = sha(b"\0", check_chain.leaf(event, base64.b64decode(event["data_base64"])))
    index, last = int(event["position"]) - 1, size - 1
    for sibling in map(bytes.fromhex, proof["proof"]):
        if last == 0:
            raise Broken("the proof is too long")
        if index & 1 or index == last:
            node = sha(b"\1", sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = sha(b"\1", node, sibling)
        index, last = index >> 1, last >> 1
    if last != 0 or node != root:
        raise Broken(f"the event at position {event['position']} is not in the log that was signed")
    return f"the event at position {event['position']} is in the log signed at position {size}: {event['id']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--proof")
    parser.add_argument("--key")
    args = parser.parse_args()
    read = lambda path: open(path, encoding="utf-8").read()
    try:
        if args.proof:
            print(check_proof(json.loads(read(args.proof)), args.key))
        elif len(args.files) == 2:
            lines = [line for line in read(args.files[1]).split("\n") if line.strip()]
            print(check_export(checkpoints(read(args.files[0]), args.key), lines))
        else:
            parser.error("give a file of checkpoints and a file of events, or --proof")
    except (Broken, KeyError, ValueError, IndexError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
