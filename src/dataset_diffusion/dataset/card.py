"""The dataset card: what a person who finds the folder should know before training on it."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from dataset_diffusion.dataset.counts import LabelCounts
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.prompts.class_sets import ClassSet

FILE_NAME = "README.md"

_TEMPLATE = Path(__file__).with_name("card.md.j2")


def dataset_card(
    manifest: DatasetManifest,
    counts: LabelCounts,
    *,
    loading: str,
    licence: str | None = None,
    limits: tuple[str, ...] = (),
    sharing: str | None = None,
) -> str:
    """A dataset card in Markdown. The same arguments give the same text.

    Args:
        manifest: what the dataset is made of.
        counts: of all its label maps.
        loading: Python that loads it from inside its folder.
        licence: of the model's outputs, as the user states it.
        limits: what these files do not keep, a sentence each.
        sharing: the command that hands the folder on.
    """
    environment = jinja2.Environment(autoescape=False, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        manifest=manifest,
        settings=json.dumps(manifest.provenance.asked(), indent=2),
        rows=[
            (label_id, name.replace("|", "\\|"), counts.labelled[label_id], f"{counts.share(label_id):.2%}")
            for label_id, name in enumerate(manifest.class_set.label_names)
        ],
        num_images=counts.num_images,
        ignored=f"{counts.uncertain:.1%}",
        ignore_index=ClassSet.ignore_index,
        loading=loading.rstrip(),
        licence=" ".join(licence.split()) if licence else None,
        limits=limits,
        sharing=sharing,
    )
