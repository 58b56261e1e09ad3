"""Pages of measured figures: a template beside the benchmark, and tables in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined


def render(template: str, **values: Any) -> str:
    """A page by the name of its template in this folder; templates call ``table`` on lists of rows."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals["table"] = table
    return environment.from_string((Path(__file__).parent / template).read_text()).render(values)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as a markdown table."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(_cell(value) for value in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
