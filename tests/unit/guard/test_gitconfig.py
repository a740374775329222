"""Git's configuration read without git: never less than what git itself reads in it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from confined_claude.guard.gitconfig import hash_size, is_harmless, parse_config, stray_remotes

from ..guarding import run_git

Variables = list[tuple[str, str]]
URL = "https://example.com/some/project.git"


def listed(content: bytes, directory: Path) -> Variables | None:
    """The variables that real git lists; None if it refuses the file."""
    file = directory / "config"
    file.write_bytes(content)
    output = run_git(directory, "config", "--file", str(file), "--list", "-z", "--no-includes", code=None)
    if output == b"failed":
        return None
    items = [item.decode("utf-8", "surrogateescape") for item in output.split(b"\0")[:-1]]
    return [(key, value if equals else "true") for key, equals, value in (item.partition("\n") for item in items)]


def comparable(variables: Variables) -> Variables:
    """Before 2.45 git made a space of each blank inside a value."""
    return [(key, re.sub("[\t\r]", " ", value)) for key, value in variables]


FRAGMENTS = [
    *(bytes([char]) for char in b'[]"\\=#;.-!_ \t\n\r\v\faZ0'),
    *(b"[a]", b"[A.B]", b'[a "B"]', b'[a "b\\"c\\\\d\\e"]', b'[ "x"]', b"[]", b"[.]", b"core", b"[include]path=x"),
    *(b"x=1", b"x", b"x = y z", b' "q" ', b'"a;b#c"', b"\\\n", b"\\\r\n", b'\\"', b"\\n", b"\\t", b"\\b", b"\\x"),
    *(b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb", b"\xff", b"\xc3\xa4", b"\0", b"# comment\\\n", b"\n[s]\nk=v\n"),
]


@settings(max_examples=250)
@given(
    start=st.sampled_from([b"", b"[a]\n", b"[a]x=", b'[a "', b"[a]\nx", b"\xef\xbb\xbf[a]\n"]),
    parts=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=2), max_size=12),
)
@example(start=b"x = 1\n", parts=[])
@example(start=b"[a]", parts=[b"x", b"\r"])
@example(start=b"[a]x=1", parts=[b"\\"])
def test_what_git_sees_is_reported_or_refused(start: bytes, parts: list[bytes], tmp_path: Path) -> None:
    content = start + b"".join(parts)
    truth = listed(content, tmp_path)
    if truth is None or b"\0" in content or any("." not in key for key, _ in truth):
        with pytest.raises(ValueError):
            parse_config(content)
    else:
        assert comparable(parse_config(content)) == comparable(truth)


blanks = st.text(" \t", max_size=2)
names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9-]{0,5}", fullmatch=True)
plain_text = st.characters(codec="utf-8", exclude_characters='\0\n\r"\\')
quoted_texts = st.lists(
    plain_text | st.sampled_from(["\\n", "\\t", "\\b", "\\\\", '\\"', "\\\n", "#", ";"]), max_size=5
)
words = st.text(st.characters(codec="utf-8", exclude_characters='\0\n\r"\\#;'), max_size=6)
values = st.lists(
    words
    | quoted_texts.map(lambda parts: f'"{"".join(parts)}"')
    | st.sampled_from(["\\n", "\\\\", '\\"', "\\\n", " "]),
    max_size=4,
).map("".join)
comments = st.just("") | st.text(plain_text | st.just("\\"), max_size=5).map("#{}".format) | st.just('; "a')
headers = st.one_of(
    st.from_regex(r"\[[a-zA-Z0-9-]{1,5}(\.[a-zA-Z0-9-]{1,3})?\]", fullmatch=True),
    st.builds(
        '[{}{}"{}"]'.format,
        names,
        st.text(" \t", min_size=1, max_size=2),
        st.lists(plain_text | st.sampled_from(["\\\\", '\\"', "\\x"]), max_size=5).map("".join),
    ),
)
variables = st.builds(
    "{}{}{}".format, names, blanks, st.just("\n") | st.builds("={}{}{}\n".format, blanks, values, comments)
)
lines = st.builds("{}{}".format, blanks, variables | st.builds("{}\n".format, comments) | headers)


@settings(max_examples=150)
@given(
    text=st.builds("{}{}".format, headers, st.lists(lines, max_size=8).map("".join)),
    mark=st.booleans(),
    carriage=st.booleans(),
    ended=st.booleans(),
)
def test_well_formed_configurations_are_read_as_git_reads_them(
    text: str, mark: bool, carriage: bool, ended: bool, tmp_path: Path
) -> None:
    text = text if ended else text.removesuffix("\n")
    text = text.replace("\n", "\r\n") if carriage else text
    content = text.encode("utf-8-sig" if mark else "utf-8")
    truth = listed(content, tmp_path)
    assert truth is not None
    assert comparable(parse_config(content)) == comparable(truth)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"[a] b = c", [("a.b", "c")]),
        (b"[a]b=c", [("a.b", "c")]),
        (b"[a]\n\tb", [("a.b", "true")]),
        (b"[a]\nb =", [("a.b", "")]),
        (b"[A] B = C ; comment", [("a.b", "C")]),
        (b'[A "Sub.Section"] B = C', [("a.Sub.Section.b", "C")]),
        (b"[A.Sub] b = C", [("a.sub.b", "C")]),
        (b'[a "x\\"y\\\\z\\n"] b', [('a.x"y\\zn.b', "true")]),
        (b'[a ""] b = c', [("a..b", "c")]),
        (b"[a][b] c = d", [("b.c", "d")]),
        (b"[a] b = one\\\n  two \\\n\n[c] d", [("a.b", "one  two "), ("c.d", "true")]),
        (b'[a] b = "one # two" # three', [("a.b", "one # two")]),
        (b'[a] b = x"  "  ', [("a.b", "x  ")]),
        (b'[a] b = "" ""  x', [("a.b", "x")]),
        (b'[a] b = \\n\\t\\b\\\\\\"', [("a.b", '\n\t\b\\"')]),
        (b"[a]\r\nb = c\r\n", [("a.b", "c")]),
        (b"[a]\nb = c\r", [("a.b", "c")]),
        (b"[a] # b = c\\\nd = e", [("a.d", "e")]),
        (b"[a] b = \xff", [("a.b", "\udcff")]),
        (b"[a] b = x\\", [("a.b", "x")]),
    ],
)
def test_parse_config_by_example(content: bytes, expected: Variables, tmp_path: Path) -> None:
    assert parse_config(content) == expected
    assert listed(content, tmp_path) == expected


def test_blanks_inside_a_value_are_preserved() -> None:
    assert parse_config(b"[a] b = x \t y") == [("a.b", "x \t y")]


@pytest.mark.parametrize(
    "content",
    [
        *(b"a = b", b"[a\nb = c", b"[]\na", b'[a"b"]', b'[a "b" ]', b'[a "b\n"]', b'[a\n"b"]', b"[a b]", b"[a_b]"),
        *(b"[a]\n1b = c", b"[a]\nb c", b"[a]\nb # c", b"[a]\nb_c = d", b'[a]\nb = "c', b'[a]\nb = "c\nd"'),
        *(b"[a]\nb = \\x", b"[a]\n= c", b"[a]\nb\r= c", b"\xef\xbb[a]", b"\xff", b"[a]\n\x0bb = c", b'[a "b'),
    ],
)
def test_what_git_refuses_is_refused(content: bytes, tmp_path: Path) -> None:
    truth = listed(content, tmp_path)
    assert truth is None or all("." not in key for key, _ in truth)
    with pytest.raises(ValueError):
        parse_config(content)


@pytest.mark.parametrize("content", [b"[a]\nb = c\0d", b"\0", b"[a\0b]", b"# \0\n[a] b"])
def test_a_nul_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="NUL"):
        parse_config(content)


def test_an_error_names_the_line() -> None:
    with pytest.raises(ValueError, match="line 3 "):
        parse_config(b"[a]\r\nb\r\n!")


def test_a_big_configuration_is_read_in_time() -> None:
    content = b'[a "b"]\n' + b"name = some value # comment\n" * 10_000
    started = time.monotonic()
    assert len(parse_config(content)) == 10_000
    assert time.monotonic() - started < 5


# Settings


def harmful(*configs: Path) -> Variables:
    return [item for path in configs for item in parse_config(path.read_bytes()) if not is_harmless(*item)]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a bare repository, to which the user's configuration there leads URL."""
    home = tmp_path_factory.mktemp("upstream")
    bare = home / "bare.git"
    run_git(home, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    for key, value in (
        (f"url.{bare}.insteadOf", URL),
        ("protocol.file.allow", "always"),
        ("init.defaultBranch", "main"),
    ):
        run_git(home, "config", "--global", key, value)
    run_git(home, "-C", str(bare), "config", "uploadpack.allowFilter", "true")
    made = home / "made"
    run_git(home, "init", "--quiet", str(made))
    (made / "folder").mkdir()
    (made / "folder/file").write_text("x")
    run_git(home, "add", ".", directory=made)
    run_git(home, "commit", "--quiet", "-m", "first", directory=made)
    run_git(home, "push", "--quiet", URL, "main", directory=made)
    return home


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--object-format=sha256",),
        ("--bare",),
    ],
)
def test_what_git_init_writes_is_harmless(options: tuple[str, ...], tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--quiet", *options, "new")
    config = tmp_path / ("new/config" if "--bare" in options else "new/.git/config")
    assert hash_size(config.read_bytes()) == (32 if "--object-format=sha256" in options else 20)
    assert harmful(config) == []


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--depth=1",),
        ("--no-tags", "--single-branch"),
        ("--filter=blob:none",),
        ("--sparse",),
        ("--mirror",),
        ("--origin=other.name",),
        ("--recurse-submodules",),
    ],
)
def test_what_git_clone_writes_is_harmless(options: tuple[str, ...], upstream: Path, tmp_path: Path) -> None:
    run_git(upstream, "clone", "--quiet", *options, URL, str(tmp_path / "new"))
    configs = [path for path in (tmp_path / "new").rglob("config*") if path.is_file()]
    assert any(key.endswith(".url") for path in configs for key, _ in parse_config(path.read_bytes()))
    assert harmful(*configs) == []


