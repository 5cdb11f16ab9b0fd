"""Pictures that a model or its processor cannot take, singled out of a batch, so that the others are answered.

Whether the picture or the model is at fault is found out by asking about a plain picture: an error that it meets, too,
ends the run. So does what only a mistake in a program raises. Memory that runs out with a single picture is an error as
any other: that picture may be too large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL.Image import Image

from facevlm.errors import FacevlmError, ModelError
from facevlm.types import Reply

Rows = list[list[Reply]]
Call = Callable[[Sequence[Image]], Rows]
REFUSALS = (ValueError, RuntimeError, LookupError, ArithmeticError, OSError, ModelError)
"""What processors and models raise about a picture: its shape, its size, what came of it on the way."""
FEWEST = 20
"""Pictures that may fail before any was answered."""


class Singling:
    """Calls a model, and remembers whether it ever answered. ``name`` is the model's, for errors."""

    def __init__(self, name: str) -> None:
        self._name, self._answered, self._failed = name, False, 0

    def __call__(self, call: Call, images: Sequence[Image], plain: Image) -> Rows:
        """One row per picture; where the model cannot take one, its row is a single reply with ``error``.

        Raises :class:`~facevlm.errors.ModelError` where it is not the picture: a ``plain`` one fails as well, or none
        of the first pictures was answered.
        """
        try:
            rows = call(images)
        except REFUSALS as error:
            self._blame_the_model(call, plain, error)
            rows = self._apart(call, images, error)
        self._answered = self._answered or any(row[0].error is None for row in rows if row)
        return rows

    def _blame_the_model(self, call: Call, plain: Image, error: Exception) -> None:
        """Raise where a plain picture meets with an error, too."""
        try:
            call([plain])
        except REFUSALS as also:
            if isinstance(error, FacevlmError):
                raise error from None
            raise ModelError(
                f"Model '{self._name}' cannot be asked about any picture, not even a plain one: {_said(also)}. "
                "Expected an answer or a score for each. Check its files and options, or choose another model."
            ) from error

    def _apart(self, call: Call, images: Sequence[Image], error: Exception) -> Rows:
        """The rows of halves, and of halves of these, down to the single pictures that cannot be taken."""
        if len(images) == 1:
            return [self._failure(images[0], error)]
        middle = len(images) // 2
        return [row for half in (images[:middle], images[middle:]) for row in self._tried(call, half)]

    def _tried(self, call: Call, images: Sequence[Image]) -> Rows:
        try:
            rows = call(images)
        except REFUSALS as error:
            return self._apart(call, images, error)
        self._answered = True
        return rows

    def _failure(self, image: Image, error: Exception) -> list[Reply]:
        self._failed += 1
        if not self._answered and self._failed >= FEWEST:
            raise ModelError(
                f"Model '{self._name}' could take none of the first {self._failed} pictures; the last: {_said(error)}. "
                "Expected pictures as it was made for. Leave these out, by a view, or choose another model."
            ) from error
        return [Reply(error=f"the model cannot take this picture of {image.width}x{image.height}: {_said(error)}")]


def _said(error: Exception) -> str:
    """The first line of an error, or its kind."""
    first = (str(error).strip().splitlines() or [""])[0].rstrip(" .:")
    return first or type(error).__name__
