"""One training loop for both networks: resumable, the same on one process or several (torchrun), CPU or GPU."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
DEVICE = torch.device("cuda", RANK) if torch.cuda.is_available() else torch.device("cpu")
WARMUP_STEPS = 200
DECAY_SHARE = 0.25
"""The last share of the steps, over which the learning rate falls to zero."""

EMA_DECAY = 0.999

MIXED_PRECISION = DEVICE.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
"""Whether bfloat16 is fast here; processors without it are some ten times slower in it than in float32."""


def init_processes() -> None:
    """Join the other processes, if torchrun started several."""
    if WORLD_SIZE > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if DEVICE.type == "cuda" else "gloo")


def wait_for_all() -> None:
    """Return when every process has come here."""
    if WORLD_SIZE > 1:
        dist.barrier()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, constant, linear decay: the number of steps may be raised until the decay has begun."""
    decay_steps = max(1, int(steps * DECAY_SHARE))
    return peak * min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / decay_steps)


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step of one process: nothing depends on where the training was interrupted."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 64 + RANK)


def adamw(network: nn.Module, learning_rate: float) -> list[Optimizer]:
    """AdamW for every weight."""
    return [AdamW(network.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=1e-2)]


def muon(network: nn.Module, learning_rate: float) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of transformer blocks, AdamW for everything else.

    Muon's step is scaled to the size of AdamW's, so that one learning rate fits both.
    """
    matrices, others = [], []
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            (matrices if weight.ndim == 2 and "transformer_blocks" in name and ".norm1" not in name else others).append(
                weight
            )
    return [
        Muon(matrices, lr=learning_rate, momentum=0.95, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(
    network: nn.Module,
    draw_batch: Callable[[torch.Generator], tuple[torch.Tensor, ...]],
    *,
    steps: int,
    peak_learning_rate: float,
    checkpoint: Path,
    seed: int,
    build_optimizers: Callable[[nn.Module, float], list[Optimizer]] = adamw,
    checkpoint_every: int = 200,
) -> nn.Module:
    """Train ``network``, whose forward returns the loss of a batch, and return its moving average.

    Continues from ``checkpoint`` if that exists, writes it every ``checkpoint_every`` steps, and appends one JSON line
    every 20 steps to its ``.jsonl`` sibling. Weights are float32, the computation bfloat16 where that is fast.
    """
    network = network.to(DEVICE)
    average = AveragedModel(network, avg_fn=_warmed_up_average, use_buffers=True)
    optimizers = build_optimizers(network, peak_learning_rate)
    first_step, seconds = _resume(checkpoint, network, average, optimizers)
    parallel = DistributedDataParallel(network) if WORLD_SIZE > 1 else network
    started, recent = time.monotonic() - seconds, []
    for step in range(first_step, steps):
        rate = learning_rate(step, steps, peak_learning_rate)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        batch = [tensor.to(DEVICE) for tensor in draw_batch(batch_generator(seed, step))]
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=MIXED_PRECISION):
            loss = parallel(*batch)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update_parameters(network)
        recent.append(loss.item())
        if RANK == 0 and (step + 1) % 20 == 0:
            row = {"step": step + 1, "loss": round(sum(recent) / len(recent), 5), "lr": rate}
            _log(checkpoint, row | {"seconds": round(time.monotonic() - started)})
            recent = []
        if RANK == 0 and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
            state = {"step": step + 1, "seconds": time.monotonic() - started, "network": network.state_dict()}
            state |= {"average": average.state_dict(), "optimizers": [one.state_dict() for one in optimizers]}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    return average.module.eval()


def _warmed_up_average(average: torch.Tensor, value: torch.Tensor, updates: torch.Tensor | int) -> torch.Tensor:
    decay = min(EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    return average * decay + value * (1 - decay) if average.is_floating_point() else value


def _resume(
    checkpoint: Path, network: nn.Module, average: AveragedModel, optimizers: Sequence[Optimizer]
) -> tuple[int, float]:
    """Load ``checkpoint`` if there is one; return the step and the seconds of training so far."""
    if not checkpoint.exists():
        return 0, 0.0
    state = torch.load(checkpoint, map_location=DEVICE, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seconds"]


def _log(checkpoint: Path, row: dict[str, float]) -> None:
    print(checkpoint.stem, row, flush=True)
    with checkpoint.with_suffix(".jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
