"""The studio as an ASGI application: who holds the address may look and decide, and nothing else is let in or out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.dataset.schema import sample_name
from dataset_diffusion.errors import DatasetDiffusionError, DatasetError
from dataset_diffusion.studio.keeper import Keeper
from dataset_diffusion.studio.summary import describe, list_samples
from dataset_diffusion.studio.views import Views, picked

if TYPE_CHECKING:  # it loads torch, which the first view need not wait for
    from dataset_diffusion.studio.second_opinion import SecondOpinion

ASSETS = Path(__file__).parent / "assets"
HOSTS = ["127.0.0.1", "localhost"]
"""Names by which a browser may call; others are a foreign page that had its name resolve to this machine."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
_MAX_BODY = 2**28

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class SampleChange(BaseModel):
    """What the page says about one sample."""

    model_config = ConfigDict(extra="forbid")

    keep: bool | None = None
    label: LabelSettings | None = None


class Studio:
    """The page's questions and their answers.

    Args:
        views: the dataset's samples.
        keeper: what is decided about them.
        opinion: what a segmenter says of the pictures, if one is given.
    """

    def __init__(self, views: Views, keeper: Keeper, opinion: SecondOpinion | None = None) -> None:
        self.views, self.keeper, self.opinion = views, keeper, opinion
        # Before anybody waits for it: the first sample has libraries loaded that take seconds.
        views.sample(0)
        self._samples = to_json(list_samples(views.store), inf_nan_mode="null")

    def app(self, token: str) -> ASGIApp:
        """The application, all of whose addresses begin with a token that cannot be guessed."""
        inside = Mount(
            f"/{token}",
            routes=[
                Route("/dataset.json", answering(self.dataset)),
                Route("/samples.json", answering(self.samples)),
                Route("/decisions.json", answering(self.decisions)),
                Route("/disagreement.json", answering(self.disagreement)),
                Route("/label", self.label_all, methods=["PUT"]),
                Route("/samples/{index:int}/image", answering(self.image)),
                Route("/samples/{index:int}/label", answering(self.label)),
                Route("/samples/{index:int}/evidence", answering(self.evidence)),
                Route("/samples/{index:int}/heatmaps", answering(self.heatmaps)),
                Route("/samples/{index:int}/decision", self.decide, methods=["PUT"]),
                Route("/samples/{index:int}/correction", self.correct, methods=["PUT", "DELETE"]),
                Mount("/", StaticFiles(directory=ASSETS, html=True)),
            ],
        )
        return Starlette(
            routes=[inside],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
                Middleware(_WithHeaders),
            ],
            exception_handlers={DatasetDiffusionError: _refused, ValidationError: _refused, IndexError: _refused},
        )

    def dataset(self, request: Request) -> Response:
        store = self.views.store
        own = {"folder": str(self.keeper.folder), "dataset": str(store.location)}
        about = describe(store) | {"has_segmenter": self.opinion is not None, "paths": own}
        return JSONResponse(about)

    def samples(self, request: Request) -> Response:
        return Response(self._samples, media_type="application/json")

    def decisions(self, request: Request) -> Response:
        return JSONResponse(self.keeper.decisions.model_dump(mode="json"))

    def disagreement(self, request: Request) -> Response:
        return JSONResponse(list(self.opinion.disagreement) if self.opinion else [])

    def image(self, request: Request) -> Response:
        side = _number(request, "side")
        kind = "image/png" if side is None else "image/jpeg"
        return _kept(Response(self.views.image(_index(request), side), media_type=kind))

    def label(self, request: Request) -> Response:
        index, side, of = _index(request), _number(request, "side"), request.query_params.get("of", "stored")
        if of == "segmenter" and self.opinion is not None:
            found: UInt8[np.ndarray, "_ _"] | None = self.opinion.label(index, self.views.sample(index).image)
        else:
            found = self.keeper.corrected(index) if of == "corrected" else self.views.sample(index).label
        if found is None:
            raise DatasetError(f"sample {sample_name(index)} has no label map of this kind", got=of)
        label = picked(found, side)
        return _maps(label.tobytes(), label.shape)

    def evidence(self, request: Request) -> Response:
        asked = {name: request.query_params.get(name) for name in ("exponent", "refine")}
        settings = LabelSettings.model_validate({name: value for name, value in asked.items() if value is not None})
        index, side = _index(request), _number(request, "side")
        shape = picked(self.views.sample(index).label, side).shape
        return _kept(_maps(self.views.evidence(index, settings, side), shape))

    def heatmaps(self, request: Request) -> Response:
        values = self.views.heatmaps(_index(request), _number(request, "exponent") or 0)
        return _kept(_maps(values.tobytes(), values.shape))

    async def decide(self, request: Request) -> Response:
        change = SampleChange.model_validate_json(await _body(request))
        index = self._known(request)
        await run_in_threadpool(self.keeper.decide, index, keep=change.keep, label=change.label)
        return Response(status_code=204)

    async def label_all(self, request: Request) -> Response:
        body = await _body(request)
        settings = None if body == b"null" else LabelSettings.model_validate_json(body)
        await run_in_threadpool(self.keeper.label_all, settings)
        return Response(status_code=204)

    async def correct(self, request: Request) -> Response:
        index = self._known(request)
        if request.method == "DELETE":
            await run_in_threadpool(self.keeper.forget, index)
            return Response(status_code=204)
        body = await _body(request)
        shape = (await run_in_threadpool(self.views.sample, index)).label.shape
        if len(body) != np.prod(shape):
            raise DatasetError("a corrected label map has another size", got=f"{len(body)} pixels", expected=shape)
        await run_in_threadpool(self.keeper.correct, index, np.frombuffer(body, np.uint8).reshape(shape))
        return Response(status_code=204)

    def _known(self, request: Request) -> int:
        index = _index(request)
        if index >= len(self.views.store):
            raise IndexError(f"sample {index} of a dataset of {len(self.views.store)}")
        return index


def new_token() -> str:
    """A token that cannot be guessed, for an address."""
    return secrets.token_urlsafe(16)


def answering(ask: Callable[[Request], Response]) -> Endpoint:
    """An endpoint whose answer takes a while: it is found in a thread, so that others need not wait for it."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(ask, request)

    return endpoint


class _WithHeaders:
    """Lets no page but its own run, load, frame or read what is served."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                more = {**_HEADERS, "cache-control": "no-store"}
                new = ((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in given)
                message["headers"] = [*message["headers"], *new]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _index(request: Request) -> int:
    return int(request.path_params["index"])


def _number(request: Request, name: str) -> int | None:
    """A whole number above -1 of the address; None where it is not given."""
    value = request.query_params.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise DatasetError(f"bad {name} in the address", got=value, expected="a whole number")
    return max(int(value), 0 if name == "exponent" else 1)


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length", "0")) > _MAX_BODY:
        raise DatasetError("too much was sent", got=request.headers["content-length"])
    return await request.body()


def _maps(data: bytes, shape: tuple[int, ...]) -> Response:
    return Response(data, media_type="application/octet-stream", headers={"x-shape": json.dumps(list(shape))})


def _kept(response: Response) -> Response:
    """What a browser may keep: it follows from the dataset alone, and the address changes with every start."""
    response.headers["cache-control"] = "private, max-age=86400"
    return response


def _refused(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=404 if isinstance(error, IndexError) else 400)
