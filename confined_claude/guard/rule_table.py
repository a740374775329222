"""Which files of a project the host runs, with what, and how readily. Pure.

One table decides what is read-only during a session and what is reported after it. SECURITY.md has it as well, and
docs/rules.md the sources.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """Files that ``runs`` executes or obeys.

    The parts of a pattern match whole names in lower case, ``*`` any part of one. A leading ``/`` is the project's root
    (else any depth), a trailing one means a directory with everything in it. ``red`` files act by themselves or at a
    routine command, and are read-only during a session if they are at the project's root. The others (yellow) act when
    the user runs what they belong to, and are only reported. One that ``is_user_writable`` is from
    the user's ``writable``.

    ``keeps`` says what a file keeps up that ends with it: its removal is reported too. ``lines`` is a pattern of the
    lines that do so, if not all of them do. If the rule ``is_safeguard``, nothing but the loss of such lines is
    reported; if it ``is_lock``, only that of the last one.
    """

    runs: str
    red: bool
    patterns: tuple[str, ...]
    is_user_writable: bool = False
    keeps: str = ""
    lines: str = ""
    is_safeguard: bool = False
    is_lock: bool = False


def _red(runs: str, patterns: str, keeps: str = "", lines: str = "") -> Rule:
    return Rule(runs, True, tuple(patterns.split()), keeps=keeps, lines=lines)


def _yellow(runs: str, patterns: str, keeps: str = "", lines: str = "") -> Rule:
    return Rule(runs, False, tuple(patterns.split()), keeps=keeps, lines=lines)


def _safeguard(keeps: str, patterns: str, lines: str = "", *, is_lock: bool = False) -> Rule:
    return Rule("", False, tuple(patterns.split()), keeps=keeps, lines=lines, is_safeguard=True, is_lock=is_lock)


# Lines of settings, in lower case.
_NPM = (
    r"scripts|registry|strict|release-?age|agegate|only-?built|never-?built|trust|block|hardened|checksum|immutable"
    r"|frozen|lock|audit|save-exact|ca(?:file)?\b|verify|allow"
)
_PIP = r"hash|binary|no-build|index|exclude-newer|uploaded|verify|trusted|cert|links|constraint"
_AGENT = r"\b(?:deny|ask)\b|hook|block|exclude|sandbox|approval|forbid|disable"
_SECRETS = (
    r"env|secret|credential|token|key|pem|p12|pfx|jks|id_(?:rsa|dsa|ecdsa|ed25519)|pass(?:word|wd)?|tfstate|tfvars"
    r"|kube|npmrc|pypirc|netrc|htpasswd|service.?account|vault|private|aws|azure|gcloud|sqlite|\bdb\b|dump|backup|\blog"
)
_HASHES = r"integrity|checksum|hash|sha(?:1|256|384|512)|h1:|[0-9a-f]{40}"


OWN = _red("Confined Claude", "/.confined-claude/")
# The first rule that matches a path is its rule.
RULES = (
    OWN,
    _red("inv", "/tasks.py /invoke.py /invoke.yaml /invoke.yml /invoke.json /__pycache__/tasks.*.pyc"),
    _red("copier update", "/.copier-answers*.yml"),
    _red(
        "git commit, through a hook manager",
        """/.pre-commit-config.yaml /.pre-commit-config.yml /prek.toml /.husky/ /.githooks/ /.git-hooks/ /.hooks/
        /.overcommit.yml /lefthook.* /lefthook-local.* /.lefthook.* /.lefthook-local.* /.lefthook/ /.lefthook-local/
        /.config/lefthook.* /.config/lefthook-local.* /captainhook.json /grumphp.yml
        /.lintstagedrc* /lint-staged.config.*""",
        "it checks commits",
    ),
    _red("git, where your settings include it", "/.gitconfig"),
    _red(
        "another version control system, at its next command",
        """.hg/hgrc .hg/hgrc-not-shared .hg/requires .hg/sharedpath .sl/config .jj/repo .jj/repo/config.toml
        .jj/repo/store/git_target .jj/workspace-config.toml .lazygit.yml""",
    ),
    _red(
        "your shell, on entering the directory",
        """.envrc .autoenv .autoenv.zsh .autoenv_leave.zsh .env.leave mise.toml .mise.toml
        mise.*.toml .mise.*.toml .mise/ mise/config.toml .rtx.toml .config/mise.toml .config/mise/ .direnv/*.rc""",
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
        .externalToolBuilders/ .ropeproject/config.py .jedi/project.json .lsp/config.edn .joyride/scripts/ .lintr
        .lintr.R""",
    ),
    _red(
        "a debugger or an interpreter, on starting in the directory",
        """.gdbinit .lldbinit .pdbrc .perldb .byebugrc .Rprofile .Renviron .RData .octaverc startup.m .irbrc .pryrc
        .ghci .iex.exs .ocamlinit""",
    ),
    _red("Claude Code or another agent with MCP servers", ".mcp.json mcp.json"),
    _red(
        "Claude Code on your machine, as its settings",
        ".claude/settings.json .claude/settings.local.json",
        "it says what Claude may not do",
        _AGENT,
    ),
    _red("Claude Code on your machine, as its hooks", ".claude/hooks/", "it checks what Claude does"),
    _red(
        "Claude Code on your machine",
        """.claude/commands/ .claude/agents/ .claude/skills/ .claude/plugins/ .claude-plugin/
        .claude/scheduled_tasks.json .claude/launch.json""",
    ),
    _red(
        "another coding agent on your machine",
        """.cursor/ .windsurf/ .codex/ .gemini/ .opencode/ opencode.json opencode.jsonc .aider.conf.yml .continue/
        .continuerc.json .roo/ .kilocode/ .amazonq/ .kiro/ .junie/ .agents/ .agent/ .crush.json crush.json .qwen/
        .augment/ .trae/ .factory/ .goose/ .github/hooks/ .clinerules/hooks/ .openhands/ .pi/ .amp/ .vibe/ .iflow/
        .codebuddy/""",
        "it says what the agent may not do",
        _AGENT,
    ),
    _yellow(
        "an agent on your machine, as its instructions",
        """CLAUDE.md CLAUDE.local.md AGENTS.md AGENTS.override.md AGENT.md GEMINI.md QWEN.md CRUSH.md WARP.md
        .cursorrules .windsurfrules .clinerules .clinerules/ .roorules .roomodes .goosehints .rules
        .github/copilot-instructions.md .github/instructions/ .github/prompts/ .github/agents/
        .github/skills/ .claude/output-styles/ .claude/rules/""",
    ),
    _yellow(
        "git, through filters and drivers in your settings",
        ".gitattributes",
        "it says what git encrypts, converts or leaves out",
        r"filter|export-ignore|merge|diff",
    ),
    _yellow("git, for submodules and large files", ".gitmodules .lfsconfig"),
    _yellow(
        "checks of secrets, packages and changes",
        """CODEOWNERS OWNERS .gitleaks.toml gitleaks.toml .gitleaksignore .secrets.baseline .gitguardian.y*
        .talismanrc .gitallowed trivy.y* .trivyignore .trivyignore.yaml
        .semgrep.y* .semgrep/ .semgrepignore .snyk .bandit bandit.y* .checkov.y* .hadolint.y*
        .grype.y* osv-scanner.toml deny.toml .deny.toml supply-chain/ audit-ci.json*
        .nsprc .safety-policy.yml zizmor.yml .github/zizmor.yml .github/dependabot.y* renovate.json*
        .renovaterc* .github/renovate.json* .mergify.yml .github/settings.yml .policy.yml
        sonar-project.properties """,
        "it decides what is found or let through",
    ),
    _yellow(
        "sops, git-crypt or pass, which encrypt for those that it names",
        ".sops.yaml .git-crypt/ .gpg-id .gitsecret/",
        "it says who can decrypt the secrets",
    ),
    _yellow("inv, run in that directory", "tasks.py /tasks/__init__.py invoke.py invoke.yaml invoke.yml invoke.json"),
    _yellow(
        "Python and its tools",
        """setup.py setup.cfg pyproject.toml conftest.py pytest.ini tox.ini toxfile.py noxfile.py dodo.py fabfile.py
        hatch_build.py sitecustomize.py usercustomize.py *.pth mypy.ini .mypy.ini .pylintrc pylintrc
        .flake8 .coveragerc ipython_config.py jupyter_config.py jupyter_server_config.py jupyter_notebook_config.py
        gunicorn.conf.py locustfile.py pavement.py duties.py alembic.ini mkdocs.yml Pipfile pixi.toml
        Snakefile SConstruct wscript conanfile.py dvc.yaml""",
    ),
    _yellow(
        "pip and uv, as their settings",
        "uv.toml pip.conf pip.ini poetry.toml .condarc",
        "it says where packages come from, and which are refused",
        _PIP,
    ),
    _yellow(
        "npm and other package managers of JavaScript, as their settings",
        ".npmrc .yarnrc .yarnrc.yml .pnpmfile.cjs .pnpmfile.mjs pnpm-workspace.yaml bunfig.toml",
        "it says which package scripts run, and where packages come from",
        _NPM,
    ),
    _yellow("Bundler, as its settings", ".bundle/config", "it says where gems come from, and which are refused"),
    _yellow(
        "npm and other JavaScript tools, editors with their plug-ins",
        """package.json .yarn/ .pnp.cjs deno.json deno.jsonc
        gulpfile.* gruntfile.* *.config.js *.config.cjs *.config.mjs *.config.ts *.config.mts .eslintrc.js .eslintrc.cjs
        .eslintrc.json .eslintrc .eslintrc.y* .prettierrc* .stylelintrc* .babelrc* babel.config.json .mocharc.*
        .postcssrc* .remarkrc* .releaserc* .commitlintrc* .nycrc* .ncurc.*
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
        CMakePresets.json CMakeUserPresets.json mise-tasks/ .mise-tasks/
        .bazeliskrc .bazelversion""",
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
        "GitHub, GitLab or another forge, with its secrets, when you push",
        """.github/workflows/ .github/actions/ action.yml action.yaml .gitlab-ci.yml .gitlab/ .circleci/
        azure-pipelines.yml .travis.yml .drone.yml bitbucket-pipelines.yml .woodpecker/ .woodpecker.yml .buildkite/
        appveyor.yml .appveyor.yml .cirrus.yml .builds/ cloudbuild.yaml .forgejo/ .gitea/ .teamcity/ Jenkinsfile
        .gitpod.yml .azure-pipelines/ .woodpecker.yaml .drone.jsonnet .drone.star .cirrus.star buildspec.yml
        codemagic.yaml bitrise.yml .semaphore/ .build.yml .onedev-buildspec.yml .harness/ .tekton/ .zuul.yaml zuul.d/
        .packit.yaml .copr/ .readthedocs.y* render.yaml .idx/ .replit""",
        "it checks pushes and merge requests",
    ),
)

# Files that act on nothing, and that something is refused for. Their removal is yellow.
SAFEGUARDS = (
    _safeguard(
        "it says which versions of packages are installed, and with which hashes",
        """package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock
        requirements*.txt constraints*.txt poetry.lock uv.lock pdm.lock Pipfile.lock pylock.toml pylock.*.toml
        conda-lock.yml pixi.lock Cargo.lock go.sum go.work.sum Gemfile.lock gems.locked composer.lock symfony.lock
        packages.lock.json paket.lock Podfile.lock Package.resolved Cartfile.resolved pubspec.lock mix.lock rebar.lock
        flake.lock Chart.lock MODULE.bazel.lock .terraform.lock.hcl gradle.lockfile buildscript-gradle.lockfile
        gradle/verification-metadata.xml gradle/verification-keyring.* gradle/dependency-locks/ stack.yaml.lock
        cabal.project.freeze renv.lock mise.lock devbox.lock devenv.lock aqua-checksums.json dub.selections.json
        conan.lock lake-manifest.json Manifest.toml shard.lock dvc.lock""",
        _HASHES,
        is_lock=True,
    ),
    _safeguard(
        "it keeps secrets out of what is committed, published or shown to an agent",
        """.gitignore .dockerignore *.dockerignore .containerignore .npmignore .helmignore .gcloudignore .vercelignore
        .ebignore .slugignore .hgignore .vscodeignore .cfignore .funcignore .cursorignore .cursorindexingignore
        .geminiignore .aiexclude .aiderignore .codeiumignore .rooignore .clineignore .continueignore .augmentignore
        .aiignore""",
        _SECRETS,
    ),
    _safeguard(
        "it checks commits",
        """.pre-commit-config.yaml .pre-commit-config.yml prek.toml .husky/ .overcommit.yml captainhook.json
        grumphp.yml .lintstagedrc* lint-staged.config.*""",
    ),
)
