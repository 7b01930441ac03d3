/* SPDX-License-Identifier: Unlicense */
/*
 * What a shell is too slow for: the clocks, servers and loops of .ci/bench.
 *
 *   times N COMMAND...     runs each N times, in turn
 *   late MS COMMAND...     starts each often, and listens on PORT after MS
 *   cpu SECONDS COMMAND... runs them side by side for so long, and kills them
 *   serve N [PORT]         listens on N ports from PORT on: prints the first,
 *                          and on SIGTERM how many connections it accepted
 *   hold                   prints a port that is bound, and refuses
 *   bare PORT              checks PORT at portend's pace, and does no more
 *
 * A COMMAND is one argument of words without blanks. The first three print a
 * line for each of them: microseconds it took (of late: after listen), CPU time
 * in microseconds, the processes it consisted of (of cpu: KiB it had at most),
 * and its exit status (of cpu: 0). Of several runs the first is the median, the
 * second the mean, and the others are the largest.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LATE_RUNS = 15, LATE_APART_MS = 50 };

#define MS INT64_C(1000000)

struct result {
	int64_t ns, cpu_us;
	long size;              /* processes, or KiB */
	int status;
};

static volatile sig_atomic_t ended;

static void on_term(int number)
{
	ended = number;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void sleep_until(int64_t when)
{
	struct timespec t = { when / (1000 * MS), when % (1000 * MS) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

/* A process that ends when this one does. */
static void become(char **words)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	close(null);
	execvp(words[0], words);
	_exit(127);
}

/* PORT at the end of a word stands for port. */
static pid_t start(const char *command, int port)
{
	static char copy[65536], with_port[256], *words[2048];
	int n = 0;
	pid_t child;

	if (strlen(command) >= sizeof copy)
		exit(1);
	strcpy(copy, command);
	for (char *w = copy; n < 2047 && (w = strtok(w, " ")); w = NULL) {
		char *end = strstr(w, "PORT");

		words[n++] = w;
		if (end) {
			snprintf(with_port, sizeof with_port, "%.*s%d",
			         (int)(end - w), w, port);
			words[n - 1] = with_port;
		}
	}
	words[n] = NULL;
	child = vfork();
	if (child == 0)
		become(words);
	if (child < 0)
		die("vfork");
	return child;
}

static void finish(pid_t child, struct result *r)
{
	struct rusage used;
	int status;

	while (wait4(child, &status, 0, &used) < 0)
		if (errno != EINTR)
			die("wait4");
	r->cpu_us = used.ru_utime.tv_usec + used.ru_stime.tv_usec +
	            (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000;
	r->status = WIFEXITED(status) ? WEXITSTATUS(status) :
	            128 + WTERMSIG(status);
}

/* Process IDs are given in turn: how many since that of child? */
static long processes_since(pid_t child)
{
	pid_t next = vfork();

	if (next == 0)
		_exit(0);
	waitpid(next, NULL, 0);
	return next - child;
}

static int by_ns(const void *a, const void *b)
{
	int64_t x = ((const struct result *)a)->ns;
	int64_t y = ((const struct result *)b)->ns;

	return (x > y) - (x < y);
}

static void report(struct result *r, int n)
{
	struct result sum = { 0, 0, 0, 0 };

	for (int i = 0; i < n; i++) {
		sum.cpu_us += r[i].cpu_us;
		if (r[i].size > sum.size)
			sum.size = r[i].size;
		if (r[i].status > sum.status)
			sum.status = r[i].status;
	}
	qsort(r, n, sizeof *r, by_ns);
	printf("%.1f %.1f %ld %d\n", r[n / 2].ns / 1e3, (double)sum.cpu_us / n,
	       sum.size, sum.status);
}

static void times(int n, int count, char **commands)
{
	struct result *all = calloc(n * count, sizeof *all);

	if (!all)
		die("times");
	for (int i = 0; i < n; i++)
		for (int k = 0; k < count; k++) {
			struct result *r = &all[k * n + i];
			int64_t begun = now();
			pid_t child = start(commands[k], 0);

			finish(child, r);
			r->ns = now() - begun;
			r->size = processes_since(child);
		}
	for (int k = 0; k < count; k++)
		report(all + k * n, n);
}

/* A socket bound to port of 127.0.0.1, or to any: then *port is set. */
static int bound(int *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET };
	socklen_t size = sizeof name;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	name.sin_port = htons(*port);
	if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0)
		die("bind");
	getsockname(fd, (struct sockaddr *)&name, &size);
	*port = ntohs(name.sin_port);
	return fd;
}

static struct result late_once(int64_t after, const char *command)
{
	struct result r = { 0, 0, 0, 0 };
	int port = 0, fd = bound(&port);
	int64_t begun = now();
	pid_t child = start(command, port);

	sleep_until(begun + after);
	begun = now();
	if (listen(fd, 64) < 0)
		die("listen");
	finish(child, &r);
	r.ns = now() - begun;
	return r;
}

/* Each run listens a bit later, so that they fall anywhere between checks. */
static void late(int ms, int count, char **commands)
{
	struct result all[LATE_RUNS];
	int (*pipes)[2] = calloc(count, sizeof *pipes);

	for (int k = 0; k < count; k++)
		if (!pipes || pipe(pipes[k]) < 0)
			die("pipe");
	for (int i = 0; i < LATE_RUNS; i++)
		for (int k = 0; k < count; k++) {
			sleep_until(now() + LATE_APART_MS * MS / count);
			if (fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				all[0] = late_once(ms * MS + i * ms * MS / 150,
				                   commands[k]);
				if (write(pipes[k][1], all, sizeof *all) < 0)
					die("write");
				_exit(0);
			}
		}
	for (int k = 0; k < count; k++) {
		for (int i = 0; i < LATE_RUNS; i++)
			if (read(pipes[k][0], &all[i], sizeof *all) < 0)
				die("read");
		report(all, LATE_RUNS);
	}
}

static long peak_kib(pid_t process)
{
	char path[64], line[256];
	long kib = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", (int)process);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		sscanf(line, "VmHWM: %ld", &kib);
	if (file)
		fclose(file);
	return kib;
}

static void cpu(int seconds, int count, char **commands)
{
	pid_t *children = calloc(count, sizeof *children);
	int64_t begun = now();

	if (!children)
		die("cpu");
	for (int k = 0; k < count; k++)
		children[k] = start(commands[k], 0);
	sleep_until(begun + seconds * 1000 * MS);
	for (int k = 0; k < count; k++) {
		struct result r = { .size = peak_kib(children[k]) };

		kill(-children[k], SIGKILL);
		finish(children[k], &r);
		r.status = 0;
		report(&r, 1);
	}
}

static void serve(int count, int port)
{
	struct rlimit limit = { count + 64, count + 64 };
	struct pollfd first = { .events = POLLIN };
	int accepted = 0;

	signal(SIGTERM, on_term);
	if (count > 1)
		setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < count; i++) {
		int number = port ? port + i : 0, fd = bound(&number);

		if (listen(fd, 1024) < 0)
			die("listen");
		if (i == 0) {
			printf("%d\n", number);
			fflush(stdout);
			first.fd = fd;
			fcntl(fd, F_SETFL, O_NONBLOCK);
		}
	}
	for (;;) {
		int over = ended, fd = accept(first.fd, NULL, NULL);

		if (fd >= 0) {
			accepted++;
			close(fd);
		} else if (over) {
			break;
		} else {
			poll(&first, 1, 50);
		}
	}
	printf("%d\n", accepted);
}

