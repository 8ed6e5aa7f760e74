"""Downloads from Hugging Face, with its own library."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

from datagen.core.errors import UserError
from datagen.weights.disk import keep_if_whole, refuse_full_disk
from datagen.weights.registry import Weight, how_to_get

UNREACHED = (
    errors.OfflineModeIsEnabled,
    errors.LocalEntryNotFoundError,
    errors.FileMetadataError,
    httpx.HTTPError,
)


def fetch(weight: Weight, names: Sequence[str], folder: Path) -> None:
    """Download the files; UserError if that fails."""
    try:
        _fetch(weight, names, folder)
    except errors.GatedRepoError as error:
        raise UserError(
            f"{weight.page} requires consent: accept its terms there, then run `hf auth login`."
        ) from error
    except (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.RemoteEntryNotFoundError,
    ) as error:
        raise UserError(f"{weight.page} no longer has it; {how_to_get(weight, folder)}") from error
    except RuntimeError as error:  # huggingface_hub's faster transport
        raise UserError(
            f"the download was cut off ({error}): run the same command again."
        ) from error
    except UNREACHED as error:
        raise UserError(f"{weight.page} does not answer; {how_to_get(weight, folder)}") from error


def _fetch(weight: Weight, names: Sequence[str], folder: Path) -> None:
    revision = weight.revision or None
    asked = {
        name: get_hf_file_metadata(hf_hub_url(weight.source, name, revision=revision))
        for name in names
    }
    refuse_full_disk(sum(metadata.size or 0 for metadata in asked.values()), folder)
    for name, metadata in asked.items():
        hf_hub_download(
            weight.source, name, revision=metadata.commit_hash, local_dir=folder / weight.name
        )
        # the etag of a large file is its sha256
        stated = metadata.etag if metadata.etag and len(metadata.etag) == 64 else None
        keep_if_whole(
            folder / weight.name / name, weight, name, weight.sha256.get(name, stated), folder
        )
    shutil.rmtree(folder / weight.name / ".cache", ignore_errors=True)
