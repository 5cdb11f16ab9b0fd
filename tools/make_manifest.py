"""Write manifest.json, by which this repository is a source of FiftyOne's model zoo, from the model cards.

python -m tools.make_manifest
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facevlm.backends.cards import PACKAGE, Card, shipped

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "manifest.json"
NAME = "facevlm/face-attributes"
"""FiftyOne copies the repository to this folder of its model zoo, and imports it by this name with a dot for the slash:
it must be the name of no module of facevlm."""
PREFIX = "facevlm"
HUB = "https://huggingface.co/"
TAGS = ("classification", "faces", "logits", "torch", "transformers", "vision-language")


def text() -> str:
    """The content of manifest.json."""
    data = {"name": NAME, "models": [_model(card) for card in shipped().values()]}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _model(card: Card) -> dict[str, Any]:
    checkpoints = list(dict.fromkeys(card.checkpoints.values()))
    on_hub = [name for name in checkpoints if not name.startswith(PACKAGE)]
    zero_shot = not card.questions and card.family().zero_shot
    about = {
        "Attributes": ", ".join(card.questions) or ("any" if zero_shot else "none as it is"),
        "Licence": card.licence,
        "Source": card.source,
    }
    return {
        "base_name": f"{PREFIX}/{card.name}",
        "base_filename": f"{PREFIX}-{card.name}.txt",
        "description": ". ".join([card.title, *(f"{k}: {v}" for k, v in about.items() if v)]) + ".",
        **({"source": HUB + on_hub[0]} if on_hub else {}),
        "license": card.licence.split(" (")[0],
        "size_bytes": round(card.download * 1e9) * len(checkpoints),
        "requirements": {
            "packages": (ROOT / "requirements.txt").read_text(encoding="utf-8").split(),
            "cpu": {"support": True},
            "gpu": {"support": True},
        },
        "tags": [*TAGS, card.model_type, *(["zero-shot"] if zero_shot else [])],
    }


def main() -> None:
    PATH.write_text(text(), encoding="utf-8")
    print(f"{PATH}: {len(shipped())} models")


if __name__ == "__main__":
    main()
