"""Operators and the panel of the App: a form or a click in, a core call, a result out. They do not compute."""

from .keep import KeepSidebarFilters
from .menu import VERBS, FaceAttributesMenu
from .panel import FaceAttributeErrors
from .stop import HideFaceAttributeRun

OPERATORS = (*VERBS, FaceAttributesMenu, FaceAttributeErrors, HideFaceAttributeRun, KeepSidebarFilters)
