"""Which build of vLLM a host's cards want."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO = "auto"
BY_VENDOR = {"nvidia": "cuda", "amd": "rocm", "intel": "xpu"}


def variant(gpu: Mapping[str, Any], asked: str = AUTO) -> str:
    """Return the variant that is asked for, or that the cards of `ansible_facts.gpu` want; cpu where there are none.

    Cards of another vendor want one of its name, which nobody has.
    """
    if asked != AUTO:
        return asked
    vendor = str(gpu.get("vendor"))
    return BY_VENDOR.get(vendor, vendor) if gpu.get("devices") else "cpu"
