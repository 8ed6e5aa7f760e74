"""A model folder for ModelScope's real `pipeline`, with code of its own that swaps faces as the
published model does: BGR pictures in, BGR out, and where it finds no face its input in RGB and a
warning.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

TASK = "face_fusion_torch"
SHARE, RED = 0.5, 50  # of the donor's colour; 8-bit levels that are added to red
CODE = f'''
import os
import numpy as np
from modelscope.pipelines.base import Pipeline
from modelscope.pipelines.builder import PIPELINES
from modelscope.preprocessors import LoadImage
from modelscope.utils.logger import get_logger


@PIPELINES.register_module("{TASK}", module_name="{TASK}")
class Tiny(Pipeline):
    def __init__(self, model, **kwargs):
        super().__init__(model=model, auto_collate=False, **kwargs)

    def preprocess(self, inputs):
        return {{name: LoadImage.convert_to_ndarray(inputs[name]) for name in ("template", "user")}}

    def forward(self, inputs):
        print("words that do not belong between the answers", flush=True)
        os.system("echo and a child process has some too")
        template, user = inputs["template"], inputs["user"]  # RGB
        for name, picture in inputs.items():
            if picture.mean() < 8:
                kind = "user" if name == "user" else "template"
                get_logger().warning(f"No face detected in {{kind}} image!")
                return {{"outputs": template}}
        made = (1 - {SHARE}) * template + {SHARE} * user.mean((0, 1)) + np.array([{RED}, 0, 0])
        return {{"outputs": np.clip(made, 0, 255).astype(np.uint8)[:, :, ::-1]}}

    def postprocess(self, inputs):
        return {{"output_img": inputs["outputs"]}}
'''


def folder(path: Path, code: str = CODE) -> Path:
    path.mkdir()
    configuration = {
        "framework": "other",
        "task": TASK,
        "pipeline": {"type": TASK},
        "allow_remote": True,
    }
    (path / "configuration.json").write_text(json.dumps(configuration))
    (path / "ms_wrapper.py").write_text(textwrap.dedent(code))
    return path
