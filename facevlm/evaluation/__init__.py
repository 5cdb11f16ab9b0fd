"""Predictions against ground truth: pure functions of plain data, every figure beside its n and its interval."""

from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate

__all__ = ["AttributeEvaluation", "Records", "evaluate"]
