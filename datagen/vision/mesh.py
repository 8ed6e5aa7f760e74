"""The mesh of the 468 face points: its triangles, drawing on them without a loop, and the
proportions of a face.
"""

from __future__ import annotations

from collections import defaultdict, deque
from functools import lru_cache

import cv2
import numpy as np

from datagen.vision import geometry as g

FEATURES = sorted(
    {*g.RIGHT_EYE, *g.LEFT_EYE, *g.OUTER_LIPS, *g.INNER_LIPS, *g.RIGHT_BROW, *g.LEFT_BROW}
)
MAX_YAW = np.deg2rad(12)  # of a head whose both halves are good
HOLES = (g.RIGHT_EYE, g.LEFT_EYE, g.INNER_LIPS)
CELL = 4  # px of a cell of the grid on which a face is drawn
HALF = np.array(
    [0.5 - 0.5 / CELL, 0.5 - 0.5 / CELL, 0], np.float32
)  # from a cell's first pixel to its middle
SURFACE = 468  # the irises' ten points lie in the holes


@lru_cache(maxsize=1)
def triangles() -> np.ndarray:
    """int32 [852, 3], all wound alike; the eye openings and the mouth are holes.  (FaceMesh's
    tessellation)
    """
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    faces = _cliques({tuple(sorted(edge)) for edge in FACEMESH_TESSELATION})
    return np.array(_wound_alike(faces), np.int32)


@lru_cache(maxsize=1)
def filled() -> np.ndarray:
    """`triangles` with the three holes closed by fans: int32 [898, 3]."""
    fans = [(ring[0], ring[i], ring[i + 1]) for ring in HOLES for i in range(1, len(ring) - 1)]
    faces = [tuple(face) for face in triangles().tolist()] + fans
    return np.array(_wound_alike(faces), np.int32)


@lru_cache(maxsize=1)
def depth() -> np.ndarray:
    """Steps along edges from the face's outline to each of the 468 points, int [468]; 0 on the
    outline.
    """
    faces = triangles()
    steps = np.full(SURFACE, -1)
    steps[g.OVAL] = 0
    for step in range(1, SURFACE):
        near = np.unique(faces[(steps[faces] == step - 1).any(1)])
        near = near[steps[near] < 0]
        if not len(near):
            break
        steps[near] = step
    return steps


@lru_cache(maxsize=1)
def mirror() -> np.ndarray:
    """The point that lies opposite on the other half of the face, int [468].

    Both halves are walked alike from the middle line; six points in the nostrils, where the
    triangles differ, get a neighbour of it.
    """
    third = {
        (a, b): c
        for face in triangles().tolist()
        for a, b, c in (face, face[1:] + face[:1], face[2:] + face[:2])
    }
    other = {4: 4, 5: 5}
    todo, seen = deque([(4, 5), (5, 4)]), set()
    while todo:
        tail, head = edge = todo.popleft()
        here, there = third.get(edge), third.get((other[head], other[tail]))
        if edge in seen or here is None or there is None:
            continue
        seen.add(edge)
        if other.setdefault(here, there) == there:
            todo += [(tail, here), (here, head), (here, tail), (head, here)]
    return np.array([other[i] for i in range(SURFACE)])


