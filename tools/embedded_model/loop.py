"""One training loop for both networks: resumable, the same on one process or several (torchrun), CPU or GPU."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))
DEVICE = torch.device("cuda", RANK) if torch.cuda.is_available() else torch.device("cpu")
WARMUP_STEPS = 200
DECAY_SHARE = 0.25
"""The last share of the steps, over which the learning rate falls to zero."""

EMA_DECAY = 0.999


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


def train(
    network: nn.Module,
    draw_batch: Callable[[torch.Generator], tuple[torch.Tensor, ...]],
    *,
    steps: int,
    peak_learning_rate: float,
    checkpoint: Path,
    seed: int,
    checkpoint_every: int = 200,
) -> nn.Module:
    """Train ``network``, whose forward returns the loss of a batch, and return its moving average.

    Continues from ``checkpoint`` if that exists, writes it every ``checkpoint_every`` steps, and appends one JSON line
    every 20 steps to its ``.jsonl`` sibling. Learns in bfloat16 autocast with float32 weights.
    """
    network = network.to(DEVICE)
    average = AveragedModel(network, avg_fn=_warmed_up_average, use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak_learning_rate, betas=(0.9, 0.98), weight_decay=1e-2)
    first_step, seconds = _resume(checkpoint, network, average, optimizer)
    parallel = DistributedDataParallel(network) if WORLD_SIZE > 1 else network
    started, recent = time.monotonic() - seconds, []
    for step in range(first_step, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak_learning_rate)
        batch = [tensor.to(DEVICE) for tensor in draw_batch(batch_generator(seed, step))]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = parallel(*batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        recent.append(loss.item())
        if RANK == 0 and (step + 1) % 20 == 0:
            row = {"step": step + 1, "loss": round(sum(recent) / len(recent), 5), "lr": optimizer.param_groups[0]["lr"]}
            _log(checkpoint, row | {"seconds": round(time.monotonic() - started)})
            recent = []
        if RANK == 0 and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
            state = {"step": step + 1, "seconds": time.monotonic() - started, "network": network.state_dict()}
            state |= {"average": average.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    return average.module.eval()


def _warmed_up_average(average: torch.Tensor, value: torch.Tensor, updates: torch.Tensor | int) -> torch.Tensor:
    decay = min(EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    return average * decay + value * (1 - decay) if average.is_floating_point() else value


def _resume(
    checkpoint: Path, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load ``checkpoint`` if there is one; return the step and the seconds of training so far."""
    if not checkpoint.exists():
        return 0, 0.0
    state = torch.load(checkpoint, map_location=DEVICE, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"]


def _log(checkpoint: Path, row: dict[str, float]) -> None:
    print(checkpoint.stem, row, flush=True)
    with checkpoint.with_suffix(".jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
