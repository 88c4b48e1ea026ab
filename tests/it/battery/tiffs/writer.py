"""TIFF files at random, whole ones with the pictures that they were made of, and damaged ones with those that libtiff shows.

`writer.py DIRECTORY SEED COUNT` writes COUNT files N.tif into DIRECTORY, and prints a line of JSON for each:
    path       where it is
    what       how it was made
    damaged    whether bytes of it were changed
    shown      where its picture is, width x height x (R, G, B, A), colour multiplied by alpha; null if there is none
    size       the picture's width and height
    apart      how much a sample may differ from that, at most and on average
"""

import io
import json
import pathlib
import random
import struct
import sys

import imagecodecs
import numpy
import tifffile

directory, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
noise = numpy.random.default_rng(seed)


def source(height, width, channels, top):
    """Smooth shapes with noise and edges: a mix-up of rows, tiles or planes shows in it."""
    y, x = numpy.mgrid[0:height, 0:width] / max(height, width)
    planes = [
        0.5 + 0.3 * numpy.sin(9 * x + 3 * c) + 0.2 * numpy.cos(7 * y - c) * (numpy.floor(5 * x + 3 * y) % 2)
        for c in range(channels)
    ]
    picture = numpy.stack(planes, -1) + noise.normal(0, 0.02, (height, width, channels))
    return numpy.clip(picture, 0, 1) * top


def side():
    return chance.choice([chance.randint(1, 40), chance.randint(1, 200), 16, 64])


def reverse_bits(data, places):
    """The bytes at `places` of (offset, length), each with its bits in reverse."""
    data = bytearray(data)
    for offset, length in places:
        part = numpy.frombuffer(bytes(data[offset : offset + length]), numpy.uint8)
        data[offset : offset + length] = numpy.packbits(numpy.unpackbits(part, bitorder="little")).tobytes()
    return bytes(data)


def as_shown(samples, top, alpha=None):
    """Samples of one or three channels up to `top` as R, G, B, A, colour multiplied by alpha."""
    height, width = samples.shape[:2]
    opaque = numpy.full((height, width, 1), top)
    whole = opaque if alpha is None else alpha.reshape(height, width, 1)
    colours = numpy.broadcast_to(samples.reshape(height, width, -1) * (whole / top), (height, width, 3))
    return numpy.rint(numpy.dstack([colours, whole]) * (255 / top)).astype(numpy.uint8)


