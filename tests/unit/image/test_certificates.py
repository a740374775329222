"""The certificate authorities of the host that are not public, found by their made-up bodies."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from confined_claude.image import certificates
from confined_claude.image.certificates import BUNDLE_VARIABLES, extra_certificates

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def body(name: str, length: int = 200) -> str:
    """The base64 text of a made-up certificate."""
    return base64.b64encode((hashlib.sha256(name.encode()).digest() * 10)[:length]).decode()


def pem(name: str, width: int = 64, newline: str = "\n", length: int = 200) -> str:
    text = body(name, length)
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    return newline.join([BEGIN, *lines, END, ""])


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a made-up bundle in place of this machine's."""
    bundle, distributed = tmp_path / "system.crt", tmp_path / "distributed"
    monkeypatch.setattr(certificates, "SYSTEM_BUNDLES", (str(tmp_path / "missing.crt"), str(bundle)))
    monkeypatch.setattr(certificates, "DISTRIBUTED", distributed)

    def write(*texts: str, packaged: tuple[str, ...] = ()) -> Path:
        bundle.write_text("".join(texts))
        for number, text in enumerate(packaged):
            path = distributed / "mozilla" / f"{number}.crt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return bundle

    return write


def public() -> str:
    """The first authority that certifi carries."""
    return BEGIN + Path(certifi.where()).read_text().split(BEGIN)[1]


def test_a_host_without_bundles_has_none(system: Callable[..., Path]) -> None:
    assert extra_certificates({}) == ()


def test_public_authorities_are_left_out_and_the_companys_stays(system: Callable[..., Path]) -> None:
    system(public(), pem("company"), pem("packaged"), packaged=(pem("packaged"),))
    assert extra_certificates({}) == (pem("company"),)


def test_a_host_with_public_authorities_alone_has_none(system: Callable[..., Path]) -> None:
    system(public(), pem("packaged"), packaged=(pem("packaged"),))
    assert extra_certificates({}) == ()


@pytest.mark.parametrize("variable", BUNDLE_VARIABLES)
def test_a_bundle_named_by_a_variable_counts(variable: str, system: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(pem("own"))
    assert extra_certificates({variable: str(tmp_path / "own.pem")}) == (pem("own"),)


def test_the_names_of_bundle_variables_are_those_of_common_tools() -> None:
    assert {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} <= set(BUNDLE_VARIABLES)


def test_all_bundles_together_give_each_certificate_once_in_one_order(
    system: Callable[..., Path], tmp_path: Path
) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    system(pem("a"), pem("b"), pem("b"))
    one.write_text(pem("c") + pem("a"))
    two.write_text(pem("b", width=76, newline="\r\n") + pem("c"))
    found = extra_certificates({"SSL_CERT_FILE": str(one), "PIP_CERT": str(two)})
    assert list(found) == sorted([pem("a"), pem("b"), pem("c")])
    system(pem("b"), pem("a"))
    assert extra_certificates({"SSL_CERT_FILE": str(two), "PIP_CERT": str(one)}) == found


@pytest.mark.parametrize("width", [16, 64, 76, 10_000])
@pytest.mark.parametrize("newline", ["\n", "\r\n", " \n\t", "\n\n"])
def test_however_a_certificate_is_wrapped_it_is_the_same(width: int, newline: str, system: Callable[..., Path]) -> None:
    system("# a comment\nsubject=Company\n", pem("company", width, newline), "trailing words\n")
    assert extra_certificates({}) == (pem("company"),)


def test_other_parts_of_a_bundle_do_not_count(system: Callable[..., Path]) -> None:
    key = pem("key").replace("CERTIFICATE", "PRIVATE KEY")
    system(key, pem("company"), key, pem("half").replace(END, ""))
    found = extra_certificates({})
    assert found == (pem("company"),)
    assert body("key") not in "".join(found)


@pytest.mark.parametrize("value", ["", "missing.pem", "."])
def test_a_variable_that_names_no_bundle_counts_for_nothing(
    value: str, system: Callable[..., Path], tmp_path: Path
) -> None:
    system(pem("company"))
    named = str(tmp_path / value) if value else ""
    assert extra_certificates({"SSL_CERT_FILE": named}) == (pem("company"),)


@pytest.mark.parametrize("content", [b"", b"\0\xff" * 100, BEGIN.encode(), END.encode(), (END + BEGIN).encode()])
def test_a_bundle_without_certificates_counts_for_nothing(
    content: bytes, system: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "odd.pem").write_bytes(content)
    assert extra_certificates({"SSL_CERT_FILE": str(tmp_path / "odd.pem")}) == ()


def test_a_damaged_certificate_is_no_traceback(system: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "odd.pem").write_bytes(
        f"{BEGIN}\n".encode() + b"MIIB\xff\xfe\n" + f"{END}\n".encode() + pem("company").encode()
    )
    assert pem("company") in extra_certificates({"SSL_CERT_FILE": str(tmp_path / "odd.pem")})


@given(length=st.integers(1, 300))
def test_a_certificate_comes_out_as_it_went_in(length: int, system: Callable[..., Path]) -> None:
    system(pem("any", length=length))
    (found,) = extra_certificates({})
    lines = found.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, END)
    assert "".join(lines[1:-1]) == body("any", length)
    assert all(len(line) == 64 for line in lines[1:-2])
    assert found.endswith("\n")
