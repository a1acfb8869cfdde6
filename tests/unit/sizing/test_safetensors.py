from __future__ import annotations

import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ansible_collections.llm.serving.plugins.module_utils.sizing import safetensors
from ansible_collections.llm.serving.plugins.module_utils.sizing.errors import SizingError
from ansible_collections.llm.serving.plugins.module_utils.sizing.safetensors import (
    fetch_checkpoint,
    from_index,
    read_checkpoint,
)


def write(path: Path, tensors: dict[str, tuple[str, list[int], int]], cut: int = 0) -> None:
    header, offset = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    content = struct.pack("<Q", len(raw)) + raw + bytes(offset)
    path.write_bytes(content[: len(content) - cut])


def test_shards_are_summed(tmp_path):
    write(tmp_path / "model-00001-of-00002.safetensors", {"a": ("BF16", [4, 4], 32)})
    write(tmp_path / "model-00002-of-00002.safetensors", {"b": ("F8_E4M3", [8], 8)})
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found.total_bytes == 40
    assert found.tensors["b"].dtype == "F8_E4M3"


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path):
    write(tmp_path / "model.safetensors", {"a": ("BF16", [4, 4], 32)})
    write(tmp_path / "consolidated.safetensors", {"wa": ("BF16", [4, 4], 32)})
    assert read_checkpoint(tmp_path).total_bytes == 32


def test_a_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SizingError, match=r"missing: model-00001-of-00001\.safetensors"):
        read_checkpoint(tmp_path)


def test_a_truncated_shard_is_found_by_its_own_header(tmp_path):
    write(tmp_path / "model.safetensors", {"a": ("BF16", [4, 4], 32)}, cut=1)
    with pytest.raises(SizingError, match="is truncated"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 4) + b"oops"])
def test_rubbish_is_no_safetensors_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SizingError, match="no safetensors file"):
        read_checkpoint(tmp_path)


def test_other_formats_count_by_file_size(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(100))
    (tmp_path / "training_args.bin").write_bytes(bytes(7))
    assert read_checkpoint(tmp_path).total_bytes == 100


def test_an_empty_directory_has_no_weights(tmp_path):
    assert read_checkpoint(tmp_path) is None


def test_total_from_an_index():
    assert from_index({"metadata": {"total_size": 61_000}}).total_bytes == 61_000
    assert from_index({}) is None


class Ranges(BaseHTTPRequestHandler):
    directory: Path
    served: list[int]

    def do_GET(self) -> None:
        content = (self.directory / self.path.lstrip("/")).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = content[int(first) : int(last) + 1]
        self.served.append(len(part))
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path):
    Ranges.directory, Ranges.served = tmp_path, []
    server = HTTPServer(("127.0.0.1", 0), Ranges)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_headers_are_read_before_a_download(tmp_path, hub):
    write(tmp_path / "model-00001-of-00002.safetensors", {"a": ("BF16", [1024, 1024], 2 << 20)})
    write(tmp_path / "model-00002-of-00002.safetensors", {"b": ("BF16", [1024, 1024], 2 << 20)})
    names = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    found = fetch_checkpoint(hub, names)
    assert found.total_bytes == 4 << 20
    assert sum(Ranges.served) <= 2 * safetensors.FIRST_READ_BYTES


def test_a_long_header_takes_a_second_request(tmp_path, hub, monkeypatch):
    monkeypatch.setattr(safetensors, "FIRST_READ_BYTES", 64)
    write(tmp_path / "model.safetensors", {f"layer.{index}": ("BF16", [2], 4) for index in range(50)})
    assert fetch_checkpoint(hub, ["model.safetensors"]).total_bytes == 200
    assert len(Ranges.served) == 2
