"""The load itself: requests under way, in a closed or an open loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice
from typing import Any

from ..support.certificates import certificate_remedy
from .errors import BenchmarkError
from .lengths import Lengths
from .numbers import percentile
from .prompts import Prompt, Scale, cycled, made_up_prompts, made_up_text, measured_scale
from .records import Record
from .reply import Reply
from .settings import PATHS, Settings, Stage
from .summary import ClientWork
from .wire import Client, Endpoint, WireError

WARMUP = -1
# Both prompts of the measurement, in words, and the reply, in tokens. The long one is shorter where prompts will be.
SCALE_WORDS = (16, 144)
SCALE_REPLY_TOKENS = 4
TICK_SECONDS = 0.05
SPARE_FILES = 128
# What a server says that is there and has too much to do: no reason to give up.
OVERLOAD = ("http_429", "http_503")
REMEDIES = {
    "connect": "check that the server runs and that url names it as seen from the host that sends the requests",
    "http_401": "set api_key",
    "http_403": "set api_key to a key that may use this model",
    "http_404": "check model and endpoint",
    "http_400": "check model, input_tokens and output_tokens against the server's context length, and extra_body "
    "(a server that refuses ignore_eos needs ignore_eos: false)",
    **dict.fromkeys(("http_301", "http_302", "http_307", "http_308"), "set url to where the server redirects to"),
    "timeout": "set request_timeout_seconds higher",
}
TRUST = "set ca_path to the certificate of the authority that signed it"


@dataclass
class StageRun:
    """One stage and what came of it."""

    stage: Stage
    records: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    """From the first request to the end of the last one."""
    work: ClientWork = field(default_factory=lambda: ClientWork(0.0, 0.0, 0))
    abandoned: str | None = None
    """Why it was given up."""


class Generator:
    """Sends requests over one client and keeps what comes of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        url = settings.url + PATHS[settings.endpoint]
        self._endpoint = Endpoint(url, headers, settings.validate_certs, settings.ca_path)
        self._client = Client(self._endpoint)
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._lengths = _Draws(settings.output_tokens, settings.seed)
        self._prompts: Iterator[Prompt] = iter(())
        self._events = 0
        self._failed_in_a_row = 0
        self._give_up = asyncio.Event()

    async def prepare(self) -> Scale:
        """Learn how the server counts tokens and warm it up. Raises BenchmarkError when it does not answer."""
        settings = self._settings
        scale = Scale()
        if settings.prompts:
            self._prompts = cycled(list(settings.prompts))
        else:
            scale = await self._measure_scale()
            rng = random.Random(f"{settings.seed} prompts")  # noqa: S311 - reproducible, no secret
            self._prompts = made_up_prompts(rng, settings.input_tokens, scale)
        if settings.warmup_requests:
            users = max(int(stage.load) if stage.mode == "closed" else 1 for stage in settings.stages)
            warm = Stage(WARMUP, "closed", min(users, settings.warmup_requests), settings.warmup_requests)
            records = (await self.run(warm)).records
            if not any(record.ok for record in records):
                raise BenchmarkError(f"no warm-up request succeeded: {explain(records[0])}")
        self._origin = self._loop.time()
        return scale

    async def run(self, stage: Stage) -> StageRun:
        """Hold a load, and wait for what is under way at its end."""
        _allow_files(stage)
        found = StageRun(stage)
        self._events = self._failed_in_a_row = 0
        self._give_up.clear()
        gc.collect()
        gc.disable()  # a collection in the middle would delay what arrives meanwhile
        lags: list[float] = []
        ticking = asyncio.ensure_future(_tick(lags))
        cpu, wall = time.process_time(), self._loop.time()
        try:
            await (self._closed(found) if stage.mode == "closed" else self._open(found))
        finally:
            gc.enable()
            ticking.cancel()
        busy = (time.process_time() - cpu) / max(self._loop.time() - wall, 1e-9)
        lag = percentile(sorted(lags), 99) if lags else 0.0
        found.work = ClientWork(busy, lag, self._events)
        if found.records:
            begin = min(record.start_seconds for record in found.records)
            found.seconds = max(record.end_seconds for record in found.records) - begin
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def _closed(self, found: StageRun) -> None:
        """Every user sends the next request when the last one is answered."""
        numbers = iter(range(found.stage.requests))
        deadline = self._loop.time() + self._settings.stage_seconds

        async def user() -> None:
            for number in numbers:
                if found.abandoned or self._loop.time() > deadline:
                    return
                await self._one(found, number, self._request(), None)

        await _all([asyncio.ensure_future(user()) for number in range(int(found.stage.load))], self._give_up)

    async def _open(self, found: StageRun) -> None:
        """Requests come at random, whether or not earlier ones are answered: gaps are exponential (Poisson)."""
        begin = self._loop.time()
        tasks = []
        for number, after_seconds in enumerate(arrivals(found.stage, self._settings.seed)):
            request = self._request()
            if after_seconds > self._settings.stage_seconds:
                break
            planned = begin + after_seconds
            await asyncio.sleep(planned - self._loop.time())
            if found.abandoned:
                break
            tasks.append(asyncio.ensure_future(self._one(found, number, request, planned)))
        await _all(tasks, self._give_up)

    def _request(self) -> bytes:
        prompt = next(self._prompts)
        return self._endpoint.request(self._settings.body(prompt, self._lengths.next()))

    async def _one(self, found: StageRun, number: int, request: bytes, planned: float | None) -> None:
        reply = Reply()
        status = None
        begin = self._loop.time()
        try:
            status = await asyncio.wait_for(self._client.post(request, reply), self._settings.request_timeout_seconds)
            failure, message = verdict(status, reply)
        except WireError as error:
            failure, message = error.kind, str(error)
        except asyncio.TimeoutError:
            failure = "timeout"
            message = f"expected an answer within {self._settings.request_timeout_seconds:g} s"
        record = Record(
            stage=found.stage.number,
            number=number,
            start_seconds=begin - self._origin,
            latency_seconds=self._loop.time() - begin,
            send_lag_seconds=max(0.0, begin - planned) if planned else 0.0,
            status=reply.status if status is None else status,
            failure=failure,
            message=hidden(message, self._settings.api_key),
        )
        self._note(found, with_reply(record, reply, begin))

    def _note(self, found: StageRun, record: Record) -> None:
        found.records.append(record)
        self._events += len(record.itl_seconds) + (record.ttft_seconds is not None)
        if record.ok:
            self._failed_in_a_row = 0
        elif record.failure not in OVERLOAD:
            self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._settings.abort_after_failures and not found.abandoned:
            self._give_up.set()
            found.abandoned = (
                f"{found.stage.label}: given up after {self._failed_in_a_row} failures in a row "
                f"(abort_after_failures); the last one: {explain(record)}"
            )

    async def _measure_scale(self) -> Scale:
        """Ask with a short and a long prompt and see how many tokens the server counts."""
        rng = random.Random(f"{self._settings.seed} scale")  # noqa: S311 - reproducible, no secret
        counted: list[int | None] = []
        found = StageRun(Stage(WARMUP, "closed", 1, len(SCALE_WORDS)))
        lengths = scale_words(self._settings.input_tokens)
        for number, words in enumerate(lengths):
            body = self._settings.body(Prompt(made_up_text(rng, words)), SCALE_REPLY_TOKENS)
            await self._one(found, number, self._endpoint.request(body), None)
            record = found.records[-1]
            if not record.ok:
                raise BenchmarkError(f"the server does not answer: {explain(record)}")
            counted.append(record.input_tokens)
        return measured_scale(lengths[0], counted[0], lengths[1], counted[1])


