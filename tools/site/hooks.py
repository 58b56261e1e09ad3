"""What the site has beside docs/: pages of the root, and the reference, made from the code when it is built."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import dataset_diffusion
from dataset_diffusion.__main__ import main
from dataset_diffusion.cli import COMMANDS

ROOT = Path(__file__).parents[2]
REPOSITORY_FILES = ("LICENSE", "NOTICE")
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    made = {page: as_page((ROOT / source).read_text(encoding="utf-8")) for source, page in ROOT_PAGES.items()}
    made |= {"reference/commands.md": commands(), "reference/python.md": python_names()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to pages of the root, where the site has them."""
    for source, target in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{source}", f"]({target}")
    return markdown


def as_page(text: str) -> str:
    """A page of the root whose links hold on the site; what the site lacks is named without a link."""
    for source, target in ROOT_PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    text = re.sub(rf"\[([^]]*)\]\(({'|'.join(REPOSITORY_FILES)})\)", r"\1", text)
    return text.replace("](docs/", "](")


def commands() -> str:
    """`--help` of every command."""
    parts = ["# Commands\n", "What `dataset-diffusion COMMAND --help` prints.\n"]
    for name in COMMANDS:
        parts.append(f"## {name}\n\n```text\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def help_of(command: str) -> str:
    """The help of a command as plain text, 100 columns wide."""
    import contextlib
    import io

    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}
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
