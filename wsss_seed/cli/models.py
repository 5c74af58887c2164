"""``wsss-seed models``: the model sets and where their weights are."""

from __future__ import annotations

import typer

from . import options, show

app = typer.Typer(help="List the model sets.", no_args_is_help=True)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the model sets, their models, and whether the weights are there."""
    from ..models.zoo import ROLES, find_weights, model_sets

    sets = model_sets()
    rows = [
        {
            "set": name,
            "title": s.title,
            "models": {role: {"name": getattr(s, role), **find_weights(role, getattr(s, role))} for role in ROLES},
        }
        for name, s in sets.items()
    ]
    if json:
        show.as_json(rows)
        return
    for r in rows:
        show.result(f"{r['set']}: {r['title']}")
        for role, m in r["models"].items():
            show.result(f"  {role:9} {m['name']} ({m['state']})")
    missing = {(m["name"], m["path"], m["url"]) for r in rows for m in r["models"].values() if m["state"] == "missing"}
    for name, path, url in sorted(missing):
        show.out.print(f"{name}: download {url} to {path}", markup=False)
