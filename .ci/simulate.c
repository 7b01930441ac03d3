/*
 * A simulated world for portend: portend.c, compiled as it is, makes its calls
 * here, in a kernel with a network, name servers and a clock of its own. A wait
 * of an hour takes a moment, the process can be stopped between any two calls,
 * any call can fail, and what is so in the world is known: what portend says is
 * held against that. .ci/simulate builds and runs it, and says how.
 *
 * A world is a struct of ints, of which 0 is always the plainest. Tables say
 * how each is drawn; its name there describes a world ("a5.rtt=20": address 5
 * of all, which is the second one of target 1). All that happens follows from
 * these ints, and no state survives from one world to the next. A violation is
 * shrunk by making ints smaller as long as the same rule is violated.
 *
 * To add a fault of a call: an errno in "calls". What a server or an address
 * can do: a word in its enum, a digit in its bag, and a case where it is acted
 * out. What must hold: a function in "rules", and its section of SPEC.md.
 *
 * Everywhere t is a target, i one of its addresses, s a name server, f a family
 * (0: A and IPv4, 1: AAAA and IPv6), n a descriptor and d what is behind it.
 * Times are nanoseconds since the world began, but ms in the world's ints.
 *
 * SPDX-License-Identifier: Unlicense
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The world */

enum {
	TARGETS = 6,                    /* those behind are like them */
	TARGETS_MAX = 200, ADDRESSES = 4, SERVERS = 4, FAULTS = 3, STOPS = 3,
	PORT = 1000, PORTS = 8,         /* of target 0; of each target */
	DESCRIPTORS = 1024, PACKETS = 2048,
};
#define MS 1000000LL
#define SECOND (1000 * MS)
#define HORIZON (40 * SECOND)           /* of a wait without an end */
#define NEVER (INT64_MAX / 16)
#define LENGTH(array) ((int)(sizeof (array) / sizeof *(array)))

enum behaviour {                        /* of an address */
	REFUSES, ACCEPTS, SILENT,
	FULL,                           /* listens, but its queue is full */
	UNREACHABLE,                    /* says ICMP */
	NO_ROUTE, BLACKHOLE,            /* says connect(2) */
	PROHIBITED, BLOCKED, NO_PORT,   /* trouble of ours, says connect(2) */
	ODD_ICMP,                       /* POLLERR, but SO_ERROR is 0 */
	SELF,                           /* connect(2) gets to itself */
	RESETS,                         /* accepts, and resets at once */
	BEHAVIOURS
};
enum says {                             /* of a name server */
	TRUTH, DENIES, EMPTY, SERVFAIL, REFUSED, NOTIMP, LAME, MUTE, CLOSED,
	ROUTELESS,                      /* says connect(2) */
	BARE,                           /* REFUSED, without a question */
	TRUNCATES, TRUNCATED_FAILURE,
	LIES,                           /* another ID, then the truth */
	FIREWALLED,                     /* send(2): EPERM */
	SAYS
};
enum stream {                           /* its TCP */
	ANSWERS, STREAM_REFUSES, STALLS, STREAM_SILENT, STREAM_FAILS, CLOSES,
	STREAM_TRUNCATES
};
enum kind { LITERAL, LOCALHOST, HOSTS, DNS, UNIX };
enum state { OCCUPIED, FREE, ASSERT_FREE };

static struct world {
	struct options {
		int timeout, connect_timeout, stable, any, verbose, quiet, pid,
			endless, find, limit, closed, targets, crowd, servers,
			domains, long_domain, ndots, absolute, hosts_at,
			resolv_at, resolv_first, hosts_bad, resolv_bad, cost,
			old_kernel, ipv6_off, use_vc, no_aaaa, blocked,
			spurious, salt;
	} o;
	struct target {
		int kind, state, more, exists, crowd, dots, rotates, range,
			taken;
	} t[TARGETS];
	struct address {
		int first, second_at, second, third_at, third, rtt, lost, ends,
			resets, talks, is_ipv6, is_local, from, until, hidden;
	} a[TARGETS * ADDRESSES];
	struct server {
		int says, a_says, aaaa_says, stream, delay, aaaa_delay, lost,
			from, nat, middlebox, doubles, is_ipv6, fails;
	} s[SERVERS];
	struct fault {
		int call, nth, more, error;
	} f[FAULTS];
	struct stop {
		int nth, ms;
	} p[STOPS];
} world;

/* A field is 0 but for some percent of the worlds; then it is one of the digits
 * in its bag ('0' + value), or 1 to most, small ones as often as large ones. */
struct field {
	const char *name;
	int percent, most;
	bool is_change;                 /* 0 in worlds that do not change */
	const char *bag;
};

static const struct field option_fields[] = {
	{ "timeout", 88, 8000 },	/* 0: -t 0 */
	{ "connect_timeout", 50, 4000 },	/* 0: 2 s */
	{ "stable", 12, 1500 }, { "any", 8, 1 }, { "verbose", 60, 1 },
	{ "quiet", 5, 1 },
	{ "pid", 8, 4000, 1 },		/* -p: it ends then */
	{ "endless", 3, 1, 1 },		/* without -t */
	{ "find", 8, 1 },
	{ "limit", 10, 64, 1 },		/* 32 and that: descriptors */
	{ "closed", 6, 7 },		/* a set: 0, 1 and 2 */
	{ "targets", 45, TARGETS - 1 },	/* and one */
	{ "crowd", 1, TARGETS_MAX - TARGETS },	/* and that many */
	{ "servers", 60, SERVERS },	/* 0: 127.0.0.1 */
	{ "domains", 25, 3 },		/* of the search list */
	{ "long_domain", 8, 80 },	/* the first, but not a name */
	{ "ndots", 25, 4 },
	{ "absolute", 5, 1 },		/* names have a final dot */
	{ "hosts_at", 5, 4000, 1 },	/* then /etc/hosts has names */
	{ "resolv_at", 8, 4000, 1 },	/* then it has its servers, */
	{ "resolv_first", 50, 1 },	/* before a dead one, or none */
	{ "hosts_bad", 2, 2 },		/* EACCES, ENOENT */
	{ "resolv_bad", 2, 2 },
	{ "cost", 40, 30 },		/* us of a call, and one */
	{ "old_kernel", 20, 1 },	/* SYNs as before 6.5 */
	{ "ipv6_off", 5, 2 },		/* by no module, by sysctl */
	{ "use_vc", 3, 1 }, { "no_aaaa", 3, 1 },
	{ "blocked", 6, 5000, 1 },	/* standard error, till then */
	{ "spurious", 8, 1, 1 },	/* short reads, early ppoll */
	{ "salt", 100, 1 << 20 },
};
static const struct field target_fields[] = {
	{ "kind", 90, 0, 0, "011223333333334" }, { "state", 60, 0, 0, "11112" },
	{ "more", 40, ADDRESSES - 1 },	/* addresses */
	{ "exists", 30, 0, 0, "112349" },	/* candidate that does */
	{ "crowd", 3, 140 },		/* silent addresses besides */
	{ "dots", 30, 3 },
	{ "rotates", 4, 1, 1 },		/* one address at a time */
	{ "range", 60, 3 },		/* of find */
	{ "taken", 60, 15 },		/* a set of its ports */
};
static const struct field address_fields[] = {
	{ "first", 70, 0, 0, "11111111122223445678999:::;<" },
	{ "second_at", 25, 6000, 1 },
	{ "second", 70, 0, 0, "1111111122234569;" },
	{ "third_at", 30, 4000 },	/* after that */
	{ "third", 70, 0, 0, "1111123" }, { "rtt", 50, 1500 },
	{ "lost", 12, 3 },		/* SYNs of each connection */
	{ "ends", 10, 3000, 1 },	/* a connection, after that */
	{ "resets", 50, 1 },		/* by RST */
	{ "talks", 10, 500 },		/* says something after that */
	{ "is_ipv6", 40, 1 },
	{ "is_local", 25, 1 },		/* of this machine */
	{ "from", 5, 3000, 1 },		/* the name has it then */
	{ "until", 4, 3000, 1 },	/* and for that long */
	{ "hidden", 50, 1 },		/* if truncated */
};
static const struct field server_fields[] = {
	{ "says", 55, 0, 0, "123456677889::;;;;<=>" },
	{ "a_says", 15, 0, 0, "12347;<=>" },	/* if it differs */
	{ "aaaa_says", 20, 0, 0, "1237777;<=>" }, { "stream", 50, 6 },
	{ "delay", 60, 2500 },
	{ "aaaa_delay", 10, 2500 },	/* besides */
	{ "lost", 12, 3, 1 },		/* first questions */
	{ "from", 6, 4000, 1 },		/* it is there then */
	{ "nat", 6, 900, 1 },		/* kills ports of before */
	{ "middlebox", 6, 1 },		/* passes one answer a port */
	{ "doubles", 8, 9 },		/* its answers */
	{ "is_ipv6", 15, 1 },
	{ "fails", 5, 3 },		/* for that candidate, and 1 */
};
static const struct field fault_fields[] = {
	{ "call", 18, 16, 1 },
	{ "nth", 100, 60 },		/* from this one on */
	{ "more", 50, 200 }, { "error", 80, 7 },
};
static const struct field stop_fields[] = {
	{ "nth", 15, 250, 1 },		/* before this call */
	{ "ms", 100, 10000 },
};

#define GROUP(letter, part, fields) { letter, (int *)&part, \
	sizeof part / (LENGTH(fields) * sizeof (int)), LENGTH(fields), fields }
static const struct group {
	char letter;
	int *ints, count, length;
	const struct field *fields;
} groups[] = {
	GROUP('o', world.o, option_fields), GROUP('t', world.t, target_fields),
	GROUP('a', world.a, address_fields), GROUP('s', world.s, server_fields),
	GROUP('f', world.f, fault_fields), GROUP('p', world.p, stop_fields),
	{ 0, NULL, 0, 0, NULL },
};

static uint64_t mix(uint64_t x)         /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static int draw_field(uint64_t *state, const struct field *field)
{
	int bits = 0;
	if ((int)(mix(++*state) % 100) >= field->percent)
		return 0;
	if (field->bag)
		return field->bag[mix(++*state) % strlen(field->bag)] - '0';
	while (field->most >> bits)
		bits++;
	if (field->most > 16)
		bits = 1 + mix(++*state) % bits;
	return 1 + mix(++*state) % (1 << bits) % field->most;
}

/* What contradicts itself is made plain; a crowd would take too long. */
static void settle_world(void)
{
	struct options *o = &world.o;
	if (o->crowd && (o->timeout > 1000 || o->endless))
		o->timeout %= 1000, o->endless = 0;
	if (o->find)
		o->stable = o->any = o->pid = o->endless = o->crowd = 0;
	if (o->timeout > 0 && o->stable > o->timeout && !o->endless)
		o->stable = o->timeout;
	for (int t = 0; t < TARGETS; t++)
		if (world.t[t].state == ASSERT_FREE)
			o->any = 0;
}

