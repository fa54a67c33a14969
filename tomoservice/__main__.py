"""`python -m tomoservice` is the command line."""

from __future__ import annotations

from tomoservice.cli import main

main()
