"""Links from a page to files of the repository that are no pages become their paths: the site has no such files."""

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def without_outside_links(markdown: str, page: str) -> str:
    """The text of a page, each link that leaves the folder of pages replaced by its text and the path.

    Args:
        markdown: the page's text.
        page: its path in that folder, such as "api/index.md".
    """

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[2]))
        if path.startswith("docs/"):
            return link[0]
        return f"`{path}`" if path.endswith(link[1].strip("`")) else f"{link[1]} (`{path}`)"

    return _LINK.sub(replaced, markdown)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    return without_outside_links(markdown, page.file.src_uri)
