"""The documentation as a site: built strictly, complete, and it opens from a folder."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from dataset_diffusion import __all__ as public_names
from dataset_diffusion.cli import COMMANDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """The links of a page and the places in it that links can name."""

    def __init__(self, file):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.add(values.get("id"))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag in {"img", "script", "link"} and values.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded += filter(None, [values.get("src"), values.get("href")])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 20
    broken = []
    for file, page in pages.items():
        assert [address for address in page.loaded if urlsplit(address).netloc] == []
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            found = target in pages if target.suffix == ".html" else target.is_file()
            if not found or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []


def test_the_reference_has_every_command_and_every_public_name(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f'id="{name}"' not in commands] == []
    assert "--uncertainty-threshold" in commands
    names = (site / "reference" / "python.html").read_text(encoding="utf-8")
    documented = set(re.findall(r'id="dataset_diffusion\.[\w.]*?(\w+)"', names))
    assert [name for name in public_names if name not in documented] == []
