"""Operators and the panel of the App: a form or a click in, a core call, a result out. They do not compute."""

from .apply import ApplyVlmFaceAttributes
from .ask import AskAboutFaces
from .batches import CollectFaceAttributeBatches
from .describe import DescribePeople
from .detect import DetectFaces
from .evaluate import EvaluateFaceAttributes
from .panel import FaceAttributeErrors
from .report import WriteFaceAttributeReport

OPERATORS = (
    ApplyVlmFaceAttributes,
    AskAboutFaces,
    CollectFaceAttributeBatches,
    DescribePeople,
    DetectFaces,
    EvaluateFaceAttributes,
    FaceAttributeErrors,
    WriteFaceAttributeReport,
)
