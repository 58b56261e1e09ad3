"""A network of the user's own, by its import path: ``module:function``, which makes it from the number of labels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module

from torch import nn

from dataset_diffusion.errors import ModelError, first_line


class OwnNetworkError(ModelError):
    """The user's own code cannot be imported, fails, or makes something else than a segmenter."""


def is_import_path(name: str) -> bool:
    """Whether a segmenter's name is an import path.

    Example:
        >>> is_import_path("my_module:make"), is_import_path("unet-resnet18")
        (True, False)
    """
    return ":" in name


def import_network(path: str, num_classes: int) -> nn.Module:
    """What the callable at an import path makes of the number of labels, the background included.

    It is imported as any module is: it must be installed, or its folder be in PYTHONPATH.

    Raises:
        OwnNetworkError: no such module or callable, it fails, or it makes no module of torch.
    """
    make = _imported(path)
    try:
        network = make(num_classes)
    except Exception as error:
        raise OwnNetworkError(
            f"{path} fails",
            got=f"{type(error).__name__}: {first_line(error)}",
            expected=f"a torch.nn.Module from {path}({num_classes})",
        ) from error
    if not isinstance(network, nn.Module):
        raise OwnNetworkError(
            f"{path} makes no network", got=f"an object of {type(network).__name__}", expected="a torch.nn.Module"
        )
    return network


def _imported(path: str) -> Callable[[int], object]:
    module, _, name = path.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:  # a model folder from elsewhere must not call those
        raise OwnNetworkError("a segmenter is no part of Python", got=path, expected="module:function of your own")
    try:
        found = reduce(getattr, name.split("."), import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _import_error(path, error) from error
        raise OwnNetworkError(
            "the segmenter's module is not here",
            got=path,
            expected=f"a module {module} that is installed, or in a folder of PYTHONPATH",
            fix="PYTHONPATH=FOLDER before the command, with the folder that it is in",
        ) from error
    except Exception as error:  # whatever its code raises
        raise _import_error(path, error) from error
    if not callable(found):
        raise OwnNetworkError(f"{path} cannot be called", got=f"an object of {type(found).__name__}")
    return found


def _import_error(path: str, error: Exception) -> OwnNetworkError:
    return OwnNetworkError(
        f"cannot import {path}",
        got=f"{type(error).__name__}: {first_line(error)}",
        expected="module:function, as in my_module:make",
    )
