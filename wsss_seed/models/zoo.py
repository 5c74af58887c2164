"""Model sets and checkpoints as data: a name leads to three models, their weights and their calibrated settings."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from ..errors import WsssError, unknown_name

if TYPE_CHECKING:
    from .clip import Clip
    from .detector import Detector
    from .sam import Sam

ROLES = ("clip", "sam", "detector")
HUB = "hf:"  # begins the name of a transformers model: a repository of the hub, or a folder
_LIBRARIES = ("torch", "torchvision", "open_clip_torch", "segment-anything", "groundingdino-py", "transformers")
_HERE = Path(str(files(__package__)))
TINY = _HERE / "tiny"


def home() -> Path:
    """The folder of downloaded checkpoints: ``WSSS_SEED_HOME``, else the platform's cache folder."""
    return Path(os.environ.get("WSSS_SEED_HOME") or user_cache_path("wsss-seed"))


def versions() -> dict[str, str]:
    """Versions of the libraries the models come from."""
    return {name: version(name) for name in _LIBRARIES}


@dataclass(frozen=True)
class ModelSetSpec:
    """A named trio of models.

    Attributes:
        title: one line for the user.
        clip, sam, detector: names of the models.
        world: class set the models were trained on, where they know nothing else.
        settings: backend name -> dotted setting key -> value, calibrated for these weights on a validation split.
    """

    title: str
    clip: str
    sam: str
    detector: str
    world: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def model_sets() -> dict[str, ModelSetSpec]:
    """The model sets by name, bundled first."""
    paths = sorted((_HERE / "sets").glob("*.toml"), key=lambda p: (p.stem != "tiny", p.stem))
    return {p.stem: ModelSetSpec(**tomllib.loads(p.read_text("utf-8"))) for p in paths}


def _checkpoints(role: str) -> dict[str, dict[str, str]]:
    return tomllib.loads((_HERE / "checkpoints.toml").read_text("utf-8")).get(role, {})


@dataclass(frozen=True)
class Weights:
    """Where the weights of a model are.

    Attributes:
        state: ``bundled``, ``present``, ``missing``, ``library`` where open_clip fetches and keeps them itself, or
            ``hub`` where transformers does.
        path: the file, None under ``library`` and ``hub``.
        url: where the publisher keeps it, None where not known.
    """

    state: str
    path: Path | None = None
    url: str | None = None


def find_weights(role: str, name: str) -> Weights:
    """Find the weights of a model.

    Args:
        role: ``clip``, ``sam`` or ``detector``.
        name: ``tiny``, a checkpoint's name, a path, or ``hf:`` and a repository or folder of transformers.

    Raises:
        WsssError: unknown name.
    """
    if name.startswith(HUB):
        if role == "clip":
            raise WsssError(f"{name}: CLIP comes from open_clip; write MODEL:PRETRAINED, MODEL:FILE or a folder")
        return Weights("hub")
    if name == "tiny":
        return Weights("bundled", TINY / f"{role}.safetensors")
    known = _checkpoints(role)
    if name in known:
        path = home() / known[name]["file"]
        return Weights("present" if path.exists() else "missing", path, known[name]["url"])
    if Path(name).exists():
        return Weights("present", Path(name))
    if role == "clip":
        return Weights("library")
    raise unknown_name(f"{role} model", name, [*known, "tiny", "a path"])


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class ModelSet:
    """Three frozen models on one device, each loaded when first asked for."""

    def __init__(
        self,
        name: str,
        device: str = "auto",
        *,
        clip: str | None = None,
        sam: str | None = None,
        detector: str | None = None,
        precision: str = "auto",
        offline: bool = False,
    ):
        known = model_sets()
        if name not in known:
            raise unknown_name("model set", name, known)
        spec = known[name]
        chosen = {"clip": clip, "sam": sam, "detector": detector}
        self.name = name
        self.names = {role: chosen[role] or getattr(spec, role) for role in ROLES}
        self.world = spec.world if all(n == "tiny" for n in self.names.values()) else None
        self._settings = spec.settings
        self._weights = {role: find_weights(role, n) for role, n in self.names.items()}
        self._device = device
        self._precision = precision
        self.offline = offline

    def settings(self, backend: str) -> Mapping[str, Any]:
        """The backend's settings calibrated for this set, dotted key to value."""
        return self._settings.get(backend, {})

    def weights(self) -> dict[str, dict[str, str | None]]:
        """Name and SHA-256 of each model's weights (None where the library keeps the file itself)."""
        return {
            role: {"name": self.names[role], "sha256": _sha256(w.path) if w.path and w.path.is_file() else None}
            for role, w in self._weights.items()
        }

    @cached_property
    def device(self) -> str:
        """The device the models run on: the one asked for, or the first GPU, or the CPU.

        Raises:
            WsssError: a device that this machine or this build of torch lacks.
        """
        import torch

        if self._device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise WsssError(f"--device {self._device} cannot be used ({reason}); try --device cpu") from None
        return self._device

    @cached_property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``, in which the models compute what bears it; see ``choose_precision``.

        Raises:
            WsssError: unknown name, or a device that cannot be used.
        """
        from .precision import choose_precision

        return choose_precision(self._precision, self.device)

    def require(self, role: str) -> None:
        """Raise WsssError if the weights of a role are known to be missing. Nothing is loaded."""
        self._file(role)

    def _file(self, role: str) -> str:
        """What the loader takes: a bundled model's folder, a checkpoint's path, or the name as it is."""
        found = self._weights[role]
        if found.state == "missing":
            raise WsssError(
                f"{self.names[role]}: no weights at {found.path}; download {found.url} to there, "
                f"give --{role} a path, or use --models tiny"
            )
        return str(TINY) if found.state == "bundled" else str(found.path or self.names[role])

    @cached_property
    def clip(self) -> Clip:
        from .clip import load_clip

        clip = load_clip(self._file("clip"), self.device, self.precision)
        clip.name = self.names["clip"]  # a bundled model is known by its name, not by where the package lies
        return clip

    def prompts(self, class_set: str, task: str) -> Path | None:
        """The bundled learned prompts of a class set for this set's CLIP; None where there are none.

        Args:
            class_set: its name.
            task: ``cls`` or ``seg``.
        """
        path = TINY / "prompts" / f"{class_set}-{task}.safetensors"
        return path if self.names["clip"] == "tiny" and path.is_file() else None

    @cached_property
    def sam(self) -> Sam:
        if self._weights["sam"].state == "hub":
            from .hf_masks import load_hf_masks

            return load_hf_masks(self.names["sam"].removeprefix(HUB), self.device)
        from .sam import load_sam

        return load_sam(self._file("sam"), self.device, self.precision)

    @cached_property
    def detector(self) -> Detector:
        if self._weights["detector"].state == "hub":
            from .hf_detector import load_hf_detector

            return load_hf_detector(self.names["detector"].removeprefix(HUB), self.device)
        from .grounding_dino import load_grounding_dino

        return load_grounding_dino(self._file("detector"), self.device, self.precision)
