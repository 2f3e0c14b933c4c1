"""Looks at every page of the built site in a browser, on a phone and on a screen; pictures go into a folder.

`pip install playwright` and a Chromium on the PATH are needed: `python -m docs.look SITE PICTURES`.
"""

import argparse
import re
import shutil
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import sync_playwright

WIDTHS = (390, 1280)
TEX = re.compile(r"\\[(\[]|\\(frac|beta|eta|operatorname|sqrt|text)\b|\$\$")
PROSE = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const shown = [];
  while (texts.nextNode()) {
    const inside = texts.currentNode.parentElement;
    if (!inside.closest("pre, code, script, style") && inside.checkVisibility()) shown.push(texts.currentNode.data);
  }
  return shown.join(" ");
}"""
# What sticks out of the page, and out of no box that scrolls or cuts.
WIDE = """() => {
  const inside = (x) => x && x !== document.documentElement
    && (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(x).overflowX) || inside(x.parentElement));
  return [...document.querySelectorAll(".md-content *")]
    .filter((x) => x.getBoundingClientRect().right > innerWidth + 1 && !inside(x.parentElement))
    .map((x) => `${x.tagName}.${x.className} ${x.textContent.trim().slice(0, 60)}`).slice(0, 3);
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def look(browser, address, page, width, dark, pictures):
    """What is wrong with a page at a width."""
    wrong = []
    tab = browser.new_page(viewport=dict(width=width, height=900), color_scheme="dark" if dark else "light")
    tab.on("console", lambda said: said.type in ("error", "warning") and wrong.append(f"console: {said.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url}"))
    tab.on("response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status}: {answer.url}"))
    tab.on("request", lambda request: request.url.startswith(address) or asks(request.url, wrong))
    tab.goto(f"{address}/{page}", wait_until="networkidle")
    if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append("wider than the window")
    wrong += [f"sticks out: {x}" for x in tab.evaluate(WIDE)]
    wrong += [f"TeX: {x[0]}" for x in TEX.finditer(tab.evaluate(PROSE))]
    name = f"{page.strip('/').replace('/', '.') or 'home'}.{width}{'.dark' if dark else ''}.png"
    tab.screenshot(path=pictures / name, full_page=True)
    tab.close()
    return wrong


def asks(url, wrong):
    if not url.startswith(("data:", "blob:")):
        wrong.append(f"asks elsewhere: {url}")


def search(browser, address, word):
    """The titles that the search finds."""
    tab = browser.new_page()
    tab.goto(address, wait_until="networkidle")
    tab.keyboard.press("/")
    tab.keyboard.type(word, delay=50)
    tab.wait_for_selector(".md-search-result__item", state="attached", timeout=20_000)
    titles = tab.locator(".md-search-result__item :is(h1, h2)").all_inner_texts()
    return [title.removesuffix("¶") for title in titles if title]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("site", type=Path)
    arguments.add_argument("pictures", type=Path)
    arguments.add_argument("--page", default="", help="only pages with this in their address")
    arguments.add_argument("--dark", action="store_true", help="as a reader who prefers dark sees it")
    given = arguments.parse_args()
    given.pictures.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=given.site))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    pages = sorted(str(path.parent.relative_to(given.site)) for path in given.site.rglob("index.html"))
    pages = ["" if page == "." else f"{page}/" for page in pages if given.page in page]
    failed = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for page in pages:
            for width in WIDTHS:
                for wrong in look(browser, address, page, width, given.dark, given.pictures):
                    failed = True
                    print(f"/{page} at {width}: {wrong}")
        found = search(browser, address, "adamw")
        print(f"{len(pages)} pages; a search for adamw finds {found[:4]}")
    sys.exit(failed or "adamw" not in found[:3])


if __name__ == "__main__":
    main()