/* One in four does not change, and one in four only by itself. */
static void draw_world(uint64_t seed)
{
	uint64_t state = mix(seed);
	int calm = mix(seed + 1) % 4;
	for (const struct group *g = groups; g->letter; g++)
		for (int k = 0; k < g->count * g->length; k++) {
			const struct field *field = &g->fields[k % g->length];
			int value = draw_field(&state, field);
			bool is_plain = calm == 0 ? field->is_change
				: calm == 1 && strchr("fp", g->letter);
			g->ints[k] = is_plain ? 0 : value;
		}
	settle_world();
}

/* What its ints mean */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t timeout(void)            /* NEVER without -t */
{
	return world.o.endless ? NEVER : world.o.timeout * MS;
}

static int64_t connect_timeout(void)
{
	return world.o.connect_timeout ? world.o.connect_timeout * MS
		: 2 * SECOND;
}

static int target_count(void) { return 1 + world.o.targets + world.o.crowd; }
static const struct target *target(int t) { return &world.t[t % TARGETS]; }

static const struct server *server(int s)       /* one beyond is dead */
{
	static const struct server dead = { .says = MUTE };
	return s < SERVERS ? &world.s[s] : &dead;
}

static bool is_name(int t)
{
	return target(t)->kind == HOSTS || target(t)->kind == DNS;
}

static int address_count(int t)
{
	int crowd = world.o.crowd ? 0 : target(t)->crowd;
	return is_name(t) ? 1 + target(t)->more + crowd
		: 1 + (target(t)->kind == LOCALHOST);
}

static const struct address *address(int t, int i)
{
	static const struct address silent = { .first = SILENT };
	return is_name(t) && i > target(t)->more ? &silent
		: &world.a[t % TARGETS * ADDRESSES + i];
}

static bool is_ipv6(int t, int i)
{
	return target(t)->kind == LOCALHOST ? i == 1
		: address(t, i)->is_ipv6 && target(t)->kind != UNIX;
}

static bool is_ours(int t, int i)
{
	return target(t)->kind == LOCALHOST || target(t)->kind == UNIX ||
	       address(t, i)->is_local;
}

static int64_t rtt(int t, int i)
{
	return is_ours(t, i) ? 0 : MS / 5 + address(t, i)->rtt * MS;
}

/* Leaves in *next when it changes. */
static enum behaviour behaviour_at(int t, int i, int64_t time, int64_t *next)
{
	const struct address *a = address(t, i);
	int64_t second = a->second_at ? a->second_at * MS : NEVER;
	int64_t third = a->third_at ? second + a->third_at * MS : NEVER;
	*next = time < second ? second : time < third ? third : NEVER;
	return time < second ? a->first : time < third ? a->second : a->third;
}

static bool is_listed(int t, int i, int64_t time)
{
	int64_t from = address(t, i)->from * MS;
	int64_t size = address(t, i)->until * MS;
	return time >= from && (!size || time < from + size);
}

/* Of t < 0 the address of name server i: 10.0.t.i or 2001:db8::t:i, of this
 * machine 127.1.t.i, 10.1.t.i or 2001:db8:1::t:i. */
static const char *address_text(int t, int i)
{
	static char text[INET6_ADDRSTRLEN];
	bool ipv6 = t < 0 ? server(i)->is_ipv6 : is_ipv6(t, i);
	int net = t < 0 ? 2 : is_ours(t, i);
	if (t >= 0 && target(t)->kind == LOCALHOST)
		return ipv6 ? "::1" : "127.0.0.1";
	sprintf(text, ipv6 ? "2001:db8:%.0d%x::%x:%x" : "%d.%d.%d.%d", ipv6 ? 0
		: net == 1 && i % 2 ? 127 : 10, net, t < 0 ? 0 : t, i + 1);
	return text;
}

/* Writes the address; returns its length. */
static int put_bytes(int t, int i, unsigned char *bytes)
{
	const char *text = address_text(t, i);
	bool ipv6 = strchr(text, ':');
	inet_pton(ipv6 ? AF_INET6 : AF_INET, text, bytes);
	return ipv6 ? 16 : 4;
}

/* The host as it is given, but for brackets; the path of a socket. */
static const char *host_text(int t)
{
	static const char *const dots[] = { "", ".a", ".a.b", ".a.b.c" };
	static char text[64];
	if (target(t)->kind == LITERAL)
		return address_text(t, 0);
	if (target(t)->kind == LOCALHOST)
		return "localhost";
	sprintf(text, is_name(t) ? "n%d%s%s" : "/run/s%d", t,
		dots[target(t)->dots], world.o.absolute && target(t)->kind ==
		DNS ? "." : "");
	return text;
}

/* What happens in it */

struct packet {                         /* an answer on its way */
	struct packet *next;
	int64_t at;
	int s, t, f, candidate, size;
	unsigned char question[300];    /* with the header, as it came */
};

enum sort { NONE, STANDARD, DIRECTORY, TEXT, TCP, UDP, LOCAL, PIDFD };

struct file {                           /* behind a descriptor */
	enum sort sort;
	int family, t, i, s, k;         /* whom it goes to; -1: nobody */
	int error;                      /* of connect(2), when answered */
	int port;                       /* that find has bound */
	bool is_connected, is_self, is_reset, is_told, is_odd_told, has_talked;
	bool is_quick, is_rst, is_freebind, has_passed;
	int64_t born, asked, answered, ended, talks, odd;       /* by ICMP */
	struct packet *packets;         /* by time */
	size_t size, next;              /* of a text; of an answer by TCP */
};

static struct run {                     /* all that a run changes */
	int64_t now, ended, stopped_at, stopped_for;
	int64_t started;                /* the first reading of the clock */
	int calls, counts[32], faults, idle, work, top, status;
	int questions[SERVERS + 1];     /* asked so far */
	bool is_executed, is_cut, is_seen[256];         /* by errno */
	bool is_accepted[TARGETS_MAX];  /* for as long as -s wants */
	bool is_asked[TARGETS_MAX];
	int64_t asks[TARGETS_MAX][ADDRESSES][2];        /* the last two */
	int64_t accepted[TARGETS_MAX][ADDRESSES];       /* the last one */
	size_t out_size, err_size, memory_size;
	struct packet *unused;
} run;

static char out[1 << 16], err[1 << 16], violation[256];
static struct file files[DESCRIPTORS];
static struct packet packets[PACKETS];
static unsigned char memory[1 << 25];
static char texts[2][1 << 16];          /* resolv.conf, hosts */
static jmp_buf end_of_run;
static bool is_running, is_tracing;
static long coverage[32][256];          /* errnos by call, in all worlds */
static long said[SAYS], ends[256];      /* by name servers; by status */

enum call { SOCKET, CONNECT, SEND, RECV, PPOLL, OPENAT, READ, WRITE, BIND, MMAP,
	GETRANDOM, POLL, FSTAT, EXECVP, PIDFD_OPEN, CLOCK, SETSOCKOPT,
	GETSOCKOPT, GETSOCKNAME, GETPEERNAME, CLOSE, CALLS };
static const struct {
	const char *name;
	int errors[6];                  /* that it may be made to fail with */
} calls[CALLS] = {
	{ "socket", { EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM } },
	{ "connect", { EAGAIN, ENOMEM, ENOBUFS, EPERM, EADDRNOTAVAIL } },
	{ "send", { EPERM, ENOBUFS, EAGAIN, ENOMEM } },
	{ "recv", { EINTR, EAGAIN, ENOMEM } }, { "ppoll", { EINTR, ENOMEM } },
	{ "openat", { EMFILE, ENFILE, ENOMEM } }, { "read", { EIO, ENOMEM } },
	{ "write", { EINTR, EPIPE } }, { "bind", { ENOMEM, EACCES, EPERM } },
	{ "mmap", { ENOMEM } }, { "getrandom", { EAGAIN, ENOSYS } },
	{ "poll", { EINTR, ENOMEM } }, { "fstat", { EIO } },
	{ "execvp", { ENOENT, EACCES, ENOEXEC, ENOTDIR } },
	{ "pidfd_open", { ENOSYS, EPERM, EMFILE } },
	{ "clock_gettime", { 0 } }, { "setsockopt", { 0 } },
	{ "getsockopt", { 0 } }, { "getsockname", { 0 } },
	{ "getpeername", { 0 } }, { "close", { 0 } },
};

__attribute__((format(printf, 1, 2)))
static void trace(const char *format, ...)
{
	va_list list;
	if (!is_tracing)
		return;
	printf("%11.6f  ", run.now / 1e9);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
}

static void end_run(void)
{
	run.ended = run.now;
	if (is_running)
		longjmp(end_of_run, 1);
}

/* Of the first violation the rule, which begins with its section of SPEC.md, a
 * target or the like, and a number. It ends the run. */
static inline void must(bool holds, const char *rule, int which, int64_t number)
{
	if (holds || *violation)
		return;
	sprintf(violation, "%s: %d, %lld", rule, which, (long long)number);
	trace("VIOLATION %s", violation);
	end_run();
}

static int fail(enum call call, int error)
{
	run.is_seen[error & 255] = true;
	coverage[call][error & 255]++;
	trace("  %s", strerrorname_np(error));
	errno = error;
	return -1;
}

static uint32_t random_number(void)
{
	return mix((uint64_t)world.o.salt << 32 | run.calls) >> 16;
}

static void pass_time(int64_t until)
{
	run.now = until;
	run.is_cut = run.now > HORIZON;
	if (run.is_cut)
		end_run();
}

/* The process may be stopped before this call, or while it waits in it. */
static void stop(void)
{
	for (struct stop *p = world.p; p < world.p + STOPS; p++)
		if (p->nth == run.calls) {
			trace("(stopped for %d ms)", p->ms);
			run.stopped_at = run.now += p->ms * MS;
			run.stopped_for += p->ms * MS;
		}
}

/* Each call begins here: time passes, and it may be made to fail. */
static bool fails(enum call call, int n, int detail)
{
	int nth = ++run.counts[call], kinds = 0;
	trace("%s(%d, %d)", calls[call].name, n, detail);
	coverage[call][0]++;
	run.calls++;
	must(run.calls < 4000000, "5: no busy loop", n, run.calls);
	pass_time(run.now + 1000 + 1000 * world.o.cost);
	if (call != PPOLL)
		stop();
	while (calls[call].errors[kinds])
		kinds++;
	for (struct fault *f = world.f; kinds && f < world.f + FAULTS; f++)
		if (f->call == (int)call + 1 && nth >= f->nth &&
		    nth <= f->nth + f->more) {
			run.faults++;
			return fail(call, calls[call].errors[f->error % kinds]);
		}
	return false;
}

static struct file *file(int n)
{
	must(n >= 0 && n < DESCRIPTORS && files[n].sort,
		"8: only open descriptors are used", n, 0);
	return &files[n];
}

