/* The load generator: many connections in one thread, over epoll.
 *
 * Over 400 lines, because it is one state machine. echo.c is the other end.
 *
 *   load MODE PORT PID WARM_UP SECONDS TLS DEFLATE GROUP...
 *
 * The messages, framed and masked, come on standard input, group by group. A GROUP is
 * CLIENTS,MESSAGES,BYTES[,BYTES...]: the number of clients, the number of messages that each writes
 * at once, and the size of these together. It writes again when all are answered. With more than
 * one BYTES there are several such batches, which take turns.
 *
 *   echo       the server replies to each message
 *   raw        it replies with the same bytes (see echo.c): no WebSocket at all
 *   broadcast  the first client writes; again, when all clients have got all of it.
 *              A second group is of clients that never read
 *   connect    CLIENTS connections at a time are opened, closed, and opened again
 *   hold       each client writes once; then all just stay, until the standard input ends
 *
 * The result is a line of JSON. The CPU seconds in it, of the server (process PID) and of this
 * program, are those of the time measured. TLS is libssl's, loaded when it is needed: no headers to install. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "measure.h"

enum { AT_ONCE = 4 };           /* connections being opened at a time: some servers have a short backlog */
#define STALL_SECONDS 0.25
enum { OPEN_SECONDS = 30 };     /* for all of them */
enum { EVENTS = 512, STDIN = -1 };
enum { MAX_BATCHES = 64, MAX_GROUPS = 4 };

typedef enum { IDLE, CONNECTING, SHAKING, UPGRADING, OPEN, CLOSING } State;

typedef struct {
    char *data;
    long bytes;
} Batch;

typedef struct {
    int clients, messages, batches;
    Batch batch[MAX_BATCHES]; /* written in turn */
    Count count;
} Group;

typedef struct {
    int fd;
    State state;
    Group *group;
    void *ssl;
    const char *out; /* to be written */
    long left;
    int awaited;     /* messages */
    int written;     /* batches */
    double since;
    unsigned char head[14 + 125]; /* of the frame that is coming in; control frames as a whole */
    int have;
    unsigned long skip; /* bytes of its payload */
    long raw;
} Connection;

static enum { ECHO, RAW, BROADCAST, CONNECT, HOLD } mode;
static int port, deflate, epoll, group_count, total, opened, opening;
static Group groups[MAX_GROUPS];
static Connection *connections;
static void *tls;
static long delivered, cycles;
static char buffer[1 << 20];

/* libssl, by its ABI, which is the same in 1.1 and 3. */

static void *(*ssl_new)(void *);
static int (*ssl_set_fd)(void *, int), (*ssl_connect)(void *), (*ssl_read)(void *, void *, int),
    (*ssl_write)(void *, const void *, int), (*ssl_get_error)(void *, int);
static void (*ssl_free)(void *);
enum { WANT_READ = 2, WANT_WRITE = 3, CTRL_MODE = 33, PARTIAL_AND_MOVING = 3 };

static void load_tls(void) {
    void *lib = dlopen("libssl.so.3", RTLD_NOW);
    if (!lib) lib = dlopen("libssl.so.1.1", RTLD_NOW);
    if (!lib) lib = dlopen("libssl.so", RTLD_NOW);
    if (!lib) fail("no libssl");
    void *(*method)(void) = dlsym(lib, "TLS_client_method");
    void *(*context)(void *) = dlsym(lib, "SSL_CTX_new");
    long (*control)(void *, int, long, void *) = dlsym(lib, "SSL_CTX_ctrl");
    ssl_new = dlsym(lib, "SSL_new");
    ssl_free = dlsym(lib, "SSL_free");
    ssl_set_fd = dlsym(lib, "SSL_set_fd");
    ssl_connect = dlsym(lib, "SSL_connect");
    ssl_read = dlsym(lib, "SSL_read");
    ssl_write = dlsym(lib, "SSL_write");
    ssl_get_error = dlsym(lib, "SSL_get_error");
    tls = context(method());
    control(tls, CTRL_MODE, PARTIAL_AND_MOVING, NULL);
}

/* Both return what read and write do, and -1 with EAGAIN if there is nothing to do now. */

