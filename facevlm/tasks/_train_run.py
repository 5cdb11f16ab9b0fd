"""A training that goes on in a thread of its own, is looked at meanwhile, and may be told to stop."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace

from facevlm.tasks.train import TrainPlan, TrainResult, carry_out
from facevlm.training.recipes import FIGURE

TICK = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True)
class Learning:
    """How far a training is: steps ``done`` of ``total``, which is 0 before the first; the last loss, and the balanced
    accuracy on the validation faces after the last epoch."""

    done: int = 0
    total: int = 0
    loss: float | None = None
    figure: float | None = None

    def __str__(self) -> str:
        if not self.total:
            return "Asking the model as it is"
        if self.done >= self.total:
            return "Asking the tuned model"
        parts = [f"{self.done:,} of {self.total:,} steps"]
        parts += [f"loss {self.loss:.3g}"] if self.loss is not None else []
        parts += [f"balanced accuracy {100 * self.figure:.1f} %"] if self.figure is not None else []
        return ", ".join(parts)


class _Stopped(Exception):
    """Raised in the loop where it is to end."""


class TrainRun:
    """A planned training that has not begun: take :meth:`steps`, then read :meth:`result`."""

    def __init__(self, plan: TrainPlan) -> None:
        self.plan = plan
        self._so_far = Learning()
        self._is_stopping = threading.Event()
        self._result: TrainResult | None = None
        self._error: BaseException | None = None

    def steps(self) -> Generator[Learning, None, None]:
        """Learn, and tell how far it is twice a second. Closed, it ends at the next step, and what was saved is kept.

        Raises :class:`~facevlm.errors.FacevlmError` as :func:`facevlm.train` does.
        """
        thread = threading.Thread(target=self._work, name="facevlm-train", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(TICK)
                yield self._so_far
        finally:
            self._is_stopping.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def result(self) -> TrainResult:
        """What was learnt, once all steps are taken."""
        if self._result is None:
            raise RuntimeError("the training has not ended")
        return self._result

    def _work(self) -> None:
        try:
            self._result = carry_out(self.plan, self._told, self._noted)
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001  raised again by whoever takes the steps
            self._error = error

    def _told(self, done: int, total: int) -> None:
        if self._is_stopping.is_set():
            raise _Stopped
        self._so_far = replace(self._so_far, done=done, total=total)

    def _noted(self, entry: Mapping[str, float]) -> None:
        so_far = self._so_far
        self._so_far = replace(so_far, loss=entry.get("loss", so_far.loss), figure=entry.get(FIGURE, so_far.figure))
