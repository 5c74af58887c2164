"""Models of transformers, from a folder or the hub. Of the modules that load transformers' checkpoints, only this one
accesses the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import huggingface_hub
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from torch import nn
from transformers.utils import logging

from ..errors import CheckpointError, WsssError, one_line
from ..io import steps
from .weight_files import UNREADABLE

# Weights as plain tensors, the configuration, and the tokenizer's files; not the same weights in other formats.
_FILES = ("*.json", "*.txt", "model*.safetensors")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress transformers' warnings and progress bars while loading; problems become errors here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Log a download by huggingface_hub, whose bars appear only where a command line shows bars."""
    steps.log.info("looking for %s on %s", name, _hub())
    off = steps.bar_console() is None and not are_progress_bars_disabled()
    if off:
        disable_progress_bars()
    try:
        yield
    finally:
        if off:
            enable_progress_bars()


def knock(repository: str) -> None:
    """Raise ConnectionError if the hub does not answer. huggingface_hub retries some requests for a minute."""
    try:
        huggingface_hub.get_session().head(f"{_hub()}/api/models/{repository}", timeout=10)
    except Exception as error:  # of the HTTP library, which depends on the version of huggingface_hub
        raise ConnectionError(f"{_hub()} cannot be reached: {one_line(error)}") from None


def folder_of(name: str) -> Path:
    """The folder of a model: a local one, or that in huggingface_hub's cache, downloaded if necessary.

    Args:
        name: a folder as ``save_pretrained`` writes it, or a repository of the hub, ``OWNER/NAME``. huggingface_hub's
            settings (``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, its token) apply.

    Raises:
        WsssError: no such folder or repository, no access to it, or no network.
    """
    folder = Path(name).expanduser()
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise CheckpointError(
                f"{name}: no config.json there; give a folder that transformers' save_pretrained wrote"
            )
        return folder
    try:
        with nullcontext() if constants.HF_HUB_OFFLINE else downloading(name):
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES)))
    except HFValidationError:
        raise CheckpointError(
            f"{name}: neither a folder nor the name of a repository; give a folder, or OWNER/NAME as on {_hub()}"
        ) from None
    except LocalEntryNotFoundError as error:
        kept = huggingface_hub.try_to_load_from_cache(name, "config.json")
        if isinstance(kept, str):  # some files of the repository are missing, but perhaps not the ones needed
            return Path(kept).parent
        failed = f"downloading it from {_hub()} failed ({one_line(error).removeprefix('Got: ')})"
        reason = "HF_HUB_OFFLINE forbids downloading it" if constants.HF_HUB_OFFLINE else failed
        raise CheckpointError(
            f"{name}: no such folder, not in the cache {constants.HF_HUB_CACHE}, and {reason}; download it while "
            f"online (hf download {name}), set HF_ENDPOINT to a mirror, or give a folder"
        ) from None
    except GatedRepoError:
        raise CheckpointError(
            f"{name}: a gated repository; accept its terms at {_hub()}/{name}, then log in with 'hf auth login'"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{name}: no such folder, and no such repository on {_hub()}; check the name, or log in with "
            "'hf auth login' if it is private"
        ) from None
    except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{name}: cannot be downloaded from {_hub()} ({one_line(error)}); try again later"
        ) from None


def _hub() -> str:
    return constants.ENDPOINT


def kind_of(folder: Path) -> str:
    """The kind of model in a folder: ``model_type`` of its ``config.json``.

    Raises:
        WsssError: a damaged file.
    """
    path = folder / "config.json"
    try:
        kind = json.loads(path.read_text("utf-8"))["model_type"]
        if not isinstance(kind, str):
            raise ValueError("its model_type is not text")
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path}: not the configuration of a model ({one_line(error)}); download it again"
        ) from None
    return kind


def unfit(name: str, kind: str, role: str, known: Iterable[str]) -> WsssError:
    """The error for a model of an unsupported kind.

    Args:
        name: name given by the user.
        kind: see ``kind_of``.
        role: what the model is needed for.
        known: supported kinds.
    """
    return CheckpointError(f"{name}: a model of kind '{kind}', not {role}; known kinds: {', '.join(sorted(known))}")


def load(name: str, folder: Path, model: str, processor: str) -> tuple[nn.Module, Any]:
    """Load a model and its processor.

    Args:
        name: name given by the user.
        folder: see ``folder_of``.
        model, processor: names of the classes in transformers.

    Raises:
        WsssError: this version of transformers lacks the classes, or weights or other files are missing, damaged, or do
            not fit. Nothing but tensors is ever unpickled, and no code of a repository is run.
    """
    try:
        model_class, processor_class = getattr(transformers, model), getattr(transformers, processor)
    except (AttributeError, ImportError) as error:
        raise CheckpointError(
            f"{name}: needs {model}, which transformers {transformers.__version__} lacks ({one_line(error)}); "
            "pip install --upgrade transformers"
        ) from None
    remedy = "download it again, or save it again with save_pretrained"
    plain = {"local_files_only": True, "trust_remote_code": False}
    with _quiet():
        try:
            config = _with_timm_backbone(folder, model_class)
            given = plain if config is None else {**plain, "config": config}
            loaded, report = model_class.from_pretrained(folder, output_loading_info=True, **given)
        except UNREADABLE as error:
            raise CheckpointError(f"{folder}: not the weights of a {model} ({one_line(error)}); {remedy}") from None
        missing = sorted(report["missing_keys"])
        if missing:
            raise CheckpointError(
                f"{folder}: not the weights of a {model} ({len(missing)} tensors are missing, first {missing[0]}); "
                + remedy
            )
        try:
            return loaded, processor_class.from_pretrained(folder, **plain)
        except UNREADABLE as error:
            raise CheckpointError(
                f"{folder}: the processor's files ({processor}) cannot be read ({one_line(error)}); {remedy}"
            ) from None


def _with_timm_backbone(folder: Path, model_class: Any) -> Any:
    """The configuration of a model whose backbone is given by timm's name and arguments, as in OmDet-Turbo's published
    one; None for any other. transformers would first ask the hub for a repository of this name, also offline."""
    values = json.loads((folder / "config.json").read_text("utf-8"))
    if not (values.get("use_timm_backbone", True) and values.get("backbone")) or values.get("backbone_config"):
        return None
    arguments = values.pop("backbone_kwargs", None) or {}
    backbone = {"model_type": "timm_backbone", "backbone": values.pop("backbone"), **arguments}
    return model_class.config_class.from_dict({**values, "backbone_config": backbone})
