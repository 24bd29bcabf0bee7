"""Predictions in files against annotations, as commands: printed tables, and the same numbers as CSV and JSON."""
