"""What the role derives from facts: archives, releases to prune, models and their parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLE = Path(__file__).resolve().parents[3] / "roles" / "ollama"
LOADER = DataLoader()


def derive(name: str, **variables: Any) -> Any:
    """Template one of the role's internal variables, as the role would."""
    files = ("defaults/main.yml", "vars/main.yml")
    known = {
        key: value
        for file in files
        for key, value in LOADER.load_from_file(str(ROLE / file), trusted_as_template=True).items()
    }
    facts = {
        "ollama": {"architecture": "amd64", "distribution": {"problem": ""}, "jetpack": None, "versions": []},
        "gpu": {"vendor": None, "devices": []},
    }
    for part, values in variables.pop("facts", {}).items():
        facts[part].update(values)
    templar = Templar(LOADER, {**known, "ansible_facts": facts, **variables})
    return templar.template(known[name])


@pytest.mark.parametrize(
    ("facts", "variables", "expected"),
    [
        ({}, {}, ["ollama-linux-amd64.tar.zst"]),
        ({}, {"ollama_archive_format": "tgz"}, ["ollama-linux-amd64.tgz"]),
        ({"gpu": {"vendor": "amd"}}, {}, ["ollama-linux-amd64.tar.zst", "ollama-linux-amd64-rocm.tar.zst"]),
        (
            {"ollama": {"architecture": "arm64", "jetpack": 6}, "gpu": {"vendor": "nvidia"}},
            {},
            ["ollama-linux-arm64.tar.zst", "ollama-linux-arm64-jetpack6.tar.zst"],
        ),
        (
            {"ollama": {"architecture": "arm64", "jetpack": 5}},
            {},
            ["ollama-linux-arm64.tar.zst", "ollama-linux-arm64-jetpack5.tar.zst"],
        ),
        ({"gpu": {"vendor": "amd"}}, {"ollama_extras": []}, ["ollama-linux-amd64.tar.zst"]),
        ({"gpu": {"vendor": "amd"}, "ollama": {"architecture": "arm64"}}, {}, ["ollama-linux-arm64.tar.zst"]),
        ({}, {"ollama_extras": "rocm"}, ["ollama-linux-amd64.tar.zst", "ollama-linux-amd64-rocm.tar.zst"]),
        ({}, {"ollama_extras": ["rocm"]}, ["ollama-linux-amd64.tar.zst", "ollama-linux-amd64-rocm.tar.zst"]),
    ],
)
def test_archives_follow_the_host(facts: dict[str, Any], variables: dict[str, Any], expected: list[str]) -> None:
    assert derive("__ollama_archives", facts=facts, **variables) == expected


def test_archives_without_a_checksum_are_named() -> None:
    facts = {"gpu": {"vendor": "amd"}}
    known = {"ollama-linux-amd64.tar.zst": "ab"}
    assert derive("__ollama_unchecked", facts=facts, ollama_checksums=known) == ["ollama-linux-amd64-rocm.tar.zst"]
    assert derive("__ollama_unchecked", facts=facts, ollama_trust_sha256sum=True) == []


@pytest.mark.parametrize(
    ("versions", "keep", "expected"),
    [
        (["1", "2", "3", "9"], 2, ["1", "2"]),
        (["9", "1", "2"], 2, ["1"]),
        (["1", "9"], 2, []),
        (["9"], 1, []),
        (["1", "9"], 1, ["1"]),
    ],
)
def test_the_oldest_releases_go_and_the_one_in_service_never(
    versions: list[str], keep: int, expected: list[str]
) -> None:
    facts = {"ollama": {"versions": versions}}
    assert derive("__ollama_outdated", facts=facts, ollama_keep=keep, ollama_version="9") == expected


MODELS = [
    {"name": "a", "parameters": {"num_ctx": 1}},
    {"name": "b", "from": "/srv/b.gguf", "state": "present", "parameters": {"num_gpu": 0}},
    {"name": "c", "from": "a", "state": "latest"},
    {"name": "gone", "state": "absent"},
]