/* The lowest descriptor that is free, or EMFILE. */
static int new_file(enum call call, enum sort sort, bool is_cloexec)
{
	int limit = world.o.limit ? 32 + world.o.limit : DESCRIPTORS, n = 0;
	while (n < limit && files[n].sort)
		n++;
	if (n == limit)
		return fail(call, EMFILE);
	must(is_cloexec, "8: no descriptor is left for COMMAND", n, sort);
	must(n > 2 || sort == DIRECTORY, "8: 0 to 2 never become ours", n, 0);
	files[n] = (struct file){ .sort = sort, .t = -1, .s = -1,
		.is_quick = true, .born = run.now, .answered = NEVER,
		.ended = NEVER, .talks = NEVER, .odd = NEVER };
	run.top = most(run.top, n + 1);
	return n;
}

/* The kernel: connections, as Linux 6.18 has them */

static bool is_established(const struct file *d)
{
	return d->answered <= run.now && !d->error &&
	       !(d->is_reset && d->ended <= run.now);
}

/* An acceptance lasts until its end, or that of the server. */
static void accept_at(struct file *d, int64_t time, bool is_reset)
{
	const struct address *a = address(d->t, d->i);
	int64_t next = d->answered = time;
	d->is_reset = is_reset || a->resets;
	while (next < NEVER && behaviour_at(d->t, d->i, next, &next) == ACCEPTS)
		d->ended = next;
	if (a->ends || is_reset)
		d->ended = least(d->ended, time + !is_reset * a->ends * MS);
	if (a->talks && time + a->talks * MS < d->ended)
		d->talks = time + a->talks * MS;
}

/* What becomes of a SYN; false: nothing, and it is sent again. */
static bool syn_arrives(struct file *d, int64_t sent)
{
	static const int icmp[] = { EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT,
		EACCES };
	int64_t back = sent + rtt(d->t, d->i), next;
	enum behaviour b = behaviour_at(d->t, d->i, (sent + back) / 2, &next);
	if (b == ODD_ICMP)
		d->odd = least(d->odd, back);
	if (b == SILENT || b == FULL || b == ODD_ICMP)
		return false;
	d->answered = back;
	d->is_self = b == SELF && is_ours(d->t, d->i);
	if (b == ACCEPTS || b == RESETS)
		accept_at(d, back, b == RESETS);
	else if (!d->is_self)
		d->error = b == UNREACHABLE ? icmp[(d->t + d->i) % 4]
			: ECONNREFUSED;
	return true;
}

/* When a SYN is repeated: at first each second, or doubled throughout before
 * Linux 6.5 (net.ipv4.tcp_syn_linear_timeouts). The last is the end. */
static int64_t syn_time(int k)
{
	static const int linear[] = { 0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67,
		131 };
	return SECOND * (world.o.old_kernel ? (1 << k) - 1 : linear[k]);
}

static void tcp_connect(struct file *d)
{
	int last = world.o.old_kernel ? 7 : 11;
	for (int k = address(d->t, d->i)->lost; k < last; k++)
		if (syn_arrives(d, run.now + syn_time(k)))
			return;
	d->answered = run.now + syn_time(last);
	d->error = ETIMEDOUT;
}

static int64_t server_delay(int s, int f)
{
	return MS / 5 + (server(s)->delay + f * server(s)->aaaa_delay) * MS;
}

static void server_connect(struct file *d)
{
	int how = server(d->s)->stream;
	d->answered = run.now + MS / 5 + server_delay(d->s, 0) / 4;
	if (how == STREAM_REFUSES || run.now < server(d->s)->from * MS)
		d->error = ECONNREFUSED;
	else if (how == STREAM_SILENT || d->s == SERVERS)
		d->answered = NEVER;
}

/* What connect(2) says at once; 0: nothing. */
static int connect_error(struct file *d)
{
	static const struct {
		int tcp, udp, local;
	} errors[BEHAVIOURS] = {
		[REFUSES] = { 0, 0, ECONNREFUSED }, [SILENT] = { 0, 0, ENOENT },
		[FULL] = { 0, 0, EAGAIN }, [UNREACHABLE] = { 0, 0, ENOTDIR },
		[NO_ROUTE] = { ENETUNREACH, ENETUNREACH, ENOENT },
		[BLACKHOLE] = { EINVAL, EINVAL, ECONNREFUSED },
		[PROHIBITED] = { EACCES, EACCES, EACCES },
		[BLOCKED] = { EPERM, 0, EPERM },
		[NO_PORT] = { EADDRNOTAVAIL, 0, EAGAIN },
		[ODD_ICMP] = { 0, 0, ENOENT }, [SELF] = { 0, 0, ECONNREFUSED },
	};
	int64_t next;
	if (d->t < 0)
		return d->sort == LOCAL ? ENOENT : d->s >= 0 &&
			server(d->s)->says == ROUTELESS ? ENETUNREACH : 0;
	enum behaviour b = behaviour_at(d->t, d->i, run.now, &next);
	int local = errors[b].local;
	if (d->sort == LOCAL && !local)
		accept_at(d, run.now, b == RESETS);
	run.is_accepted[d->t] |= d->sort == LOCAL && local == EAGAIN &&
		!world.o.stable;
	return d->sort == LOCAL ? local : d->sort == UDP ? errors[b].udp
		: errors[b].tcp;
}

/* Whose address is that? Port 53 is that of name servers. */
static void find_peer(struct file *d, const struct sockaddr *to)
{
	bool ipv6 = to->sa_family == AF_INET6;
	const struct sockaddr_in *in = (const void *)to;
	const unsigned char *wanted = ipv6 ? ((const struct sockaddr_in6 *)to)->
		sin6_addr.s6_addr : (const void *)&in->sin_addr;
	unsigned char bytes[16];
	int size = ipv6 ? 16 : 4, port = ntohs(in->sin_port);
	d->t = d->s = -1;
	d->i = d->k = 0;
	if (to->sa_family == AF_UNIX) {
		sscanf(((struct sockaddr_un *)to)->sun_path, "/run/s%d", &d->t);
	} else if (port == 53) {        /* on loopback it is a dead one */
		bool is_one = wanted[ipv6 ? 5 : 1] == 2;
		d->s = is_one ? wanted[size - 1] - 1 : world.o.servers ? SERVERS
			: 0;
	} else if (port >= PORT && port < PORT + PORTS * target_count()) {
		d->t = (port - PORT) / PORTS;
		d->k = (port - PORT) % PORTS;
		while (put_bytes(d->t, d->i, bytes) != size ||
		       memcmp(bytes, wanted, size) != 0)
			if (++d->i == address_count(d->t)) {
				d->t = -1;
				break;
			}
	}
}

/* Not three times within what is hardly more than a pause. */
static void check_pace(const struct file *d)
{
	int64_t *asks = run.asks[d->t][d->i % ADDRESSES];
	int64_t waited = run.now - run.started;
	bool is_last = waited > timeout() - 20 * MS ||
		(world.o.pid && run.now >= (world.o.pid - 1) * MS);
	if (d->i >= ADDRESSES)
		return;
	must(!asks[0] || is_last || target(d->t)->kind == DNS ||
		run.now - asks[0] >= least(waited / 100, 100 * MS),
		"5: a pause of a hundredth", d->t, run.now - asks[0]);
	asks[0] = asks[1];
	asks[1] = run.now;
}

int sim_socket(int family, int type, int protocol)
{
	bool is_udp = (type & 15) == SOCK_DGRAM;
	if (fails(SOCKET, family, is_udp))
		return -1;
	if (family == AF_INET6 && world.o.ipv6_off == 1)
		return fail(SOCKET, EAFNOSUPPORT);
	int n = new_file(SOCKET, family == AF_UNIX ? LOCAL : is_udp ? UDP : TCP,
		type & SOCK_CLOEXEC);
	if (n >= 0)
		files[n].family = family;
	return n;
}

int sim_connect(int n, const struct sockaddr *to, socklen_t size)
{
	struct file *d = file(n);
	find_peer(d, to);
	trace("to target %d address %d, or server %d", d->t, d->i, d->s);
	if (fails(CONNECT, n, d->t)) {  /* as the kernel could have it */
		int odd = d->sort == UDP ? EADDRNOTAVAIL : EAGAIN;
		return errno == odd || d->sort == LOCAL ? fail(CONNECT, ENOMEM)
			: -1;
	}
	int error = to->sa_family == AF_INET6 && world.o.ipv6_off ?
		EADDRNOTAVAIL : connect_error(d);
	if (d->t >= 0 && d->sort != UDP)
		check_pace(d);
	d->asked = run.now;
	d->is_connected = !error;
	run.is_asked[most(d->t, 0)] |= d->t >= 0 && !error;
	if (error || d->sort != TCP)
		return error ? fail(CONNECT, error) : 0;
	if (d->s >= 0)
		server_connect(d);
	else if (d->t >= 0)
		tcp_connect(d);
	return fail(CONNECT, EINPROGRESS);
}

/* At its end: a quiet probe is closed within 0.2 s, by RST. With -s one counts
 * that stayed, and what has come is read first, or close(2) resets it. */
static void check_end(const struct file *d)
{
	int64_t open = run.now - most(d->answered, d->asked);
	if ((d->sort != TCP && d->sort != LOCAL) || d->t < 0 || d->error ||
	    d->answered > run.now || d->is_self || d->answered == d->ended)
		return;
	run.is_accepted[d->t] |= least(d->ended, run.now) - d->answered >=
		world.o.stable * MS;
	if (d->i < ADDRESSES)
		run.accepted[d->t][d->i] = d->answered;
	if (world.o.stable) {
		must(!is_established(d) || d->has_talked || run.stopped_for ||
			d->talks + 100 * MS > run.now,
			"4: -s reads before it closes", d->t, d->i);
	} else if (d->sort == TCP) {
		must(open < 200 * MS || run.stopped_at > d->asked ||
			run.faults > 20,
			"4: probes are closed within 0.2 s", d->t, open);
		must(d->is_rst && !d->is_quick, "4: probes leave no trace",
			d->t, d->i);
	}
}

int sim_close(int n)
{
	struct file *d = file(n);
	fails(CLOSE, n, 0);
	check_end(d);
	for (struct packet *p; (p = d->packets); run.unused = p) {
		d->packets = p->next;
		p->next = run.unused;
	}
	d->sort = NONE;
	return 0;
}

/* A port is in use where somebody listens, or by "taken" of find. */
int sim_bind(int n, const struct sockaddr *to, socklen_t size)
{
	struct file *d = file(n);
	int64_t next;
	find_peer(d, to);
	if (fails(BIND, n, d->k))
		return -1;
	if (d->family == AF_INET6 && world.o.ipv6_off)
		return fail(BIND, EADDRNOTAVAIL);
	d->port = ntohs(((const struct sockaddr_in *)to)->sin_port);
	enum behaviour b = d->t < 0 ? REFUSES
		: behaviour_at(d->t, d->i, run.now, &next);
	if (d->t >= 0 && !is_ours(d->t, d->i))
		return d->is_freebind ? 0 : fail(BIND, EADDRNOTAVAIL);
	if (world.o.find && b == PROHIBITED)
		return fail(BIND, EACCES);
	bool is_taken = d->t >= 0 && world.o.find &&
		target(d->t)->taken & 1 << d->k;
	return is_taken || (d->k == 0 && (b == ACCEPTS || b == FULL ||
		b == RESETS)) ? fail(BIND, EADDRINUSE) : 0;
}

