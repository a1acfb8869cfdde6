"""Which driver and which card an engine's wheel needs: all version rules in one place."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]

# vLLM's minimum, in its installation guide (older ones said 7.0).
VLLM_MIN_COMPUTE_CAPABILITY = "7.5"
# bfloat16 since Ampere; FP8 for weights and activations since Ada.
FEATURE_MIN_COMPUTE_CAPABILITY = {"bfloat16": "8.0", "fp8": "8.9"}


@dataclass(frozen=True)
class CudaMajor:
    """What every CUDA release of one major version needs: NVIDIA's minor version compatibility."""

    min_driver: str
    min_compute_capability: str
    dropped: str | None = None


CUDA_MAJORS = {
    12: CudaMajor("525.60.13", "5.0"),
    13: CudaMajor("580.65.06", "7.5", "Maxwell, Pascal and Volta"),
}

# (first vLLM version, CUDA of the wheel on PyPI), newest first. 0.20: torch 2.11, 0.27.1: 2.13, 0.33: 2.14.
VLLM_WHEELS: tuple[tuple[str, str], ...] = (
    ("0.20", "13.0"),
    ("0", "12.8"),
)
LAST_VLLM_FOR_CUDA_12 = "0.19.1"
# vLLM's own wheel index has builds of current versions for drivers that only know CUDA 12.
CUDA_12_BUILD = "12.9"


def parse(text: str) -> Version:
    """Return «580.95.05» as (580, 95, 5), for comparison; a suffix such as «rc1» is left out.

    Raises ValueError when the text does not begin with a number.
    """
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    if not match:
        raise ValueError(f"expected a version such as 0.33.0; found {text!r}")
    return tuple(int(part) for part in match[0].split("."))


def at_least(found: str, wanted: str) -> bool:
    """Compare versions number by number, missing ones counting as 0."""
    one, other = parse(found), parse(wanted)
    length = max(len(one), len(other))
    return one + (0,) * (length - len(one)) >= other + (0,) * (length - len(other))


def cuda_of_vllm(version: str) -> str:
    """Return the CUDA version that vLLM's wheel on PyPI is built with."""
    return next(cuda for first, cuda in VLLM_WHEELS if at_least(version, first))
