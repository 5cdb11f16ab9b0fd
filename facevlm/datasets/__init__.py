"""Readers of data sets: folders and files into plain records, without FiftyOne."""
