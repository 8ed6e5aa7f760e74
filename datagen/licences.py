"""Under which licence a stage's weights are."""

from __future__ import annotations

# mediapipe's package carries its models; scenedetect has none, it is named for its version
LICENCES = {"mediapipe": "Apache-2.0", "scenedetect": "BSD-3-Clause", "scikit-image": "public domain (NASA)"}
UNKNOWN = "unknown"


def licence_of(weights: str) -> str:
    return LICENCES.get(weights, UNKNOWN)
