"""Reference benchmark suite for structured pruning of language models.

Importing this package never imports torch, so that listings and workflow graphs are instant.
"""

from importlib.metadata import version

__version__ = version("adaptprune")
