"""Pictures of high dynamic range as a screen of the usual range shows them.

Light is counted in what an SDR screen shows as white, 100 cd/m² (ITU-R BT.2035). PQ (SMPTE
ST 2084) says how bright each value is; HLG (ARIB STD-B67) says it for a screen of 1000 cd/m²
(ITU-R BT.2100). What is brighter than white is drawn together above KNEE, and colours beyond BT.709
are cut off.
"""

from __future__ import annotations

from functools import cache

import numpy as np

PQ, HLG = 16, 18  # AVCOL_TRC_SMPTE2084, AVCOL_TRC_ARIB_STD_B67
NAMES = {PQ: "pq", HLG: "hlg"}
BT2020 = 9  # AVCOL_PRI_BT2020
WHITE = 100.0  # cd/m²
BRIGHTEST = 1000.0  # cd/m² of what is still told apart
KNEE = 0.8  # of white
SCREEN_GAMMA = 2.4  # ITU-R BT.1886
HLG_GAMMA = 1.2  # of light in the scene to light on a screen of 1000 cd/m²
HLG_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
TO_BT709 = np.array(  # ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
LEVELS = 4096  # of the tables


def to_sdr(rgb: np.ndarray, transfer: int, is_wide: bool) -> np.ndarray:
    """RGB uint16 [H, W, 3] in 0..4095 with the transfer function PQ or HLG -> RGB uint8 of BT.709.

    `is_wide`: its primaries are those of BT.2020.
    """
    light = _light(transfer)[rgb]
    if transfer == HLG:
        scene = light @ HLG_LUMA
        light *= (BRIGHTEST / WHITE * np.maximum(scene, 1e-6) ** (HLG_GAMMA - 1))[..., None]
    if is_wide:
        light = light @ TO_BT709.T
    shown = np.clip(light * np.float32(WHITE / BRIGHTEST), 0, 1)
    values: np.ndarray = _screen()[(shown * (LEVELS * 4 - 1) + 0.5).astype(np.uint16)]
    return values


@cache
def _light(transfer: int) -> np.ndarray:
    """Value -> light: of PQ in whites, of HLG in the scene, 0 to 1."""
    value = np.arange(LEVELS, dtype=np.float64) / (LEVELS - 1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = value ** (1 / m2)
        nits = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
        return (nits / WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    dark, bright = value**2 / 3, (np.exp((value - c) / a) + b) / 12
    return np.where(value <= 0.5, dark, bright).astype(np.float32)


@cache
def _screen() -> np.ndarray:
    """Light up to BRIGHTEST -> value of an SDR screen, uint8."""
    light = np.arange(LEVELS * 4) / (LEVELS * 4 - 1) * (BRIGHTEST / WHITE)
    above, full, room = np.maximum(light - KNEE, 0), BRIGHTEST / WHITE - KNEE, 1 - KNEE
    bend = room * full / (full - room)  # slope 1 at the knee, and the brightest light is white
    toned = np.where(light <= KNEE, light, KNEE + above * bend / (above + bend))
    return np.round(255 * toned ** (1 / SCREEN_GAMMA)).astype(np.uint8)
