/* Runs a command in the terminal's foreground, and resumes it there whenever it stops, as a shell's `fg` does.
 *
 *     foreground COMMAND [ARG...]
 *
 * Otherwise a session whose command stops at Ctrl-Z would be frozen for good: a container has no shell to resume it.
 * Signals are passed on, and the exit code is the command's. It is in C because it stays as long as the session, and
 * every session has one.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words)
{
    if (count < 2)
        return 2;
    /* The loop below waits for all of them. With SIGTTOU blocked, a background process may hand over the terminal. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);

    pid_t command = fork();
    if (command < 0) {
        perror("fork");
        return 126;
    }
    if (command == 0) {
        setpgid(0, 0);
        tcsetpgrp(STDIN_FILENO, getpid());
        sigprocmask(SIG_SETMASK, &before, NULL);
        execvp(words[1], words + 1);
        int code = errno == ENOENT ? 127 : 126;
        perror(words[1]);
        return code;
    }

    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number > 0 && number != SIGCHLD)
            kill(command, number);
        int status;
        while (waitpid(command, &status, WNOHANG | WUNTRACED) > 0) {
            if (WIFEXITED(status))
                return WEXITSTATUS(status);
            if (WIFSIGNALED(status))
                return 128 + WTERMSIG(status);
            tcsetpgrp(STDIN_FILENO, command);
            kill(-command, SIGCONT);
        }
    }
}
