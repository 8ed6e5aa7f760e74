"""The identities that a swap puts into clips: pictures of a folder, or the people of the sample
source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from PIL import Image

from datagen.core.files import parse_json
from datagen.core.seeds import seed_of
from datagen.engine.clip import Clip
from datagen.engine.exclude import ids_in, names_of
from datagen.media.image import read_picture
from datagen.vision import geometry as g
from datagen.vision.identity import FaceRecogniser, decoded, distance
from datagen.vision.landmarks import find_face, scaled
from datagen.vision.regions import face_colour

if TYPE_CHECKING:
    from datagen.sources.rendering.people import Person

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
BUILTIN = 12
DESCRIBED = Path(__file__).parent / "builtin_donors.json"
OTHER_SKIN = 12.0  # CIELAB distance from which skin colours are clearly different


@dataclass(frozen=True)
class Donor:
    """A portrait: RGB uint8 [H, W, 3], its face points float32 [478, 3] px, the content hash of its
    picture.
    """

    name: str
    group: str
    rgb: np.ndarray
    points: np.ndarray
    sha256: str

    @cached_property
    def skin(self) -> tuple[float, ...]:
        """Mean CIELAB colour of the face."""
        return tuple(face_colour(self.rgb, self.points).tolist())

    def descriptor(self, recogniser: FaceRecogniser) -> np.ndarray:
        """Who it is, float32 [N]; asked once of each recogniser."""
        if recogniser.name not in self._descriptors:
            self._descriptors[recogniser.name] = recogniser.describe(self.rgb, self.points)
        return self._descriptors[recogniser.name]

    @cached_property
    def _descriptors(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True)
class Lazy:
    """A donor that has a name, a hash, a skin colour and dlib's descriptor before its picture is
    drawn.
    """

    name: str
    group: str
    sha256: str
    skin: tuple[float, ...]
    draw: Callable[[], np.ndarray]
    identity: str | None = None  # datagen.vision.identity.encoded

    def descriptor(self, recogniser: FaceRecogniser) -> np.ndarray:
        """Who it is, float32 [N]."""
        if self.identity is not None and recogniser.name == "dlib":
            return decoded(self.identity)
        return self.drawn.descriptor(recogniser)

    @cached_property
    def drawn(self) -> Donor:
        rgb = self.draw()
        points = find_face(rgb)
        assert points is not None, f"no face in built-in donor {self.name}"
        return Donor(self.name, self.group, rgb, points, self.sha256)


AnyDonor = TypeVar("AnyDonor", bound=Donor | Lazy)


def load_donors(folder: str | Path) -> list[Donor]:
    """Donors of all pictures in a folder, by name; pictures without a face are left out. ValueError
    if none is left.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"donor folder {folder} does not exist: give a folder with portraits ({_kinds()})"
        )
    pictures = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not pictures:
        raise ValueError(
            f"donor folder {folder} holds no picture: put portraits there ({_kinds()})"
        )
    donors = [donor for path in pictures for donor in _load(path)]
    if not donors:
        raise ValueError(
            f"no face found in the {len(pictures)} pictures of donor folder {folder}: use portraits"
        )
    return donors


def builtin_donors() -> list[Lazy]:
    """Made-up people who play in none of the sample's clips, so that no split meets them; drawn
    when asked for.
    """
    from datagen.sources.rendering.people import donor

    return [_builtin(donor(index)) for index in range(BUILTIN)]


def choose(
    donors: Sequence[AnyDonor], clip: Clip, seed: int, recogniser: FaceRecogniser
) -> AnyDonor | None:
    """A donor for this clip, never its own person: neither by name (identity, group, video, file)
    nor by face. Of clearly another skin colour where there is one.

    Of those the one with the highest hash with the clip's key, so that a new donor changes few
    choices.
    """
    own = names_of(clip)
    others = [
        donor for donor in donors if not own & {donor.name, Path(donor.name).stem, donor.group}
    ]
    faces = clip.artifacts.get("faces")
    if faces and "identity" in faces.metrics:
        who = decoded(faces.metrics["identity"])
        others = [donor for donor in others if _is_other(donor, who, recogniser)]
        others = [
            donor for donor in others if _apart(donor.skin, faces.metrics["skin"]) >= OTHER_SKIN
        ] or others
    return max(others, key=lambda donor: seed_of(seed, clip.key, donor.name), default=None)


def _is_other(donor: Donor | Lazy, who: np.ndarray, recogniser: FaceRecogniser) -> bool:
    return float(distance(donor.descriptor(recogniser), who)) >= recogniser.same_person


def without(donors: Sequence[AnyDonor], opt_out: str | Path) -> list[AnyDonor]:
    """The donors that a file does not name. It has a name a line, of a picture with or without
    suffix.

    UserError if there is no such file; ValueError if nobody is left.
    """
    names = ids_in(opt_out, "swap.opt_out")
    left = [
        donor for donor in donors if not names & {donor.name, Path(donor.name).stem, donor.group}
    ]
    if not left:
        raise ValueError(
            f"swap.opt_out: {opt_out} names all {len(donors)} donors: give more "
            "portraits with --donors"
        )
    return left


def face_at_size(donor: Donor, eyes: float) -> tuple[np.ndarray, np.ndarray]:
    """The donor's face cut out, `eyes` px between its eyes: LAB uint8 [H, W, 3], points [478, 3]
    px.
    """
    scale = eyes / float(g.interocular(donor.points))
    x0, y0, x1, y1 = g.box(donor.points).tolist()
    margin = 0.15 * (x1 - x0)
    left, top = max(int(x0 - margin), 0), max(int(y0 - margin), 0)
    crop = donor.rgb[top : int(y1 + margin), left : int(x1 + margin)]
    return cv2.cvtColor(scaled(crop, scale), cv2.COLOR_RGB2LAB), (
        donor.points - np.array([left, top, 0], np.float32)
    ) * np.float32(scale)


def _load(path: Path) -> Iterator[Donor]:
    try:
        rgb = read_picture(path)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ):  # Pillow's ways to say "no picture"
        return
    points = find_face(rgb)
    if points is not None:
        yield Donor(
            path.name, path.name, rgb, points, hashlib.sha256(path.read_bytes()).hexdigest()
        )


def _apart(a: Sequence[float], b: Sequence[float]) -> float:
    """Distance of two CIELAB colours."""
    return float(np.linalg.norm(np.subtract(a, b)))


def _builtin(person: Person) -> Lazy:
    from datagen.sources.rendering.people import portrait

    sha256 = hashlib.sha256(repr(person).encode()).hexdigest()
    draw = partial(portrait, person)
    return Lazy(person.name, person.name, sha256, person.skin, draw, _described().get(person.name))


@cache
def _described() -> dict[str, str]:
    """Descriptors of the built-in donors by name; a test holds that they are theirs."""
    found: dict[str, str] = parse_json(DESCRIBED.read_bytes())
    return found


def _kinds() -> str:
    return ", ".join(suffix[1:] for suffix in SUFFIXES)
