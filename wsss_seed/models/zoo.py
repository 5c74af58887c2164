"""Model sets: models named together, with their weights and calibrated settings."""

from __future__ import annotations

import hashlib
import logging
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import CheckpointError, UsageError, unknown_name
from ..io import steps
from . import cache
from .cache import home, sha256
from .checkpoints import Checkpoint, find_checkpoint, known_checkpoints, pull
from .libraries import LibraryModel, library_models

if TYPE_CHECKING:
    from .clip import Clip
    from .detector import Detector
    from .masks import MaskModel
    from .sam import Sam
    from .sam3 import Sam3

__all__ = ["HUB", "ROLES", "TINY", "ModelSet", "ModelSetSpec", "Weights", "find_weights", "home", "model_sets"]

log = logging.getLogger(__name__)

ROLES = ("clip", "sam", "detector")
_TITLES = {"clip": "CLIP", "sam": "SAM", "detector": "detector"}
HUB = "hf:"  # prefix of transformers models: a repository of the hub, or a folder
_SMALL = 64 * 2**20  # bytes
_LIBRARIES = ("torch", "torchvision", "open_clip_torch", "segment-anything", "groundingdino-py", "transformers")
_HERE = Path(str(files(__package__)))
TINY = _HERE / "tiny"
BUNDLED = {"tiny": TINY, "tiny-regions": _HERE / "tiny_regions"}  # model name -> folder


def versions() -> dict[str, str]:
    """Versions of the libraries that provide the models."""
    return {name: version(name) for name in _LIBRARIES}


@dataclass(frozen=True)
class ModelSetSpec:
    """Models named together.

    Attributes:
        title: one-line description.
        clip, sam: names of the models.
        detector: name of the detector; None for a set whose SAM detects by itself.
        backend: the backend that the set is made for; None for the default one.
        backends: backend name -> role -> model that this backend uses instead.
        world: class set on which the models were exclusively trained; None for photographs.
        settings: backend name -> dotted setting key -> value, calibrated for these weights on a validation split.
    """

    title: str
    clip: str
    sam: str
    detector: str | None = None
    backend: str | None = None
    backends: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    world: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def models(self) -> list[tuple[str, str, str | None]]:
        """Role and name of every model, and the backend that alone uses it, or None."""
        rows: list[tuple[str, str, str | None]] = []
        for role in ROLES:
            name = getattr(self, role)
            rows += [(role, name, None)] if name else []
            rows += [(role, own[role], backend) for backend, own in self.backends.items() if role in own]
        return rows


def model_sets() -> dict[str, ModelSetSpec]:
    """The model sets by name, bundled first."""
    paths = sorted((_HERE / "sets").glob("*.toml"), key=lambda p: (p.stem != "tiny", p.stem))
    return {p.stem: ModelSetSpec(**tomllib.loads(p.read_text("utf-8"))) for p in paths}


@dataclass(frozen=True)
class Weights:
    """Location of the weights of a model.

    Attributes:
        state: ``bundled``; ``file`` for a path; one of ``Checkpoint.state`` for a known checkpoint; ``library`` where
            open_clip downloads and caches them itself; ``hub`` where transformers does.
        spec: argument of the loader.
        path: the file, or the folder of a bundled or given model; None for ``library`` and for repositories.
        checkpoint: the known checkpoint; None for other models.
    """

    state: str
    spec: str
    path: Path | None = None
    checkpoint: Checkpoint | None = None


