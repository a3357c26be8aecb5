"""Run the command line as ``python -m adaptprune``."""

from adaptprune.cli import main

main()
