"""Every unit that is shipped, measured by systemd itself: exposure ≤ 2.0, and ≤ 4.0 where GPU devices must show."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted(ROOT.glob("roles/*/templates/*.service.j2"))
CPU_EXPOSURE, GPU_EXPOSURE = 2.0, 4.0
HAS_GPU = {"vllm@.service.j2", "ollama.service.j2"}
ONLY_GPU = {"llm-gpu-metrics.service.j2"}
# Each must be named in a comment of the unit that leaves it out.
GPU_OMISSIONS = ("PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute")


def render(template: Path, gpu: bool) -> str:
    """Return a template's text as for a host with or without a GPU, with every path the same."""
    role = template.parents[1].name
    defaults = yaml.safe_load((template.parents[1] / "defaults" / "main.yml").read_text()) or {}
    values: dict[str, Any] = {
        **defaults,
        "ansible_facts": {"gpu": {"vendor": "nvidia" if gpu else None}, "ollama": {"groups": ["video", "render"]}},
        "__vllm_variant": "cuda" if gpu else "cpu",
        "__vllm_user": "vllm",
        "__ollama_user": "ollama",
        "__mirror_user": "llm-mirror",
        "__ollama_has_gpu": gpu,
        "__ollama_environment": {"OLLAMA_MODELS": "/srv/ollama"},
        f"{role}_unit_settings": {},
    }
    environment = jinja2.Environment(trim_blocks=True, undefined=_Path, autoescape=False)  # noqa: S701 - no HTML
    environment.tests["match"] = lambda value, pattern: re.match(pattern, str(value)) is not None
    return environment.from_string(template.read_text()).render(values)


class _Path(jinja2.Undefined):
    """Whatever a role works out by itself: a path, for what is asked here."""

    def __str__(self) -> str:
        return "/x"

    def __add__(self, other: object) -> int:
        return 1024

    __mul__ = __add__


def exposure(text: str, name: str, folder: Path) -> float:
    unit = folder / name.removesuffix(".j2").replace("@.", "@x.")
    unit.write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", run.stdout)
    assert found, run.stdout + run.stderr
    return float(found[1])


CASES = [
    (path, gpu) for path in TEMPLATES for gpu in (False, True) if path.name in HAS_GPU or gpu == (path.name in ONLY_GPU)
]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
@pytest.mark.parametrize(
    ("template", "gpu"), CASES, ids=lambda value: getattr(value, "name", "gpu" if value else "cpu")
)
def test_exposure(template: Path, gpu: bool, tmp_path: Path) -> None:
    text = render(template, gpu)
    # A drop-in is measured alone: what Debian's own unit adds to it is not here.
    assert exposure(text, template.name, tmp_path) <= (GPU_EXPOSURE if gpu else CPU_EXPOSURE)


@pytest.mark.parametrize("template", [path for path in TEMPLATES if path.name in HAS_GPU], ids=lambda path: path.name)
def test_what_a_gpu_host_leaves_out_is_explained(template: Path) -> None:
    lines = render(template, gpu=True).splitlines()
    for name in GPU_OMISSIONS:
        assert not any(line.startswith(f"{name}=") for line in lines)
        assert any(line.startswith("#") and name in line for line in lines), name


def test_every_template_is_measured() -> None:
    assert {path.name for path in TEMPLATES} >= HAS_GPU | {"haproxy.service.j2", "llm-firewall.service.j2"}
