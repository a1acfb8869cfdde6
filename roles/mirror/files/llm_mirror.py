# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""olah as a service: uvicorn serves `app`, which reads the file that OLAH_CONFIG names.

It differs from olah's own in three things.
- olah makes a client for each question to the Hub, and each reads all authorities that the system trusts, for tens of
  milliseconds in which nothing else is served. Here they share what was read once.
- Requests for a block that another request is fetching each occupy a thread until it is there, and the one that is
  fetching needs threads, too. With anyio's 40 a handful of hosts that want the same model at once come to a halt.
- Its log is the journal alone. olah would keep one file an hour for ever, and its client would note the signed
  addresses of the Hub's CDN.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import olah.utils.logging
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

THREADS = 4096

olah.utils.logging.handler = logging.NullHandler()
logging.getLogger("httpx").setLevel(logging.WARNING)


@functools.cache
def trust() -> ssl.SSLContext:
    """Read what the system trusts, or SSL_CERT_FILE names."""
    return httpx.create_ssl_context()


class Client(httpx.AsyncClient):
    """The client that olah makes, without reading the authorities again."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"verify": trust(), **options})


httpx.AsyncClient = Client  # type: ignore[misc]

from olah.server import app  # noqa: E402 - makes its log when it is imported

olahs_lifespan = app.router.lifespan_context


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Set what belongs to the running event loop."""
    current_default_thread_limiter().total_tokens = THREADS
    async with olahs_lifespan(app):
        yield


app.router.lifespan_context = lifespan
