"""The Hugging Face hub: asked with patience, and every refusal told in one line.

All requests of the hub's client in this process, those of `datasets` among them, go through
`Patient`: what passes is tried again a bounded number of times, with a line each.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

logger = logging.getLogger(__name__)

ATTEMPTS = 5
#: Seconds before the second attempt; each further one waits twice as long.
FIRST_PAUSE_S = 1.0
#: The hub counts requests over five minutes; a longer wait that it asks for is not waited.
LONGEST_PAUSE_S = 300.0
#: Attempts where nobody answers at all, and seconds that one of them may take.
CALLS, CONNECT_S = 2, 3.0
#: Seconds without a byte after which an answer is given up.
SILENCE_S = 60.0
#: Seconds after which the hub counts as not reachable, whatever a look-up of its name waits for.
ANSWER_S = 10.0
#: Answers that pass: too late, too many requests, the hub's own errors.
PASSING = {408, 429, 500, 502, 503, 504}
WHERE_NETWORK_IS = "run `adaptprune prefetch` where there is network"


@functools.cache
def _patient_class() -> type[httpx2.Client]:
    """Return the client's class; its library takes a while to import."""
    import httpx2

    class Patient(httpx2.Client):
        """A client that waits and asks again where an answer is one that passes."""

        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            """Send a request until it is answered, or raise a `UserError` that says why not."""
            _bound(request)
            for attempt in range(1, ATTEMPTS + 1):
                pause, allowed = FIRST_PAUSE_S * 2 ** (attempt - 1), ATTEMPTS
                try:
                    response = super().send(request, **options)
                except httpx2.TransportError as error:
                    reason = first_line(error)
                    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                        allowed = CALLS
                    if attempt >= allowed:
                        raise _unreachable(reason) from error
                else:
                    if response.status_code not in PASSING:
                        return response
                    reason = f"status {response.status_code}"
                    pause = _asked_pause(response) or pause
                    response.close()
                    if attempt == ATTEMPTS or pause > LONGEST_PAUSE_S:
                        raise UserError(
                            f"the hub answers with status {response.status_code} after {attempt} "
                            f"attempts ({request.url.path}); try again later"
                        )
                logger.warning(
                    "the hub: %s (%s); attempt %d of %d in %.0f s",
                    *(reason, request.url.path, attempt + 1, allowed, pause),
                )
                time.sleep(pause)
            raise AssertionError("the last attempt returns or raises")

    return Patient


def _bound(request: httpx2.Request) -> None:
    """Set the time limits that a library left open."""
    limits = request.extensions.get("timeout", {})
    bounds = {"connect": CONNECT_S, "read": SILENCE_S, "write": SILENCE_S, "pool": SILENCE_S}
    request.extensions["timeout"] = {
        name: min(limits.get(name) or bound, bound) for name, bound in bounds.items()
    }


def _asked_pause(response: httpx2.Response) -> float | None:
    """Return the seconds that an answer asks to wait for (``Retry-After``, or the hub's own)."""
    from huggingface_hub.utils import parse_ratelimit_headers

    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdigit():
        return float(asked)
    limit = parse_ratelimit_headers(response.headers) if response.status_code == 429 else None
    return limit.reset_in_seconds + 1.0 if limit and limit.remaining == 0 else None


def be_patient() -> None:
    """Let the hub's client in this process be a patient one; idempotent."""
    import huggingface_hub
    from huggingface_hub.utils import get_session

    usual, patient = get_session(), _patient_class()
    if not isinstance(usual, patient):
        hooks = usual.event_hooks  # among them the refusal of HF_HUB_OFFLINE
        huggingface_hub.set_client_factory(
            lambda: patient(event_hooks=hooks, follow_redirects=True, timeout=None)
        )


def endpoint() -> str:
    """Return the address of the hub."""
    import huggingface_hub.constants

    return huggingface_hub.constants.ENDPOINT


def check_reachable() -> None:
    """Make sure within seconds that the hub answers; asked once per process.

    Raises:
        UserError: it does not.
        OfflineModeIsEnabled: it may not be asked (``HF_HUB_OFFLINE``).
    """
    be_patient()
    _reach(endpoint())


@functools.cache
def _reach(address: str) -> None:
    from huggingface_hub.utils import get_session

    failure: list[Exception] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(address)
        except Exception as error:
            failure.append(error)
        answered.set()

    # A thread of its own: a look-up of a name cannot be bounded otherwise.
    threading.Thread(target=ask, daemon=True).start()
    if not answered.wait(ANSWER_S):
        raise _unreachable(f"no answer within {ANSWER_S:.0f} s")
    if failure:
        raise failure[0]


def _unreachable(reason: str) -> UserError:
    return UserError(f"the hub at {endpoint()} cannot be reached ({reason}); {WHERE_NETWORK_IS}")


@contextlib.contextmanager
def explained(what: str, page: str = "") -> Iterator[None]:
    """Turn any error of the hub or of a library that reads from it into one line.

    Args:
        what: is asked for, as the line begins.
        page: path of the repository's page, e.g. ``datasets/owner/name``.

    Raises:
        UserError: the status and what to do, with the library's own first line.
    """
    try:
        yield
    except Exception as error:  # the kinds vary with the libraries under the hub's client
        told = next((one for one in _chain(error) if isinstance(one, UserError)), None)
        if told is error and what in str(told):
            raise
        inner = f"data set {page.removeprefix('datasets/')}: "  # said once is enough
        reason = str(told).removeprefix(inner) if told else _advice(error, page)
        raise UserError(f"{what}: {reason}") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _advice(error: Exception, page: str) -> str:
    """Return what happened and what to do about it."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if any(isinstance(one, OfflineModeIsEnabled) for one in _chain(error)):
        return f"not there, and HF_HUB_OFFLINE forbids to ask the hub; {WHERE_NETWORK_IS}"
    refused = next((one for one in _chain(error) if isinstance(one, HfHubHTTPError)), None)
    if refused is None:
        return f"cannot be read from the hub ({_said(error)})"
    status = refused.response.status_code
    cures = {
        401: "the hub wants a token of an account that may read it, or there is no such name: "
        "check the name, then `hf auth login` or HF_TOKEN",
        403: f"ask for access on its page {endpoint()}/{page} with the account of the token",
        404: f"check the name and the revision on {endpoint()}/{page}",
    }
    cure = cures.get(status, "try again later")
    said = " ".join(f"{first_line(refused)} {refused.server_message or ''}".split())
    return f"the hub answers with status {status}; {cure} ({said})"


def _said(error: BaseException) -> str:
    """Return the first line of an error, and of the one that it came from at the very first."""
    root = error
    while root.__cause__ is not None:  # `datasets` says of every file that it could not be read
        root = root.__cause__
    lines = [f"{type(one).__name__}: {first_line(one)}" for one in dict.fromkeys((error, root))]
    return ", from ".join(lines)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def answers() -> bool:
    """Say whether the hub may be asked and answers."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        check_reachable()
    except (UserError, OfflineModeIsEnabled):
        return False
    return True
