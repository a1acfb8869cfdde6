"""A model on a Hub, before it is downloaded: its configuration and the headers of its weights, nothing more.

Each safetensors file costs one or two range requests. The token goes to the Hub only, never to the CDN that it
redirects to.
"""

from __future__ import annotations

import http.client
import json
import ssl
import struct
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..hub.errors import ModelError
from ..hub.names import check_repo, check_revision, is_transformers_weight
from .errors import SizingError
from .safetensors import FIRST_READ_BYTES, INDEX_NAME, MAX_HEADER_BYTES, CheckpointSize, TensorInfo, parse_header

PARALLEL_REQUESTS = 8
# config.json and the index of a large model are a few megabytes at most.
MAX_JSON_BYTES = 64 * 1024**2
TIMEOUT_SECONDS = 20.0


class UnreachableError(SizingError):
    """Nobody answers at the endpoint."""


class _SameOrigin(urllib.request.HTTPRedirectHandler):
    """Repeats the token after a redirect only where the Hub redirects to itself, as for renamed repositories."""

    def redirect_request(  # noqa: PLR0917 - the library's own signature
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _origin(req.full_url) == _origin(newurl):
            for name, value in req.unredirected_hdrs.items():
                following.add_unredirected_header(name, value)
        return following


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


@dataclass(frozen=True)
class RemoteHub:
    """One endpoint, asked with one token or with none."""

    endpoint: str
    token: str = ""

    def read(self, repo: str, revision: str) -> tuple[dict[str, Any], CheckpointSize | None]:
        """Configuration and weights of a repository at a revision.

        Raises SizingError when there is no such model, UnreachableError when nobody answers.
        """
        try:
            check_repo(repo)
            check_revision(revision)
        except ModelError as error:
            raise SizingError(str(error), remedy="set model to organisation/name or to a directory") from error
        base = self.endpoint.rstrip("/")
        listing = self._json(f"{base}/api/models/{repo}/revision/{urllib.parse.quote(revision, safe='')}", repo)
        commit = str(listing.get("sha") or revision)
        files = {str(entry.get("rfilename")) for entry in listing.get("siblings") or ()}
        folder = f"{base}/{repo}/resolve/{urllib.parse.quote(commit, safe='')}"
        if "config.json" not in files:
            raise SizingError(
                f"{repo} has no config.json",
                expected="a model in the layout of Transformers",
                found=", ".join(sorted(files)[:5]) or "no files",
                remedy="name another repository; GGUF files are Ollama's",
            )
        config = self._json(f"{folder}/config.json", repo)
        if "hf_quant_config.json" in files and not config.get("quantization_config"):
            config["quantization_config"] = self._json(f"{folder}/hf_quant_config.json", repo)
        return config, self._checkpoint(folder, repo, files)

    def _checkpoint(self, folder: str, repo: str, files: set[str]) -> CheckpointSize | None:
        names = sorted(name for name in files if is_transformers_weight(name))
        if INDEX_NAME in files:
            mapping = self._json(f"{folder}/{INDEX_NAME}", repo).get("weight_map") or {}
            names = sorted(set(map(str, mapping.values())))
        if not names:
            return None
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            headers = pool.map(lambda name: self._header(f"{folder}/{urllib.parse.quote(name)}", repo), names)
            tensors = {name: tensor for header in headers for name, tensor in header.items()}
        total = sum(tensor.size_bytes for tensor in tensors.values())
        return CheckpointSize(total, tensors, f"headers of {len(names)} safetensors file(s) on the Hub")

    def _header(self, url: str, repo: str) -> dict[str, TensorInfo]:
        start = self._get(url, repo, 0, FIRST_READ_BYTES - 1)
        length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else 0
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise SizingError(f"{url} is no safetensors file", found=start[:8].hex() or "nothing")
        header = start[8 : 8 + length]
        if len(header) < length:
            header += self._get(url, repo, 8 + len(header), 7 + length)
        return parse_header(header, url)

    def _json(self, url: str, repo: str) -> dict[str, Any]:
        text = self._get(url, repo, 0, None)
        try:
            data = json.loads(text)
        except ValueError as error:
            raise SizingError(f"{url} is no JSON: {error}", remedy="check models_hub_endpoint") from error
        if not isinstance(data, dict):
            raise SizingError(f"{url} holds no object", found=type(data).__name__)
        return data

    def _get(self, url: str, repo: str, first: int, last: int | None) -> bytes:
        request = urllib.request.Request(url)
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        if last is not None:
            request.add_header("Range", f"bytes={first}-{last}")
        limit = MAX_JSON_BYTES if last is None else last - first + 1
        opener = urllib.request.build_opener(_SameOrigin)
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                if last is not None and response.status != 206:
                    # A server without ranges sends the whole file: what comes before is passed over.
                    response.read(first)
                data: bytes = response.read(limit)
        except urllib.error.HTTPError as error:
            raise self._meaning(error, repo) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(getattr(error, "reason", error)) from error
        return data

    def _meaning(self, error: urllib.error.HTTPError, repo: str) -> SizingError:
        said = error.headers.get("X-Error-Message") or error.reason
        found = f"status {error.code}: {said}"
        if error.code in (401, 403):
            return SizingError(
                f"the Hub does not show {repo}",
                expected="a repository that is public, or a token that may read it",
                found=found,
                remedy="correct model, or set models_hub_token to a token with access",
            )
        if error.code == 404:
            return SizingError(f"the Hub has no {repo}", found=found, remedy="correct model or revision")
        return UnreachableError(
            f"the Hub at {self.endpoint} does not answer", found=found, remedy="try again, or set models_hub_endpoint"
        )

    def _unreachable(self, reason: Any) -> UnreachableError:
        what = f"its certificate is not trusted ({reason.verify_message})" if _is_untrusted(reason) else str(reason)
        return UnreachableError(
            f"the Hub at {self.endpoint} cannot be reached",
            found=what,
            remedy="set models_hub_endpoint to a Hub or mirror, or model to a directory",
        )


def _is_untrusted(reason: Any) -> bool:
    return isinstance(reason, ssl.SSLCertVerificationError)
