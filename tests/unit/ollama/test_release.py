"""Releases: fetched, held against their checksums, complete or not there."""

from __future__ import annotations

import hashlib
import http.client
import io
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llm.serving.plugins.module_utils.ollama.release import Release, Source, install, installed
from ansible_collections.llm.serving.plugins.module_utils.ollama.values import OllamaError

NAME = "ollama-linux-amd64.tgz"


def run(command: Sequence[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def no_network(address: str) -> io.BytesIO:
    raise OSError(f"no network for {address}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    pack(path / NAME, {"bin/ollama": b"#!/bin/sh\n", "lib/ollama/llama-server": b"x"})
    return path


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))


def release(folder: Path, version: str = "1.0") -> Release:
    return Release(version, [NAME], {NAME: hashlib.sha256((folder / NAME).read_bytes()).hexdigest()})


def test_install_from_a_folder_of_the_host(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    install(root, release(folder), Source(str(folder), no_network), run)
    assert installed(root) == ["1.0"]
    assert sorted(path.name for path in (root / "1.0").iterdir()) == ["bin", "lib"]
    assert (root / "1.0").stat().st_mode & 0o777 == 0o755


def test_install_by_url(folder: Path, tmp_path: Path) -> None:
    asked = []

    def open_url(address: str) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO((folder / NAME).read_bytes())

    install(tmp_path / "opt", release(folder), Source("http://mirror/v1/", open_url), run)
    assert asked == [f"http://mirror/v1/{NAME}"]


def test_another_checksum_is_refused_and_nothing_stays(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    wrong = Release("1.0", [NAME], {NAME: "sha256:" + "0" * 64})
    with pytest.raises(OllamaError, match="is not what it should be: expected SHA-256 0000"):
        install(root, wrong, Source(str(folder), no_network), run)
    assert list(root.iterdir()) == []


def test_an_archive_without_the_program_is_refused(folder: Path, tmp_path: Path) -> None:
    pack(folder / NAME, {"README": b"x"})
    with pytest.raises(OllamaError, match="expected bin/ollama in"):
        install(tmp_path / "opt", release(folder), Source(str(folder), no_network), run)
    assert installed(tmp_path / "opt") == []


def test_a_damaged_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / NAME).write_bytes(b"not an archive")
    with pytest.raises(OllamaError, match="cannot be unpacked"):
        install(tmp_path / "opt", release(folder), Source(str(folder), no_network), run)


def test_a_server_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(OllamaError, match=r"http://mirror/.* cannot be read: no network .* Check ollama_base_url"):
        install(tmp_path / "opt", Release("1.0", [NAME], {NAME: "0" * 64}), Source("http://mirror", no_network), run)


def test_checksums_beside_the_archives(folder: Path) -> None:
    (folder / "sha256sum.txt").write_text(f"{'A' * 64}  ./{NAME}\r\n{'b' * 64} *ollama-linux-arm64.tgz\n\n")
    found = Source(str(folder), no_network).checksums()
    assert found == {NAME: "a" * 64, "ollama-linux-arm64.tgz": "b" * 64}


@pytest.mark.parametrize("text", ["", "abc\n", "<html>\n<body>Not found</body>\n", "\xff\xfe\n"])
def test_a_file_of_checksums_without_any_is_refused(folder: Path, text: str) -> None:
    (folder / "sha256sum.txt").write_text(text, "latin-1")
    with pytest.raises(OllamaError, match="holds no SHA-256"):
        Source(str(folder), no_network).checksums()


@pytest.mark.parametrize("digest", [None, 12, "", "abc", "md5:" + "0" * 64])
def test_what_is_no_checksum_is_refused(folder: Path, tmp_path: Path, digest: Any) -> None:
    with pytest.raises(OllamaError, match=f"expected the SHA-256 of {NAME} as 64 hexadecimal digits"):
        install(tmp_path / "opt", Release("1.0", [NAME], {NAME: digest}), Source(str(folder), no_network), run)


@pytest.mark.parametrize("version", ["", "../1.0", "a/b", ".new-1", "/srv"])
def test_a_version_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path, version: str) -> None:
    with pytest.raises(OllamaError, match="without folders"):
        install(tmp_path / "opt", release(folder, version), Source(str(folder), no_network), run)
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


@pytest.mark.parametrize("member", ["../../escaped", "../escaped"])
def test_an_archive_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path, member: str) -> None:
    pack(folder / NAME, {"bin/ollama": b"x", member: b"x"})
    with pytest.raises(OllamaError, match="cannot be unpacked"):
        install(tmp_path / "opt", release(folder), Source(str(folder), no_network), run)
    assert list((tmp_path / "opt").iterdir()) == []
    assert not list(tmp_path.rglob("escaped"))


class CutOff(io.BytesIO):
    """An answer in chunks that ends within one."""

    def read(self, size: int | None = -1) -> bytes:
        raise http.client.IncompleteRead(b"")


def test_an_answer_that_ends_early_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OllamaError, match="was cut off"):
        install(tmp_path / "opt", release(folder), Source("http://mirror", lambda _url: CutOff()), run)


def test_an_archive_that_is_not_listed_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OllamaError, match=f"expected a checksum of {NAME}"):
        install(tmp_path / "opt", Release("1.0", [NAME], {}), Source(str(folder), no_network), run)


def test_the_link_and_unfinished_folders_are_no_releases(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    for version in ("2.0", "1.0"):
        install(root, release(folder, version), Source(str(folder), no_network), run)
    (root / "current").symlink_to(root / "1.0")
    (root / ".new-x" / "bin").mkdir(parents=True)
    (root / ".new-x" / "bin" / "ollama").touch()
    assert installed(root) == ["2.0", "1.0"]