int sim_listen(int n, int backlog)
{
	must(false, "7: while finding, nothing listens", n, backlog);
	return -1;
}

/* Name servers */

/* Reads a question (RFC 1035), which must be a proper one, for "n3.a", which is
 * candidate 0 of target 3, or "n3.a.d0", which is its candidate 1. */
static void read_question(struct packet *p, const unsigned char *query,
	size_t size)
{
	char name[300] = "", domain[300] = "";
	const unsigned char *from = query + 12, *end = query + size;
	p->size = size;
	must(size > 17 && size < sizeof p->question && query[2] == 1 &&
		query[5] == 1, "6: questions are well-formed", p->s, size);
	memcpy(p->question, query, size);
	for (char *to = name; from < end && *from; from += 1 + *from)
		to += sprintf(to, "%s%.*s", to > name ? "." : "", *from,
			(const char *)from + 1);
	must(end - from == 5 && from[4] == 1 && (from[2] == 1 || (from[2] == 28
		&& !(world.o.no_aaaa && !world.o.resolv_bad))),
		"6: what is asked is A or AAAA", p->s, from[2]);
	p->f = from[2] == 28;
	p->t = name[0] == 'n' ? atoi(name + 1) : -1;
	must(p->t >= 0 && p->t < target_count() && is_name(p->t),
		"6: only names are asked for", p->t, 0);
	const char *host = host_text(p->t);
	size = strlen(host) - world.o.absolute * (target(p->t)->kind == DNS);
	for (p->candidate = 0; p->candidate < world.o.domains; p->candidate++)
		if (strcmp(name + size, domain) == 0)
			break;
		else
			sprintf(domain, ".d%d", p->candidate);
	must(strncmp(name, host, size) == 0 && !strcmp(name + size, domain),
		"6: only candidates are asked for", p->t, p->candidate);
	trace("  %s %s? id %04x", p->f ? "AAAA" : "A", name, query[0] << 8 |
		query[1]);
}

static enum says says(int s, int f)
{
	const struct server *own = server(s);
	int other = f ? own->aaaa_says : own->a_says;
	bool is_gone = own->says == CLOSED || own->says == ROUTELESS;
	return other && !is_gone ? other : own->says;
}

/* The addresses of a family; of a truncated answer those that fit. */
static int put_addresses(unsigned char **to, const struct packet *p,
	bool is_truncated)
{
	int count = 0, all = address_count(p->t), listed = 0, turn = 0;
	for (int i = 0; i < all; i++)
		listed += is_ipv6(p->t, i) == p->f && is_listed(p->t, i, p->at);
	for (int i = 0; i < all; i++) {
		if (is_ipv6(p->t, i) != p->f || !is_listed(p->t, i, p->at) ||
		    (target(p->t)->rotates &&
		     turn++ != run.questions[p->s] / 2 % listed) ||
		    (is_truncated && address(p->t, i)->hidden))
			continue;
		memcpy(*to, "\300\014\0\1\0\1\0\0\0\7\0", 11);
		(*to)[3] = p->f ? 28 : 1;
		(*to)[11] = put_bytes(p->t, i, *to + 12);
		*to += 12 + (*to)[11];
		count++;
	}
	return count;
}

/* Writes what the server says; returns its size. */
static size_t make_reply(const struct packet *p, bool is_stream,
	unsigned char *reply)
{
	static const unsigned char codes[SAYS] = { [DENIES] = 3, [SERVFAIL] = 2,
		[REFUSED] = 5, [NOTIMP] = 4, [BARE] = 5,
		[TRUNCATED_FAILURE] = 2 };
	enum says what = says(p->s, p->f);
	enum stream how = server(p->s)->stream;
	bool is_truncated = is_stream ? how == STREAM_TRUNCATES
		: what == TRUNCATES || what == TRUNCATED_FAILURE;
	bool is_known = target(p->t)->kind == DNS && p->candidate ==
		target(p->t)->exists, is_empty = what == EMPTY || what == LAME;
	int code = is_stream && how == STREAM_FAILS ? 2 : codes[what];
	int count = 0;
	int size = what == BARE ? 12 : p->size;
	said[what]++;
	unsigned char *to = mempcpy(reply, p->question, size);
	if (is_known && !is_empty && (!code || is_truncated))
		count = put_addresses(&to, p, is_truncated);
	if (!is_known && !is_empty && !code)
		code = p->candidate + 1 == server(p->s)->fails ? 2 : 3;
	reply[2] = 0x81 | is_truncated << 1;
	reply[3] = (what == LAME ? 0 : 0x80) | code;
	reply[5] = what != BARE;
	reply[7] = count;
	trace("  server %d: code %d, %d of %s%s", p->s, code, count, p->f ?
		"AAAA" : "A", is_truncated ? ", truncated" : "");
	return to - reply;
}

static void put_packet(struct file *d, const struct packet *from, int64_t at)
{
	struct packet **link = &d->packets, *p = run.unused;
	must(p, "6: no flood of questions", from->s, PACKETS);
	run.unused = p->next;
	*p = *from;
	p->at = at;
	while (*link && (*link)->at <= at)
		link = &(*link)->next;
	p->next = *link;
	*link = p;
}

static struct packet *take_packet(struct file *d)
{
	struct packet *p = d->packets;
	if (!p || p->at > run.now)
		return NULL;
	d->packets = p->next;
	p->next = run.unused;
	return run.unused = p;
}

/* A question by UDP has been sent: what comes of it? */
static void ask_server(struct file *d, struct packet *p)
{
	const struct server *own = server(p->s);
	int64_t at = run.now + server_delay(p->s, p->f);
	enum says what = says(p->s, p->f);
	if (run.questions[p->s]++ < own->lost || d->born < own->nat * MS ||
	    run.now < own->from * MS || what == MUTE ||
	    (own->middlebox && d->has_passed))
		return;
	d->has_passed = true;
	if (what == CLOSED)
		d->odd = run.now + MS / 5;
	else
		put_packet(d, p, at);
	if (what != CLOSED && own->doubles && !own->middlebox)
		put_packet(d, p, at + own->doubles * MS);
	p->question[1] ^= 1;            /* another ID */
	if (what == LIES)
		put_packet(d, p, at - MS / 10);
}

/* By TCP each question has its length before it. */
static void ask_stream(struct file *d, const unsigned char *bytes, size_t size)
{
	struct packet p = { .s = d->s };
	for (size_t length; size > 0; bytes += length, size -= length) {
		length = 2 + (bytes[0] << 8 | bytes[1]);
		must(length <= size, "6: TCP has whole questions", d->s, size);
		read_question(&p, bytes + 2, length - 2);
		if (server(p.s)->stream == CLOSES)
			d->ended = run.now + server_delay(p.s, p.f);
		else if (server(p.s)->stream != STALLS)
			put_packet(d, &p, run.now + server_delay(p.s, p.f));
	}
}

/* What ICMP said of the packet before, once; 0: nothing. */
static int odd_error(struct file *d)
{
	static const int errors[] = { ECONNREFUSED, EHOSTUNREACH, EACCES };
	if (d->sort != UDP || d->odd > run.now)
		return 0;
	d->odd = NEVER;
	return errors[d->s % LENGTH(errors)];
}

ssize_t sim_send(int n, const void *bytes, size_t size, int flags)
{
	struct file *d = file(n);
	struct packet p = { .s = d->s };
	must(d->is_connected && d->s >= 0, "6: only servers are asked", n, 0);
	must(flags & MSG_NOSIGNAL || d->sort == UDP, "3: no SIGPIPE", n, size);
	if (fails(SEND, n, d->s))
		return -1;
	int error = odd_error(d);
	if (error)
		return fail(SEND, error);
	if (d->sort == TCP && !is_established(d))
		return fail(SEND, d->answered <= run.now ? EPIPE : EAGAIN);
	if (d->sort == TCP) {
		ask_stream(d, bytes, size);
		return size;
	}
	read_question(&p, bytes, size);
	if (says(p.s, p.f) == FIREWALLED)
		return fail(SEND, EPERM);
	ask_server(d, &p);
	return size;
}

/* Of what comes by TCP, one answer at a time, perhaps in pieces. */
static ssize_t receive_stream(struct file *d, void *buffer, size_t size)
{
	static unsigned char reply[8192];
	if (!d->packets || d->packets->at > run.now)
		return d->ended <= run.now ? 0 : fail(RECV, EAGAIN);
	size_t length = make_reply(d->packets, true, reply + 2);
	reply[0] = length >> 8;
	reply[1] = length;
	size = least(size, least(length + 2 - d->next, world.o.spurious ? 7 :
		8192));
	memcpy(buffer, reply + d->next, size);
	d->next += size;
	if (d->next == length + 2) {
		take_packet(d);
		d->next = 0;
	}
	return size;
}

static ssize_t receive_probe(struct file *d, void *buffer, size_t size)
{
	bool is_over = d->is_reset && d->ended <= run.now;
	if (d->answered <= run.now && (d->error || is_over))
		return d->is_told ? 0 : fail(RECV, d->error ? d->error
			: ECONNRESET);
	if (d->talks <= run.now && !d->has_talked && size >= 4) {
		d->has_talked = true;
		memcpy(buffer, "220 ", 4);
		return 4;
	}
	return d->ended <= run.now ? 0 : fail(RECV, EAGAIN);
}

ssize_t sim_recv(int n, void *buffer, size_t size, int flags)
{
	static unsigned char reply[8192];
	struct file *d = file(n);
	if (fails(RECV, n, d->s))
		return -1;
	if (d->sort != UDP)
		return d->s >= 0 ? receive_stream(d, buffer, size)
			: receive_probe(d, buffer, size);
	int error = odd_error(d);
	if (error)
		return fail(RECV, error);
	struct packet *p = take_packet(d);
	if (!p)
		return fail(RECV, EAGAIN);
	size = least(size, make_reply(p, false, reply));
	memcpy(buffer, reply, size);
	return size;
}

/* The kernel: waiting */

/* Of a socket that is connected, or about to be. */
static short stream_events(const struct file *d)
{
	bool has_input = (d->talks <= run.now && !d->has_talked) ||
		(d->packets && d->packets->at <= run.now);
	if (!d->is_connected)
		return POLLOUT | POLLHUP;
	if (d->answered > run.now)
		return d->odd <= run.now && !d->is_odd_told ? POLLERR : 0;
	if (!is_established(d))
		return POLLIN | POLLOUT | POLLHUP | POLLRDHUP |
			(d->is_told ? 0 : POLLERR);
	return POLLOUT | (has_input ? POLLIN : 0) |
		(d->ended <= run.now ? POLLIN | POLLRDHUP : 0);
}