def test_what_work_with_git_writes_is_harmless_but_for_work_trees_elsewhere(upstream: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for words in (
        f"clone {URL} {new}",
        f"-C {new} remote add -t main --tags other git@example.com:some/project.git",
        f"-C {new} remote set-url --push other ssh://git@example.com:2222/project",
        f"-C {new} checkout -b topic/one",
        f"-C {new} push -u origin topic/one",
        f"-C {new} branch two --track topic/one",
        f"-C {new} submodule add --branch main {URL} some/module",
        f"-C {new} submodule init",
        f"-C {new} worktree add {tmp_path}/tree",
        f"-C {tmp_path}/tree sparse-checkout set folder",
        f"-C {new} config pull.rebase true",
    ):
        run_git(upstream, *words.split())
    git = new / ".git"
    configs = [git / "config", *git.rglob("config.worktree"), *git.glob("modules/**/config")]
    keys = [key for path in configs for key, _ in parse_config(path.read_bytes())]
    expected = (
        *("remote.other.pushurl", "branch.topic/one.merge", "branch.two.remote", "submodule.some/module.url"),
        *("extensions.worktreeconfig", "core.sparsecheckout"),
    )
    for key in expected:
        assert key in keys
    assert harmful(*configs) == [("core.worktree", "../../../../some/module")]
    assert stray_remotes(item for path in configs for item in parse_config(path.read_bytes())) == []


@pytest.mark.parametrize(
    "key",
    [
        *("core.fsmonitor", "core.fsmonitorhookversion", "core.hookspath", "core.worktree", "core.editor"),
        *("core.pager", "core.sshcommand", "core.askpass", "core.gitproxy", "core.attributesfile"),
        *("core.excludesfile", "core.alternaterefscommand", "core.alternaterefsprefixes", "core.protecthfs"),
        *("core.virtualfilesystem", "core.usebuiltinfsmonitor", "include.path", "includeif.gitdir:/.path"),
        *("includeif.onbranch:main.path", "filter.lfs.clean", "filter.lfs.smudge", "filter.x.process"),
        *("filter.x.required", "diff.external", "diff.x.command", "diff.x.textconv", "diff.submodule"),
        *("merge.x.driver", "merge.default", "merge.tool", "merge.verifysignatures", "alias.status"),
        *("credential.helper", "credential.https://example.com.helper", "gpg.program", "gpg.ssh.program"),
        *("gpg.ssh.defaultkeycommand", "user.signingkey", "commit.gpgsign", "commit.template", "tag.gpgsign"),
        *("url.https://example.com/.insteadof", "url.x.pushinsteadof", "uploadpack.packobjectshook"),
        *("remote.origin.uploadpack", "remote.origin.receivepack", "remote.origin.proxy", "remote.origin.vcs"),
        *("remote.origin.push", "remote.pushdefault", "protocol.ext.allow", "protocol.allow", "http.proxy"),
        *("http.sslcainfo", "http.https://example.com.cookiefile", "difftool.x.cmd", "mergetool.x.path"),
        *("pager.log", "pager.color", "sequence.editor", "interactive.difffilter", "browser.x.cmd", "man.x.cmd"),
        *("man.viewer", "sendemail.smtpserver", "ssh.variant", "safe.directory", "safe.barerepository"),
        *("trailer.x.command", "trailer.x.cmd", "init.templatedir", "gc.recentobjectshook", "push.gpgsign"),
        *("branch.main.mergeoptions", "pull.twohead", "log.showsignature", "status.submodulesummary"),
        *("submodule.recurse", "submodule.alternatelocation", "fetch.bundleuri", "fetch.recursesubmodules"),
        *("extensions.preciousobjects", "extensions.unknown", "receive.procreceiverefs", "web.browser", "help.browser"),
        *("instaweb.httpd", "imap.tunnel", "guitool.x.cmd", "lfs.customtransfer.x.path", "lfs.url", "mailmap.file"),
        *("hook.x.command", "maintenance.repo", "core", "corexfilemode", "xcore.filemode", "core.filemode.x"),
        *("remote.url", "remote..url", "remote.a/b.url", "remote.x::y.promisor", "remote.ext::sh.promisor", ""),
        *("submodule.x.fetchrecursesubmodules", "submodule.../x.active", "color.ui.x.y.z", "column"),
    ],
)
@pytest.mark.parametrize("value", ["true", URL, "0", "touch /tmp/x"])
def test_what_may_run_or_lead_elsewhere_is_not_harmless(key: str, value: str) -> None:
    assert not is_harmless(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("submodule.x.update", "!touch /tmp/x"),
        ("submodule.x.update", " !x"),
        ("submodule.x.update", "checkout\n"),
        ("extensions.refstorage", "reftable:///elsewhere"),
        ("extensions.partialclone", "/elsewhere"),
        ("extensions.partialclone", "ext::sh"),
        ("branch.main.remote", "/elsewhere"),
        ("branch.main.remote", "./evil"),
        ("branch.main.remote", ".."),
        ("branch.main.remote", "-x"),
        ("branch.main.pushremote", "ext::sh -c x"),
        ("remote.origin.tagopt", "--upload-pack=x"),
        ("color.ui", "\x1b]0;x"),
    ],
)
def test_some_settings_are_harmless_with_some_values_only(key: str, value: str) -> None:
    assert not is_harmless(key, value)


