"""What a talking head does: smooth functions of time, so that one motion can be sampled at any
frame rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datagen.core.seeds import seed_of

KINDS = ("talk", "sweep", "updown", "stare", "look")
HEAD_LIMITS = (14.0, 9.0, 8.0)  # yaw, pitch, roll, degrees
Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Motion:
    """Samples float64 [T] at `fps`; degrees with the signs of datagen.vision.geometry; the gaze is
    eye-in-head.
    """

    fps: float
    gaze_yaw: np.ndarray
    gaze_pitch: np.ndarray
    blink: np.ndarray  # 0 open .. 1 closed
    mouth: np.ndarray  # 0 closed .. 1 wide open
    smile: np.ndarray  # -1 narrow .. 1 wide
    head_yaw: np.ndarray
    head_pitch: np.ndarray
    head_roll: np.ndarray
    shift_x: np.ndarray  # of the head, px of a 512 px picture
    shift_y: np.ndarray

    def __len__(self) -> int:
        return len(self.blink)

    def truth(self) -> dict[str, float | list[float]]:
        """Everything as JSON values, rounded to 3 decimals."""
        curves = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "fps"
        }
        return {
            "fps": self.fps,
            **{name: np.round(values, 3).tolist() for name, values in curves.items()},
        }


def motion(kind: str, seconds: float, fps: float, seed: int) -> Motion:
    """The motion of this kind and seed, sampled at n / fps for all n / fps < seconds."""
    t = np.arange(int(np.ceil(seconds * fps - 1e-9))) / fps
    rng = np.random.default_rng(seed_of("motion", kind, seed))
    samples = {"smile": 0.35 * _wander(rng, 0.2, 0.7)(t), "blink": _blinks(rng)(t)}
    samples |= {
        "shift_x": 3 * _wander(rng, 0.15, 0.5)(t),
        "shift_y": 2.5 * _wander(rng, 0.15, 0.5)(t),
    }
    samples |= _MOVES[kind](rng, t)
    return Motion(fps, **{name: np.asarray(values, float) for name, values in samples.items()})


def _talk(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    yaw, pitch = _saccades(rng, (4, 2.5), every=(0.5, 1.1))
    eyes = {"gaze_yaw": yaw(t), "gaze_pitch": pitch(t)}
    return eyes | {"mouth": _speech(rng, 0.75)(t)} | _head(rng, t, 0.5, 1, 0.6)


def _sweep(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    swing = rng.uniform(18, 22) * _swing(rng)(t)
    eyes = {"gaze_yaw": swing, "gaze_pitch": 1.5 * _wander(rng, 0.2, 0.6)(t)}
    return eyes | {"mouth": _speech(rng, 0.5)(t)} | _head(rng, t, 0.4, 0.9, 0.5)


def _updown(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    swing = rng.uniform(12, 15) * _swing(rng)(t)
    eyes = {"gaze_yaw": 1.5 * _wander(rng, 0.2, 0.6)(t), "gaze_pitch": swing}
    return eyes | {"mouth": _speech(rng, 0.5)(t)} | _head(rng, t, 0.4, 0.9, 0.5)


def _stare(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    still = np.zeros_like(t)
    return {"gaze_yaw": still, "gaze_pitch": still, "mouth": _speech(rng, 0.75)(t)} | _head(
        rng, t, 1, 1, 1
    )


def _look(rng: np.random.Generator, t: np.ndarray) -> dict[str, np.ndarray]:
    """The eyes jump, the head follows slowly about half the way."""
    yaw, pitch = _saccades(rng, (18, 13), every=(0.45, 0.9))
    turned = _head(rng, t, 0.3, 0.7, 0.6)
    lag = np.linspace(0.05, 0.45, 9)[:, None]
    turned["head_yaw"] = np.clip(turned["head_yaw"] + 0.5 * yaw(t - lag).mean(0), -14, 14)
    turned["head_pitch"] = np.clip(turned["head_pitch"] + 0.4 * pitch(t - lag).mean(0), -9, 9)
    return {"gaze_yaw": yaw(t), "gaze_pitch": pitch(t), "mouth": _speech(rng, 0.75)(t)} | turned


_MOVES = {"talk": _talk, "sweep": _sweep, "updown": _updown, "stare": _stare, "look": _look}


def _head(rng: np.random.Generator, t: np.ndarray, *shares: float) -> dict[str, np.ndarray]:
    """Head angles that use these shares (yaw, pitch, roll) of what the head may turn."""
    names = ("head_yaw", "head_pitch", "head_roll")
    turns = zip(names, shares, HEAD_LIMITS, strict=True)
    return {name: share * limit * _wander(rng, 0.25, 0.6)(t) for name, share, limit in turns}


def _swing(rng: np.random.Generator) -> Curve:
    period, start = rng.uniform(1.5, 1.9), rng.choice([-1.0, 1.0])
    return lambda t: start * np.sin(2 * np.pi * t / period)


def _wander(rng: np.random.Generator, low: float, high: float) -> Curve:
    """A slow wandering in -1..1 of frequencies low..high Hz."""
    rates, phases = rng.uniform(low, high, 3), rng.uniform(0, 2 * np.pi, 3)
    weights = np.array([0.55, 0.3, 0.15])
    return lambda t: np.tensordot(
        weights, np.sin(2 * np.pi * np.multiply.outer(rates, t) + phases[:, None]), axes=1
    )


def _speech(rng: np.random.Generator, loudness: float) -> Curve:
    """Syllables at 3 to 4 Hz under a slower rise and fall of the voice, in 0..loudness."""
    rate, phase = rng.uniform(2.8, 3.8), rng.uniform(0, 2 * np.pi)
    voice, drift = _wander(rng, 0.3, 0.8), _wander(rng, 0.4, 0.9)

    def curve(t: np.ndarray) -> np.ndarray:
        syllable = 0.5 - 0.5 * np.cos(2 * np.pi * rate * t + phase + 1.5 * drift(t))
        return loudness * np.clip(0.62 + 0.45 * voice(t), 0.08, 1) * syllable

    return curve


def _blinks(rng: np.random.Generator) -> Curve:
    """Closures of 0.17 to 0.27 s every 1 to 2 s for as long as anyone looks."""
    starts = rng.uniform(0.35, 0.9) + np.concatenate([[0], np.cumsum(rng.uniform(1.05, 1.9, 63))])
    lengths = rng.uniform(0.17, 0.27, len(starts))

    def curve(t: np.ndarray) -> np.ndarray:
        phase = np.clip((t[..., None] - starts) / lengths, 0, 1)
        return np.clip(1.25 * np.sin(np.pi * phase) ** 2, 0, 1).max(-1)

    return curve


def _saccades(
    rng: np.random.Generator, reach: tuple[float, float], every: tuple[float, float]
) -> tuple[Curve, Curve]:
    """Fixation points within `reach` degrees, held for `every` seconds, jumps of 60 ms; before 0 s
    the first one.
    """
    times = np.cumsum(rng.uniform(*every, 128))
    points = rng.uniform(-1, 1, (129, 2)) * reach

    def axis(values: np.ndarray) -> Curve:
        def curve(t: np.ndarray) -> np.ndarray:
            progress = np.clip((t[..., None] - times) / 0.06, 0, 1)
            return values[0] + (progress * progress * (3 - 2 * progress) * np.diff(values)).sum(-1)

        return curve

    return axis(points[:, 0]), axis(points[:, 1])
