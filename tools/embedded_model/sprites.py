"""Icons with exact alpha masks: the objects of the scenes."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

ICON_SETS = ("noto", "fluent-emoji", "fluent-emoji-flat", "twemoji")

ICONS: dict[str, tuple[str, ...]] = {
    "airplane": ("airplane",),
    "boat": ("sailboat",),
    "bus": ("bus",),
    "car": ("automobile", "sport-utility-vehicle"),
    "cat": ("cat", "black-cat"),
    "dog": ("dog-face",),
    "elephant": ("elephant",),
    "umbrella": ("umbrella",),
    "clock": ("alarm-clock",),
    "potted plant": ("potted-plant",),
    "traffic light": ("vertical-traffic-light",),
    "teddy bear": ("teddy-bear",),
}
"""Class name -> the icons that show it, each in every icon set. The order is the class set's."""

RENDER_SIZE = 128


def install_icons(folder: Path) -> Path:
    """Install the icon packages pinned in package.json into ``folder`` (once) and return where they lie."""
    packages = folder / "node_modules" / "@iconify-json"
    if not packages.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text((Path(__file__).parent / "package.json").read_text())
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(command, cwd=folder, check=True)
    return packages


def render_sprites(folder: Path) -> dict[str, list[Image.Image]]:
    """Every sprite of every class, RGBA, cropped to what is visible; the longer side is ``RENDER_SIZE`` pixels."""
    packages = install_icons(folder)
    sets = [json.loads((packages / name / "icons.json").read_text()) for name in ICON_SETS]
    return {name: [_render(icons, icon) for icon in shown for icons in sets] for name, shown in ICONS.items()}


def _render(icons: dict, name: str) -> Image.Image:
    icon = icons["icons"][icons.get("aliases", {}).get(name, {}).get("parent", name)]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="{2 * RENDER_SIZE}" height="{2 * RENDER_SIZE}">{icon["body"]}</svg>'
    )
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")
    visible = np.argwhere(np.asarray(picture)[..., 3] > 8)
    (top, left), (bottom, right) = visible.min(axis=0), visible.max(axis=0) + 1
    picture = picture.crop((left, top, right, bottom))
    scale = RENDER_SIZE / max(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
