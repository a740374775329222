"""This repository's own tasks: the product's, and those of its developers."""

import shlex

from invoke import Collection, Context, task

from confined_claude import tasks as claude


@task(help={"what": "unit, template, engine, or a path or option of pytest; all of it by default"})
def test(context: Context, what: str = "") -> None:
    """Run the tests as CI does, see tests/run"""
    context.run(f"tests/run {what}", pty=True)


@task
def lint(context: Context) -> None:
    """Check style and types"""
    context.run("ruff check . && ruff format --check . && mypy", pty=True)


@task(
    help={
        "quick": "only what CI measures, in half a minute",
        "growth": "also how figures grow, with the largest sizes",
        "json": "write the figures to this file",
        "compare": "compare with the figures of an earlier run, in this file",
        "page": "write docs/benchmarks.md and its plots",
    }
)
def bench(
    context: Context,
    *,
    quick: bool = False,
    growth: bool = False,
    json: str = "",
    compare: str = "",
    page: bool = False,
) -> None:
    """Measure everything that has a limit: starts, joins, ends, scans, status, work, answers, networks"""
    words = [f"--{name}" for name, is_given in (("quick", quick), ("growth", growth), ("page", page)) if is_given]
    words += [f"--{name}={shlex.quote(path)}" for name, path in (("json", json), ("compare", compare)) if path]
    context.run(f"tests/run bench {' '.join(words)}", pty=True)


@task(help={"version": "like 1.2.3", "checks": "the command that has to succeed first: lint, docs and unit tests"})
def release(context: Context, version: str, checks: str = "") -> None:
    """Release a version: changelog, template, commit, tag, sdist and wheel; publishing is left to you"""
    context.run(f"scripts/release.py {shlex.join([version, *([checks] if checks else [])])}", pty=True)


ns = Collection.from_module(claude)
ns.add_task(test)
ns.add_task(lint)
ns.add_task(bench)
ns.add_task(release)
