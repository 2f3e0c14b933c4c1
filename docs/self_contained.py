"""Whether the site asks nobody else for anything: no page, style or frame of it needs another server."""

import logging
import re
from pathlib import Path

log = logging.getLogger("mkdocs.hooks")
ELSEWHERE = r"""(?:https?:)?//[^"'\s)>]+"""
# What a browser loads by itself. A link is followed by who clicks on it, so <a> is left out.
LOADED = re.compile(
    rf"""<(?!a\b)\w+\s[^>]*?\b(?:src|srcset|href|data|poster)=["']?({ELSEWHERE})"""
    rf"""|url\(\s*["']?({ELSEWHERE})|@import\s+["']({ELSEWHERE})|\b(?:import|fetch)\(\s*["'`]({ELSEWHERE})"""
    rf"""|\bfrom\s*["']({ELSEWHERE})["']""",
    re.IGNORECASE,
)
# The theme's script fetches its drawing of diagrams if there is one.
DIAGRAM = re.compile(r'class="[^"]*\bmermaid\b')


def needed_from_elsewhere(text):
    """The addresses that a browser loads for a page or a style, of others than the site."""
    return [next(filter(None, found)) for found in LOADED.findall(text)]


def on_post_build(config, **kwargs):
    site = Path(config.site_dir)
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text()
        for address in needed_from_elsewhere(text):
            log.warning(f"{path.relative_to(site)} needs {address}, which the site does not serve")
        if DIAGRAM.search(text):
            log.warning(f"{path.relative_to(site)} has a Mermaid diagram, whose script the site does not serve")
