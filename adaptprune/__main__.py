"""Run the command line as ``python -m adaptprune``: in a fork of a warm process, or right here."""

import sys

from adaptprune.files.surroundings import speak_utf8
from adaptprune.forkserver import run_in_fork

speak_utf8()
status = run_in_fork(sys.argv[1:])
if status is None:
    from adaptprune.cli import main

    main()
else:
    sys.exit(status)
