"""Measures of animated faces, each defined in its docstring with its source."""
