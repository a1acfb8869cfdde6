"""Units and the few integer helpers that memory arithmetic needs."""

from __future__ import annotations

KIB = 1024
MIB = 1024**2
GIB = 1024**3


def ceil_div(value: int, divisor: int) -> int:
    """Division that rounds up; both must be positive."""
    return -(-value // divisor)


def round_up(value: int, multiple: int) -> int:
    """The next multiple of `multiple` that is not below `value`."""
    return ceil_div(value, multiple) * multiple


def gib(value_bytes: float) -> str:
    """Bytes as a person reads them: `12.3 GiB`, with two digits below 10."""
    size = value_bytes / GIB
    return f"{size:.2f} GiB" if abs(size) < 10 else f"{size:.1f} GiB"


# Bytes per element. Four-bit formats are half a byte; scales are counted apart (weights.py).
DTYPE_BYTES = {
    "float64": 8.0,
    "float32": 4.0,
    "float": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "half": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "fp8_inc": 1.0,
    "fp8_ds_mla": 1.0,
    "int8": 1.0,
    "nvfp4": 0.5,
}
