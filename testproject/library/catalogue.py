"""What lies in the folder of texts: `catalogue.toml` names the books, the files are their chapters."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class CataloguedBook:
    slug: str
    title: str
    author: str
    year: int
    chapters: list[str]

    def files(self) -> Iterator[tuple[int, str, str]]:
        """Number, title and file name of each chapter."""
        for number, title in enumerate(self.chapters, start=1):
            yield number, title, f"{self.slug}-{number:02}.txt"


def books() -> list[CataloguedBook]:
    catalogue = tomllib.loads((FOLDER / "catalogue.toml").read_text(encoding="utf-8"))
    return [CataloguedBook(**book) for book in catalogue["book"]]
