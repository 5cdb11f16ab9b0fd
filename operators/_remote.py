"""The part of the form about models behind an API: server, limits, where pictures go, cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends import Briefing, Remote
from facevlm.backends.briefings import CONFIRM_ABOVE
from facevlm.backends.remote import keys, services, templates, words
from facevlm.errors import InputError
from facevlm.tasks.apply import ApplyResult

from . import _forms

API = "api"
TEXTS = ("base_url", "key_name", "template")
NUMBERS = ("concurrency", "budget", "samples")
USUAL = Remote()


def choices() -> dict[str, str]:
    """Models behind an API for the dropdown."""
    presets = {name: f"{name}: {preset.title}" for name, preset in services.presets().items()}
    return presets | {API: "Another model behind an API (vLLM, Ollama, Azure, ...)"}


def model_name(ctx: foo.ExecutionContext) -> str:
    """``openai:MODEL`` of the form's field."""
    return f"{services.PREFIX}{ctx.params.get('api_model') or ''}"


def options(ctx: foo.ExecutionContext, usual: Remote = USUAL) -> Remote:
    """What the form says. Fields that are empty, or were never sent, are as in ``usual``.

    Raises :class:`~facevlm.errors.InputError` for what cannot be.
    """
    given = {name: ctx.params.get(name) for name in (*TEXTS, *NUMBERS)}
    return replace(usual, **{name: value for name, value in given.items() if value not in (None, "")})


def inputs(ctx: foo.ExecutionContext, inputs: Any, model: str, *, votes: bool = True) -> None:
    """Fields for server and limits; without ``votes`` everything is asked once."""
    inputs.view("service", types.Header(label="Service", description="Pictures leave this process", divider=True))
    server = inputs.str("base_url", label="Server", description="base_url; empty: that of the model's own service")
    inputs.str(
        "key_name",
        label="Name of the key",
        description="Name of the secret, environment variable or keyring entry that holds it; never the key itself",
    )
    wording = inputs.str("template", label="Wording", description="face, main-person, or a YAML file; empty: face")
    limit = inputs.int("concurrency", label="Requests in flight", default=USUAL.concurrency, min=1)
    if votes:
        inputs.int("samples", label="Samples", description="Ask so often and take the vote", default=1, min=1)
    inputs.float("budget", label="Budget in US dollars", description="The run stops before it is exceeded")
    chosen = _forms.attempt(limit, lambda: options(ctx))
    if chosen is None:
        return
    _forms.attempt(wording, lambda: (templates.load(chosen), words.load(chosen.template)))
    endpoint = _forms.attempt(server, lambda: services.endpoint(model, chosen.base_url, chosen.key_name))
    if endpoint is not None:
        _forms.attempt(server, lambda: keys.find(endpoint, ctx.secrets.get))


def cost(ctx: foo.ExecutionContext, inputs: Any, briefing: Callable[[], Briefing | None]) -> None:
    """Where the pictures go and at what cost, with a box to tick where it is more than a little."""
    said = _forms.attempt(_box(inputs), briefing)
    if said is not None:
        costs(ctx, inputs, [said])


def costs(ctx: foo.ExecutionContext, inputs: Any, steps: Sequence[Briefing]) -> None:
    """As :func:`cost`, of a run with several steps that send pictures."""
    for k, said in enumerate(steps):
        kind = types.Notice if said.is_local else types.Warning
        _forms.notice(inputs, f"briefing_{k}" if k else "briefing", said.text, kind)
    if any(_is_dear(ctx, said) for said in steps):
        label = f"Go on although it may cost more than ${CONFIRM_ABOVE:g}"
        agreed = inputs.bool("agreed", label=label, default=False, required=True)
        if not ctx.params.get("agreed"):
            agreed.invalid, agreed.error_message = True, "Tick this, or set a budget."


def _box(inputs: Any) -> Any:
    return inputs.view("cost", types.Header(label="Cost", divider=True))


def _is_dear(ctx: foo.ExecutionContext, said: Briefing) -> bool:
    return said.dollars is not None and said.dollars > CONFIRM_ABOVE and not ctx.params.get("budget")


def confirmed(ctx: foo.ExecutionContext, said: Briefing) -> bool:
    """Whether the run may begin, after the form said the same.

    Raises :class:`~facevlm.errors.InputError` for a dear run that was not agreed to, as one started by a script may be.
    """
    if _is_dear(ctx, said) and not ctx.params.get("agreed"):
        raise InputError(f"{said.text} That is more than ${CONFIRM_ABOVE:g}: agree to it, or set a budget.")
    return True


def spent(result: ApplyResult) -> str:
    """Requests and US dollars of a run in words; nothing for a model that runs here."""
    dollars = result.usage.get("dollars")
    cost = f", ${dollars:,.4f}" if dollars else ""
    return f" {result.usage['requests']:,} requests{cost}." if result.usage else ""