FINE: dict[str, Any] = {
    "__ollama_unknown": [],
    "inventory_hostname": "h",
    "ollama_trust_sha256sum": True,
    "__ollama_plan": {"num_gpu": None},
}
QUIET = {"ollama": {"listeners": [], "port": 11434}, "gpu": {"problem": None}}
DRIVER = {"code": "x", "message": "The driver is not loaded.", "remedy": "Load it."}
SSHD = {"port": 22, "process": "sshd", "pid": 36, "unit": "ssh.service"}
OWN = {"port": 11434, "process": "ollama", "pid": 37, "unit": "ollama.service"}


def problems(facts: dict[str, Any], **variables: Any) -> list[str]:
    merged = {part: {**QUIET[part], **facts.get(part, {})} for part in QUIET}
    found: list[str] = derive("__ollama_problems", facts=merged, **{**FINE, **variables})
    return found


@pytest.mark.parametrize(
    ("facts", "variables", "expected"),
    [
        ({}, {"__ollama_unknown": ["ollama_max_queu"]}, "ollama_max_queu: expected variables of the role"),
        ({"ollama": {"listeners": [SSHD], "port": 22}}, {}, "Port 22 of h is taken by sshd (pid 36, unit ssh.service)"),
        ({}, {"ollama_trust_sha256sum": False}, "No checksum for ollama-linux-amd64.tar.zst of Ollama 0.32.15."),
        ({"ollama": {"architecture": "ppc64le"}}, {}, "releases for amd64 and arm64; h is ppc64le."),
        ({}, {"ollama_models": [{"name": "a"}, {"name": "a"}]}, "ollama_models names a model twice: a, a."),
        ({"gpu": {"problem": DRIVER}}, {}, "A GPU of h cannot be used: The driver is not loaded. Load it."),
    ],
)
def test_each_problem_is_told_once(facts: dict[str, Any], variables: dict[str, Any], expected: str) -> None:
    (problem,) = problems(facts, **variables)
    assert expected in problem


def test_a_good_host_has_no_problems() -> None:
    assert problems({"ollama": {"listeners": [OWN]}}) == []
    assert problems({"gpu": {"problem": DRIVER}}, ollama_gpu_percent=0) == []
    assert problems({"ollama": {"versions": ["0.32.15"]}}, ollama_trust_sha256sum=False) == []


def test_models_for_the_plan() -> None:
    assert derive("__ollama_planned_models", ollama_models=MODELS) == [
        {"name": "a", "parameters": {"num_ctx": 1}},
        {"name": "b", "parameters": {"num_gpu": 0}, "path": "/srv/b.gguf"},
        {"name": "c", "parameters": {}, "base": "a"},
    ]


def test_layers_of_old_are_the_default_of_models_that_set_none() -> None:
    wanted = derive("__ollama_wanted_models", ollama_models=MODELS[:3], __ollama_plan={"num_gpu": 33})
    assert [model["parameters"]["num_gpu"] for model in wanted] == [33, 0, 33]
    assert derive("__ollama_wanted_models", ollama_models=MODELS, __ollama_plan={"num_gpu": None}) == MODELS


def test_models_meant_for_the_cpu_are_left_out_of_the_check() -> None:
    assert derive("__ollama_cpu_models", ollama_models=MODELS, __ollama_plan={"num_gpu": None}) == ["b"]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("tiny", "tiny:latest"),
        ("qwen2.5:7b", "qwen2.5:7b"),
        ("host:5000/team/m", "host:5000/team/m:latest"),
        ("host:5000/team/m:x", "host:5000/team/m:x"),
    ],
)
def test_the_model_that_is_asked_has_its_tag(name: str, asked: str) -> None:
    assert derive("__ollama_asked_model", ollama_models=[{"name": name}]) == asked


def test_without_models_nobody_is_asked() -> None:
    assert derive("__ollama_asked_model", ollama_models=[]) == ""
