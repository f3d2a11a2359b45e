/* What load.c and echo.c share: clocks, response times, and the report of a measurement. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { STRETCH = 5, ENOUGH = 8 }; /* a measurement may take 5 times as long, to get 8 messages */
enum { MAX_SAMPLES = 1 << 22 };

typedef struct {
    long messages, sampled;
    unsigned *samples; /* nanoseconds */
} Count;

/* Of this program and of the other one, up to a moment: wall time, and CPU seconds. */
typedef struct {
    double at, other, other_user, own;
} Clocks;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_of(pid_t pid) {
    clockid_t id;
    struct timespec t;
    if (pid <= 0 || clock_getcpuclockid(pid, &id) || clock_gettime(id, &t)) return 0;
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double user_cpu_of(pid_t pid) {
    char path[32], line[1024] = "";
    unsigned long ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    if (rest) sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu", &ticks);
    fclose(file);
    return (double)ticks / sysconf(_SC_CLK_TCK);
}

static Clocks clocks(pid_t pid) {
    struct timespec t;
    Clocks c = {.at = now(), .other = cpu_of(pid), .other_user = user_cpu_of(pid)};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    c.own = t.tv_sec + t.tv_nsec / 1e9;
    return c;
}

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    exit(1);
}

static void reset(Count *count) {
    if (!count->samples) count->samples = malloc(MAX_SAMPLES * sizeof *count->samples);
    count->messages = count->sampled = 0;
}

static void sample(Count *count, double since) {
    if (count->sampled < MAX_SAMPLES) count->samples[count->sampled++] = (now() - since) * 1e9;
}

static int ascending(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static double percentile(Count *count, double share) { /* microseconds */
    return count->sampled ? count->samples[(long)(share * (count->sampled - 1))] / 1e3 : 0;
}

/* Print a line of JSON about the time since BEFORE. */
static void report(Clocks before, pid_t pid, long cycles, Count **counts, int n) {
    Clocks after = clocks(pid);
    printf("{\"seconds\": %.6f, \"peer_cpu\": %.6f, \"peer_user_cpu\": %.6f, \"load_cpu\": %.6f,"
        " \"cycles\": %ld, \"groups\": [", after.at - before.at, after.other - before.other,
        after.other_user - before.other_user, after.own - before.own, cycles);
    for (int i = 0; i < n; i++) {
        Count *count = counts[i];
        qsort(count->samples, count->sampled, sizeof *count->samples, ascending);
        printf("%s{\"messages\": %ld, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}", i ? ", " : "",
            count->messages, percentile(count, .5), percentile(count, .99), percentile(count, .999));
    }
    printf("]}\n");
    fflush(stdout);
}

static void allow_many_files(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}
