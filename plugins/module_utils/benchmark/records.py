"""One request, as it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DIGITS = 6


@dataclass(frozen=True)
class Record:
    """What came of one request. Times in seconds; `start_seconds` counts from the beginning of the run."""

    stage: int
    number: int
    start_seconds: float
    latency_seconds: float
    send_lag_seconds: float = 0.0
    """How much later than planned it was sent: the client's own fault, in open loops only."""
    status: int | None = None
    failure: str | None = None
    """None when it succeeded, else a kind: connect, closed, timeout, protocol, http_429 …, error, cut, empty."""
    message: str = ""
    ttft_seconds: float | None = None
    itl_seconds: tuple[float, ...] = ()
    """Gaps between pieces of text."""
    last_text_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_from: str = "usage"
    """usage: the server said so; chunks: pieces of text were counted."""
    finish_reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.failure is None

    @property
    def end_seconds(self) -> float:
        """When it ended, from the beginning of the run."""
        return self.start_seconds + self.latency_seconds

    @property
    def tpot_seconds(self) -> float | None:
        """Time per output token after the first one, or None when there are not two."""
        if self.ttft_seconds is None or self.last_text_seconds is None or (self.output_tokens or 0) < 2:
            return None
        return (self.last_text_seconds - self.ttft_seconds) / ((self.output_tokens or 0) - 1)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, times rounded to microseconds."""
        return {
            "stage": self.stage,
            "number": self.number,
            "start_seconds": round(self.start_seconds, DIGITS),
            "latency_seconds": round(self.latency_seconds, DIGITS),
            "send_lag_seconds": round(self.send_lag_seconds, DIGITS),
            "ok": self.ok,
            "status": self.status,
            "failure": self.failure,
            "message": self.message,
            "ttft_seconds": _rounded(self.ttft_seconds),
            "tpot_seconds": _rounded(self.tpot_seconds),
            "itl_seconds": [round(gap, DIGITS) for gap in self.itl_seconds],
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "tokens_from": self.tokens_from,
            "finish_reason": self.finish_reason,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
