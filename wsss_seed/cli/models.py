"""``wsss-seed models``: list, download, verify and check model sets and their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import WsssError, unknown_name
from . import options, show
from .help import Command, Group

if TYPE_CHECKING:
    from ..models.checkpoints import Checkpoint

app = typer.Typer(cls=Group, help="List, download, verify and check models.", no_args_is_help=True)

_WHAT = "model sets (base), checkpoints (vit_b), MODEL:PRETRAINED of open_clip, or hf:REPOSITORY"
Names = Annotated[list[str], typer.Argument(metavar="NAME", help=f"Any of: {_WHAT}.")]
SomeNames = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Model sets or checkpoints.")]


@app.command("list", cls=Command)
def list_(json: options.Json = False) -> None:
    """List the model sets and the known checkpoints, and which of them are in the cache."""
    from ..models.checkpoints import known_checkpoints
    from ..models.libraries import library_models
    from ..models.zoo import model_sets

    sets = model_sets()
    checkpoints = known_checkpoints()
    if json:
        show.as_json(
            {
                "sets": {
                    name: {
                        "title": s.title,
                        "models": [
                            {"role": role, "name": n, "backend": backend, "state": _state(role, n)}
                            for role, n, backend in s.models()
                        ],
                    }
                    for name, s in sets.items()
                },
                "checkpoints": [_as_json(c) for c in checkpoints],
                "libraries": [
                    {"name": m.name, "licence": m.licence, "data": m.data, "seen": list(m.seen)}
                    for m in library_models().values()
                ],
            }
        )
        return
    states = {(role, n): _state(role, n) for s in sets.values() for role, n, _ in s.models()}  # may load libraries
    for name, s in sets.items():
        show.result(f"{name}: {s.title}")
        for role, n, backend in s.models():
            only = f" for {backend}" if backend else ""
            show.result(f"  {role:9} {n}{only} ({states[role, n]})")
    show.result("checkpoints:")
    for c in checkpoints:
        show.result(f"  {c.role:9} {c.name:29} {c.size / 1e6:5.0f} MB, {c.licence} ({c.state()}){_seen(c.seen)}")
    show.result("models that open_clip and transformers download:")
    for m in library_models().values():
        show.result(f"  {m.name}, {m.licence}{_seen(m.seen)}")
    show.result(
        "also for clip: any MODEL:PRETRAINED of open_clip; also for detector and sam: hf:REPOSITORY of transformers"
    )


@app.command(cls=Command)
def pull(names: Names) -> None:
    """Download models into the cache and verify them. Cached files are not downloaded again."""
    for role, name in _resolve(names):
        _pull(role, name)


@app.command(cls=Command)
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Model sets or checkpoints. Default: all checkpoints in the cache."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compare the cached checkpoints with their published hashes. Exit status 1 if one differs."""
    from ..models.checkpoints import known_checkpoints
    from ..models.checkpoints import verify as check

    wanted = _checkpoints(names) if names else [c for c in known_checkpoints() if c.state() != "missing"]
    faults: dict[str, str | None] = {}
    for c in wanted:
        faults[c.name] = None
        try:
            check(c, anew=True)
        except WsssError as error:
            faults[c.name] = str(error)
            show.error(str(error))
        if not json and faults[c.name] is None:
            show.result(
                f"{c.name}: {'verified' if all(f.sha256 for f in c.files) else 'its published hash is not known'}"
            )
    if json:
        show.as_json({"checkpoints": [{**_as_json(c), "fault": faults[c.name]} for c in wanted]})
    elif not wanted:
        show.result("no checkpoints in the cache yet; run wsss-seed models pull base")
    raise typer.Exit(1 if any(faults.values()) else 0)


