"""Decisions that every kind of host shares: dtype, quantization, batch sizes, context length."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .errors import SizingError
from .estimate import Setup, stage_layout
from .kv_cache import CacheLayout, largest_length
from .parallelism import stage_ranges, tensor_parallel_problem
from .plans import ModelFiles
from .profiles import Profile
from .quantization import MINIMUM_CAPABILITY, Quantization
from .shape import ModelShape
from .wishes import Wish

# Context lengths are chosen in steps that people recognise, and at least one block.
LENGTH_STEPS = (1024, 128)
# Without a limit of its own a model gets this context.
FALLBACK_LENGTH = 32768
# Where the operator does not say how long: full-length requests are counted at this length.
USEFUL_LENGTH = 8192

_DTYPE_NAMES = {
    **{name: name for name in ("bfloat16", "float16", "float32")},
    **{"half": "float16", "float": "float32", "fp16": "float16", "bf16": "bfloat16"},
}
# On-the-fly formats of vLLM's --quantization, as bits per weight.
_ONLINE_QUANTIZATION = {"fp8": 8.0, "bitsandbytes": 4.5, "experts_int8": 8.0}


@dataclass
class Notes:
    """Reasons and warnings as they come up."""

    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def because(self, sentence: str) -> None:
        """A choice of the plan's."""
        self.reasons.append(sentence)

    def warn(self, sentence: str) -> None:
        """Something the operator should know."""
        self.warnings.append(sentence)


def choose_dtype(wish: Wish, shape: ModelShape, capability: tuple[int, int] | None, notes: Notes) -> str:
    """The dtype to serve in. Raises SizingError when the card cannot compute in the one asked for.

    bfloat16 needs compute capability 8.0; `auto` never means float32, as in vLLM.
    """
    wished = wish.text("dtype")
    wished = _DTYPE_NAMES.get(wished or "", wished)
    has_bfloat16 = capability is None or capability >= (8, 0)
    if wished not in (None, "auto", *_DTYPE_NAMES.values()):
        raise SizingError(
            f"{wish.name}: vLLM does not compute in {wished}",
            expected="auto | " + " | ".join(sorted(set(_DTYPE_NAMES.values()))),
            found=str(wished),
            remedy="correct dtype, or leave it out; formats of weights belong into quantization",
        )
    if wished not in (None, "auto"):
        if wished == "bfloat16" and not has_bfloat16 and capability:
            raise SizingError(
                f"{wish.name}: this card does not compute in bfloat16",
                expected="compute capability 8.0 or higher",
                found=".".join(map(str, capability)),
                remedy="set dtype: float16, or leave it out",
            )
        notes.because(f"dtype {wished}: set by the operator.")
        return str(wished)
    if not has_bfloat16 and capability:
        notes.because(
            f"dtype float16: bfloat16 needs compute capability 8.0, the card has {capability[0]}.{capability[1]}."
        )
        return "float16"
    if shape.dtype == "float32":
        notes.because("dtype bfloat16: the checkpoint is float32, which would double every figure.")
        return "bfloat16"
    notes.because(f"dtype {shape.dtype}: the checkpoint's own.")
    return shape.dtype


def choose_quantization(wish: Wish, files: ModelFiles, capability: tuple[int, int] | None, notes: Notes) -> ModelFiles:
    """The model as it will be loaded. Raises SizingError when the card has no kernels for its format."""
    online = wish.text("quantization")
    own = files.shape.quantization
    if online in _ONLINE_QUANTIZATION and not own.is_quantized:
        quantization = Quantization(online, _ONLINE_QUANTIZATION[online], minimum_capability=MINIMUM_CAPABILITY[online])
        notes.because(f"quantization {online}: weights are narrowed while loading, as the operator asked.")
        own = quantization
        files = ModelFiles(replace(files.shape, quantization=quantization), None)
    elif own.is_quantized:
        notes.because(f"quantization {own.method}: {own.bits:.3g} bits per weight, by the checkpoint's config.json.")
    if capability and own.minimum_capability and capability < own.minimum_capability:
        raise SizingError(
            f"{wish.name}: {own.method} weights need a newer card",
            expected=f"compute capability {own.minimum_capability[0]}.{own.minimum_capability[1]} or higher",
            found=f"{capability[0]}.{capability[1]}",
            remedy="serve another checkpoint of the model (AWQ and GPTQ run on 7.5 and higher)",
        )
    return files


