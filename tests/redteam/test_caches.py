"""What a session leaves to other projects in the caches that they share: data, and nothing that acts by itself."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from attacks import Field
from helpers import TEST_LABEL, docker
from probes import IMAGE, INTERNET

# What tools read or run by themselves, or by a name that one types, below the home directory.
ACTING = """
    .cargo/config.toml .cargo/env .cargo/bin/cargo .cargo/git/db/x/config .cargo/registry/src/x/build.rs
    go/bin/x go/pkg/mod/x@v1/x.go .config/go/env
    .gradle/init.d/x.gradle .gradle/init.gradle .gradle/gradle.properties .gradle/wrapper/dists/x/bin/gradle
    .gradle/caches/modules-2/metadata-2.1/x .gradle/caches/build-cache-1/x .gradle/daemon/x
    .config/pnpm/rc .config/pnpm/config.yaml .local/share/pnpm/x .cache/pnpm/dlx/x .cache/npm/_npx/x/node_modules/.bin/x
    .npmrc .config/pip/pip.conf .config/uv/uv.toml
    .cache/uv/x .local/lib/uv/cache/archive-v0/x/bin/x .local/lib/uv/cache/environments-v2/x
    .local/share/uv/tools/x .local/lib/uv/tools/x .local/lib/uv/python/x .local/bin/x .local/lib/ms-playwright/x/chrome
    .cache/ms-playwright/x/chrome
""".split()
SHARED = """
    .cache/pip/http/x .cache/npm/_cacache/x .cache/downloads/pnpm/v10/files/x .cargo/registry/cache/x/x.crate
    go/pkg/mod/cache/download/x.zip .gradle/caches/modules-2/files-2.1/x/x.jar
""".split()
FILES = " ".join((*ACTING, *SHARED))
PLANT = f"for file in {FILES}; do mkdir -p ~/$(dirname $file) && echo PLANTED >~/$file || exit 1; done"
FIND = f"cd; for file in {FILES}; do ! grep -qs PLANTED $file || echo $file; done"


def test_nothing_that_acts_is_shared(field: Field) -> None:
    other = Field(field.user, field.user.folder(field.project.parent / "other"), field.outside)
    planted = field.session(PLANT, **INTERNET)
    assert planted.returncode == 0, planted.stderr
    found = other.session(FIND, **INTERNET).stdout.split()
    assert set(found) == set(SHARED)  # the control, too: downloads are shared
    assert other.session(FIND, CONFINED_CLAUDE_CACHES="project", **INTERNET).stdout == ""


@contextlib.contextmanager
def volume() -> Iterator[str]:
    name = f"confined-claude-test-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", "--label", TEST_LABEL, name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name)


def test_with_a_home_that_is_shared_all_of_it_is_found() -> None:
    """The control: as simple scripts keep caches."""
    with volume() as name:
        words = ["run", "--rm", "--user", "0:0", "--volume", f"{name}:/home/claude", "--entrypoint", "sh", IMAGE, "-c"]
        docker(*words, PLANT)
        assert set(docker(*words, FIND).split()) == {*ACTING, *SHARED}
