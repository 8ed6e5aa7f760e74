"""The people of the sample and how they look from the front."""

from __future__ import annotations

import numpy as np

from datagen.sources.rendering.crowd import PEOPLE, donor, person
from datagen.sources.rendering.look import Look, look_of
from datagen.sources.rendering.person import Person
from datagen.sources.rendering.talking_head import at_rest

__all__ = ["PEOPLE", "Look", "Person", "donor", "look_of", "person", "portrait"]


def portrait(person: Person) -> np.ndarray:
    """Head and shoulders from the front, at rest with the lips closed, RGB uint8 [512, 512, 3]."""
    return at_rest(person)
