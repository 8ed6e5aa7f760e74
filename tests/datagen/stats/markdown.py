"""A dataset card as a reader sees it."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

from markdown_it import MarkdownIt


class Page(HTMLParser):
    """What a reader sees of a card: all text, the tables' cells by their first headers, links, tags
    and comments.

    Rendered by a renderer that lets HTML through, so that HTML from data would be seen as tags.
    """

    def __init__(self, markdown: str):
        super().__init__()
        self.text, self.links, self.tags, self.comments = (
            "",
            set[str](),
            Counter[str](),
            list[str](),
        )
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._in_cell = False
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.links |= {value for name, value in attrs if name == "href" and value}
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell &= tag not in ("td", "th")
        if tag == "table":
            self.tables[" ".join(self._rows[0][:2])] = self._rows[1:]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\n", " ")  # as a browser shows it
        if self._in_cell:
            self._rows[-1][-1] += data


def body(text: str) -> str:
    return text.split("\n---\n", 1)[1]
