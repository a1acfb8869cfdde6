"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import bake, guest, images, inventory, lab, requirements
from .errors import LabError
from .model import Bind, Setup, parse_environment, parse_host, scenario_lab
from .system import state_dir


def parser() -> argparse.ArgumentParser:
    """The options of every verb."""
    top = argparse.ArgumentParser(
        prog="testhost",
        description="Throwaway systemd hosts on this machine, reached over SSH. Their root is real root.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    one = verbs.add_parser("up", help="boot a lab of hosts and print the path of its inventory")
    _lab_option(one)
    one.add_argument("--base", default="bookworm", metavar="BASE", help="SUITE, or NAME[:KEY] of what was baked")
    one.add_argument(
        "--owner",
        type=int,
        default=os.environ.get("TESTHOST_OWNER"),
        metavar="PID",
        help="the lab is stale once this process is gone (default: $TESTHOST_OWNER)",
    )
    one.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for the hosts to answer")
    one.add_argument("hosts", nargs="+", metavar="HOST[=BASE]")
    _guest_options(one)
    one.set_defaults(run=_up)

    one = verbs.add_parser("down", help="remove a lab and every trace of it; no error if there is none")
    which = _lab_option(one)
    which.add_argument("--stale", action="store_true", help="every lab that `list` calls stale")
    one.set_defaults(run=_down)

    one = verbs.add_parser("list", help="the labs on this machine")
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=_list)

    one = verbs.add_parser("inventory", help="print a lab's Ansible inventory")
    _lab_option(one)
    one.add_argument("--script", action="store_true", help="as an inventory script: JSON, empty without a lab")
    one.set_defaults(run=_inventory)

    one = verbs.add_parser("exec", help="run a command on a host, or open a shell")
    one.add_argument("lab", metavar="LAB")
    one.add_argument("host", metavar="HOST")
    one.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    one.set_defaults(run=_exec)

    one = verbs.add_parser("base", help="build a suite's base image, unless it is cached, and print its path")
    one.add_argument("suite", choices=images.SUITES)
    _install_option(one)
    one.set_defaults(run=_base)

    one = verbs.add_parser("bake", help="run a command against a fresh host and keep the result as a base")
    one.add_argument("name", metavar="NAME")
    one.add_argument("--base", default="bookworm", metavar="BASE")
    key = one.add_mutually_exclusive_group(required=True)
    key.add_argument("--key", metavar="KEY", help="version of the layer: NAME:KEY is baked once")
    key.add_argument("--key-of", nargs="+", type=Path, metavar="PATH", help="derive it from these files")
    one.add_argument("command", nargs="+", metavar="-- COMMAND", help="finds the host by $ANSIBLE_INVENTORY")
    _guest_options(one)
    one.set_defaults(run=_bake)

    one = verbs.add_parser("requirements", help="say what this machine lacks")
    _install_option(one)
    one.set_defaults(run=_requirements)

    one = verbs.add_parser("_supervise")
    one.add_argument("directory", type=Path)
    one.add_argument("host")
    one.set_defaults(run=_supervise)
    return top


def _lab_option(verb: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--lab", metavar="NAME")
    which.add_argument("--scenario", metavar="NAME", help="the lab that this checkout has for a Molecule scenario")
    return which


def _lab_name(options: argparse.Namespace) -> str:
    if options.scenario:
        return scenario_lab(options.scenario, lab.CHECKOUT)
    name: str = options.lab
    return name


def _guest_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="SRC:DST[:ro]",
        help="show a directory of this machine in every host",
    )
    verb.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for /etc/environment")
    _install_option(verb)


def _install_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--install-missing", action="store_true", help="apt-get install what this machine lacks")


def _setup(options: argparse.Namespace) -> Setup:
    binds = tuple(Bind.parse(text) for text in options.bind)
    return Setup(binds, tuple(parse_environment(text) for text in options.env))


def _up(options: argparse.Namespace) -> int:
    requirements.ensure(options.install_missing)
    hosts = [parse_host(text, options.base) for text in options.hosts]
    made = lab.up(
        _lab_name(options),
        hosts,
        _setup(options),
        int(options.owner) if options.owner else None,
        options.timeout,
    )
    print(state_dir() / made.name / "inventory.yml")
    return 0


def _down(options: argparse.Namespace) -> int:
    stale = [found.name for found in lab.labs() if lab.condition(found).startswith("stale")]
    for name in stale if options.stale else [_lab_name(options)]:
        if lab.down(name):
            print(f"removed lab {name}", file=sys.stderr)
    return 0


def _list(options: argparse.Namespace) -> int:
    rows = [
        {
            "lab": found.name,
            "network": str(found.network),
            "condition": lab.condition(found),
            "hosts": {host.name: {"address": host.address, "base": host.base} for host in found.hosts},
            "age_seconds": round(time.time() - found.created),
            "checkout": found.checkout,
        }
        for found in lab.labs()
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for found, row in zip(lab.labs(), rows):
        print(f"{found.name}: {row['condition']} ({found.network}, {row['age_seconds']} s old, {found.checkout})")
        for host in found.hosts:
            print(f"  {host.name:<24} {host.address:<16} {host.base}")
    return 0


def _inventory(options: argparse.Namespace) -> int:
    name = _lab_name(options)
    directory = state_dir() / name
    if options.script:
        print(inventory.as_json(lab.find(name), directory))
    else:
        print(inventory.as_yaml(lab.get(name), directory), end="")
    return 0


def _exec(options: argparse.Namespace) -> int:
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    return subprocess.run(lab.ssh_command(lab.get(options.lab), options.host, words), check=False).returncode


def _base(options: argparse.Namespace) -> int:
    requirements.ensure(options.install_missing)
    print(images.ensure_base(options.suite))
    return 0


def _bake(options: argparse.Namespace) -> int:
    requirements.ensure(options.install_missing)
    layer = bake.bake(
        options.name,
        options.key or bake.key_of(options.key_of, images.resolve(options.base)),
        options.base,
        options.command,
        _setup(options),
    )
    if layer is None:
        raise LabError(f"{options.command[0]} failed: nothing is kept")
    print(f"{layer.name}:{layer.key}")
    return 0


def _requirements(options: argparse.Namespace) -> int:
    requirements.ensure(options.install_missing)
    print("this machine can run test hosts", file=sys.stderr)
    return 0


def _supervise(options: argparse.Namespace) -> int:
    found = lab.get(options.directory.name)
    host = next(host for host in found.hosts if host.name == options.host)
    return guest.supervise(found, host, options.directory / "hosts" / host.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; its failure is one message, not a traceback."""
    options = parser().parse_args(argv)
    # A shell that became root by `su` lacks the directories of root's programs.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    verb: Callable[[argparse.Namespace], int] = options.run
    try:
        return verb(options)
    except LabError as error:
        print(f"testhost: {error}", file=sys.stderr)
        return 1