URL_KEYS = ["remote.origin.url", "remote.origin.pushurl", "submodule.some/module.url", "branch.main.remote"]


@pytest.mark.parametrize("key", URL_KEYS)
@pytest.mark.parametrize(
    "url",
    [
        *("ext::sh -c x", "EXT::sh -c x", " ext::sh", "\text::sh", "fd::3", "x::https://example.com", "https::x"),
        *("-x", "--upload-pack=x", "https://-x/", "ssh://-oProxyCommand=x/y", "ssh://-x@host/y", "-oX@host:y"),
        *("-host:y", "host:-x", "host::x", "foo://example.com/x", "file:///elsewhere", "/elsewhere", "./evil"),
        *("../evil", "~/x", "a/b:c", "", " ", "ssh://%2doProxyCommand=x/y", "https://example.com/\nx", "host:\n"),
        *("ssh://host/x\n", "https:///x", "https://", "C\\x:y"),
    ],
)
def test_urls_that_run_a_program_or_stay_on_this_machine_are_not_harmless(key: str, url: str) -> None:
    assert not is_harmless(key, url)


@pytest.mark.parametrize("key", URL_KEYS)
@pytest.mark.parametrize(
    "url",
    [
        *(URL, "http://localhost:8080/x", "https://user:token@example.com/x", "https://example.com"),
        *("ssh://git@example.com:22/~user/x.git", "ssh://[::1]:22/x", "git://example.com/x", "example.com:x"),
        *("git@github.com:owner/name.git", "alias:/srv/x.git", "org-1234@github.com:owner/name.git"),
    ],
)
def test_urls_of_other_machines_are_harmless(key: str, url: str) -> None:
    assert is_harmless(key, url)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("branch.main.remote", "."), ("branch.main.remote", "origin"), ("branch.a/b c.description", "x\ny")),
        *(("user.name", "J\u00f6rg \udcff"), ("color.diff.new", "bold #00ff00"), ("column.ui", "auto,dense")),
        *(("submodule.x.update", "none"), ("gc.auto", "0"), ("rerere.enabled", "true"), ("submodule.active", ".")),
        *(("status.showuntrackedfiles", "no"), ("index.version", "4"), ("lfs.repositoryformatversion", "0")),
        *(
            ("extensions.refstorage", "reftable"),
            ("remote.origin.tagopt", "--no-tags"),
            ("branch.m\u00e4in.merge", "x"),
        ),
    ],
)
def test_plain_data_is_harmless(key: str, value: str) -> None:
    assert is_harmless(key, value)


