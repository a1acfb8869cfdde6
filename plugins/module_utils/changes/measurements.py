"""What engines were seen to take when they were first started, kept on their host beside the configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = ".measured.json"


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the measurements by the signatures of their configurations; nothing where there are none."""
    try:
        found = json.loads((folder / NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if "overhead_bytes" in value} if isinstance(found, dict) else {}


def add(folder: Path, new: Mapping[str, Mapping[str, Any]], *, dry: bool = False) -> list[str]:
    """Keep measurements of configurations that have none yet; return the signatures. The first start counts."""
    known = load(folder)
    added = sorted(set(new) - set(known))
    if added and not dry:
        temporary = folder / f"{NAME}.new"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump({**new, **known}, stream, indent=1, sort_keys=True)
        temporary.replace(folder / NAME)
    return added
