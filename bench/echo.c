/* The servers at the other end, in one thread, over epoll: for load.c, and for the clients measured.
 *
 *   echo MODE [REPLIES SIZE]
 *
 *   floor    the trivial server: it sends back the bytes that it receives, no WebSocket at all
 *   echo     a message goes back to its sender
 *   stream   a message is answered by REPLIES text messages of SIZE bytes, all written at once
 *   connect  as echo; what counts are connections that were opened and closed
 *
 * The URL comes on standard error. A line "PID WARM_UP SECONDS" on standard input asks for a
 * measurement; it begins with the first message or connection that ends. The result is a line of
 * JSON. Response times in it are from the moment a message has arrived to the moment the client's
 * next one has: all of the client's time is in it, and all of the system's. CPU seconds are those
 * of the client (process PID) and of this program in the time measured. The program ends with its
 * standard input. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "measure.h"

enum { EVENTS = 512, MAX_FILES = 1 << 16, READ_SIZE = 1 << 18, MAX_HEAD = 14 };
enum { FIRST_SECONDS = 30 }; /* for a client to do something */
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct {
    char *data;
    long start, end, size;
} Buffer;

typedef struct {
    int open, over; /* a handshake is complete, a close frame was sent */
    double since;   /* when the last message had arrived */
    Buffer in, out;
} Connection;

static enum { FLOOR, ECHO, STREAM, CONNECT } mode;
static int epoll, listener, measuring, ended;
static Connection *connections[MAX_FILES];
static Buffer batch;
static long replies = 1, cycles;
static Count count;

/* Have room for some more bytes at the end. */
static char *room(Buffer *b, long bytes) {
    if (b->start) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->end + bytes > b->size) b->data = realloc(b->data, b->size = 2 * (b->end + bytes));
    return b->data + b->end;
}

static void add(Buffer *b, const void *data, long bytes) {
    memcpy(room(b, bytes), data, bytes);
    b->end += bytes;
}

static void add_head(Buffer *b, int opcode, unsigned long length) {
    unsigned char head[10] = {(unsigned char)(0x80 | opcode)};
    int more = length < 126 ? 0 : length < 65536 ? 2 : 8;
    head[1] = more == 0 ? length : more == 2 ? 126 : 127;
    for (int i = 0; i < more; i++) head[2 + i] = length >> 8 * (more - 1 - i);
    add(b, head, 2 + more);
}

/* The opening handshake. */

static uint32_t rotate(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }

static void sha1(const char *text, unsigned char digest[20]) { /* of less than 119 bytes */
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
    unsigned char block[128] = {0};
    long length = strlen(text), blocks = length < 56 ? 1 : 2;
    memcpy(block, text, length);
    block[length] = 0x80;
    block[64 * blocks - 2] = length * 8 >> 8;
    block[64 * blocks - 1] = length * 8;
    for (int b = 0; b < blocks; b++) {
        unsigned char *p = block + 64 * b;
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], c = h[1], d = h[2], e = h[3], f = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t mixed = i < 20 ? ((c & d) | (~c & e)) + 0x5a827999
                : i < 40 ? (c ^ d ^ e) + 0x6ed9eba1
                : i < 60 ? ((c & d) | (c & e) | (d & e)) + 0x8f1bbcdc
                : (c ^ d ^ e) + 0xca62c1d6;
            uint32_t next = rotate(a, 5) + mixed + f + w[i];
            f = e; e = d; d = rotate(c, 30); c = a; a = next;
        }
        h[0] += a; h[1] += c; h[2] += d; h[3] += e; h[4] += f;
    }
    for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> 8 * (3 - i % 4);
}

static void base64(const unsigned char digest[20], char text[29]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 7; i++) {
        uint32_t three = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | (i < 6 ? digest[3 * i + 2] : 0);
        for (int j = 0; j < 4; j++) text[4 * i + j] = letters[three >> 6 * (3 - j) & 63];
    }
    strcpy(text + 27, "=");
}

