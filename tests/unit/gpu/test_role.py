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