def scale_words(wanted: Lengths) -> tuple[int, int]:
    """Return how many words the two prompts of the measurement have.

    A word is a token or more, so a prompt of as many words as tokens are wanted is long enough; a longer one may be
    more than a model with a short context takes.
    """
    short, long = SCALE_WORDS
    return short, min(long, max(2 * short, wanted.max))


def arrivals(stage: Stage, seed: int) -> list[float]:
    """Return when each request of an open loop is sent, in seconds from the stage's beginning.

    Exponential gaps, scaled so that the last request comes exactly when the rate says: a Poisson process given the time
    of its last event. Without that, a hundred requests would miss the rate by a tenth, and runs could not be compared.
    """
    rng = random.Random(f"{seed} arrivals {stage.number}")  # noqa: S311 - reproducible, no secret
    times = list(accumulate(rng.expovariate(stage.load) for number in range(stage.requests)))
    scale = stage.requests / stage.load / times[-1]
    return [at_seconds * scale for at_seconds in times]


class _Draws:
    """Reply lengths, the same ones for the same seed."""

    def __init__(self, lengths: Lengths, seed: int) -> None:
        self._lengths = lengths
        self._rng = random.Random(f"{seed} replies")  # noqa: S311 - reproducible, no secret

    def next(self) -> int:
        return self._lengths.draw(self._rng)