static void upgrade(Connection *c) {
    static const char name[] = "\r\nSec-WebSocket-Key:";
    char *head = c->in.data + c->in.start, joined[100], accept[29], answer[200];
    unsigned char digest[20];
    *room(&c->in, 1) = 0;
    head = c->in.data + c->in.start;
    char *end = strstr(head, "\r\n\r\n"), *key = strcasestr(head, name);
    if (!end) return;
    if (!key || key > end) fail("no Sec-WebSocket-Key");
    sscanf(key + sizeof name - 1, " %24s", joined);
    sha1(strcat(joined, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"), digest);
    base64(digest, accept);
    add(&c->out, answer, snprintf(answer, sizeof answer,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n", accept));
    c->in.start += end + 4 - head;
    c->open = 1;
}

/* Frames. */

static void arrived(Connection *c) {
    count.messages += replies;
    if (measuring) sample(&count, c->since);
    c->since = now();
}

/* Answer the first frame. Return whether it was complete. */
static int answer(Connection *c) {
    unsigned char *head = (unsigned char *)c->in.data + c->in.start;
    long have = c->in.end - c->in.start, bytes = 2;
    if (have < bytes) return 0;
    int opcode = head[0] & 15, more = (head[1] & 127) == 127 ? 8 : (head[1] & 127) == 126 ? 2 : 0;
    unsigned long length = more ? 0 : head[1] & 127;
    if (have < (bytes += more + 4)) return 0;
    for (int i = 0; i < more; i++) length = length << 8 | head[2 + i];
    if (have < bytes + (long)length) {
        room(&c->in, bytes + length - have);
        return 0;
    }
    if (!(head[0] & 0x80) || opcode == 0) fail("a fragment");
    if (!(head[1] & 0x80)) fail("a frame that isn't masked");
    unsigned char *key = head + bytes - 4, *payload = head + bytes;
    uint64_t eight, mask;
    memcpy(&mask, key, 4);
    memcpy((char *)&mask + 4, key, 4);
    unsigned long i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&eight, payload + i, 8);
        eight ^= mask;
        memcpy(payload + i, &eight, 8);
    }
    for (; i < length; i++) payload[i] ^= key[i % 4];
    c->in.start += bytes + length;
    if (opcode < CLOSE) {
        arrived(c);
        if (mode == STREAM) {
            add(&c->out, batch.data, batch.end);
            return 1;
        }
    }
    if (opcode == PONG) return 1;
    if (opcode == CLOSE) {
        if (measuring && mode != CONNECT) fail("closed by the client: %d",
            length < 2 ? 1005 : payload[0] << 8 | payload[1]);
        c->over = 1;
    }
    add_head(&c->out, opcode == PING ? PONG : opcode, length);
    add(&c->out, payload, length);
    return 1;
}

static void stop(int fd) {
    Connection *c = connections[fd];
    if (c->over) cycles++;
    else if (c->open && measuring) fail("a client has cut its connection");
    free(c->in.data);
    free(c->out.data);
    free(c);
    connections[fd] = NULL;
    close(fd);
}

static void handle(int fd) {
    Connection *c = connections[fd];
    for (;;) {
        while (c->out.start < c->out.end) {
            long put = send(fd, c->out.data + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
            if (put < 0) {
                if (errno != EAGAIN) stop(fd);
                return;
            }
            c->out.start += put;
        }
        c->out.start = c->out.end = 0;
        if (c->over) { stop(fd); return; }
        long space = c->in.size - c->in.end > READ_SIZE ? c->in.size - c->in.end : READ_SIZE;
        char *into = mode == FLOOR ? room(&c->out, READ_SIZE) : room(&c->in, space);
        long got = read(fd, into, space);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) { stop(fd); return; }
        if (mode == FLOOR) { c->out.end += got; continue; }
        c->in.end += got;
        if (!c->open) upgrade(c);
        while (c->open && !c->over && answer(c)) {}
    }
}

static void accept_all(void) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FILES) fail("more than %d connections", MAX_FILES);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.fd = fd}};
        connections[fd] = calloc(1, sizeof *connections[fd]);
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void measure(pid_t pid, double warm_up, double seconds);

static void command(void) {
    char line[200] = "";
    pid_t pid;
    double warm_up, seconds;
    long got = read(0, line, sizeof line - 1);
    if (got <= 0) ended = 1;
    else if (sscanf(line, "%d %lf %lf", &pid, &warm_up, &seconds) == 3) measure(pid, warm_up, seconds);
    else fail("what is %s", line);
}

static void turn(int milliseconds) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == 0) { if (measuring) exit(0); command(); }
        else if (fd == listener) accept_all();
        else if (connections[fd]) handle(fd);
    }
}

static long progress(void) { return mode == CONNECT ? cycles : count.messages; }

static void measure(pid_t pid, double warm_up, double seconds) {
    measuring = 1;
    double end = now() + FIRST_SECONDS;
    while (!progress()) {
        turn(10);
        if (now() > end) fail("the client has done nothing in %d s", FIRST_SECONDS);
    }
    end = now() + warm_up;
    while (now() < end) turn(10);
    reset(&count);
    cycles = 0;
    Clocks before = clocks(pid);
    end = before.at + seconds;
    /* The slowest get more time, for something to show up at all. */
    while (now() < end || (now() < before.at + STRETCH * seconds && progress() < ENOUGH)) turn(10);
    Count *counts[] = {&count};
    report(before, pid, cycles, counts, 1);
    measuring = 0;
}

int main(int arguments, char **argument) {
    static const char *modes[] = {"floor", "echo", "stream", "connect"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    allow_many_files();
    if (arguments < 2) return 2;
    while (strcmp(modes[mode], argument[1])) if (++mode > CONNECT) return 2;
    if (mode == STREAM) {
        if (arguments < 4) return 2;
        replies = atol(argument[2]);
        for (long i = 0, length = atol(argument[3]); i < replies; i++) {
            add_head(&batch, TEXT, length);
            memset(room(&batch, length), 'x', length);
            batch.end += length;
        }
    }
    reset(&count);
    epoll = epoll_create1(0);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return 1;
    getsockname(listener, (void *)&address, &size);
    struct epoll_event event = {EPOLLIN, {.fd = listener}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = 0;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event)) fail("standard input must be a pipe");
    fprintf(stderr, "ws://127.0.0.1:%d/\n", ntohs(address.sin_port));
    while (!ended) turn(-1);
    return 0;
}
