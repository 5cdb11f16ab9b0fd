"""The part of the form about models behind an API: server, limits, where pictures go, cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from facevlm.backends import Briefing, Remote
from facevlm.backends.briefings import CONFIRM_ABOVE
from facevlm.backends.remote import keys, services, templates, words
from facevlm.errors import InputError
from facevlm.tasks.apply import ApplyResult

from . import _forms, _options, _trust
from ._marks import plain

API = "api"
USUAL = Remote()
NAMED = ("base_url", "key_name", "template")
"""Fields that are refused where this visitor may not name what they say."""


def choices() -> dict[str, str]:
    """Models behind an API for the dropdown."""
    presets = {name: f"{name}: {preset.title}" for name, preset in services.presets().items()}
    return presets | {API: "Another model behind an API (vLLM, Ollama, Azure, ...)"}


def model_name(ctx: foo.ExecutionContext) -> str:
    """``openai:MODEL`` of the form's field."""
    return f"{services.PREFIX}{_trust.told(ctx, 'api_model') or ''}"


def inputs(ctx: foo.ExecutionContext, inputs: Any, model: str, *, votes: bool = True, usual: Remote = USUAL) -> None:
    """Fields for server and limits; without ``votes`` everything is asked once."""
    inputs.view("service", types.Header(label="Service", description="Pictures leave this process", divider=True))
    names = [name for name in _options.SERVICE if votes or name != "samples"]
    fields = _options.add(inputs, names, usual)
    _options.add_more(ctx, inputs, usual)
    for name in NAMED:
        _forms.attempt(fields[name], partial(_trust.told, ctx, name))
    if any(fields[name].invalid for name in NAMED):
        return
    chosen = _forms.attempt(fields["concurrency"], lambda: _options.remote(ctx, usual))
    if chosen is None:
        return
    _forms.attempt(fields["template"], lambda: (templates.load(chosen), words.load(chosen.template)))
    server = fields["base_url"]
    endpoint = _forms.attempt(server, lambda: services.endpoint(model, chosen.base_url, chosen.key_name))
    if endpoint is not None:
        _forms.attempt(server, lambda: [keys.find(one, _trust.secrets(ctx)) for one in endpoint.each])


def cost(ctx: foo.ExecutionContext, inputs: Any, briefing: Callable[[], Briefing | None]) -> None:
    """Where the pictures go and at what cost, with a box to tick where it is more than a little."""
    step = _forms.attempt(_box(inputs), briefing)
    if step is not None:
        costs(ctx, inputs, [step])


def costs(ctx: foo.ExecutionContext, inputs: Any, steps: Sequence[Briefing]) -> None:
    """As :func:`cost`, of a run with several steps that send pictures."""
    for k, step in enumerate(steps):
        kind = types.Notice if step.is_local else types.Warning
        _forms.notice(inputs, f"briefing_{k}" if k else "briefing", step.text, kind)
    if any(_is_dear(ctx, step) for step in steps):
        label = f"Go on although it may cost more than ${CONFIRM_ABOVE:g}"
        agreed = inputs.bool("agreed", label=plain(label), default=False, required=True)
        if not ctx.params.get("agreed"):
            agreed.invalid, agreed.error_message = True, "Agree to the cost, or set a budget."


def _box(inputs: Any) -> Any:
    return inputs.view("cost", types.Header(label="Cost", divider=True))


def _is_dear(ctx: foo.ExecutionContext, step: Briefing) -> bool:
    return step.dollars is not None and step.dollars > CONFIRM_ABOVE and not ctx.params.get("budget")


def confirmed(ctx: foo.ExecutionContext, step: Briefing) -> bool:
    """Whether the run may begin, after the form said the same.

    Raises :class:`~facevlm.errors.InputError` for a dear run that was not agreed to, as one started by a script may be.
    """
    if _is_dear(ctx, step) and not _forms.is_ticked(ctx, "agreed"):
        raise InputError(f"{step.text} That is more than ${CONFIRM_ABOVE:g}: agree to it, or set a budget.")
    return True


def spent(result: ApplyResult) -> str:
    """Requests and US dollars of a run in words; nothing for a model that runs here."""
    dollars = result.usage.get("dollars")
    cost = f", ${dollars:,.4f}" if dollars else ""
    return f" {result.usage['requests']:,} requests{cost}." if result.usage else ""
