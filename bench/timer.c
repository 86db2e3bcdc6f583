/* The least that C can do: sends 64 bytes at each due time, waiting on an absolute timerfd.
 *
 *   timer PORT CONNECTIONS DUE OUT
 *
 * DUE: int64 ns after the start, ascending. OUT: due and sent of each, int64 ns on the
 * monotonic clock. Replies are read and their times kept, as djinnload does; connections
 * take turns.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, LEAD_MS = 300, LINKS = 1024 };

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static int dial(int port) {
  struct sockaddr_in at = {.sin_family = AF_INET,
                           .sin_port = htons((uint16_t)port),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  check(!connect(fd, (struct sockaddr *)&at, sizeof at), "connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void arm(int timer, int64_t due) {
  struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

int main(int argc, char **argv) {
  check(argc == 5, "usage: timer PORT CONNECTIONS DUE OUT");
  int links[LINKS], count = atoi(argv[2]), in = open(argv[3], O_RDONLY);
  struct stat found;
  check(in >= 0 && !fstat(in, &found) && count <= LINKS, argv[3]);
  size_t n = (size_t)found.st_size / 8;
  int64_t *due = malloc(8 * n), *rows = malloc(16 * n), *done = malloc(8 * n);
  check(due && rows && done && read(in, due, 8 * n) == (ssize_t)(8 * n), "read");

  int poller = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = timer}, ready[64];
  epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
  for (int i = 0; i < count; i++) {
    event.data.fd = links[i] = dial(atoi(argv[1]));
    epoll_ctl(poller, EPOLL_CTL_ADD, links[i], &event);
  }
  char out[SIZE] = {0}, got[65536];
  int64_t start = now_ns() + LEAD_MS * 1000000;
  size_t next = 0, bytes = 0, replies = 0;
  arm(timer, start + due[0]);
  while (bytes < n * SIZE) {
    int events = epoll_wait(poller, ready, 64, 5000);
    check(events > 0, "no reply for 5 s");
    for (int i = 0; i < events; i++) {
      if (ready[i].data.fd != timer) {
        ssize_t length = read(ready[i].data.fd, got, sizeof got);
        check(length != 0, "closed");
        if (length > 0) bytes += (size_t)length;
        for (int64_t now = now_ns(); replies < bytes / SIZE;) done[replies++] = now;
        continue;
      }
      int64_t now;
      while (next < n && start + due[next] <= (now = now_ns())) {
        rows[2 * next] = start + due[next];
        rows[2 * next + 1] = now;
        check(write(links[next % (size_t)count], out, SIZE) == SIZE, "write");
        next++;
      }
      if (next < n)
        arm(timer, start + due[next]);
      else
        check(read(timer, got, 8) == 8, "timer");
    }
  }
  FILE *file = fopen(argv[4], "wb");
  check(file && fwrite(rows, 16, n, file) == n && !fclose(file), argv[4]);
  return done[n - 1] < start;
}
