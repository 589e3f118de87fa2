// stream: what a forwarded TCP port carries. The server, for any pod: stream PORT
// The client: stream ADDRESS PORT, prints Mbit/s, the median of a byte there and back in
// microseconds, and that of a whole connection with a byte there and back.
// Build: cc -O2 -static -o stream stream.c
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SINK = 's', ECHO = 'e', CHUNK = 128 << 10, PINGS = 4000, CONNECTIONS = 300 };
static const double SECONDS = 2;
static char chunk[CHUNK];

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void fail(const char *what) { perror(what); exit(1); }
static int cmp(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return (x > y) - (x < y); }
static int at_once(int s) { int one = 1; setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); return s; }

static void answer(int s) {
    char what; uint64_t sum = 0; ssize_t n;
    if (read(s, &what, 1) != 1) exit(1);
    while ((n = read(s, chunk, what == ECHO ? 1 : sizeof chunk)) > 0) {
        sum += n;
        if (what == ECHO && write(s, chunk, n) != n) exit(1);
    }
    if (what == SINK && write(s, &sum, sizeof sum) != sizeof sum) exit(1);
    exit(0);
}

static _Noreturn void serve(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)}; int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); signal(SIGCHLD, SIG_IGN);
    if (bind(s, (void *)&a, sizeof a) || listen(s, 64)) fail("listen");
    puts("up"); fflush(stdout);
    for (;;) {
        int c = accept(s, 0, 0);
        if (c >= 0 && !fork()) { close(s); answer(at_once(c)); }
        if (c >= 0) close(c);
    }
}

static struct sockaddr_in to;
static int dial(char what) {
    int s = at_once(socket(AF_INET, SOCK_STREAM, 0));
    if (connect(s, (void *)&to, sizeof to)) fail("connect");
    if (write(s, &what, 1) != 1) fail("write");
    return s;
}
static void ping(int s) { char c = 'x'; if (write(s, &c, 1) != 1 || read(s, &c, 1) != 1) fail("ping"); }
static double median(double *t, int n) { qsort(t, n, sizeof *t, cmp); return t[n / 2] * 1e6; }

int main(int argc, char **argv) {
    if (argc == 2) serve(atoi(argv[1]));
    if (argc != 3) { fprintf(stderr, "usage: stream PORT | stream ADDRESS PORT\n"); return 2; }
    static double t[PINGS]; uint64_t sum = 0; double begin, spent;
    to.sin_family = AF_INET; to.sin_port = htons(atoi(argv[2])); inet_pton(AF_INET, argv[1], &to.sin_addr);
    int s = dial(SINK);
    for (begin = now(); now() - begin < SECONDS;) if (write(s, chunk, sizeof chunk) < 0) fail("write");
    shutdown(s, SHUT_WR);
    if (read(s, &sum, sizeof sum) != sizeof sum) fail("read");
    spent = now() - begin; close(s);
    s = dial(ECHO);
    for (int i = 0; i < PINGS; i++) { begin = now(); ping(s); t[i] = now() - begin; }
    close(s);
    double there = median(t, PINGS);
    for (int i = 0; i < CONNECTIONS; i++) { begin = now(); s = dial(ECHO); ping(s); t[i] = now() - begin; close(s); }
    printf("%.0f %.1f %.1f\n", sum * 8 / spent / 1e6, there, median(t, CONNECTIONS));
    return 0;
}
