"""GPUs that are only thought of: `4xH100-80GB` becomes four cards of the table of well-known ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import SizingError
from .hardware import KNOWN_CARDS, KnownCard, find_card

MOST_CARDS = 64
_COUNTED = re.compile(r"^\s*(?:(\d+)\s*[x×*]\s*)?(.*?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class ImaginedGpus:
    """A number of cards of one kind."""

    count: int
    card: KnownCard

    @property
    def label(self) -> str:
        """As a person writes it."""
        return f"{self.count} × {self.card.name}"


def parse_gpus(wanted: Any) -> list[ImaginedGpus]:
    """Read one description, several with commas between, or a list. Raises SizingError for unknown cards."""
    items: Iterable[Any] = wanted.split(",") if isinstance(wanted, str) else wanted
    if isinstance(items, (int, float)) or not isinstance(items, Iterable):
        items = [wanted]
    found = [_parse(str(item)) for item in items]
    if not found:
        raise SizingError("gpu names no card", expected="such as 4xH100-80GB", found=str(wanted), remedy="set gpu")
    return found


def _parse(text: str) -> ImaginedGpus:
    match = _COUNTED.match(text)
    count, name = (match.group(1), match.group(2)) if match else (None, text)
    number = int(count or 1)
    if not 1 <= number <= MOST_CARDS:
        raise SizingError(
            f"gpu: {text!r} is no number of cards for one host",
            expected=f"1 to {MOST_CARDS}",
            found=str(number),
            remedy="write the cards of one host, such as 4xH100-80GB; hosts share a model by nodes",
        )
    card = _exact(name) or find_card(name)
    if card is None:
        near = near_names(name)
        raise SizingError(
            f"gpu: no well-known card is named {name!r}",
            expected=f"such as {', '.join(near)}" if near else "one of " + ", ".join(KNOWN_CARDS),
            found=name or "nothing",
            remedy=f"set gpu: {number}x{near[0] if near else 'H100-80GB'}",
        )
    return ImaginedGpus(number, card)


def _exact(name: str) -> KnownCard | None:
    by_lower = {known.lower(): card for known, card in KNOWN_CARDS.items()}
    return by_lower.get(re.sub(r"[\s_]+", "-", name.strip().lower()))


def near_names(name: str) -> list[str]:
    """Cards that may have been meant: those that hold what was written, then those spelt alike."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    letters = {known: re.sub(r"[^a-z0-9]", "", known.lower()) for known in KNOWN_CARDS}
    holding = [known for known, spelt in letters.items() if plain and (plain in spelt or spelt in plain)]
    alike = difflib.get_close_matches(plain, list(letters.values()), 5, 0.5)
    family = re.match(r"[a-z]+\d*", plain)
    kin = [known for known, spelt in letters.items() if family and len(family[0]) > 1 and spelt.startswith(family[0])]
    found = [*holding, *(known for known, spelt in letters.items() if spelt in alike), *kin]
    return list(dict.fromkeys(found))[:6]