static short events_of(const struct file *d, int64_t blocked)
{
	bool has_packet = d->packets && d->packets->at <= run.now;
	switch (d->sort) {
	case NONE: return POLLNVAL;
	case TCP: case LOCAL: return stream_events(d);
	case PIDFD: return run.now >= (world.o.pid - 1) * MS ? POLLIN : 0;
	case UDP: return POLLOUT | (has_packet ? POLLIN : 0) |
		(d->odd <= run.now ? POLLERR : 0);
	default: return run.now < blocked ? 0 : POLLOUT;
	}
}

/* What is so of each now, and when something may happen next. */
static int look(struct pollfd *polls, nfds_t count, int64_t *next)
{
	int result = 0;
	*next = NEVER;
	for (struct pollfd *p = polls; p < polls + count; p++) {
		const struct file *d = &files[p->fd < 0 ? 0 : p->fd];
		int64_t blocked = p->fd == 2 ? world.o.blocked * MS : 0;
		const int64_t times[] = { d->answered, d->ended, d->talks,
			d->odd, d->packets ? d->packets->at : NEVER,
			d->sort == PIDFD ? (world.o.pid - 1) * MS : blocked };
		must(p->fd < 3 || (p->fd < DESCRIPTORS && d->sort),
			"8: only open descriptors are used", p->fd, 0);
		p->revents = p->fd < 0 ? 0 : events_of(d, blocked) &
			(p->events | POLLERR | POLLHUP | POLLNVAL);
		result += p->revents != 0;
		for (int k = 0; k < LENGTH(times) && p->fd >= 0; k++)
			if (times[k] > run.now)
				*next = least(*next, times[k]);
	}
	return result;
}

static int wait_until(struct pollfd *polls, nfds_t count, int64_t until)
{
	int64_t began = run.now, next;
	int result;
	if (world.o.spurious && random_number() % 8 == 0)
		until = least(until, run.now + 3 * MS);
	while ((result = look(polls, count, &next)) == 0 && run.now < until)
		pass_time(least(until, next));
	for (nfds_t k = 0; k < count; k++)      /* this is told once */
		if (polls[k].revents == POLLERR)
			files[polls[k].fd].is_odd_told = true;
	if (run.now > began)
		pass_time(run.now + 1000 * (random_number() % 80));
	trace("  %d", result);
	return result;
}

int sim_ppoll(struct pollfd *polls, nfds_t count, const struct timespec *time,
	const sigset_t *mask)
{
	int64_t length = time ? time->tv_sec * SECOND + time->tv_nsec : NEVER;
	int64_t began = run.now;
	int work = run.calls - run.counts[CLOCK] - run.counts[PPOLL], result;
	must(length >= 0 && length <= 100 * MS && !mask,
		"5: no sleep is longer than 100 ms", count, length);
	bool has_failed = fails(PPOLL, count, length / 1000);
	stop();
	result = has_failed ? -1 : wait_until(polls, count, began + length);
	bool is_idle = result == 0 || (has_failed && errno == ENOMEM);
	run.idle = is_idle && run.now - began < MS / 20 && work == run.work ?
		run.idle + (has_failed ? 10 : 1) : 0;
	run.work = work;
	must(run.idle < 500, "5: no busy loop", count, run.idle);
	return result;
}

int sim_poll(struct pollfd *polls, nfds_t count, int milliseconds)
{
	return fails(POLL, count, milliseconds) ? -1 : wait_until(polls, count,
		milliseconds < 0 ? NEVER : run.now + milliseconds * MS);
}

/* The kernel: what sockets say of themselves */

int sim_getsockopt(int n, int level, int name, int *error, socklen_t *size)
{
	struct file *d = file(n);
	fails(GETSOCKOPT, n, name);
	must(level == SOL_SOCKET && name == SO_ERROR && *size == sizeof *error,
		"getsockopt", n, name);
	*error = 0;
	if (d->answered <= run.now && !d->is_told && !is_established(d))
		*error = d->error ? d->error : ECONNRESET;
	d->is_told |= *error != 0;
	if (*error)
		fail(GETSOCKOPT, *error);
	return 0;
}

int sim_setsockopt(int n, int level, int name, const int *value, socklen_t size)
{
	struct file *d = file(n), probe = { .t = -1 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	fails(SETSOCKOPT, n, name);
	if (level == IPPROTO_TCP && name == TCP_QUICKACK)
		d->is_quick = *value || d->is_connected;
	else if (level == SOL_SOCKET && name == SO_LINGER)
		d->is_rst = *value;
	else if (level == IPPROTO_IP && name == IP_FREEBIND)
		d->is_freebind = *value;
	if (level != IPPROTO_IP || name != IP_MULTICAST_IF)
		return 0;
	memcpy(&in.sin_addr, value, 4);
	for (int t = 0; t < target_count() && probe.t < 0; t++) {
		in.sin_port = htons(PORT + PORTS * t);
		find_peer(&probe, (void *)&in);
	}
	return probe.t >= 0 && is_ours(probe.t, probe.i) ? 0
		: fail(SETSOCKOPT, EADDRNOTAVAIL);
}

/* Its own address is that of the peer, where that is of this machine. */
static int put_name(const struct file *d, bool is_peer, struct sockaddr *to,
	socklen_t *size)
{
	struct sockaddr_in6 in6 = { .sin6_family = d->family };
	struct sockaddr_in *in = (void *)&in6;
	unsigned char bytes[16] = { 192, 168, 0, 1, 9 };
	socklen_t whole = d->family == AF_INET ? sizeof *in : sizeof in6;
	in->sin_port = htons(d->port ? d->port : is_peer || d->is_self ?
		d->s >= 0 ? 53 : PORT + PORTS * d->t
		: 30000 + (int)(d - files));
	if (d->t >= 0 && (is_peer || is_ours(d->t, d->i)) && d->sort != LOCAL)
		put_bytes(d->t, d->i, bytes);
	if (d->s >= 0 && is_peer)
		put_bytes(-1, d->s, bytes);
	memcpy(d->family == AF_INET ? (void *)&in->sin_addr
		: &in6.sin6_addr, bytes, whole == sizeof *in ? 4 : 16);
	memcpy(to, &in6, least(*size, whole));
	*size = whole;
	return 0;
}

int sim_getsockname(int n, struct sockaddr *to, socklen_t *size)
{
	fails(GETSOCKNAME, n, 0);
	return put_name(file(n), false, to, size);
}

int sim_getpeername(int n, struct sockaddr *to, socklen_t *size)
{
	struct file *d = file(n);
	fails(GETPEERNAME, n, 0);
	return d->sort == UDP || is_established(d) ? put_name(d, true, to, size)
		: fail(GETPEERNAME, ENOTCONN);
}

/* The kernel: files, and all the rest */

static char *put_hosts(char *to)
{
	to += sprintf(to, "# a comment\n127.0.0.1 localhost\n");
	for (int t = 0; t < target_count(); t++)
		for (int i = 0; i < address_count(t); i++)
			if (target(t)->kind == HOSTS && is_listed(t, i, run.now)
			    && run.now >= world.o.hosts_at * MS) {
				to += sprintf(to, "%s\t", address_text(t, i));
				to += sprintf(to, "x%d %s\n", t, host_text(t));
			}
	return to;
}

static char *put_resolv(char *to)
{
	bool is_first = run.now < world.o.resolv_at * MS;
	if (is_first && world.o.resolv_first)
		to += sprintf(to, "nameserver 10.2.0.%d\n", SERVERS + 1);
	for (int s = 0; s < world.o.servers && !is_first; s++)
		to += sprintf(to, "nameserver %s\n", address_text(-1, s));
	to += sprintf(to, "search");
	if (world.o.long_domain)        /* label or name is too long */
		to += sprintf(to, world.o.long_domain % 2 ? " %064d" :
			" %060d.%060d.%060d.%060d.%09d", 0, 0, 0, 0, 0);
	for (int k = 0; k < world.o.domains; k++)
		to += sprintf(to, " d%d", k);
	return to + sprintf(to, "\noptions edns0 ndots:%d%s%s\n", world.o.ndots
		? world.o.ndots : 1, world.o.use_vc ? " use-vc" : "",
		world.o.no_aaaa ? " no-aaaa" : "");
}

long sim_syscall(long number, int first, const char *path, int flags)
{
	static const int errors[] = { 0, EACCES, ENOENT };
	if (number == SYS_pidfd_open)
		return fails(PIDFD_OPEN, first, 0) ? -1 :
			run.now >= (world.o.pid - 1) * MS ? fail(PIDFD_OPEN,
			ESRCH) : new_file(PIDFD_OPEN, PIDFD, true);
	must(number == SYS_openat, "syscall", first, number);
	bool is_hosts = strcmp(path, "/etc/hosts") == 0;
	bool is_root = strcmp(path, "/") == 0;
	int bad = is_hosts ? world.o.hosts_bad : is_root ? 0 :
		strcmp(path, "/etc/resolv.conf") == 0 ? world.o.resolv_bad : 2;
	trace("%s", path);
	if (fails(OPENAT, first, flags))
		return -1;
	if (errors[bad])
		return fail(OPENAT, errors[bad]);
	int n = new_file(OPENAT, is_root ? DIRECTORY : TEXT, flags & O_CLOEXEC);
	if (n >= 0) {
		files[n].k = is_hosts;
		files[n].size = (is_hosts ? put_hosts(texts[1])
			: put_resolv(texts[0])) - texts[is_hosts];
	}
	return n;
}

ssize_t sim_read(int n, void *buffer, size_t size)
{
	struct file *d = file(n);
	if (fails(READ, n, size))
		return -1;
	size = least(size, least(d->size - d->next, world.o.spurious ? 99 :
		1 << 16));
	memcpy(buffer, texts[d->k] + d->next, size);
	d->next += size;
	return size;
}

ssize_t sim_write(int n, const void *bytes, size_t size)
{
	size_t *used = n == 1 ? &run.out_size : &run.err_size;
	trace("%.*s", (int)size - 1, (const char *)bytes);
	if (fails(WRITE, n, size))
		return -1;
	must(n == 1 || n == 2, "3: what is written goes to 1 or 2", n, size);
	if (files[n].sort != STANDARD)
		return fail(WRITE, EBADF);
	for (int k = 3; k < run.top && n == 2 && strncmp(bytes, "portend:", 8);
	     k++)
		must(files[k].sort != TCP || files[k].t < 0 || world.o.find,
			"3: messages come when probes are closed", n, k);
	if (n == 2)
		pass_time(most(run.now, world.o.blocked * MS));
	must(*used + size < sizeof out, "3: no flood", n, size);
	memcpy((n == 1 ? out : err) + *used, bytes, size);
	*used += size;
	return size;
}

/* The same file is the one with the same bytes. */
int sim_fstat(int n, struct stat *status)
{
	struct file *d = file(n);
	uint64_t hash = 0;
	if (fails(FSTAT, n, 0))
		return -1;
	for (size_t k = 0; k < d->size; k++)
		hash = mix(hash ^ (unsigned char)texts[d->k][k]);
	*status = (struct stat){ .st_mode = S_IFREG | 0644, .st_ino = 1,
		.st_size = d->size };
	status->st_mtim.tv_nsec = status->st_ctim.tv_nsec = hash % SECOND;
	return 0;
}

int sim_clock_gettime(clockid_t clock, struct timespec *time)
{
	must(clock == CLOCK_MONOTONIC, "5: no other clock", clock, 0);
	fails(CLOCK, clock, 0);
	if (!run.started)
		run.started = run.now;
	time->tv_sec = 1000 + run.now / SECOND;
	time->tv_nsec = run.now % SECOND;
	return 0;
}

void *sim_mmap(void *at, size_t size, int protection, int flags, int n,
	off_t offset)
{
	bool is_full = run.memory_size + size > sizeof memory;
	if (fails(MMAP, n, size) || (is_full && fail(MMAP, ENOMEM)))
		return MAP_FAILED;
	run.memory_size += size;
	return memset(memory + run.memory_size - size, 0, size);
}

ssize_t sim_getrandom(unsigned char *buffer, size_t size, unsigned flags)
{
	if (fails(GETRANDOM, size, flags))
		return -1;
	for (size_t k = 0; k < size; k++)
		buffer[k] = mix(random_number() + k);
	return size;
}

void sim__exit(int status)
{
	trace("_exit(%d)", status);
	run.status = status;
	end_run();
}

int sim_execvp(const char *path, char *const argv[])
{
	must(strcmp(path, *argv) == 0, "8: COMMAND as it is", 0, 0);
	if (fails(EXECVP, 0, 0))
		return -1;
	run.is_executed = true;
	end_run();
	return 0;
}

/* A run */

int portend_main(int argc, char **argv);
void __gcov_dump(void) __attribute__((weak));   /* where lines are counted */
void __gcov_reset(void) __attribute__((weak));
extern char __start_portend_data[], __stop_portend_data[];
extern char __start_portend_bss[], __stop_portend_bss[];

/* By hand: the sanitizer would see memcpy(3) write between variables. */
__attribute__((no_sanitize_address, no_sanitize_undefined,
	optimize("O2", "no-tree-loop-distribute-patterns")))
static void copy(char *to, const char *from, size_t size)
{
	for (; size >= 8; size -= 8, to += 8, from += 8)
		*(uint64_t *)to = *(const uint64_t *)from;
	while (size--)
		*to++ = *from++;
}

/* The program's variables are again as they were at first. */
static void restore_program(void)
{
	static char *saved;
	size_t data = __stop_portend_data - __start_portend_data;
	size_t bss = __stop_portend_bss - __start_portend_bss;
	if (!saved) {
		saved = malloc(data + bss);
		copy(saved, __start_portend_data, data);
		copy(saved + data, __start_portend_bss, bss);
	} else if (__gcov_dump) {
		__gcov_dump();
		__gcov_reset();
	}
	copy(__start_portend_data, saved, data);
	copy(__start_portend_bss, saved + data, bss);
}

static char words[1 << 14], *arguments[2 * TARGETS_MAX + 20];

/* The target as -v has it. */
static const char *target_text(int t)
{
	static char text[96];
	bool ipv6 = target(t)->kind == LITERAL && is_ipv6(t, 0);
	sprintf(text, target(t)->kind == UNIX ? "%s%s%s" : "%s%s%s:%d", ipv6 ?
		"[" : "", host_text(t), ipv6 ? "]" : "", PORT + PORTS * t);
	return text;
}

static char *put_number(char *to, const char *format, int number)
{
	return to + (number ? sprintf(to, format, number) : 0);
}

/* The command line, in words and as one string. */
static void put_words(char *to)
{
	static const char *const states[] = { "occupied", "free",
		"assert-free" };
	const struct options *o = &world.o;
	to = stpcpy(to, "portend");
	if (!o->endless)
		to += sprintf(to, " -t%dms", o->timeout);
	to = put_number(to, " -c%dms", o->connect_timeout);
	to = put_number(to, " -s%dms", o->stable);
	to = stpcpy(to, o->any ? " --any" : "");
	to = stpcpy(to, o->verbose ? " -v" : "");
	to = stpcpy(to, o->quiet ? " -q" : "");
	to = stpcpy(to, o->pid ? " --pid=4711" : "");
	for (int t = 0; t < target_count(); t++) {
		int port = PORT + PORTS * t, range = target(t)->range;
		if (o->find && target(t)->kind == UNIX)
			to += sprintf(to, " %d", port);
		else
			to += sprintf(to, " %s", target_text(t));
		to = put_number(to, "-%d", o->find && range ? port + range : 0);
		if (!o->find)
			to += sprintf(to, " %s", states[target(t)->state]);
	}
	strcpy(to, o->find ? " find" : " -- command");
}

static void run_program(void)
{
	int count = 0;
	memset(files, 0, most(run.top, 3) * sizeof *files);
	memset(&run, 0, sizeof run);
	*violation = '\0';
	for (struct packet *p = packets; p < packets + PACKETS; p++) {
		p->next = run.unused;
		run.unused = p;
	}
	put_words(words);
	trace("%s", words);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		arguments[count++] = word;
	arguments[count] = NULL;
	restore_program();
	for (int n = 0; n < 3; n++)
		files[n].sort = world.o.closed & 1 << n ? NONE : STANDARD;
	run.top = 3;
	is_running = true;
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = 30 },
		NULL);
	if (setjmp(end_of_run) == 0) {
		run.status = portend_main(count, arguments);
		run.ended = run.now;
	}
	is_running = false;
	for (int n = 0; n < run.top; n++)
		if (files[n].sort) {
			check_end(&files[n]);
			must(files[n].sort != TEXT || run.is_cut,
				"8: no descriptor is leaked", n, 0);
		}
	err[run.err_size] = out[run.out_size] = '\0';
	ends[run.status & 255]++;
	trace("ended with %d%s", run.status, run.is_cut ? ", cut" : "");
}

