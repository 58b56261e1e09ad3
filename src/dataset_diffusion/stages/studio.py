"""A page to look through a dataset, decide and correct, served until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import ConfigError

try:
    import uvicorn

    from dataset_diffusion.studio.app import Studio, new_token
except ImportError as error:
    raise ConfigError(
        "the studio is not installed", got=str(error), fix="pip install 'dataset-diffusion[studio]'"
    ) from error

from dataset_diffusion.studio.keeper import Keeper
from dataset_diffusion.studio.views import Views

LOOPBACK = "127.0.0.1"


def open_studio(
    source: Path,
    decisions: Path | None = None,
    *,
    model: Path | None = None,
    device: str | None = None,
    port: int = 0,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve the page to this machine alone, until Ctrl-C. What was decided before is gone on with.

    Args:
        source: a finished dataset.
        decisions: folder for `decisions.json` and corrected label maps; None takes ``NAME.decisions`` beside it.
        model: folder of a trained segmenter to compare the labels with; None compares with none.
        device: where the segmenter runs: ``cpu``, ``cuda``, …; None takes the best one there is.
        port: to listen on; 0 takes a free one.
        tell: is told the page's address once it answers.

    Raises:
        DatasetError: the dataset is unfinished, another studio keeps decisions in the folder, or they are about other
            pictures.
        ModelError: the segmenter cannot be loaded.
        ConfigError: the segmenter has other classes, or the port is taken.
    """
    store = DatasetStore.open(source)
    store.check_complete()
    folder = decisions or source.resolve().with_name(f"{source.resolve().name}.decisions")
    with _kept_if_used(folder), _listen(port) as listener:
        keeper = Keeper(store, folder)
        if keeper.decisions.label or keeper.decisions.own_labels:
            import_module("dataset_diffusion.labelling.assign")  # the first view needs it: torch, which takes seconds
        opinion = None
        if model is not None:
            from dataset_diffusion.segmentation.model_folder import load_segmenter
            from dataset_diffusion.studio.second_opinion import SecondOpinion

            opinion = SecondOpinion(store, load_segmenter(model, device))
        token = new_token()
        app = Studio(Views(store), keeper, opinion).app(token)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", server_header=False))
        with opinion or nullcontext():
            tell(f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/")
            server.run(sockets=[listener])


@contextmanager
def _kept_if_used(folder: Path) -> Iterator[None]:
    """Be the one that writes a folder, which stays where something was written."""
    try:
        with folder_lock(folder):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        raise ConfigError("the studio cannot listen", got=f"port {port}: {error}", fix="use another --port") from error