_EXPERT_PARALLEL = "enable-expert-parallel"
# Options of the engine that take memory which is not predicted.
_UNPREDICTED = {
    "speculative-config": "speculative decoding loads a draft model and caches for it too",
    "enable-lora": "LoRA adapters take memory by their number and rank",
    "cpu-offload-gb": "part of the weights stays in RAM",
    "kv-transfer-config": "a KV connector has buffers of its own",
    _EXPERT_PARALLEL: "experts are spread over ranks as wholes",
}


def served_shape(wish: Wish, shape: ModelShape) -> ModelShape:
    """The model's shape, its experts whole where the operator's further options spread them over ranks."""
    return replace(shape, whole_experts=bool(wish.extra_args.get(_EXPERT_PARALLEL)))


def whole_experts_remedy(shape: ModelShape, size: int) -> str:
    """How the model can be served at that tensor-parallel size with its experts whole; empty where it cannot."""
    if not shape.experts or tensor_parallel_problem(replace(shape, whole_experts=True), size):
        return ""
    return f"extra_args: {{{_EXPERT_PARALLEL}: true}}, which spreads experts over ranks as wholes"


def with_unpredicted(wish: Wish, files: ModelFiles) -> ModelFiles:
    """The model, marked unsafe to estimate where the operator's further options take memory of their own."""
    notes = tuple(why for option, why in _UNPREDICTED.items() if wish.extra_args.get(option))
    if not notes:
        return files
    return ModelFiles(replace(files.shape, unsafe=(*files.shape.unsafe, *notes)), files.checkpoint)


def choose_batch(wish: Wish, purpose: Profile, shape: ModelShape, notes: Notes, most_tokens: int) -> tuple[int, int]:
    """max_num_seqs and max_num_batched_tokens, always stated. Raises SizingError when they contradict."""
    sequences = wish.integer("max_num_seqs")
    tokens = wish.integer("max_num_batched_tokens")
    if sequences and tokens and tokens < sequences:
        raise SizingError(
            f"{wish.name}: a batch of {tokens} tokens cannot hold {sequences} sequences",
            expected="max_num_batched_tokens of at least max_num_seqs",
            found=f"{tokens} < {sequences}",
            remedy=f"set max_num_batched_tokens: {max(2048, sequences)}, or leave it out",
        )
    if sequences is None:
        sequences = min(purpose.sequences, tokens or purpose.sequences)
        notes.because(f"max_num_seqs {sequences}: profile {purpose.name} ({purpose.purpose}).")
    else:
        notes.because(f"max_num_seqs {sequences}: set by the operator.")
    if tokens is None:
        tokens = max(sequences, min(purpose.batched_tokens, most_tokens))
        notes.because(f"max_num_batched_tokens {tokens}: profile {purpose.name}; the activation peak follows from it.")
    else:
        notes.because(f"max_num_batched_tokens {tokens}: set by the operator.")
    return sequences, tokens


def length_limit(wish: Wish, shape: ModelShape) -> int:
    """The longest context that may be planned. Raises SizingError when the operator's is longer."""
    limit = shape.max_position or FALLBACK_LENGTH
    wished = wish.integer("max_model_len")
    if wished is None:
        return limit
    if wished <= 0:
        raise SizingError(f"{wish.name}: max_model_len must be positive", found=str(wished), remedy="leave it out")
    stretched = "hf-overrides" in wish.extra_args or "rope-scaling" in wish.extra_args
    allowed = wish.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") == "1"
    if shape.max_position and wished > shape.max_position and not stretched and not allowed:
        raise SizingError(
            f"{wish.name}: max_model_len {wished} is longer than the model was made for",
            expected=f"at most {shape.max_position}, by its config.json",
            found=str(wished),
            remedy=f"set max_model_len: {shape.max_position} or less",
        )
    return wished


def longest_context(setup: Setup, kv_bytes: int, concurrency: float, limit: int) -> int:
    """The longest context of which `concurrency` requests fit into `kv_bytes` on every stage."""
    best = limit
    for owned in stage_ranges(setup.shape, setup.pipeline_parallel_size):

        def layout_at(length: int, owned: range = owned) -> CacheLayout:
            return stage_layout(replace(setup, max_model_len=length), owned)

        lengths = (largest_length(kv_bytes, concurrency, best, layout_at, step) for step in LENGTH_STEPS)
        best = next((length for length in lengths if length), 0)
    return best
