"""From the words of a command line to a command, and from what the parser refuses to one line.

tyro says what it refuses in objects, to a hook of its module ``_errors``. That module calls itself unstable, which is
why pyproject.toml asks for exactly one version of tyro. Nothing else of the package depends on it.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro
from pydantic import ValidationError
from tyro import _errors as refused

from dataset_diffusion.config import SettingsError, as_config_error
from dataset_diffusion.errors import ConfigError, did_you_mean

PROGRAM = "dataset-diffusion"
SHELLS = ("bash", "zsh", "fish")
WORDS_OF_ANY_COMMAND = {
    "--json": "print the result as one JSON object, and all else to stderr",
    "--quiet": "say nothing but the result and errors",
    "--debug": "show the traceback of an error",
}
"""What may stand anywhere on the command line, and what it does."""

Command = Callable[..., Any]


def parse(words: Sequence[str], commands: Mapping[str, Command]) -> Callable[[], Any]:
    """The command that words ask for, with its arguments bound. Help and completion scripts are printed at once.

    Args:
        words: the command line without the program's name, at least one.
        commands: every command by its name.

    Raises:
        ConfigError: no such command or option, a value that an option does not take, or a missing one.
    """
    if words[0] == "--completion":
        words = ["--tyro-print-completion", _shell(words[1:])]
    elif words[0] not in (*commands, "-h", "--help"):
        raise ConfigError(
            "no such command",
            got=words[0],
            expected=f"one of {', '.join(commands)}",
            fix=did_you_mean(words[0], commands),
        )

    def explain(event: refused.ParseErrorEvent) -> NoReturn:
        raise _explain(event, words, commands) from None

    try:
        with refused.on_parse_error(explain):
            bound: Callable[[], Any] = tyro.extras.subcommand_cli_from_dict(
                {name: _bind(command) for name, command in commands.items()},
                args=words,
                prog=PROGRAM,
                description="Type class names, get a segmentation dataset and a trained segmenter, with no annotation. "
                f"Any command takes {_listed(WORDS_OF_ANY_COMMAND)}. "
                "--version says which version this is, --completion bash (zsh, fish) prints what makes that shell "
                "complete commands and options.",
            )
    except SystemExit:  # the help or script is printed
        return lambda: None
    return bound


def _listed(words: Mapping[str, str]) -> str:
    *first, last = (f"{word} ({what})" for word, what in words.items())
    return f"{', '.join(first)} and {last}"


def _shell(words: Sequence[str]) -> str:
    if len(words) != 1 or words[0] not in SHELLS:
        raise ConfigError("no such shell", got=" ".join(words) or "none", expected=f"one of {', '.join(SHELLS)}")
    return words[0]


def _bind(command: Command) -> Command:
    @functools.wraps(command)
    def bound(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        _check_local(inspect.signature(command).bind(*args, **kwargs).arguments)
        return functools.partial(command, *args, **kwargs)

    return bound


def _check_local(arguments: dict[str, Any]) -> None:
    """Refuse a URL where a path is asked for: it would be taken for a folder named `s3:`."""
    for name, value in arguments.items():
        if isinstance(value, Path) and re.match(r"[a-z][a-z0-9+.-]+:/", str(value)):
            raise ConfigError(
                f"{name} is on this machine",
                got=str(value).replace(":/", "://", 1),
                expected="a local path",
                fix="copy it from or to that storage",
            )


def _explain(event: refused.ParseErrorEvent, words: Sequence[str], commands: Mapping[str, Command]) -> ConfigError:
    """What, got, expected and fix of a refusal."""
    fix = f"see {PROGRAM} {words[0]} --help"
    match event:
        case refused.UnrecognizedArgs(tokens=[token, *_]) | refused.MissingArgs(unrecognized_tokens=[token, *_]):
            # A misspelt option is missed as well; the spelling is what to correct.
            kind = "option" if token.startswith("-") else "argument"
            meant = _option_meant(token, commands[words[0]]) if kind == "option" else None
            return ConfigError(f"no such {kind}", got=token, fix=meant or fix)
        case refused.MissingArgs(missing_arguments=missing):
            return ConfigError(f"missing {' and '.join(_name(one.arg) for one in missing)}", fix=fix)
        case refused.BadValue(argument=argument, reason="too_few_values"):
            return ConfigError(f"{_name(argument)} has no value", fix=fix)
    shown = ConfigError("the command line cannot be read", got=" ".join(words), fix=fix)
    return _explain_value(event, words) or _explain_group() or shown


def _explain_value(event: refused.ParseErrorEvent, words: Sequence[str]) -> ConfigError | None:
    match event:
        case refused.InvalidChoice(argument=argument, value=value, choices=choices):
            expected = f"one of {', '.join(sorted(choices))}"
        case refused.InstantiationFailure(argument=argument) if argument is not None:
            value = _value_of(_name(argument), words)
            expected = "a number" if "FLOAT" in str(argument.lowered.metavar) else "a whole number"
        case _:
            return None
    return ConfigError(f"bad value of {_name(argument)}", got=value, expected=expected)


def _explain_group() -> ConfigError | None:
    """What pydantic refused in a group of options, such as ``--capture.every 0``, while tyro built the group."""
    failure = sys.exception()
    cause = failure.__context__ if failure else None
    refusal = cause.__cause__ if isinstance(cause, SettingsError) else None
    if not isinstance(refusal, ValidationError):
        return None
    *_, group = str(getattr(failure, "arg", "")).split(".")
    return as_config_error(refusal, group=group)


def _name(argument: Any) -> str:
    """An option or argument as the help calls it."""
    return str(argument.lowered.metavar if argument.is_positional() else argument.lowered.name_or_flags[0])


def _value_of(option: str, words: Sequence[str]) -> str:
    """What was given for an option, as ``--steps many`` or ``--steps=many``."""
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option:
            return value if equals else words[position + 1]
    return ""


def _option_meant(token: str, command: Command) -> str | None:
    """The command's option that a misspelt one is most like, if any is."""
    parser = tyro.extras.get_parser(command)
    options = {option.lstrip("-"): option for action in parser._actions for option in action.option_strings}
    fix = did_you_mean(token.partition("=")[0].lstrip("-"), options, likeness=0.65)
    return fix and fix.replace("mean ", "mean --")
