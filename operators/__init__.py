"""Operators of the App: a form in, a core call, progress and a result out. They translate, they do not compute."""

from .apply import ApplyVlmFaceAttributes
from .evaluate import EvaluateFaceAttributes

OPERATORS = (ApplyVlmFaceAttributes, EvaluateFaceAttributes)
