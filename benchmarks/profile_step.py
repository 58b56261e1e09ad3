"""Where does a denoising step's time go, and what is its floor? FLOPs and bytes are counted; `--time` also measures.

Counting runs on shapes alone, so it takes seconds. Bytes are what the operations read and write, each by itself, attention
being one operation: the traffic of plain PyTorch. The floor of the traffic is the weights, read once.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from tests.helpers.architectures import ARCHITECTURES, build_unet, build_vae
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dataset_diffusion.diffusion.capture import AttentionCapture
from dataset_diffusion.diffusion.families.unet import choose_layers
from dataset_diffusion.diffusion.specs import MODELS

VIEWS = {
    "view",
    "_unsafe_view",
    "transpose",
    "t",
    "permute",
    "expand",
    "unsqueeze",
    "slice",
    "split",
    "detach",
    "alias",
}
TOKENS = 77


class TrafficCounter(TorchDispatchMode):
    """Bytes that the operations inside a ``with`` block read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.namespace != "prim" and func.__name__.split(".")[0] not in VIEWS:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="sd21-base", choices=ARCHITECTURES, help="architecture")
    parser.add_argument("--size", type=int, default=512, help="image side, pixels")
    parser.add_argument("--batch-size", type=int, default=1, help="images drawn at once; guidance doubles it")
    parser.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16")
    parser.add_argument("--device", default="cpu", help="where to time")
    parser.add_argument("--time", action="store_true", help="time one step too, with and without capture")
    parser.add_argument("--thinner", type=int, default=1, help="divide the channels, to try the benchmark itself")
    options = parser.parse_args()
    torch.set_default_dtype(getattr(torch, options.dtype))
    with FakeTensorMode():
        unet, decode = make_parts(options, "cpu")
        parts = {
            "UNet, one step": (lambda: run_unet(unet, options, "cpu"), unet),
            "the same with capture": (lambda: run_unet(unet, options, "cpu", capture=True), unet),
            "image decoder": (decode[0], decode[1]),
        }
        print("| part | GFLOP | weights, GB | traffic unfused, GB |\n|---|---|---|---|")
        for name, (run, network) in parts.items():
            flops, traffic = count(run)
            weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
            print(f"| {name} | {flops / 1e9:,.1f} | {weights / 1e9:.2f} | {traffic / 1e9:.2f} |")
    if options.time:
        time_step(options)


def make_parts(options: argparse.Namespace, device: str) -> tuple[Any, tuple[Callable[[], Any], Any]]:
    """The UNet, and the decoding of a batch of latents with the network that does it."""
    with torch.device(device):
        unet, vae = build_unet(options.model, options.thinner), build_vae(options.model, options.thinner)
        latents = torch.zeros(options.batch_size, 4, options.size // 8, options.size // 8)
    return unet, (lambda: vae.decode(latents), vae.decoder)


@torch.no_grad()
def run_unet(unet: Any, options: argparse.Namespace, device: str, capture: bool = False) -> None:
    """One guided call of the UNet, read or not."""
    side, dtype, batch = options.size // 8, getattr(torch, options.dtype), 2 * options.batch_size
    states = torch.zeros(batch, TOKENS, unet.config.cross_attention_dim, device=device, dtype=dtype)
    latents = torch.zeros(batch, 4, side, side, device=device, dtype=dtype)
    spec = MODELS[options.model]
    reader: Any = nullcontext()
    if capture:
        native = spec.height // 8, spec.width // 8
        reader = AttentionCapture(
            unet,
            states[options.batch_size :],
            cross_attention=choose_layers(unet, "attn2", spec.cross_attention, native, (side, side)),
            self_attention=choose_layers(unet, "attn1", spec.self_attention, native, (side, side)),
            guided=True,
        )
    extra = None
    if unet.config.addition_embed_type == "text_time":
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        extra = {
            "text_embeds": torch.zeros(batch, pooled, device=device, dtype=dtype),
            "time_ids": torch.zeros(batch, 6, device=device, dtype=dtype),
        }
    with reader:
        unet(latents, torch.zeros((), device=device), states, added_cond_kwargs=extra)


@torch.no_grad()
def count(run: Callable[[], Any]) -> tuple[int, int]:
    """FLOPs (a multiply-add is two) and bytes of a run."""
    with FlopCounterMode(display=False) as flops:
        run()
    with TrafficCounter() as traffic:
        run()
    return flops.get_total_flops(), traffic.bytes


def time_step(options: argparse.Namespace) -> None:
    """Seconds of a step by kind of operation, and by how much reading attention lengthens it."""
    unet, _ = make_parts(options, options.device)
    gpu = options.device != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    run_unet(unet, options, options.device)
    for capture in (False, True):
        started = time.perf_counter()
        with profile(activities=activities) as profiled:
            run_unet(unet, options, options.device, capture=capture)
            if gpu:
                torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        spent: Counter[str] = Counter()
        for event in profiled.key_averages():
            spent[event.key] += (event.self_device_time_total if gpu else event.self_cpu_time_total) / 1e6
        print(f"\n{'with' if capture else 'without'} capture: {seconds:.3f} s\n\n| operation | share |\n|---|---|")
        for name, its in spent.most_common(8):
            print(f"| {name} | {its / sum(spent.values()):.1%} |")


if __name__ == "__main__":
    main()
