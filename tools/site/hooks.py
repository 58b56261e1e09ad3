"""What the site has beside docs/: pages of the root, and the reference, made from the code when it is built."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

import dataset_diffusion
from dataset_diffusion.__main__ import main
from dataset_diffusion.cli import COMMANDS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DOCS = ROOT / "docs"
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme loads, so that search works without a server; the site has its own copy."""

REPOSITORY_FILES = ("LICENSE", "NOTICE")
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    made = {page: as_page((ROOT / source).read_text(encoding="utf-8")) for source, page in ROOT_PAGES.items()}
    made |= {"reference/commands.md": commands(), "reference/python.md": python_names()}
    made |= {f"assets/{name}": (HERE / name).read_text(encoding="utf-8") for name in ("site.css", "iframe-worker.js")}
    made |= {f"{file.relative_to(DOCS).with_suffix('.md')}": notebook(file) for file in DOCS.rglob("*.ipynb")}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to pages of the root, where the site has them."""
    for source, target in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({target}")
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Load nothing from elsewhere."""
    return output.replace(SHIM, get_relative_url("assets/iframe-worker.js", page.url))


def as_page(text: str) -> str:
    """A page of the root whose links hold on the site; what the site lacks is named without a link."""
    for source, target in ROOT_PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    text = re.sub(rf"\[([^]]*)\]\(({'|'.join(REPOSITORY_FILES)})\)", r"\1", text)
    return text.replace("](docs/", "](")


def notebook(file: Path) -> str:
    """A notebook as a page, which links to it; its code is run by tests/e2e/test_tutorials.py."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f"[This page as a notebook]({file.name})\n"])


def commands() -> str:
    """`--help` of every command."""
    parts = ["# Commands\n", "What `dataset-diffusion COMMAND --help` prints.\n"]
    for name in COMMANDS:
        parts.append(f"## {name}\n\n```text\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def help_of(command: str) -> str:
    """The help of a command as plain text, as wide as a page."""
    import contextlib
    import io

    os.environ |= {"COLUMNS": "84", "NO_COLOR": "1"}
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).strip()


def python_names() -> str:
    """The public names with their docstrings."""
    names = "\n\n".join(f"::: dataset_diffusion.{module}.{name}" for name, module in sorted(public_names().items()))
    return f"# Python\n\nEverything that `from dataset_diffusion import …` knows.\n\n{names}\n"


def public_names() -> dict[str, str]:
    """Public name -> its module below the package."""
    return dict(dataset_diffusion._MODULE_OF)
