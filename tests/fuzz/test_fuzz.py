"""The fuzzers find nothing, but do find the vulnerabilities that are planted for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")


@dataclass(frozen=True)
class Fuzzer:
    """A fuzzer's file, inputs to begin with, words worth trying, and the vulnerabilities that can be planted.

    ``inputs`` are those of a run, some ten seconds of a processor, however busy the machine is.
    """

    file: str
    corpus: Sequence[bytes]
    words: Sequence[bytes]
    vulnerabilities: Sequence[str]
    inputs: int

    def run(self, directory: Path, vulnerability: str = "") -> subprocess.CompletedProcess[str]:
        corpus = directory / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(self.corpus):
            (corpus / str(number)).write_bytes(seed)
        dictionary = directory / "dictionary"
        escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in self.words)
        dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
        options = [f"-runs={self.inputs}", "-max_len=4096", "-seed=1", f"-dict={dictionary}"]
        return subprocess.run(
            [sys.executable, Path(__file__).with_name(self.file), *options, f"-artifact_prefix={directory}/", corpus],
            env={"PATH": os.environ["PATH"], "FUZZ_CONTROL": vulnerability},
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )


PACKAGE_HELPER = Fuzzer(
    "fuzz_package_helper.py",
    [
        b"apt-get\0install\0-y\0hello\0",
        b"apt\0-qq\0purge\0g++:amd64=1:2.10-3~deb12u1\0",
        b"apt-get\0update\0",
        b"apt-get\0-f\0install\0",
        b"apt-get\0install\0./x.deb\0",
        b"apt-get\0-oA=b\0upgrade\0",
    ],
    # Each with the byte that ends it: apt-get's own, taken or not, and bits of others.
    [
        word + b"\0"
        for word in b"""
            install remove update upgrade source build-dep download -y -q -s -f -d -o -c -t -- --purge --yes --simulate
            --config-file=f --allow-unauthenticated hello g++ :amd64 =1.0 ./ / .deb .dsc * ^ ~ - + ; .
        """.split()
    ],
    ["slash", "option"],
    1_000_000,
)
EGRESS = Fuzzer(
    "fuzz_egress.py",
    [
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        b"CONNECT x.wild.example:8443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://api.example.com/a?b HTTP/1.1\r\nHost: api.example.com\r\nConnection: close, x\r\nX: 1\r\n\r\n",
        b"POST http://a.b.wild.example:8443/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
        b"Proxy-Authorization: Basic x\r\nX: a\r\n b\r\n\r\n",
        b"PUT http://10.0.0.5:8787 HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    ],
    b"api.example.com x.wild.example evil :443 :8443 @ % . [::1] 127.0.0.1 Host: CONNECT http:// HTTP/1.1".split(),
    ["suffix", "host"],
    170_000,
)
LENT = Fuzzer(
    "fuzz_lent.py",
    [
        b"GET /a?b HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer placeholder-0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: api.example.com:443\r\nAuthorization: placeholder-0\r\nX: placeholder-0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: API.example.com\r\nAuthorization: Basic eDpwbGFjZWhvbGRlci0w\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"PUT /placeholder-0 HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: placeholder-0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nAuthorization: token placeholder-0\r\n\r\n",
    ],
    b"api.example.com evil placeholder-0 :443 Host: Authorization: Bearer token Basic eDpwbGFjZWhvbGRlci0w".split(),
    ["host", "anywhere"],
    200_000,
)
FUZZERS = [PACKAGE_HELPER, EGRESS, LENT]


@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.file)
def test_nothing_is_let_through(fuzzer: Fuzzer, tmp_path: Path) -> None:
    found = fuzzer.run(tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(list((tmp_path / "corpus").iterdir())) > len(fuzzer.corpus)


@pytest.mark.parametrize(
    ("fuzzer", "vulnerability"),
    [
        pytest.param(fuzzer, vulnerability, id=vulnerability)
        for fuzzer in FUZZERS
        for vulnerability in fuzzer.vulnerabilities
    ],
)
def test_control_a_vulnerability_is_found(fuzzer: Fuzzer, vulnerability: str, tmp_path: Path) -> None:
    found = fuzzer.run(tmp_path, vulnerability)
    assert found.returncode != 0
    assert "Uncaught Python exception" in found.stdout + found.stderr
