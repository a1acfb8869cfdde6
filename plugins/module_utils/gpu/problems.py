"""Every reason why a card that is there cannot be used: one table of code, message and remedy.

Places in the texts: `{where}` is an optional PCI address, `{remark}` an optional addition; all others must be given.
"""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from .model import Problem

_REBOOT_OR_RESET = (
    "Stop what uses the GPU and run `nvidia-smi --gpu-reset`, or reboot. If it comes back, look for Xid "
    "messages with `journalctl -k | grep -i xid`, and check seating, power and cooling of the card."
)

# code: (what was expected and found, what to do)
CATALOGUE: dict[str, tuple[str, str]] = {
    "driver_not_loaded": (
        "Expected a loaded NVIDIA driver; found the card{where} but no nvidia kernel module{remark}.",
        "Install the NVIDIA driver for the running kernel, then `modprobe nvidia` or reboot. If it is installed, "
        "`dkms status` and `journalctl -k | grep -i nvidia` say why the module was not built or not loaded.",
    ),
    "nouveau_in_use": (
        "Expected the nvidia kernel module; found the card{where} driven by nouveau, which has no CUDA.",
        "Install the NVIDIA driver, blacklist nouveau (`options nouveau modeset=0` and `blacklist nouveau` in "
        "/etc/modprobe.d/), rebuild the initramfs and reboot.",
    ),
    "taken_by_another_driver": (
        "Expected the nvidia kernel module to own the card{where}; found that another driver took it first.",
        "`lspci -nnk` names the driver. Blacklist it in /etc/modprobe.d/ (nouveau, nvidiafb), or take the card out of "
        "vfio-pci's options; rebuild the initramfs and reboot.",
    ),
    "passed_through": (
        "Expected the nvidia kernel module; found the card{where} reserved for virtual machines (vfio-pci).",
        "Manage the virtual machine that owns the card instead, or take the card's id out of vfio-pci's options "
        "and reboot.",
    ),
    "module_rejected": (
        "Expected a loaded NVIDIA driver; found that the kernel refused the nvidia module{remark}.",
        "Secure Boot accepts signed modules only: enrol the key that signed the module (`mokutil --import`), "
        "install the distribution's signed module, or turn Secure Boot off.",
    ),
    "version_mismatch": (
        "Expected the driver's kernel module and its libraries to be of one version; found kernel module {kernel} "
        "and library {library}.",
        "Reboot, so that the module of the newer driver is loaded. Unattended upgrades cause this: hold the driver "
        "packages (`apt-mark hold`, or dnf's versionlock) and upgrade them with a planned reboot.",
    ),
    "library_missing": (
        "Expected libnvidia-ml.so.1 beside the kernel module{remark}; found no such library.",
        "Install the driver's compute libraries in the kernel module's version (Debian libnvidia-ml1, Ubuntu "
        "libnvidia-compute-<branch>, RHEL nvidia-driver-cuda-libs) and run `ldconfig`.",
    ),
    "library_too_old": (
        "Expected an NVML library with the functions in use since driver 450; found one without {detail}.",
        "Upgrade the NVIDIA driver.",
    ),
    "device_files_missing": (
        "Expected the device files of the loaded module{remark}; found that the library cannot reach the driver.",
        "Create /dev/nvidia* with `nvidia-modprobe -c 0 -u`, or enable nvidia-persistenced. In a container, pass the "
        "devices into it.",
    ),
    "permission_denied": (
        "Expected access to the NVIDIA device files; found «insufficient permissions»{remark}.",
        "Run the play with `become: true`. If root is refused too, check /dev/nvidia* and the device rules of the "
        "container or virtual machine.",
    ),
    "blocked_by_os": (
        "Expected access to the GPU; found it blocked by the operating system.",
        "In a container, allow the NVIDIA devices in its cgroup; under WSL, upgrade the Windows driver.",
    ),
    "gpu_lost": (
        "Expected every GPU on the bus; found that GPU{where} has fallen off it{remark}.",
        "Reboot. If it happens again, check seating, power supply and cooling, and have the card replaced: "
        "`journalctl -k | grep -i xid` shows when it began (Xid 79).",
    ),
    "gpu_missing": (
        "Expected the driver to report {expected} GPU(s) that are on the PCI bus; it does not report {detail}.",
        "`journalctl -k | grep NVRM` says why the driver could not start that card. " + _REBOOT_OR_RESET,
    ),
    "init_failed": (
        "Expected the driver to start GPU{where}; found that it failed (RmInitAdapter){remark}.",
        "Power the machine off and on again. If it stays, try another driver branch and check the card's power "
        "and seating; Blackwell cards, GB10 included, need the open kernel modules; in a virtual machine the "
        "whole card and enough MMIO space must be passed through.",
    ),
    "open_module_required": (
        "Expected NVIDIA's open kernel modules, which GPU{where} needs (Blackwell and later); found the "
        "proprietary one.",
        "Install the open flavour of the same driver version (Ubuntu nvidia-driver-<branch>-open, Debian "
        "nvidia-open-kernel-dkms, others nvidia-open) and reboot.",
    ),
    "memory_window_missing": (
        "Expected memory space (a BAR) for card{where}; found that the firmware gave it none.",
        "Enable «Above 4G decoding» (and resizable BAR) in the firmware's settings, or boot with pci=realloc. In a "
        "virtual machine, give it a larger MMIO window.",
    ),
    "firmware_timeout": (
        "Expected an answer from the firmware (GSP) of GPU{where}; found that it timed out{remark}.",
        _REBOOT_OR_RESET + " Newer driver branches mend several causes.",
    ),
    "unsupported_card": (
        "Expected a driver that supports GPU{where}; found that the loaded one does not{remark}.",
        "Install the driver branch that NVIDIA's list of supported products names for this card.",
    ),
    "no_devices": (
        "Expected the loaded driver to report the card{where}; found that it reports none.",
        "`journalctl -k | grep NVRM` says why. " + _REBOOT_OR_RESET,
    ),
    "reset_required": ("Expected GPU{where} to answer; found that it needs a reset.", _REBOOT_OR_RESET),
    "insufficient_power": (
        "Expected GPU{where} to be fully powered; found its external power cables missing or loose.",
        "Power off, attach every power cable of the card, start again.",
    ),
    "interrupt_issue": (
        "Expected interrupts from GPU{where}; found that the kernel receives none.",
        "Upgrade the machine's firmware, and check that MSI is not disabled (kernel option pci=nomsi).",
    ),
    "inforom_corrupted": (
        "Expected an intact infoROM on GPU{where}; found it corrupted.",
        "The card may still compute. Reset it; if the message stays, have the card replaced.",
    ),
    "not_answering": (
        "Expected an answer from {tool} within {seconds} s; found none.",
        "A GPU or its driver hangs: `journalctl -k | grep -iE 'xid|nvrm'`, then reboot. If the driver is only slow "
        "to start, enable nvidia-persistenced or raise `gpu_timeout_seconds`.",
    ),
    "library_crashed": (
        "Expected an answer from the driver's library; found that {tool} crashed ({detail}).",
        "Reinstall the NVIDIA driver, so that library and kernel module are of one version, and reboot.",
    ),
    "smi_missing": (
        "Expected nvidia-smi; found no such command.",
        "Install the driver's tools (Debian nvidia-smi, Ubuntu nvidia-utils-<branch>, RHEL nvidia-driver-cuda).",
    ),
    "smi_bad_argument": (
        "Expected nvidia-smi to accept the query; found: {detail}.",
        "Upgrade the NVIDIA driver: this nvidia-smi is older than the query.",
    ),
    "operation_not_available": (
        "Expected nvidia-smi to answer; found that the operation is not available on this card{remark}.",
        "Upgrade the NVIDIA driver.",
    ),
    "driver_error": (
        "Expected the driver to answer; found: {detail}.",
        "`journalctl -k | grep -iE 'nvrm|xid'` says more. " + _REBOOT_OR_RESET,
    ),
    "fabric_manager_not_running": (
        "Expected a running Fabric Manager, which this host's {switches} NVSwitch chip(s) need; found {detail}. "
        "CUDA fails with error 802 (system not yet initialized).",
        "Install nvidia-fabricmanager in exactly the driver's version ({driver}) and "
        "`systemctl enable --now nvidia-fabricmanager`.",
    ),
    "fabric_manager_mismatch": (
        "Expected Fabric Manager in the driver's version {driver}; found {detail}.",
        "Install nvidia-fabricmanager {driver}, restart it, and hold it together with the driver packages.",
    ),
    "fabric_not_ready": (
        "Expected every GPU to have joined the NVLink fabric; found {detail}. CUDA fails with error 802 (system "
        "not yet initialized).",
        "Look at `journalctl -u nvidia-fabricmanager` and `nvidia-smi -q | grep -A3 Fabric`; restart "
        "nvidia-fabricmanager, or reboot.",
    ),
    "fabric_manager_unneeded": (
        "Expected Fabric Manager on hosts with NVSwitch chips only; found it on one without.",
        "`systemctl disable --now nvidia-fabricmanager`: the GPUs work without it.",
    ),
    "mig_without_instances": (
        "Expected MIG instances on GPU{where}, whose MIG mode is on; found none, so CUDA sees no device there.",
        "Create instances (`nvidia-smi mig -cgi <profile> -C`), or turn MIG off (`nvidia-smi -i <index> -mig 0`).",
    ),
    "amd_driver_not_loaded": (
        "Expected the amdgpu kernel module; found the card{where} without it.",
        "Install ROCm's driver (amdgpu-dkms) or a kernel with amdgpu, then `modprobe amdgpu` or reboot.",
    ),
    "amd_kfd_missing": (
        "Expected /dev/kfd beside the amdgpu kernel module; found none, so ROCm sees no device.",
        "Use a kernel with CONFIG_HSA_AMD, or pass /dev/kfd and /dev/dri into the container.",
    ),
}


def make(code: str, *, where: str | None = None, remark: str | None = None, **values: object) -> Problem:
    """Return the problem `code`, told with what was found."""
    message, remedy = CATALOGUE[code]
    places = {"where": f" {where}" if where else "", "remark": f" ({remark})" if remark else "", **values}
    return Problem(code, message.format_map(places), remedy.format_map(places))