def verdict(status: int, reply: Reply) -> tuple[str | None, str]:
    """Return the kind of failure and what was found, or None and nothing for a success."""
    if status != 200:
        return f"http_{status}", reply.refusal()
    if reply.error:
        return "error", reply.error
    if not reply.done and not reply.finish_reason:
        refusal = reply.refusal()
        if refusal:
            return "protocol", f"expected a stream of events, found {refusal!r}"
        return "cut", "expected the stream to end with [DONE] or a finish_reason, found its end before"
    if not reply.times and not reply.output_tokens:
        return "empty", "expected text, found an answer without any"
    return None, ""


def with_reply(record: Record, reply: Reply, begin_seconds: float) -> Record:
    """Return the record with the times and tokens of the reply."""
    times = reply.times
    counted = reply.output_tokens is not None
    return replace(
        record,
        ttft_seconds=times[0] - begin_seconds if times else None,
        last_text_seconds=times[-1] - begin_seconds if times else None,
        itl_seconds=tuple(later - earlier for earlier, later in zip(times, islice(times, 1, None))),
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens if counted else len(times),
        tokens_from="usage" if counted else "chunks",
        finish_reason=reply.finish_reason,
    )


def hidden(message: str, api_key: str | None) -> str:
    """Take the key out of what a server said: some repeat it when they refuse it, and messages are kept in files."""
    return message.replace(api_key, "…") if api_key else message


def explain(record: Record) -> str:
    """Return a failure with what to do about it."""
    kind = record.failure or ""
    what = f"expected status 200, found {record.status}" if kind.startswith("http_") else kind
    refused = "CERTIFICATE_VERIFY_FAILED" in record.message
    remedy = certificate_remedy(record.message, TRUST) if refused else REMEDIES.get(kind, "")
    said = f": {record.message}" if record.message else ""
    return what + said + (f"; {remedy[0].lower()}{remedy[1:]}" if remedy else "")


async def _all(tasks: Sequence[asyncio.Future[None]], give_up: asyncio.Event) -> None:
    """Wait for every task; when the stage is given up, drop what is under way."""
    together = asyncio.gather(*tasks)
    signal = asyncio.ensure_future(give_up.wait())
    either: set[asyncio.Future[Any]] = {together, signal}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    signal.cancel()
    if together.done():
        together.result()
        return
    together.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(asyncio.CancelledError):
        await together


async def _tick(lags: list[float]) -> None:
    """Note how late the event loop is for a timer of its own."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        lags.append(loop.time() - due)


def _allow_files(stage: Stage) -> None:
    """Raise the limit of open files to what the stage may need. Raises BenchmarkError when the system forbids it."""
    needed = SPARE_FILES + (int(stage.load) if stage.mode == "closed" else stage.requests)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise BenchmarkError(
                f"{stage.label}: expected a limit of at least {needed} open files on the host that sends the requests, "
                f"found {hard}; raise it (ulimit -n) or set requests lower"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
