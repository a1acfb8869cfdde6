"""The short way: a look that plans, compares and asks, and what it leaves to the long way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.engines import settled as short
from ansible_collections.llm.serving.plugins.module_utils.engines.entries import instances
from ansible_collections.llm.serving.plugins.module_utils.engines.keeper import OPTIONS, Keeper, Wanted
from ansible_collections.llm.serving.plugins.module_utils.engines.variants import variant
from ansible_collections.llm.serving.plugins.module_utils.sizing.on_host import plan_wishes
from openai.server import serving
from openai.test_checks import good
from sizing.samples import TINY

LOG = (Path(__file__).parent / "logs" / "started.log").read_text("utf-8")
SHOW = "Id={}\nActiveState=active\nUnitFileState=enabled\nInvocationID=abc\n\n"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1"}
Change = Callable[..., dict[str, Any]]


def secrets(key: str) -> str:
    return json.dumps({"instances": {"tiny": {"VLLM_API_KEY": key}}, "api_key": key})


class System:
    """A host whose units all run, and that moves files."""

    def __init__(self, folder: Path) -> None:
        self.tmpdir = str(folder)

    def run_command(self, args: Sequence[str], cwd: str | None = None) -> tuple[int, str, str]:
        if args[:2] == ["systemctl", "show"]:
            return 0, "".join(SHOW.format(unit) for unit in args if unit.startswith("vllm@")), ""
        return (0, LOG, "") if "journalctl" in args else (0, "", "")

    def atomic_move(self, src: str, dest: str) -> None:
        Path(src).replace(dest)

    def set_owner_if_different(self, path: str, owner: str, changed: bool) -> bool:
        return changed

    def set_group_if_different(self, path: str, group: str, changed: bool) -> bool:
        return changed


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host that serves a model as it is asked to, by an engine that answers at a URL."""
    monkeypatch.setattr("shutil.which", lambda _: None)  # nobody is asked what the user vllm may read
    model = tmp_path / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(TINY))
    with serving(good()) as url:
        yield Host(tmp_path, model, int(url.rpartition(":")[2]))


class Host:
    """What vllm_facts would find, and what the role would ask it for."""

    def __init__(self, folder: Path, model: Path, port: int) -> None:
        self.system = System(folder)
        self.facts: dict[str, Any] = {
            "engines": [{"name": "0.32.0-cpu", "build": "b1"}],
            "user_exists": True,
            "lock": None,
            "instances": [{"name": "tiny", "active": "active"}],
            "models": {"tiny": {"path": str(model)}},
            "measurements": {},
            "memory_total_bytes": 24 << 30,
            "memory_available_bytes": 20 << 30,
            "cpu_count": 2,
            "numa_nodes": 1,
        }
        deployment = {name: option.get("default") for name, option in OPTIONS.items()}
        deployment |= {"environment": ENVIRONMENT, "unit": "[Service]\n", "engine": "0.32.0-cpu b1", "group": "root"}
        deployment |= {"config_dir": str(folder / "etc"), "unit_dir": str(folder)}
        self.offer: dict[str, Any] = {
            "variant": "cpu",
            "engine": "0.32.0-cpu",
            "build": "b1",
            "vllm_version": "0.32.0",
            "models": [{"name": "tiny", "model": "org/tiny", "host": "127.0.0.1", "port": port}],
            "deployment": deployment,
        }
        self.serve: dict[str, Any] = {
            "variant": "auto",
            "offers": [{**self.offer, "variant": "cuda", "engine": "0.33.0-cuda"}, self.offer],
            "secrets": secrets("sk-hidden"),
            "reserved_bytes": 0,
            "recalibrate": False,
            "checks": ["health", "models", "chat"],
        }
        self.configure(model)

    def configure(self, model: Path) -> None:
        """Bring the instance to where the long way would."""
        wishes = [{**self.offer["models"][0], "model": str(model)}]
        facts = {**self.facts, "reserved_bytes": 0, "running": ["tiny"]}
        plans = plan_wishes(wishes, facts, {}, "0.32.0", {})[0]
        entries = instances([{"name": "tiny", "secrets": {"VLLM_API_KEY": "sk-hidden"}}], plans, ENVIRONMENT, {})
        wanted = Wanted.read(entries, self.offer["deployment"])
        Keeper(self.system, wanted, dry=False).keep()
        for instance in wanted.instances:
            stamp = Path(self.offer["deployment"]["config_dir"]) / ".started" / instance.name
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(wanted.digest(instance))

    def look(self, models: Sequence[str] = ("tiny",)) -> dict[str, Any]:
        """Take the short way."""
        return short.settled(self.system, self.facts, {"vendor": None, "devices": []}, self.serve, models)


