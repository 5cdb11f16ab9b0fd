"""Requests in words: a grammar and its phrases, a planner for what it cannot read, and the wordings of questions."""
