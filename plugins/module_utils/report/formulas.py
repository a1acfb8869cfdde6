"""Every figure of a plan with the formula that it came from, in the plan's own numbers."""

from __future__ import annotations

from dataclasses import dataclass

from ..sizing.estimate import margin_bytes
from ..sizing.overheads import Overheads
from ..sizing.parallelism import stage_ranges
from ..sizing.plans import Plan
from .sizes import size


@dataclass(frozen=True)
class Figure:
    """kind: of the bar's segment, or empty. sign: + or − where it enters the account, = where it is a sum."""

    label: str
    value: str
    formula: str
    kind: str = ""
    sign: str = ""


def account(plan: Plan) -> list[Figure]:
    """The byte account of one rank; it adds up line by line."""
    setup, found = plan.setup, plan.estimate
    money = found.account
    where = "host" if setup.is_cpu else "GPU"
    figures = [
        Figure(f"Memory of the {where}", size(money.total_bytes), _total(plan)),
        Figure("Left to others, and free", size(money.free_bytes), _free(plan), "free", "−"),
        Figure("Budget of the engine", size(money.budget_bytes), _budget(plan), "", "="),
        Figure("Weights", size(money.weights_bytes), _weights(plan), "weights", "−"),
        Figure("Activation peak", size(money.activation_bytes), _activation(plan), "activation", "−"),
        Figure("CUDA graphs", size(money.cuda_graphs_bytes), _graphs(plan), "graphs", "−"),
        Figure("Context and libraries", size(money.non_torch_bytes), _other(plan), "other", "−"),
        Figure("KV cache, expected", size(money.kv_expected_bytes), _cache(plan), "kv", "="),
        Figure("Of it certain", size(max(0, money.kv_floor_bytes)), _floor(plan), "margin"),
    ]
    return [figure for figure in figures if not (setup.is_cpu and figure.kind == "graphs")]


def results(plan: Plan) -> list[Figure]:
    """What the cache holds."""
    found, setup = plan.estimate, plan.setup
    cache, blocks = found.layout, found.expected.blocks
    return [
        Figure(
            "KV cache of one block",
            size(cache.block_bytes) if cache.block_bytes >= 1 << 26 else f"{cache.block_bytes / 1024:,.0f} KiB",
            _block(plan),
        ),
        Figure(
            "Blocks",
            f"{blocks:,}",
            f"⌊{size(found.account.kv_expected_bytes)} ÷ {cache.block_bytes:,} bytes⌋ = {blocks:,}",
        ),
        Figure(
            "Requests of full length at once",
            f"{found.expected.concurrency:.2f}",
            f"{blocks:,} blocks ÷ {cache.blocks_per_request:,} blocks for {setup.max_model_len:,} tokens; "
            f"{found.floor.concurrency:.2f} are certain",
        ),
        Figure(
            "KV cache tokens",
            f"{found.expected.tokens:,}",
            f"as the engine will print it: {found.expected.concurrency:.2f} × {setup.max_model_len:,}; "
            f"at least {found.floor.tokens:,}",
        ),
    ]


def _total(plan: Plan) -> str:
    if plan.setup.is_cpu:
        return "the host's RAM"
    return "as CUDA reports it, less than nvidia-smi shows by what the driver keeps; of the smallest GPU used"


def _free(plan: Plan) -> str:
    money = plan.estimate.account
    who = "the system and other processes" if plan.setup.is_cpu else "CUDA contexts, other processes, fragmentation"
    return f"{size(money.total_bytes)} − {size(money.budget_bytes)}: {who}"


def _budget(plan: Plan) -> str:
    setup, money = plan.setup, plan.estimate.account
    if setup.is_cpu:
        return "weights + activation peak + processes + KV cache, which has a size of its own on a CPU"
    if setup.kv_cache_memory_bytes is not None:
        return "weights + overheads + kv_cache_memory_bytes, as the operator set it"
    return f"gpu_memory_utilization × memory: {setup.utilization:g} × {size(money.total_bytes)} = {size(money.budget_bytes)}"


