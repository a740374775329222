/* git, wherever a session calls it. Commands that can fail because something is read-only go through git/explained; all
 * others are the real git at once. It is in C, and static, because a shell costs each of those a millisecond.
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REAL "/usr/bin/git.distrib"
#define EXPLAINED "/opt/confined-claude/git/explained"

static const char *const with_value[] = {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", NULL};
/* Those that git/explained names. */
static const char *const explained[] = {
    "am", "bisect", "branch", "checkout", "cherry-pick", "config", "init", "lfs", "maintenance", "merge", "pull", "push",
    "rebase", "remote", "reset", "restore", "revert", "sparse-checkout", "stash", "submodule", "switch", "worktree", NULL,
};

static bool is_among(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

int main(int count, char **words)
{
    int at = 1;
    while (at < count && words[at][0] == '-')
        at += is_among(words[at], with_value) ? 2 : 1;
    const char *program = at < count && is_among(words[at], explained) ? EXPLAINED : REAL;
    execv(program, words);
    perror(program);
    return 127;
}
