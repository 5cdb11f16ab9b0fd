"""What a model and a service can be told: one table, which every verb, the command line and the forms read.

An option is a field of :class:`Options` (models that run here) or of :class:`Remote` (models behind an API). Its words
for users stand beside it. :class:`ModelOptions` lists the same names once more, for editors and type checkers alone.
No key is ever in here.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, get_args

from facevlm import arguments
from facevlm.errors import InputError
from facevlm.types import DECISIONS

DECODES = ("score", "generate")
DTYPES = ("float32", "bfloat16", "float16")
QUANTIZE = ("8bit", "4bit")
ATTENTION = ("sdpa", "eager", "flash_attention_2")
COMPILE = ("default", "max-autotune-no-cudagraphs")
ORDERS = ("given", "reversed", "shuffled")
DETAILS = ("low", "high", "auto")
CACHES = ("on", "off", "refresh")
MAX_SIDE = 512


def option(default: Any, text: str, choices: tuple[str, ...] = (), title: str = "") -> Any:
    """A field with what it means to a user; ``text`` may end in a bracket that says what None stands for.

    ``title`` is what forms call it, by default the name.
    """
    return field(default=default, metadata={"text": text, "choices": choices, "title": title})


def _check_choices(told: Options | Remote) -> None:
    for f in fields(told):
        got, choices = getattr(told, f.name), f.metadata.get("choices")
        if choices and got is not None and got not in choices:
            raise InputError(f"Got {f.name}='{got}', expected one of {', '.join(choices)}.")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """How a model behind an API is asked. See :func:`described` for what each option means."""

    base_url: str | Sequence[str] | None = option(
        None,
        "base_url, or several of servers of the same model, with commas between (default: that of the model's own "
        "service)",
        title="Server",
    )
    key_name: str | None = option(
        None,
        "name of the App's secret, environment variable or keyring entry that holds the key; never the key itself",
        title="Name of the key",
    )
    concurrency: int = option(64, "most requests at a time", title="Requests in flight")
    requests_per_minute: float | None = option(None, "most requests a minute (default: no limit of ours)")
    tokens_per_minute: float | None = option(None, "most tokens a minute (default: no limit of ours)")
    timeout: float = option(60.0, "seconds for one request as a whole")
    attempts: int = option(6, "how often a face is asked at most")
    max_failures: float = option(0.5, "share of failed faces above which the run stops")
    budget: float | None = option(
        None, "US dollars before which the run stops (default: none)", title="Budget in US dollars"
    )
    samples: int = option(1, "ask so often and take the vote; its share is the confidence")
    temperature: float | None = option(None, "of sampling (default: 0, or 1 with several samples)")
    max_tokens: int = option(1024, "most tokens of an answer")
    max_side: int | None = option(None, "longest side of a sent picture, in pixels (default: 512, or what costs least)")
    quality: int = option(90, "JPEG quality of a sent picture")
    detail: str = option("low", "how closely pictures are looked at", DETAILS)
    template: str = option("face", "face, main-person, or a YAML file", title="Wording")
    wording: str = option(
        "plain", "questions in other words: plain, expression, or those of the YAML file", title="Words of questions"
    )
    order: str = option("given", "of the labels in the prompt", ORDERS)
    cache: str = option("on", "use and keep replies on disk; refresh asks anew and keeps the answer", CACHES)
    prices: str | None = option(None, "YAML file of prices (default: those that are shipped)")

    def __post_init__(self) -> None:
        _check_choices(self)
        if isinstance(self.base_url, (list, tuple)) and all(isinstance(url, str) for url in self.base_url):
            # As one text: it is compared, hashed and written down.
            object.__setattr__(self, "base_url", ",".join(self.base_url))
        for name, least, most in (
            ("concurrency", 1, 4096),
            ("attempts", 1, 100),
            ("samples", 1, 100),
            ("max_tokens", 1, 1_000_000),
            ("quality", 1, 100),
            ("max_side", 32, 8192),
        ):
            self._whole(name, least, most)
        for name in ("timeout", "requests_per_minute", "tokens_per_minute", "budget"):
            self._above_zero(name)
        arguments.check_fields(self)
        heat = self.temperature
        if heat is not None and not (isinstance(heat, (int, float)) and 0 <= heat < math.inf):
            raise InputError(f"Got temperature={heat!r}, expected a number from 0 on.")
        if not 0 <= self.max_failures <= 1:
            raise InputError(f"Got max_failures={self.max_failures}, expected a share between 0 and 1.")

    def _whole(self, name: str, least: int, most: int) -> None:
        got = getattr(self, name)
        if got is not None and (type(got) is not int or not least <= got <= most):
            raise InputError(f"Got {name}={got!r}, expected a whole number from {least} to {most}.")

    def _above_zero(self, name: str) -> None:
        got = getattr(self, name)
        if got is not None and not (isinstance(got, (int, float)) and math.isfinite(got) and got > 0):
            raise InputError(f"Got {name}={got!r}, expected a number above 0.")

    @property
    def heat(self) -> float:
        """The temperature of a request: 0, or 1 where several samples are to differ."""
        return self.temperature if self.temperature is not None else float(self.samples > 1)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a model is loaded and read. See :func:`described` for what each option means.

    ``remote`` is for models behind an API, to which the others do not apply.
    """

    device: str | None = option(None, "such as cuda, mps, cpu (default: the first that is there)")
    devices: int | str | Sequence[str] | None = option(
        None,
        "one process on each of several devices: all, names such as cuda:0,cuda:1 or cpu,cpu, or how many "
        "(default: no process but this one)",
    )
    dtype: str | None = option(None, "type of the numbers (default: float32 on CPU, else bfloat16)", DTYPES)
    revision: str | None = option(None, "revision of the checkpoint on the hub")
    adapter: str | None = option(None, "LoRA adapter of PEFT to put on the model, a folder or an id of the hub")
    merge_adapter: bool = option(True, "add an adapter to the weights, which is faster; quantised weights never")
    decode: str = option("score", "exact probabilities of the labels, or free text that is parsed", DECODES)
    decision: str | None = option(
        None,
        "by which scores are decided: the label that greedy decoding takes, or the most probable one "
        "(default: greedy for models with questions of their own, else probable)",
        DECISIONS,
    )
    trust_remote_code: bool = option(False, "run code that comes with the checkpoint")
    quantize: str | None = option(None, "weights in 8 or 4 bits, by bitsandbytes (default: as they are)", QUANTIZE)
    attention: str | None = option(None, "attention kernels (default: transformers' choice)", ATTENTION)
    compile: str | None = option(None, "mode of torch.compile, without CUDA graphs (default: off)", COMPILE)
    memory_gb: float | None = option(
        None, "GiB for all checkpoints of a model together; those that do not fit take turns (default: what is free)"
    )
    remote: Remote = field(default_factory=Remote)

    def __post_init__(self) -> None:
        _check_choices(self)
        arguments.check_fields(self)
        spread = _devices(self.devices)
        object.__setattr__(self, "devices", spread)
        if spread is not None and self.device is not None and not spread.isdecimal():
            raise InputError(
                f"Got device='{self.device}' and devices='{spread}', expected one of the two, or a number of devices."
            )
        got = self.memory_gb
        if got is not None and not (isinstance(got, (int, float)) and math.isfinite(got) and got > 0):
            raise InputError(f"Got memory_gb={got!r}, expected a number of GiB above 0.")

    def on_one(self) -> Options:
        """The options of a model that is opened in this process alone: of several devices, the first."""
        told = str(self.devices or "")
        named = self.devices is not None and told != "all" and not told.isdecimal()
        return replace(self, devices=None, device=told.partition(",")[0] if named else self.device)


