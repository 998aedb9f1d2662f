"""Reading drawn HTML in tests: does it nest, which elements are there, is text still text?"""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = frozenset({"meta", "link", "img", "br", "input"})


class Markup(HTMLParser):
    """Elements of a piece of HTML in order, and its text; ``wrong`` lists ends that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.wrong += self._open

    def of(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        """Attributes of all elements of a kind, perhaps only those of a class."""
        found = [a for name, a in self.elements if name == tag]
        return [a for a in found if not css or css in (a.get("class") or "").split()]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text += data


def read(board) -> Markup:
    """All parts of a `Board`; they nest, and hold nothing that could run."""
    found = Markup("".join(board.parts.values()))
    assert not found.wrong
    assert not {"script", "iframe", "object", "a", "style"} & {tag for tag, _ in found.elements}
    assert not [name for _, attrs in found.elements for name in attrs if name.startswith("on")]
    return found


def pixels(url: str) -> np.ndarray:
    """RGBA of a PNG data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))