def ordinary():
    """(file, what, its picture, how far samples may be apart, whether libtiff can judge it once it is damaged)."""
    height, width = side(), side()
    kind = chance.choice(["grey", "white", "rgb", "rgb", "rgba", "grey+alpha", "palette", "bits", "float", "jpeg"])
    compression = chance.choice([None, "lzw", "zlib", "adobe_deflate", "packbits"])
    options = {"compression": compression, "byteorder": chance.choice("<>"), "bigtiff": chance.random() < 0.2}
    apart, picture, judged = (2, 0.6), None, True
    if chance.random() < 0.4:
        options["tile"] = (16 * chance.randint(1, 5), 16 * chance.randint(1, 5))
    elif chance.random() < 0.7:
        options["rowsperstrip"] = chance.randint(1, height)
    deep = chance.random() < 0.4
    top, dtype = (65535, numpy.uint16) if deep else (255, numpy.uint8)
    planar = chance.choice(["contig", "separate"])
    if kind in ("grey", "white"):
        data = source(height, width, 1, top)[..., 0].astype(dtype)
        picture = as_shown(data if kind == "grey" else top - data, top)
        options["photometric"] = "minisblack" if kind == "grey" else "miniswhite"
        # libtiff 4.7 reads 16 bits of what sticks out of the picture from another place.
        judged = not deep
    elif kind in ("rgb", "rgba"):
        channels = len(kind)
        data = source(height, width, channels, top)
        if channels == 4:
            options["extrasamples"] = [chance.choice(["unassalpha", "assocalpha"])]
            if options["extrasamples"] == ["assocalpha"]:
                data[..., :3] *= data[..., 3:] / top
        data = data.astype(dtype)
        if channels == 3:
            picture = as_shown(data, top)
        elif options["extrasamples"] == ["unassalpha"]:
            picture = as_shown(data[..., :3], top, data[..., 3])
        else:
            picture = numpy.rint(data * (255 / top)).astype(numpy.uint8)
        options |= {"photometric": "rgb", "planarconfig": planar}
    elif kind == "grey+alpha":
        data = source(height, width, 2, top).astype(dtype)
        # libtiff passes the alpha of grey pictures over.
        picture, judged = as_shown(data[..., 0], top, data[..., 1]), False
        options |= {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": planar}
    elif kind == "palette":
        data = source(height, width, 1, 255)[..., 0].astype(numpy.uint8)
        colours = noise.integers(0, 256, (3, 256), dtype=numpy.uint16) * 257
        picture = as_shown((colours.T // 257)[data], 255)
        options |= {"photometric": "palette", "colormap": colours}
    elif kind == "bits":
        data = source(height, width, 1, 1)[..., 0] > 0.5
        options["photometric"] = chance.choice(["minisblack", "miniswhite"])
        picture = as_shown(data == (options["photometric"] == "minisblack"), 1)
        if options["compression"] == "lzw" and "tile" in options:
            options["compression"] = None
    elif kind == "float":
        channels = chance.choice([1, 3])
        whole = source(height, width, channels, 1)
        data = whole.astype(chance.choice([numpy.float16, numpy.float32, numpy.float64]))
        # Floating point is light, and pixels are sRGB.
        light = data.astype(numpy.float64).clip(0, 1)
        shades = numpy.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        picture, judged = as_shown(shades, 1), False
        data = data[..., 0] if channels == 1 else data
        options["photometric"] = "minisblack" if channels == 1 else "rgb"
        if channels == 3:
            options["planarconfig"] = planar
    else:
        channels = chance.choice([1, 3])
        data = source(height, width, channels, 255).astype(numpy.uint8)
        data = data[..., 0] if channels == 1 else data
        options |= {"photometric": "minisblack" if channels == 1 else chance.choice(["rgb", "ycbcr"])}
        options |= {"compression": "jpeg", "compressionargs": {"level": chance.randint(60, 95)}}
        if "rowsperstrip" in options:
            options["rowsperstrip"] = max(8, options["rowsperstrip"] // 16 * 16)
        apart = (40, 2.0)
    if options["compression"] in ("lzw", "zlib", "adobe_deflate") and kind != "bits" and chance.random() < 0.5:
        options["predictor"] = True
    out = io.BytesIO()
    if options.get("planarconfig") == "separate":
        data = numpy.moveaxis(data, -1, 0)
    tifffile.imwrite(out, data, metadata=None, **options)
    file = out.getvalue()
    shown = {key: value for key, value in options.items() if key != "colormap" and value is not None}
    what = f"{kind} {data.dtype} {width} x {height} {shown}"
    if options["compression"] in (None, "packbits", "lzw", "zlib", "adobe_deflate") and chance.random() < 0.15 and not deep and kind != "float":
        file, what = with_reversed_bits(file), what + ", bits reversed"
    if "tile" not in options and "rowsperstrip" not in options and chance.random() < 0.5:
        file, what = with_tag(file, 278, 0xFFFFFFFF), what + ", rows 2^32-1"
    return file, what, picture, apart, judged


def by_libtiff():
    """CCITT's, which tifffile doesn't write."""
    from PIL import Image

    height, width = side(), side()
    picture = Image.fromarray((source(height, width, 1, 1)[..., 0] > 0.5).astype(numpy.uint8) * 255).convert("1")
    compression = chance.choice(["group3", "group4", "tiff_ccitt"])
    out = io.BytesIO()
    picture.save(out, "TIFF", compression=compression)
    return out.getvalue(), f"{compression} {width} x {height}", as_shown(numpy.asarray(picture), 1), (0, 0), True


def entries(file):
    """(offset of the entry, tag, type, count, offset of the value) of the first directory, and how values are packed."""
    order = "<" if file[:2] == b"II" else ">"
    big = struct.unpack(order + "H", file[2:4])[0] == 43
    at = struct.unpack(order + ("Q" if big else "I"), file[8:16] if big else file[4:8])[0]
    number = struct.unpack(order + ("Q" if big else "H"), file[at : at + (8 if big else 2)])[0]
    at += 8 if big else 2
    size = 20 if big else 12
    for i in range(number):
        entry = at + i * size
        tag, kind = struct.unpack(order + "HH", file[entry : entry + 4])
        amount = struct.unpack(order + ("Q" if big else "I"), file[entry + 4 : entry + (12 if big else 8)])[0]
        yield entry, tag, kind, amount, entry + (12 if big else 8), order, big


def with_tag(file, wanted, value):
    file = bytearray(file)
    for _, tag, kind, amount, place, order, _ in entries(bytes(file)):
        if tag == wanted and amount == 1 and kind == 4:
            file[place : place + 4] = struct.pack(order + "I", value)
    return bytes(file)


def with_reversed_bits(file):
    """FillOrder 2 by changing a tag that says little: ResolutionUnit. Where there is none, nothing is done."""
    with tifffile.TiffFile(io.BytesIO(file)) as tiff:
        page = tiff.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts))
    changed = bytearray(reverse_bits(file, places))
    for entry, tag, kind, amount, place, order, _ in entries(file):
        if tag == 296 and kind == 3 and amount == 1:
            changed[entry : entry + 2] = struct.pack(order + "H", 266)
            changed[place : place + 2] = struct.pack(order + "H", 2)
            return bytes(changed)
    return file


def damage(file):
    """A few bytes changed, most of them in the directory, or the end cut off; and what was done."""
    file, done = bytearray(file), []
    tags = {place: (tag, place - entry) for entry, tag, *_ in entries(bytes(file)) for place in range(entry, entry + 12)}
    where = list(tags)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.choice(where) if chance.random() < 0.7 else chance.randrange(len(file))
        if at < len(file):
            before = file[at]
            file[at] = chance.choice([0, 1, 2, 3, 4, 8, 16, 255, chance.randrange(256), file[at] ^ 1 << chance.randrange(8)])
            done.append(f"byte {at} of tag and place {tags.get(at)}: {before} -> {file[at]}")
    if chance.random() < 0.1:
        del file[chance.randrange(8, len(file)) :]
        done.append(f"cut at {len(file)}")
    return bytes(file), "; ".join(done)


def shown_by_libtiff(file):
    try:
        return numpy.ascontiguousarray(imagecodecs.tiff_decode(file, asrgb=True))
    except Exception:
        return None


for number in range(count):
    try:
        file, what, picture, apart, judged = by_libtiff() if chance.random() < 0.08 else ordinary()
    except Exception:  # A combination that the writer doesn't take.
        continue
    damaged = judged and chance.random() < 0.6
    if damaged:
        try:
            file, done = damage(file)
            what += f", {done}"
        except Exception:
            continue
    if damaged or picture is None:
        picture = shown_by_libtiff(file)
    if picture is not None and (picture.ndim != 3 or picture.shape[2] != 4):
        continue
    path = directory / f"{number}.tif"
    path.write_bytes(file)
    line = {"path": str(path), "what": what, "damaged": damaged, "apart": apart, "shown": None, "size": None}
    if picture is not None:
        raw = directory / f"{number}.rgba"
        raw.write_bytes(picture.tobytes())
        line |= {"shown": str(raw), "size": [picture.shape[1], picture.shape[0]]}
    print(json.dumps(line), flush=True)
