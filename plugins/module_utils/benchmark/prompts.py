"""What to ask: made-up prompts of a given length, or an operator's own from a file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .lengths import Lengths

# Common words, which most tokenizers know as one token each.
_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem "
    "hand part place case week company system program question work government number night point home water room "
    "mother area money story fact month lot right study book eye job word business issue side kind head house "
    "service friend father power hour game line end member law car city name team minute idea body information "
    "back parent face level office door health person art war history party result change morning reason research "
    "girl guy moment air teacher force education"
)
WORDS = tuple(_TEXT.split())
GUESSED_TOKENS_PER_WORD = 1.3
MIN_WORDS = 1


@dataclass(frozen=True)
class Prompt:
    """Something to ask, and how long the reply may be (None: as the settings say)."""

    text: str = ""
    messages: tuple[Any, ...] = ()
    output_tokens: int | None = None


@dataclass(frozen=True)
class Scale:
    """How many tokens the server makes of words: overhead + per_word × words."""

    per_word: float = GUESSED_TOKENS_PER_WORD
    overhead: float = 0.0
    measured: bool = False

    def words(self, tokens: int) -> int:
        """Return how many words come to this many tokens."""
        return max(MIN_WORDS, round((tokens - self.overhead) / self.per_word))


def measured_scale(short_words: int, short_tokens: int | None, long_words: int, long_tokens: int | None) -> Scale:
    """Return the scale from two prompts that the server counted, or a guess when it did not."""
    if not short_tokens or not long_tokens or long_tokens <= short_tokens:
        return Scale()
    per_word = (long_tokens - short_tokens) / (long_words - short_words)
    return Scale(per_word, max(0.0, short_tokens - per_word * short_words), measured=True)


def made_up_text(rng: random.Random, words: int) -> str:
    """Return random words: no two prompts begin alike, so that no server answers from its prefix cache."""
    return " ".join(rng.choices(WORDS, k=words))


def made_up_prompts(rng: random.Random, lengths: Lengths, scale: Scale) -> Iterator[Prompt]:
    """Yield prompts without end, of lengths drawn from a distribution."""
    while True:
        yield Prompt(made_up_text(rng, scale.words(lengths.draw(rng))))


def cycled(prompts: list[Prompt]) -> Iterator[Prompt]:
    """Yield prompts in their order, from the beginning again after the last one."""
    while True:
        yield from prompts


def read_prompts(path: Path, chat: bool) -> list[Prompt]:
    """Read prompts: JSON Lines of strings or objects, or plain text with one prompt a line.

    Objects have `prompt` or `messages`, and may have `output_tokens` (or `max_tokens`). Raises BenchmarkError when
    the file cannot be read, holds no prompt, or one of them is neither.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"prompts_file: cannot read {path}: {error}") from error
    as_json = path.suffix in {".jsonl", ".ndjson", ".json"}
    prompts = [
        _from_json(path, number, line, chat) if as_json else Prompt(line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not prompts:
        raise BenchmarkError(f"prompts_file: expected a prompt on each line, found none in {path}")
    return prompts


def _from_json(path: Path, number: int, line: str, chat: bool) -> Prompt:
    where = f"prompts_file: {path}, line {number}"
    try:
        data = json.loads(line)
    except ValueError as error:
        raise BenchmarkError(f"{where}: expected JSON, found {line[:80]!r}") from error
    if isinstance(data, str):
        data = {"prompt": data}
    if not isinstance(data, dict):
        raise BenchmarkError(f"{where}: expected an object or a string, found {line[:80]!r}")
    tokens = data.get("output_tokens", data.get("max_tokens"))
    if tokens is not None and (not isinstance(tokens, int) or tokens < 1):
        raise BenchmarkError(f"{where}: output_tokens: expected a number of tokens, found {tokens!r}")
    messages = data.get("messages")
    if isinstance(messages, list) and messages and chat:
        return Prompt(messages=tuple(messages), output_tokens=tokens)
    if isinstance(data.get("prompt"), str) and data["prompt"]:
        return Prompt(data["prompt"], output_tokens=tokens)
    keys = "prompt or messages" if chat else "prompt (a completion takes no messages)"
    raise BenchmarkError(f"{where}: expected {keys}, found {line[:80]!r}")
