"""Kill commands at random moments, break disks and files, and write docs/reliability.md about what came of it.

`--part` does some of it alone, `--part page` nothing but the page.

The same command again resumes; finished rounds are kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.killing import MOST_KILLS, NUM_IMAGES, TARGETS, Place, kill_in_a_round, uninterrupted
from benchmarks.mishaps import MISHAPS, happen
from benchmarks.pages import render
from tests.helpers.fuzzing import BYTES, READERS, SECONDS, fuzz

PARTS = ("fuzz", "kill", "mishaps")
ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/faults"), help="where everything happens")
    parser.add_argument("--rounds", type=int, default=12, help="of kills, of every command")
    parser.add_argument("--cases", type=int, default=400, help="damaged files of every kind that is read")
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=[*PARTS, "page"], metavar="PART")
    parser.add_argument("--commands", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="COMMAND")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md", help="the report")
    options = parser.parse_args()
    place = Place(options.work.resolve())
    place.folder.mkdir(parents=True, exist_ok=True)
    if "fuzz" in options.part:
        damage_files(place, options.cases)
    if {"kill", "mishaps"} & set(options.part):
        place.prepare()
    if "kill" in options.part:
        kill_commands(place, options.commands, options.rounds)
    if "mishaps" in options.part:
        for name in MISHAPS:
            _kept(place, {"mishap": name}) or _keep(place, happen(place, name))
    rounds, mishaps, fuzzed = (list(_results(place, key)) for key in ("round", "mishap", "reader"))
    options.page.write_text(page(rounds, mishaps, fuzzed))
    wrong = [one for one in rounds if not is_right(one)] + [one for one in (*mishaps, *fuzzed) if one["wrong"]]
    print(
        f"{len(rounds)} rounds, {len(mishaps)} mishaps, {sum(one['cases'] for one in fuzzed)} damaged files, "
        f"{len(wrong)} wrong; wrote {options.page}"
    )
    raise SystemExit(bool(wrong))


def damage_files(place: Place, cases: int) -> None:
    """Damage files of every kind so many times, each kind in a process of its own that is held to its bounds."""
    for name in READERS:
        if _kept(place, {"reader": name, "cases": cases}) is None:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                print(json.dumps(_keep(place, pool.submit(_damage, name, cases).result())), flush=True)


def _damage(name: str, cases: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {"reader": name, "cases": cases}
        try:
            return {**result, "refused": fuzz(name, Path(folder), cases, bounded=True), "wrong": ""}
        except BaseException as error:  # whatever a reader lets through is what is looked for
            return {**result, "refused": 0, "wrong": repr(error)[:500]}


def kill_commands(place: Place, commands: list[str], count: int) -> None:
    """All rounds that are not done yet."""
    wholes: dict[str, Any] = {}
    for number, name in product(range(count), commands):
        if _kept(place, {"round": number, "command": name}) is None:
            wholes[name] = wholes.get(name) or uninterrupted(place, name)
            print(json.dumps(_keep(place, kill_in_a_round(place, name, number, *wholes[name]))), flush=True)


def is_right(one: dict[str, Any]) -> bool:
    """Nothing half-written was left, and the command, run again, made the bytes of an uninterrupted one."""
    return one["ended"] and not one["differing"] and not any(kill["half_written"] for kill in one["kills"])


def page(rounds: list[dict[str, Any]], mishaps: list[dict[str, Any]], fuzzed: list[dict[str, Any]]) -> str:
    started = Counter(one["command"] for one in rounds)
    killed = Counter(one["command"] for one in rounds for _ in one["kills"])
    halfway = Counter(one["command"] for one in rounds for kill in one["kills"] if kill["files_left"])
    right = Counter(one["command"] for one in rounds if is_right(one))
    rows = [
        {"command": name, "rounds": number, "killed": killed[name], "halfway": halfway[name], "right": right[name]}
        for name, number in sorted(started.items(), key=lambda item: list(TARGETS).index(item[0]))
    ]
    return render(
        "reliability.md.j2",
        rows=rows,
        killed=killed.total(),
        rounds=len(rounds),
        most_kills=MOST_KILLS,
        mishaps=mishaps,
        fuzzed=fuzzed,
        cases=sum(one["cases"] for one in fuzzed),
        seconds=SECONDS,
        gib=BYTES // 2**30,
        images=NUM_IMAGES,
        machine=_machine(),
    )


def _machine() -> str:
    return f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def _keep(place: Place, result: dict[str, Any]) -> dict[str, Any]:
    with (place.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def _kept(place: Place, wanted: dict[str, Any]) -> dict[str, Any] | None:
    return next((one for one in _results(place) if wanted.items() <= one.items()), None)


def _results(place: Place, key: str = "") -> Iterator[dict[str, Any]]:
    """The results of all calls, those that have a key."""
    file = place.folder / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return (one for one in map(json.loads, lines) if not key or key in one)


if __name__ == "__main__":
    main()
