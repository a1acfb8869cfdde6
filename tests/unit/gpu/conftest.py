"""Hosts made of files: what sysfs, /proc and the driver's library would show."""

from __future__ import annotations

import faulthandler
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import facts
from ansible_collections.llm.serving.plugins.module_utils.gpu.command import Completed

ROOT = Path(__file__).resolve().parents[3]
STUB = ROOT / "tools" / "stub_nvml"
FIXTURES = ROOT / "tests" / "unit" / "fixtures" / "gpu"

NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"
H100, RTX_5090 = "0x2330", "0x2b85"


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stub libnvidia-ml.so.1, built once."""
    out = tmp_path_factory.mktemp("nvml")
    subprocess.run(["make", "-s", "-C", STUB, f"OUT={out}"], check=True)
    return str(out / "libnvidia-ml.so.1")


@pytest.fixture
def stub_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Tell the stub what it stands for: the text of its file."""

    def write(text: str) -> None:
        path = tmp_path / "stub-nvml.conf"
        path.write_text(text)
        monkeypatch.setenv("STUB_NVML_CONF", str(path))

    return write


@pytest.fixture
def stub_host(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Tell the stub to stand for one of tools/stub_nvml/hosts."""
    return lambda name: monkeypatch.setenv("STUB_NVML_CONF", str(STUB / "hosts" / f"{name}.conf"))


@pytest.fixture
def quiet_crash() -> Iterator[None]:
    """Keep pytest from reporting the crash of a child that is meant to crash."""
    faulthandler.disable()
    yield
    faulthandler.enable()


@dataclass
class FakeHost:
    """A root directory with a PCI bus, a kernel module, a kernel log, and programs with canned output."""

    root: Path
    libraries: tuple[str, ...] = ("/nonexistent/libnvidia-ml.so.1",)
    outputs: dict[str, Mapping[str, Completed]] = field(default_factory=dict)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def card(
        self,
        address: str,
        vendor: str = NVIDIA,
        device: str = H100,
        pci_class: str = "0x030200",
        driver: str | None = "nvidia",
        numa: int = 0,
        **files: object,
    ) -> None:
        folder = f"sys/bus/pci/devices/{address}"
        for name, value in {
            "vendor": vendor,
            "device": device,
            "class": pci_class,
            "revision": "0xa1",
            "numa_node": numa,
            **files,
        }.items():
            self.write(f"{folder}/{name}", f"{value}\n")
        if driver:
            (self.root / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (self.root / folder / "driver").symlink_to(self.root / "sys/bus/pci/drivers" / driver)

    def module(self, version: str = "580.95.05", *, is_open: bool = True) -> None:
        kind = "Open Kernel Module for x86_64" if is_open else "x86_64 Kernel Module"
        self.write("proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX {kind}  {version}  Release Build\n")

    def log(self, *lines: str) -> None:
        self.write("dev/kmsg", "".join(f"4,{n},{n}000,-;{line}\n" for n, line in enumerate(lines)))

    def program(self, name: str, answers: Mapping[str, Completed]) -> None:
        """Install a program that answers by its arguments; others end with status 2."""
        self.outputs[name] = answers

    def run(self, argv: Sequence[str], timeout_seconds: float) -> Completed:
        assert timeout_seconds > 0
        answers = self.outputs[Path(argv[0]).name]
        return answers.get(" ".join(argv[1:]), Completed(2, "Invalid combination of input arguments.\n", ""))

    def gather(self, **options: Any) -> dict[str, Any]:
        host = facts.Host(
            self.root, self.libraries, self.run, lambda name: f"/usr/bin/{name}" if name in self.outputs else None
        )
        return facts.gather(host, **options)


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    root = tmp_path / "root"
    root.mkdir()
    host = FakeHost(root)
    host.write("proc/meminfo", "MemTotal:       131072 kB\nMemFree:         1024 kB\nMemAvailable:    65536 kB\n")
    return host


def fixture_text(name: str) -> str:
    return (FIXTURES / name).read_text()