def rasterise(
    points: np.ndarray, faces: np.ndarray, values: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Values [N, K] at points [N, 3], linear within each face, at whole pixels of a grid: float32
    [H, W, K].

    Uncovered pixels hold 0. Of faces one behind the other the nearest wins (z points away).
    """
    height, width = size
    order = np.argsort(
        -points[faces, 2].mean(1), kind="stable"
    )  # far to near: what is written last stays
    corners = points[faces[order], :2].astype(np.float32)  # F 3 2
    face, x, y = _candidates(corners, width, height)
    weights = _barycentric(corners, face, x, y)
    inside = (weights >= -1e-4).all(1)
    face, x, y, weights = face[inside], x[inside], y[inside], weights[inside]
    grid = np.zeros((height * width, values.shape[1]), np.float32)
    nearest = np.full(height * width, -1)
    nearest[y * width + x] = np.arange(len(x))
    pixel = np.flatnonzero(nearest >= 0)
    row = nearest[pixel]
    grid[pixel] = np.einsum(
        "nc,nck->nk", weights[row], values[faces[order[face[row]]]].astype(np.float32)
    )
    return grid.reshape(height, width, -1)


def draw(
    points: np.ndarray, values: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Values [468, K] drawn on a face, points [468+, 3] px, in a frame (H, W): float32 [h, w, K]
    and its box xyxy px.

    A ring around the outline is drawn too: the first two values, a place, go on there, the last
    two, masks, are 0.
    """
    corners, faces = with_ring(points[:SURFACE])
    around, _ = with_ring(values)
    around[SURFACE:, 2:-2] = values[g.OVAL, 2:-2]
    around[SURFACE:, -2:] = 0
    limit = np.array([size[1], size[0]]) // CELL
    low = np.clip(np.floor(corners[:, :2].min(0) / CELL).astype(int), 0, limit - 1)
    high = np.clip(np.ceil(corners[:, :2].max(0) / CELL).astype(int), low + 1, limit)
    (width, height), (x, y) = (high - low).tolist(), (CELL * low).tolist()
    grid = rasterise(
        (corners - np.array([x, y, 0], np.float32)) / CELL - HALF, faces, around, (height, width)
    )
    return enlarged(grid, (CELL * height, CELL * width)), (
        x,
        y,
        x + CELL * width,
        y + CELL * height,
    )


def with_ring(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [468, K] and 36 more just outside the outline; the faces of the mesh and of the ring
    between.
    """
    oval = points[g.OVAL]
    outside = oval + 0.08 * (oval - points.mean(0))
    here, there = np.array(g.OVAL), SURFACE + np.arange(len(g.OVAL))
    ahead, far = np.roll(here, -1), np.roll(there, -1)
    ring = np.concatenate([np.stack([here, there, ahead], 1), np.stack([ahead, there, far], 1)])
    return np.concatenate([points, outside]).astype(np.float32), np.concatenate([filled(), ring])


def enlarged(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A grid [h, w, K] as float32 [H, W, K], linear between the middles of its cells (OpenCV takes
    four layers).
    """
    layers = [
        cv2.resize(grid[..., i : i + 4], size[::-1]).reshape(*size, -1)
        for i in range(0, grid.shape[-1], 4)
    ]
    return np.concatenate(layers, axis=-1)


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values float32 [N, C] of an image at points [N, 2+] px."""
    where = np.ascontiguousarray(points[None, :, :2], np.float32)
    return cv2.remap(image, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
        0
    ].astype(np.float32)


def facing(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How much each of the 468 points faces the camera: cosine, float32 [468]; 1 straight on, below
    0 turned away.
    """
    a, b, c = (points[faces[:, i]].astype(np.float64) for i in range(3))
    normal = np.cross(b - a, c - a)  # length = twice the area
    summed = np.zeros((SURFACE, 3))
    for axis in range(3):
        for corner in range(3):
            summed[:, axis] += np.bincount(faces[:, corner], normal[:, axis], SURFACE)
    return (summed[:, 2] / np.maximum(np.linalg.norm(summed, axis=1), 1e-9)).astype(np.float32)


def frontal(points: np.ndarray) -> np.ndarray:
    """Points [..., 478, 3] without head pose: origin amid eyes, brows and lips, unit = interocular
    distance.
    """
    centre = points[..., FEATURES, :].mean(-2, keepdims=True)
    return (points - centre) @ g.head_rotation(points) / g.interocular(points)[..., None, None]


def shape_ratios(points: np.ndarray) -> np.ndarray:
    """Proportions of a face [..., 6], hardly changed by expression, from points [..., 478, 3].

    Widths of cheeks, jaw, lower jaw and nose over the face's length; jaw over cheeks; chin's length
    over the face's.
    """
    p = frontal(points)

    def apart(i: int, j: int, axis: int) -> np.ndarray:
        return np.abs(p[..., i, axis] - p[..., j, axis])

    length, cheeks, jaw = apart(9, 152, 1), apart(234, 454, 0), apart(172, 397, 0)
    widths = cheeks, jaw, apart(150, 379, 0), apart(129, 358, 0)
    return np.stack(
        [*(width / length for width in widths), jaw / cheeks, apart(17, 152, 1) / length], axis=-1
    )


def closed(points: np.ndarray) -> np.ndarray:
    """Frontal points [N, 3] with the mouth closed: the lower lip and the jaw raised."""
    upper, lower = points[13, 1], points[14, 1]
    raised = points.copy()
    raised[:, 1] -= (lower - upper) * np.clip(
        (points[:, 1] - upper) / max(lower - upper, 0.05), 0, 1
    )
    return raised


def symmetric(points: np.ndarray) -> np.ndarray:
    """Frontal points [468, 3] made the same on both halves, which takes the error of a turned head
    out.
    """
    return (points + points[mirror()] * np.array([-1, 1, 1], np.float32)) / 2


def steady(points: np.ndarray, fps: float) -> np.ndarray:
    """Points [T, 478, 3] with gaps of up to 0.3 s bridged in straight lines, smoothed over three
    frames (1 2 1).
    """
    points = points.copy()
    known = np.flatnonzero(~np.isnan(points).any((1, 2)))
    for before, after in zip(known[:-1], known[1:], strict=True):
        if 1 < after - before <= 0.3 * fps + 1:
            share = (np.arange(1, after - before) / (after - before))[:, None, None]
            points[before + 1 : after] = points[before] * (1 - share) + points[after] * share
    around = np.concatenate([points[:1], points, points[-1:]])
    before, after = (np.where(np.isnan(side), points, side) for side in (around[:-2], around[2:]))
    return ((before + 2 * points + after) / 4).astype(np.float32)


def better_half(points: np.ndarray) -> np.ndarray:
    """Where each of the 468 points is taken from, px [468, 2]; of a turned head the near half
    serves for both.
    """
    own = points[:SURFACE, :2]
    yaw = g.angles(g.head_rotation(points))[0]
    far = np.sign(frontal(points)[:SURFACE, :1]) == -np.sign(yaw)
    return np.where(far, own[mirror()], own) if abs(yaw) > MAX_YAW else own


def _candidates(
    corners: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face index, x and y of every grid pixel in every face's bounding box."""
    low = np.clip(np.ceil(corners.min(1)), 0, (width, height)).astype(np.int64)
    high = np.clip(np.floor(corners.max(1)) + 1, 0, (width, height)).astype(np.int64)
    extent = np.maximum(high - low, 0)
    count = extent.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    offset = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    across = extent[face, 0]
    return face, low[face, 0] + offset % across, low[face, 1] + offset // across


def _barycentric(corners: np.ndarray, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights [M, 3] of a face's corners at (x, y); NaN for a face without area."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
        px, py = x - a[face, 0], y - a[face, 1]
        v = (px * ac[face, 1] - py * ac[face, 0]) * scale[face]
        w = (ab[face, 0] * py - ab[face, 1] * px) * scale[face]
    return np.stack([1 - v - w, v, w], axis=1).astype(np.float32)


def _cliques(edges: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Faces of a surface given by its edges: triples joined by edges, less those that only enclose
    three others.
    """
    near: defaultdict[int, set[int]] = defaultdict(set)
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    found = sorted({tuple(sorted((a, b, c))) for a, b in edges for c in near[a] & near[b]})
    used: defaultdict[tuple[int, ...], int] = defaultdict(int)
    for face in found:
        for edge in _edges(face):
            used[edge] += 1
    return [face for face in found if any(used[edge] < 3 for edge in _edges(face))]


def _edges(face: tuple[int, ...]) -> list[tuple[int, ...]]:
    a, b, c = face
    return [tuple(sorted(edge)) for edge in ((a, b), (b, c), (c, a))]


def _wound_alike(faces: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Faces turned so that neighbours run along their common edge in opposite directions; clockwise
    in the picture.
    """
    owners: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, face in enumerate(faces):
        for edge in _edges(face):
            owners[edge].append(index)
    start = next(
        i for i, face in enumerate(faces) if set(face) == {4, 5, 51}
    )  # beside the tip of the nose
    wound = {start: (4, 51, 5)}
    todo = [start]
    while todo:
        a, b, c = wound[todo.pop()]
        for tail, head in ((a, b), (b, c), (c, a)):
            for index in owners[tuple(sorted((tail, head)))]:
                if index not in wound:
                    third = next(v for v in faces[index] if v not in (tail, head))
                    wound[index] = (head, tail, third)
                    todo.append(index)
    return [wound[i] for i in range(len(faces))]