/* What is so in the world: this follows SPEC.md, and not the program */

/* From when on an address is listed and accepts for good; NEVER: not. */
static int64_t live_from(int t, int i)
{
	const struct address *a = address(t, i);
	int64_t from = 0, next = 0;
	enum behaviour last = REFUSES;
	while (next < NEVER)
		last = behaviour_at(t, i, from = next, &next);
	return last != ACCEPTS || a->from || a->until || target(t)->rotates ||
		(a->ends && world.o.stable) || (world.o.ipv6_off &&
		is_ipv6(t, i)) ? NEVER : from;
}

static int64_t latency(int t, int i)    /* from connect(2) to the answer */
{
	return target(t)->kind == UNIX ? 0
		: syn_time(address(t, i)->lost) + rtt(t, i);
}

/* When a server has said all that it knows of a family; NEVER: perhaps not. */
static int64_t truth_time(int s, int f)
{
	const struct server *own = server(s);
	int64_t time = server_delay(s, f);
	int64_t late = most(own->from, own->nat) * MS;
	int64_t by_tcp = MS + server_delay(s, 0) / 4 + time;
	enum says what = says(s, f);
	bool is_odd = world.o.use_vc && (late || own->lost || own->stream ||
		time > 400 * MS || own->says == ROUTELESS);
	if (what == TRUNCATES && own->stream == ANSWERS && by_tcp < 900 * MS)
		time += by_tcp;
	else if (what != TRUTH && what != LIES)
		return NEVER;
	if (is_odd || (own->is_ipv6 && world.o.ipv6_off && world.o.servers))
		return NEVER;
	return time + (late ? late + 1100 * MS : 0) + own->lost * 1010 * MS +
		(world.o.use_vc ? time : 0);
}

/* When it has denied a name, or has failed, for both families. */
static int64_t denial_time(int s)
{
	const struct server *own = server(s);
	bool is_heard = !own->from && !own->nat && !own->lost &&
		!own->middlebox && !world.o.use_vc;
	int silent = (says(s, 0) == MUTE) + (says(s, 1) == MUTE);
	for (int f = 0; f < 2; f++) {
		enum says what = says(s, f);
		is_heard &= what <= MUTE || what == BARE || what == LIES ||
			((what == TRUNCATES || what == TRUNCATED_FAILURE) &&
			 own->stream == ANSWERS);
	}
	if (!is_heard || silent == 2 || (silent && timeout() == 0))
		return NEVER;
	return 3 * server_delay(s, 1) + silent * 5 * SECOND;
}

/* How many candidates are tried before the one that exists; -1: it is not. */
static int position(int t)
{
	int candidate = target(t)->exists, domains = world.o.domains;
	if (candidate > domains || (world.o.absolute && candidate))
		return -1;
	if (target(t)->dots >= most(world.o.ndots, 1) || world.o.absolute)
		return candidate;
	return candidate ? candidate - 1 : domains;
}

/* When all addresses of a family are known; NEVER: perhaps not. */
static int64_t known_at(int t, int f)
{
	int64_t best = NEVER, denial = 0;
	int servers = most(world.o.servers, 1), names = 0;
	for (int k = 0; k < target_count(); k++)
		names += is_name(k);
	if (!is_name(t))
		return 0;
	if (target(t)->kind == HOSTS)
		return world.o.hosts_bad || (world.o.hosts_at && !timeout()) ?
			NEVER : world.o.hosts_at ? world.o.hosts_at * MS +
			1100 * MS : 0;
	if (position(t) < 0 || world.o.resolv_bad || world.o.hosts_bad == 1 ||
	    (f && world.o.no_aaaa))
		return NEVER;
	for (int s = 0; s < servers; s++) {
		int64_t time = truth_time(s, f);
		if ((servers == 1 || time < 900 * MS) &&
		    (names == 1 || !server(s)->middlebox))
			best = least(best, time);
		denial = most(denial, denial_time(s));
	}
	best += position(t) ? position(t) * (denial + MS) : 0;
	best += world.o.resolv_at ? world.o.resolv_at * MS + 1100 * MS : 0;
	return least(best, NEVER);
}

static bool is_undisturbed(void)
{
	return !run.faults && !run.stopped_for && !world.o.crowd &&
	       !world.o.blocked;
}

/* What was told */

/* What follows port or path in the message of failure; NULL: there is none. */
static const char *failure(int t)
{
	char start[32];
	bool is_unix = target(t)->kind == UNIX;
	sprintf(start, is_unix ? "Socket /run/s%d " : "Port %d ", is_unix ? t :
		PORT + PORTS * t);
	for (const char *line = err; *line; line = strchr(line, '\n') + 1)
		if (strncmp(line, start, strlen(start)) == 0)
			return line + strlen(start);
	return NULL;
}

/* When -v says that it was reached, since the start; -1: it does not say so. */
static int64_t reached_at(int t)
{
	char start[128];
	int seconds, thousandths;
	sprintf(start, "portend: %s: %s after ", target_text(t),
		target(t)->state == OCCUPIED ? "occupied" : "free");
	const char *line = strstr(err, start);
	return line && sscanf(line + strlen(start), "%d.%d", &seconds,
		&thousandths) == 2 ? seconds * SECOND + thousandths * MS : -1;
}

