"""Mistakes that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """One sentence: what was found, what was expected, what to do. Commands print it and end with exit code 2."""
