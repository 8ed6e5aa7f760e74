"""Muon: orthogonal steps for matrices (arXiv 2502.16982), AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ROUNDS = 5
QUINTIC = (3.4445, -4.775, 2.0315)  # of Newton and Schulz' iteration


class Muon(torch.optim.AdamW):
    """In groups marked `orthogonal`, tensors are matrices [out, everything else]. That includes
    convolutions, which torch.optim.Muon refuses.

    Their steps have singular values of about 1, scaled to the mean square of an AdamW step
    (equation 4), so that learning rate and weight decay mean the same in all groups.
    """

    def __init__(self, params: Any, momentum: float = 0.95, **options: Any):
        super().__init__(params, **options)
        self.defaults["orthogonal"] = False
        for group in self.param_groups:
            group.setdefault("orthogonal", False)
            group["momentum"] = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
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
            if group["orthogonal"]:
                self._orthogonal_step([p for p in group["params"] if p.grad is not None], group)
        return loss

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        steps = orthogonal([self._nesterov(p, group["momentum"]).flatten(1) for p in parameters])
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(
                step.view_as(parameter), alpha=-0.2 * max(step.shape) ** 0.5 * group["lr"]
            )

    def _nesterov(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov momentum: the gradient and its running mean."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state |= {
                "step": torch.tensor(0.0),
                "momentum": torch.zeros_like(parameter),
            }  # AdamW asks for a step
        state["step"] += 1
        mean = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(mean, momentum)


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """About U V' of the singular value decomposition U S V' of each [m, n], in bfloat16, as Muon's
    authors do. Matrices of one shape, or its transpose, are computed together.
    """
    wide = [matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    found: dict[int, Tensor] = {}
    for shape in sorted({tuple(x.shape) for x in wide}):
        rows = [i for i, x in enumerate(wide) if x.shape == shape]
        stacked = torch.stack([wide[i] for i in rows])
        length = stacked.norm(dim=(1, 2), keepdim=True) + 1e-7
        found |= dict(zip(rows, _newton_schulz((stacked / length).bfloat16()), strict=True))
    return [found[i].mT if m.shape[0] > m.shape[1] else found[i] for i, m in enumerate(matrices)]


def _newton_schulz(x: Tensor) -> Tensor:
    """Newton and Schulz' iteration X <- a X + (b X X' + c (X X')^2) X, of [n, short, long]."""
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x
