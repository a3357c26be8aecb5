"""Reference benchmark suite for structured pruning of language models.

Importing this package never imports torch, so that listings and workflow graphs are instant.
"""

import os
import platform
from importlib.metadata import version

from adaptprune.files.surroundings import settle
from adaptprune.moved import keep_old_names, keep_the_function

__version__ = version("adaptprune")

keep_old_names()
keep_the_function()

# One vector width on every x86 machine. torch's float32 log-softmax over a vocabulary depends on
# it (about 1e-5 of the loss between AVX2 and AVX-512), which is enough to swap two units whose
# importances tie. AVX2 is what the official implementations' figures were computed with.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")

settle()