static bool is_success(void)
{
	return run.is_executed || run.status == 126 || run.status == 127 ||
	       (world.o.find && run.status == 0 && !run.is_cut);
}

static bool is_reached(int t)           /* certainly */
{
	return reached_at(t) >= 0 || (is_success() &&
		(!world.o.any || target_count() == 1));
}

/* Rules, each for one target, and those of its addresses */

static void status_is_right(int t)
{
	must(run.status == 0 || run.status == 1 || run.status == 126 ||
		run.status == 127, "2: exit status", t, run.status);
	must(run.status != 0 || is_success() || run.is_cut, "8: COMMAND runs",
		t, 0);
	bool is_told = world.o.quiet || world.o.closed & 4 || run.faults ||
		world.o.limit || run.is_cut || is_success() || world.o.find;
	for (int k = 0; k < target_count(); k++)
		is_told |= failure(k) != NULL;
	must(is_told, "3: a message for what is not reached", t, 0);
	must(!is_success() || world.o.find || !world.o.verbose || world.o.any ||
		world.o.closed & 4 || run.faults || reached_at(t) >= 0,
		"3: -v tells when it was reached", t, 0);
}

/* In [TIME, TIME + 50 ms], or within 150 ms after a stop; one check takes the
 * connect timeout twice, and 100 ms. */
static void end_is_in_time(int t)
{
	int64_t up = timeout(), took = run.ended - run.started, last;
	bool is_once = !world.o.find, may_be_early = is_success() ||
		run.is_cut || run.faults || world.o.find || world.o.quiet ||
		world.o.closed & 4 || world.o.pid;
	for (int k = 0; k < target_count(); k++) {
		const char *why = failure(k);
		is_once &= timeout() == 0 || target(k)->state == ASSERT_FREE;
		may_be_early |= target(k)->state == ASSERT_FREE || (why &&
			target(k)->state == FREE &&
			strstr(why, "(Name does not resolve)"));
	}
	must(up == 0 || may_be_early || took >= up, "5: no end before TIME", t,
		took / MS);
	bool has_failed = !world.o.find && failure(t) &&
		target(t)->state == ASSERT_FREE;
	if (is_once || timeout() == 0 || (has_failed && !world.o.limit))
		up = (2 - world.o.find) * connect_timeout() +
			world.o.stable * MS + 50 * MS + run.stopped_for +
			run.faults * 100 * MS;
	if (world.o.pid && !is_once)
		up = least(up, (world.o.pid - 1) * MS);
	last = most(run.started + up, world.o.blocked * MS) + 50 * MS +
		target_count() * MS / 5;
	if (run.stopped_at)
		last = most(last, run.stopped_at + 150 * MS);
	must(run.ended <= last || (is_once && world.o.limit) || run.faults > 20,
		"5: the end is in time", t, (run.ended - last) / MS);
}

/* The lowest port of the range that nobody has, on no address. */
static void find_finds_the_lowest(int t)
{
	const char *line = out;
	if (!world.o.find || !is_success())
		return;
	for (int k = 0; k < t && line; k++)
		line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
	int k = line && *line ? atoi(line) - PORT - PORTS * t : -1;
	int taken = target(t)->kind == UNIX ? 0 : target(t)->taken & ~1;
	must(k >= 0 && k <= target(t)->range && !(taken & 1 << k),
		"7: find finds what is free", t, k);
	for (int lower = 1; lower < k; lower++)
		must(taken & 1 << lower || run.faults,
			"7: find finds the lowest", t, lower);
}

/* An errno that is told as the reason was returned by some call. */
static void reason_was_so(int t)
{
	static const struct {
		const char *text;
		int errors[3];
	} reasons[] = {
		{ "(Connection refused", { ECONNREFUSED } },
		{ "(Host is unreachable", { EHOSTUNREACH, ENOPROTOOPT,
			EACCES } },
		{ "(Network unreachable", { ENETUNREACH, EINVAL } },
		{ "(Permission denied", { EACCES } }, { "(I/O error", { EIO } },
		{ "(Operation not permitted", { EPERM } },
		{ "(Out of memory", { ENOMEM } },
		{ "(No buffer space available", { ENOBUFS } },
		{ "(No file descriptors available", { EMFILE } },
		{ "(Too many open files in system", { ENFILE } },
		{ "(Resource temporarily unavailable", { EAGAIN } },
		{ "(Address not available", { EADDRNOTAVAIL } },
		{ "(Connection reset", { ECONNRESET } },
		{ "(No such file or directory", { ENOENT } },
		{ "(Not a directory", { ENOTDIR } }, { "(No answer)", { 0 } },
	};
	const char *why = failure(t);
	const char *silent = why ? strstr(why, "(No answer from the") : NULL;
	bool is_odd = world.o.resolv_at || !is_undisturbed() || world.o.ipv6_off
		|| world.o.resolv_bad || connect_timeout() < SECOND;
	int64_t heard = is_odd ? NEVER : 0;
	for (int s = 0; s < most(world.o.servers, 1); s++)
		heard = most(heard, denial_time(s));
	must(!silent || timeout() < 3 * SECOND || heard > SECOND / 3 ||
		silent > strchr(why, '\n'),
		"3: the name server did answer", t, heard / MS);
	/* Where a candidate has failed, the name may exist. */
	const char *unknown = why ? strstr(why, "(Name does not") : NULL;
	must(!unknown || unknown > strchr(why, '\n') || world.o.servers > 1 ||
		target(t)->kind != DNS || !server(0)->fails ||
		world.o.absolute ||
		server(0)->fails > world.o.domains + 1 || world.o.resolv_at ||
		server(0)->fails == target(t)->exists + 1 || run.faults ||
		says(0, 0) != TRUTH || says(0, 1) != TRUTH ||
		world.o.resolv_bad, "6: a failure is no denial", t, 0);
	for (int k = 0; why && k < LENGTH(reasons); k++) {
		const int *errors = reasons[k].errors;
		const char *at = strstr(why, reasons[k].text);
		must(!at || at > strchr(why, '\n') || run.is_seen[errors[0]] ||
			run.is_seen[errors[1]] || run.is_seen[errors[2]] ||
			(!errors[0] && (run.is_asked[t] ||
			timeout() < 100 * MS || run.stopped_for || is_name(t))),
			"3: the reason was so", t, errors[0]);
	}
}

static void occupied_was_accepted(int t)
{
	must(target(t)->state != OCCUPIED || !is_reached(t) ||
		run.is_accepted[t], "4: occupied only after an acceptance", t,
		0);
}

/* It is there all the time, known in time, and answers in time; or nothing can
 * be said of it. */
static bool is_never_free(int t, int i)
{
	const struct address *a = address(t, i);
	int64_t patience = connect_timeout();
	if (timeout() > 0)
		patience = least(patience, timeout());
	patience = patience / 10 * 9;
	if (a->second_at || a->from || a->until || target(t)->rotates ||
	    known_at(t, is_ipv6(t, i)) > least(patience, world.o.pid ?
	    (world.o.pid - 1) * MS : NEVER) ||
	    (is_ipv6(t, i) && world.o.ipv6_off))
		return false;
	if (a->first == ACCEPTS)
		return latency(t, i) <= patience &&
			!(a->ends && world.o.stable);
	return (a->first == FULL && is_ours(t, i)) || a->first == PROHIBITED ||
		(target(t)->kind != UNIX && (a->first == BLOCKED ||
		                             a->first == NO_PORT));
}

/* It accepts, is away for less than 1 s, and accepts again. */
static bool has_gap(int t, int i)
{
	const struct address *a = address(t, i);
	bool is_away = a->second == SILENT || a->second == UNREACHABLE ||
		a->second == NO_ROUTE;
	return a->first == ACCEPTS && a->third == ACCEPTS && is_away &&
		a->second_at && a->third_at && a->third_at < 900 && timeout() &&
		!world.o.stable && !is_name(t) && !is_ipv6(t, i) && !a->ends &&
		latency(t, i) < MS && i < ADDRESSES &&
		run.accepted[t][i] && run.accepted[t][i] <= a->second_at * MS;
}

/* Has some server said of both families what it knows? */
static bool is_answered(int t)
{
	bool is_told = target(t)->kind != DNS || world.o.use_vc;
	for (int f = 0; f < 2; f++)
		for (int s = 0; s < most(world.o.servers, 1); s++) {
			enum says what = says(s, f);
			is_told |= what == TRUTH || what == DENIES || what ==
				EMPTY || what == LIES || what == TRUNCATES;
		}
	return is_told && (target(t)->kind != DNS || world.o.servers > 1 ||
		world.o.use_vc || world.o.no_aaaa ||
		(says(0, 0) != FIREWALLED && says(0, 1) != FIREWALLED));
}

/* When what fitted into the only server's truncated answer may count: after the
 * whole one, or 1 s of TCP without it. */
static int64_t fitted_time(int t)
{
	int64_t time = 0;
	enum stream how = server(0)->stream;
	for (int f = 0; f < 2 && target(t)->kind == DNS; f++)
		if (says(0, f) == TRUNCATES && world.o.servers < 2 &&
		    !server(0)->middlebox && !server(0)->lost &&
		    !server(0)->nat && !server(0)->from && (how ==
		    ANSWERS || how == STALLS || how == STREAM_SILENT) &&
		    !(f && world.o.no_aaaa) && server_delay(0, f) <
		    least(timeout() ? timeout() : NEVER, connect_timeout()))
			time = most(time, server_delay(0, f) + least(SECOND, how
				? SECOND : server_delay(0, 0) / 4 +
				server_delay(0, f)));
	return world.o.use_vc || run.stopped_for ? 0 : time;
}

static void free_is_beside_no_server(int t)
{
	int64_t at = reached_at(t) < 0 ? run.ended : run.started +
		reached_at(t) + MS;
	must(target(t)->state == OCCUPIED || !is_reached(t) || at >=
		fitted_time(t), "6: what fitted is not all", t, at / MS);
	int families[2] = { 0, 0 };
	for (int i = 0; i < address_count(t); i++)
		families[is_ipv6(t, i)]++;
	must(target(t)->state == OCCUPIED || !is_reached(t) ||
		target(t)->kind != DNS || target(t)->rotates ||
		says(0, 0) != TRUTH || says(0, 1) != TRUTH ||
		most(families[0], families[1]) <= 128,
		"10: free only if all addresses are taken", t,
		address_count(t));
	must(target(t)->state == OCCUPIED || !is_reached(t) || is_answered(t),
		"6: free only if the name is known", t, 0);
	/* With a TIME so short a stop leaves nothing of it. */
	bool is_over = run.stopped_for && timeout() && timeout() < 100 * MS;
	for (int i = 0; target(t)->state != OCCUPIED && i < address_count(t) &&
	     is_reached(t) && !is_over; i++) {
		must(!is_never_free(t, i), "4: free only if no address accepts",
			t, i);
		must(target(t)->state == ASSERT_FREE || !has_gap(t, i),
			"4: free is not decided by one sample", t, i);
	}
}

