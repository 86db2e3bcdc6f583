/* A null server, faster than any client: reads a request, writes a reply from a file.
 *
 *   server MODE SHARED SIZE [TYPE=FILE ...]
 *
 * MODE   raw: requests of SIZE bytes. frame: Djinn's frames (a type, a length of 8 bytes,
 *        big-endian, a payload). http: HTTP/1.1, kept alive; SIZE is not used by these.
 * SHARED is a file mapped by both sides, see struct shared. TYPE=FILE: what to answer:
 *        raw 0; frame the frame's type; http 0, and 1 below /v1/.
 * Prints its port (127.0.0.1) and serves until it is killed. One thread, epoll. With AWAKE
 * in the environment it never sleeps: else who sends pays for waking it, 5 us on a virtual
 * machine, and in a closed loop a slower client does so more often.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, EVENTS = 256, SCRATCH = 1 << 20 };

/* count is written by us, the stall by the benchmark; stamps: when each request was whole. */
struct shared {
  volatile uint64_t count;
  volatile uint64_t stall_begin, stall_end; /* ns, CLOCK_MONOTONIC */
  uint64_t room;                            /* of stamps */
  uint64_t stamps[];
};

struct reply {
  const char *data;
  size_t length;
};

struct link {
  int fd;
  size_t head_length; /* of a header that has begun */
  uint64_t missing;   /* of the body */
  int type, in_body;
  const char *out;
  size_t left; /* of the reply */
  char head[HEAD];
};

