"""The card of a run and of its exports: how the masks were made, with which weights, and what they are not for.

The contents of ``run.json`` are not trusted: whatever a card takes from it is escaped, and what has another form than
a run writes is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import WsssError
from ..io.files import write_text
from ..io.source import Location
from ..io.text import counted
from ..models.checkpoints import Checkpoint, find_checkpoint
from ..models.libraries import LibraryModel, library_models
from ..models.zoo import BUNDLED
from .score import Score

README = "README.md"

_SIGNED = re.compile(r"\n<!-- Written by wsss-seed \(([0-9a-f]{16})\)[^\n]*-->\n?\Z")
_REMARK = "a run writes it again as long as it is unchanged"
_MOST = 40  # classes or settings that are listed
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")


def run_card(about: Mapping[str, Any], classes: Sequence[str], score: Score | None = None) -> str:
    """The card of a run folder, in Markdown.

    It has no times, and is the same for the same masks.

    Args:
        about: contents of ``run.json``.
        classes: names of the classes, without background.
        score: against ground truth.
    """
    totals = _table(about.get("totals"))
    counts = [
        _counted("image", totals.get("ok"), "with a mask"),
        _counted("image", totals.get("failed"), "failed"),
        _share(totals.get("ignore"), "of the pixels ignored (255)"),
        _counted("mask", totals.get("background_only"), "of background only"),
    ]
    return _signed(_card(about, classes, counts, ["- Command, versions and times: `run.json`"], score))


def export_card(
    about: Mapping[str, Any],
    classes: Sequence[str],
    parts: Mapping[str, int],
    score: Score | None = None,
    review: str = "",
) -> str:
    """The card of an export of a run, in Markdown; without the command, which may name folders of the machine.

    Args:
        about: contents of ``run.json``.
        classes: names of the classes, without background.
        parts: number of images by part, ``train`` and perhaps ``val``.
        score: of the run against ground truth.
        review: number of images by verdict, in words; empty if it was not reviewed.
    """
    totals = _table(about.get("totals"))
    counts = [_counted("image", parts.get("train"), "with a machine-made mask, for training")]
    if "val" in parts:
        counts.append(
            _counted("image", parts["val"], "with given ground truth, for validation; this card is not about it")
        )
    counts.append(f"- Review of the run, in images: {_text(review)}" if review else "")
    counts.append(_counted("image", totals.get("failed"), "of the run failed and left out"))
    counts.append(_share(totals.get("ignore"), "of the pixels of the run ignored (255)"))
    return _signed(_card(about, classes, counts, [], score))


def hub_card(card: str, name: str, images: int) -> str:
    """A card with the metadata of the Hugging Face Hub.

    The fields are those of the Hub's dataset cards. The licence is unknown, because it is that of the images.

    Args:
        card: in Markdown.
        name: of the run.
        images: number of images.
    """
    size = next((size for power, size in enumerate(_SIZES, 3) if images < 10**power), "other")
    pretty = "".join(c if c.isprintable() else "?" for c in f"{name} (machine-made masks)")
    lines = [
        "---",
        f"pretty_name: {json.dumps(pretty, ensure_ascii=False)}",
        "license: unknown",
        *("task_categories:", "- image-segmentation"),
        *("task_ids:", "- semantic-segmentation"),
        *("annotations_creators:", "- machine-generated"),
        *("size_categories:", f"- {size}"),
        *("tags:", "- pseudo-labels", "- weakly-supervised", "- wsss-seed"),
        "---",
        "",
    ]
    return _signed("\n".join(lines) + _unsigned(card))


def write_card(folder: Location, text: str) -> None:
    """Write a card as README.md, unless a README.md is there that somebody else wrote or edited. Raises OSError."""
    former = read_card(folder)
    if former != text and (former is None or is_ours(former)):
        write_text(folder / README, text)


def read_card(folder: Location) -> str | None:
    """README.md of a folder; None if there is none. Raises OSError."""
    try:
        return (folder / README).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def is_ours(text: str) -> bool:
    """Whether a card is as it was written here."""
    found = _SIGNED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def _signed(text: str) -> str:
    body = text.rstrip("\n") + "\n"
    return f"{body}\n<!-- Written by wsss-seed ({_digest(body)}); {_REMARK}. -->\n"


def _unsigned(text: str) -> str:
    return _SIGNED.sub("", text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _card(
    about: Mapping[str, Any],
    classes: Sequence[str],
    counts: Sequence[str],
    extra: Sequence[str],
    score: Score | None,
) -> str:
    settings = _table(about.get("settings"))
    weights = _weights(about)
    sections = [
        "# Machine-made masks",
        "Semantic-segmentation masks that models made from images. Nobody drew them, and unless somebody looked at "
        "each of them, nobody checked them: they contain mistakes.",
        "## How they were made",
        "\n".join([*_making(about, settings, classes), *extra]),
        *_changed(about),
        "## Weights",
        "\n".join(_weights_table(weights)) if weights else _own_weights(about),
        *_caveats(weights, str(_table(settings.get("dataset")).get("name", ""))),
        "## Counts",
        "\n".join(line for line in counts if line) or "None recorded.",
        "Masks that were edited by hand afterwards are counted as they were made.",
        "## Figures",
        "None: no comparison with ground truth is recorded with these masks."
        if score is None
        else f"Masks of the run{_review(score)}: {_text(score, 400)}.",
        "## What they must not be used for",
        "- Not as ground truth: not for the test or validation set of a benchmark, and not to report how good an "
        "annotation or a model is.\n"
        "- Not where mistakes can harm people, unless a person has checked every mask that matters.\n"
        "- Not as evidence of what an image does not show: objects can be missed, and ignored pixels (255) are "
        "undecided, not background.\n"
        "- Not beyond the licences and the consent under which the images were obtained: these hold for the images and "
        "for what is made from them, and this card does not know them. The licences of the weights hold as well.",
    ]
    return "\n\n".join(sections) + "\n"


def _review(score: Score) -> str:
    if not score.corrections:
        return ""
    return " with the corrections of a review" if score.corrected else " without the corrections of a review"


_MODES = {"label_given": "with image-level labels", "label_free": "without labels", "boxes_given": "with given boxes"}


def _making(about: Mapping[str, Any], settings: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    backend, data = _table(settings.get("backend")), _table(settings.get("dataset"))
    versions = _table(about.get("versions"))
    method = str(backend.get("name", "unknown"))
    given = settings.get("labels") not in (None, "none")
    mode = _MODES.get(str(backend.get("mode")), "with image-level labels" if given else "without labels")
    shown = ", ".join(_text(name) for name in classes[:_MOST])
    more = f", and {len(classes) - _MOST} more" if len(classes) > _MOST else ""
    lines = [f"- Tool: wsss-seed {_text(versions.get('wsss_seed', 'of an unknown version'))}"]
    if method == "segmenter":
        lines.append("- Method: predictions of a trained segmenter")
    else:
        lines.append(f"- Method: `{_code(method)}`, {mode}")
    if data:
        split = f", split {_text(data['split'])}" if data.get("split") else ""
        lines.append(f"- Images: {_text(data.get('name', 'unknown'))}{split}")
    lines.append(f"- Classes ({len(classes)}): {shown}{more}")
    lines.append("- Labels of the masks: 0 background, 1 to K the classes in this order, 255 ignored")
    if settings.get("orientation") == "upright":
        lines.append("- Masks match the upright images, as EXIF turns them")
    where = [str(value) for value in (settings.get("precision"), about.get("device")) if value]
    lines += [f"- Computed in {_text(' on '.join(where))}"] if where else []
    return lines


def _changed(about: Mapping[str, Any]) -> list[str]:
    """The settings that differ from the defaults, if the run recorded them."""
    changed = about.get("changed")
    if not isinstance(changed, Mapping):
        return ["All settings are in `run.json` of the run."]
    if not changed:
        return ["All settings of the method have their default values."]
    rows = [f"| {_text(key)} | {_text(json.dumps(value), 120)} |" for key, value in list(changed.items())[:_MOST]]
    more = [f"{len(changed) - _MOST} more are in `run.json` of the run."] if len(changed) > _MOST else []
    return [
        "Settings that differ from the defaults:",
        "\n".join(["| setting | value |", "| --- | --- |", *rows]),
        *more,
    ]


def _weights(about: Mapping[str, Any]) -> list[tuple[str, str, str | None, Checkpoint | LibraryModel | None]]:
    """Role, name, SHA-256 and what is known of each model of a run."""
    found = []
    for role, entry in _table(about.get("weights")).items():
        name, digest = _table(entry).get("name"), _table(entry).get("sha256")
        if isinstance(name, str):
            digest = digest if isinstance(digest, str) else None
            found.append((str(role), name, digest, _known(str(role), name, digest)))
    return found


def _known(role: str, name: str, digest: str | None) -> Checkpoint | LibraryModel | None:
    """What is known of the weights with a name, if their hash is not another one."""
    with suppress(WsssError):  # a list of checkpoints that cannot be read
        checkpoint = find_checkpoint(role, name)
        if checkpoint is not None:
            published = checkpoint.files[0].sha256
            return checkpoint if published is None or digest in (None, published) else None
    if name in BUNDLED:
        return LibraryModel(name, "Apache-2.0, as wsss-seed", "drawings of toyland only; not made for photographs")
    return library_models().get(name)


def _weights_table(weights: Sequence[tuple[str, str, str | None, Checkpoint | LibraryModel | None]]) -> list[str]:
    lines = ["| model | weights | SHA-256 | licence | trained on |", "| --- | --- | --- | --- | --- |"]
    for role, name, digest, known in weights:
        licence, data = ("unknown", "unknown") if known is None else (known.licence, known.data)
        hashed = f"`{_code(digest)}`" if digest else "not recorded"
        lines.append(f"| {_text(role)} | {_text(name)} | {hashed} | {_text(licence)} | {_text(data, 300)} |")
    return lines


def _own_weights(about: Mapping[str, Any]) -> str:
    if about.get("checkpoint"):
        return "A segmenter that was trained by the user: licence unknown."
    return "None recorded: licences unknown."


def _caveats(
    weights: Sequence[tuple[str, str, str | None, Checkpoint | LibraryModel | None]], dataset: str
) -> list[str]:
    """What the training data of the weights mean for results with these masks."""
    lines = []
    for _, name, _, known in weights:
        if known is not None and known.seen:
            seen = _text(", ".join(known.seen))
            these = f"; these images are of {_text(dataset)}" if dataset in known.seen else ""
            lines.append(
                f"- {_text(name)} was trained on annotations of {seen}: results on {seen} that use it are neither "
                f"label-free nor weakly supervised{these}."
            )
    if any(name in BUNDLED for _, name, _, _ in weights):
        lines.append(
            "- The bundled miniatures know only the drawings of toyland: on photographs their masks are useless."
        )
    return ["\n".join(lines)] if lines else []


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _counted(noun: str, number: Any, what: str) -> str:
    if not isinstance(number, int):
        return ""
    return f"- {counted(number, noun)} {what}"


def _share(value: Any, what: str) -> str:
    return f"- {100 * value:.1f} % {what}" if isinstance(value, int | float) and 0 <= value <= 1 else ""


def _text(value: Any, most: int = 100) -> str:
    """A value as text on one line of Markdown, in which nothing is markup."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", text)


def _code(text: str) -> str:
    """A text for a code span."""
    return re.sub(r"[^\w .:/@+-]", "?", text)[:100]
