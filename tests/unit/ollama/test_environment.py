"""The server's variables: checked, translated, rendered, and found again in its own line."""

from __future__ import annotations

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.environment import (
    GIB,
    READ_AS,
    RETIRED,
    Gpu,
    differences,
    parse_config,
    render,
    settings,
    visible,
)
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import (
    FOREVER_SECONDS,
    OllamaError,
    address,
    duration_seconds,
    size_bytes,
    url,
)

GPUS = [Gpu(0, "H100", 80 * GIB, "GPU-aaa"), Gpu(1, "H100", 80 * GIB, "GPU-bbb")]
# As Ollama 0.32.15 wrote it, cut to what differs in kind.
LINE = (
    'time=2026-11-24T11:28:23.088Z level=INFO source=routes.go:1951 msg="server config" env="map['
    "CUDA_VISIBLE_DEVICES:0 HTTPS_PROXY: LLAMA_ARG_FIT_TARGET: "
    "OLLAMA_CONTEXT_LENGTH:0 OLLAMA_DEBUG:DEBUG-4 OLLAMA_FLASH_ATTENTION:false "
    "OLLAMA_GPU_OVERHEAD:0 OLLAMA_HOST:http://0.0.0.0:11434 OLLAMA_KEEP_ALIVE:24h0m0s OLLAMA_LOAD_TIMEOUT:5m0s "
    "OLLAMA_MAX_QUEUE:1024 OLLAMA_MODELS:/srv/my models OLLAMA_NO_CLOUD:true OLLAMA_NUM_PARALLEL:6 "
    "OLLAMA_ORIGINS:[https://chat.example.org http://localhost https://localhost http://localhost:* app://*] "
    'OLLAMA_REMOTES:[ollama.com] OLLAMA_SCHED_SPREAD:false http_proxy: no_proxy:]"'
)


