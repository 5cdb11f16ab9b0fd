"""Questions to a model behind an API handed in as batches: answered within a day for about half the price.

``submit`` words the same requests as ``apply``, ``status`` tells how far they are, ``collect`` reads the answers by the
same rules and stores them. The batches stand in the dataset's run records, and carry a mark at the provider by which
they are found again; so each of the three may run in another process, on another day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from typing_extensions import Unpack

from facevlm.backends import Briefing
from facevlm.backends.remote.batches import State
from facevlm.faces.crops import Crop
from facevlm.store import targets
from facevlm.tasks._options import RunOptions, settings, takes_options
from facevlm.tasks._run import carry_out
from facevlm.tasks._verb import verb
from facevlm.tasks.apply import ApplyRun, selected
from facevlm.tasks.batch.collect import Batches, Collected, Overview, overview, prefixes
from facevlm.tasks.batch.submit import SubmitRun, Submitted
from facevlm.types import Attribute

__all__ = [
    "Batches",
    "Collected",
    "Overview",
    "SubmitRun",
    "Submitted",
    "cancel",
    "collect",
    "overview",
    "prefixes",
    "status",
    "submit",
]


@verb
@takes_options(RunOptions)
def submit(
    target: targets.Collection,
    model: str,
    attributes: Sequence[str | Attribute] = (),
    *,
    faces: str | None = None,
    face_labels: Sequence[str] = (),
    min_confidence: float | None = None,
    min_face_px: int | None = None,
    crop: Crop | None = None,
    prefix: str | None = None,
    prompts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    confirm: Callable[[Briefing], bool] | None = None,
    **options: Unpack[RunOptions],
) -> Submitted:
    """Hand in the questions about faces as batches; :func:`collect` stores the answers, within a day or sooner.

    Faces that have their answers, in the dataset or in the reply cache, are not sent. ``budget`` counts the estimate at
    the price of a batch.

    Args:
        target, model, attributes, faces, face_labels, min_confidence, min_face_px, crop, prefix, prompts, overwrite,
        confirm: those of :func:`facevlm.apply`.
        {options}

    Raises:
        FacevlmError: before anything is sent, saying what was got, what was expected, and what to do.
    """
    told = settings(options)
    run = ApplyRun(
        target,
        model,
        attributes,
        faces=selected(faces, face_labels, min_confidence),
        crop=crop,
        min_face_px=min_face_px,
        prefix=prefix,
        prompts=prompts,
        overwrite=overwrite,
        settings=told,
    )
    return carry_out(SubmitRun(run, model, told.options.remote), confirm, progress=told.progress)


@verb
def status(dataset: targets.Collection, prefix: str | None = None) -> list[State]:
    """How far the batches of a prefix are, by default the one handed in last."""
    with Batches(dataset, prefix) as batches:
        return batches.states()


@verb
def collect(
    dataset: targets.Collection, prefix: str | None = None, *, wait: bool = False, overwrite: bool = False
) -> Collected:
    """Store the answers of all batches of a prefix that are over, after waiting for them if wanted.

    Where another model or prompt answered under the prefix since they were handed in, that is refused unless its
    answers are to be overwritten.
    """
    with Batches(dataset, prefix) as batches:
        if wait:
            batches.wait()
        with closing(batches.collect(overwrite=overwrite)) as steps:
            for _ in steps:
                pass
        return batches.collected()


@verb
def cancel(dataset: targets.Collection, prefix: str | None = None) -> list[State]:
    """Ask to cancel the batches of a prefix that are not over."""
    with Batches(dataset, prefix) as batches:
        return batches.cancel()
