"""What the tests of listed datasets share: made-up lists in the published layouts, and films with
numbered frames.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from datagen.sources.celebvhq import CelebVHQ
from datagen.sources.vfhq import VFHQ

BOX = {"top": 0.1, "bottom": 0.6, "left": 0.25, "right": 0.75}
BITS = 10


def celebvhq_entry(video: str, start: float, end: float, **changed: Any) -> dict[str, Any]:
    """As in celebvhq_info.json; a change to None leaves the field out."""
    attributes = {
        "appearance": [0, 1] + [0] * 38,
        "action": [0] * 34 + [1],
        "emotion": {"sep_flag": False, "labels": "happy"},
    }
    duration = {"start_sec": start, "end_sec": end}
    entry = {
        "ytb_id": video,
        "duration": duration,
        "bbox": BOX,
        "attributes": attributes,
        "version": "v0.1",
        **changed,
    }
    return {name: value for name, value in entry.items() if value is not None}


def celebvhq_json(path: Path, clips: Mapping[str, Any]) -> Path:
    names = {
        "appearance_mapping": [f"Look{i}" for i in range(40)],
        "action_mapping": [f"act{i}" for i in range(35)],
    }
    path.write_text(json.dumps({"meta_info": names, "clips": clips}))
    return path


def celebvhq(folder: Path, clips: Mapping[str, Any], **options: Any) -> CelebVHQ:
    return CelebVHQ(
        raw=str(folder),
        metadata=str(celebvhq_json(folder / "celebvhq_info.json", clips)),
        **options,
    )


def vfhq_text(
    video: str,
    fps: float = 25.0,
    box: Iterable[int] = (10, 10, 522, 522),
    size=(1280, 720),
    frames=3,
) -> str:
    """As in meta_info.zip."""
    points = " ".join(["1.5"] * 10)
    lines = [f"{n} 0 10 20 30 40 {points}" for n in range(frames)]
    head = (
        f"Video ID: {video}\nH: {size[1]}\nW: {size[0]}\nFPS: {fps}\n\nFRAME INDEX X0 Y0 W H "
        "[Landmarks (5 Points)]\n\n"
    )
    return head + "\n".join(lines) + "\nCROP BBOX: " + " ".join(map(str, box)) + "\n"


def vfhq(folder: Path, texts: Mapping[str, str], **options: Any) -> VFHQ:
    """The texts by clip name, in a zip."""
    with zipfile.ZipFile(folder / "meta_info.zip", "w") as file:
        for name, text in texts.items():
            file.writestr(f"{name}.txt", text)
    return VFHQ(raw=str(folder), metadata=str(folder / "meta_info.zip"), **options)


def numbered(number: int, width: int = 320, height: int = 180) -> np.ndarray:
    """A picture [H, W, 3] whose left half and right half are columns of 5 blocks each, the bits of
    `number` < 1024.
    """
    bits = np.array([number >> i & 1 for i in range(BITS)], np.uint8).reshape(2, 5).T
    grey = cv2.resize(bits * 200 + 25, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.repeat(grey[..., None], 3, axis=2)


def number_of(rgb: np.ndarray) -> int:
    """Of a picture of the whole of `numbered`."""
    grey = cv2.resize(rgb[..., 1], (2, 5), interpolation=cv2.INTER_AREA)
    return sum(int(bit) << i for i, bit in enumerate((grey.T > 125).ravel()))


def film(
    path: Path,
    times: Sequence[Any],
    codec="libx264",
    options=None,
    size=(320, 180),
    turned: int = 0,
) -> Path:
    """One numbered picture for each of the times (s, exact fractions); stored lying, if `turned` by
    degrees.
    """
    options = options or (
        {"crf": "18", "g": "24"}
        if codec == "libx264"
        else {"deadline": "realtime", "cpu-used": "8"}
    )
    base = Fraction(1, 90000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        upright = [
            np.ascontiguousarray(np.rot90(numbered(n, *size), -turned // 90))
            for n in range(len(times))
        ]
        stream.height, stream.width = upright[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        if turned:
            stream.set_display_rotation(turned)
        for rgb, time in zip(upright, times, strict=True):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts, picture.time_base = round(time / base), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
