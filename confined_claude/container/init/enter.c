/* Runs a command of `exec` in a session as the session's own commands run: without capabilities, at a terminal that the
 * image knows.
 *
 *     enter UMASK DIRECTORY COMMAND [ARG...]
 *
 * It starts in DIRECTORY if that is there. It is in C, and static: setpriv and a shell take three times as long.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const places[] = {"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", NULL};

static int has_entry(const char *terminal)
{
    char path[PATH_MAX];
    for (const char *const *place = places; *place; place++) {
        int length = snprintf(path, sizeof path, "%s/%c/%s", *place, *terminal, terminal);
        if (length < (int)sizeof path && access(path, F_OK) == 0)
            return 1;
    }
    return 0;
}

/* Podman leaves a command the container's capabilities. One that is not to be inherited leaves the ambient set as well,
 * and without that set no other user than root takes any into the command.
 */
static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) != 0)
        return -1;
    for (int number = 0; number < _LINUX_CAPABILITY_U32S_3; number++)
        sets[number].inheritable = 0;
    return syscall(SYS_capset, &header, sets);
}

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    if (drop_capabilities() != 0) {
        perror("capset");
        return 126;
    }
    umask(strtol(words[1], NULL, 8));
    char directory[PATH_MAX];
    if (*words[2] && chdir(words[2]) == 0 && getcwd(directory, sizeof directory))
        setenv("PWD", directory, 1);
    const char *terminal = getenv("TERM");
    if (terminal && *terminal && !has_entry(terminal))
        setenv("TERM", "xterm-256color", 1);
    execvp(words[3], words + 3);
    int code = errno == ENOENT || errno == ENOTDIR || !*words[3] ? 127 : 126; /* as a shell has it */
    perror(words[3]);
    return code;
}
