"""Pictures that anybody may have made, read within bounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from datagen.core import limits

if TYPE_CHECKING:
    pass


# Pillow knows more, and takes what a file is from its first bytes: for some (EPS) it would start
# other programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")


MAX_SIDE = 1280  # px; larger pictures are scaled down


def read_picture(path: Path) -> np.ndarray:
    """RGB uint8 [H, W, 3] of a picture file: turned upright, transparency on white, no side above
    MAX_SIDE.

    OSError, ValueError or SyntaxError where it is none, Image.DecompressionBombError where it would
    fill the memory.
    """
    with opened_picture(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("RGB")
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.array(picture)


@contextmanager
def opened_picture(path: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Not decoded yet; raises what `read_picture` raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd in a picture is either borne or an error
        with Image.open(path, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > limits.MAX_STILL:
                raise Image.DecompressionBombError(f"it has {width} x {height} pixels")
            yield opened