def _weights(plan: Plan) -> str:
    setup, weights = plan.setup, plan.estimate.weights
    ranks = setup.tensor_parallel_size
    stages = f", of the fullest of {setup.pipeline_parallel_size} stages" if setup.pipeline_parallel_size > 1 else ""
    divided = (weights.rank_bytes - weights.replicated_bytes) * ranks
    return (
        f"divided ÷ tensor_parallel_size + whole on every rank: {size(divided)} ÷ {ranks} + "
        f"{size(weights.replicated_bytes)}{stages}; from {weights.source}"
    )


def _activation(plan: Plan) -> str:
    setup = plan.setup
    if setup.measured_overhead_bytes is not None:
        return "measured at an earlier start, together with graphs and libraries"
    return (
        "the largest of three peaks: layers at "
        f"{setup.max_num_batched_tokens:,} tokens × hidden size {setup.shape.hidden:,}, sampling "
        f"{setup.max_num_seqs:,} sequences × vocabulary {setup.shape.vocab:,}, and a first start's compilation"
    )


def _graphs(plan: Plan) -> str:
    if plan.setup.enforce_eager:
        return "none: enforce_eager"
    return f"what vLLM {plan.setup.version} subtracts for captured graphs"


def _other(plan: Plan) -> str:
    setup = plan.setup
    if setup.is_cpu:
        return "Python processes with PyTorch: API server, engine core, workers"
    ranks = setup.tensor_parallel_size
    comms = f", and communicators of {ranks} ranks" if ranks > 1 else ""
    return f"outside of PyTorch's allocator: kernels, library workspaces{comms}"


def _cache(plan: Plan) -> str:
    money = plan.estimate.account
    if plan.setup.is_cpu or plan.setup.kv_cache_memory_bytes is not None:
        return "a size of its own: VLLM_CPU_KVCACHE_SPACE" if plan.setup.is_cpu else "kv_cache_memory_bytes"
    return (
        f"{size(money.budget_bytes)} − {size(money.weights_bytes)} − {size(money.activation_bytes)} − "
        f"{size(money.cuda_graphs_bytes)} − {size(money.non_torch_bytes)} = {size(money.kv_expected_bytes)}"
    )


def _floor(plan: Plan) -> str:
    setup, money = plan.setup, plan.estimate.account
    if setup.is_cpu or setup.kv_cache_memory_bytes is not None:
        return "all of it: its size is set, not left over"
    needs = Overheads(money.activation_bytes, money.cuda_graphs_bytes, money.non_torch_bytes)
    margin = margin_bytes(setup, needs, plan.estimate.weights)
    return (
        f"expected − margin {size(margin)}: 1 % of the budget, 10 % of the overheads, and more where a first start "
        "compiles or the weights are estimated; decisions rest on this floor"
    )


def _block(plan: Plan) -> str:
    setup, shape, cache = plan.setup, plan.setup.shape, plan.estimate.layout
    tokens = cache.tokens_per_block
    kinds = {layer.cache.kind for layer in shape.layers}
    owned = max(stage_ranges(shape, setup.pipeline_parallel_size), key=len)
    first = shape.layers[0].cache
    width = "auto" if setup.kv_cache_dtype == "auto" else setup.kv_cache_dtype
    dtype = setup.dtype if width == "auto" else width
    if kinds == {"full"} and len({layer.cache for layer in shape.layers}) == 1:
        heads = max(1, first.kv_heads // setup.tensor_parallel_size)
        return (
            f"{tokens} tokens × {len(owned)} layers × {heads} KV head(s) of a rank × "
            f"({first.head_dim} + {first.value_dim}) × bytes of {dtype}"
        )
    if kinds == {"mla"}:
        return (
            f"{tokens} tokens × {len(owned)} layers × {first.head_dim} latent values × bytes of {dtype}, "
            "the same on every rank"
        )
    return f"layers of kinds {', '.join(sorted(kinds))} in {cache.groups} group(s) of equal pages; docs/sizing.md"
