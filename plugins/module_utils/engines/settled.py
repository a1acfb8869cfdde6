"""The short way: where a host lacks nothing, the look at it also plans, compares, and asks the engines for replies.

It only saves round trips. Whatever is missing, refused or silent is left to the long way, which does the same steps one
by one and says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..openai.checks import Outcome, Question, run_checks, wait_until_ready
from ..openai.client import Server
from ..sizing.on_host import plan_wishes
from .compare import compare
from .entries import endpoints
from .keeper import System
from .report import startup_report
from .variants import variant


def settled(
    system: System, facts: Mapping[str, Any], gpu: Mapping[str, Any], serve: Mapping[str, Any], models: Sequence[str]
) -> dict[str, Any]:
    """Return what vllm_plan would, and `probes` where nothing is pending and every engine answers; or nothing.

    facts, gpu: as the module vllm_facts returns them. serve: its option. models: the names that were glanced at.
    """
    offer = suitable(facts, gpu, serve, models)
    if offer is None:
        return {}
    wishes = [{**wish, "model": model_path(wish, facts["models"])} for wish in offer["models"]]
    active = [instance["name"] for instance in facts["instances"] if instance["active"] == "active"]
    circumstances = {**facts, "reserved_bytes": serve["reserved_bytes"], "running": active}
    measurements = facts["measurements"] if serve["recalibrate"] else {}
    secrets = json.loads(serve["secrets"] or "{}")
    try:
        plans, signatures = plan_wishes(wishes, circumstances, gpu, offer["vllm_version"], measurements)
        compared = compare(system, plans, offer["deployment"], secrets.get("instances") or {})
    except (ValueError, OSError):
        return {}
    found = {"plans": plans, "signatures": signatures, **compared}
    if compared["pending"] or not serve["checks"]:
        return found
    asked = endpoints(plans, 0, serve["checks"], offer["deployment"]["config_dir"])
    probes = replies(system, asked, secrets.get("api_key"))
    return found if probes is None else {**found, "probes": probes}


def suitable(
    facts: Mapping[str, Any], gpu: Mapping[str, Any], serve: Mapping[str, Any], models: Sequence[str]
) -> Mapping[str, Any] | None:
    """Return the offer for the host's cards when its engine and all models are there, and nobody is at work."""
    wanted = variant(gpu, serve["variant"])
    offer: Mapping[str, Any] | None = next((offer for offer in serve["offers"] if offer["variant"] == wanted), None)
    if offer is None or facts["lock"] or not facts["user_exists"] or set(models) - set(facts["models"]):
        return None
    is_built = {"name": offer["engine"], "build": offer["build"]} in facts["engines"]
    return offer if is_built else None


def model_path(wish: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return where a wish's model lies: where the glance found it, or the directory that was asked for."""
    return str(found.get(wish["name"], {}).get("path") or wish["model"])


def replies(system: System, asked: Sequence[Mapping[str, Any]], api_key: str | None) -> list[dict[str, Any]] | None:
    """Return what openai_probe would for each endpoint, or None as soon as one is not as it should be."""
    found = []
    for endpoint in asked:
        server, question = Server(endpoint["url"], api_key), Question(endpoint["model"])
        ready_seconds = wait_until_ready(server, question, 0)
        if ready_seconds is None:
            return None
        outcomes: dict[str, Outcome] = {}
        for check in endpoint["checks"]:
            outcomes |= run_checks(server, question, [check])
            if not outcomes[check].ok:
                return None
        found.append(
            {
                "item": dict(endpoint),
                "ready_seconds": round(ready_seconds, 3),
                "checks": {name: outcome.as_dict() for name, outcome in outcomes.items()},
                "engine_log": startup_report(system.run_command, endpoint["unit"]).as_dict(),
            }
        )
    return found
