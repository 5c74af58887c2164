"""Any folder tree of images."""

from __future__ import annotations

from pathlib import Path

from ..errors import WsssError
from .base import Dataset, Sample
from .classes import ClassSet
from .ids import check_ids
from .images import SUFFIXES
from .listing import index_images


class Folder(Dataset):
    """All images below a folder, ordered by id; an id is the path below the folder without suffix.

    Raises:
        WsssError: no folder, no image in it, two images with the same id, or a file name that cannot be an id.
    """

    name = "folder"
    split = "all"

    def __init__(self, root: Path, class_set: ClassSet):
        if not root.is_dir():
            raise WsssError(f"{root}: no such folder")
        found = sorted(index_images(root).items())
        if not found:
            raise WsssError(f"{root}: no image below it; images end in {', '.join(SUFFIXES)}")
        check_ids([id for id, _ in found], lambda i: str(root))
        self.class_set = class_set
        self.samples = [Sample(id, root / file) for id, file in found]
