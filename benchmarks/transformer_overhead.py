"""What reading attention costs beside one call of a diffusion transformer, in time and in memory.

Networks with random weights, as many layers and cells as are asked for; the layers that are read by default, the class
prompt beside the image, and the self-attention. Seconds are of the process (other work does not count), of a median
over rounds in which plain and read calls alternate; peak memory is that of a process of its own for each way.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel

from dataset_diffusion.diffusion.capture import AttentionLayers
from dataset_diffusion.diffusion.families.base import CLASS_TOKENS, Texts
from dataset_diffusion.diffusion.families.table import FAMILIES
from dataset_diffusion.diffusion.native import NATIVE, native_layers
from dataset_diffusion.diffusion.tapped import TappedCapture

HEADS = {"num_attention_heads": 6, "attention_head_dim": 64}
WIDTH = 384
TEXT = 256
"""Width of the text's states."""

Call = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--family", choices=NETWORKS, default="sd3", help="which layout")
    parser.add_argument("--side", type=int, default=32, help="image tokens a side")
    parser.add_argument("--layers", type=int, default=16, help="blocks of the network")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--json", type=Path, default=None, help="file to write")
    parser.add_argument("--peak-of", choices=("plain", "read"), default=None, help="call once and print peak memory")
    options = parser.parse_args()
    if options.peak_of:
        call, read = NETWORKS[options.family](options.side, options.layers)
        run(call, read if options.peak_of == "read" else None)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    found = {
        "seconds": seconds(options),
        "GiB": {way: peak(options, way) for way in ("plain", "read")},
        **{key: getattr(options, key) for key in ("family", "side", "layers")},
    }
    for what in ("seconds", "GiB"):
        found[f"{what}, read / plain"] = found[what]["read"] / found[what]["plain"]
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def seconds(options: argparse.Namespace) -> dict[str, float]:
    """Of the process, for one call."""
    call, read = NETWORKS[options.family](options.side, options.layers)
    taken: dict[str, list[float]] = {"plain": [], "read": []}
    for repeat in range(options.repeats + 1):
        for way, reader in (("plain", None), ("read", read)):
            start = time.process_time()
            run(call, reader)
            if repeat:  # the first round is a warm-up
                taken[way].append(time.process_time() - start)
    return {way: statistics.median(times) for way, times in taken.items()}


def peak(options: argparse.Namespace, way: str) -> float:
    """GiB of a process that calls once."""
    asked = ["--family", options.family, "--side", str(options.side), "--layers", str(options.layers)]
    command = [sys.executable, "-m", "benchmarks.transformer_overhead", *asked, "--peak-of", way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@torch.inference_mode()
def run(call: Call, reader: Callable[[], AbstractContextManager[Any]] | None) -> None:
    with reader() if reader else nullcontext():
        call()


def reader_of(network: Any, side: int, *, guided: bool) -> Callable[[], AbstractContextManager[Any]]:
    """The layers that are read by default; one image, one class."""
    kind = type(network).__name__
    family = FAMILIES[kind](SimpleNamespace(transformer=network))
    cross, own = native_layers(NATIVE[kind], network.config, side)
    names = tuple(family.layers()) if cross.prefixes == ("",) else cross.prefixes
    texts = Texts(torch.randn(1, CLASS_TOKENS, TEXT))
    return lambda: TappedCapture(
        family,
        texts,
        cross_attention=AttentionLayers(names, (side, side)),
        self_attention=AttentionLayers(own.prefixes, (own.resolution, own.resolution)),
        grid=(side, side),
        pool=side // own.resolution,
        token_positions=[[[1]]],
        start=[0],
        guided=guided,
    )


def sd3(side: int, layers: int) -> tuple[Call, Any]:
    """Guided: a batch of two."""
    network = SD3Transformer2DModel(
        **HEADS,
        sample_size=2 * side,
        in_channels=16,
        num_layers=layers,
        joint_attention_dim=TEXT,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=64,
        pos_embed_max_size=side,
        qk_norm="rms_norm",
    ).eval()
    latents, states = torch.randn(2, 16, 2 * side, 2 * side), torch.randn(2, 333, TEXT)
    pooled, times = torch.randn(2, 64), torch.full((2,), 500.0)
    return lambda: network(latents, states, pooled, times), reader_of(network, side, guided=True)


def flux(side: int, layers: int) -> tuple[Call, Any]:
    """The scale is an input; a third of the blocks have two streams."""
    network = FluxTransformer2DModel(
        **HEADS,
        in_channels=64,
        num_layers=layers // 3,
        num_single_layers=layers - layers // 3,
        joint_attention_dim=TEXT,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(16, 24, 24),
    ).eval()
    places = torch.zeros(side, side, 3)
    places[..., 1], places[..., 2] = torch.arange(side)[:, None], torch.arange(side)
    call = {
        "hidden_states": torch.randn(1, side * side, 64),
        "encoder_hidden_states": torch.randn(1, 512, TEXT),
        "pooled_projections": torch.randn(1, 64),
        "timestep": torch.full((1,), 0.5),
        "img_ids": places.flatten(0, 1),
        "txt_ids": torch.zeros(512, 3),
        "guidance": torch.full((1,), 3.5),
    }
    return lambda: network(**call), reader_of(network, side, guided=False)


def pixart(side: int, layers: int) -> tuple[Call, Any]:
    """Guided: a batch of two."""
    network = PixArtTransformer2DModel(
        **HEADS,
        in_channels=4,
        out_channels=8,
        num_layers=layers,
        cross_attention_dim=WIDTH,
        sample_size=2 * side,
        caption_channels=TEXT,
        use_additional_conditions=False,
    ).eval()
    latents, states, times = torch.randn(2, 4, 2 * side, 2 * side), torch.randn(2, 300, TEXT), torch.full((2,), 500)
    conditions = {"resolution": None, "aspect_ratio": None}
    call = lambda: network(latents, states, times, added_cond_kwargs=conditions)  # noqa: E731
    return call, reader_of(network, side, guided=True)


NETWORKS: dict[str, Callable[[int, int], tuple[Call, Any]]] = {"sd3": sd3, "flux": flux, "pixart": pixart}

if __name__ == "__main__":
    main()
