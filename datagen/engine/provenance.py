"""The mark of pictures that no camera took, in the file's own metadata: it travels with the file
wherever that goes.
"""

from __future__ import annotations

from datagen.engine.stage import Stage

# IPTC's words for how a picture came about (cv.iptc.org/newscodes/digitalsourcetype)
COMPOSITE = "compositeSynthetic"


def mark(stage: Stage, how: str) -> dict[str, str]:
    """MP4 tags for `datagen.media.video.Writer`: what was done, by which backend in which
    version.
    """
    return {
        "comment": f"synthetic: {how}, by MegActor-Kit's {type(stage).__name__} {stage.version}",
        "digital_source_type": COMPOSITE,
    }
