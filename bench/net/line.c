/* A line between two network namespaces, for kernels without sch_netem.
 *
 *   line NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B
 *
 * Namespaces are files (/proc/PID/ns/net), addresses IPv4 ones of one /24. Makes a TUN device "line0" in each, and carries
 * packets between them with what was last set on standard input, one command a line:
 *
 *   set DELAY_MS LOSS_PERCENT RATE_KBIT QUEUE_MS   each way: delay; loss, random but the same in each run; a rate (0: none)
 *                                                  behind a queue that drops what would wait longer
 *   udp 0|1                                        whether UDP gets through
 *   up 0|1                                         whether anything does
 *
 * Prints "ready", then "ok" for each command. Ends, and the devices with it, when standard input does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MTU 1500
#define WAITING 65536 /* packets under way in one direction */
#define UDP 17

struct packet {
    double due; /* milliseconds of the monotonic clock */
    int length;
    uint8_t bytes[MTU];
};

struct way {
    int in, out;
    double busy_until;
    uint64_t random;
    struct packet *packets;
    unsigned head, tail; /* written at head, sent from tail */
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
};

static struct {
    double delay, loss, rate, queue;
    int udp, up;
    pthread_mutex_t mutex;
} line = {.udp = 1, .up = 1, .mutex = PTHREAD_MUTEX_INITIALIZER};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void configure(int control, unsigned long request, struct ifreq *device, const char *address) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) fail(address);
    memcpy(&device->ifr_addr, &in, sizeof in);
    if (ioctl(control, request, device)) fail("configure line0");
}

static int open_tun(const char *namespace, const char *address) {
    int entered = open(namespace, O_RDONLY | O_CLOEXEC);
    if (entered < 0 || setns(entered, CLONE_NEWNET)) fail(namespace);
    close(entered);
    int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tun < 0) fail("/dev/net/tun");
    struct ifreq device = {.ifr_name = "line0", .ifr_flags = IFF_TUN | IFF_NO_PI};
    if (ioctl(tun, TUNSETIFF, &device)) fail("TUNSETIFF");
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    configure(control, SIOCSIFADDR, &device, address);
    configure(control, SIOCSIFNETMASK, &device, "255.255.255.0");
    device.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(control, SIOCSIFFLAGS, &device)) fail("line0 up");
    close(control);
    return tun;
}

static double chance(struct way *way) {
    way->random = way->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(way->random >> 11) / 9007199254740992.0;
}

/* When a packet that has come now leaves; 0: never. */
static double leaves(struct way *way, const uint8_t *bytes, int length) {
    double time = now(), due = 0;
    int is_udp = bytes[0] >> 4 == 4 && length > 9 && bytes[9] == UDP;
    pthread_mutex_lock(&line.mutex);
    if (line.up && (line.udp || !is_udp) && chance(way) * 100 >= line.loss) {
        due = time;
        if (line.rate > 0) {
            if (way->busy_until < time) way->busy_until = time;
            if (way->busy_until - time > line.queue) {
                due = 0;
            } else {
                way->busy_until += length * 8 / line.rate;
                due = way->busy_until;
            }
        }
        if (due > 0) due += line.delay;
    }
    pthread_mutex_unlock(&line.mutex);
    return due;
}

static void *receive(void *of) {
    struct way *way = of;
    uint8_t bytes[MTU];
    for (;;) {
        int length = read(way->in, bytes, sizeof bytes);
        if (length < 0 && errno == EINTR) continue;
        if (length <= 0) break;
        double due = leaves(way, bytes, length);
        pthread_mutex_lock(&way->mutex);
        if (due > 0 && way->head - way->tail < WAITING) {
            struct packet *packet = &way->packets[way->head++ % WAITING];
            packet->due = due;
            packet->length = length;
            memcpy(packet->bytes, bytes, length);
            pthread_cond_signal(&way->arrived);
        }
        pthread_mutex_unlock(&way->mutex);
    }
    fail("read line0");
    return NULL;
}

static void *send_on(void *of) {
    struct way *way = of;
    for (;;) {
        pthread_mutex_lock(&way->mutex);
        while (way->head == way->tail) pthread_cond_wait(&way->arrived, &way->mutex);
        struct packet *packet = &way->packets[way->tail % WAITING];
        pthread_mutex_unlock(&way->mutex);
        double wait = packet->due - now();
        if (wait > 0) {
            struct timespec pause = {(time_t)(wait / 1e3), (long)((wait - 1e3 * (long)(wait / 1e3)) * 1e6)};
            nanosleep(&pause, NULL);
        }
        if (write(way->out, packet->bytes, packet->length) < 0) perror("write line0");
        pthread_mutex_lock(&way->mutex);
        way->tail++;
        pthread_mutex_unlock(&way->mutex);
    }
    return NULL;
}

static int command(const char *text) {
    double delay, loss, rate, queue;
    int on, understood = 1;
    pthread_mutex_lock(&line.mutex);
    if (sscanf(text, "set %lf %lf %lf %lf", &delay, &loss, &rate, &queue) == 4) {
        line.delay = delay, line.loss = loss, line.rate = rate, line.queue = queue;
    } else if (sscanf(text, "udp %d", &on) == 1) {
        line.udp = on;
    } else if (sscanf(text, "up %d", &on) == 1) {
        line.up = on;
    } else {
        understood = 0;
    }
    pthread_mutex_unlock(&line.mutex);
    return understood;
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "line NAMESPACE_A ADDRESS_A NAMESPACE_B ADDRESS_B\n");
        return 2;
    }
    int a = open_tun(arguments[1], arguments[2]), b = open_tun(arguments[3], arguments[4]);
    static struct way ways[2];
    for (int i = 0; i < 2; i++) {
        struct way *way = &ways[i];
        way->in = i ? b : a;
        way->out = i ? a : b;
        way->random = 42 + i;
        way->packets = calloc(WAITING, sizeof *way->packets);
        if (!way->packets) fail("calloc");
        pthread_mutex_init(&way->mutex, NULL);
        pthread_cond_init(&way->arrived, NULL);
        pthread_t thread;
        if (pthread_create(&thread, NULL, receive, way) || pthread_create(&thread, NULL, send_on, way)) fail("pthread");
    }
    puts("ready");
    fflush(stdout);
    char text[128];
    while (fgets(text, sizeof text, stdin)) {
        puts(command(text) ? "ok" : "what?");
        fflush(stdout);
    }
    return 0;
}
