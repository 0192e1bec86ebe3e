"""What a browser would make of a page: its elements and its text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

VOID_SCHEMES = ("javascript:", "data:", "vbscript:")
ADDRESSES = ("href", "src", "action", "formaction")


class Element(NamedTuple):
    name: str
    attributes: dict[str, str]


class Markup(HTMLParser):
    """A parsed page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.text = ""
        self.inline: list[str] = []
        """The content of ``script`` and ``style`` elements that have some."""
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    @property
    def dangers(self) -> list[str]:
        """What runs something that does not come from a file of this site."""
        found = [f"inline: {content}" for content in self.inline]
        for element in self.elements:
            for name, value in element.attributes.items():
                if name.startswith("on") or name == "style" or _is_void(name, value):
                    found.append(f"<{element.name} {name}={value!r}>")
        return found

    @property
    def values(self) -> list[str]:
        """What stands in attributes."""
        return [value for element in self.elements for value in element.attributes.values()]


def _is_void(name: str, value: str) -> bool:
    return name in ADDRESSES and value.strip().lower().startswith(VOID_SCHEMES)
