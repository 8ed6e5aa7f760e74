"""Who plays in the sample: a few people by hand, the others chosen of many that were drawn."""

from __future__ import annotations

from datagen.sources.rendering.handmade import PEOPLE
from datagen.sources.rendering.lots import drawn
from datagen.sources.rendering.person import Person

# Of the first 760 drawn and of 300 whose numbers promised to be unlike those: the ones whom a
# recogniser of faces (dlib's) tells apart best, implausible faces left out.
_CAST = (
    29, 42, 49, 53, 63, 72, 84, 107, 108, 111, 213, 264, 319, 367, 387, 393, 410, 421, 424, 467,
    469, 524, 537, 561, 565, 597, 616, 643, 691, 692, 702, 709, 717, 728, 730, 1309, 1402, 1533,
    1699, 1752, 2042, 2501, 3328, 3809, 4125, 4216, 4570, 4586,
)  # fmt: skip
# Those at rest and without spectacles who are farthest from the cast and from each other.
_DONORS = (544, 258, 2699, 457, 490, 3866, 70, 3493, 194, 3296, 305, 2830)  # fmt: skip


def person(index: int) -> Person:
    """The person of the sample with this number."""
    if index < len(PEOPLE):
        return PEOPLE[index]
    return _numbered("person", index, _CAST, index - len(PEOPLE))


def donor(index: int) -> Person:
    """Somebody who is no `person` of any number: donors play in none of the sample's clips."""
    return _numbered("donor", index, _DONORS, index)


def _numbered(family: str, index: int, chosen: tuple[int, ...], place: int) -> Person:
    """The chosen one at this place, beyond them whoever the lot gives."""
    name = f"{family}{index:02d}"
    return drawn(name, "cast", chosen[place]) if place < len(chosen) else drawn(name, family, index)
