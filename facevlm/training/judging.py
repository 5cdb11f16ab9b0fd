"""Figures of a tuned model and of its base, on faces that it has not learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facevlm.evaluation.comparison import compare_two
from facevlm.evaluation.evaluate import AttributeEvaluation, Records
from facevlm.evaluation.evaluate import evaluate as evaluate_records
from facevlm.training.examples import LabelledFace
from facevlm.training.output import Judgement
from facevlm.types import Attribute, Prediction


def judged(
    attribute: Attribute,
    judges: Sequence[LabelledFace],
    before: Sequence[Prediction] | None,
    after: Sequence[Prediction],
) -> Judgement:
    """One attribute's figures on those faces that have its label; ``before`` is None for what the base does not know.

    ``before`` and ``after`` are parallel to ``judges``.
    """
    kept = [at for at, example in enumerate(judges) if attribute.name in example.labels]
    examples = [judges[at] for at in kept]
    said = [after[at] for at in kept]
    evaluated = _evaluated(attribute, examples, said)
    if before is None:
        return Judgement(evaluated, None, None)
    earlier = [before[at] for at in kept]
    truth = np.array([attribute.labels.index(e.labels[attribute.name]) for e in examples], dtype=np.int64)
    codes = [
        np.array([-1 if p.label is None else attribute.labels.index(p.label) for p in row], dtype=np.int64)
        for row in (said, earlier)
    ]
    pair = compare_two("tuned", "base", truth, codes[0], codes[1], len(attribute.labels))
    return Judgement(evaluated, _evaluated(attribute, examples, earlier), pair)


def _evaluated(
    attribute: Attribute, examples: Sequence[LabelledFace], said: Sequence[Prediction]
) -> AttributeEvaluation:
    unscored = (float("nan"),) * len(attribute.labels)
    names = {name for example in examples for name in example.groups}
    groups = {attribute.name: [e.labels[attribute.name] for e in examples]}
    scores = np.array([p.log_probs or unscored for p in said])
    return evaluate_records(
        attribute,
        Records(
            truth=[e.labels[attribute.name] for e in examples],
            predicted=[p.label for p in said],
            outcomes=[p.outcome for p in said],
            groups=groups | {name: [e.groups.get(name) for e in examples] for name in sorted(names)},
            log_probs=None if np.isnan(scores).all() else scores,
        ),
    )
