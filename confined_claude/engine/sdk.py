"""The docker SDK: fetches images with the user's sign-in to their registry. Imported only where that may be needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.types
from requests.exceptions import RequestException, Timeout

from ..errors import EngineError
from . import builder, containers, failures
from .context import address_in_use
from .images import Images


class Engine(Images):
    """One connected engine. Its methods raise EngineError if the engine cannot be asked, or refuses."""

    def __init__(self, api: Any) -> None:
        self._sdk = api

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Engine:
        """Return the engine of the current docker context.

        Raises EngineError if there is none, it may not be used, or it runs on another machine.
        """
        address = address_in_use(environ)
        try:
            if not environ.get("DOCKER_HOST"):
                return cls(docker.APIClient(base_url=address, version="auto", timeout=failures.SECONDS))
            return cls(docker.DockerClient.from_env(environment=dict(environ), timeout=failures.SECONDS).api)
        except Exception as error:  # the SDK lets errors of every layer through
            raise failures.unreachable(str(error)) from None

    def pull(self, name: str) -> None:
        """Fetch an image from its registry."""
        with _translated(f"pull {name}"):
            for record in self._sdk.pull(name, stream=True, decode=True):
                if "error" in record:
                    raise EngineError(f"Cannot pull {name}: {record['error']}")

    def build(self, context: bytes, name: str, arguments: Mapping[str, str], **how: Any) -> int:
        """Build an image, see ``builder.build``: by the engine's command, as the SDK knows the classic builder only."""
        podman = containers.is_podman(containers.version())
        return builder.build(context, name, arguments, podman=podman, **how)


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn the SDK's exceptions into EngineError."""
    try:
        yield
    except docker.errors.APIError as error:
        raise failures.refused(doing, str(error.explanation or error)) from None
    except Timeout:
        raise failures.no_answer(failures.SECONDS) from None
    except (docker.errors.DockerException, RequestException, OSError) as error:
        raise failures.refused(doing, f"the connection broke: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise failures.refused(doing, f"its answer cannot be understood ({type(error).__name__})") from None