def test_the_seeds_unit_is_accepted_and_its_retired_variable_translated() -> None:
    seed = {
        "OLLAMA_HOST": "0.0.0.0:11434",
        "OLLAMA_MAX_LOADED_MODELS": "2",
        "OLLAMA_NUM_PARALLEL": "6",
        "OLLAMA_MAX_QUEUE": "1024",
        "OLLAMA_MAX_VRAM": "60GB",
        "PATH": "/usr/local/bin:/usr/bin",
    }
    result = settings(seed, "nvidia", GPUS[:1])
    overhead = 80 * GIB - 60 * 10**9
    assert result.environment["OLLAMA_GPU_OVERHEAD"] == str(overhead)
    assert result.environment["LLAMA_ARG_FIT_TARGET"] == str(-(-overhead // 2**20))
    assert "OLLAMA_MAX_VRAM" not in result.environment
    (warning,) = result.warnings
    assert "OLLAMA_MAX_VRAM" in warning and "OLLAMA_GPU_OVERHEAD" in warning


def test_a_limit_is_shared_by_the_visible_cards() -> None:
    both = settings({"OLLAMA_MAX_VRAM": "120GiB"}, "nvidia", GPUS)
    assert both.environment["OLLAMA_GPU_OVERHEAD"] == str(20 * GIB)
    one = settings({"OLLAMA_MAX_VRAM": "60GiB", "OLLAMA_NUM_GPU": 1}, "nvidia", GPUS)
    assert (one.environment["OLLAMA_GPU_OVERHEAD"], one.environment["CUDA_VISIBLE_DEVICES"]) == (str(20 * GIB), "0")


def test_a_limit_above_the_cards_keeps_nothing_free() -> None:
    assert settings({"OLLAMA_MAX_VRAM": "1TB"}, "nvidia", GPUS).environment == {"OLLAMA_GPU_OVERHEAD": "0"}


def test_a_limit_of_zero_was_none() -> None:
    result = settings({"OLLAMA_MAX_VRAM": 0}, "nvidia", GPUS)
    assert result.environment == {}
    assert "meant no limit" in result.warnings[0]


def test_a_card_that_is_split_is_one_gpu() -> None:
    parts = [
        Gpu(0, "MIG 1g", 10 * GIB, "MIG-a"),
        Gpu(0, "MIG 1g", 10 * GIB, "MIG-b"),
        Gpu(1, "H100", 80 * GIB, "GPU-c"),
    ]
    assert settings({"OLLAMA_NUM_GPU": 2}, "nvidia", parts).environment == {"CUDA_VISIBLE_DEVICES": "0,1"}


def test_a_limit_without_gpu_does_nothing_and_says_so() -> None:
    result = settings({"OLLAMA_MAX_VRAM": "60GB"}, None, [])
    assert result.environment == {}
    assert "does nothing" in result.warnings[0]


@pytest.mark.parametrize(
    ("vendor", "count", "expected"),
    [("nvidia", 2, {"CUDA_VISIBLE_DEVICES": "0,1"}), ("amd", 1, {"ROCR_VISIBLE_DEVICES": "0"}), (None, 1, {})],
)
def test_number_of_gpus(vendor: str | None, count: int, expected: dict[str, str]) -> None:
    result = settings({"OLLAMA_NUM_GPU": count}, vendor, GPUS if vendor else [])
    assert result.environment == expected
    assert "OLLAMA_NUM_GPU is not read" in result.warnings[0]


def test_number_of_gpus_zero_hides_all() -> None:
    assert settings({"OLLAMA_NUM_GPU": 0}, "nvidia", GPUS).environment == {"CUDA_VISIBLE_DEVICES": "-1"}


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(OllamaError, match="OLLAMA_NUM_GPU=3: this host has 2 GPUs"):
        settings({"OLLAMA_NUM_GPU": 3}, "nvidia", GPUS)


def test_layers_become_the_models_parameter() -> None:
    result = settings({"OLLAMA_GPU_LAYERS": 33}, "nvidia", GPUS)
    assert (result.layers, result.environment) == (33, {})
    assert "OLLAMA_GPU_LAYERS" in result.warnings[0] and "num_gpu" in result.warnings[0]


def test_new_names_win_over_old_ones() -> None:
    wanted = {
        "OLLAMA_MAX_VRAM": "60GB",
        "OLLAMA_GPU_OVERHEAD": "2GiB",
        "OLLAMA_NUM_GPU": 1,
        "CUDA_VISIBLE_DEVICES": "1",
    }
    result = settings(wanted, "nvidia", GPUS)
    assert result.environment["OLLAMA_GPU_OVERHEAD"] == str(2 * GIB)
    assert result.environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert all("wins" in warning for warning in result.warnings) and len(result.warnings) == 2


def test_unknown_variables_are_passed_on_with_a_warning() -> None:
    result = settings({"OLLAMA_FANCY": 1, "PATH": "/bin"}, None, [])
    assert result.environment == {"OLLAMA_FANCY": "1", "PATH": "/bin"}
    assert "OLLAMA_FANCY" in result.warnings[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OLLAMA_NUM_PARALLEL", "six", "expected a whole number"),
        ("OLLAMA_KEEP_ALIVE", "5 minutes", "expected a duration"),
        ("OLLAMA_SCHED_SPREAD", "ja", "expected true or false"),
        ("OLLAMA_HOST", "a:b:c:d:x", "expected OLLAMA_HOST"),
        ("OLLAMA_HOST", "0.0.0.0:0", "expected a port from 1 to 65535"),
        ("OLLAMA_MODELS", "models", "absolute path"),
        ("OLLAMA_MODELS", "/", "of its own"),
        ("OLLAMA_MODELS", "/var/../srv/", "of its own"),
        ("OLLAMA_MAX_VRAM", "lots", "expected a size"),
        ("OLLAMA_DEBUG", "loud", "expected true, false or a level"),
        ("HTTPS_PROXY", "http://me:secret@proxy:3128", "prints its proxies into the journal"),
        ("HTTPS_PROXY", "http://me:secret@[::1", "expected the URL of a proxy"),
        ("OLLAMA_NUM_PARALLEL", "²", "expected a whole number"),
        ("OLLAMA_CONTEXT_LENGTH", "9" * 30, "expected a whole number"),
        ("OLLAMA_MAX_VRAM", "9" * 400, "expected a size of at most"),
        ("OLLAMA_KEEP_ALIVE", "9" * 400, "expected a duration"),
        ("A B", "x", "expected a variable's name"),
        ("A\n", "x", "expected a variable's name"),
        ("PATH", "a\nb", "one line of text"),
    ],
)
def test_values_that_are_none_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(OllamaError, match=message) as caught:
        settings({name: value}, "nvidia", GPUS)
    assert "secret" not in str(caught.value)


def test_the_servers_line_is_read() -> None:
    config = parse_config(["other", LINE, "other"])
    assert config is not None
    assert config["OLLAMA_MODELS"] == "/srv/my models"
    assert config["HTTPS_PROXY"] == ""
    assert config["OLLAMA_ORIGINS"].startswith("[https://chat.example.org http://localhost")
    assert parse_config(["no such line"]) is None


# Every variable as an operator writes it; the server's line has each in its own words.
IN_FORCE = {
    "OLLAMA_HOST": "0.0.0.0",  # noqa: S104
    "OLLAMA_KEEP_ALIVE": "24h",
    "OLLAMA_LOAD_TIMEOUT": "300",
    "OLLAMA_DEBUG": "2",
    "OLLAMA_FLASH_ATTENTION": "false",
    "OLLAMA_ORIGINS": "https://chat.example.org",
    "OLLAMA_REMOTES": "ollama.com",
    "OLLAMA_MAX_QUEUE": "1024",
    "OLLAMA_MODELS": "/srv/my models",
    "OLLAMA_NO_CLOUD": "1",
    "OLLAMA_NUM_PARALLEL": "6",
    "CUDA_VISIBLE_DEVICES": "0",
}
NOT_IN_FORCE = {
    "OLLAMA_HOST": "127.0.0.1",
    "OLLAMA_KEEP_ALIVE": "-1",
    "OLLAMA_LOAD_TIMEOUT": "10m",
    "OLLAMA_DEBUG": "true",
    "OLLAMA_FLASH_ATTENTION": "true",
    "OLLAMA_ORIGINS": "https://elsewhere.example.org",
    "OLLAMA_REMOTES": "example.org",
    "OLLAMA_MAX_QUEUE": "512",
    "OLLAMA_MODELS": "/srv/models",
    "OLLAMA_NO_CLOUD": "false",
    "OLLAMA_NUM_PARALLEL": "1",
    "CUDA_VISIBLE_DEVICES": "1",
}


@pytest.mark.parametrize("name", IN_FORCE)
def test_a_setting_in_force_is_recognised_whatever_its_spelling(name: str) -> None:
    config = parse_config([LINE]) or {}
    assert differences({name: IN_FORCE[name]}, config) == []
    (complaint,) = differences({name: NOT_IN_FORCE[name]}, config)
    assert complaint.startswith(f"{name}: expected")


@pytest.mark.parametrize("value", ["0", "0s"])
def test_a_load_timeout_of_0_is_for_ever_and_a_keep_alive_of_0_is_not(value: str) -> None:
    config = {"OLLAMA_LOAD_TIMEOUT": "2562047h47m16.854775807s", "OLLAMA_KEEP_ALIVE": "0s"}
    assert differences({"OLLAMA_LOAD_TIMEOUT": value}, config) == []
    assert differences({"OLLAMA_KEEP_ALIVE": "0"}, config) == []
    assert differences({"OLLAMA_KEEP_ALIVE": "0"}, {"OLLAMA_KEEP_ALIVE": config["OLLAMA_LOAD_TIMEOUT"]}) != []


def test_rendered_lines_are_sorted_and_quoted_for_systemd() -> None:
    assert render({"B": 'say "$x"', "A": "1,2", "C": ""}) == 'A=1,2\nB="say \\"\\$x\\""\nC=""\n'


def test_visible_cards_by_index_and_uuid() -> None:
    assert [gpu.index for gpu in visible(GPUS, {"CUDA_VISIBLE_DEVICES": "GPU-bbb"})] == [1]
    assert [gpu.index for gpu in visible(GPUS, {"CUDA_VISIBLE_DEVICES": "0"})] == [0]
    assert visible(GPUS, {"CUDA_VISIBLE_DEVICES": "-1"}) == []
    assert [gpu.index for gpu in visible(GPUS, {"HIP_VISIBLE_DEVICES": "1"})] == [1]
    assert visible(GPUS, {}) == GPUS


def test_retired_names_are_not_among_those_that_are_read() -> None:
    assert not set(RETIRED) & set(READ_AS)


@pytest.mark.parametrize(("text", "expected"), [("60GB", 60 * 10**9), ("1.5 GiB", 3 * 2**29), ("1024", 1024)])
def test_sizes(text: str, expected: int) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("5m", 300), ("1h30m", 5400), ("90", 90), ("-1", FOREVER_SECONDS), ("250ms", 0.25)]
)
def test_durations(text: str, expected: float) -> None:
    assert duration_seconds(text) == expected


def test_for_ever_is_the_same_in_both_spellings() -> None:
    assert duration_seconds("2562047h47m16.854775807s") == duration_seconds("-1m")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0:11434", ("0.0.0.0", 11434)),  # noqa: S104
        ("0.0.0.0", ("0.0.0.0", 11434)),  # noqa: S104
        (":8080", ("127.0.0.1", 8080)),
        ("http://10.0.0.5", ("10.0.0.5", 80)),
        ("[::]:9000", ("::", 9000)),
        ("::1", ("::1", 11434)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


def test_a_wildcard_is_reached_by_loopback() -> None:
    assert (url("0.0.0.0:11434"), url("[::]:9000")) == ("http://127.0.0.1:11434", "http://[::1]:9000")
