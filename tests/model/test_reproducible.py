"""Results do not depend on where in memory numbers happen to lie."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

PROGRAM = """
import model, torch

def placed(numbers, byte):
    room = torch.empty(numbers.numel() + 32)
    begin = (byte - room.data_ptr()) % 64 // 4
    return room[begin : begin + numbers.numel()].view(numbers.shape).copy_(numbers)

torch.manual_seed(0)
matrix, vector = torch.randn(16, 256), torch.randn(256, 1)
products = {
    tuple((placed(matrix, byte) @ placed(vector, 0)).flatten().tolist()) for byte in range(0, 64, 4)
}
print(len(products))
"""


def test_a_product_is_the_same_wherever_its_numbers_lie():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"
