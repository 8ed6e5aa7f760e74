"""Somebody else sits for the drawing: a clip's frames with another build of the head and another
skin.

A drawing leaves little of a skin's detail, so that none is put in; place and colour are what it
shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datagen.swap.donors import Donor
from datagen.swap.skull import Skull
from datagen.swap.swapper import Swapper
from datagen.vision import mesh

SHAPE, COLOUR = 0.7, 0.85  # of the donor's outline and colour
Draw = Callable[[np.ndarray], np.ndarray]  # RGB uint8 [H, W, 3] -> the same, drawn


class Sitter:
    """The target's frames as somebody else, drawn: what the search for a build asks for."""

    def __init__(self, donor: Donor, points: np.ndarray):
        """`points` [T, 478, 3] px of the whole clip, at least one known."""
        known = ~np.isnan(points).any((1, 2))
        self._swapper = Swapper(donor, np.median(mesh.frontal(points[known]), 0), SHAPE, COLOUR)
        self._swapper.paint = 0.0
        self.draw: Draw = lambda rgb: rgb

    @property
    def skull(self) -> Skull | None:
        """The other build."""
        return self._swapper.skull

    @skull.setter
    def skull(self, skull: Skull | None) -> None:
        self._swapper.skull = skull

    def __call__(self, rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
        """RGB uint8 [H, W, 3] and its points [478, 3] px, NaN where there is no face."""
        return self.draw(rgb if np.isnan(points).any() else self._swapper(rgb, points))

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Where the points [478, 3] px of a target's frame lie in the drawing."""
        return self._swapper.placed(points)

    def builds(self, seed: int, count: int) -> list[Skull]:
        """Other builds for the target's head, the most different first."""
        return self._swapper.builds(seed, count)
