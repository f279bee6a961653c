"""Draws a small alphabet and writes it as two zips in Omniglot's layout.

Each of 20 characters is a few curved strokes with random control points; each of its 20 drawings moves the
points, slants and scales the whole, so that characters can be learned and no two drawings are equal. The
random numbers are the standard library's and the arithmetic has no transcendental function in it, so every
machine draws the same pixels.

    python testdata/make_alphabet.py [folder]
"""

import itertools
import pathlib
import random
import struct
import sys
import zipfile
import zlib

SIZE = 105
DRAWINGS = 20
CHARACTERS = 5
ALPHABETS = {
    "images_background": ("Arka", "Belen", "Corva"),
    "images_evaluation": ("Delta",),
}


def character_strokes(rng):
    """Returns 2 or 3 strokes, each 4 control points of a cubic Bezier curve in a square of side 1."""
    return [
        [(rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95)) for _ in range(4)] for _ in range(rng.choice((2, 2, 3)))
    ]


def drawing_pixels(strokes, rng):
    """Returns the inked (x, y) pixels of one drawing of a character."""
    scale_x, scale_y, slant = rng.uniform(0.75, 1.0), rng.uniform(0.75, 1.0), rng.uniform(-0.15, 0.15)
    shift_x, shift_y = rng.uniform(-4.0, 4.0), rng.uniform(-4.0, 4.0)
    ink = set()
    for stroke in strokes:
        points = []
        for x, y in stroke:
            x, y = x + rng.uniform(-0.05, 0.05) - 0.5, y + rng.uniform(-0.05, 0.05) - 0.5
            points.append((52.0 + shift_x + 84.0 * (scale_x * x + slant * y), 52.0 + shift_y + 84.0 * scale_y * y))
        for step in range(201):
            x, y = bezier(points, step / 200.0)
            ink |= disc(round(x), round(y))
    return ink


def bezier(points, t):
    """Returns the point at t of a Bezier curve, by de Casteljau's algorithm."""
    while len(points) > 1:
        points = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for a, b in itertools.pairwise(points)]
    return points[0]


def disc(x, y):
    """Returns the pixels of the pen's tip at (x, y) that lie on the paper."""
    tip = ((x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
    return {(px, py) for px, py in tip if 0 <= px < SIZE and 0 <= py < SIZE}


def png(ink):
    """Encodes a 1-bit grey PNG with ink 0 and paper 1."""
    rows = bytearray()
    for y in range(SIZE):
        bits = int("".join("0" if (x, y) in ink else "1" for x in range(SIZE)) + "0" * (-SIZE % 8), 2)
        rows += b"\0" + bits.to_bytes((SIZE + 7) // 8, "big")
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind, data):
    """Returns a PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_alphabet(folder):
    """Writes the two zips into the folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(2017)
    character = 0
    for half, alphabets in ALPHABETS.items():
        with zipfile.ZipFile(folder / f"{half}.zip", "w", zipfile.ZIP_STORED) as archive:
            for alphabet in alphabets:
                for number in range(1, CHARACTERS + 1):
                    character += 1
                    strokes = character_strokes(rng)
                    for drawing in range(1, DRAWINGS + 1):
                        name = f"{half}/{alphabet}/character{number:02}/{character:04}_{drawing:02}.png"
                        # A member's date and system are part of the archive: fixed ones give the same bytes.
                        member = zipfile.ZipInfo(name, date_time=(2017, 1, 1, 0, 0, 0))
                        member.create_system = 3
                        member.external_attr = 0o644 << 16
                        archive.writestr(member, png(drawing_pixels(strokes, rng)))


if __name__ == "__main__":
    write_alphabet(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "alphabet")
