"""How long prompts and replies are."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import BenchmarkError

DISTRIBUTIONS = ("fixed", "uniform", "normal", "lognormal")
ATTEMPTS = 100


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths in tokens, cut off at both ends."""

    distribution: str
    mean: float
    stdev: float
    min: int
    max: int

    def draw(self, rng: random.Random) -> int:
        """Draw a length within the limits."""
        for _attempt in range(ATTEMPTS):
            value = round(self._draw(rng))
            if self.min <= value <= self.max:
                return value
        # So far off the limits that a cut-off draw would take for ever.
        return min(self.max, max(self.min, value))

    def describe(self) -> str:
        """Return the distribution in words."""
        if self.distribution == "fixed":
            return f"{self.mean:g} tokens"
        if self.distribution == "uniform":
            return f"{self.min} to {self.max} tokens, uniform"
        return f"{self.distribution}, mean {self.mean:g}, standard deviation {self.stdev:g}, {self.min} to {self.max}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def _draw(self, rng: random.Random) -> float:
        if self.distribution == "fixed":
            return self.mean
        if self.distribution == "uniform":
            return rng.randint(self.min, self.max)
        if self.distribution == "normal":
            return rng.gauss(self.mean, self.stdev)
        # Parameters of the underlying normal distribution, from the mean and deviation of the lengths themselves:
        # https://en.wikipedia.org/wiki/Log-normal_distribution#Arithmetic_moments
        variance = math.log1p((self.stdev / self.mean) ** 2)
        return rng.lognormvariate(math.log(self.mean) - variance / 2, math.sqrt(variance))


def read_lengths(name: str, given: Mapping[str, Any] | None, default_mean: int) -> Lengths:
    """Return the distribution that an option describes. Raises BenchmarkError when it describes none."""
    given = {key: value for key, value in (given or {}).items() if value is not None}
    spread = float(given.get("stdev", 0))
    limits = "min" in given and "max" in given
    guess = "normal" if spread else "uniform" if limits and "mean" not in given else "fixed"
    distribution = str(given.get("distribution", guess))
    if distribution == "uniform":
        if not limits:
            raise BenchmarkError(f"{name}: expected min and max for a uniform distribution, found {given}")
        given.setdefault("mean", (given["min"] + given["max"]) / 2)
    mean = float(given.get("mean", default_mean))
    if distribution == "fixed":
        given["min"] = given["max"] = round(mean)
    least = int(given.get("min", 1))
    most = int(given.get("max", max(least, round(mean + 4 * spread))))
    if not 1 <= least <= most or not least <= mean <= most or spread < 0:
        raise BenchmarkError(
            f"{name}: expected 1 ≤ min ≤ mean ≤ max and stdev ≥ 0, "
            f"found min {least}, mean {mean:g}, max {most}, stdev {spread:g}"
        )
    if distribution in {"normal", "lognormal"} and not spread:
        raise BenchmarkError(f"{name}: expected stdev > 0 for a {distribution} distribution, found {spread:g}")
    return Lengths(distribution, mean, spread, least, most)