@app.command(cls=Command)
def check(
    name: Annotated[str, typer.Argument(metavar="SET", help="Model set.")],
    clip: options.Clip = None,
    sam: options.Sam = None,
    detector: options.Detector = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    images: Annotated[int, options.option("--images", help="Number of images to draw.", min=16)] = 24,
    json: options.Json = False,
) -> None:
    """Check on drawn images that CLIP, detector and SAM answer far above chance. Exit status 1 if one does not.

    This finds garbled checkpoints and input that is preprocessed wrongly; it does not measure quality. Missing models
    are downloaded.
    """
    from ..models.zoo import ModelSet
    from ..run.model_check import check_models, fault

    models = ModelSet(name, device, clip=clip, sam=sam, detector=detector, precision=precision, offline=offline)
    show.message(f"checking the models of '{name}' on {images} drawn images, on {models.device} ({models.precision})")
    checks = check_models(models, images)
    if json:
        show.as_json({"checks": [{**c._asdict(), "skill": round(c.skill, 4), "passed": c.passed} for c in checks]})
    for c in checks:
        if not json:
            verdict = "ok" if c.passed else "FAILED"
            show.result(
                f"{c.role} {c.name}: {c.measure} {c.value:.2f}, by chance {c.chance:.2f} ({c.size} of them): {verdict}"
            )
        if not c.passed:
            show.error(fault(c))
    raise typer.Exit(0 if all(c.passed for c in checks) else 1)


@app.command(cls=Command)
def where(names: SomeNames = None, json: options.Json = False) -> None:
    """Print the cache folder, or the paths of checkpoints in it."""
    from ..models.zoo import home

    found = [(c.name, c.path(f)) for c in _checkpoints(names or []) for f in c.files]
    if json:
        show.as_json({"home": str(home()), "files": [{"name": n, "path": str(p)} for n, p in found]})
    elif not names:
        show.result(str(home()))
    for _, path in () if json else found:
        show.result(str(path))


def _state(role: str, name: str) -> str:
    """The state of a model's weights; ``missing`` also where a library would download them."""
    from ..models.zoo import find_weights, is_downloaded

    weights = find_weights(role, name)
    return weights.state if is_downloaded(weights) else "missing"


def _seen(datasets: tuple[str, ...]) -> str:
    return f"; trained on annotations of {' and '.join(datasets)}" if datasets else ""


def _as_json(c: Checkpoint) -> dict[str, Any]:
    return {
        "role": c.role,
        "name": c.name,
        "also": list(c.also),
        "state": c.state(),
        "library": c.library,
        "config": c.config,
        "licence": c.licence,
        "data": c.data,
        "seen": list(c.seen),
        "files": [{"path": str(c.path(f)), "urls": list(f.urls), "size": f.size, "sha256": f.sha256} for f in c.files],
    }


def _resolve(names: list[str]) -> list[tuple[str, str]]:
    """Role and name of each model, with model sets expanded. Role ``hub`` is a repository of the Hugging Face Hub given
    by itself."""
    from ..models.checkpoints import find_checkpoint, known_checkpoints
    from ..models.zoo import HUB, ROLES, model_sets

    sets = model_sets()
    found: list[tuple[str, str]] = []
    for name in names:
        roles = [role for role in ROLES if find_checkpoint(role, name)]
        if name in sets:
            found += [(role, n) for role, n, _ in sets[name].models()]
        elif roles:
            found += [(role, name) for role in roles]
        elif name.startswith(HUB):
            found.append(("hub", name))
        elif ":" in name:
            found.append(("clip", name))
        else:
            known = [*sets, *(c.name for c in known_checkpoints())]
            raise unknown_name("model set or checkpoint", name, [*known, "MODEL:PRETRAINED", "hf:REPOSITORY"])
    return list(dict.fromkeys(found))


def _checkpoints(names: list[str]) -> list[Checkpoint]:
    """The checkpoint entries of the names. Bundled models, and models that libraries cache themselves, have none."""
    from ..models.checkpoints import find_checkpoint

    found = [find_checkpoint(role, name) for role, name in _resolve(names) if role != "hub"]
    return list(dict.fromkeys(c for c in found if c))


def _pull(role: str, name: str) -> None:
    from ..models import checkpoints, zoo

    if name.startswith(zoo.HUB):
        from ..models.hub import folder_of

        show.result(f"{name}: {folder_of(name.removeprefix(zoo.HUB))}")
        return
    weights = zoo.find_weights(role, name)
    if weights.checkpoint:
        checkpoints.pull(weights.checkpoint)
        show.result(f"{weights.checkpoint.name}: {weights.path}")
    elif weights.state == "library":
        from ..models.clip import fetch_pretrained

        show.result(f"{name}: {fetch_pretrained(name)}")
    else:
        show.result(f"{name}: {weights.state}, nothing to download")
