"""What the role derives from the driver's plan: where packages come from, when lists are fetched, what is locked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[3] / "roles" / "gpu"
LOADER = DataLoader()
CUDA = "https://developer.download.nvidia.com/compute/cuda/repos"


def load(file: str) -> Any:
    return LOADER.load_from_file(str(ROLE / file), trusted_as_template=True)


def derive(expression: str, **variables: Any) -> Any:
    """Evaluate an expression with the role's variables, as the role would."""
    known = {**load("defaults/main.yml"), **load("vars/main.yml"), "role_path": str(ROLE)}
    return Templar(LOADER, {**known, **variables}).template(trust_as_template("{{ " + expression + " }}"))


def plan(family: str, version: str = "", *, vendor: str = "nvidia", machine: str = "x86_64", **choice: Any) -> Any:
    """Return what gpu_driver_plan tells of a host, as far as the role's variables read it."""
    distribution = {"family": family, "version": version, "machine": machine}
    return {"distribution": distribution, "choice": {"vendor": vendor, **choice}}


@pytest.mark.parametrize(
    ("family", "version", "folder", "key"),
    [
        ("debian", "12", "debian12", "3bf863cc.pub"),
        ("debian", "13", "debian13", "8793F200.pub"),
        ("ubuntu", "22.04", "ubuntu2204", "3bf863cc.pub"),
        ("ubuntu", "24.04", "ubuntu2404", "3bf863cc.pub"),
        ("redhat", "9.6", "rhel9", "D42D0685.pub"),
        ("redhat", "10.1", "rhel10", "CDF6BA43.pub"),
    ],
)
@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "x86_64"), ("aarch64", "sbsa")])
def test_repositories_of_nvidia(
    family: str, version: str, folder: str, key: str, machine: str, architecture: str
) -> None:
    repository = derive("__gpu_repository", __gpu_driver=plan(family, version, machine=machine))
    url = f"{CUDA}/{folder}/{architecture}/"
    assert (repository["url"], repository["key"]) == (url, url + key)


@pytest.mark.parametrize("vendor", ["nvidia", "amd"])
@pytest.mark.parametrize(
    ("sources", "lacking", "expected"),
    [
        ({"changed": True}, {"changed": False}, True),
        ({"changed": False}, {"changed": True}, True),
        ({"changed": False}, {"changed": False, "msg": "No package matching 'amdgpu-dkms' is available"}, True),
        ({"changed": False}, {"changed": False}, False),
        (None, {"changed": False}, False),
    ],
    ids=["new repository", "lacking", "unknown", "complete", "complete, from the host's own repositories"],
)
def test_lists_are_fetched_when_they_are_needed(vendor: str, sources: Any, lacking: Any, expected: bool) -> None:
    tasks = [task for task in load("tasks/packages_apt.yml") if "ansible.builtin.apt" in task]
    looks, fetches = tasks[:2]
    assert looks["check_mode"]
    assert fetches["ansible.builtin.apt"] == {"update_cache": True}
    known = {"__gpu_lacking": lacking, **({"__gpu_sources": sources} if sources else {})}
    driver = plan("debian", "12", vendor=vendor, pinning=[] if vendor == "amd" else ["nvidia-driver-pinning-580"])
    assert derive(fetches["when"], __gpu_driver=driver, **known) is expected


# What dnf's versionlock writes for the packages that are installed, sorted.
MODULE, LIBRARIES = "kmod-nvidia-open-dkms-3:580.105.08-1.el9.*", "nvidia-driver-cuda-3:580.105.08-1.el9.*"
OLD_MODULE = "kmod-nvidia-open-dkms-3:580.95.05-1.el9.*"
OTHERS = ["kernel-0:5.14.0-570.el9.*", "nvidia-driver-cuda-libs-3:580.95.05-1.el9.*", "!nvidia-driver-cuda-3:590.*"]


@pytest.mark.parametrize(
    ("hold", "there", "given_up", "added"),
    [
        (True, [], [], [MODULE, LIBRARIES]),
        (True, [MODULE, LIBRARIES], [], []),
        (True, [OLD_MODULE], [OLD_MODULE], [MODULE, LIBRARIES]),
        (True, [OLD_MODULE, MODULE, LIBRARIES], [OLD_MODULE], []),
        (False, [MODULE, LIBRARIES], [MODULE, LIBRARIES], []),
        (False, [], [], []),
    ],
    ids=["first run", "second run", "another version", "of a run before", "held no longer", "never held"],
)
def test_locks_of_dnf(hold: bool, there: list[str], given_up: list[str], added: list[str]) -> None:
    tasks = {task["name"].split()[0]: task for task in load("tasks/packages_dnf.yml")}
    known = {
        "__gpu_driver": plan("redhat", "9.6", held=["kmod-nvidia-open-dkms", "nvidia-driver-cuda"]),
        "__gpu_locked": {"stdout_lines": [*OTHERS, *there]},
        "__gpu_lockable": {"stdout_lines": [MODULE, LIBRARIES]},
        "gpu_driver_hold": hold,
    }
    loops = [tasks[name]["loop"].removeprefix("{{").removesuffix("}}") for name in ("Give", "Hold")]
    assert [sorted(derive(loop, **known)) for loop in loops] == [given_up, added]


def test_another_branch_is_not_kept_away_by_locks() -> None:
    (switch,) = (task for task in load("tasks/packages_dnf.yml") if "switch-to" in str(task))
    assert "--disableplugin=versionlock" in switch["ansible.builtin.command"]["argv"]


@pytest.mark.parametrize(
    ("family", "version", "file"),
    [
        ("debian", "12", "/etc/apt/keyrings/llm-serving-gpu-3bf863cc.asc"),
        ("debian", "13", "/etc/apt/keyrings/llm-serving-gpu-8793F200.asc"),
        ("redhat", "10.1", "/etc/pki/rpm-gpg/llm-serving-gpu-CDF6BA43.asc"),
    ],
)
def test_another_release_has_its_key_in_another_file(family: str, version: str, file: str) -> None:
    assert derive("__gpu_key_file", __gpu_driver=plan(family, version)) == file


def test_packages_are_held_against_the_key_that_was_checked() -> None:
    fetch = load("tasks/repository_key.yml")[-1]["ansible.builtin.get_url"]
    assert fetch["dest"] == "{{ __gpu_key_file }}"
    assert "gpu_driver_repository_key_checksum" in fetch["checksum"]
    for manager, setting in (("apt", "Signed-By: {{ __gpu_key_file }}"), ("dnf", "file://{{ __gpu_key_file }}")):
        key, repository = load(f"tasks/repository_{manager}.yml")[:2]
        assert key["ansible.builtin.import_tasks"] == "repository_key.yml"
        assert setting in str(repository)
