"""Which files of a project the host runs, with what, and how readily. Pure.

One table decides what is read-only during a session and what is reported after it. SECURITY.md has it as well.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rule:
    """Files that ``runs`` executes or obeys.

    The parts of a pattern match whole names in lower case, ``*`` any part of one. A leading ``/`` is the project's root
    (else any depth), a trailing one means a directory with everything in it. ``red`` files act by themselves or at a
    routine command, and are read-only during a session if they are at the project's root. The others (yellow) act when
    the user runs what they belong to, and are only reported. One that ``is_user_writable`` is from
    the user's ``writable``.
    """

    runs: str
    red: bool
    patterns: tuple[str, ...]
    is_user_writable: bool = False


def _red(runs: str, patterns: str) -> Rule:
    return Rule(runs, True, tuple(patterns.split()))


def _yellow(runs: str, patterns: str) -> Rule:
    return Rule(runs, False, tuple(patterns.split()))


_OWN = _red("Confined Claude", "/.confined-claude/")
# The first rule that matches a path is its rule.
RULES = (
    _OWN,
    _red("inv", "/tasks.py /invoke.py /invoke.yaml /invoke.yml /invoke.json /__pycache__/tasks.*.pyc"),
    _red("copier update", "/.copier-answers*.yml"),
    _red(
        "git commit, through a hook manager",
        """/.pre-commit-config.yaml /.pre-commit-config.yml /prek.toml /.husky/ /.githooks/ /.git-hooks/ /.hooks/
        /.overcommit.yml /lefthook.* /lefthook-local.* /.lefthook.* /.lefthook-local.* /.lefthook/ /.lefthook-local/
        /.config/lefthook.* /.config/lefthook-local.* /captainhook.json /grumphp.yml
        /.lintstagedrc* /lint-staged.config.*""",
    ),
    _red("git, where your settings include it", "/.gitconfig"),
    _red(
        "another version control system, at its next command",
        ".hg/hgrc .hg/hgrc-not-shared .sl/config .jj/repo/config.toml .jj/workspace-config.toml .lazygit.yml",
    ),
    _red(
        "your shell, on entering the directory",
        """.envrc .autoenv .autoenv.zsh .autoenv.leave .autoenv_leave.zsh .env.leave .env.zsh mise.toml .mise.toml
        mise.*.toml .mise.*.toml .mise/ mise/config.toml .rtx.toml .config/mise.toml .config/mise/""",
    ),
    _red(
        "your shell, where your home directory links to it",
        """.bashrc .bash_profile .bash_login .bash_logout .bash_aliases .profile .zshrc .zprofile .zshenv .zlogin
        .zlogout .kshrc .mkshrc .cshrc .tcshrc .login .logout .config/fish/""",
    ),
    _yellow("VS Code, which offers to install what it names", ".vscode/extensions.json"),
    _red(
        "your editor, on opening the directory",
        """.vscode/ *.code-workspace .devcontainer/ .devcontainer.json .idea/ .fleet/ .zed/ .helix/ .vs/ .theia/
        .nvim.lua .nvimrc .exrc .vimrc .lvimrc .local.vimrc .vim/ .dir-locals.el .dir-locals-2.el
        *.sublime-project *.sublime-workspace .kateproject .cargo/ .bsp/ hie.yaml .nova/ .lapce/ .ycm_extra_conf.py
        .externalToolBuilders/""",
    ),
    _red(
        "a debugger or an interpreter, on starting in the directory",
        """.gdbinit .lldbinit .pdbrc .perldb .byebugrc .Rprofile .Renviron .RData .octaverc startup.m .irbrc .pryrc
        .ghci .iex.exs .ocamlinit""",
    ),
    _red("Claude Code or another agent with MCP servers", ".mcp.json mcp.json"),
    _red(
        "Claude Code on this machine",
        """.claude/settings.json .claude/settings.local.json .claude/hooks/ .claude/commands/ .claude/agents/
        .claude/skills/ .claude/plugins/ .claude-plugin/""",
    ),
    _red(
        "another coding agent on this machine",
        """.cursor/ .windsurf/ .codex/ .gemini/ .opencode/ opencode.json opencode.jsonc .aider.conf.yml .continue/
        .continuerc.json .roo/ .kilocode/ .amazonq/ .kiro/ .junie/ .agents/ .agent/ .crush.json crush.json .qwen/
        .augment/ .trae/ .factory/ .goose/ .github/hooks/ .clinerules/hooks/ .openhands/ .pi/ .amp/ .vibe/ .iflow/
        .codebuddy/""",
    ),
    _yellow(
        "an agent on this machine, as its instructions",
        """CLAUDE.md CLAUDE.local.md AGENTS.md AGENTS.override.md AGENT.md GEMINI.md QWEN.md CRUSH.md WARP.md
        .cursorrules .windsurfrules .clinerules .clinerules/ .roorules .roomodes .goosehints .rules
        .github/copilot-instructions.md .github/instructions/ .github/prompts/ .github/agents/
        .github/skills/ .claude/output-styles/ .claude/rules/""",
    ),
    _yellow("git, with filters and drivers of your settings", ".gitattributes .gitmodules .lfsconfig"),
    _yellow("inv, run in that directory", "tasks.py /tasks/__init__.py invoke.py invoke.yaml invoke.yml invoke.json"),
    _yellow(
        "Python and its tools",
        """setup.py setup.cfg pyproject.toml conftest.py pytest.ini tox.ini toxfile.py noxfile.py dodo.py fabfile.py
        hatch_build.py sitecustomize.py usercustomize.py *.pth mypy.ini .mypy.ini .pylintrc pylintrc
        .flake8 .coveragerc ipython_config.py jupyter_config.py jupyter_server_config.py jupyter_notebook_config.py
        gunicorn.conf.py locustfile.py pavement.py duties.py alembic.ini mkdocs.yml Pipfile pixi.toml uv.toml
        Snakefile SConstruct wscript conanfile.py dvc.yaml""",
    ),
    _yellow(
        "npm and other JavaScript tools, editors with their plug-ins",
        """package.json .npmrc .yarnrc .yarnrc.yml .yarn/ .pnpmfile.cjs .pnp.cjs bunfig.toml deno.json deno.jsonc
        gulpfile.* gruntfile.* *.config.js *.config.cjs *.config.mjs *.config.ts *.config.mts .eslintrc.js .eslintrc.cjs
        .eslintrc.json .eslintrc .eslintrc.y* .prettierrc* .stylelintrc* .babelrc* babel.config.json .mocharc.*
        .postcssrc* .remarkrc* .releaserc* .commitlintrc* .nycrc* .ncurc.* .pnpmfile.mjs pnpm-workspace.yaml
        nodemon.json nx.json project.json turbo.json angular.json .parcelrc .swcrc .storybook/ tsconfig*.json
        wrangler.toml wrangler.json wrangler.jsonc netlify.toml vercel.json""",
    ),
    _yellow(
        "make and other build tools",
        """Makefile GNUmakefile *.mk justfile .justfile Taskfile.y* Rakefile Gemfile *.gemspec build.rs
        rust-toolchain rust-toolchain.toml build.gradle build.gradle.kts settings.gradle settings.gradle.kts gradlew
        gradle/wrapper/ mvnw .mvn/ pom.xml build.sbt CMakeLists.txt *.cmake meson.build BUILD.bazel WORKSPACE
        MODULE.bazel .bazelrc build.zig mix.exs rebar.config composer.json Directory.Build.props
        Directory.Build.targets *.csproj gradle.properties tools/bazel .formatter.exs .php-cs-fixer.php
        shell.nix flake.nix default.nix devenv.nix devenv.local.nix devenv.yaml devbox.json BUILD WORKSPACE.bazel
        .buckconfig pants.toml build.xml build.sc build.mill project/*.sbt project/build.properties deps.edn
        project.clj bb.edn shadow-cljs.edn cabal.project stack.yaml Setup.hs dune-project rebar.config.script *.nimble
        config.nims dub.json dub.sdl Package.swift Podfile Fastfile Dangerfile Guardfile Capfile Thorfile config.ru
        .rspec .rubocop.yml Brewfile phpunit.xml* phpstan.neon* psalm.xml rector.php ecs.php .php-cs-fixer.dist.php
        *.fsproj *.vbproj *.vcxproj Directory.Packages.props NuGet.config global.json dotnet-tools.json build.cake
        magefile.go .golangci.* .goreleaser.* .air.toml bacon.toml Makefile.toml xmake.lua premake5.lua Tupfile
        CMakePresets.json CMakeUserPresets.json mise-tasks/ .mise-tasks/""",
    ),
    _yellow(
        "docker and other runners",
        """Dockerfile Dockerfile.* *.dockerfile docker-compose*.y* compose.y* compose.*.y* Vagrantfile Procfile Tiltfile
        skaffold.yaml Earthfile ansible.cfg .tool-versions .env Containerfile Containerfile.* docker-bake.* helmfile.y*
        .actrc Pulumi.yaml cdk.json serverless.y* samconfig.toml terragrunt.hcl .tflint.hcl devspace.yaml Procfile.*
        process-compose.y* mprocs.yaml .tmuxinator.y* .tmuxp.* .foreman""",
    ),
    _yellow(
        "an editor, when you start what it names",
        ".run/ .vimspector.json *.launch nbproject/ .project .settings/ *.pro.user *.xcodeproj/ *.xcworkspace/",
    ),
    _yellow(
        "GitHub or GitLab (or what you use in its place), with its secrets, when you push",
        """.github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci.yml .gitlab/ .circleci/
        azure-pipelines.yml .travis.yml .drone.yml bitbucket-pipelines.yml .woodpecker/ .woodpecker.yml .buildkite/
        appveyor.yml .appveyor.yml .cirrus.yml .builds/ cloudbuild.yaml .forgejo/ .gitea/ .teamcity/ Jenkinsfile
        .gitpod.yml .azure-pipelines/ .woodpecker.yaml .drone.jsonnet .drone.star .cirrus.star buildspec.yml
        codemagic.yaml bitrise.yml .semaphore/ .build.yml .onedev-buildspec.yml .harness/ .tekton/ .zuul.yaml zuul.d/
        .packit.yaml .copr/ .readthedocs.y* render.yaml .idx/ .replit""",
    ),
)

# The file that makes a directory a virtual environment of Python.
VENV_MARK = "pyvenv.cfg"
# Conda's. An environment of either kind is also known by what is in its bin/, should the mark be missing.
CONDA_MARK = "conda-meta"
ENVIRONMENT_PROGRAM = re.compile(r"activate|conda|pypy[\d.]*|python[\d.]*")
# Package managers fill these: their files are too many to report one by one, and change all the time.
DEPENDENCY_DIRECTORIES = frozenset(
    ("node_modules", "bower_components", "site-packages", ".tox", ".nox", "__pypackages__")
)


@dataclass(frozen=True)
class _Pattern:
    parents: tuple[str, ...]
    anchored: bool
    is_directory: bool
    rule: Rule
    order: int
    name: str

    def fits(self, parents: Sequence[str]) -> bool:
        """Return whether the parent directories, in lower case, are those of the pattern."""
        count = len(self.parents)
        if len(parents) < count or (self.anchored and len(parents) != count):
            return False
        return all(map(fnmatch.fnmatchcase, parents[len(parents) - count :], self.parents))


@dataclass
class Matcher:
    """Finds the rule of a path, one name at a time, for scans of large trees."""

    rules: tuple[Rule, ...]
    _exact: dict[str, list[_Pattern]] = field(default_factory=dict, init=False)
    _globs: list[_Pattern] = field(default_factory=list, init=False)
    _any_glob: re.Pattern[str] = field(init=False)
    _holders: list[_Pattern] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for order, rule in enumerate(self.rules):
            for text in rule.patterns:
                *parents, name = text.lower().strip("/").split("/")
                anchored = text.startswith("/")
                for count, parent in enumerate(parents):
                    self._holders.append(_Pattern(tuple(parents[:count]), anchored, True, rule, order, parent))
                pattern = _Pattern(tuple(parents), anchored, text.endswith("/"), rule, order, name)
                if "*" in name:
                    self._globs.append(pattern)
                else:
                    self._exact.setdefault(name, []).append(pattern)
        # One match for all of them: most names have none.
        joined = "|".join(fnmatch.translate(pattern.name) for pattern in self._globs)
        self._any_glob = re.compile(joined or r"(?!)")

    def rule_of(self, path: Sequence[str], *, is_directory: bool = False) -> Rule | None:
        """Return the rule of a path from the project's root: the first of its own and of the directories it is in."""
        parts = [part.lower() for part in path]
        last = len(parts) - 1
        found = (
            self.find(part, parts[:count], is_directory=is_directory or count < last)
            for count, part in enumerate(parts)
        )
        return min((rule for rule in found if rule), key=self.rules.index, default=None)

    def find(self, name: str, parents: Sequence[str], *, is_directory: bool) -> Rule | None:
        """Return the rule of ``name``, in lower case like ``parents``; None for most."""
        patterns: Sequence[_Pattern] = self._exact.get(name, ())
        is_glob = self._any_glob.match(name)
        if not patterns and not is_glob:
            return None
        if is_glob:
            globs = (pattern for pattern in self._globs if fnmatch.fnmatchcase(name, pattern.name))
            patterns = (*patterns, *globs)
        fitting = [pattern for pattern in patterns if pattern.is_directory == is_directory and pattern.fits(parents)]
        return min(fitting, key=lambda pattern: pattern.order).rule if fitting else None

    def find_link(self, name: str, parents: Sequence[str]) -> Rule | None:
        """Return the rule of a link, which may stand for a file, a directory, or one that holds what has a rule."""
        rule = self.find(name, parents, is_directory=False) or self.find(name, parents, is_directory=True)
        holders = (holder for holder in self._holders if fnmatch.fnmatchcase(name, holder.name))
        return rule or next((holder.rule for holder in holders if holder.fits(parents)), None)


def rules_for(protect: Iterable[str], writable: Iterable[str], found: Iterable[Rule] = ()) -> tuple[Rule, ...]:
    """Return the rules of a project: the user's own first, then those ``found`` in it.

    What is opened by ``writable`` is yellow.
    """
    opened, protected = _rooted(writable), _rooted(protect)
    own = [Rule("whatever uses it (you made it writable)", False, opened, is_user_writable=True)] if opened else []
    own += [Rule("what you named in `protect`", True, protected)] if protected else []
    return (_OWN, *own, *found, *RULES)


def _rooted(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of a config file, each of which may mean a file or a directory."""
    return tuple(form for pattern in patterns for form in (f"/{pattern.strip('/')}", f"/{pattern.strip('/')}/"))
