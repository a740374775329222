"""The certificate authority of one session, with which its sidecar ends TLS for the hosts that something is lent to.

Both keys are only in this process: that of the authority is gone before anything is served.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Sequence

from .networks import BUNDLE

_OPENSSL = "/usr/bin/openssl"
_DAYS = "825"  # longer than any session, and not too long for any client
_SECONDS = 20
_CONFIG = """\
[req]
distinguished_name = none
prompt = no
[none]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
nameConstraints = critical, {permitted}, excluded;IP:0.0.0.0/0.0.0.0, excluded;IP:::/::
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def make(names: Sequence[str]) -> tuple[bytes, dict[str, ssl.SSLContext]]:
    """Return the certificate of a new authority, and for each of ``names`` the context of its server.

    Raises OSError or ValueError if that cannot be.
    """
    permitted, named = (", ".join(f"{kind}DNS:{name}" for name in names) for kind in ("permitted;", ""))
    config = _CONFIG.format(permitted=permitted, names=named)
    with contextlib.ExitStack() as stack:
        files = {}
        for name in ("authority", "authority_key", "server", "server_key"):
            fd = os.memfd_create(name)
            stack.callback(os.close, fd)
            files[name] = f"/proc/self/fd/{fd}"
        _openssl(config, "authority", "-keyout", files["authority_key"], "-out", files["authority"])
        signed = ("-CA", files["authority"], "-CAkey", files["authority_key"])
        _openssl(config, "server", *signed, "-keyout", files["server_key"], "-out", files["server"])
        contexts = {name: _server(name, files["server"], files["server_key"]) for name in names}
        with open(files["authority"], "rb") as certificate:
            return certificate.read(), contexts


def _openssl(config: str, section: str, *words: str) -> None:
    fds = [int(word.rpartition("/")[2]) for word in words if word.startswith("/proc/self/fd/")]
    command = [_OPENSSL, "req", "-x509", "-config", "/dev/stdin", "-extensions", section, "-days", _DAYS, "-nodes"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-subj", f"/O=Confined Claude/CN=The {section} of this session", *words]
    done = subprocess.run(
        command, input=config.encode(), capture_output=True, pass_fds=fds, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise ValueError(f"openssl ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace')[:200]}")


def _server(name: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])

    def check(_object: object, asked: str | None, _context: object) -> int | None:
        return None if asked is not None and asked.lower() == name else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check
    context.load_cert_chain(certificate, key)
    return context


def client(trusted: str = BUNDLE) -> ssl.SSLContext:
    """Return the context in which the real hosts are verified, with their names."""
    context = ssl.create_default_context(cafile=trusted)
    context.set_alpn_protocols(["http/1.1"])
    return context
