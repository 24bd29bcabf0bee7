"""What people are told of files that are not what they should be."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """Why the content of a file could not be read; a `KeyError` alone would only name what is missing."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)
