/* Prints which families of sockets, and which ways to them, a process has: one word each. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VSOCK 40
#define IO_URING_SETUP 425

static void say(const char *what, long result) {
    if (result >= 0)
        puts(what);
}

#ifdef __x86_64__
/* As a 32-bit program does: its arguments are in memory, where no filter sees them. */
static long socketcall(int family) {
    unsigned *arguments = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long result;
    arguments[0] = family;
    arguments[1] = SOCK_STREAM;
    arguments[2] = 0;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(102L), "b"(1L), "c"((long)arguments) : "memory");
    return result;
}
#endif

int main(void) {
    char parameters[256];
    memset(parameters, 0, sizeof parameters);
    say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("inet", socket(AF_INET, SOCK_STREAM, 0));
    say("inet6", socket(AF_INET6, SOCK_STREAM, 0));
    say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    say("vsock", socket(VSOCK, SOCK_STREAM, 0));
    say("alg", socket(38, SOCK_SEQPACKET, 0));
#ifdef __x86_64__
    say("vsock-32", socketcall(VSOCK));
    say("inet-32", socketcall(AF_INET));
#endif
    say("io_uring", syscall(IO_URING_SETUP, 4, parameters));
    return 0;
}
