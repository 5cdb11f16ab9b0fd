"""The backend of a model behind an API: one request per face for all attributes, answers as they come."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from PIL.Image import Image

from facevlm.backends import BackendInfo, Briefing
from facevlm.backends.cards import ANY, Card
from facevlm.backends.options import MAX_SIDE, Remote
from facevlm.backends.remote import abilities as abilities_module
from facevlm.backends.remote import batches, dialects, ledger, pictures, replies, services, templates
from facevlm.backends.remote import keys as keys_module
from facevlm.backends.remote.cache import Cache, joined, key_of
from facevlm.backends.remote.client import BudgetReached, Client, Outdated, Stopped, waiting_client
from facevlm.backends.remote.exchange import Abilities, Asked, Completion, Fault, Turn, Usage
from facevlm.backends.remote.flow import Given, LoopThread, Result, flow
from facevlm.backends.stated import stated
from facevlm.errors import InputError, ModelError
from facevlm.parsing import answer_table
from facevlm.types import Question, Reply, digest

AHEAD = 32
"""Pictures that wait, encoded or being so, beside those in flight."""
FEW = 3
"""Refusals of a form in a row after which it is given up, though it had answers."""
FEWEST = 20
"""Faces before the share of failures is looked at."""
PACKAGES = ("facevlm", "openai")
TRIAL_TOKENS = 256
THREADS = 2
Form = Callable[[Abilities], Mapping[str, Any]]
"""A request without its picture, as far as a server honours it."""


class RemoteBackend:
    """The :class:`~facevlm.backends.Backend` of an endpoint. Nothing is sent before it is asked or checked."""

    def __init__(self, card: Card, options: Remote, secrets: keys_module.Secrets | None = None) -> None:
        self.options = options
        self.endpoint = services.endpoint(card.checkpoints[ANY], options.base_url, options.key_name)
        self.dialect = dialects.find(self.endpoint.dialect)
        self.template = templates.load(options)
        self.price = ledger.price_of(self.endpoint.model, options.prices)
        if self.endpoint.is_local and self.price is None:
            self.price = ledger.FREE
        if options.budget is not None and self.price is None:
            raise InputError(
                f"Got budget={options.budget}, but no price is known for '{self.endpoint.model}'. Name a table of "
                f"prices by prices= or {ledger.VARIABLE}, in the form of facevlm/assets/prices.yaml, or leave it out."
            )
        self._card, self._secrets = card, secrets
        self._side = options.max_side or self.endpoint.max_side or MAX_SIDE
        self._cache = Cache() if options.cache != "off" else None
        self._thread: LoopThread | None = None
        self._client: Client | None = None
        self._secret: keys_module.Secret | None = None
        self._abilities: Abilities | None = None
        # One request at a time looks for a lesser form; the others wait for what it finds.
        self._stepping = asyncio.Lock()
        self._proved: Abilities | None = None
        self._refusals_of_form = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="facevlm-encode")
        # A thread of its own: an answer that waits behind pictures to be encoded would be lost to a kill.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="facevlm-keep")
        self.counts: Counter[str] = Counter()
        self._notes: list[str] = []

    @property
    def info(self) -> BackendInfo:
        name = self._card.checkpoints[ANY]
        return BackendInfo(
            model=self._card.name,
            identity={name: self._identity()},
            device=self.endpoint.hosts,
            dtype="as served",
            decode="chat",
            versions={package: version(package) for package in PACKAGES},
            notes=tuple(self._notes),
            batch_size=AHEAD // 2,
            max_side=self._side,
            service=self._facts(),
            usage=self._usage(),
            stated=stated(self._card),
        )

    def _identity(self) -> str:
        """What decides an answer beside the question: server, model, wording, what is sent of a picture, sampling."""
        o = self.options
        sent = [self._side, o.quality, o.detail, o.samples, o.heat, dict(self.endpoint.extra)]
        all_of_it = digest([self.endpoint.base_url, self.template.version, sent])
        return f"{self.endpoint.host} {self.endpoint.model} {all_of_it}"

    def _detail(self, abilities: Abilities) -> str:
        """The detail that is asked for; none at a server that does not know the field."""
        return "" if "detail" in abilities.dropped else self.options.detail

    def _facts(self) -> dict[str, Any]:
        o = self.options
        return {
            "host": self.endpoint.hosts,
            "local": self.endpoint.is_local,
            "model": self.endpoint.model,
            "template": o.template.rpartition("/")[2],
            "template_version": self.template.version,
            "wording": o.wording,
            "order": o.order,
            "samples": o.samples,
            "temperature": o.heat,
            "max_side": self._side,
            "honours": self._abilities.to_dict() if self._abilities else None,
        }

    def _usage(self) -> dict[str, Any]:
        if self._client is None:
            return {}
        books = self._client.ledger
        return {
            **{name: self._client.counts[name] for name in ("requests", "retries", "rate_limited", "pauses")},
            **{name: self.counts[name] for name in ("cached", "failures")},
            "cache_errors": self._cache.errors if self._cache is not None else 0,
            "most_in_flight": self._client.concurrency.highest,
            "input_tokens": books.input_tokens,
            "output_tokens": books.output_tokens,
            "uncounted": books.uncounted,
            "dollars": None if books.dollars is None else round(books.dollars, 6),
            "prices_of": self.price.date if self.price else None,
        }

    def briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        """Where the pictures go, how many, and what it costs: to be said before the run."""
        return self._briefed(f"{faces:,} pictures of faces", self._estimate(faces, questions))

    def _briefed(self, what: str, estimate: ledger.Estimate) -> Briefing:
        e = self.endpoint
        where = "on this machine or network" if e.is_local else "a remote service"
        plain = " The connection is NOT encrypted." if e.is_plain else ""
        text = (
            f"{what} go to {e.hosts} ({where}), each at most {self._side} pixels on its longer "
            f"side, as JPEG without metadata.{plain} {estimate}."
        )
        return Briefing(text, e.is_local, estimate.dollars)

    def _estimate(self, faces: int, questions: Sequence[Question]) -> ledger.Estimate:
        shown = 1 + len(self.template.examples)
        return self._estimated(self.template.turns(questions), len(questions), faces * self.options.samples, shown)

    def _estimated(self, turns: Sequence[Turn], answers: int, requests: int, shown: int) -> ledger.Estimate:
        """Of requests with these turns, so many answered values and so many pictures in each."""
        texts = [turn.text for turn in turns]
        return ledger.estimate(self.price, texts, answers, requests, self._side, self.options.detail, shown)

    def check(self, questions: Sequence[Question]) -> None:
        """Word the request and find out what the server honours.

        Raises :class:`~facevlm.errors.FacevlmError` where either cannot be done.
        """
        self.template.turns(questions)
        for question in questions:
            answer_table(question)
        self._open(self._estimate(1, questions).usage)

    def answer(self, images: Sequence[Image], questions: Sequence[Question]) -> list[list[Reply]]:
        """Replies in order; pictures that the budget leaves out get a reply with ``error``."""
        table = [[Reply(error="not asked: the budget is used up")] * len(questions) for _ in images]
        with closing(self.stream(images, questions)) as ready:
            for rows in ready:
                for number, row in rows:
                    table[number] = row
        return table

    def stream(
        self, images: Iterable[Image], questions: Sequence[Question]
    ) -> Generator[list[tuple[int, list[Reply]]], None, None]:
        """(number of the picture, its replies), as they are ready; ends early where the budget is used up.

        Raises :class:`~facevlm.backends.remote.client.Stopped` where all further requests would fail.
        """
        self._open(self._estimate(1, questions).usage)
        form = self._form(self.template.turns(questions), templates.schema(questions))

        def is_whole(completion: Completion) -> bool:
            return _is_whole(replies.to_replies(completion, questions), questions)

        async def work(image: Image) -> list[Reply]:
            jpegs = await self._encoded(lambda: [image])
            samples = range(self.options.samples)
            rows = [await self._exchange(form, jpegs, n, is_whole) for n in samples]
            return replies.vote([replies.to_replies(completion, questions) for completion in rows], questions)

        return self._flow(work, images, list)

    def requests(
        self, images: Iterable[Image], questions: Sequence[Question]
    ) -> Iterator[tuple[dict[str, Any], list[Reply] | None]]:
        """The request about every picture, in order, and its replies where a whole answer to it was kept before."""
        abilities = self._open(self._estimate(1, questions).usage)
        skeleton = self._skeleton(self.template.turns(questions), templates.schema(questions), abilities)
        for image in images:
            jpeg = pictures.encode(image, self._side, self.options.quality)
            known = None
            if self._cache is not None and self.options.cache == "on":
                known = self._cache.get(key_of(self.endpoint.base_url, skeleton, joined([jpeg]), 0))
            body = self.dialect.with_pictures(skeleton, [jpeg], self._detail(abilities))
            said = [] if known is None else self.read(known, questions)[0]
            yield body, said if said and _is_whole(said, questions) else None

    def read(self, body: Any, questions: Sequence[Question]) -> tuple[list[Reply], Usage]:
        """The replies in an answer as plain data, and the tokens that it took."""
        completion = self._read(body)
        return replies.to_replies(completion, questions), completion.usage

    def _read(self, body: Any) -> Completion:
        """What an answer says that was kept, or that came in a file, without the key."""
        completion = self.dialect.read(body)
        return completion if self._secret is None else self._secret.redact_completion(completion)

    def batch_briefing(self, faces: int, questions: Sequence[Question]) -> Briefing:
        """As :meth:`briefing`, at the price of a batch."""
        estimate = self._estimate(faces, questions)
        dollars = None if estimate.dollars is None else estimate.dollars * batches.limits().share
        return self._briefed(f"{faces:,} pictures of faces, as a batch,", replace(estimate, dollars=dollars))

    def batch_dollars(self, usage: Usage) -> float | None:
        """US dollars for tokens in a batch; None where no price is known."""
        return None if self.price is None else self.price.of(usage) * batches.limits().share

    def batches(self) -> batches.BatchService:
        """The Batch API of the endpoint, with a key that is found now.

        Raises :class:`~facevlm.errors.InputError` for a server that is not asked in Chat Completions.
        """
        if self.endpoint.dialect != dialects.USUAL:
            raise InputError(
                f"Got a batch for {self.endpoint.host}, which is asked in '{self.endpoint.dialect}'; batches are of "
                f"'{dialects.USUAL}'. Ask it without a batch: facevlm predict."
            )
        if self.endpoint.replicas:
            raise InputError(
                f"Got a batch for {self.endpoint.hosts}, expected one base_url: its files lie at one server."
            )
        secret = self._secret = keys_module.find(self.endpoint, self._secrets)
        client, once = (
            waiting_client(self.endpoint, secret, options)
            for options in (self.options, replace(self.options, attempts=1))
        )
        return batches.BatchService(self.endpoint, secret, client, once)

    def tell(self, turns: Sequence[Turn], schema: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a conversation without pictures; one that was given before is given again.

        Raises :class:`~facevlm.errors.ModelError` where there is none.
        """
        self._open(self._estimated(turns, len(schema["properties"]), 1, 0).usage)
        thread, _ = self._opened()

        def is_whole(completion: Completion) -> bool:
            return not isinstance(replies.opened(completion, alone=False), Reply)

        completion = thread.call(self._exchange(self._form(turns, schema), (), 0, is_whole))
        found = replies.opened(completion, alone=False)
        if isinstance(found, Reply):
            said = found.error or found.text or "nothing"
            raise ModelError(f"{self.endpoint.host} gave no JSON to read, but: {said[:200]}")
        return found

    def _flow(
        self,
        work: Callable[[Given], Coroutine[Any, Any, Result]],
        given: Iterable[Given],
        replies_of: Callable[[Result], list[Reply]],
    ) -> Generator[list[tuple[int, Result]], None, None]:
        """Results as they are ready, counted; the budget's end is noted, too many failures stop the run."""
        thread, client = self._opened()
        client.is_stopping = False
        room = self.options.concurrency + AHEAD
        with closing(flow(thread, work, given, room, BudgetReached, client.stop)) as answered:
            try:
                for rows in answered:
                    yield rows
                    self._count([(number, replies_of(result)) for number, result in rows])
            except BudgetReached as stop:
                self._note(f"Stopped early: {stop}. The rest is asked when the run is started again.")

    async def _encoded(self, shown: Callable[[], Sequence[Image]]) -> list[bytes]:
        """JPEG files of pictures that are made in the threads for it."""

        def encode() -> list[bytes]:
            return [pictures.encode(picture, self._side, self.options.quality) for picture in shown()]

        return await self._opened()[0].loop.run_in_executor(self._pool, encode)

    async def _exchange(
        self, form: Form, jpegs: Sequence[bytes], sample: int, is_whole: Callable[[Completion], bool]
    ) -> Completion:
        """What the server says to a request about these pictures, now or before; a whole answer is kept.

        A form that the server refuses gives way to a lesser one, for all that is asked from then on.
        """
        abilities = self._honoured

        def is_current() -> bool:
            return self._honoured == abilities and not self._stepping.locked()

        async def once(tried: Abilities, wanted: Callable[[], bool] = lambda: True) -> Completion:
            return await self._once(form(tried), tried, jpegs, sample, is_whole, wanted)

        try:
            completion = await once(abilities, is_current)
        except Outdated:
            # No more pictures are sent in a form that is in doubt.
            async with self._stepping:
                pass
            return await self._exchange(form, jpegs, sample, is_whole)
        if completion.error is None:
            self._refusals_of_form = 0
            self._proved = abilities
        if completion.fault is None or self._lesser(abilities, completion.fault) is None:
            return completion
        async with self._stepping:
            if self._honoured == abilities:
                return await self._in_lesser_form(once, abilities, completion)
        return await self._exchange(form, jpegs, sample, is_whole)

    async def _in_lesser_form(
        self, once: Callable[[Abilities], Coroutine[Any, Any, Completion]], abilities: Abilities, refused: Completion
    ) -> Completion:
        """The answer in the first form that the server takes, which is remembered; else the first error.

        Raises :class:`~facevlm.backends.remote.client.Stopped` where no form is taken and all would fail.
        """
        tried, completion, first = abilities, refused, refused.fault
        while completion.fault and first and (less := self._lesser(tried, completion.fault)) is not None:
            tried, completion = less, await once(less)
            if completion.fault is None:
                if completion.error is None and completion.refusal is None:
                    await self._learn(abilities, tried, first)
                return completion
        if first and first.is_fatal:
            raise Stopped(str(refused.error), first)
        return refused

    def _lesser(self, abilities: Abilities, fault: Fault) -> Abilities | None:
        """The next form after an error: without what it names, or any lesser one before the run ends."""
        step = abilities_module.lesser if fault.is_fatal else abilities_module.named
        return step(abilities, fault, self.endpoint.extra)

    async def _learn(self, before: Abilities, found: Abilities, fault: Fault) -> None:
        """Ask in the form that was found from now on, say so, and remember it for the next run.

        A form that had an answer is not given up for a few pictures, which are asked in the lesser one alone.
        """
        without, host = ", ".join(before.lost(found)), self.endpoint.host
        self._refusals_of_form += 1
        if self._proved == before and self._refusals_of_form < FEW:
            self._note(f"{host} was asked without {without} about single pictures, where it said: {fault.reason}")
            return
        self._abilities = found
        self._note(f"{host} was asked without {without} from there on, where it said: {fault.reason}")
        if self._cache is not None:
            loop, row = self._opened()[0].loop, (self._server_key, found.to_dict())
            await loop.run_in_executor(self._keeper, self._cache.put_server, *row)

    @property
    def _honoured(self) -> Abilities:
        if self._abilities is None:
            raise RuntimeError("the server is asked before it is known what it honours")
        return self._abilities

    async def _once(
        self,
        skeleton: Mapping[str, Any],
        abilities: Abilities,
        jpegs: Sequence[bytes],
        sample: int,
        is_whole: Callable[[Completion], bool],
        wanted: Callable[[], bool],
    ) -> Completion:
        _, client = self._opened()
        key = key_of(self.endpoint.base_url, skeleton, joined(jpegs), sample) if self._cache else ""
        known = await self._known(client, key)
        if known is not None and is_whole(found := self._read(known)):
            self.counts["cached"] += 1
            return found
        whole = self.dialect.with_pictures(skeleton, jpegs, self._detail(abilities)) if jpegs else skeleton
        ask = functools.partial(client.complete, is_current=wanted)
        completion, body = await abilities_module.asked(ask, whole, abilities, self.endpoint.extra)
        if is_whole(completion):
            await self._keep(client, key, body)
        return completion

    async def _known(self, client: Client, key: str) -> Any | None:
        if self._cache is None or self.options.cache == "refresh":
            return None
        return await client.loop.run_in_executor(self._pool, self._cache.get, key)

    async def _keep(self, client: Client, key: str, body: object) -> None:
        """A reply that must not lie on the disk comes without its body."""
        if self._cache is not None and body is not None:
            row = (key, self.endpoint.host, self.endpoint.model, body)
            await client.loop.run_in_executor(self._keeper, self._cache.put, *row)

    def _count(self, rows: Sequence[tuple[int, list[Reply]]]) -> None:
        for _, row in rows:
            self.counts["answered"] += 1
            self.counts["failures"] += all(r.error is not None and not r.refused for r in row)
        done, failed = self.counts["answered"], self.counts["failures"]
        if done >= FEWEST and failed > self.options.max_failures * done:
            reason = next((r.error for _, row in reversed(rows) for r in row if r.error and not r.refused), "")
            raise Stopped(
                f"{failed} of {done} faces failed, more than the share {self.options.max_failures:g} that is allowed "
                f"(max_failures); the last: {reason}"
            )

    def _form(self, turns: Sequence[Turn], schema: Mapping[str, Any]) -> Form:
        return functools.lru_cache(functools.partial(self._skeleton, turns, schema))

    def _skeleton(self, turns: Sequence[Turn], schema: Mapping[str, Any], abilities: Abilities) -> dict[str, Any]:
        """A request without its picture."""
        o, e = self.options, self.endpoint
        # The vote of several samples is the confidence.
        asked = abilities if o.samples == 1 else replace(abilities, top=0)
        return self.dialect.skeleton(
            Asked(e.model, tuple(turns), schema, asked, o.heat, o.max_tokens, self._detail(asked), e.extra)
        )

    def _open(self, guess: Usage) -> Abilities:
        """What the server honours, asked with a key that was found now; ``guess`` are the tokens of one request."""
        if self._thread is None or self._client is None:
            found = [(one, keys_module.find(one, self._secrets)) for one in self.endpoint.each]
            self._secret = found[0][1]
            books = ledger.Ledger(self.price, self.options.budget, guess)
            self._thread = LoopThread("facevlm-remote")
            weakref.finalize(self, self._thread.close)
            self._client = self._thread.call(_client(found, self.options, books))
        if self._abilities is None:
            self._abilities = self._found_out(self._thread, self._client)
            if self._abilities.is_less:
                self._note(self._abilities.sentence())
        return self._abilities

    def _opened(self) -> tuple[LoopThread, Client]:
        if self._thread is None or self._client is None:
            raise RuntimeError("the connection is used before it is opened, or after it was closed")
        return self._thread, self._client

    def _found_out(self, thread: LoopThread, client: Client) -> Abilities:
        key, known = self._server_key, None
        if self._cache and self.options.cache == "on":
            known = self._cache.server(key, abilities_module.MAX_AGE)
        found = Abilities.of(known)
        if found is None:
            e = self.endpoint
            most = min(TRIAL_TOKENS, self.options.max_tokens)
            found = thread.call(abilities_module.find_out(client.complete, self.dialect, e.model, e.extra, most))
            if self._cache:
                self._cache.put_server(key, found.to_dict())
        return found

    @property
    def _server_key(self) -> str:
        return digest([self.endpoint.base_url, self.endpoint.model, dict(self.endpoint.extra)])

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def close(self) -> None:
        """End the event loop, its connections, and the threads. The counts stay."""
        if self._thread is not None and self._client is not None:
            thread, self._thread = self._thread, None
            try:
                thread.call(self._client.close())
            finally:
                thread.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._keeper.shutdown(wait=True)
        if self._cache is not None:
            self._cache.close()


def _is_whole(answers: Sequence[Reply], questions: Sequence[Question]) -> bool:
    """Whether every question has a label for an answer."""
    return all(replies.label_of(*pair) is not None for pair in zip(answers, questions, strict=True))


async def _client(
    found: Sequence[tuple[services.Endpoint, keys_module.Secret]], options: Remote, books: ledger.Ledger
) -> Client:
    """Made inside the loop that it belongs to."""
    (endpoint, secret), *others = found
    return Client(endpoint, secret, options, books, others)
