# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""olah as a service: uvicorn serves `app`, which reads the file that OLAH_CONFIG names.

It differs from olah's own in two things.
- Requests for a block that another request is fetching each occupy a thread until it is there, and the one that is
  fetching needs threads, too. With anyio's 40 a handful of hosts that want the same model at once come to a halt.
- Its log is the journal alone. olah would keep one file an hour for ever, and its client would note the signed
  addresses of the Hub's CDN.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import olah.utils.logging
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

THREADS = 4096

olah.utils.logging.handler = logging.NullHandler()
logging.getLogger("httpx").setLevel(logging.WARNING)

from olah.server import app  # noqa: E402 - makes its log when it is imported

olahs_lifespan = app.router.lifespan_context


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Set what belongs to the running event loop."""
    current_default_thread_limiter().total_tokens = THREADS
    async with olahs_lifespan(app):
        yield


app.router.lifespan_context = lifespan
