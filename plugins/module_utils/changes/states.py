"""What runs on a fleet, what its inventory asks for, and what differs: one row per instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..engines.tables import table

NONE = "–"
NOT_WANTED = "is not in the inventory: the next run removes it"
SHORT_COMMIT = 12
COMMIT_LENGTH = 40


@dataclass(frozen=True)
class State:
    """An instance, or a host of which nothing is known."""

    host: str
    service: str
    instance: str
    engine: str | None = None
    model: str | None = None
    since: str | None = None
    generation: int | None = None
    recorded: str | None = None
    healthy: bool | None = None
    wanted_engine: str | None = None
    wanted_model: str | None = None
    differences: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "differences": list(self.differences)}


def unknown(host: str, service: str, why: str) -> State:
    """Return the row of a host that could not be looked at."""
    return State(host, service, NONE, differences=(why,))


@dataclass(frozen=True)
class Seen:
    """What was seen of a host: its facts, the plan for it as its module returned it, and who answered.

    engine: its version that the inventory asks for, empty where it wants none (Ollama only).
    wanted: name and model of each entry, the model's directory where that is known (vLLM only). models_differ: whether
    a run would change the models (Ollama only).
    """

    facts: Mapping[str, Any]
    engine: str
    plan: Mapping[str, Any]
    answers: Mapping[str, bool]
    wanted: Sequence[Mapping[str, Any]] = ()
    models_differ: bool = False


def vllm_states(host: str, seen: Seen) -> list[State]:
    """Return the rows of a host with vLLM."""
    facts, plan = seen.facts, seen.plan
    running = {item["name"]: item for item in facts["instances"]}
    models = {str(item["name"]): str(item["model"]) for item in seen.wanted}
    actions = plan.get("actions") or {}
    generation = facts.get("generation") or {}
    # The first host of a model that several share answers for all.
    parts = {item["name"] for item in plan.get("plans") or () if item["engine_args"].get("headless")}
    rows = []
    for name in sorted({*running, *models}):
        now = running.get(name, {})
        active = now.get("active") == "active"
        state = State(
            host,
            "vllm",
            name,
            engine=facts.get("current"),
            model=now.get("model") or None,
            since=now.get("since") or None if active else None,
            generation=generation.get("number"),
            recorded=generation.get("recorded"),
            healthy=seen.answers.get(name, name in parts or None) if active else False if now else None,
            wanted_engine=seen.engine if name in models else None,
            wanted_model=models.get(name),
        )
        found = _differences(state, bool(now), actions.get(name, "unchanged"))
        if "actions" not in plan:
            found.append(f"there is no plan: {plan.get('msg', 'nothing was planned')}")
        rows.append(_with(state, found))
    return rows


def ollama_states(host: str, seen: Seen) -> list[State]:
    """Return the row of a host with Ollama; none where it is not wanted and not there."""
    facts, answers = seen.facts, seen.answers.get("ollama", False)
    generation = facts.get("generation") or {}
    current = facts.get("current")
    if not seen.engine and not current:
        return []
    found = _ollama_differences(seen, current) if seen.engine else [NOT_WANTED]
    state = State(
        host,
        "ollama",
        "ollama",
        engine=current,
        since=facts.get("since") or None,
        generation=generation.get("number"),
        recorded=generation.get("recorded"),
        healthy=answers,
        wanted_engine=seen.engine or None,
    )
    return [_with(state, found)]


def _ollama_differences(seen: Seen, current: str | None) -> list[str]:
    found = [] if current == seen.engine else [f"runs {current or 'nothing'}, the inventory asks for {seen.engine}"]
    found += seen.plan.get("differences") or []
    found += ["its models are not those of the inventory"] if seen.models_differ else []
    found += [] if seen.answers.get("ollama") else ["does not answer"]
    return found


def render(states: Sequence[Mapping[str, Any]]) -> str:
    """Return a table, and what differs below it."""
    header = ["host", "instance", "engine", "model", "since", "generation", "healthy", "differs"]
    rows = [
        [
            str(state["host"]),
            str(state["instance"]),
            str(state["engine"] or NONE),
            short_model(state["model"]),
            str(state["since"] or NONE),
            f"{state['generation']} of {state['recorded']}" if state["generation"] else NONE,
            {True: "yes", False: "NO"}.get(state["healthy"], NONE),
            "yes" if state["differences"] else "no",
        ]
        for state in states
    ]
    lines = table(header, rows)
    for state in states:
        lines += [f"{state['host']} {state['instance']}: {sentence}" for sentence in state["differences"]]
    differing = sum(bool(state["differences"]) for state in states)
    lines += ["", f"{differing} of {len(states)} differ from the inventory." if differing else "Nothing differs."]
    return "\n".join(lines)


def short_model(path: str | None) -> str:
    """Return the name of a model from the directory that it lies in, with the beginning of its commit."""
    if not path:
        return NONE
    parts = path.rstrip("/").split("/")
    is_commit = len(parts[-1]) == COMMIT_LENGTH and len(parts) > 2
    return f"{parts[-3]}/{parts[-2]}@{parts[-1][:SHORT_COMMIT]}" if is_commit else parts[-1]


def _differences(state: State, exists: bool, action: str) -> list[str]:
    found = []
    if state.wanted_model is None:
        return [NOT_WANTED]
    if not exists:
        return ["is not set up yet"]
    if state.engine != state.wanted_engine:
        found.append(f"runs {state.engine or 'nothing'}, the inventory asks for {state.wanted_engine}")
    if state.model != state.wanted_model:
        found.append(f"serves {short_model(state.model)}, the inventory asks for {short_model(state.wanted_model)}")
    if action != "unchanged":
        found.append("runs with another configuration than the next run would write")
    if not state.healthy:
        found.append("does not answer")
    return found


def _with(state: State, differences: Sequence[str]) -> State:
    return State(**{**asdict(state), "differences": tuple(differences)})
