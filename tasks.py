"""This repository's own tasks: the product's, and those of its developers."""

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


@task
def bench(context: Context) -> None:
    """Measure: starts, a hundred sessions at once, status with many projects, and memory"""
    many = {"CONFINED_CLAUDE_AT_ONCE": "100"}
    context.run("tests/run tests/engine/test_sessions.py -k many_at_once --durations=1", env=many, pty=True)
    for script in ("start", "status", "memory"):
        context.run(f".venv/bin/python tests/bench/{script}.py", pty=True)


ns = Collection.from_module(claude)
ns.add_task(test)
ns.add_task(lint)
ns.add_task(bench)
