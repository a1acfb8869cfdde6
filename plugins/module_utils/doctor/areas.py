"""Where a failure happened, for those that no rule knows: less sure than a rule, and better than nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .rule import POSSIBLE, Rule, check

AREA_RULES = (
    check(
        "settings",
        "The engine stopped while it worked out its settings: one of them, or a combination, does not suit it.",
        "Correct or remove what the line names, in vllm_models or its extra_args; an unlike vllm_version may take it.",
        "vllm_models, extra_args",
        confidence=POSSIBLE,
    ),
    check(
        "loading_weights",
        "The engine stopped while it loaded the model's weights: they are damaged, or not what this version expects.",
        "Run the role with models_verify=full, which proves the files; if they are whole, choose a newer vllm_version"
        " or another checkpoint of the model.",
        "models_verify, vllm_version",
        confidence=POSSIBLE,
    ),
    check(
        "quantized_layers",
        "The engine stopped in the code of the checkpoint's quantization, which the card or this version cannot do.",
        "Take another checkpoint of the model (without quantization, or in another format), or a newer vllm_version.",
        "model, vllm_version",
        confidence=POSSIBLE,
    ),
    check(
        "attention",
        "The engine stopped in the code of its attention, which the card, the dtype or the settings do not suit.",
        "Remove attention-backend, block-size and kv_cache_dtype; then try another attention-backend.",
        "extra_args (attention-backend), kv_cache_dtype",
        confidence=POSSIBLE,
    ),
    check(
        "reading_tokenizer",
        "The engine stopped while it read the tokenizer: its files are damaged, or newer than this engine.",
        "Run the role with models_verify=full; if the files are whole, choose a newer vllm_version or another"
        " tokenizer-mode in extra_args.",
        "models_verify, vllm_version",
        confidence=POSSIBLE,
    ),
    check(
        "reading_config",
        "The engine stopped while it read the model's configuration: it is damaged, or newer than this engine.",
        "Run the role with models_verify=full; if the files are whole, choose a newer vllm_version.",
        "models_verify, vllm_version",
        confidence=POSSIBLE,
    ),
    check(
        "pictures_and_sound",
        "The engine stopped in the code that prepares pictures, sound or video for the model.",
        "Run the role with models_verify=full (preprocessor_config.json), allow fewer by limit-mm-per-prompt in"
        " extra_args, or choose a newer vllm_version.",
        "extra_args (limit-mm-per-prompt), vllm_version",
        confidence=POSSIBLE,
    ),
    check(
        "building_kernels",
        "The engine stopped while it compiled kernels for this card.",
        "Look at the lines before: a compiler, a header or memory was missing. enforce_eager: true does without most"
        " of it.",
        "vllm_packages, enforce_eager",
        confidence=POSSIBLE,
    ),
    check(
        "talking_to_ranks",
        "The engine stopped while its ranks, or its hosts, made contact with each other.",
        "Look at the logs of the other ranks first; then at VLLM_HOST_IP, the interfaces and the firewall between"
        " them.",
        "vllm_environment (VLLM_HOST_IP, GLOO_SOCKET_IFNAME), firewall_peers",
        confidence=POSSIBLE,
    ),
    check(
        "asking_the_hub",
        "The engine stopped while it asked the Hub.",
        "Let the role fetch the model beforehand, so that the engine needs no Hub at all.",
        "model, models_hub_endpoint",
        confidence=POSSIBLE,
    ),
    check(
        "running_layers",
        "The engine stopped while it built the model's layers, or ran them for the first time.",
        "Choose a newer vllm_version or another checkpoint; enforce_eager: true and fewer settings of your own tell"
        " whether one of them is the cause.",
        "vllm_version, enforce_eager, extra_args",
        confidence=POSSIBLE,
    ),
)

# A function of a frame, or a path below site-packages, and what was being done there. The innermost frame that any
# of them knows decides; of two that know it, the one that stands first.
AREAS = (
    (re.compile(r" in (?:load_weights?|\w*weight_loader|_load_module|weight_loader\w*)$"), "loading_weights"),
    (re.compile(r"/model_executor/layers/quantization/|^bitsandbytes/|^compressed_tensors/"), "quantized_layers"),
    (re.compile(r"^vllm/model_executor/model_loader/|^safetensors/"), "loading_weights"),
    (re.compile(r"^vllm/(?:v1/)?attention/|^flash_attn/|^vllm/vllm_flash_attn/"), "attention"),
    (
        re.compile(
            r"^flashinfer/jit|^torch/utils/cpp_extension|^triton/|^torch/_(?:inductor|dynamo)/|^vllm/compilation/"
            r"|^deep_gemm/|^tilelang/"
        ),
        "building_kernels",
    ),
    (
        re.compile(
            r"^transformers/tokenization|/tokenization_|^vllm/tokenizers/|^tokenizers/|^mistral_common/|^tiktoken/"
            r"|^vllm/transformers_utils/tokenizer"
        ),
        "reading_tokenizer",
    ),
    (
        re.compile(
            r"^transformers/(?:image_|video_|processing|feature_extraction)|/(?:image_)?processing_\w+\.py"
            r"|^vllm/multimodal/|^vllm/transformers_utils/processor"
        ),
        "pictures_and_sound",
    ),
    (
        re.compile(
            r"^transformers/(?:configuration|models/auto/configuration)|/configuration_\w+\.py"
            r"|^vllm/transformers_utils/config"
        ),
        "reading_config",
    ),
    (re.compile(r"^huggingface_hub/|^hf_xet/"), "asking_the_hub"),
    (re.compile(r"^torch/distributed/|^vllm/distributed/|^ray/|^vllm/v1/executor/ray"), "talking_to_ranks"),
    (re.compile(r"^vllm/(?:config|engine/arg_utils|platforms|entrypoints/cli)\b"), "settings"),
    (re.compile(r"^vllm/model_executor/(?:layers|models)/|^vllm/v1/worker/"), "running_layers"),
)


def area_of(frames: Iterable[str]) -> Rule | None:
    """Return what was being done in the innermost frame that is known; frames are «PATH in FUNCTION», outermost"
    " first."""
    rules = {rule.code: rule for rule in AREA_RULES}
    for frame in reversed(list(frames)):
        for pattern, code in AREAS:
            if pattern.search(frame):
                return rules[code]
    return None
