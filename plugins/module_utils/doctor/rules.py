"""All rules in the order of precedence: what lies deeper comes first, since it explains what lies above."""

from __future__ import annotations

from collections.abc import Iterable

from .areas import AREA_RULES
from .rule import Rule
from .rules_checks import CHECK_RULES
from .rules_engine import BUILD_RULES, CARD_RULES, MEMORY_RULES, MODEL_RULES, SETTING_RULES, START_RULES
from .rules_host import GPU_RULES, LIMIT_RULES, SYSTEMD_RULES
from .rules_serving import GATEWAY_RULES, OLLAMA_RULES

# Of ranks that wait for each other, all but the one that failed complain of the links between them.
LINKS = ("node_missing", "nccl")
KILLED = ("host_out_of_memory",)


def _of(rules: Iterable[Rule], *codes: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.code in codes)


def _without(rules: Iterable[Rule], *codes: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.code not in codes)


def _once(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(dict.fromkeys(rules))


ENGINE_RULES = _once(
    *GPU_RULES,
    *START_RULES[:4],
    *_without(LIMIT_RULES, *KILLED),
    *START_RULES[4:],
    *MEMORY_RULES,
    *_without(CARD_RULES, *LINKS),
    *_of(LIMIT_RULES, *KILLED),
    *_of(BUILD_RULES, "toolchain", "compile_cache", "attention_backend"),
    *MODEL_RULES,
    *_of(BUILD_RULES, "system_too_old", "package_missing", "library_missing", "gpu_illegal_access"),
    *_of(CARD_RULES, *LINKS),
    *BUILD_RULES,
    *SETTING_RULES,
    *SYSTEMD_RULES,
)
# That a runner died, or that a backend is down, follows from what the other rules know.
LOG_RULES = _once(
    *GPU_RULES, *GATEWAY_RULES[:-1], *OLLAMA_RULES[:-1], *ENGINE_RULES, OLLAMA_RULES[-1], GATEWAY_RULES[-1]
)
# The words of one engine's rules are also words of the other's log.
VLLM_LOG_RULES = _once(*ENGINE_RULES, *LOG_RULES)
ALL_RULES = (*LOG_RULES, *AREA_RULES, *CHECK_RULES)


def rule_of(code: str) -> Rule:
    """Return the rule of a code. Raises KeyError."""
    return next(rule for rule in ALL_RULES if rule.code == code)
