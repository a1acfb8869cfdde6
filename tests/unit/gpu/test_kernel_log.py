from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.gpu import kernel_log

from .conftest import FakeHost

OPEN_NEEDED = """\
[    5.559842] NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)
               NVRM: installed in this system requires use of the NVIDIA open kernel modules.
[    5.559858] NVRM: GPU 0000:02:00.0: RmInitAdapter failed! (0x22:0x56:884)
[    5.560313] NVRM: GPU 0000:02:00.0: rm_init_adapter failed, device minor number 0
"""
MISMATCH = """\
Apr 13 23:38:47 host kernel: NVRM: API mismatch: the client has the version 550.10, but
Apr 13 23:38:47 host kernel: NVRM: this kernel module has the version 550.09.  Please
Apr 13 23:38:47 host kernel: NVRM: make sure that this kernel module and all NVIDIA driver
"""
INIT = "[  9.1] NVRM: GPU 0000:98:00.0: RmInitAdapter failed! (0x62:0x65:1792)\n"


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (OPEN_NEEDED, "open_module_required", "0000:02:00.0"),
        (MISMATCH, "version_mismatch", "kernel module 550.09 and library 550.10"),
        (INIT, "init_failed", "0x62:0x65:1792"),
        ("[1.0] NVRM: GPU at 0000:3b:00.0 has fallen off the bus.\n", "gpu_lost", "0000:3b:00.0"),
        ("[1.0] NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.\n", "gpu_lost", "0000:3b:00.0"),
        (
            "[1.0] NVRM: GPU 0000:0b:00.0: GPU does not have the necessary power cables connected.\n",
            "insufficient_power",
            "0000:0b:00.0",
        ),
        (
            "[1.0] NVRM: This can occur when a driver such as:\n"
            "      NVRM: nouveau, rivafb, nvidiafb or rivatv\n"
            "      NVRM: was loaded and obtained ownership of the NVIDIA device(s).\n",
            "nouveau_in_use",
            "nouveau",
        ),
        (
            "[1.0] NVRM: The NVIDIA GT 630 GPU installed in this system is supported through the NVIDIA 390.xx\n",
            "unsupported_card",
            "supports",
        ),
        (
            "[1.0] NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\n"
            "      NVRM: BAR1 is 0M @ 0x0 (PCI:0000:65:00.0)\n",
            "memory_window_missing",
            "0000:65:00.0",
        ),
        (
            "[1.0] NVRM: This can occur when another driver was loaded and \n"
            "      NVRM: obtained ownership of the NVIDIA device(s).\n",
            "taken_by_another_driver",
            "another driver",
        ),
        ("[1.0] NVRM: Xid (PCI:0000:65:00): 119, pid=1, Timeout waiting\n", "firmware_timeout", "0000:65:00.0"),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\n", "module_rejected", "refused"),
    ],
)
def test_problems(text: str, code: str, told: str) -> None:
    problem = kernel_log.explain(text)
    assert problem is not None
    assert problem.code == code
    assert told in problem.message


def test_indented_lines_are_messages_of_their_own() -> None:
    lines = ("GPU at PCI:0000:01:00: GPU-f1648d72", "Xid (PCI:0000:02:00): 79, GPU has fallen off the bus.")
    problem = kernel_log.explain("".join(f"    NVRM: {line}\n" for line in lines))
    assert problem is not None
    assert (problem.code, "0000:02:00.0" in problem.message) == ("gpu_lost", True)


def test_blackwell_card_and_proprietary_module() -> None:
    problem = kernel_log.explain(INIT, needs_open_module=True)
    assert problem is not None
    assert problem.code == "open_module_required"


def test_what_is_said_about_another_card_does_not_count() -> None:
    assert kernel_log.explain(INIT, "0000:01:00.0") is None
    assert kernel_log.explain(INIT, "0000:98:00.0") is not None


@pytest.mark.parametrize("text", ["", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.105.08\n", "usb 1-1: new\n"])
def test_harmless_lines(text: str) -> None:
    assert kernel_log.explain(text) is None


def test_xids() -> None:
    text = "NVRM: Xid (PCI:000f:01:00): 169, fd8cd000\n[2.0] NVRM: Xid (PCI:0000:3b:00): 48, pid=7\n"
    assert [(xid.address, xid.number) for xid in kernel_log.parse_xids(text)] == [
        ("000f:01:00.0", 169),
        ("0000:3b:00.0", 48),
    ]


def test_reading_the_log(fake_host: FakeHost) -> None:
    fake_host.log("usb 1-1: new device", "NVRM: GPU 0000:98:00.0: RmInitAdapter failed! (0x62:0x65:1792)")
    text = kernel_log.read(fake_host.root)
    assert "usb" not in text
    problem = kernel_log.explain(text)
    assert problem is not None
    assert problem.code == "init_failed"


def test_log_that_may_not_be_read(fake_host: FakeHost) -> None:
    assert kernel_log.read(fake_host.root) == ""
