"""Faults of data that need no model: prints of pictures, and what they and the labels show."""
