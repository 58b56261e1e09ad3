"""Write composed scenes with their true label maps as a dataset: the held-out benchmark, or real training data."""

from __future__ import annotations

import argparse
from pathlib import Path

from scenes import make_scene
from sprites import ICONS, render_sprites

from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.records import Sample

HELD_OUT_SEED = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--num-scenes", type=int, default=240, help="number of scenes")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help="the model's training scenes have seed 1")
    parser.add_argument(
        "--icons", type=Path, default=Path("build/embedded_model"), help="where the icons are installed"
    )
    options = parser.parse_args()
    write_scenes(options.out, options.num_scenes, options.seed, options.icons)


def write_scenes(out: Path, num_scenes: int, seed: int, icons: Path) -> DatasetStore:
    """Write scenes 0..num_scenes-1 of a seed; finished shards are left as they are."""
    classes = class_set("emoji")
    if classes.words != tuple(ICONS):
        raise ValueError("the class set `emoji` and the icons name other classes")
    sprites = render_sprites(icons)
    manifest = DatasetManifest(
        num_samples=num_scenes, class_set=classes, image_format="jpeg", provenance=Provenance(seed=seed)
    )
    store = DatasetWriter.create(out, manifest)
    for shard in store.missing_shards():
        store.write_shard(shard, [_sample(sprites, seed, index) for index in store.shard_range(shard)])
    return store


def _sample(sprites: dict, seed: int, index: int) -> Sample:
    classes = class_set("emoji")
    scene = make_scene(sprites, seed, index)
    prompt = compose_prompt(index, scene.caption, [classes.id_of(name) for name in scene.classes], classes)
    return Sample(seed, prompt, scene.image, scene.label, None, quality_scores(scene.label, prompt.classes, None))


if __name__ == "__main__":
    main()
