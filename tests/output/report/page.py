"""A report as a browser without scripts reads it."""

import json
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """The elements and the text of a page, and the data for its script."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data = None
        self._inside: str | None = None
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = "data" if dict(attributes).get("id") == "data" else tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside == "data":
            self.data = json.loads(text)
        elif self._inside not in ("script", "style"):
            self.texts.append(text.strip())