def _devices(told: int | str | Sequence[str] | None) -> str | None:
    """Devices as one text: ``all``, a number, or names with commas.

    Raises :class:`~facevlm.errors.InputError` for none, or no name.
    """
    if told is None:
        return None
    names = [name.strip() for name in (str(told).split(",") if isinstance(told, (str, int)) else told)]
    if not names or not all(names) or (names[0].lstrip("-").isdecimal() and (len(names) > 1 or int(names[0]) < 1)):
        raise InputError(
            f"Got devices={told!r}, expected 'all', names such as ['cuda:0', 'cuda:1'] or ['cpu', 'cpu'], or a number "
            "of devices from 1 on."
        )
    return ",".join(names)


SCENE = Remote(max_side=1024, detail="high", max_tokens=4096)
"""How pictures of several people are asked about: larger, looked at closely, with room for many answers."""
Mark = Literal["numbers", "crops"]
MARKS: tuple[str, ...] = get_args(Mark)
"""How known faces are told apart in a picture."""


class ModelOptions(TypedDict, total=False):
    """The options of a model and of a service as flat keywords, and ``options`` and ``remote``, which they add to.

    One that is None, or not given, is as in these two, or as usual.
    """

    options: Options | None
    remote: Remote | None
    device: str | None
    devices: int | str | Sequence[str] | None
    dtype: str | None
    revision: str | None
    adapter: str | None
    merge_adapter: bool | None
    decode: str | None
    decision: str | None
    trust_remote_code: bool | None
    quantize: str | None
    attention: str | None
    compile: str | None
    memory_gb: float | None
    base_url: str | Sequence[str] | None
    key_name: str | None
    concurrency: int | None
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout: float | None
    attempts: int | None
    max_failures: float | None
    budget: float | None
    samples: int | None
    temperature: float | None
    max_tokens: int | None
    max_side: int | None
    quality: int | None
    detail: str | None
    template: str | None
    wording: str | None
    order: str | None
    cache: str | None
    prices: str | None