static long again(Connection *c, int result) {
    int error = ssl_get_error(c->ssl, result);
    errno = error == WANT_READ || error == WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

static long receive(Connection *c, void *into, long size) {
    if (!c->ssl) return read(c->fd, into, size);
    int got = ssl_read(c->ssl, into, size);
    return got > 0 ? got : again(c, got);
}

static long transmit(Connection *c, const void *from, long size) {
    if (!c->ssl) return send(c->fd, from, size, MSG_NOSIGNAL);
    int put = ssl_write(c->ssl, from, size);
    return put > 0 ? put : again(c, put);
}

static void flush(Connection *c) {
    while (c->left) {
        long put = transmit(c, c->out, c->left);
        if (put < 0) {
            if (errno == EAGAIN) return;
            if (mode == CONNECT) { c->left = 0; return; }
            fail("write: %s", strerror(errno));
        }
        c->out += put;
        c->left -= put;
    }
}

static void write_batch(Connection *c) {
    Batch *batch = &c->group->batch[c->written++ % c->group->batches];
    c->awaited = c->group->messages;
    c->out = batch->data;
    c->left = batch->bytes;
    c->since = now();
    flush(c);
}

/* Opening and closing. */

static void start(Connection *c) {
    int deaf = mode == BROADCAST && c->group != groups, one = 1, small = 4096;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    /* Loopback has many addresses, each with its own ports. */
    static unsigned turn;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + turn++ % 16)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (deaf) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(c->fd, (void *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.u32 = c - connections}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    c->state = CONNECTING;
    c->have = c->skip = c->raw = 0;
    opening++;
}

static void stop(Connection *c) {
    if (c->ssl) ssl_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->state = IDLE;
}

static void begin(Connection *c) { /* it is open */
    c->state = OPEN;
    opening--;
    opened++;
    if (mode == CONNECT) {
        c->state = CLOSING;
        c->out = "\x88\x82\0\0\0\0\x03\xe8"; /* 1000 */
        c->left = 8;
        flush(c);
    } else if (mode == HOLD) {
        write_batch(c);
    } else if (mode == BROADCAST && c->group != groups) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
    }
}

static void upgrade(Connection *c) {
    static char request[512];
    if (mode == RAW) { begin(c); return; }
    if (!*request)
        snprintf(request, sizeof request,
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", port,
            deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    c->state = UPGRADING;
    c->out = request;
    c->left = strlen(request);
    flush(c);
}

static void shake(Connection *c) {
    if (!c->ssl) {
        c->ssl = ssl_new(tls);
        ssl_set_fd(c->ssl, c->fd);
    }
    c->state = SHAKING;
    int result = ssl_connect(c->ssl);
    if (result == 1) upgrade(c);
    else if (again(c, result) && errno != EAGAIN) fail("the TLS handshake failed");
}

/* Count the messages in what has come. Pings are answered, a close is an error. */

static int count(Connection *c, const unsigned char *data, long size) {
    int messages = 0;
    const unsigned char *end = data + size;
    if (mode == RAW) {
        long each = c->group->batch->bytes / c->group->messages;
        c->raw += size;
        messages = c->raw / each;
        c->raw %= each;
        return messages;
    }
    while (data < end) {
        if (c->skip) {
            unsigned long step = end - data;
            if (step > c->skip) step = c->skip;
            c->skip -= step;
            data += step;
            if (c->skip) return messages;
            messages += c->head[0] >> 7;
            continue;
        }
        /* A head in pieces is put together; control frames are, with their payload. */
        c->head[c->have++] = *data++;
        if (c->have < 2) continue;
        int length = c->head[1], control = c->head[0] & 8;
        int need = length == 127 ? 10 : length == 126 ? 4 : control ? 2 + length : 2;
        if (c->have < need) continue;
        c->have = 0;
        if (!control) {
            c->skip = length > 125 ? 0 : length;
            for (int i = 2; i < need; i++) c->skip = c->skip << 8 | c->head[i];
            if (!c->skip) messages += c->head[0] >> 7;
        } else if ((c->head[0] & 15) == 9) {
            char pong[6 + 125] = {(char)0x8a, (char)(0x80 | length)}; /* masked with zeros */
            memcpy(pong + 6, c->head + 2, length);
            if (!c->left) transmit(c, pong, 6 + length);
        } else if ((c->head[0] & 15) == 8) {
            fail("closed by the server: %d", length < 2 ? 1005 : c->head[2] << 8 | c->head[3]);
        }
    }
    return messages;
}

static void answered(Connection *c, int messages) {
    Group *group = c->group;
    if (mode == BROADCAST) {
        delivered += messages;
        group->count.messages += messages;
        if (delivered >= (long)group->messages * group->clients) {
            delivered = 0;
            sample(&group->count, connections->since);
            write_batch(connections);
        }
        return;
    }
    group->count.messages += messages;
    c->awaited -= messages;
    if (c->awaited < 0) fail("more replies than messages");
    if (c->awaited == 0 && messages && mode != HOLD) {
        sample(&group->count, c->since);
        write_batch(c);
    }
}

static void readable(Connection *c) {
    for (;;) {
        long got = receive(c, buffer, sizeof buffer);
        if (got > 0 && c->state == UPGRADING) {
            /* The head of the response is short: read byte by byte up to its end. */
            static const char ok[] = "HTTP/1.1 101";
            for (long i = 0; i < got; i++) {
                int n = c->have;
                if (n < 12 && buffer[i] != ok[n]) fail("no 101: %.40s", buffer);
                if (n < 12) c->have++;
                else c->skip = c->skip << 8 | (unsigned char)buffer[i];
                if ((c->skip & 0xffffffff) == 0x0d0a0d0a) {
                    c->have = c->skip = 0;
                    begin(c);
                    if (mode != CONNECT && i + 1 < got)
                        answered(c, count(c, (unsigned char *)buffer + i + 1, got - i - 1));
                    break;
                }
            }
        } else if (got > 0) {
            if (c->state == CLOSING) continue; /* the end may be there already */
            answered(c, count(c, (unsigned char *)buffer, got));
            if (!c->ssl && got < (long)sizeof buffer) return;
        } else if (got < 0 && errno == EAGAIN) {
            return;
        } else if (c->state == CLOSING) {
            stop(c);
            cycles++;
            start(c);
            return;
        } else {
            fail("the server has cut a connection");
        }
    }
}

static void handle(struct epoll_event *event) {
    Connection *c = connections + event->data.u32;
    if (c->state == IDLE) return;
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) fail("connect: %s", strerror(error));
        if (!(event->events & EPOLLOUT)) return;
        if (tls) shake(c); else upgrade(c);
        return;
    }
    if (c->state == SHAKING) { shake(c); if (c->state == SHAKING) return; }
    if (c->left) flush(c);
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
}

