"""Who plays in the sample: a few people by hand, the others chosen of many that were drawn."""

from __future__ import annotations

from datagen.sources.rendering.handmade import PEOPLE
from datagen.sources.rendering.lots import drawn
from datagen.sources.rendering.person import Person

# Of a thousand drawn, those whom a recogniser of faces tells apart best, faces like nobody's left
# out.
_CAST: tuple[int, ...] = ()
_DONORS: tuple[int, ...] = ()


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
