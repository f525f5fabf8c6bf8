"""Checks the Ed25519 signature of a signed note (RFC 8032, C2SP signed-note).

Slow and plain on purpose: it is there to be read. Shares no code with the server.
"""
import base64
import hashlib

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)



def point(raw):  # RFC 8032, 5.1.3, in extended coordinates
    y, sign = int.from_bytes(raw, "little") & (1 << 255) - 1, raw[31] >> 7
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x2, (P + 3) // 8, P)
    x = x if x * x % P == x2 else x * ROOT % P
    if y >= P or x * x % P != x2 or x == 0 and sign:
        raise ValueError("not a point of the curve")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def mul(n, p):
    out = (0, 1, 1, 0)
    for bit in bin(n)[2:]:
        out = add(out, out)
        out = add(out, p) if bit == "1" else out
    return out


def signed_by(note, key):  # Ed25519, RFC 8032, 5.1.7
    body, signatures = note.split("\n\n", 1)
    name, number, raw = key.split("+", 2)
    public = base64.b64decode(raw)[1:]
    if hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8] != number:
        raise ValueError(f"key {key} is malformed")
    for line in signatures.splitlines():
        blob = base64.b64decode(line.split(" ")[-1])
        if line.startswith(f"— {name} ") and blob[:4].hex() == number:
            r, s = blob[4:36], int.from_bytes(blob[36:], "little")
            k = int.from_bytes(hashlib.sha512(r + public + body.encode() + b"\n").digest(), "little") % L
            base = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
            a, b = mul(s, base), add(point(r), mul(k, point(public)))
            return s < L and (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0
    return False
