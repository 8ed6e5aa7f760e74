"""Geometry of the 478 face points (MediaPipe FaceMesh with irises) that all stages share.  NumPy
only.

Points are float [..., 478, 3] in pixels: x right, y down, z away from the camera. "Right" and
"left" eye are the person's own. Angles follow L2CS and Gaze360: the direction (yaw y, pitch p) is
(-cos p sin y, -sin p, -cos p cos y), so yaw > 0 is towards the left of the picture and pitch > 0 is
up; roll > 0 turns clockwise in the picture.
"""

from __future__ import annotations

import numpy as np

POINTS = 478
# fmt: off
OVAL = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
]
RIGHT_EYE = [  # from the outer corner over the top
    33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7,
]
LEFT_EYE = [
    263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249,
]
OUTER_LIPS = [
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
]
INNER_LIPS = [
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
]
RIGHT_BROW = [
    70, 63, 105, 66, 107, 55, 65, 52, 53, 46,
]
LEFT_BROW = [
    300, 293, 334, 296, 336, 285, 295, 282, 283, 276,
]
# fmt: on
RIGHT_IRIS, LEFT_IRIS = 468, 473  # centres; the four following points lie on the rim
EYE_CORNERS = {"right": (33, 133), "left": (263, 362)}  # outer, inner
EYELIDS = {
    "right": ((160, 144), (159, 145), (158, 153)),
    "left": ((387, 373), (386, 374), (385, 380)),
}
BROW_ENDS = ((107, 55), (336, 285))  # inner, right and left
_ACROSS = (
    (33, 263),
    (133, 362),
    (127, 356),
    (234, 454),
    (21, 251),
    (54, 284),
)  # right, left pairs that move with the skull
_TOP, _BOTTOM = (10, 151, 9), (2, 97, 326)  # forehead; base of the nose: rigid, on the middle line
_TILT = np.deg2rad(
    -6.0
)  # lean of the forehead-to-nose line against the face's vertical in a frontal face


def box(points: np.ndarray) -> np.ndarray:
    """Bounding box xyxy of the points [..., N, 2+] -> [..., 4]."""
    xy = points[..., :2]
    return np.concatenate([xy.min(axis=-2), xy.max(axis=-2)], axis=-1)


def interocular(points: np.ndarray) -> np.ndarray:
    """Distance between the middles of the eyes, with depth, px [...]."""
    right = points[..., list(EYE_CORNERS["right"]), :].mean(axis=-2)
    left = points[..., list(EYE_CORNERS["left"]), :].mean(axis=-2)
    return np.linalg.norm(left - right, axis=-1)


def head_rotation(points: np.ndarray) -> np.ndarray:
    """Rotation head -> camera [..., 3, 3]; columns are the head's x (its left), y (down) and z
    (backwards) axes.
    """
    right, left = zip(*_ACROSS, strict=True)
    x = _unit((points[..., left, :] - points[..., right, :]).mean(axis=-2))
    down = points[..., _BOTTOM, :].mean(axis=-2) - points[..., _TOP, :].mean(axis=-2)
    y = _unit(down - (down * x).sum(-1, keepdims=True) * x)
    z = np.cross(x, y)
    lean = np.stack([np.cos(_TILT) * y - np.sin(_TILT) * z, np.sin(_TILT) * y + np.cos(_TILT) * z])
    return np.stack([x, lean[0], lean[1]], axis=-1)


def angles(rotation: np.ndarray) -> np.ndarray:
    """(yaw, pitch, roll) in radians [..., 3] of head rotations [..., 3, 3]."""
    yaw_pitch = direction_angles(-rotation[..., :, 2])
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.concatenate([yaw_pitch, roll[..., None]], axis=-1)


def direction_angles(direction: np.ndarray) -> np.ndarray:
    """Unit vectors [..., 3] -> (yaw, pitch) in radians [..., 2]."""
    yaw = np.arctan2(-direction[..., 0], -direction[..., 2])
    pitch = np.arcsin(np.clip(-direction[..., 1], -1, 1))
    return np.stack([yaw, pitch], axis=-1)


def direction(yaw_pitch: np.ndarray) -> np.ndarray:
    """(yaw, pitch) in radians [..., 2] -> unit vectors [..., 3]; the inverse of
    `direction_angles`.
    """
    yaw, pitch = yaw_pitch[..., 0], yaw_pitch[..., 1]
    return np.stack(
        [-np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], axis=-1
    )


def eye_openness(points: np.ndarray) -> np.ndarray:
    """Lid distance over eye width, right and left [..., 2]: about 0.35 open, 0.1 closed."""
    return np.stack([_openness(points, side) for side in ("right", "left")], axis=-1)


def mouth_openness(points: np.ndarray) -> np.ndarray:
    """Distance of the inner lips over the interocular distance [...]: 0 closed."""
    gap = np.linalg.norm(
        points[..., (14, 87, 317), :] - points[..., (13, 82, 312), :], axis=-1
    ).mean(-1)
    return gap / interocular(points)


def brow_height(points: np.ndarray) -> np.ndarray:
    """How far the brows lie above the eyes, along the head's vertical, over the interocular
    distance [...].
    """
    up = -head_rotation(points)[..., :, 1]
    brows = points[..., RIGHT_BROW + LEFT_BROW, :].mean(-2)
    corners = points[..., [i for pair in EYE_CORNERS.values() for i in pair], :].mean(-2)
    return ((brows - corners) * up).sum(-1) / interocular(points)


def brow_gap(points: np.ndarray) -> np.ndarray:
    """Distance of the brows' inner ends over the interocular distance [...]: a frown draws them
    together.
    """
    ends = (points[..., list(side), :].mean(-2) for side in BROW_ENDS)
    right, left = ends
    return np.linalg.norm(left - right, axis=-1) / interocular(points)


def _openness(points: np.ndarray, side: str) -> np.ndarray:
    upper, lower = zip(*EYELIDS[side], strict=True)
    gap = np.linalg.norm(points[..., upper, :2] - points[..., lower, :2], axis=-1).mean(-1)
    outer, inner = EYE_CORNERS[side]
    return gap / np.linalg.norm(points[..., outer, :] - points[..., inner, :], axis=-1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)
