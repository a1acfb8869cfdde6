"""What would make a refused model fit. Each remedy is checked by the same arithmetic before it is named."""

from __future__ import annotations

from dataclasses import replace

from .decide import longest_context
from .estimate import Setup, estimate
from .hardware import KNOWN_CARDS
from .parallelism import valid_tensor_parallel_sizes
from .quantization import Quantization
from .units import GIB

MOST_GPUS = 16
# AWQ and GPTQ with groups of 128: four bits, a 16-bit scale and a 4-bit zero point per group.
FOUR_BITS = Quantization("awq", 4 + 20 / 128, 128)


def fits(setup: Setup) -> bool:
    """Whether one request of full length fits even if the estimate is off by its margin."""
    found = estimate(setup)
    return found.account.kv_floor_bytes > 0 and found.floor.concurrency >= 1


def remedies(setup: Setup, devices: int, replicas: int = 1) -> list[str]:
    """Changes that would each make the instance fit, cheapest first; `replicas` each have GPUs of their own.

    devices: the host's whole cards; 0 where there are MIG instances only, which cannot be joined.
    """
    found = []
    length = longest_context(setup, estimate(setup).account.kv_floor_bytes, 1.0, setup.max_model_len)
    if length >= 1024 and fits(replace(setup, max_model_len=length)):
        found.append(f"a shorter context: max_model_len: {length}")
    narrow = replace(setup, kv_cache_dtype="fp8")
    if setup.kv_cache_dtype == "auto" and fits(narrow):
        found.append("an 8-bit KV cache: kv_cache_dtype: fp8")
    if setup.utilization < 0.95 and fits(replace(setup, utilization=0.95)):
        found.append("a larger share of the card: gpu_memory_utilization: 0.95")
    lean = replace(setup, max_num_seqs=min(setup.max_num_seqs, 16), max_num_batched_tokens=2048)
    if lean != setup and fits(lean):
        found.append("a smaller batch: max_num_seqs: 16 and max_num_batched_tokens: 2048")
    if devices:
        found.extend(_more_gpus(setup, devices, replicas))
    if setup.shape.quantization.bits > 8:
        for label, quantization in (("FP8", Quantization("fp8", 8.0)), ("4-bit (AWQ or GPTQ)", FOUR_BITS)):
            smaller = replace(setup, checkpoint=None, shape=replace(setup.shape, quantization=quantization))
            if fits(smaller):
                found.append(f"a {label} checkpoint of the model")
                break
    larger = larger_card(setup)
    if larger:
        found.append(f"a larger GPU, such as {larger}")
    if devices and replicas == 1 and (devices > 1 or not found):
        found.extend(_more_hosts(setup, devices))
    return found


def larger_card(setup: Setup) -> str | None:
    """The smallest well-known data-centre card on which the instance fits."""
    cards = [card for card in KNOWN_CARDS.values() if card.vendor == "nvidia" and not card.unified]
    for card in sorted(cards, key=lambda card: card.cuda_gib):
        total = int(card.cuda_gib * GIB)
        is_larger = total > setup.total_bytes and not card.name.startswith("RTX")
        if is_larger and fits(replace(setup, total_bytes=total, capability=card.capability)):
            return card.name
    return None


def _more_gpus(setup: Setup, devices: int, replicas: int) -> list[str]:
    for size in valid_tensor_parallel_sizes(setup.shape, MOST_GPUS):
        if size > setup.tensor_parallel_size and fits(replace(setup, tensor_parallel_size=size)):
            needed = size * replicas
            where = "" if needed <= devices else f", which needs {needed} such GPUs (this host has {devices})"
            return [f"more GPUs: tensor_parallel_size: {size}{where}"]
    return []


def _more_hosts(setup: Setup, devices: int) -> list[str]:
    sizes = valid_tensor_parallel_sizes(setup.shape, devices)
    for hosts in (2, 3, 4, 6, 8):
        spread = replace(setup, tensor_parallel_size=sizes[-1], pipeline_parallel_size=hosts)
        if hosts <= len(setup.shape.layers) and fits(spread):
            return [
                f"{hosts} hosts like this one: nodes: {hosts}, pipeline_parallel_size: {hosts}, "
                f"tensor_parallel_size: {sizes[-1]}"
            ]
    return []


def remedy_text(found: list[str]) -> str:
    """The remedies as one sentence."""
    return "; or ".join(found) if found else "a smaller model: no change of settings makes this one fit"
