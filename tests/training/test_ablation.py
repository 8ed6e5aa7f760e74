"""The ablation trains what it is told to, measures it, and goes on where it was."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image

from tests.faults import call
from tests.training.evaluation.test_cross_cases import divided
from training.evaluation.ablation import VARIANTS, table


def test_the_table_tells_each_seed_and_all_of_them():
    rows = [
        {"variant": "none", "seed": s, "key": f"case-{n}", "leakage": 0.5 + 0.1 * s + 0.02 * n}
        for s in (0, 1)
        for n in range(4)
    ]
    lines = table(rows).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["0", "1", "all"]
    assert "| 0.53 [" in lines[2] and "| 0.63 [" in lines[3] and "| 0.58 [" in lines[4]


def test_unknown_variants_are_refused(tmp_path):
    made = call("training.ablation", "variants=[nothing]", "--output", tmp_path / "out")
    assert made.code == 2 and "variants or once names nothing" in made.err
    assert all(name in made.err for name in VARIANTS) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_trainings_are_compared(tmp_path, store):
    shards, output = divided(tmp_path / "shards", store), tmp_path / "ablation"
    words = (
        "--input",
        shards,
        "--output",
        output,
        "variants=[none]",
        "once=[twins-colour]",
        "seeds=[4]",
    )
    small = ("--steps", "2", "--cases", "1", "--frames", "4", "--readout", store.parent / "readout")
    made = call("training.ablation", *words, *small)
    assert made.code == 0, made.err
    rows = json.loads((output / "summary.json").read_text())
    assert [(row["variant"], row["seed"]) for row in rows] == [("none", 4), ("twins-colour", 4)]
    assert all(math.isfinite(row["leakage"]) and abs(row["psnr_gain"]) < 2 for row in rows)
    config = json.loads((output / "none-4" / "config.json").read_text())
    assert (
        config["data"]["twin_probability"] == 0 and config["seed"] == 4 and config["max_steps"] == 2
    )
    with Image.open(output / "pictures.png") as sheet:
        assert sheet.size == (5 * 128, 128)
    before = (output / "none-4" / "model" / "model_index.json").stat().st_mtime_ns
    assert call("training.ablation", *words, *small).out == made.out.split("trained\n")[-1]
    assert (output / "none-4" / "model" / "model_index.json").stat().st_mtime_ns == before
    other = call("training.ablation", *words, *small, "--steps", "3")
    assert other.code == 0 and "none-4: was trained with other settings, begins anew" in other.out
    assert (
        json.loads((output / "none-4" / "config.json").read_text())["max_steps"] == 3
    )  # no old model for a new one
