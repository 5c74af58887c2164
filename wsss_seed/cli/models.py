"""``wsss-seed models``: the model sets and where their weights are."""

from __future__ import annotations

import typer

from . import options, show

app = typer.Typer(help="List the model sets.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass  # without it typer would make the only command the group itself


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the model sets, their models, and whether the weights are there."""
    from ..models.zoo import ROLES, find_weights, model_sets

    sets = {
        name: (s.title, {role: (getattr(s, role), find_weights(role, getattr(s, role))) for role in ROLES})
        for name, s in model_sets().items()
    }
    if json:
        show.as_json(
            {
                name: {
                    "title": title,
                    **{
                        role: {"name": n, "state": w.state, "path": w.path and str(w.path), "url": w.url}
                        for role, (n, w) in parts.items()
                    },
                }
                for name, (title, parts) in sets.items()
            }
        )
        return
    missing = {}
    for name, (title, parts) in sets.items():
        show.result(f"{name}: {title}")
        for role, (n, w) in parts.items():
            show.result(f"  {role:9} {n} ({w.state})")
            if w.state == "missing":
                missing[n] = w
    for n, w in missing.items():
        show.result(f"{n}: download {w.url} to {w.path}")
