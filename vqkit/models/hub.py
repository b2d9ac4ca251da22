"""The Hugging Face hub; ``huggingface_hub`` is imported only when a repository is asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqkit.errors import CheckpointError, MissingExtraError


def download(repo_id: str, files: list[str], **options: Any) -> Path:
    """Fetch ``files`` of a model repository into the hub's cache; returns the folder they are in.

    Args:
        repo_id: ``"user/name"``.
        files: their names.
        **options: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only``.

    Raises:
        MissingExtraError: ``huggingface_hub`` is not installed.
        CheckpointError: there is no such repository, or it cannot be reached.
    """
    hub = import_hub()
    try:
        return Path(hub.snapshot_download(repo_id, allow_patterns=files, **options))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{repo_id}: no such folder here, and the hub did not give it: {error}") from error


def upload(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    commit_message: str = "Upload a vqkit model",
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
) -> str:
    """Let ``save`` write a folder and upload it as one commit; returns the commit's address.

    Raises:
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    api = import_hub().HfApi(token=token)
    repo_id = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="model",
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
        )
    return str(commit)


def import_hub() -> Any:
    """The ``huggingface_hub`` module."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    return huggingface_hub