static struct shared *shared;
static struct reply replies[256];
static char scratch[SCRATCH];
static enum { RAW, FRAME, HTTP } mode;
static uint64_t raw_size;
static int poller;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *map(const char *path, int flags, int protection, size_t *length) {
  struct stat found;
  int fd = open(path, flags);
  if (fd < 0 || fstat(fd, &found) < 0) die(path);
  void *at = mmap(NULL, (size_t)found.st_size, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (at == MAP_FAILED) die(path);
  close(fd);
  *length = (size_t)found.st_size;
  return at;
}

/* Nothing is answered in the stall: what arrives waits in the kernel. */
static void stall(void) {
  uint64_t end = shared->stall_end, now;
  if (!end || (now = now_ns()) < shared->stall_begin || now >= end) return;
  struct timespec until = {(time_t)(end / 1000000000u), (long)(end % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
  }
}

static void hang_up(struct link *link) {
  close(link->fd);
  free(link);
}

static void watch(struct link *link, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = link};
  epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
}

/* Returns 0 if the connection is lost. */
static int send_rest(struct link *link) {
  while (link->left) {
    ssize_t n = write(link->fd, link->out, link->left);
    if (n < 0 && errno == EAGAIN) {
      watch(link, EPOLLOUT);
      return 1;
    }
    if (n < 0) return 0;
    link->out += n;
    link->left -= (size_t)n;
  }
  return 1;
}

static int answer(struct link *link) {
  uint64_t number = shared->count;
  if (number < shared->room) shared->stamps[number] = now_ns();
  shared->count = number + 1;
  struct reply *reply = &replies[link->type & 255];
  if (!reply->data) return 0;
  link->out = reply->data;
  link->left = reply->length;
  return send_rest(link);
}

/* Each takes bytes of a header; returns how many it took, or -1: not understood.
 * Once it is whole, in_body is set. */

static ssize_t frame_head(struct link *link, const char *data, size_t n) {
  size_t wanted = 9 - link->head_length, taken = n < wanted ? n : wanted;
  memcpy(link->head + link->head_length, data, taken);
  link->head_length += taken;
  if (link->head_length < 9) return (ssize_t)taken;
  const unsigned char *head = (unsigned char *)link->head;
  link->type = head[0];
  for (int i = 1; i < 9; i++) link->missing = link->missing << 8 | head[i];
  link->in_body = 1;
  return link->missing ? (ssize_t)taken : -1;
}

static ssize_t http_head(struct link *link, const char *data, size_t n) {
  size_t before = link->head_length, room = HEAD - 1 - before, taken = n < room ? n : room;
  memcpy(link->head + before, data, taken);
  link->head_length += taken;
  link->head[link->head_length] = 0;
  char *end = strstr(link->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
  if (!end) return link->head_length < HEAD - 1 ? (ssize_t)taken : -1;
  end[2] = 0;
  char *said = strcasestr(link->head, "\r\ncontent-length:");
  link->missing = said ? strtoull(said + 17, NULL, 10) : 0;
  char *path = strchr(link->head, ' ');
  link->type = path && !strncmp(path + 1, "/v1/", 4);
  link->in_body = 1;
  return end + 4 - link->head - (ssize_t)before;
}

static ssize_t head(struct link *link, const char *data, size_t n) {
  if (mode == FRAME) return frame_head(link, data, n);
  if (mode == HTTP) return http_head(link, data, n);
  link->missing = raw_size;
  link->in_body = 1;
  return 0;
}

/* Takes what was read; returns 0 if the connection is to be closed. */
static int take(struct link *link, const char *data, size_t n) {
  while (n) {
    ssize_t taken = link->in_body ? 0 : head(link, data, n);
    if (taken < 0) return 0;
    data += taken;
    n -= (size_t)taken;
    if (!link->in_body) continue;
    uint64_t body = link->missing < n ? link->missing : n;
    link->missing -= body;
    data += body;
    n -= body;
    if (link->missing) continue;
    link->head_length = 0;
    link->in_body = 0;
    if (!answer(link)) return 0;
  }
  return 1;
}

static int readable(struct link *link) {
  for (;;) {
    ssize_t n = read(link->fd, scratch, sizeof scratch);
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return 0;
    if (!take(link, scratch, (size_t)n)) return 0;
    /* A reply under way, or a socket that was emptied: epoll says when to go on. */
    if (link->left || (size_t)n < sizeof scratch) return 1;
  }
}

static void serve(struct link *link, uint32_t events) {
  int alive = 1;
  if (events & EPOLLOUT) {
    alive = send_rest(link);
    if (alive && !link->left) watch(link, EPOLLIN);
  } else {
    alive = readable(link);
  }
  if (!alive) hang_up(link);
}

static void welcome(int listener) {
  int fd, yes = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    struct link *link = calloc(1, sizeof *link);
    if (!link) die("calloc");
    link->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    serve(link, EPOLLIN); /* often the request is there already */
  }
}

static int listen_anywhere(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof at;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&at, length) || listen(fd, 4096)) die("listen");
  getsockname(fd, (struct sockaddr *)&at, &length);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char **argv) {
  size_t length;
  if (argc < 4) return 2;
  mode = !strcmp(argv[1], "raw") ? RAW : !strcmp(argv[1], "frame") ? FRAME : HTTP;
  shared = map(argv[2], O_RDWR, PROT_READ | PROT_WRITE, &length);
  shared->room = (length - sizeof *shared) / sizeof shared->stamps[0];
  raw_size = strtoull(argv[3], NULL, 10);
  for (int i = 4; i < argc; i++) {
    char *file = strchr(argv[i], '=') + 1;
    struct reply *reply = &replies[atoi(argv[i]) & 255];
    reply->data = map(file, O_RDONLY, PROT_READ, &reply->length);
  }
  poller = epoll_create1(0);
  int listener = listen_anywhere();
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, found[EVENTS];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  int patience = getenv("AWAKE") ? 0 : -1; /* ms */
  for (;;) {
    int n = epoll_wait(poller, found, EVENTS, patience);
    for (int i = 0; i < n; i++) {
      stall();
      if (found[i].data.ptr)
        serve(found[i].data.ptr, found[i].events);
      else
        welcome(listener);
    }
  }
}
