"""Models brought into the wanted state: check, run, check, run, and what goes wrong on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama import models
from ansible_collections.llm.serving.plugins.module_utils.ollama.models import Manager, Outcome, Records, wish_from
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError
from ansible_collections.llm.serving.plugins.module_utils.openai.client import Server

from .conftest import FakeOllama

DIGEST = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "RETRY_SECONDS", 0.01)


class Runner:
    """Applies entries with a record of its own."""

    def __init__(self, ollama: FakeOllama, record: Path) -> None:
        self.ollama, self.record = ollama, record
        self.said: list[str] = []

    def __call__(self, *entries: dict[str, Any], check: bool = False, retries: int = 3) -> list[Outcome]:
        server = Server(self.ollama.url)
        self.said = []
        manager = Manager(server, Records(self.record), check, self.said.append, retries)
        return manager.apply([wish_from(entry) for entry in entries])

    def four(self, entry: dict[str, Any]) -> list[bool]:
        """check, run, check, run: the four `changed`."""
        return [self(entry, check=check)[0].changed for check in (True, False, True, False)]


@pytest.fixture
def run(ollama: FakeOllama, tmp_path: Path) -> Runner:
    return Runner(ollama, tmp_path / "state" / "record.json")


def test_pull_is_idempotent_and_check_mode_changes_nothing(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    assert run({"name": "small"}, check=True)[0].action == "pulled"
    assert ollama.changes() == []
    assert run.four({"name": "small"}) == [True, True, False, False]


def test_pinned_digest_is_kept_and_another_is_refused(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    assert run.four({"name": "small", "digest": f"sha256:{DIGEST[:12]}"}) == [True, True, False, False]
    with pytest.raises(OllamaError, match=r"the registry has abab.* by that name now"):
        run({"name": "small", "digest": OTHER})


def test_latest_is_changed_only_when_the_registry_has_another(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    wish = {"name": "small", "state": "latest"}
    assert [run(wish)[0].changed, run(wish)[0].changed] == [True, False]
    ollama.registry["small:latest"] = OTHER
    assert run(wish)[0].changed


def test_absent(run: Runner, ollama: FakeOllama) -> None:
    ollama.models["small:latest"] = {"digest": DIGEST, "size": 1}
    assert run.four({"name": "small", "state": "absent"}) == [True, True, False, False]


def test_created_from_a_file_by_its_recipe(run: Runner, ollama: FakeOllama, tiny_gguf: Path) -> None:
    wish = {"name": "tiny", "from": str(tiny_gguf), "parameters": {"num_ctx": 2048}}
    assert run.four(wish) == [True, True, False, False]
    assert run({**wish, "parameters": {"num_ctx": 4096}})[0].changed
    assert run({**wish, "parameters": {"num_ctx": 4096}, "system": "Be brief."})[0].changed


def test_another_file_at_the_same_path_is_another_model(run: Runner, tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_gguf.read_bytes())
    assert run({"name": "m", "from": str(path)})[0].changed
    path.write_bytes(tiny_gguf.read_bytes() + b"\0")
    assert run({"name": "m", "from": str(path)})[0].changed


def test_an_unchanged_file_is_not_hashed_again(run: Runner, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run({"name": "m", "from": str(tiny_gguf)})
    monkeypatch.setattr(models, "_sha256", lambda path: pytest.fail(f"hashed {path} again"))
    assert not run({"name": "m", "from": str(tiny_gguf)})[0].changed


def test_a_model_changed_by_somebody_else_is_made_anew(run: Runner, ollama: FakeOllama, tiny_gguf: Path) -> None:
    run({"name": "m", "from": str(tiny_gguf)})
    ollama.models["m:latest"]["digest"] = OTHER
    assert run({"name": "m", "from": str(tiny_gguf)})[0].changed


def test_derived_model_pulls_its_base_and_follows_it(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    wish = {"name": "long", "from": "small", "parameters": {"num_ctx": 32768}}
    assert run.four(wish) == [True, True, False, False]
    ollama.models["small:latest"]["digest"] = OTHER
    assert run(wish)[0].changed


def test_modelfile_with_an_adapter(run: Runner, ollama: FakeOllama, tiny_gguf: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "lora.gguf"
    adapter.write_bytes(b"adapter")
    text = f"FROM {tiny_gguf}\nADAPTER {adapter}\nPARAMETER temperature 0.2\n"
    assert run({"name": "m", "modelfile": text})[0].transferred_bytes == tiny_gguf.stat().st_size + len(b"adapter")
    assert not run({"name": "m", "modelfile": text})[0].changed


def test_parameters_of_a_pulled_model(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    assert run.four({"name": "small", "parameters": {"num_gpu": 0, "num_ctx": 4096}}) == [True, True, False, False]
    assert run({"name": "small", "parameters": {"num_gpu": 1}})[0].action == "parameters set"


def test_a_pull_that_is_cut_off_goes_on(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    ollama.cut_pulls = 1
    (outcome,) = run({"name": "small"})
    assert (outcome.action, outcome.resumed_bytes) == ("pulled", 400)
    assert any("going on where it stopped" in line for line in run.said)
    assert any("% of" in line for line in run.said)


def test_a_pull_that_is_always_cut_off_fails(run: Runner, ollama: FakeOllama) -> None:
    ollama.registry["small:latest"] = DIGEST
    ollama.cut_pulls = 9
    with pytest.raises(OllamaError, match=r"small:latest: .*cut off"):
        run({"name": "small"}, retries=1)


def test_what_was_done_before_a_failure_is_on_record(run: Runner, tiny_gguf: Path) -> None:
    with pytest.raises(OllamaError):
        run({"name": "m", "from": str(tiny_gguf)}, {"name": "nowhere"})
    assert not run({"name": "m", "from": str(tiny_gguf)})[0].changed


def test_failures_say_what_to_do(run: Runner) -> None:
    with pytest.raises(OllamaError, match=r"nowhere:latest: the registry has no such model .* Check its name and tag"):
        run({"name": "nowhere"})


# As Ollama 0.32.15 words them.
@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("pull model manifest: file does not exist", "Check its name and tag"),
        ('Get "https://r.example.org/v2/": dial tcp: lookup r.example.org: no such host', "HTTPS_PROXY"),
        ('Get "https://10.0.0.1:5000/v2/": http: server gave HTTP response to HTTPS client', "insecure: true"),
        ("http: no Location header in response", "redirects it to"),
        ("unauthorized: access denied", "id_ed25519.pub"),
        ("tls: failed to verify certificate: x509: signed by unknown authority", "not trusted"),
        (
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time"
            " 2019-01-01T00:00:09Z is before 2026-10-01T00:00:00Z",
            "Set the host's clock",
        ),
        ("something new", "something new"),
    ],
)
def test_the_servers_errors_are_explained(run: Runner, ollama: FakeOllama, error: str, advice: str) -> None:
    ollama.pull_error = error
    with pytest.raises(OllamaError, match=advice):
        run({"name": "small"})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a/b/c/d"}, "expected a model name"),
        ({"name": "../x"}, "expected a model name"),
        ({"name": "m", "digest": "abc"}, "expected digest as 12 to 64"),
        ({"name": "m", "digest": "sha256:"}, "expected digest as 12 to 64"),
        ({"name": "m", "digest": "z" * 12}, "expected digest as 12 to 64"),
        ({"name": "m", "from": "x", "modelfile": "FROM x"}, "either from or modelfile"),
        ({"name": "m", "digest": DIGEST, "parameters": {"num_ctx": 1}}, "a digest pins a model as the registry has it"),
        ({"name": "m", "system": "x"}, "need `from` or `modelfile`"),
    ],
)
def test_wishes_that_are_none_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(OllamaError, match=message):
        wish_from(entry)


def test_files_must_exist(run: Runner) -> None:
    with pytest.raises(OllamaError, match=r"expected a GGUF file at /no/such\.gguf on this host, found none"):
        run({"name": "m", "from": "/no/such.gguf"})
    with pytest.raises(OllamaError, match="absolute path"):
        run({"name": "m", "from": "./such.gguf"})


@pytest.mark.parametrize("text", ["{", "[]", '{"recipes": null, "hashes": []}'])
def test_a_damaged_record_is_made_anew(run: Runner, tiny_gguf: Path, text: str) -> None:
    run({"name": "m", "from": str(tiny_gguf)})
    run.record.write_text(text)
    assert [run({"name": "m", "from": str(tiny_gguf)})[0].changed for _ in range(2)] == [True, False]
    assert list(run.record.parent.iterdir()) == [run.record]
