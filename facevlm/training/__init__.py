"""Labelled faces into a checkpoint: examples, splits, losses, recipes, the loop, and the folder that comes out."""
