"""What the site has beside docs/: the README as its first page, other pages of the root, and the notebooks."""

import logging
import re
from importlib.metadata import version
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"), key=lambda path: int(path.stem.split("_")[0]))
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}

# By which each notebook would load MathJax and Mermaid: its formulas are drawn already, and it has no diagrams.
SCRIPTS = re.compile(
    r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->"
    r'|<script type="module">(?:(?!</script>).)*mermaid.*?</script>',
    re.DOTALL,
)
# A folder of the package has the name of a function, which is meant.
MEANT = re.compile(r"(?<=::: )gradtx\.matrices$|(?<=\]\[)gradtx\.matrices(?=\])", re.MULTILINE)
BUILT_WITH = {
    "JAX": "jax",
    "Optax": "optax",
    "Material for MkDocs": "mkdocs-material",
    "mkdocstrings": "mkdocstrings",
    "KaTeX of sphinxcontrib-katex": "sphinxcontrib-katex",
}


def on_config(config):
    versions = ", ".join(f"{name} {version(package)}" for name, package in BUILT_WITH.items())
    config.copyright = f"gradtx {version('gradtx')}, built with {versions}"
    for entry in config.nav:
        if "Notebooks" in entry:
            entry["Notebooks"] = ["notebooks/README.md", *(f"notebooks/{path.name}" for path in NOTEBOOKS)]
    config.watch += [str(path) for path in (*map(ROOT.joinpath, PAGES), ROOT / "gradtx", *NOTEBOOKS)]


@event_priority(100)  # before mkdocs-jupyter, which looks for notebooks among the files
def on_files(files, config):
    for name, page in PAGES.items():
        text = re.sub(r'(\]\(|src=")docs/', r"\1", (ROOT / name).read_text()).replace("](README.md", "](index.md")
        if page == "index.md":
            text = f"---\nhide: [navigation]\n---\n{text}"  # the first page is the only one of its section
        files.append(File.generated(config, page, content=text))
    listed = (ROOT / "notebooks/README.md").read_text().replace("](../README.md", "](../index.md")
    files.append(File.generated(config, "notebooks/README.md", content=listed))
    for path in NOTEBOOKS:
        files.append(File(f"notebooks/{path.name}", str(ROOT), config.site_dir, config.use_directory_urls))


def on_page_markdown(markdown, page, **kwargs):
    """On the site the notebooks lie beside the pages. A search finds the reference first."""
    if page.file.src_uri.startswith("reference/"):
        page.meta["search"] = {"boost": 4}
    markdown = MEANT.sub("gradtx.matrices.views.matrices", markdown)
    return markdown.replace("](../notebooks/", "](notebooks/")


def on_page_content(html, page, **kwargs):
    """A notebook's links to files as links to pages, which mkdocs does not do, and none of the scripts of others."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    html = SCRIPTS.sub("", html)
    return re.sub(r'href="(?!https?:|#)([^"#]+)', linked, html)


def linked(match):
    path = (ROOT / "notebooks" / match[1]).resolve()
    if not path.exists():
        log.warning(f"a notebook has a link to {match[1]}, which is not there")
    if path == ROOT / "README.md":
        return 'href="../..'
    return f'href="../{"" if path.suffix == ".ipynb" else "../"}{path.stem}/'
