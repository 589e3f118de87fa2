// talk: the only program of a guest with a network: 10.77.0.2/24 on eth0. It calls 10.77.0.1, port 7000, and does what it is
// told there, an order being a letter and a number of eight bytes, until that end hangs up; then it resets the machine.
//   t N   take N bytes        g N   give N bytes        e N   N times take a byte and give it back
// After each order it says one byte more.
// Build: cc -O2 -static -o talk talk.c
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 128 << 10 };
static char chunk[CHUNK];
static int line;

static _Noreturn void end(void) { sync(); reboot(RB_AUTOBOOT); _exit(1); }
static void take(void *to, size_t n) { if (recv(line, to, n, MSG_WAITALL) != (ssize_t)n) end(); }
static void give(const void *from, size_t n) {
    for (const char *at = from; n;) {
        ssize_t done = write(line, at, n);
        if (done <= 0) end();
        at += done; n -= done;
    }
}
static struct sockaddr_in address(const char *text, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &a.sin_addr);
    return a;
}
static void set(int s, unsigned long what, const char *text) {
    struct ifreq r = {.ifr_name = "eth0"};
    struct sockaddr_in a = address(text, 0);
    memcpy(&r.ifr_addr, &a, sizeof a);
    if (ioctl(s, what, &r)) end();
}

int main(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    set(s, SIOCSIFADDR, "10.77.0.2"); set(s, SIOCSIFNETMASK, "255.255.255.0");
    struct ifreq up = {.ifr_name = "eth0", .ifr_flags = IFF_UP};
    if (ioctl(s, SIOCSIFFLAGS, &up)) end();
    line = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in host = address("10.77.0.1", 7000);
    if (connect(line, (void *)&host, sizeof host)) end();
    for (;;) {
        char what; uint64_t left; size_t n;
        take(&what, 1); take(&left, sizeof left);
        for (; left; left -= n) {
            n = what == 'e' ? 1 : left < CHUNK ? left : CHUNK;
            if (what != 'g') take(chunk, n);
            if (what != 't') give(chunk, n);
        }
        give(&what, 1);
    }
}
