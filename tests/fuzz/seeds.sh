#!/bin/sh
# Writes what fuzzing begins with: `seeds.sh DIRECTORY`, one directory a target, some 40 kB in all. AVIF and WebP, which
# take an encoder, lie in `seeds/`.
set -eu
exec python3 - "$1" "$(dirname "$0")/seeds" <<'PYTHON'
import json, pathlib, struct, sys, zlib

out = pathlib.Path(sys.argv[1])


def put(target, name, data):
    directory = out / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, colour, samples, extra=b"", interlaced=0):
    rows = b"".join(b"\0" + bytes((x * 7 + y * 5 + c) % 256 for x in range(width) for c in range(samples)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(width, height, samples, compression, big):
    order, mark = (">", b"MM\0*") if big else ("<", b"II*\0")
    data = bytes((i * 3) % 256 for i in range(width * height * samples))
    data = zlib.compress(data) if compression == 8 else data
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8),
            (274, 3, 6), (277, 3, samples), (278, 4, height), (279, 4, len(data))]
    pack = lambda kind, value: struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    directory = struct.pack(order + "H", len(tags)) + b"".join(struct.pack(order + "HHI", t, k, 1) + pack(k, v) for t, k, v in tags)
    return mark + struct.pack(order + "I", 8 + len(data)) + data + directory + bytes(4)


def bmp(width, height):
    data = bytes(range(256))[: width * 3] * height
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(data), 0, 0, 0, 0) + data


# The smallest of their kinds that decoders take.
JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300" + "01" * 64 + "ffc0000b080008000801011100"
    "ffc4001f0000010501010101010100000000000000000102030405060708090a0b"
    "ffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282"
    "090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a"
    "92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
    "ffda0008010100003f00fbd0ffd9")
GIF = bytes.fromhex("4749463839610200020091000000000000ffffffff0000ff00 21f904000a00000021ff0b4e45545343415045322e300301000000"
                    "2c0000000002000200000203445405003b".replace(" ", ""))
exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"

pictures = {
    "grey.png": png(8, 8, 0, 1),
    "rgb.png": png(9, 5, 2, 3, chunk(b"eXIf", exif)),
    "rgba.png": png(6, 7, 6, 4),
    "palette.png": png(8, 8, 3, 1, chunk(b"PLTE", bytes(range(256)) * 3) + chunk(b"tRNS", b"\0\x80")),
    "text.png": png(4, 4, 0, 1, chunk(b"zTXt", b"x\0\0" + zlib.compress(b"text")) + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(128)))),
    "baseline.jpg": JPEG,
    "exif.jpg": JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + JPEG[2:],
    "moving.gif": GIF,
    "little.tiff": tiff(8, 8, 1, 1, False),
    "big.tiff": tiff(8, 8, 1, 8, True),
    "plain.bmp": bmp(4, 4),
}
pictures |= {path.name: path.read_bytes() for path in pathlib.Path(sys.argv[2]).iterdir()}
for name, data in pictures.items():
    put("decode", name, data)
    put("pipeline", name, bytes([len(name), 5, 6, len(data) % 5, 80, 3, 4, len(data) % 8]) + data)

part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
body = part % (b"token", b"", b"a.b.c") + part % (b"file", b'; filename="../a b.jpg"\r\nContent-Type: image/jpeg', b"\xff\xd8\xff") + b"--x--\r\n"
for name, kind, size in [("plain", b"multipart/form-data; boundary=x", 255), ("slow", b'multipart/form-data; boundary="x"', 1)]:
    put("multipart", name, kind + b"\n" + bytes([size]) + body)
put("multipart", "broken", b"multipart/form-data; boundary=x\n\x07" + body[:-20])

now = 1767225600
job = {"directHost": True, "keepOriginal": True, "subDir": "a/b", "priority": 1, "completionCallback": "https://example.org/x?y",
       "callbackHeaders": {"Authorization": "Bearer x"}, "storageKeys": {"s3": "pxs_x"}, "fit": "cover", "position": "left top",
       "formats": {"jpg": {"settings": {"quality": 80, "speed": 1}, "sizes": [[800, 600], [400]]}, "webp": {"animated": True}, "avif": {"sizes": [[0, 0]]}}}
claims = {"iss": "x", "sub": "user", "iat": now, "nbf": now, "exp": now + 3600, "scope": "admin", "job": job}
put("claims", "good", '{"alg":"HS256"}\n' + json.dumps(claims))
put("claims", "kid", '{"alg":"HS256","typ":"JWT","kid":"main"}\n' + json.dumps({**claims, "exp": now + 1.5, "job": {"formats": {}}}))
put("claims", "forged", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.")

for number, text in enumerate(["a/b/c.jpg", "..%2f..%2fetc%2fpasswd", "tenant-1/x_y.png", "%c0%ae%c0%ae/x", "C:\\x\\y.jpg", "bytes=0-9",
                               "bytes=-5", "bytes=99999999999999999999-", "0" * 64 + "_user", "a" * 64 + "_h-" + "b" * 64]):
    put("paths", str(number), text)
for number, text in enumerate(["http://127.0.0.1/", "http://0x7f.1/", "http://[::ffff:10.0.0.1]/", "http://017700000001/", "https://example.org:8443/a",
                               "http://2130706433/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://\u2460\u2461\u2466.0.0.1/"]):
    put("addresses", str(number), text)
PYTHON
