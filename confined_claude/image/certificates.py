"""The certificate authorities this host trusts beyond the public ones.

Behind a proxy that intercepts TLS the host trusts the company's own authority. Downloads in an image build and in a
session fail unless the container trusts it too.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

# Debian and Ubuntu; Fedora and RHEL; openSUSE; Alpine and macOS.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
# The public authorities as Debian ships them, one file each.
DISTRIBUTED = Path("/usr/share/ca-certificates")

_BASE64 = rb"[A-Za-z0-9+/]+=*"
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def _blocks(bundle: Path) -> set[bytes]:
    """Return what is between the markers in a PEM file; none if it cannot be read."""
    try:
        content = bundle.read_bytes()
    except OSError:
        return set()
    parts = (part.partition(_END) for part in content.split(_BEGIN)[1:])
    return {block for block, end, _ in parts if end}


def _bodies(blocks: Iterable[bytes]) -> set[bytes]:
    """Return the base64 bodies without white space; anything else is left out."""
    return {joined for block in blocks if re.fullmatch(_BASE64, joined := b"".join(block.split()))}


def extra_certificates(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the host trusts beyond the public authorities, as PEM texts in a stable order.

    The host trusts the system's bundle and those that ``SSL_CERT_FILE`` and its like name in ``environ``. Public is
    what certifi or the distribution's own package has.
    """
    bundles = {Path(path) for path in SYSTEM_BUNDLES}
    bundles |= {Path(environ[name]) for name in BUNDLE_VARIABLES if environ.get(name)}
    trusted: set[bytes] = set().union(*map(_blocks, bundles))

    public = _blocks(_public_bundle())
    # Most are written alike everywhere: only the others are looked into, as every start waits for this.
    extra = _bodies(trusted - public)
    if extra:
        extra -= _bodies(public)
        extra -= _bodies(block for path in DISTRIBUTED.rglob("*.crt") for block in _blocks(path))
    return tuple(_pem(body) for body in sorted(extra))


def _public_bundle() -> Path:
    """Return the file of certifi. The package itself says where that is too, but its import takes 10 ms."""
    found = importlib.util.find_spec("certifi")
    for place in (found and found.submodule_search_locations) or ():
        if (bundle := Path(place, "cacert.pem")).is_file():
            return bundle
    import certifi  # a distribution's own, which leads to the system's bundle

    return Path(certifi.where())


def _pem(body: bytes) -> str:
    text = body.decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
