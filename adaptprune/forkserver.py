"""One process that has imported torch and its friends; a workflow's jobs are forked copies of it.

Importing torch, transformers and lm-eval takes longer than many a job takes to compute. A workflow
therefore starts one process that does it once. A job (``python -m adaptprune …``) sends it what is
to be done; a fork of it does that, with the job's own folder, environment and output, and the job
ends as the fork ends. A job that is killed takes its fork along, and one that comes before the
imports are done waits for them. Where there is no such process, on another machine or in another
environment, a job computes by itself.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import NoReturn

from adaptprune.machine.workflow_lock import is_workflow_gone

_VARIABLE = "ADAPTPRUNE_FORKSERVER"
#: What most jobs import.
_MODULES = (
    "adaptprune.cli",
    "adaptprune.evaluation.stage",
    "adaptprune.evaluation.harness",
    "adaptprune.evaluation.scorer",
    "lm_eval.evaluator",
    "lm_eval.tasks",
    "transformers.models.llama.modeling_llama",
)


def _address(folder: str) -> str:
    """Return the socket of this Python environment; another one finds none."""
    return str(Path(folder) / hashlib.sha256(sys.prefix.encode()).hexdigest()[:16])


def start_forkserver() -> subprocess.Popen[bytes]:
    """Start the process for the jobs of this workflow; it ends with the workflow."""
    folder = tempfile.mkdtemp(prefix="adaptprune-")  # readable by its owner alone
    os.environ[_VARIABLE] = folder
    # Threads of a number library would not survive the fork; jobs set torch's own number.
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_address(folder))
        listener.listen(128)
        return subprocess.Popen(
            [sys.executable, "-m", "adaptprune.forkserver", folder, str(listener.fileno())],
            env=environment,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            # Whoever reads the workflow's output must not wait for this process too.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def run_in_fork(arguments: list[str]) -> int | None:
    """Let a fork run the command line; return its exit status, None where nobody answers.

    Args:
        arguments: of the command line, without the program's name.
    """
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        return None
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(_address(folder))
            socket.send_fds(connection, [b"."], [1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError:  # no server, or one that was killed before it forked
            return None
        status = b""
        with contextlib.suppress(ConnectionResetError):
            status = connection.recv(1)
    if not status:
        print("error: the process that computed was killed", file=sys.stderr)
        return 1
    return status[0]


def _work(connection: socket.socket) -> int:
    """Run one command line in this fork; return its exit status."""
    _, outputs, _, _ = socket.recv_fds(connection, 1, 2)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.readline())
    for place, descriptor in enumerate(outputs, 1):
        os.dup2(descriptor, place)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["adaptprune", *request["arguments"]]

    def end_with_job() -> None:
        connection.recv(1)  # The job sends nothing more: this returns when it is gone.
        os._exit(1)

    threading.Thread(target=end_with_job, daemon=True).start()
    from adaptprune.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _answer(connection: socket.socket) -> NoReturn:
    """Do what is asked for in this fork and end it, whatever happens: the server goes on."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = _work(connection)
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send(bytes([status]))
    finally:
        os._exit(status)


def serve(folder: str, descriptor: int) -> None:
    """Answer until the workflow is gone, then remove the folder.

    Args:
        folder: where the socket lies.
        descriptor: of the socket, which listens already.
    """
    for module in _MODULES:
        __import__(module)
    gc.collect()
    gc.freeze()  # what is imported stays shared with the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        listener = stack.enter_context(socket.socket(fileno=descriptor))
        listener.settimeout(0.5)
        while not is_workflow_gone():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    _answer(connection)
                connection.close()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
