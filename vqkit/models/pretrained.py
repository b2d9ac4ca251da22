"""A model as a folder: ``model.safetensors`` (weights and, in its header, the config) and ``config.json`` beside it.

The weights file is complete by itself and the last to get its name, so a save that dies leaves the old model loadable.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from vqkit.data.plain_json import parse_json
from vqkit.errors import CheckpointError
from vqkit.models.config import VQVAEConfig, differences, differences_text
from vqkit.models.files import commit, staged, staged_prefix, write_text
from vqkit.models.hub import download, upload
from vqkit.models.sizes import check_size
from vqkit.models.weights import load_weights, read_weights, tensor_state, write_weights

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CONFIG_KEY = "vqkit.config"

P = TypeVar("P", bound="Pretrained")


class Pretrained:
    """Saving and loading for models that are a config plus weights."""

    config_class: ClassVar[type[VQVAEConfig]]
    config: VQVAEConfig

    def save_pretrained(
        self, folder: str | Path, *, push_to_hub: bool = False, repo_id: str | None = None, **hub: Any
    ) -> str | None:
        """Write the model to a folder, made if need be; other files in it are left alone.

        Args:
            folder: where to.
            push_to_hub: upload it afterwards (needs ``huggingface_hub``).
            repo_id: the repository to upload to; the folder's name by default.
            **hub: passed on to :meth:`push_to_hub`.

        Returns:
            The address of the upload's commit, or None without one.

        Raises:
            OSError: the disk is full or the folder cannot be written; a model saved there before is still intact.
        """
        folder = Path(folder)
        save_model(folder, self.config.to_dict(), tensor_state(self))  # pyright: ignore[reportArgumentType]
        return self.push_to_hub(repo_id or folder.name, **hub) if push_to_hub else None

    @classmethod
    def from_pretrained(
        cls: type[P], source: str | Path, *, quantizer: nn.Module | None = None, device: Any = "cpu", **hub: Any
    ) -> P:
        """Load a model, in eval mode.

        Args:
            source: a folder that :meth:`save_pretrained` wrote, or the id of a repository on the Hugging Face hub
                (fetched with ``huggingface_hub``).
            quantizer: the quantizer to load into, when it is not one that vqkit can build from its config.
            device: where the model goes.
            **hub: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only`` for a repository.

        Raises:
            CheckpointError: the folder is incomplete, damaged, or holds another model; the message names what differs.
            MissingExtraError: ``source`` is no folder and ``huggingface_hub`` is not installed.
        """
        folder = find(source, **hub)
        values, state = read_model(folder)
        if values.get("type") != cls.config_class.model_type:
            raise CheckpointError(
                f"{folder}: holds a model of type {values.get('type')!r}, expected {cls.config_class.model_type!r}"
            )
        try:
            config = cls.config_class.from_dict(values)
            check_size(lambda: cls(config, quantizer), state, folder)  # pyright: ignore
            model = cls(config, quantizer)  # pyright: ignore[reportCallIssue]
        except CheckpointError:
            raise
        # Numbers that no check expected fail in torch's own ways; whatever it is, the config is to blame.
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(f"{folder}: its config cannot be built: {reason}") from error
        load_weights(model, state, folder)  # pyright: ignore[reportArgumentType]
        return model.to(device).eval()  # pyright: ignore[reportAttributeAccessIssue]

    def push_to_hub(self, repo_id: str, **hub: Any) -> str:
        """Upload the model to the Hugging Face hub; returns the address of the commit.

        Args:
            repo_id: ``"user/name"``; made if need be.
            **hub: ``commit_message``, ``private``, ``token``, ``branch``, ``create_pr``.

        Raises:
            MissingExtraError: ``huggingface_hub`` is not installed.
        """
        return upload(self.save_pretrained, repo_id, **hub)


def find(source: str | Path, **hub: Any) -> Path:
    """``source`` as a local folder: itself, or a repository fetched from the hub.

    Raises:
        CheckpointError: no such folder, and no name a repository could have.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if isinstance(source, Path) or str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise CheckpointError(f"{source}: no such folder, and not the id of a repository (user/name) either")
    return download(str(source), [CONFIG_FILE, WEIGHTS_FILE], **hub)


def save_model(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write config and weights so that, whatever happens, the folder holds a whole model: the old or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
    text = json.dumps(config, indent=2) + "\n"
    before = config_path.read_text(encoding="utf-8") if config_path.is_file() else None
    with staged(weights_path) as temporary:
        write_weights(state, temporary, {CONFIG_KEY: json.dumps(config)})
        write_text(config_path, text)
        try:
            commit(temporary, weights_path)
        except BaseException:
            if before is None:
                config_path.unlink()
            else:
                write_text(config_path, before)
            raise
    for leftover in interrupted_saves(folder):
        leftover.unlink()


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the weights of a folder.

    Raises:
        CheckpointError: a file is missing or damaged, or ``config.json`` is not that of the weights.
    """
    state, metadata = read_weights(folder / WEIGHTS_FILE)
    if CONFIG_KEY not in metadata:
        # written by another library: config.json is all there is
        return read_config(folder), state
    ours = _json_object(metadata[CONFIG_KEY], f"{folder / WEIGHTS_FILE}, {CONFIG_KEY}")
    if interrupted_saves(folder):
        # a save was killed here, so config.json may be ahead of the weights
        return ours, state
    found = differences(ours, read_config(folder))
    if found:
        text = differences_text(found, WEIGHTS_FILE, CONFIG_FILE)
        raise CheckpointError(f"{folder}: {CONFIG_FILE} does not belong to the weights: {text}")
    return ours, state


def interrupted_saves(folder: Path) -> list[Path]:
    """The staged weights that saves killed in this folder left behind."""
    return list(folder.glob(f"{staged_prefix(folder / WEIGHTS_FILE)}*.tmp"))


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        CheckpointError: it is missing, or no JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _json_object(text, str(path))


def _json_object(text: str | bytes, name: str) -> dict[str, Any]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{name}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{name}: expected a JSON object, got {type(values).__name__}")
    return values