/* When it must have been noticed that it accepts; NEVER: perhaps not. */
static int64_t notice_time(int t)
{
	int64_t best = NEVER, patience = connect_timeout() / 10 * 9;
	for (int i = 0; i < address_count(t); i++) {
		int64_t from = live_from(t, i), delay = latency(t, i);
		int64_t known = known_at(t, is_ipv6(t, i));
		if (delay > patience || from == NEVER || known == NEVER ||
		    (timeout() == 0 && (from || known > patience)))
			continue;
		if (from)       /* behind a probe that is silent */
			from += connect_timeout() + 1200 * MS;
		best = least(best, most(from, known) + delay +
			world.o.stable * MS + 150 * MS);
	}
	return best;
}

static void what_accepts_is_noticed(int t)
{
	int64_t by = notice_time(t), up = timeout() > 0 ? timeout() : by;
	bool is_alone = target_count() == 1;
	if (world.o.limit && address_count(t) > ADDRESSES)
		return;                 /* its addresses take turns */
	if (world.o.pid)
		up = least(up, (world.o.pid - 1) * MS);
	if (target(t)->state != OCCUPIED || !is_undisturbed() || by == NEVER)
		return;
	must(by > up || !(failure(t) || (run.is_cut && is_alone)),
		"4: what accepts is noticed", t, by / MS);
	must(reached_at(t) <= by && (by > up || !is_alone ||
		run.ended - run.started < by + 50 * MS),
		"5: what accepts is noticed in time", t, by / MS);
}

/* The last check: one of this machine that is there before the end. */
static void nothing_is_missed(int t)
{
	int64_t end = run.started + timeout();
	for (int i = 0; i < address_count(t) && !world.o.limit; i++)
		must(target(t)->state != OCCUPIED || !is_undisturbed() ||
			is_name(t) || run.asks[t][i][1] > end - 120 * MS ||
			live_from(t, i) + MS > end || !is_ours(t, i) ||
			address(t, i)->lost || !failure(t) || world.o.stable ||
			run.ended < end, "5: nothing is missed at the end", t,
			i);
}

/* When it must have been noticed that nobody is there; NEVER: perhaps not. What
 * a family lacks is denied, or silent for 5 s. */
static int64_t vacancy_time(int t)
{
	int64_t by = 0;
	for (int i = 0; i < address_count(t); i++) {
		const struct address *a = address(t, i);
		int64_t known = known_at(t, is_ipv6(t, i));
		bool is_vacant = a->first == REFUSES || a->first == SILENT ||
			a->first == UNREACHABLE || a->first == NO_ROUTE ||
			a->first == BLACKHOLE;
		if (!is_vacant || a->second_at || target(t)->kind == UNIX ||
		    a->from || a->until || known == NEVER || world.o.hosts_at ||
		    (is_ipv6(t, i) && world.o.ipv6_off))
			return NEVER;
		by = most(by, known + connect_timeout());
	}
	for (int s = 0; s < SERVERS; s++)
		if (says(s, 0) >= TRUNCATES || says(s, 1) >= TRUNCATES)
			return NEVER;
	return by + (target(t)->kind == DNS ? 7 * SECOND : 0) + 200 * MS;
}

static void vacancy_is_noticed(int t)
{
	int64_t by = vacancy_time(t);
	must(target(t)->state != FREE || !is_undisturbed() || world.o.pid ||
		world.o.limit ||
		timeout() == 0 || by > least(timeout(), HORIZON) || !failure(t)
		|| run.ended - run.started < by,
		"4: free is noticed", t, by / MS);
}

/* -v says what is new, and -p why the end has come. */
static void lines_are_new(int t)
{
	char start[128], before[128] = "";
	int64_t ended = (world.o.pid - 1) * MS;
	const char *why = failure(t);
	size_t size = sprintf(start, "portend: %s: ", target_text(t));
	for (const char *line = err; *line; line = strchr(line, '\n') + 1) {
		size_t length = strcspn(line, "\n");
		if (strncmp(line, start, size) != 0)
			continue;
		must(strncmp(line, before, length + 1) != 0 || run.faults,
			"3: -v says only what is new", t, line - err);
		memcpy(before, line, least(length + 1, sizeof before - 1));
	}
	if (world.o.pid && why && run.ended >= ended &&
	    ended + 50 * MS < timeout() &&
	    target(t)->state == OCCUPIED && is_undisturbed())
		must(strstr(why, "(Process 4711 has ended)") != NULL,
			"3: -p is the reason", t, ended / MS);
}

/* The first ones hold for find, too. */
static void (*const rules[])(int t) = {
	status_is_right, end_is_in_time, find_finds_the_lowest, reason_was_so,
	occupied_was_accepted, free_is_beside_no_server,
	what_accepts_is_noticed, nothing_is_missed, vacancy_is_noticed,
	lines_are_new,
};

/* What -t 0 reaches, a TIME of the connect timeout and 1 s reaches, too, where
 * nothing changes by itself, and nothing is known later than -t 0 takes. */
static void check_longer(void)
{
	int time = world.o.timeout;
	bool is_static = is_undisturbed() && !world.o.limit;
	for (const struct group *g = groups; g->letter; g++)
		for (int k = 0; k < g->count * g->length; k++)
			is_static &= !g->fields[k % g->length].is_change ||
				!g->ints[k] || strchr("fp", g->letter);
	for (int s = 0; s < SERVERS; s++)
		is_static &= 3 * server_delay(s, 1) < connect_timeout() &&
			/* names share a port */
			!(server(s)->middlebox && world.o.targets);
	if (!is_static || is_success() || world.o.find || timeout() <
	    connect_timeout() + SECOND * 3 / 2 + world.o.stable * MS)
		return;
	world.o.timeout = 0;
	run_program();
	world.o.timeout = time;
	must(!is_success(), "6: a longer TIME is never worse", 0, time);
}

static void run_world(void)
{
	run_program();
	for (int t = 0; t < target_count() && !*violation; t++)
		for (int k = 0; k < (world.o.find ? 3 : LENGTH(rules)); k++)
			rules[k](t);
	if (!*violation)
		check_longer();
}

/* Worlds in words, and smaller ones */

/* Writes "a5.rtt", or "timeout" where there is one of these only. */
static const char *field_name(const struct group *g, int k)
{
	static char name[64];
	char *to = name;
	if (g->count > 1)
		to += sprintf(name, "%c%d.", g->letter, k / g->length);
	strcpy(to, g->fields[k % g->length].name);
	return name;
}

static void print_world(FILE *to)
{
	for (const struct group *g = groups; g->letter; g++)
		for (int k = 0; k < g->count * g->length; k++)
			if (g->ints[k])
				fprintf(to, " %s=%d", field_name(g, k),
					g->ints[k]);
	fprintf(to, "\n");
}

/* Sets what "a5.first=1" says; false: there is no such field. */
static bool parse_field(const char *text)
{
	size_t size = strcspn(text, "=");
	for (const struct group *g = groups; g->letter; g++)
		for (int k = 0; k < g->count * g->length; k++) {
			const char *name = field_name(g, k);
			if (strlen(name) != size || strncmp(name, text, size))
				continue;
			g->ints[k] = atoi(text + size + 1);
			return true;
		}
	return false;
}

static void shrink_world(void)
{
	struct world before;
	char first[sizeof violation];
	size_t rule = strcspn(violation + 2, ":") + 2;
	strcpy(first, violation);
	do {
		before = world;
		for (int *value = (int *)&world; value < (int *)(&world + 1);
		     value++)
			for (int next = 0, old = *value; next < old;
			     next += (old - next + 1) / 2) {
				struct world kept = world;
				*value = next;
				settle_world();
				run_world();
				if (!strncmp(violation, first, rule))
					break;
				world = kept;
			}
	} while (memcmp(&before, &world, sizeof world) != 0);
	run_world();
}

static unsigned long long seed;

static void run_and_report(void)
{
	settle_world();
	run_world();
	if (!*violation)
		return;
	is_tracing = false;
	printf("seed %llu: %s\n", seed, violation);
	if (!strstr(violation, "loop without"))         /* takes too long */
		shrink_world();
	printf("%s\nsimulate", violation);
	print_world(stdout);
}

static void on_alarm(int number)
{
	must(!is_running, "5: no loop without a call", number, 0);
}

/* A crash, or a sanitizer's complaint. */
static void on_crash(int number)
{
	fprintf(stderr, "%s in seed %llu:", strsignal(number), seed);
	print_world(stderr);
	_exit(1);
}

static double number_of(const char *variable, double otherwise)
{
	return getenv(variable) ? atof(getenv(variable)) : otherwise;
}

static void print_coverage(void)
{
	for (int c = 0; c < CALLS; c++) {
		printf("%-13s %9ld", calls[c].name, coverage[c][0]);
		for (int e = 1; e < 256; e++)
			if (coverage[c][e])
				printf(" %s %ld", strerrorname_np(e),
					coverage[c][e]);
		putchar('\n');
	}
	printf("answers of name servers:");
	for (int what = 0; what < SAYS; what++)
		printf(" %ld", said[what]);
	printf("\nstatus 0: %ld, 1: %ld, 126 and 127: %ld\n", ends[0], ends[1],
		ends[126] + ends[127]);
}

/* Worlds are drawn until there are enough violations, or time is up. */
static int run_random(void)
{
	unsigned long long first = seed = number_of("SEED", time(NULL) * 1e6);
	time_t start = time(NULL), end = start + number_of("SECONDS", 30);
	unsigned long long limit = number_of("WORLDS", 1e18);
	int left = number_of("VIOLATIONS", 1), wrong = 0;
	for (; wrong < left && seed - first < limit && (seed % 64 ||
	     time(NULL) < end || limit < 1e18); seed++) {
		draw_world(seed);
		run_and_report();
		wrong += *violation != '\0';
	}
	print_coverage();
	printf("%llu worlds from seed %llu on, %.0f a second of CPU time\n",
		seed - first, first,
		(double)(seed - first) * CLOCKS_PER_SEC / clock());
	return wrong > 0;
}

int main(int argc, char **argv)
{
	signal(SIGSEGV, on_crash);
	signal(SIGABRT, on_crash);
	sigaction(SIGVTALRM, &(struct sigaction){ .sa_handler = on_alarm,
		.sa_flags = SA_NODEFER }, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	restore_program();
	if (argc == 1)
		return run_random();
	seed = strtoull(argv[1], NULL, 10);
	if (!strchr(argv[1], '='))
		draw_world(seed);
	else
		while (*++argv)
			if (!parse_field(*argv))
				return fprintf(stderr, "%s?\n", *argv), 2;
	print_world(stdout);
	is_tracing = true;
	run_and_report();
	return *violation != '\0';
}
