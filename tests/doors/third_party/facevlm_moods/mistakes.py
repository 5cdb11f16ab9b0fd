"""Sets and services that cannot be used: they take names that are taken."""

from __future__ import annotations

from facevlm.attributes import Registry, define

GENDERS = Registry({"gender": define("gender", ["m", "f"], "m or f?")}, {}, {})
SERVICE = {"services": {"openai": {"base_url": "https://elsewhere.example/v1", "keys": ["OPENAI_API_KEY"]}}}
