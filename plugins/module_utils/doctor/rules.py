"""All rules in the order of precedence: what lies deeper comes first, since it explains what lies above."""

from __future__ import annotations

from .rule import Rule
from .rules_checks import CHECK_RULES
from .rules_engine import BUILD_RULES, CARD_RULES, MEMORY_RULES, MODEL_RULES, START_RULES
from .rules_host import GPU_RULES, LIMIT_RULES, SYSTEMD_RULES
from .rules_serving import GATEWAY_RULES, OLLAMA_RULES

ENGINE_RULES = (
    *GPU_RULES,
    *START_RULES[:4],
    *LIMIT_RULES[:-1],
    *START_RULES[4:],
    *MEMORY_RULES,
    *CARD_RULES[:-2],
    LIMIT_RULES[-1],
    *MODEL_RULES,
    *BUILD_RULES[:2],
    *CARD_RULES[-2:],
    *BUILD_RULES[2:],
    *SYSTEMD_RULES,
)
# That a runner died, or that a backend is down, follows from what the other rules know.
LOG_RULES = tuple(
    dict.fromkeys(
        (*GPU_RULES, *GATEWAY_RULES[:-1], *OLLAMA_RULES[:-1], *ENGINE_RULES, OLLAMA_RULES[-1], GATEWAY_RULES[-1])
    )
)
ALL_RULES = (*LOG_RULES, *CHECK_RULES)


def rule_of(code: str) -> Rule:
    """Return the rule of a code. Raises KeyError."""
    return next(rule for rule in ALL_RULES if rule.code == code)
