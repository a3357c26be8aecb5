"""Start the command line: ``adaptprune`` here, ``python -m adaptprune`` in a fork if it can."""

import sys

from adaptprune.errors import INTERRUPTED, STOPPED


def main() -> None:
    """Run the command line in this process; the entry point of ``adaptprune``.

    What it imports takes a moment, in which Ctrl-C may come already.
    """
    try:
        from adaptprune import cli

        cli.main()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(INTERRUPTED)


def main_of_job() -> None:
    """Run the command line in a fork, where there is a process to fork and its vectors fit."""
    try:
        from adaptprune.files.surroundings import speak_utf8
        from adaptprune.forkserver import run_in_fork
        from adaptprune.pruning.vectors import take_official_vectors

        speak_utf8()
        # The warm process has imported torch, and with it the width of vectors.
        status = None if take_official_vectors(sys.argv[1:]) else run_in_fork(sys.argv[1:])
    except KeyboardInterrupt:  # a fork gets it too, and says so
        sys.exit(INTERRUPTED)
    if status is None:
        main()
    sys.exit(status)


if __name__ == "__main__":
    main_of_job()