@dataclass(frozen=True)
class Option:
    """One row of the table: ``kind`` is str, int, float or bool; ``text`` says what it means. ``is_several`` where a
    list is taken, too."""

    name: str
    kind: type
    default: Any
    text: str
    choices: tuple[str, ...]
    title: str
    is_several: bool = False

    def help(self, default: Any) -> str:
        """The text with what is usual."""
        if default is None or self.kind is bool:
            return self.text
        usual = f"{default:g}" if isinstance(default, (int, float)) else default
        return f"{self.text.partition(' (default')[0]} (default: {usual})"


def described(kind: type) -> tuple[Option, ...]:
    """The options of a model that runs here (:class:`Options`), or of a service (:class:`Remote`), in their order."""
    types = typing.get_type_hints(kind)
    return tuple(
        Option(
            name=f.name,
            kind=_plain(types[f.name]),
            default=f.default,
            text=f.metadata["text"],
            choices=f.metadata["choices"],
            title=f.metadata["title"] or f.name.replace("_", " ").capitalize(),
            is_several=len(get_args(types[f.name])) > 2,
        )
        for f in fields(kind)
        if f.default is not MISSING
    )


def _plain(annotation: Any) -> type:
    """``int`` for ``int | None``; text where there are several kinds, of which text is one."""
    kinds = {*(get_args(annotation) or (annotation,))} - {type(None)}
    [kind] = {str} if str in kinds else kinds
    assert isinstance(kind, type)
    return kind


def merged(given: Mapping[str, Any], usual: Options | None = None) -> Options:
    """:class:`ModelOptions` as one object: flat keywords over ``remote`` over ``options`` over what is ``usual``."""
    base = given.get("options") or usual or Options()
    told = {name: value for name, value in given.items() if value is not None}
    remote = replace(given.get("remote") or base.remote, **_those_of(Remote, told))
    return replace(base, remote=remote, **_those_of(Options, told))


def _those_of(kind: type, told: Mapping[str, Any]) -> dict[str, Any]:
    return {o.name: told[o.name] for o in described(kind) if o.name in told}