def test_a_host_that_lacks_nothing_is_planned_compared_and_asked(host: Host) -> None:
    found = host.look()
    assert (found["pending"], found["actions"]) == (False, {"tiny": "unchanged"})
    (plan,) = found["plans"]
    (probe,) = found["probes"]
    assert plan["engine_args"]["model"] == host.facts["models"]["tiny"]["path"]
    assert set(probe["checks"]) == {"health", "models", "chat"}
    assert probe["engine_log"]["kv_cache_tokens"] == 4194304
    assert probe["item"]["name"] == "tiny"
    assert "sk-hidden" not in json.dumps(found)


def test_a_change_is_told_and_nobody_is_asked(host: Host) -> None:
    host.offer["models"][0]["max_num_seqs"] = 3
    found = host.look()
    assert (found["pending"], found["actions"]) == (True, {"tiny": "restarted"})
    assert "probes" not in found


def test_another_secret_is_a_change(host: Host) -> None:
    host.serve["secrets"] = secrets("sk-other")
    assert host.look()["pending"]


def test_an_engine_that_does_not_answer_is_asked_again_by_the_long_way(host: Host) -> None:
    host.serve["checks"] = ["health", "models"]
    with serving(good()) as url:
        host.offer["models"][0]["port"] = int(url.rpartition(":")[2])
        host.configure(Path(host.facts["models"]["tiny"]["path"]))
    found = host.look()
    assert (found["pending"], "probes" in found) == (False, False)


def test_an_engine_that_serves_another_model_is_asked_again_by_the_long_way(host: Host) -> None:
    host.offer["models"][0]["served_model_name"] = "another"
    host.configure(Path(host.facts["models"]["tiny"]["path"]))
    found = host.look()
    assert (found["pending"], "probes" in found) == (False, False)


def test_without_checks_nobody_is_asked(host: Host) -> None:
    host.serve["checks"] = []
    assert "probes" not in host.look()


@pytest.mark.parametrize(
    "lacking",
    [
        {"engines": [{"name": "0.32.0-cpu", "build": None}]},
        {"engines": [{"name": "0.32.0-cpu", "build": "older"}]},
        {"engines": []},
        {"user_exists": False},
        {"models": {}},
        {"lock": {"who": "anna"}},
    ],
)
def test_whatever_is_missing_is_left_to_the_long_way(host: Host, lacking: dict[str, Any]) -> None:
    host.facts |= lacking
    assert host.look() == {}


def test_a_model_that_cannot_be_planned_is_left_to_the_long_way(host: Host) -> None:
    host.offer["models"][0]["max_model_len"] = 10**9
    assert host.look() == {}


def test_an_option_that_the_engine_does_not_know_is_left_to_the_long_way(host: Host, tmp_path: Path) -> None:
    (tmp_path / "options.txt").write_text("model\n")
    host.offer["deployment"]["options_file"] = str(tmp_path / "options.txt")
    assert host.look() == {}


def test_a_variant_that_was_not_offered_is_left_to_the_long_way(host: Host) -> None:
    host.serve["variant"] = "rocm"
    assert host.look() == {}


@pytest.mark.parametrize(
    ("gpu", "asked", "wanted"),
    [
        ({"vendor": "nvidia", "devices": [{}]}, "auto", "cuda"),
        ({"vendor": "amd", "devices": [{}]}, "auto", "rocm"),
        ({"vendor": "intel", "devices": [{}]}, "auto", "xpu"),
        ({"vendor": "qualcomm", "devices": [{}]}, "auto", "qualcomm"),
        ({"vendor": "nvidia", "devices": []}, "auto", "cpu"),
        ({}, "auto", "cpu"),
        ({"vendor": "nvidia", "devices": [{}]}, "cpu", "cpu"),
    ],
)
def test_the_cards_choose_the_variant(gpu: dict[str, Any], asked: str, wanted: str) -> None:
    assert variant(gpu, asked) == wanted
