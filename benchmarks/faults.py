"""Kill commands at random moments, break disks and files, and write docs/reliability.md about what came of it.

The same command again resumes; finished rounds are kept.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.killing import NUM_IMAGES, TARGETS, Place, kill_once, uninterrupted
from benchmarks.mishaps import MISHAPS, happen
from benchmarks.pages import render

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/faults"), help="where everything happens")
    parser.add_argument("--rounds", type=int, default=100, help="commands killed, the chosen ones in turn")
    parser.add_argument("--commands", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="COMMAND")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md", help="the report")
    options = parser.parse_args()
    place = Place(options.work.resolve())
    place.prepare()
    rounds = kill_commands(place, options.commands, options.rounds)
    mishaps = [_kept(place, {"mishap": name}) or _keep(place, happen(place, name)) for name in MISHAPS]
    options.page.write_text(page(rounds, mishaps))
    wrong = [one for one in rounds if not is_right(one)] + [one for one in mishaps if one["wrong"]]
    print(f"{len(rounds)} rounds, {len(mishaps)} mishaps, {len(wrong)} wrong; wrote {options.page}")
    raise SystemExit(bool(wrong))


def kill_commands(place: Place, commands: list[str], count: int) -> list[dict[str, Any]]:
    """All rounds, those of earlier calls included."""
    wholes: dict[str, Any] = {}
    rounds = []
    for number, name in enumerate(islice(cycle(commands), count)):
        kept = _kept(place, {"round": number, "command": name})
        if kept is None:
            wholes[name] = wholes.get(name) or uninterrupted(place, name)
            kept = _keep(place, kill_once(place, name, number, *wholes[name]))
            print(json.dumps(kept), flush=True)
        rounds.append(kept)
    return rounds


def is_right(one: dict[str, Any]) -> bool:
    """Nothing half-written was left, and the command, run again, made the bytes of an uninterrupted one."""
    return one["same_bytes"] and not one["half_written"] and one["status"] == 0


def page(rounds: list[dict[str, Any]], mishaps: list[dict[str, Any]]) -> str:
    started = Counter(one["command"] for one in rounds)
    killed = Counter(one["command"] for one in rounds if one["killed"])
    halfway = Counter(one["command"] for one in rounds if one["killed"] and one["files_left"])
    right = Counter(one["command"] for one in rounds if is_right(one))
    rows = [
        {"command": name, "rounds": number, "killed": killed[name], "halfway": halfway[name], "right": right[name]}
        for name, number in started.items()
    ]
    return render(
        "reliability.md.j2", rows=rows, killed=killed.total(), mishaps=mishaps, images=NUM_IMAGES, machine=_machine()
    )


def _machine() -> str:
    return f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def _keep(place: Place, result: dict[str, Any]) -> dict[str, Any]:
    with (place.folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def _kept(place: Place, wanted: dict[str, Any]) -> dict[str, Any] | None:
    file = place.folder / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return next((one for one in map(json.loads, lines) if wanted.items() <= one.items()), None)


if __name__ == "__main__":
    main()
