"""From Hugging Face into the folder of weights: room asked for first, checksums after, nothing half-written is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

from datagen.engine.errors import UserError
from datagen.engine.files import file_sha256
from model.weights import Weight, how_to_get
from model.weights.check import record

UNREACHED = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, errors.FileMetadataError, httpx.HTTPError)


def download(weight: Weight, folder: Path) -> None:
    """The files that are missing. A download that was cut off goes on where it was."""
    try:
        _download(weight, weight.missing(folder), folder)
    except errors.GatedRepoError as error:
        raise UserError(f"{weight.page} asks for consent: accept its terms there, then run `hf auth login`.") from error
    except (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise UserError(f"{weight.page} has it no longer; {how_to_get(weight, folder)}") from error
    except RuntimeError as error:  # huggingface_hub's faster transport
        raise UserError(f"the download was cut off ({error}): run the same command again.") from error
    except UNREACHED as error:
        reason = "HF_HUB_OFFLINE forbids the network" if constants.HF_HUB_OFFLINE else f"{weight.page} does not answer"
        raise UserError(f"{reason}; {how_to_get(weight, folder)}") from error


def _download(weight: Weight, names: list[str], folder: Path) -> None:
    asked = {name: get_hf_file_metadata(hf_hub_url(weight.source, name)) for name in names}
    _refuse_full_disk(sum(told.size or 0 for told in asked.values()), folder)
    for name, told in asked.items():
        hf_hub_download(weight.source, name, revision=told.commit_hash, local_dir=folder / weight.name)
        # the etag of a large file is its sha256
        stated = told.etag if told.etag and len(told.etag) == 64 else None
        _keep_if_whole(weight, name, weight.sha256.get(name, stated), folder)
    shutil.rmtree(folder / weight.name / ".cache", ignore_errors=True)


def _keep_if_whole(weight: Weight, name: str, expected: str | None, folder: Path) -> None:
    path = folder / weight.name / name
    found = file_sha256(path)
    if expected and found != expected:
        path.unlink()
        told = f"sha256 {found[:12]}... came, {expected[:12]}... is expected"
        raise UserError(f"{path} is not the file that it should be ({told}) and was removed: fetch it again.")
    record(weight, name, found, folder)


def _refuse_full_disk(needed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: make room.")
