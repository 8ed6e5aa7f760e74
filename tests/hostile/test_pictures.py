"""Portraits and donors from anybody: pictures alone, and none that fills the memory."""

from __future__ import annotations

import io
import struct
from zlib import compress, crc32

import numpy as np
import pytest
from hypothesis import given
from PIL import EpsImagePlugin, Image

from datagen.core.errors import UserError
from datagen.core.limits import MAX_STILL
from datagen.media.image import read_picture
from datagen.sources.rendering.people import person, portrait
from datagen.swap.donors import load_donors
from model.inputs.portrait import _picture
from tests.hostile import EXAMPLES, MIB, confined, fuzzing, spoilt

DAMAGE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
PACKED = compress(bytes(300 * MIB), 1)


def png(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """Of this size by its header, with a MiB of zeros as its pictures."""
    first = (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    chunks = (first, *more, (b"IDAT", compress(bytes(MIB), 9)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg() -> bytes:
    return saved(Image.new("RGB", (64, 64)), "JPEG")


def saved(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says another size."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">2H", height, width) + data[at + 4 :]


PICTURES = {
    "60000 x 60000": png(60000, 60000),
    "larger than a portrait, and whole": saved(
        Image.new("1", (10_000, MAX_STILL // 10_000 + 1)), "PNG"
    ),
    "long": png(2**31 - 1, 1),
    "of no size": png(0, 0),
    "a jpeg of 65000 x 65000": claiming(jpeg(), 65000, 65000),
    "cut": jpeg()[:300],
    "text that unpacks": png(8, 8, (b"zTXt", b"a\0\0" + PACKED)),
    "profile that unpacks": png(8, 8, (b"iCCP", b"a\0\0" + PACKED), (b"IDAT", b"")),
    "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(x) (w) file "
    b"closefile\n",
    "nothing": b"",
    "a film": b"\x00\x00\x00\x20ftypisom" + bytes(64),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_that_are_none(kind, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PICTURES[kind])
    assert confined(lambda: read_picture(path).shape, *DAMAGE).refusal
    assert confined(lambda: _picture(path).shape, UserError).refusal


def test_a_bad_donor_costs_itself(tmp_path):
    Image.fromarray(portrait(person(3))).save(tmp_path / "good.png")
    for number, data in enumerate(PICTURES.values()):
        (tmp_path / f"bad{number}.png").write_bytes(data)
    found = load_donors(tmp_path)
    assert [donor.name for donor in found.donors] == ["good.png"]
    assert len(found.refused) == len(PICTURES)


def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch):
    """Pillow starts Ghostscript for what begins like PostScript, whatever its name is."""
    path = tmp_path / "a.png"
    path.write_bytes(PICTURES["program"])
    marks = tmp_path / "ran"
    for name in ("gs", "gswin64c"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {marks}\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # it remembers where none was
    with pytest.raises(DAMAGE):
        read_picture(path)
    assert not marks.exists()
    with pytest.raises(Exception), Image.open(path) as opened:  # noqa: B017, PT011  any: only the trap is looked at
        opened.load()
    assert marks.exists(), "the trap works"


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_spoilt_pictures(kind, examples, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    data, path = saved(Image.fromarray(noise), kind), tmp_path / "a.png"

    @fuzzing(examples)
    @given(spoilt(data))
    def read(data):
        path.write_bytes(data)
        try:
            _picture(path)
        except UserError as error:
            assert "\n" not in str(error)

    confined(read, mebibytes=1200, seconds=600)
