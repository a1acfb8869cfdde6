"""The driver that the cards need, in the version that was asked for, and nothing that upgrades it behind one's back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from control import INVENTORY, machine

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("nvidia-kernel-open-dkms", "nvidia-driver-cuda", "nvidia-persistenced", "nvidia-fabricmanager-580")


@pytest.fixture(scope="module")
def switched():
    return machine("switched")


@pytest.fixture(scope="module")
def volta():
    return machine("volta")


def version(host, package):
    return host.check_output("dpkg-query -W -f '${Version}' %s", package)


def play(target, *words, **options):
    """Run the scenario's own play as a user would; return its status and what it printed, in one line."""
    variables = [word for name, value in options.items() for word in ("-e", f"{name}={value}")]
    command = ["ansible-playbook", "-i", INVENTORY, "--limit", target, HERE / "converge.yml", *variables, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_certain_driver_with_fabric_manager_of_its_version(switched):
    for package in PACKAGES:
        assert version(switched, package) == "580.95.05-1"
        assert switched.check_output("dpkg-query -W -f '${db:Status-Want}' %s", package) == "hold"
    assert switched.package(f"linux-headers-{switched.check_output('uname -r')}").is_installed
    assert switched.package("nvidia-driver-pinning-580.95.05").is_installed
    for unit in ("nvidia-persistenced", "nvidia-fabricmanager"):
        assert switched.service(unit).is_enabled


def test_an_upgrade_of_everything_leaves_it_alone(switched):
    switched.check_output("apt-get -y -q upgrade")
    assert {version(switched, package) for package in PACKAGES} == {"580.95.05-1"}


def test_an_old_card_gets_proprietary_modules_and_no_fabric_manager(volta):
    assert version(volta, "nvidia-kernel-dkms") == "580.105.08-1"
    assert not volta.package("nvidia-kernel-open-dkms").is_installed
    assert not volta.package("nvidia-fabricmanager-580").is_installed
    assert volta.package("nvidia-driver-pinning-580").is_installed


def test_nouveau_is_kept_off_and_the_initramfs_made_once(volta):
    assert "blacklist nouveau" in volta.file("/etc/modprobe.d/llm-serving-nouveau.conf").content_string
    assert volta.file("/var/log/update-initramfs").content_string.splitlines() == ["-u -k all"]


def test_the_play_says_what_it_installs_and_that_a_reboot_is_needed():
    status, output = play("switched")
    assert status == 0, output
    assert "changed=0" in output
    assert "open kernel modules: what NVIDIA recommends for Hopper" in output
    assert "switched runs no driver and has 580.95.05 installed: reboot it, or set gpu_driver_reboot" in output


def test_check_mode_says_what_another_version_would_bring(switched):
    status, output = play("switched", "--check", gpu_driver_version="580.105.08")
    assert status == 0, output
    assert "Would install: nvidia-driver-pinning-580.105.08" in output
    assert "nvidia-fabricmanager-580=580.105.08*" in output
    assert version(switched, "nvidia-driver-cuda") == "580.95.05-1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu_driver_branch": "590"}, "(Volta): expected branch 580, the last that knows it, found 590"),
        ({"gpu_driver_flavour": "open"}, "(Volta): the open kernel modules begin with Turing"),
    ],
    ids=["branch", "flavour"],
)
def test_what_the_card_does_not_take_is_refused(options, words):
    status, output = play("volta", **options)
    assert status == 2
    assert words in output


def test_another_version_takes_fabric_manager_along(switched):
    status, output = play("switched", gpu_driver_version="580.105.08")
    assert status == 0, output
    assert {version(switched, package) for package in PACKAGES} == {"580.105.08-1"}


def test_a_reboot_that_is_allowed_takes_place(volta):
    before = volta.check_output("cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic")
    status, output = play("volta", gpu_driver_reboot="true")
    assert status == 0, output
    assert "reboot it, or set gpu_driver_reboot" not in output
    after = volta.check_output("cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic")
    assert before != after
