"""The version that every row and report carries; pyproject.toml reads it from here."""

VERSION = "0.2.0.dev0"