static int turn(int milliseconds) {
    static struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == (unsigned)STDIN) {
            if (read(0, buffer, sizeof buffer) == 0) return 0;
        } else {
            handle(&events[i]);
        }
    }
    return 1;
}

/* A server may tell a client that it is connected before it counts it in: then its first message
 * doesn't reach all, and is sent again. */
static void nudge(void) {
    static long seen;
    static double since;
    if (mode != BROADCAST) return;
    if (groups->count.messages != seen) {
        seen = groups->count.messages;
        since = now();
    } else if (!connections->left && now() - since > STALL_SECONDS) {
        delivered = 0;
        since = now();
        write_batch(connections);
    }
}

static long progress(void) {
    return mode == CONNECT ? cycles : groups[0].count.messages;
}

static void measure(pid_t pid, double warm_up, double seconds) {
    int writers = mode == BROADCAST ? 1 : total;
    for (int i = 0; i < writers && mode != CONNECT; i++) write_batch(connections + i);
    double end = now() + warm_up;
    while (now() < end) { turn(10); nudge(); }
    Count *counts[MAX_GROUPS];
    for (int i = 0; i < group_count; i++) reset(counts[i] = &groups[i].count);
    cycles = 0;
    Clocks before = clocks(pid);
    end = before.at + seconds;
    /* The slowest get more time, for something to show up at all. */
    while (now() < end || (now() < before.at + STRETCH * seconds && progress() < ENOUGH)) {
        turn(10);
        nudge();
    }
    report(before, pid, cycles, counts, group_count);
}

static void open_all(int open_ones) {
    double end = now() + OPEN_SECONDS;
    for (int next = 0; opened < open_ones;) {
        for (; next < total && opening < AT_ONCE; next++) start(connections + next);
        turn(10);
        if (now() > end) {
            if (mode == HOLD) break;
            fail("%d of %d connections in %d s", opened, total, OPEN_SECONDS);
        }
    }
    /* All have their answer. */
    for (int i = 0; mode == HOLD && i < total && now() < end; i++)
        while (connections[i].awaited > 0 && now() < end) turn(10);
}

static void hold(void) {
    struct epoll_event event = {EPOLLIN, {.u32 = (unsigned)STDIN}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event)) fail("standard input must be a pipe");
    printf("{\"open\": %d}\n", opened);
    fflush(stdout);
    while (turn(1000)) {}
}

int main(int count, char **arguments) {
    allow_many_files();
    epoll = epoll_create1(0);
    if (count < 9) return 2;
    static const char *modes[] = {"echo", "raw", "broadcast", "connect", "hold"};
    while (strcmp(modes[mode], arguments[1])) mode++;
    port = atoi(arguments[2]);
    pid_t pid = atoi(arguments[3]);
    double warm_up = atof(arguments[4]), seconds = atof(arguments[5]);
    if (atoi(arguments[6])) load_tls();
    deflate = atoi(arguments[7]);
    for (; group_count < count - 8; group_count++) {
        Group *group = &groups[group_count];
        char *numbers = arguments[8 + group_count];
        group->clients = strtol(numbers, &numbers, 10);
        group->messages = strtol(numbers + 1, &numbers, 10);
        while (*numbers == ',' && group->batches < MAX_BATCHES) {
            Batch *batch = &group->batch[group->batches++];
            batch->bytes = strtol(numbers + 1, &numbers, 10);
            batch->data = malloc(batch->bytes + 1);
            for (long got = 0, n; got < batch->bytes; got += n)
                if ((n = read(0, batch->data + got, batch->bytes - got)) <= 0) fail("too little input");
        }
        reset(&group->count);
        total += group->clients;
    }
    connections = calloc(total, sizeof *connections);
    for (int i = 0, g = 0, left = groups[0].clients; i < total; i++, left--) {
        while (!left) left = groups[++g].clients;
        connections[i].group = &groups[g];
    }
    if (mode == CONNECT) {
        for (int i = 0; i < total; i++) start(connections + i);
        measure(pid, warm_up, seconds);
    } else {
        open_all(total);
        if (mode == HOLD) hold(); else measure(pid, warm_up, seconds);
    }
    return 0;
}
