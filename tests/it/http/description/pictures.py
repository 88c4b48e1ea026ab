"""Pictures for Schemathesis to upload: small PNGs of one colour, each with pixels of its own."""

import struct
import zlib

import schemathesis
from hypothesis import strategies as st


def png(width, height, colour):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(colour) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


byte = st.integers(0, 255)
schemathesis.openapi.media_type("image/png", st.builds(png, st.integers(1, 16), st.integers(1, 16), st.tuples(byte, byte, byte)))
