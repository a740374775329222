/* Runs a command with the session's variables, which are in a file of root's that the session's user can read.
 *
 *     variables COMMAND [ARG...]
 *
 * It comes after privileges are dropped and after all programs of the tool: none of those sees what the user gives to the
 * session. The file has NAME=VALUE entries, each with a NUL at its end, so that a value can be anything else. It is in C,
 * and static, as a shell cannot read that, and what is slower would be felt at each start.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLES "/run/confined-claude/variables"

static int fail(const char *what)
{
    perror(what);
    return 126;
}

int main(int count, char **words)
{
    if (count < 2)
        return 2;
    int file = open(VARIABLES, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0)
        return fail(VARIABLES);
    char *text = malloc(status.st_size + 1);
    if (text == NULL)
        return fail(VARIABLES);
    char *end = text;
    ssize_t got = 0;
    while (end < text + status.st_size && (got = read(file, end, text + status.st_size - end)) > 0)
        end += got;
    if (got < 0)
        return fail(VARIABLES);
    *end = '\0';
    for (char *entry = text; entry < end; entry += strlen(entry) + 1)
        putenv(entry);
    execvp(words[1], words + 1);
    int code = errno == ENOENT ? 127 : 126;
    perror(words[1]);
    return code;
}
