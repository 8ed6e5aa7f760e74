"""Muon: steps of matrices made orthogonal (arXiv 2502.16982); everything else learns by AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROUNDS = 5
QUINTIC = (3.4445, -4.775, 2.0315)  # of Newton and Schulz' iteration


class Muon(torch.optim.AdamW):
    """In groups marked `orthogonal`, tensors are matrices [out, all the rest]: convolutions too, which torch.optim.Muon
    refuses. Their step has singular values of about 1, scaled to the mean square of an AdamW step (equation 4):
    learning rate and weight decay mean the same in all groups.
    """

    def __init__(self, params: Any, momentum: float = 0.95, **options: Any):
        super().__init__(params, **options)
        self.defaults["orthogonal"] = False
        for group in self.param_groups:
            group.setdefault("orthogonal", False)
            group["momentum"] = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:  # before groups are put aside: it sets the gradients of all to zero
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = every
        for group in every:
            for parameter in group["params"] if group["orthogonal"] else ():
                if parameter.grad is not None:
                    self._turn(parameter, parameter.grad, group)
        return loss

    def _turn(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state |= {"step": torch.tensor(0.0), "momentum": torch.zeros_like(parameter)}  # AdamW asks for a step
        state["step"] += 1
        mean = state["momentum"]
        mean.lerp_(gradient, 1 - group["momentum"])
        way = orthogonal(gradient.lerp(mean, group["momentum"]).flatten(1))  # Nesterov's
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(way.view_as(parameter), alpha=-0.2 * max(way.shape) ** 0.5 * group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V' of the singular value decomposition U S V' of [m, n].

    Newton and Schulz' iteration X <- (a + b X X' + c (X X')^2) X changes X X' and what stands before the first X alone:
    these are iterated, which are no larger than the matrix's shorter side.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    square, one = x @ x.mT, torch.eye(len(x), dtype=x.dtype, device=x.device)
    before, (a, b, c) = one, QUINTIC
    for _ in range(ROUNDS):
        factor = torch.addmm(torch.add(a * one, square, alpha=b), square, square, alpha=c)
        before, square = factor @ before, factor @ square @ factor
    x = before @ x
    return x.mT if is_tall else x
