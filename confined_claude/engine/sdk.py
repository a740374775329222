"""The docker SDK: the user's sign-in to a registry, from the docker command's configuration and credential helpers.

Its import takes long, and only a fetched image needs it. The SDK does not connect to the engine: by ssh it would need
another package, and it does not know the certificates of docker contexts.
"""

from __future__ import annotations

from docker import auth, utils


def request_of(name: str) -> tuple[dict[str, str], list[str]]:
    """Return the query and the header lines that have an engine fetch the image ``name``.

    A sign-in that cannot be read counts as none, as for the docker command: the registry says what is missing.
    """
    repository, tag = utils.parse_repository_tag(name)
    query = {"fromImage": repository, "tag": tag or "latest"}
    try:
        registry, _ = auth.resolve_repository_name(repository)
        found = auth.load_config().resolve_authconfig(registry)
    except Exception:  # files and helpers of any kind, and the SDK lets all their errors through
        found = None
    return query, [f"X-Registry-Auth: {auth.encode_header(found).decode()}"] if found else []