def find_weights(role: str, name: str) -> Weights:
    """Find the weights of a model.

    Args:
        role: ``clip``, ``sam`` or ``detector``.
        name: a bundled model's (``tiny``), a checkpoint's name, a path, ``hf:`` and a repository or folder of
            transformers, or, for CLIP, ``MODEL:PRETRAINED`` or ``MODEL:FILE`` of open_clip.

    Raises:
        WsssError: unknown name.
    """
    if name.startswith(HUB):
        if role == "clip":
            raise CheckpointError(f"{name}: CLIP comes from open_clip; write MODEL:PRETRAINED, MODEL:FILE or a folder")
        spec = name.removeprefix(HUB)
        return Weights("hub", spec, Path(spec) if Path(spec).is_dir() else None)
    bundled = {n: folder for n, folder in BUNDLED.items() if (folder / f"{role}.safetensors").is_file()}
    if name in bundled:
        return Weights("bundled", str(bundled[name]), bundled[name])
    checkpoint = find_checkpoint(role, name)
    if checkpoint:
        path = checkpoint.path()
        # Only tensors are read from OpenAI's checkpoints, so the spec includes the architecture.
        spec = f"{checkpoint.config}:{path}" if role == "clip" else str(path)
        return Weights(checkpoint.state(), spec, path, checkpoint)
    if Path(name).exists():
        return Weights("file", name, Path(name))
    if role == "clip" and ":" in name:
        file = Path(name.partition(":")[2])
        return Weights("file", name, file) if file.is_file() else Weights("library", name)
    if Path(name).suffix in (".pth", ".pt", ".safetensors", ".bin") or Path(name).is_absolute():
        raise CheckpointError(
            f"{name}: no such file or folder; give `{role}` one that exists, or a name listed by wsss-seed models list"
        )
    known = [c.name for c in known_checkpoints() if c.role == role]
    forms = ["MODEL:PRETRAINED", "MODEL:FILE"] if role == "clip" else ["hf:REPOSITORY"]
    raise unknown_name(f"{role} model", name, [*known, *bundled, "a path", *forms])


def is_downloaded(weights: Weights) -> bool:
    """Whether weights are on this machine, as far as the caches of huggingface_hub and open_clip tell; nothing is
    loaded."""
    if weights.state in ("hub", "library") and weights.path is None:
        from huggingface_hub import try_to_load_from_cache

        if weights.state == "hub":
            return isinstance(try_to_load_from_cache(weights.spec, "config.json"), str)
        from .clip import cached_weights

        return cached_weights(weights.spec) is not None
    return weights.state != "missing"


def _digest(role: str, weights: Weights) -> str | None:
    """SHA-256 that identifies a model without loading it; None where its files are missing or managed by a library.

    For a known checkpoint it is the published hash, because no other file is ever used; for a file its own; for a
    folder that of the names and hashes of the files that determine the model.
    """
    if weights.checkpoint and weights.checkpoint.files[0].sha256:
        return weights.checkpoint.files[0].sha256
    path = weights.path
    if weights.state == "hub" and path is None:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(weights.spec, "config.json")
        path = Path(config).parent if isinstance(config, str) else None
    if path is None or not path.is_dir():
        return sha256(path) if path is not None and path.is_file() else None
    patterns = ("*.json", "model*.safetensors") if weights.state == "hub" else (f"{role}.json", f"{role}.safetensors")
    files = sorted(file for pattern in patterns for file in path.glob(pattern))
    lines = "".join(f"{file.name} {sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest() if files else None


def _is_small(weights: Weights) -> bool:
    """Whether the weights of a model are so few that no precision would save time."""
    path = weights.path
    if path is None or not path.exists():
        return False
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) < _SMALL


def usable_device(asked: str) -> str:
    """The requested device, or for ``auto`` the first GPU, or the CPU.

    Raises:
        WsssError: a device that is not supported, or that this machine or this build of torch does not have.
    """
    import torch

    from .precision import check_device

    check_device(asked)
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"`device` {asked} cannot be used ({reason}); try `device` cpu") from None
    return asked


