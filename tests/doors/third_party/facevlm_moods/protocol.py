"""A protocol of its own: a body of words and pictures, an answer of one object."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from facevlm.backends.remote.exchange import Asked, Completion, Usage


class Moodlet:
    """Asks at /see: ``{"who": model, "words": [...], "shape": schema, "pictures": [...]}``."""

    path = "/see"

    def skeleton(self, asked: Asked) -> dict[str, Any]:
        return {"who": asked.model, "words": [turn.text for turn in asked.turns], "shape": asked.schema}

    def with_pictures(self, skeleton: Mapping[str, Any], jpegs: Sequence[bytes], detail: str) -> dict[str, Any]:
        return {**skeleton, "pictures": [base64.b64encode(jpeg).decode() for jpeg in jpegs]}

    def read(self, body: object) -> Completion:
        if not isinstance(body, Mapping) or "seen" not in body:
            return Completion(error="nothing was seen")
        return Completion(json.dumps(body["seen"]), usage=Usage(int(body.get("cost", 0)), 1))
