"""The version, known without anything else being imported."""

VERSION = "0.1.0"
"""Of this package, as in pyproject.toml; a bare box runs it without having installed it."""
