"""Run the command line as ``python -m adaptprune``: in a fork of a warm process, or right here."""

import sys

from adaptprune.errors import INTERRUPTED
from adaptprune.files.surroundings import speak_utf8
from adaptprune.forkserver import run_in_fork
from adaptprune.pruning.vectors import take_official_vectors

speak_utf8()
# The warm process has imported torch, and with it the width of vectors.
try:
    status = None if take_official_vectors(sys.argv[1:]) else run_in_fork(sys.argv[1:])
except KeyboardInterrupt:  # the fork gets it too, and says so
    sys.exit(INTERRUPTED)
if status is None:
    from adaptprune.cli import main

    main()
else:
    sys.exit(status)