class ModelSet:
    """Frozen models on one device, each downloaded and loaded at first use.

    Attributes:
        name: name of the set.
        backend: the backend that it is made for; None for the default one.
        names: role -> name of the model.
        world: class set on which the models were exclusively trained; None for photographs.
        compile: whether SAM's image encoder is compiled; see ``models.compiling``.
    """

    def __init__(
        self,
        name: str,
        device: str = "auto",
        *,
        clip: str | None = None,
        sam: str | None = None,
        detector: str | None = None,
        precision: str = "auto",
        compile: bool = False,
        offline: bool = False,
    ):
        known = model_sets()
        if name not in known:
            raise unknown_name("model set", name, known)
        if offline or cache.offline():
            cache.stay_offline()
        self._spec = known[name]
        self._chosen: dict[str, str | None] = {"clip": clip, "sam": sam, "detector": detector}
        self.name, self.backend = name, self._spec.backend
        asked = {role: self._chosen[role] or getattr(self._spec, role) for role in ROLES}
        asked = {role: model for role, model in asked.items() if model}
        self._weights = {role: find_weights(role, n) for role, n in asked.items()}
        # Records contain the canonical name of a checkpoint, not the alias given.
        self.names = {role: w.checkpoint.name if w.checkpoint else asked[role] for role, w in self._weights.items()}
        self.world = self._spec.world if all(n in BUNDLED for n in self.names.values()) else None
        self._device = device
        self._precision = precision
        self.compile = compile
        if compile and self._weights["sam"].state == "hub":
            raise UsageError(
                f"`compile` is for SAM of segment-anything, not {self.names['sam']}; leave it out, or give `sam` "
                "vit_b, vit_l or vit_h"
            )

    def for_backend(self, backend: str) -> ModelSet:
        """The set for a backend: with the models specific to the backend, unless the user chose others."""
        meant = {r: n for r, n in self._spec.backends.get(backend, {}).items() if self._chosen[r] is None}
        if not meant:
            return self
        return self._with(**meant)

    def on(self, device: str) -> ModelSet:
        """The same set on another device, without loaded models."""
        if device == self._device:
            return self
        return self._with(device=device)

    def _with(self, **changed: Any) -> ModelSet:
        given: Any = {"device": self._device, "precision": self._precision, "compile": self.compile, **self._chosen}
        return ModelSet(self.name, **{**given, **changed})

    def downloaded(self, role: str) -> bool:
        """Whether the weights of a model are on this machine; see ``is_downloaded``."""
        return is_downloaded(self._weights[role])

    def settings(self, backend: str) -> Mapping[str, Any]:
        """The backend's settings calibrated for this set, dotted key to value."""
        return self._spec.settings.get(backend, {})

    def weights(self) -> dict[str, dict[str, str | None]]:
        """Name and SHA-256 of the weights of each model (None where a library manages the files)."""
        return {role: {"name": self.names[role], "sha256": _digest(role, w)} for role, w in self._weights.items()}

    def identity(self, role: str) -> str:
        """Identifies the weights of a model regardless of their location: SHA-256, or the name where a library manages
        the files. Nothing is loaded; the hash of a large file is remembered by path, size and modification time."""
        return _digest(role, self._weights[role]) or self.names[role]

    def seen(self, dataset: str) -> list[Checkpoint | LibraryModel]:
        """The models loaded so far that were trained on annotations of a dataset, as far as that is known."""
        used = [
            w.checkpoint or library_models().get(self.names[role])
            for role, w in self._weights.items()
            if role in self.__dict__ or (role == "sam" and "sam3" in self.__dict__)
        ]
        return [model for model in used if model and dataset in model.seen]

    @cached_property
    def device(self) -> str:
        """The device of the models; see ``usable_device``."""
        return usable_device(self._device)

    @cached_property
    def precision(self) -> str:
        """Precision of the models, ``fp32``, ``bf16``, ``fp16`` or ``sam-bf16``, where they support it; see
        ``choose_precision``.

        ``auto`` on a CPU with instructions for bf16 loads SAM, once on a machine: see ``cpu_precision``.

        Raises:
            WsssError: unknown name, or a device that cannot be used; or SAM cannot be loaded.
        """
        from .precision import choose_precision

        return self._precision_on_cpu() if self._chooses_on_cpu else choose_precision(self._precision, self.device)

    @property
    def _chooses_on_cpu(self) -> bool:
        return self._precision == "auto" and self.device == "cpu"

    def _precision_on_cpu(self) -> str:
        from . import cpu_precision

        if self.backend == "sam3" or not cpu_precision.has_bf16() or _is_small(self._weights["sam"]):
            return "fp32"
        found = cpu_precision.remembered(self.identity("sam"))
        if found is None:
            found = cpu_precision.decide(self._load_sam)
            cpu_precision.remember(self.identity("sam"), found)  # a repository has an identity once it is downloaded
        return found.precision

    def resuming(self, precision: object) -> ModelSet:
        """The same set for a run that was begun in a precision, so that ``auto`` on another CPU continues it; a
        precision that ``auto`` does not choose on a CPU, or any other value, changes nothing."""
        from .precision import SAM_BF16

        if not self._chooses_on_cpu or precision not in ("fp32", SAM_BF16):
            return self
        return self._with(precision=precision)

    def precision_of(self, role: str) -> str:
        """Precision of a model; see ``of_role``."""
        from .precision import of_role

        return of_role(self.precision, role)

    def require(self, role: str) -> None:
        """Download a known checkpoint if it is missing, and verify it, without loading it.

        Raises:
            WsssError: the download failed, or the file is not the published one.
        """
        checkpoint = self._weights[role].checkpoint
        if checkpoint:
            pull(checkpoint)

    def _file(self, role: str) -> str:
        """The argument of the loader, after making sure that the weights are there."""
        self.require(role)
        return self._weights[role].spec

    @contextmanager
    def _loading(self, role: str) -> Iterator[None]:
        """Log that a model is loaded, and from where; the bundled ones take no time."""
        weights, name = self._weights[role], self.names[role]
        log.info("%s %s: %s", role, name, weights.state if weights.path is None else f"{weights.state}, {weights.path}")
        level = logging.DEBUG if weights.state == "bundled" else logging.INFO
        with steps.timed(f"loading {_TITLES[role]} {name} on {self.device}", level=level):
            yield

    @cached_property
    def clip(self) -> Clip:
        from .clip import load_clip

        file = self._file("clip")
        with self._loading("clip"):
            clip = load_clip(file, self.device, self.precision_of("clip"))
        clip.name = self.names["clip"]  # its name rather than its path
        return clip

    def prompts(self, class_set: str, task: str) -> Path | None:
        """The bundled learned prompts of a class set for this set's CLIP; None where there are none.

        Args:
            class_set: its name.
            task: ``cls`` or ``seg``.
        """
        folder = BUNDLED.get(self.names["clip"])
        path = folder / "prompts" / f"{class_set}-{task}.safetensors" if folder else None
        return path if path and path.is_file() else None

    @cached_property
    def sam(self) -> MaskModel:
        sam = self._load_sam(self.precision_of("sam"))
        if self.compile:
            from .compiling import compile_encoder

            compile_encoder(cast("Sam", sam))
        return sam

    def _load_sam(self, precision: str) -> MaskModel:
        file = self._file("sam")
        with self._loading("sam"):
            if self._weights["sam"].state == "hub":
                from .hf_masks import load_hf_masks

                return load_hf_masks(file, self.device, precision)
            from .sam import load_sam

            return load_sam(file, self.device, precision)

    @cached_property
    def sam3(self) -> Sam3:
        """SAM 3 prompted with phrases, from the repository of ``sam``."""
        name = self.names["sam"]
        if not name.startswith(HUB):
            raise UsageError(
                f"backend sam3 needs SAM 3, not SAM '{name}'; give `sam` {HUB}facebook/sam3, or {HUB}FOLDER of a SAM 3 "
                "of transformers, or `models` sam3"
            )
        from .sam3 import load_sam3

        file = self._file("sam")
        with self._loading("sam"):
            return load_sam3(file, self.device, self.precision_of("sam3"))

    @cached_property
    def detector(self) -> Detector:
        if "detector" not in self._weights:
            raise UsageError(
                f"the model set {self.name} has no detector; give `detector` one, or choose `backend` sam3"
            )
        file = self._file("detector")
        with self._loading("detector"):
            if self._weights["detector"].state == "hub":
                from .hf_detector import load_hf_detector

                return load_hf_detector(file, self.device, self.precision_of("detector"))
            from .grounding_dino import load_grounding_dino

            return load_grounding_dino(file, self.device, self.precision_of("detector"))
