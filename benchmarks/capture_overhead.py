"""What do labels cost on top of the image? Measured against the plain diffusers pipeline, and against the published way.

plain: the diffusers pipeline alone. capture: `model.generate` with capture, heatmaps and a label map. published: explicit
attention in every layer, every layer's maps (mean over heads) kept as a running sum, and the self-attention's matrix power.
Full-size architectures have random weights (benchmarks/full_size.py): cost does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from tests.helpers.architectures import ARCHITECTURES, build_pipeline
from torch import Tensor

from dataset_diffusion.config import CaptureSettings, GenerateSettings, LabelSettings
from dataset_diffusion.diffusion.families.unet import UNetModel, choose_layers
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.labelling.assign import assign_labels, label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps, normalize
from dataset_diffusion.labelling.propagate import propagate
from dataset_diffusion.records import Prompt
from dataset_diffusion.seeding import sample_generator

PROMPT = Prompt(0, "a photo of a cat next to a bus; cat bus", "cat bus", (8, 6))
LABEL = LabelSettings()
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="sd21-base", choices=[*ARCHITECTURES, "embedded"], help="architecture")
    parser.add_argument("--size", type=int, default=512, help="image side, pixels")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps")
    parser.add_argument("--batch-size", type=int, default=1, help="images drawn at once")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...")
    parser.add_argument("--dtype", default=None, help="float32, float16, bfloat16; float32 on the CPU, else float16")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; each draws once in every way")
    parser.add_argument("--thinner", type=int, default=1, help="divide the channels, to try the benchmark itself")
    parser.add_argument("--compile", action="store_true", help="compile the blocks, in every way of drawing")
    parser.add_argument("--json", type=Path, default=None, help="file to write")
    parser.add_argument("--peak-of", choices=WAYS, default=None, help="draw once in one way and print its peak memory")
    options = parser.parse_args()
    cuda = options.device.startswith("cuda")
    if options.peak_of:
        WAYS[options.peak_of](build_model(options), options)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        return
    # Before this process grows: a child's peak is never below its parent's size.
    peaks = {} if cuda else {name: peak_of_process(name) for name in WAYS}
    model = build_model(options)
    ways = {name: partial(way, model, options) for name, way in WAYS.items()}
    seconds = time_alternately(ways, options)
    if cuda:
        peaks = {name: peak_on_gpu(draw, options.device) for name, draw in ways.items()}
    result = summarize(seconds, peaks, options)
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def build_model(options: argparse.Namespace) -> UNetModel:
    """The model to measure, ready to draw."""
    dtype = options.dtype or ("float32" if options.device == "cpu" else "float16")
    if options.model == "embedded":
        return load_from_settings(GenerateSettings(device=options.device, dtype=dtype, compile=options.compile))
    pipeline = build_pipeline(options.model, options.thinner, dtype=getattr(torch, dtype), device=options.device)
    if options.compile:
        from dataset_diffusion.diffusion.load import compile_blocks

        compile_blocks(pipeline)
    return UNetModel(MODELS[options.model], pipeline)


def draw_plain(model: UNetModel, options: argparse.Namespace) -> None:
    """The diffusers pipeline, called directly."""
    model.pipeline(
        prompt=[PROMPT.text] * options.batch_size,
        negative_prompt=[model.spec.negative_prompt] * options.batch_size,
        num_inference_steps=options.steps,
        guidance_scale=model.spec.guidance_scale,
        generator=[sample_generator(seed) for seed in range(options.batch_size)],
        height=options.size,
        width=options.size,
        output_type="np",
    )


def draw_with_capture(model: UNetModel, options: argparse.Namespace) -> None:
    """Images with their label maps, as `generate` makes them."""
    drawn = model.generate(
        [PROMPT] * options.batch_size,
        range(options.batch_size),
        CaptureSettings(),
        steps=options.steps,
        height=options.size,
        width=options.size,
    )
    for generation in drawn:
        if generation.attention is not None:
            label_map(class_heatmaps(generation.attention), PROMPT.classes, (options.size, options.size), LABEL)


@torch.inference_mode()
def draw_published(model: UNetModel, options: argparse.Namespace) -> None:
    """Explicit attention everywhere, all maps kept, matrix power."""
    unet, spec = model.pipeline.unet, model.spec
    states = model._encode_texts([PROMPT.class_prompt] * options.batch_size, (options.size, options.size))[0]
    with explicit_attention(unet, states) as sums:
        draw_plain(model, options)
    native = (spec.height // model.latent_scale, spec.width // model.latent_scale)
    cross = mean_of(sums, choose_layers(unet, "attn2", spec.cross_attention, native).names)
    self_attention = mean_of(sums, choose_layers(unet, "attn1", spec.self_attention, native).names)
    tokens = [positions[0] for positions in model._token_positions([PROMPT], "class")[0]]
    for image_cross, image_self in zip(cross, self_attention, strict=True):
        maps = image_cross[:, tokens].T.unflatten(1, (round(len(image_cross) ** 0.5), -1))
        side = round(len(image_self) ** 0.5)
        spread = propagate(maps, torch.linalg.matrix_power(image_self, LABEL.exponent), (side, side), exponent=1)
        assign_labels(normalize(spread), PROMPT.classes, (options.size, options.size)).cpu()


WAYS: dict[str, Callable[[UNetModel, argparse.Namespace], None]] = {
    "plain": draw_plain,
    "capture": draw_with_capture,
    "published": draw_published,
}


@contextmanager
def explicit_attention(unet: Any, class_states: Tensor) -> Iterator[dict[str, list[Tensor | int]]]:
    """Compute every layer's attention map and keep the conditional half's running sum: ``{layer: [sum, count]}``."""
    processors = dict(unet.attn_processors)
    layers = {
        name.removesuffix(".processor"): unet.get_submodule(name.removesuffix(".processor")) for name in processors
    }
    sums: dict[str, list[Any]] = defaultdict(lambda: [0, 0])
    batch = len(class_states)

    def keep(name: str, layer: Any, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = type(layer).get_attention_scores
        probabilities = scores(layer, query, key, mask)
        conditional = slice(-batch * layer.heads, None)
        read = probabilities[conditional]
        if name.endswith("attn2"):
            read = scores(layer, query[conditional], layer.head_to_batch_dim(layer.to_k(class_states)))
        sums[name][0] = sums[name][0] + read.unflatten(0, (batch, layer.heads)).float().mean(1)
        sums[name][1] += 1
        return probabilities

    unet.set_attn_processor(AttnProcessor())
    for name, layer in layers.items():
        layer.get_attention_scores = partial(keep, name, layer)
    try:
        yield sums
    finally:
        unet.set_attn_processor(processors)
        for layer in layers.values():
            del layer.get_attention_scores


def mean_of(sums: dict[str, list[Any]], layers: Sequence[str]) -> Tensor:
    """Mean over layers and calls, "b cells tokens"."""
    return sum(sums[name][0] for name in layers) / sum(sums[name][1] for name in layers)


def time_alternately(ways: dict[str, Callable[[], None]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every way in every round, after one unmeasured round; the first in a round changes."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for draw in ways.values():
        draw()
    names = list(ways)
    for number in range(options.repeats):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            synchronize(options.device)
            started = time.perf_counter()
            ways[name]()
            synchronize(options.device)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def peak_of_process(name: str) -> int:
    """Largest resident set of a process that builds the model and draws once in one way, bytes."""
    command = [sys.executable, "-m", "benchmarks.capture_overhead", *sys.argv[1:], "--peak-of", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak_on_gpu(draw: Callable[[], None], device: str) -> int:
    """Most memory that the GPU's allocator held while drawing, the model's weights included, bytes."""
    torch.cuda.reset_peak_memory_stats(device)
    draw()
    return torch.cuda.max_memory_allocated(device)


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def summarize(seconds: dict[str, list[float]], peaks: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    """Medians, per image, and what they were measured with."""
    median = {name: statistics.median(times) / options.batch_size for name, times in seconds.items()}
    peak = {name: round(value / GIB, 3) for name, value in peaks.items()}
    cuda = options.device.startswith("cuda")
    return {
        **{f"{name}_s": round(value, 4) for name, value in median.items()},
        "ratio": round(median["capture"] / median["plain"], 4),
        "published_over_capture": round(median["published"] / median["capture"], 3),
        **{f"peak_{name}_gib": value for name, value in peak.items()},
        "extra_peak": round(peaks["capture"] / peaks["plain"] - 1, 4),
        "seconds_of_each_batch": {name: [round(value, 4) for value in times] for name, times in seconds.items()},
        "machine": torch.cuda.get_device_name(options.device) if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{key: value for key, value in vars(options).items() if key not in ("json", "peak_of")},
    }


if __name__ == "__main__":
    main()
