"""`${official:PAPER,OURS}` in a configuration: the paper's value under official=true, else ours."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def resolved(cfg: DictConfig) -> DictConfig:
    """The configuration with all references resolved, so that its parts can be used alone;
    read-only.
    """
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(plain, DictConfig)
    OmegaConf.set_readonly(plain, True)
    return plain


def _official(paper: Any, ours: Any, *, _root_: Any) -> Any:
    return paper if _root_.official else ours


OmegaConf.register_new_resolver("official", _official, replace=True)