def test_git_takes_a_remote_without_url_for_a_directory_and_runs_its_hooks(upstream: Path, tmp_path: Path) -> None:
    run_git(upstream, "clone", "--quiet", URL, str(tmp_path / "new"))
    new = tmp_path / "new"
    run_git(upstream, "init", "--quiet", "--bare", str(new / "evil"))
    hook = new / "evil/hooks/post-receive"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    run_git(upstream, "config", "branch.main.remote", "evil", directory=new)
    config = parse_config((new / ".git/config").read_bytes())
    assert harmful(new / ".git/config") == []
    assert stray_remotes(config) == ["evil"]
    run_git(upstream, "push", directory=new)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("variables", "strays"),
    [
        ([("branch.a.remote", "."), ("branch.b.remote", URL)], []),
        ([("branch.a.b.remote", "x"), ("remote.x.url", URL)], []),
        ([("branch.a.remote", "x"), ("remote.x.pushurl", URL)], ["x"]),
        (
            [("branch.a.pushremote", "x"), ("extensions.partialclone", "y"), ("remote.z.promisor", "true")],
            ["x", "y", "z"],
        ),
        ([("branch.a.merge", "x"), ("user.remote", "x"), ("remote.pushdefault", "x")], []),
    ],
)
def test_remotes_without_url_are_found(variables: Variables, strays: list[str]) -> None:
    assert stray_remotes(variables) == strays


@pytest.mark.parametrize(
    "config",
    [
        *(b"", b"# sha256", b"[x]\nobjectformat = sha256", b"[extensions]\nobjectformat = SHA256"),
        *(b"[extensions]\nobjectformat = sha256\nobjectformat = sha1", b"[extensions]\nobjectformat = sha256\n!"),
    ],
)
def test_no_other_text_passes_for_a_repository_of_sha256(config: bytes) -> None:
    assert hash_size(config) == 20
