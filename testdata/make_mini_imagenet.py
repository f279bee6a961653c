"""Draws small colour images and writes them as a tar of JPEGs in mini-ImageNet's layout.

Each class is a shape of its own on stripes of its own; each of its images moves, scales and tints them, so that
classes can be learned and no two images are equal. Drawing is integer arithmetic on the standard library's random
numbers, so every machine draws the same pixels; what the JPEG encoder makes of them differs a little.

    python testdata/make_mini_imagenet.py [file]
"""

import io
import pathlib
import random
import sys
import tarfile

from PIL import Image

SIZE = 84
IMAGES = 16
CLASSES = {"train": 6, "val": 5, "test": 5}
SHAPES = ("disc", "square", "cross", "ring")


def class_names(part):
    """Returns the names of the classes of a part."""
    first = {"train": 0, "val": 6, "test": 11}[part]
    return [f"n{number:08}" for number in range(first, first + CLASSES[part])]


def class_style(name):
    """Returns what all images of a class share: its shape, colours and stripes."""
    number = int(name[1:])
    rng = random.Random(84 + number)
    return {
        "shape": SHAPES[number % len(SHAPES)],
        "ink": [rng.randrange(256) for _ in range(3)],
        "paper": [rng.randrange(256) for _ in range(3)],
        "stripe": (rng.randint(-3, 3), rng.randint(1, 3), rng.randint(24, 60)),
    }


def draw(name, number):
    """Returns the pixels of image `number` of a class, bytes of RGB rows."""
    style = class_style(name)
    rng = random.Random(1000 * int(name[1:]) + number)
    radius = rng.randint(14, 26)
    x0, y0 = rng.randint(26, SIZE - 27), rng.randint(26, SIZE - 27)
    shift, tint = rng.randrange(60), [rng.randint(-30, 30) for _ in range(3)]
    a, b, width = style["stripe"]
    pixels = bytearray()
    for y in range(SIZE):
        for x in range(SIZE):
            if is_inside(style["shape"], x - x0, y - y0, radius):
                colour = style["ink"]
            else:
                dark = 40 if (a * x + b * y + shift) // width % 2 else 0
                colour = [value - dark for value in style["paper"]]
            pixels += bytes(min(255, max(0, value + by)) for value, by in zip(colour, tint, strict=True))
    return bytes(pixels)


def is_inside(shape, x, y, radius):
    """Returns whether a pixel belongs to a shape around the origin."""
    if shape == "disc":
        return x * x + y * y <= radius * radius
    if shape == "ring":
        return radius * radius <= 4 * (x * x + y * y) <= 4 * radius * radius
    if shape == "square":
        return max(abs(x), abs(y)) <= radius
    return min(abs(x), abs(y)) <= radius // 3 and max(abs(x), abs(y)) <= radius


def jpeg(pixels):
    """Encodes an image."""
    file = io.BytesIO()
    Image.frombytes("RGB", (SIZE, SIZE), pixels).save(file, "JPEG", quality=30)
    return file.getvalue()


def write_tar(path):
    """Writes the archive."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for part in CLASSES:
            for name in class_names(part):
                for number in range(IMAGES):
                    content = jpeg(draw(name, number))
                    # A new TarInfo has no date and no owner: the archive's bytes depend on the images alone.
                    member = tarfile.TarInfo(f"miniImagenet/{part}/{name}/{name}_{number:03}.jpg")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    default = pathlib.Path(__file__).parent / "mini_imagenet" / "miniImagenet.tar"
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.parent.mkdir(parents=True, exist_ok=True)
    write_tar(target)