/* One check, with the calls that it takes and without anything else. */
static void check(const struct sockaddr_in *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd answer = { .fd = fd, .events = POLLOUT };
	int error;
	socklen_t size = sizeof error;

	setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 }, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
	           sizeof(struct linger));
	if (connect(fd, (const struct sockaddr *)name, sizeof *name) == 0 ||
	    errno == EINPROGRESS) {
		poll(&answer, 1, 2000);
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	close(fd);
}

static void bare(int port)
{
	struct sockaddr_in name = { .sin_family = AF_INET };
	int64_t begun = now();

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	name.sin_port = htons(port);
	for (;;) {
		int64_t round = now(), pause = (round - begun) / 100;

		check(&name);
		if (pause < MS)
			pause = MS;
		if (pause > 100 * MS)
			pause = 100 * MS;
		if (pause < (now() - round) * 10)
			pause = (now() - round) * 10;
		sleep_until(now() + pause);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!strcmp(mode, "times") && argc > 3 && n > 0) {
		times(n, argc - 3, argv + 3);
	} else if (!strcmp(mode, "late") && argc > 3) {
		late(n, argc - 3, argv + 3);
	} else if (!strcmp(mode, "cpu") && argc > 3) {
		cpu(n, argc - 3, argv + 3);
	} else if (!strcmp(mode, "serve")) {
		serve(n, argc > 3 ? atoi(argv[3]) : 0);
	} else if (!strcmp(mode, "bare")) {
		bare(n);
	} else if (!strcmp(mode, "hold")) {
		bound(&n);
		printf("%d\n", n);
		fflush(stdout);
		pause();
	} else {
		return 2;
	}
	return 0;
}
