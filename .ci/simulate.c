/*
 * A simulated world for portend: portend.c, compiled as it is, makes its calls
 * here, in a kernel with a network, name servers and a clock of its own. A wait
 * of an hour takes a moment, the process can be stopped between any two calls,
 * any call can fail, and what is so in the world is known: what portend says is
 * held against that. .ci/simulate builds and runs it, and says how.
 *
 * A world is a struct of ints, of which 0 is always the plainest. The tables
 * OPTION_FIELDS to STOP_FIELDS declare them and say how each is drawn; its name
 * there describes a world ("a5.rtt=20": address 5 of all, the second one of
 * target 1). All that happens follows from these ints, and no state survives
 * from one world to the next. A violation is shrunk by making ints smaller as
 * long as the same rule is violated.
 *
 * To add a fault: an errno at the end of its call's row in CALLS. Faults that
 *   are stored count it: see that call's number in FAULTS of .ci/simulate. A
 *   call that is not there is a row of its own and a sim_ function that begins
 *   with fails(), which .ci/simulate finds by its name.
 * To add a behaviour: a row at the end of BEHAVIOURS (an address) or SAYS (a
 *   name server), and '0' and its number in the bags of "first" or "says".
 *   What no column says is acted out in syn_arrives() or ask_server().
 * To add an invariant: must(it holds, "section of SPEC.md: its words") in the
 *   call where it is seen, or in one of "rules", which compare what was told
 *   with what is so; what it remembers is in struct run, which begins as 0.
 *   Beside faults and stops it holds, too, or it asks is_undisturbed(): a
 *   world's own EPERM is no fault. See it fail: SANITIZE= SOURCE=broken.c
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
#include <resolv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The world */

enum {
	TARGETS = 6,                    /* those behind are like them */
	TARGETS_MAX = 200, ADDRESSES = 4, SERVERS = 4, DOMAINS = 3,
	FAULTS = 3, STOPS = 3,
	PORT = 1000,                    /* of target 0 */
	DESCRIPTORS = 1024, PACKETS = 1 << 13,
};
#define MS 1000000LL
#define SECOND (1000 * MS)
#define HORIZON (40 * SECOND)           /* of a wait without an end */
#define NEVER (INT64_MAX / 16)
#define LENGTH(array) ((int)(sizeof (array) / sizeof *(array)))

enum kind { LITERAL, LOCALHOST, HOSTS, DNS };
enum state { OCCUPIED, FREE, ASSERT_FREE };

/* What an address does, and what is so then: tcp and udp, what connect(2) says
 * at once; later, the answer to a SYN (0: it accepts), which may be silence. */
#define BEHAVIOURS(X) \
	X(REFUSES, .later = ECONNREFUSED) X(ACCEPTS) \
	X(SILENT, .is_silent = true) \
	X(FULL, .is_silent = true)      /* listens, but its queue is full */ \
	X(UNREACHABLE, .later = EHOSTUNREACH, .is_away = true) \
	X(NO_ROUTE, .tcp = ENETUNREACH, .udp = ENETUNREACH, \
		.later = EHOSTUNREACH, .is_away = true) \
	X(BLACKHOLE, .tcp = EINVAL, .udp = EINVAL, .later = EHOSTUNREACH, \
		.is_away = true) \
	X(PROHIBITED, .tcp = EACCES, .udp = EACCES, .is_trouble = true) \
	X(BLOCKED, .tcp = EPERM, .is_trouble = true) \
	X(NO_PORT, .tcp = EADDRNOTAVAIL, .is_trouble = true) \
	X(ODD_ICMP, .is_silent = true)  /* POLLERR, but SO_ERROR is 0 */ \
	X(SELF, .later = ECONNREFUSED)  /* where ours: it gets to itself */ \
	X(RESETS)                       /* accepts, and resets at once */ \
	X(FILTERED, .later = EACCES, .is_away = true)   /* ICMP, from afar */ \
	X(UNLISTED, .is_silent = true)  /* the name does not have it */

/* What a name server says; is_answer: something is known by it. */
#define SAYS(X) \
	X(TRUTH, .is_answer = true) X(DENIES, .code = 3, .is_answer = true) \
	X(EMPTY, .is_empty = true, .is_answer = true) X(FAILING, .code = 2) \
	X(REFUSING, .code = 5) X(IGNORANT, .code = 4) \
	X(LAME, .is_empty = true) X(MUTE) \
	X(CLOSED, .is_gone = true)      /* ICMP */ \
	X(ROUTELESS, .is_gone = true)   /* says connect(2) */ \
	X(BARE, .code = 5)              /* without the question */ \
	X(TRUNCATES, .is_truncated = true, .is_answer = true) \
	X(TRUNCATED_FAILURE, .code = 2, .is_truncated = true) \
	X(LIES, .is_answer = true)      /* another ID, then the truth */ \
	X(FIREWALLED)                   /* send(2): EPERM */

#define WORD(word, ...) word,
#define ROW(word, ...) { #word, __VA_ARGS__ },
enum behaviour { BEHAVIOURS(WORD) };
enum says { SAYS(WORD) SAYS_MAX };
static const struct {
	const char *word;
	int tcp, udp, later;
	bool is_silent, is_away, is_trouble;
} behaviours[] = { BEHAVIOURS(ROW) };
static const struct {
	const char *word;
	int code;                       /* RCODE */
	bool is_empty, is_truncated, is_answer, is_gone;
} replies[] = { SAYS(ROW) };
enum stream {                           /* its TCP */
	ANSWERS, STREAM_REFUSES, STALLS, STREAM_SILENT, STREAM_FAILS, CLOSES,
	STREAM_TRUNCATES
};

/* Of each field its name; in how many percent of the worlds it is not 0; and 1
 * to how much it is then, small ones as often as large ones, or which digits
 * ('0' + value) it is one of. CHANGE: 0 in worlds that do not change. */
#define CHANGE .is_change = true

#define OPTION_FIELDS(X) \
	X(timeout, 88, 8000)            /* 0: -t 0 */ \
	X(connect_timeout, 50, 4000)    /* 0: 2 s */ \
	X(stable, 12, 1500) X(any, 8, 1) X(verbose, 60, 1) \
	X(pid, 8, 4000, CHANGE)         /* -p: it ends then */ \
	X(endless, 3, 1, CHANGE)        /* without -t */ \
	X(find, 8, 1) \
	X(limit, 10, 64, CHANGE)        /* 32 and that: descriptors */ \
	X(closed, 6, 3)                 /* a set: 0 and 1 */ \
	X(targets, 45, TARGETS - 1)     /* and one */ \
	X(crowd, 1, TARGETS_MAX - TARGETS)      /* and that many */ \
	X(servers, 60, SERVERS)         /* 0: 127.0.0.1 */ \
	X(domains, 25, DOMAINS)         /* of the search list */ \
	X(ndots, 25, 4) X(use_vc, 3, 1) \
	X(hosts_at, 5, 4000, CHANGE)    /* then /etc/hosts has names, */ \
	X(resolv_at, 8, 4000, CHANGE)   /* and resolv.conf servers */ \
	X(cost, 40, 30)                 /* us of a call, and one */ \
	X(old_kernel, 20, 1)            /* SYNs as before 6.5 */ \
	X(spurious, 8, 1, CHANGE)       /* short reads, early ppoll */ \
	X(salt, 100, 1 << 20)

#define TARGET_FIELDS(X) \
	X(kind, 90, 0, .bag = "01122333333333") \
	X(state, 60, 0, .bag = "11112") \
	X(more, 40, ADDRESSES - 1)      /* addresses */ \
	X(exists, 30, 0, .bag = "112349")       /* candidate that does */ \
	X(dots, 30, 3)

#define ADDRESS_FIELDS(X) \
	X(first, 70, 0, .bag = "11111111122223445678999:::;<==>") \
	X(second_at, 25, 6000, CHANGE)  /* then it does that */ \
	X(second, 70, 0, .bag = "1111111122234569;>>") \
	X(third_at, 30, 4000)           /* after that */ \
	X(third, 70, 0, .bag = "1111123") X(rtt, 50, 1500) \
	X(lost, 12, 3)                  /* SYNs of each connection */ \
	X(ends, 10, 3000, CHANGE)       /* a connection, after that, */ \
	X(resets, 50, 1)                /* by RST */ \
	X(is_ipv6, 40, 1) X(is_local, 25, 1)    /* of this machine */ \
	X(hidden, 50, 1)                /* if truncated */

#define SERVER_FIELDS(X) \
	X(says, 55, 0, .bag = "1112233456677778899::;;;;;<<==>>") \
	X(only, 30, 2)                  /* to A, to AAAA; else TRUTH */ \
	X(stream, 50, 6) \
	X(delay, 60, 2500) X(aaaa_delay, 10, 2500)      /* besides */ \
	X(lost, 12, 3, CHANGE)          /* first questions */ \
	X(from, 10, 2000, CHANGE)       /* deaf to sockets of before */ \
	X(middlebox, 6, 1)              /* passes one answer a port */ \
	X(doubles, 8, 9)                /* its answers */ \
	X(fails, 5, 3)                  /* for that candidate, and 1 */

#define FAULT_FIELDS(X) \
	X(call, 18, 16, CHANGE)         /* the first in CALLS is 1 */ \
	X(nth, 100, 60) X(more, 50, 200)        /* which ones of it */ \
	X(error, 80, 7)

#define STOP_FIELDS(X) \
	X(nth, 15, 250, CHANGE)         /* before this call */ \
	X(ms, 100, 10000)

#define DECLARE(name, ...) int name;
static struct world {
	OPTION_FIELDS(DECLARE)
	struct target { TARGET_FIELDS(DECLARE) } t[TARGETS];
	struct address { ADDRESS_FIELDS(DECLARE) } a[TARGETS * ADDRESSES];
	struct server { SERVER_FIELDS(DECLARE) } s[SERVERS];
	struct fault { FAULT_FIELDS(DECLARE) } f[FAULTS];
	struct stop { STOP_FIELDS(DECLARE) } p[STOPS];
} world;

#define FIELD(name, ...) { #name, __VA_ARGS__ },
static const struct field {
	const char *name;
	int percent, most;
	bool is_change;
	const char *bag;
} fields[] = {
	OPTION_FIELDS(FIELD) { NULL }, TARGET_FIELDS(FIELD) { NULL },
	ADDRESS_FIELDS(FIELD) { NULL }, SERVER_FIELDS(FIELD) { NULL },
	FAULT_FIELDS(FIELD) { NULL }, STOP_FIELDS(FIELD) { NULL },
};

enum { INTS = sizeof world / sizeof (int) };
static int *const ints = (int *)&world; /* all of them */
static const struct field *field_of[INTS];
static char names[INTS][32];            /* "a5.rtt", or "timeout" */

/* Says what each int of a world is. */
static void name_fields(void)
{
	static const int counts[] = { 1, TARGETS, TARGETS * ADDRESSES, SERVERS,
		FAULTS, STOPS };
	const struct field *part = fields;
	int n = 0;
	for (int k = 0; k < LENGTH(counts); k++) {
		const struct field *field = part;
		for (int i = 0; i < counts[k]; i++)
			for (field = part; field->name; field++, n++) {
				int size = k ? sprintf(names[n], "%c%d.",
					"otasfp"[k], i) : 0;
				strcpy(names[n] + size, field->name);
				field_of[n] = field;
			}
		part = field + 1;
	}
}

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
	bits = 1 + mix(++*state) % bits;
	return 1 + mix(++*state) % (1 << bits) % field->most;
}

/* What contradicts itself is made plain; a crowd would take too long. */
static void settle_world(void)
{
	if (world.crowd)
		world.timeout %= 1000, world.endless = 0;
	if (world.find)
		world.stable = world.any = world.pid = world.endless = 0;
	if (world.timeout > 0 && world.stable > world.timeout && !world.endless)
		world.stable = world.timeout;
	for (int t = 0; t < TARGETS; t++) {
		struct address *a = &world.a[t * ADDRESSES];
		if (world.t[t].state == ASSERT_FREE)
			world.any = 0;
		if (world.t[t].kind < HOSTS)
			world.t[t].more = world.t[t].kind == LOCALHOST;
		if (world.t[t].kind == LOCALHOST)
			a[0].is_local = a[1].is_local = a[1].is_ipv6 = 1;
	}
}

/* One in four does not change, and one in four only by itself. */
static void draw_world(uint64_t seed)
{
	uint64_t state = mix(seed);
	int calm = mix(seed + 1) % 4;
	for (int k = 0; k < INTS; k++) {
		int value = draw_field(&state, field_of[k]);
		bool is_plain = calm == 0 ? field_of[k]->is_change
			: calm == 1 && &ints[k] >= (int *)world.f;
		ints[k] = is_plain ? 0 : value;
	}
	settle_world();
}

/* What its ints mean */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t timeout(void)            /* NEVER without -t */
{
	return world.endless ? NEVER : world.timeout * MS;
}

static int64_t connect_timeout(void)
{
	return world.connect_timeout ? world.connect_timeout * MS : 2 * SECOND;
}

static int64_t process_end(void)        /* of -p; 0: it was over before */
{
	return world.pid ? (world.pid - 1) * MS : NEVER;
}

static int target_count(void) { return 1 + world.targets + world.crowd; }
static const struct target *target(int t) { return &world.t[t % TARGETS]; }
static int server_count(void) { return most(world.servers, 1); }

static const struct server *server(int s)       /* one beyond is dead */
{
	static const struct server dead = { .says = MUTE };
	return s < SERVERS ? &world.s[s] : &dead;
}

static bool is_name(int t) { return target(t)->kind >= HOSTS; }
static int address_count(int t) { return 1 + target(t)->more; }

static const struct address *address(int t, int i)
{
	return &world.a[t % TARGETS * ADDRESSES + i];
}

static int64_t rtt(int t, int i)
{
	return address(t, i)->is_local ? 0 : MS / 5 + address(t, i)->rtt * MS;
}

/* Leaves in *next, if it is wanted, when it changes. */
static enum behaviour behaviour_at(int t, int i, int64_t time, int64_t *next)
{
	const struct address *a = address(t, i);
	int64_t second = a->second_at ? a->second_at * MS : NEVER;
	int64_t third = a->third_at ? second + a->third_at * MS : NEVER;
	if (next)
		*next = time < second ? second : time < third ? third : NEVER;
	return time < second ? a->first : time < third ? a->second : a->third;
}

/* Of t < 0 the address of name server i: 10.2.0.i; else 10.0.t.i, or of this
 * machine 127.1.t.i or 10.1.t.i; 2001:db8:1:t::i, or 2001:db8:2:t::i. */
static const char *address_text(int t, int i)
{
	static char text[INET6_ADDRSTRLEN];
	int net = t < 0 ? 2 : address(t, i)->is_local;
	if (t >= 0 && target(t)->kind == LOCALHOST)
		return i ? "::1" : "127.0.0.1";
	if (t >= 0 && address(t, i)->is_ipv6)
		sprintf(text, "2001:db8:%x:%x::%x", net + 1, t + 1, i + 1);
	else
		sprintf(text, "%d.%d.%d.%d", net == 1 && i % 2 ? 127 : 10, net,
			(int)most(t, 0), i + 1);
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

static const char *host_text(int t)     /* as it is given, but for brackets */
{
	static const char *const dots[] = { "", ".a", ".a.b", ".a.b.c" };
	static char text[64];
	if (target(t)->kind == LITERAL)
		return address_text(t, 0);
	if (target(t)->kind == LOCALHOST)
		return "localhost";
	sprintf(text, "n%d%s", t, dots[target(t)->dots]);
	return text;
}

/* What happens in it */

struct packet {                         /* an answer on its way */
	struct packet *next;            /* on the same socket, by time */
	int64_t at;
	int s, t, f, candidate;
	size_t size;                    /* of the question, then of that */
	unsigned char bytes[600];
};

enum sort { NONE, STANDARD, DIRECTORY, TEXT, TCP, UDP, PIDFD };

struct file {                           /* behind a descriptor */
	enum sort sort;
	int family, t, i, s;            /* whom it goes to; -1: nobody */
	int error;                      /* of connect(2), when answered */
	int port;                       /* that find has bound */
	bool is_connected, is_self, is_reset, is_told, is_odd_told;
	bool is_quick, is_rst, has_passed, is_hosts;
	int64_t born, answered, ended, odd;     /* odd: by ICMP */
	struct packet *packets;
	size_t size, next;              /* of a text; of an answer by TCP */
};

static struct run {                     /* all that a run changes */
	int64_t now, ended, stopped_at, stopped_for;
	int64_t started;                /* the first reading of the clock */
	int calls, counts[32], faults, idle, work, packets, status;
	int questions[SERVERS + 1];     /* asked so far */
	int64_t asked[TARGETS][2][DOMAINS + 1][SERVERS + 1];    /* when */
	bool is_executed, is_cut, is_seen[256];         /* by errno */
	bool is_accepted[TARGETS_MAX];  /* for as long as -s wants */
	int64_t accepted[TARGETS_MAX][ADDRESSES];       /* the last one */
	bool is_given_up[TARGETS_MAX][ADDRESSES];       /* -s: before TIME */
	int64_t closed[TARGETS_MAX][ADDRESSES]; /* by the server: its birth */
	size_t out_size, err_size, memory_size;
} run;

static char out[1 << 16], err[1 << 16];
static const char *violation;           /* the rule; NULL: none */
static struct file files[DESCRIPTORS];
static struct packet packets[PACKETS];
static unsigned char memory[1 << 25];
static char texts[2][1 << 16];          /* resolv.conf, hosts */
static jmp_buf end_of_run;
static bool is_running, is_tracing;
static long coverage[32][256];          /* errnos by call, in all worlds */
static long said[SAYS_MAX], ends[256];  /* by name servers; by status */

/* Each call, and the errors that it may be made to fail with. "call" in
 * FAULT_FIELDS counts those that have some, which stand first. */
#define CALLS(X) \
	X(socket, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM) \
	X(connect, EAGAIN, ENOMEM, ENOBUFS, EPERM, EADDRNOTAVAIL) \
	X(send, EPERM, ENOBUFS, EAGAIN, ENOMEM, ENETDOWN) \
	X(recv, EINTR, EAGAIN, ENOMEM) \
	X(ppoll, EINTR, ENOMEM) X(openat, EMFILE, ENFILE, ENOMEM, EACCES) \
	X(read, EIO, ENOMEM) X(write, EINTR, EPIPE) \
	X(bind, ENOMEM, EACCES, EPERM) X(mmap, ENOMEM) \
	X(getrandom, EAGAIN, ENOSYS) X(poll, EINTR, ENOMEM) X(fstat, EIO) \
	X(execvp, ENOENT, EACCES, ENOEXEC, ENOTDIR) \
	X(pidfd_open, ENOSYS, EPERM, EMFILE) \
	X(clock_gettime) X(setsockopt) X(getsockopt) X(getsockname) \
	X(getpeername) X(close)

#define NUMBER(name, ...) CALL_##name,
enum call { CALLS(NUMBER) CALLS_MAX };
#define ERRORS(name, ...) { #name, { __VA_ARGS__ } },
static const struct {
	const char *name;
	int errors[8];
} calls[CALLS_MAX] = { CALLS(ERRORS) };

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

/* A rule begins with its section of SPEC.md; the first violation ends it. */
static inline void must(bool holds, const char *rule)
{
	if (holds || violation)
		return;
	violation = rule;
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
	return mix((uint64_t)world.salt << 32 | run.calls) >> 16;
}

static void pass_time(int64_t until)
{
	run.now = until;
	run.is_cut = run.now > HORIZON;
	if (run.is_cut)
		end_run();
}

/* Each call begins here: time passes, the process may be stopped, and it may be
 * made to fail. */
static bool fails(enum call call, int n, int detail)
{
	int nth = ++run.counts[call], kinds = 0;
	trace("%s(%d, %d)", calls[call].name, n, detail);
	coverage[call][0]++;
	run.calls++;
	must(run.calls < 4000000, "5: no busy loop");
	pass_time(run.now + 1000 + 1000 * world.cost);
	for (struct stop *p = world.p; p < world.p + STOPS; p++)
		if (p->nth == run.calls) {
			trace("(stopped for %d ms)", p->ms);
			run.stopped_at = run.now += p->ms * MS;
			run.stopped_for += p->ms * MS;
		}
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
		"8: only open descriptors are used");
	return &files[n];
}

/* The lowest descriptor that is free, or EMFILE. */
static int new_file(enum call call, enum sort sort, bool is_cloexec)
{
	int limit = world.limit ? 32 + world.limit : DESCRIPTORS, n = 0;
	while (n < limit && files[n].sort)
		n++;
	if (n == limit)
		return fail(call, EMFILE);
	must(is_cloexec, "8: no descriptor is left for COMMAND");
	must(n > 2 || sort == DIRECTORY, "8: 0 to 2 never become ours");
	files[n] = (struct file){ .sort = sort, .t = -1, .s = -1,
		.is_quick = true, .born = run.now, .answered = NEVER,
		.ended = NEVER, .odd = NEVER };
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
}

/* What becomes of a SYN; false: nothing, and it is sent again. */
static bool syn_arrives(struct file *d, int64_t sent)
{
	int64_t back = sent + rtt(d->t, d->i);
	enum behaviour b = behaviour_at(d->t, d->i, (sent + back) / 2, NULL);
	if (b == ODD_ICMP)
		d->odd = least(d->odd, back);
	if (behaviours[b].is_silent)
		return false;
	d->answered = back;
	d->is_self = b == SELF && address(d->t, d->i)->is_local;
	if (b == ACCEPTS || b == RESETS)
		accept_at(d, back, b == RESETS);
	else if (!d->is_self)
		d->error = behaviours[b].later ? behaviours[b].later
			: ECONNREFUSED;
	return true;
}

/* When a SYN is repeated: at first each second, or doubled throughout before
 * Linux 6.5 (net.ipv4.tcp_syn_linear_timeouts). The last is the end. */
static int64_t syn_time(int k)
{
	static const int linear[] = { 0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67,
		131 };
	return SECOND * (world.old_kernel ? (1 << k) - 1 : linear[k]);
}

static void tcp_connect(struct file *d)
{
	int last = world.old_kernel ? 7 : 11;
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
	if (how == STREAM_REFUSES || d->born < server(d->s)->from * MS)
		d->error = ECONNREFUSED;
	else if (how == STREAM_SILENT || d->s == SERVERS)
		d->answered = NEVER;
}

/* Whose address is that? Port 53 is that of name servers, and one on loopback
 * is dead where there is another. */
static void find_peer(struct file *d, const struct sockaddr *to)
{
	const struct sockaddr_in *in = (const void *)to;
	const struct sockaddr_in6 *in6 = (const void *)to;
	char text[INET6_ADDRSTRLEN];
	int t = ntohs(in->sin_port) - PORT;
	inet_ntop(to->sa_family, to->sa_family == AF_INET ? (const void
		*)&in->sin_addr : &in6->sin6_addr, text, sizeof text);
	d->t = d->s = -1;
	if (t + PORT == 53 && sscanf(text, "10.2.0.%d", &d->s) == 1)
		d->s--;
	else if (t + PORT == 53)
		d->s = world.servers ? SERVERS : 0;
	else if (t >= 0 && t < target_count())
		for (int i = 0; i < address_count(t); i++)
			if (strcmp(text, address_text(t, i)) == 0) {
				d->t = t;
				d->i = i;
			}
}

int sim_socket(int family, int type, int protocol)
{
	bool is_udp = (type & 15) == SOCK_DGRAM;
	if (fails(CALL_socket, family, is_udp))
		return -1;
	int n = new_file(CALL_socket, is_udp ? UDP : TCP, type & SOCK_CLOEXEC);
	if (n >= 0)
		files[n].family = family;
	return n;
}

static bool is_undisturbed(void)
{
	return !run.faults && !run.stopped_for && !world.crowd;
}

int sim_connect(int n, const struct sockaddr *to, socklen_t size)
{
	struct file *d = file(n);
	int error = 0;
	find_peer(d, to);
	trace("to target %d address %d, or server %d", d->t, d->i, d->s);
	if (fails(CALL_connect, n, d->t))       /* as the kernel has it */
		return errno == (d->sort == UDP ? EADDRNOTAVAIL : EAGAIN) ?
			fail(CALL_connect, ENOMEM) : -1;
	if (d->t >= 0) {
		enum behaviour b = behaviour_at(d->t, d->i, run.now, NULL);
		error = d->sort == UDP ? behaviours[b].udp : behaviours[b].tcp;
	} else if (d->s >= 0 && server(d->s)->says == ROUTELESS) {
		error = ENETUNREACH;
	}
	d->is_connected = !error;
	if (error || d->sort == UDP)
		return error ? fail(CALL_connect, error) : 0;
	if (d->s >= 0)
		server_connect(d);
	else if (d->t >= 0)
		tcp_connect(d);
	must(d->t < 0 || !run.is_given_up[d->t][d->i] || !is_undisturbed() ||
		world.limit, "4: what -s has opened stays open for TIME");
	must(d->t < 0 || !run.closed[d->t][d->i] || !is_undisturbed() ||
		run.now > run.closed[d->t][d->i] + 95 * MS,
		"4: what was closed begins anew after 100 ms");
	return fail(CALL_connect, EINPROGRESS);
}

/* At its end: a quiet probe is closed within 0.2 s, by RST. With -s one counts
 * that stayed. */
static void check_end(const struct file *d)
{
	int64_t open = run.now - d->answered;
	if (d->sort != TCP || d->t < 0 || d->error || d->answered > run.now ||
	    d->is_self || d->answered == d->ended)
		return;
	run.is_accepted[d->t] |= least(d->ended, run.now) - d->answered >=
		world.stable * MS;
	run.accepted[d->t][d->i] = d->answered;
	run.is_given_up[d->t][d->i] = d->ended > run.now && open > MS &&
		open < world.stable * MS;
	if (d->ended < d->answered + world.stable * MS && d->ended <= run.now)
		run.closed[d->t][d->i] = d->born;
	must(world.stable || open < 200 * MS || run.stopped_at > d->born ||
		run.faults > 20, "4: probes are closed within 0.2 s");
	must(world.stable || (d->is_rst && !d->is_quick),
		"4: probes leave no trace");
}

int sim_close(int n)
{
	struct file *d = file(n);
	fails(CALL_close, n, 0);
	check_end(d);
	d->sort = NONE;
	return 0;
}

/* A port is in use where somebody listens. */
int sim_bind(int n, const struct sockaddr *to, socklen_t size)
{
	struct file *d = file(n);
	find_peer(d, to);
	if (fails(CALL_bind, n, d->t))
		return -1;
	d->port = ntohs(((const struct sockaddr_in *)to)->sin_port);
	if (d->t < 0)
		return 0;
	enum behaviour b = behaviour_at(d->t, d->i, run.now, NULL);
	if (!address(d->t, d->i)->is_local)
		return fail(CALL_bind, EADDRNOTAVAIL);
	if (world.find && b == PROHIBITED)
		return fail(CALL_bind, EACCES);
	bool is_taken = b == ACCEPTS || b == FULL || b == RESETS;
	return is_taken ? fail(CALL_bind, EADDRINUSE) : 0;
}

/* Name servers */

/* Reads a question (RFC 1035), which must be a proper one, for "n3.a", which is
 * candidate 0 of target 3, or "n3.a.d0", which is its candidate 1. */
static void read_question(struct packet *p, const unsigned char *query,
	size_t size)
{
	char name[300] = "", wanted[300];
	const unsigned char *from = query + 12, *end = query + size;
	p->size = size;
	must(size > 17 && size < 300 && query[2] == 1 && query[5] == 1,
		"6: questions are well-formed");
	memcpy(p->bytes, query, size);
	from += dn_expand(query, end, from, name, sizeof name);
	must(end - from == 4 && from[3] == 1 && (from[1] == 1 || from[1] == 28),
		"6: what is asked is A or AAAA");
	trace("  %s? type %d, id %04x", name, from[1], query[0] << 8 |
		query[1]);
	p->f = from[1] == 28;
	p->t = name[0] == 'n' ? atoi(name + 1) : -1;
	must(p->t >= 0 && p->t < target_count() && is_name(p->t),
		"6: only names are asked for");
	strcpy(wanted, host_text(p->t));
	size = strlen(wanted);
	for (p->candidate = 0; strcmp(name, wanted) != 0; p->candidate++) {
		must(p->candidate < world.domains,
			"6: only candidates are asked for");
		sprintf(wanted + size, ".d%d", p->candidate);
	}
}

static enum says says(int s, int f)
{
	const struct server *own = server(s);
	return own->only == 2 - f && !replies[own->says].is_gone ? TRUTH
		: own->says;
}

/* The addresses of a family; of a truncated answer those that fit. */
static int put_addresses(struct packet *p, bool is_truncated)
{
	int count = 0;
	unsigned char *to = p->bytes + p->size;
	for (int i = 0; i < address_count(p->t); i++) {
		const struct address *a = address(p->t, i);
		if (a->is_ipv6 != p->f || (is_truncated && a->hidden) ||
		    behaviour_at(p->t, i, p->at, NULL) == UNLISTED)
			continue;
		to = mempcpy(to, "\300\014\0\1\0\1\0\0\0\7\0", 11);
		to[-8] = p->f ? 28 : 1;
		*to = put_bytes(p->t, i, to + 1);
		to += 1 + *to;
		count++;
	}
	p->size = to - p->bytes;
	return count;
}

/* What a name server tells beside the answer, is none. */
static void put_glue(struct packet *p)
{
	unsigned char *to = mempcpy(p->bytes + p->size,
		"\300\014\0\1\0\1\0\0\0\7\0", 11);
	to[-8] = p->f ? 28 : 1;
	*to = p->f ? 16 : 4;
	memset(to + 1, 10, *to);
	p->size += 12 + *to;
	p->bytes[11] = 1;
}

/* Makes of the question what the server says. */
static void make_reply(struct packet *p, bool is_stream)
{
	enum says what = says(p->s, p->f);
	enum stream how = server(p->s)->stream;
	bool is_truncated = is_stream ? how == STREAM_TRUNCATES
		: replies[what].is_truncated;
	bool is_known = target(p->t)->kind == DNS && p->candidate ==
		target(p->t)->exists, is_empty = replies[what].is_empty;
	int code = is_stream && how == STREAM_FAILS ? 2 : replies[what].code;
	int count = 0;
	said[what]++;
	if (what == BARE)
		p->size = 12;
	if (is_known && !is_empty && (!code || is_truncated))
		count = put_addresses(p, is_truncated);
	if (!is_known && !is_empty && !code)
		code = p->candidate + 1 == server(p->s)->fails ? 2 : 3;
	p->bytes[2] = 0x81 | is_truncated << 1;
	p->bytes[3] = (what == LAME ? 0 : 0x80) | code;
	p->bytes[5] = what != BARE;
	p->bytes[7] = count;
	if (what != BARE && !is_truncated)
		put_glue(p);
	trace("  will say: code %d, %d of %s%s", code, count, p->f ? "AAAA"
		: "A", is_truncated ? ", truncated" : "");
	if (is_stream) {
		memmove(p->bytes + 2, p->bytes, p->size);
		p->bytes[0] = p->size >> 8;
		p->bytes[1] = p->size;
		p->size += 2;
	}
}

static void put_packet(struct file *d, const struct packet *from, int64_t at)
{
	struct packet **link = &d->packets;
	must(run.packets < PACKETS, "6: no flood of questions");
	struct packet *p = &packets[run.packets++];
	while (*link && (*link)->at <= at)
		link = &(*link)->next;
	*p = *from;
	p->at = at;
	p->next = *link;
	*link = p;
	make_reply(p, d->sort == TCP);
}

/* The same question goes to a server 1 s after the last time at the earliest,
 * by TCP counted from its socket. Trouble of ours is tried again sooner, and a
 * resolv.conf that has changed is asked anew; TCP for what was truncated begins
 * when that has come. */
static void check_pace(const struct file *d, const struct packet *p)
{
	int64_t time = d->sort == TCP ? d->born : run.now, *last;
	if (p->t >= TARGETS || (d->sort == TCP && !world.use_vc))
		return;
	last = &run.asked[p->t][p->f][p->candidate][p->s];
	must(!*last || time - *last >= SECOND || run.faults ||
		run.is_seen[EPERM] || world.resolv_at,
		"6: a question is sent again after 1 s");
	*last = time;
}

/* A question has been sent: what comes of it? */
static void ask_server(struct file *d, struct packet *p)
{
	const struct server *own = server(p->s);
	int64_t at = run.now + server_delay(p->s, p->f);
	enum says what = says(p->s, p->f);
	if (d->sort == TCP && own->stream == CLOSES)
		d->ended = at;
	else if (d->sort == TCP && own->stream != STALLS)
		put_packet(d, p, at);
	if (d->sort == TCP)
		return;
	if (run.questions[p->s]++ < own->lost || d->born < own->from * MS ||
	    what == MUTE || (own->middlebox && d->has_passed))
		return;
	d->has_passed = true;
	if (what == CLOSED) {
		d->odd = run.now + MS / 5;
		return;
	}
	put_packet(d, p, at);
	if (own->doubles && !own->middlebox)
		put_packet(d, p, at + own->doubles * MS);
	p->bytes[1] ^= 1;               /* another ID */
	if (what == LIES)
		put_packet(d, p, at - MS / 10);
}

/* What a socket has to say, once; 0: nothing. By UDP it is what ICMP said of
 * the packet before. */
static int take_error(struct file *d)
{
	static const int errors[] = { ECONNREFUSED, EHOSTUNREACH, EACCES };
	if (d->sort == UDP && d->odd <= run.now) {
		d->odd = NEVER;
		return errors[d->s % LENGTH(errors)];
	}
	if (d->answered > run.now || d->is_told || is_established(d))
		return 0;
	d->is_told = true;
	return d->error ? d->error : ECONNRESET;
}

ssize_t sim_send(int n, const unsigned char *bytes, size_t size, int flags)
{
	struct file *d = file(n);
	struct packet p = { .s = d->s };
	must(d->is_connected && d->s >= 0, "6: only servers are asked");
	must(flags & MSG_NOSIGNAL || d->sort == UDP, "3: no SIGPIPE");
	if (fails(CALL_send, n, d->s))
		return -1;
	int error = d->sort == UDP ? take_error(d) : is_established(d) ? 0
		: d->answered <= run.now ? EPIPE : EAGAIN;
	if (error)
		return fail(CALL_send, error);
	int framed = d->sort == TCP ? 2 : 0;    /* its length is before it */
	must(!framed || size == 2 + (size_t)(bytes[0] << 8 | bytes[1]),
		"6: TCP has whole questions");
	read_question(&p, bytes + framed, size - framed);
	if (!framed && says(p.s, p.f) == FIREWALLED)
		return fail(CALL_send, EPERM);
	check_pace(d, &p);
	ask_server(d, &p);
	return size;
}

/* Of what comes, a packet; or a part of an answer by TCP, which has its length
 * before it, perhaps in pieces. */
ssize_t sim_recv(int n, void *buffer, size_t size, int flags)
{
	struct file *d = file(n);
	struct packet *p = d->packets;
	bool is_stream = d->sort == TCP;
	if (fails(CALL_recv, n, d->s))
		return -1;
	int error = take_error(d);
	if (error)
		return fail(CALL_recv, error);
	if (!p || p->at > run.now)
		return is_stream && (d->is_told || d->ended <= run.now) ? 0
			: fail(CALL_recv, EAGAIN);
	size = least(size, p->size - d->next);
	if (is_stream && world.spurious)
		size = least(size, 7);
	memcpy(buffer, p->bytes + d->next, size);
	d->next += size;
	if (d->next == p->size || !is_stream) {
		d->packets = p->next;
		d->next = 0;
	}
	return size;
}

/* The kernel: waiting */

static short events_of(const struct file *d)
{
	short input = d->packets && d->packets->at <= run.now ? POLLIN : 0;
	bool has_odd = d->odd <= run.now && !d->is_odd_told;
	if (d->sort == NONE)
		return POLLNVAL;
	if (d->sort == PIDFD)
		return run.now >= process_end() ? POLLIN : 0;
	if (d->sort == UDP)
		return POLLOUT | input | (has_odd ? POLLERR : 0);
	if (d->sort != TCP)
		return POLLOUT;
	if (!d->is_connected)
		return POLLOUT | POLLHUP;
	if (d->answered > run.now)
		return has_odd ? POLLERR : 0;
	if (!is_established(d))
		return POLLIN | POLLOUT | POLLHUP | POLLRDHUP |
			(d->is_told ? 0 : POLLERR);
	return POLLOUT | input | (d->ended <= run.now ? POLLIN | POLLRDHUP : 0);
}

/* What is so of each now, and when something may happen next. */
static int look(struct pollfd *polls, nfds_t count, int64_t *next)
{
	int result = 0;
	*next = NEVER;
	for (struct pollfd *p = polls; p < polls + count; p++) {
		const struct file *d = &files[p->fd < 0 ? 0 : p->fd];
		const int64_t times[] = { d->answered, d->ended, d->odd,
			d->packets ? d->packets->at : NEVER,
			d->sort == PIDFD ? process_end() : NEVER };
		must(p->fd < 3 || (p->fd < DESCRIPTORS && d->sort),
			"8: only open descriptors are used");
		p->revents = p->fd < 0 ? 0 : events_of(d) &
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
	if (world.spurious && random_number() % 8 == 0)
		until = least(until, run.now + 3 * MS);
	while ((result = look(polls, count, &next)) == 0 && run.now < until)
		pass_time(least(until, next));
	for (nfds_t k = 0; k < count; k++)      /* this is told once */
		if (polls[k].revents == POLLERR &&
		    files[polls[k].fd].sort == TCP)
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
	int work = run.calls - run.counts[CALL_clock_gettime] -
		run.counts[CALL_ppoll];
	must(length >= 0 && length <= 100 * MS && !mask,
		"5: no sleep is longer than 100 ms");
	bool has_failed = fails(CALL_ppoll, count, length / 1000);
	int result = has_failed ? -1 : wait_until(polls, count, began + length);
	bool is_idle = result == 0 || (has_failed && errno == ENOMEM);
	run.idle = is_idle && run.now - began < MS / 20 && work == run.work ?
		run.idle + (has_failed ? 10 : 1) : 0;
	run.work = work;
	must(run.idle < 500, "5: no busy loop");
	return result;
}

int sim_poll(struct pollfd *polls, nfds_t count, int milliseconds)
{
	int64_t until = milliseconds < 0 ? NEVER : run.now + milliseconds * MS;
	return fails(CALL_poll, count, milliseconds) ? -1
		: wait_until(polls, count, until);
}

/* The kernel: what sockets say of themselves */

int sim_getsockopt(int n, int level, int name, int *error, socklen_t *size)
{
	struct file *d = file(n);
	fails(CALL_getsockopt, n, name);
	must(level == SOL_SOCKET && name == SO_ERROR && *size == sizeof *error,
		"getsockopt");
	*error = take_error(d);
	if (*error)
		fail(CALL_getsockopt, *error);
	return 0;
}

int sim_setsockopt(int n, int level, int name, const int *value, socklen_t size)
{
	struct file *d = file(n);
	const unsigned char *bytes = (const void *)value;
	fails(CALL_setsockopt, n, name);
	if (level == IPPROTO_TCP && name == TCP_QUICKACK)
		d->is_quick = *value || d->is_connected;
	else if (level == SOL_SOCKET && name == SO_LINGER)
		d->is_rst = *value;
	else if (level == IPPROTO_IP && name == IP_MULTICAST_IF &&
	         bytes[0] != 127 && bytes[1] != 1)      /* not ours */
		return fail(CALL_setsockopt, EADDRNOTAVAIL);
	return 0;
}

/* Its own address is that of the peer, where that is of this machine. */
static int put_name(const struct file *d, bool is_peer, struct sockaddr *to,
	socklen_t *size)
{
	struct sockaddr_in6 in6 = { .sin6_family = d->family };
	struct sockaddr_in *in = (void *)&in6;
	unsigned char bytes[16] = { 192, 168, 0, 1, 9 };
	bool ipv6 = d->family == AF_INET6;
	socklen_t whole = ipv6 ? sizeof in6 : sizeof *in;
	in->sin_port = htons(d->port ? d->port : !is_peer && !d->is_self ?
		30000 + (d - files) : d->s >= 0 ? 53 : PORT + d->t);
	if (d->t >= 0 && (is_peer || address(d->t, d->i)->is_local))
		put_bytes(d->t, d->i, bytes);
	else if (d->s >= 0 && is_peer)
		put_bytes(-1, d->s, bytes);
	memcpy(ipv6 ? (void *)&in6.sin6_addr : &in->sin_addr, bytes,
		ipv6 ? 16 : 4);
	memcpy(to, &in6, least(*size, whole));
	*size = whole;
	return 0;
}

int sim_getsockname(int n, struct sockaddr *to, socklen_t *size)
{
	fails(CALL_getsockname, n, 0);
	return put_name(file(n), false, to, size);
}

int sim_getpeername(int n, struct sockaddr *to, socklen_t *size)
{
	struct file *d = file(n);
	fails(CALL_getpeername, n, 0);
	return d->sort == UDP || is_established(d) ? put_name(d, true, to, size)
		: fail(CALL_getpeername, ENOTCONN);
}

/* The kernel: files, and all the rest */

static char *put_hosts(char *to)
{
	bool is_there = run.now >= world.hosts_at * MS;
	to += sprintf(to, "# a comment\n127.0.0.1 localhost\n");
	for (int t = 0; t < target_count() && is_there; t++)
		for (int i = 0; i < address_count(t); i++)
			if (target(t)->kind == HOSTS && UNLISTED !=
			    behaviour_at(t, i, run.now, NULL)) {
				to += sprintf(to, "%s\t", address_text(t, i));
				to += sprintf(to, "x%d %s\n", t, host_text(t));
			}
	return to;
}

static char *put_resolv(char *to)
{
	bool is_there = run.now >= world.resolv_at * MS;
	for (int s = 0; s < world.servers && is_there; s++)
		to += sprintf(to, "nameserver %s\n", address_text(-1, s));
	to += sprintf(to, "search");
	for (int k = 0; k < world.domains; k++)
		to += sprintf(to, " d%d", k);
	return to + sprintf(to, "\noptions edns0 ndots:%d%s\n",
		(int)most(world.ndots, 1), world.use_vc ? " use-vc" : "");
}

long sim_syscall(long number, int first, const char *path, int flags)
{
	if (number == SYS_pidfd_open)
		return fails(CALL_pidfd_open, first, 0) ? -1 :
			run.now >= process_end() ? fail(CALL_pidfd_open, ESRCH)
			: new_file(CALL_pidfd_open, PIDFD, true);
	must(number == SYS_openat, "syscall");
	bool is_hosts = strcmp(path, "/etc/hosts") == 0;
	bool is_root = strcmp(path, "/") == 0;
	trace("%s", path);
	if (fails(CALL_openat, first, flags))
		return -1;
	if (!is_hosts && !is_root && strcmp(path, "/etc/resolv.conf") != 0)
		return fail(CALL_openat, ENOENT);
	int n = new_file(CALL_openat, is_root ? DIRECTORY : TEXT,
		flags & O_CLOEXEC);
	if (n >= 0) {
		files[n].is_hosts = is_hosts;
		files[n].size = (is_hosts ? put_hosts(texts[1])
			: put_resolv(texts[0])) - texts[is_hosts];
	}
	return n;
}

ssize_t sim_read(int n, void *buffer, size_t size)
{
	struct file *d = file(n);
	if (fails(CALL_read, n, size))
		return -1;
	size = least(size, least(d->size - d->next, world.spurious ? 99 :
		1 << 16));
	memcpy(buffer, texts[d->is_hosts] + d->next, size);
	d->next += size;
	return size;
}

ssize_t sim_write(int n, const void *bytes, size_t size)
{
	size_t *used = n == 1 ? &run.out_size : &run.err_size;
	trace("%.*s", (int)size - 1, (const char *)bytes);
	if (fails(CALL_write, n, size))
		return -1;
	must(n == 1 || n == 2, "3: what is written goes to 1 or 2");
	if (files[n].sort != STANDARD)
		return fail(CALL_write, EBADF);
	for (int k = 3; k < DESCRIPTORS && n == 2 && *(const char *)bytes ==
	     'P'; k++)
		must(files[k].sort != TCP || files[k].t < 0 || world.find,
			"3: messages come when probes are closed");
	must(*used + size < sizeof out, "3: no flood");
	memcpy((n == 1 ? out : err) + *used, bytes, size);
	*used += size;
	return size;
}

/* The same file is the one with the same bytes. */
int sim_fstat(int n, struct stat *status)
{
	struct file *d = file(n);
	uint64_t hash = 0;
	if (fails(CALL_fstat, n, 0))
		return -1;
	for (size_t k = 0; k < d->size; k++)
		hash = mix(hash ^ (unsigned char)texts[d->is_hosts][k]);
	*status = (struct stat){ .st_mode = S_IFREG | 0644, .st_ino = 1,
		.st_size = d->size };
	status->st_mtim.tv_nsec = status->st_ctim.tv_nsec = hash % SECOND;
	return 0;
}

int sim_clock_gettime(clockid_t clock, struct timespec *time)
{
	must(clock == CLOCK_MONOTONIC, "5: no other clock");
	fails(CALL_clock_gettime, clock, 0);
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
	if (fails(CALL_mmap, n, size) || (is_full && fail(CALL_mmap, ENOMEM)))
		return MAP_FAILED;
	run.memory_size += size;
	return memset(memory + run.memory_size - size, 0, size);
}

ssize_t sim_getrandom(unsigned char *buffer, size_t size, unsigned flags)
{
	if (fails(CALL_getrandom, size, flags))
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
	must(strcmp(path, *argv) == 0, "8: COMMAND as it is");
	if (fails(CALL_execvp, 0, 0))
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

static const char *target_text(int t)   /* as -v has it */
{
	static char text[96];
	bool ipv6 = target(t)->kind == LITERAL && address(t, 0)->is_ipv6;
	sprintf(text, ipv6 ? "[%s]:%d" : "%s:%d", host_text(t), PORT + t);
	return text;
}

/* The command line, in words that are one string. */
static void put_words(char *to)
{
	static const char *const states[] = { "occupied", "free",
		"assert-free" };
	to += sprintf(to, "portend -c%dms%s%s%s", (int)(connect_timeout() / MS),
		world.any ? " --any" : "", world.verbose ? " -v" : "",
		world.pid ? " --pid=4711" : "");
	to += world.endless ? 0 : sprintf(to, " -t%dms", world.timeout);
	to += world.stable ? sprintf(to, " -s%dms", world.stable) : 0;
	for (int t = 0; t < target_count(); t++)
		to += sprintf(to, " %s %s", target_text(t), world.find ? ""
			: states[target(t)->state]);
	strcpy(to, world.find ? " find" : " -- command");
}

static void run_program(void)
{
	static char words[1 << 14], *arguments[2 * TARGETS_MAX + 20];
	int count = 0;
	memset(files, 0, sizeof files);
	memset(&run, 0, sizeof run);
	violation = NULL;
	put_words(words);
	trace("%s", words);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		arguments[count++] = word;
	arguments[count] = NULL;
	restore_program();
	for (int n = 0; n < 3; n++)
		files[n].sort = world.closed & 1 << n ? NONE : STANDARD;
	is_running = true;
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = 30 },
		NULL);
	if (setjmp(end_of_run) == 0) {
		run.status = portend_main(count, arguments);
		run.ended = run.now;
	}
	is_running = false;
	for (int n = 0; n < DESCRIPTORS; n++)
		if (files[n].sort) {
			check_end(&files[n]);
			must(files[n].sort != TEXT || run.is_cut,
				"8: no descriptor is leaked");
		}
	err[run.err_size] = out[run.out_size] = '\0';
	ends[run.status & 255]++;
	trace("ended with %d%s", run.status, run.is_cut ? ", cut" : "");
}

/* What is so in the world: this follows SPEC.md, and not the program */

/* From when on an address is listed and accepts for good; NEVER: not. Before
 * that it answered at once, or not. */
static int64_t live_from(int t, int i, bool *was_prompt)
{
	const struct address *a = address(t, i);
	int64_t from = 0, next = 0;
	enum behaviour last = REFUSES;
	bool was_unlisted = false;
	*was_prompt = true;
	while (next < NEVER) {
		*was_prompt &= behaviours[last].later || behaviours[last].tcp;
		was_unlisted |= last == UNLISTED;
		last = behaviour_at(t, i, from = next, &next);
	}
	return last != ACCEPTS || (was_unlisted && is_name(t)) ||
		(a->ends && world.stable) ? NEVER : from;
}

static int64_t latency(int t, int i)    /* from connect(2) to the answer */
{
	return syn_time(address(t, i)->lost) + rtt(t, i);
}

/* When a server has said all that it knows of a family; NEVER: perhaps not. */
static int64_t truth_time(int s, int f)
{
	const struct server *own = server(s);
	int64_t time = server_delay(s, f);
	int64_t late = own->from * MS;
	int64_t by_tcp = MS + server_delay(s, 0) / 4 + time;
	enum says what = says(s, f);
	bool is_odd = world.use_vc && (late || own->lost || own->stream ||
		time > 400 * MS || own->says == ROUTELESS);
	if (what == TRUNCATES && own->stream == ANSWERS && by_tcp < 900 * MS)
		time += by_tcp;
	else if (what != TRUTH && what != LIES)
		return NEVER;
	return is_odd ? NEVER : time + (late ? late + 1100 * MS : 0) +
		own->lost * 1010 * MS + (world.use_vc ? time : 0);
}

/* When it has denied a name, or has failed, for both families. */
static int64_t denial_time(int s)
{
	const struct server *own = server(s);
	bool is_heard = !own->from && !own->lost &&
		!own->middlebox && !world.use_vc;
	int silent = (says(s, 0) == MUTE) + (says(s, 1) == MUTE);
	for (int f = 0; f < 2; f++) {
		enum says what = says(s, f);
		is_heard &= !replies[what].is_gone && what != FIREWALLED &&
			(!replies[what].is_truncated || !own->stream);
	}
	if (!is_heard || silent == 2 || (silent && timeout() == 0))
		return NEVER;
	return 3 * server_delay(s, 1) + silent * 5 * SECOND;
}

/* How many candidates are tried before the one that exists; -1: it is not. */
static int position(int t)
{
	int candidate = target(t)->exists, domains = world.domains;
	if (candidate > domains)
		return -1;
	if (target(t)->dots >= most(world.ndots, 1))
		return candidate;
	return candidate ? candidate - 1 : domains;
}

/* When all addresses of a family are known; NEVER: perhaps not. */
static int64_t known_at(int t, int f)
{
	int64_t best = NEVER, denial = 0;
	if (!is_name(t))
		return 0;
	if (target(t)->kind == HOSTS)
		return !world.hosts_at ? 0 : !timeout() ? NEVER
			: world.hosts_at * MS + 1100 * MS;
	if (position(t) < 0)
		return NEVER;
	for (int s = 0; s < server_count(); s++) {
		int64_t time = truth_time(s, f);
		if ((server_count() == 1 || time < 900 * MS) &&
		    !(server(s)->middlebox && world.targets))
			best = least(best, time);
		denial = most(denial, denial_time(s));
	}
	best += position(t) ? position(t) * (denial + MS) : 0;
	best += world.resolv_at ? world.resolv_at * MS + 1100 * MS : 0;
	return least(best, NEVER);
}

/* Has some server said of a family what it knows? Where one could not be sent
 * to, it was not asked. */
static bool is_answered(void)
{
	bool is_told = world.use_vc;
	for (int f = 0; f < 2; f++)
		for (int s = 0; s < server_count(); s++)
			is_told |= replies[says(s, f)].is_answer;
	return is_told && (world.servers > 1 || world.use_vc ||
		(says(0, 0) != FIREWALLED && says(0, 1) != FIREWALLED));
}

/* When what fitted into the only server's truncated answer may count: after the
 * whole one, or 1 s of TCP without it. */
static int64_t fitted_time(void)
{
	int64_t time = 0, shortest = least(timeout() ? timeout() : NEVER,
		connect_timeout());
	const struct server *own = server(0);
	bool is_odd = world.servers > 1 || world.use_vc || own->middlebox ||
		own->lost || own->from || run.stopped_for ||
		(own->stream != ANSWERS && own->stream != STALLS &&
		 own->stream != STREAM_SILENT);
	for (int f = 0; f < 2 && !is_odd; f++) {
		int64_t delay = server_delay(0, f), by_tcp = own->stream ?
			SECOND : server_delay(0, 0) / 4 + delay;
		if (says(0, f) == TRUNCATES && delay < shortest)
			time = most(time, delay + least(SECOND, by_tcp));
	}
	return time;
}

/* What was told */

/* What follows the port in the message of failure; "": there is none. */
static const char *failure(int t)
{
	static char rest[300];
	char start[32];
	int size = sprintf(start, "Port %d ", PORT + t);
	*rest = '\0';
	for (const char *line = err; *line; line = strchr(line, '\n') + 1)
		if (strncmp(line, start, size) == 0)
			sprintf(rest, "%.*s", (int)strcspn(line, "\n") - size,
				line + size);
	return rest;
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
	       (world.find && run.status == 0 && !run.is_cut);
}

static bool is_reached(int t)           /* certainly */
{
	return reached_at(t) >= 0 || (is_success() &&
		(!world.any || target_count() == 1));
}

/* Rules, each for one target, and those of its addresses */

static void status_is_right(int t)
{
	bool is_told = run.faults || world.limit || run.is_cut ||
		is_success() || world.find;
	for (int k = 0; k < target_count(); k++)
		is_told |= *failure(k);
	must(is_success() || run.status == 1 || run.is_cut, "2: exit status");
	must(is_told, "3: a message for what is not reached");
	must(!is_success() || world.find || !world.verbose || world.any ||
		run.faults || reached_at(t) >= 0,
		"3: -v tells when it was reached");
}

/* In [TIME, TIME + 50 ms], or within 150 ms after a stop; one check takes the
 * connect timeout twice, and 100 ms. */
static void end_is_in_time(int t)
{
	int64_t up = timeout(), took = run.ended - run.started, last;
	bool is_once = !world.find, may_be_early = is_success() ||
		run.is_cut || run.faults || world.find || world.pid;
	for (int k = 0; k < target_count(); k++) {
		is_once &= timeout() == 0 || target(k)->state == ASSERT_FREE;
		may_be_early |= target(k)->state == ASSERT_FREE ||
			(target(k)->state == FREE &&
			 strstr(failure(k), "(Name does not resolve)"));
	}
	must(up == 0 || may_be_early || took >= up, "5: no end before TIME");
	bool has_failed = !world.find && *failure(t) &&
		target(t)->state == ASSERT_FREE;
	if (is_once || timeout() == 0 || (has_failed && !world.limit))
		up = (2 - world.find) * connect_timeout() + world.stable * MS +
			50 * MS + run.stopped_for + run.faults * 100 * MS;
	if (!is_once)
		up = least(up, process_end());
	last = run.started + up + 50 * MS + target_count() * MS / 5;
	if (run.stopped_at)
		last = most(last, run.stopped_at + 150 * MS);
	must(run.ended <= last || (is_once && world.limit) || run.faults > 20,
		"5: the end is in time");
}

static void find_finds_what_is_free(int t)
{
	const char *line = out;
	if (!world.find || !is_success())
		return;
	for (int k = 0; k < t; k++)
		line += strcspn(line, "\n") + (strchr(line, '\n') != NULL);
	must(atoi(line) == PORT + t, "7: find finds what is free");
}

/* An errno that is told as the reason was returned by some call. */
static void reason_was_so(int t)
{
	static const struct {
		const char *text;
		int error;
	} reasons[] = {
		{ "(Connection refused", ECONNREFUSED },
		{ "(Connection reset", ECONNRESET },
		{ "(Operation not permitted", EPERM },
		{ "(No file descriptors available", EMFILE },
		{ "(Too many open files in system", ENFILE },
		{ "(Out of memory", ENOMEM }, { "(I/O error", EIO },
		{ "(No buffer space available", ENOBUFS },
		{ "(Address not available", EADDRNOTAVAIL },
	};
	const char *why = failure(t);
	int64_t heard = world.resolv_at || !is_undisturbed() ||
		connect_timeout() < SECOND ? NEVER : 0;
	int fails = server(0)->fails;
	for (int k = 0; k < LENGTH(reasons); k++)
		must(!strstr(why, reasons[k].text) ||
			run.is_seen[reasons[k].error], "3: the reason was so");
	for (int s = 0; s < server_count(); s++)
		heard = most(heard, replies[says(s, 0)].is_truncated ||
			replies[says(s, 1)].is_truncated ? NEVER
			: denial_time(s));
	must(!strstr(why, "(No answer from the") || timeout() < 3 * SECOND +
		2 * heard * (world.domains + 1),
		"3: the name server did answer");
	/* Where a candidate has failed, the name may exist. */
	must(!strstr(why, "(Name does not") || world.servers > 1 || !fails ||
		target(t)->kind != DNS || fails > world.domains + 1 ||
		fails == target(t)->exists + 1 || world.resolv_at ||
		run.faults || says(0, 0) != TRUTH || says(0, 1) != TRUTH,
		"6: a failure is no denial");
	must(!*why || process_end() + 50 * MS >= timeout() ||
		run.ended < process_end() || target(t)->state != OCCUPIED ||
		!is_undisturbed() || strstr(why, "(Process 4711 has ended)"),
		"3: -p is the reason");
}

static void occupied_was_accepted(int t)
{
	must(target(t)->state != OCCUPIED || !is_reached(t) ||
		run.is_accepted[t], "4: occupied only after an acceptance");
}

/* It is there all the time, known in time, and answers in time; or nothing can
 * be said of it. */
static bool is_never_free(int t, int i)
{
	const struct address *a = address(t, i);
	int64_t patience = least(connect_timeout(), timeout() ? timeout() :
		NEVER) / 10 * 9;
	if (a->second_at || known_at(t, address(t, i)->is_ipv6) >
	    least(patience, process_end()))
		return false;
	if (a->first == ACCEPTS)
		return latency(t, i) <= patience && !(a->ends && world.stable);
	return (a->first == FULL && address(t, i)->is_local) ||
		behaviours[a->first].is_trouble;
}

/* It accepts, is away for less than 1 s, and accepts again. */
static bool has_gap(int t, int i)
{
	const struct address *a = address(t, i);
	return a->first == ACCEPTS && a->third == ACCEPTS &&
		(a->second == SILENT || behaviours[a->second].is_away) &&
		a->second_at && a->third_at && a->third_at < 900 && timeout() &&
		!world.stable && !is_name(t) && !a->ends &&
		latency(t, i) < MS && run.accepted[t][i] &&
		run.accepted[t][i] <= a->second_at * MS;
}

static void free_is_beside_no_server(int t)
{
	int64_t at = reached_at(t) < 0 ? run.ended : run.started +
		reached_at(t) + MS;
	bool is_dns = target(t)->kind == DNS;
	/* A stop leaves nothing of TIME, or of that for a look-up in which TCP
	 * has to be there first: then it was silent. */
	bool is_over = run.stopped_for && ((is_dns && world.use_vc) ||
		(timeout() && timeout() < run.stopped_for + 100 * MS));
	if (target(t)->state == OCCUPIED || !is_reached(t))
		return;
	must(!is_dns || at >= fitted_time(), "6: what fitted is not all");
	must(!is_dns || is_answered(), "6: free only if the name is known");
	for (int i = 0; i < address_count(t) && !is_over; i++) {
		must(!is_never_free(t, i),
			"4: free only if no address accepts");
		must(target(t)->state == ASSERT_FREE || !has_gap(t, i),
			"4: free is not decided by one sample");
	}
}

/* When it must have been noticed that it accepts; NEVER: perhaps not. */
static int64_t notice_time(int t)
{
	int64_t best = NEVER, patience = connect_timeout() / 10 * 9;
	for (int i = 0; i < address_count(t); i++) {
		bool was_prompt;
		int64_t from = live_from(t, i, &was_prompt);
		int64_t delay = latency(t, i);
		int64_t known = known_at(t, address(t, i)->is_ipv6);
		if (delay > patience || from == NEVER || known == NEVER ||
		    (timeout() == 0 && (from || known > patience)))
			continue;
		if (from)               /* behind a probe that is silent */
			from += was_prompt ? delay + 250 * MS
				: connect_timeout() + 1200 * MS;
		best = least(best, most(from, known) + delay +
			world.stable * MS + 150 * MS);
	}
	return best;
}

/* The last check finds one of this machine that is there before the end. */
static bool is_there_at_end(int t)
{
	const struct address *a = address(t, 0);
	bool was_prompt;
	int64_t from = live_from(t, 0, &was_prompt);
	return !is_name(t) && a->is_local && was_prompt && !a->lost &&
		!world.stable && timeout() &&
		from + MS < least(timeout(), process_end());
}

static void what_accepts_is_noticed(int t)
{
	int64_t by = notice_time(t), up = timeout() > 0 ? timeout() : by;
	bool is_alone = target_count() == 1;
	up = least(up, process_end());
	if (target(t)->state != OCCUPIED || !is_undisturbed())
		return;
	must(!*failure(t) || !is_there_at_end(t),
		"5: nothing is missed at the end");
	if (by == NEVER)
		return;
	must(by > up || !(*failure(t) || (run.is_cut && is_alone)),
		"4: what accepts is noticed");
	must(reached_at(t) <= by && (by > up || !is_alone ||
		run.ended - run.started < by + 50 * MS),
		"5: what accepts is noticed in time");
}

/* When it must have been noticed that nobody accepts, or no more; NEVER: maybe
 * never. What has accepted must be silent or unreachable twice. */
static int64_t vacancy_time(int t)
{
	bool is_dns = target(t)->kind == DNS, is_known = false;
	bool is_once = timeout() == 0 || target(t)->state == ASSERT_FREE;
	int64_t last = 0, settled = !is_dns ? known_at(t, 0) :
		(denial_time(0) + MS) * (position(t) + 1) +
		(world.resolv_at ? world.resolv_at * MS + 1100 * MS : 0);
	if (world.hosts_at || (is_dns && (server_count() > 1 || !settled)) ||
	    settled > (is_once ? connect_timeout() / 10 * 9 : HORIZON))
		return NEVER;
	for (int i = 0; i < address_count(t); i++) {
		const struct address *a = address(t, i);
		enum behaviour b = a->second_at ? a->second : a->first;
		int64_t wait = b == SILENT ? connect_timeout()
			: least(latency(t, i), connect_timeout());
		if (a->third_at || (b != SILENT && !behaviours[b].later) ||
		    (a->second_at && (a->first != ACCEPTS || is_once ||
		                      world.stable)))
			return NEVER;
		if (a->second_at && behaviours[b].later != ECONNREFUSED)
			wait += SECOND + wait;
		is_known |= known_at(t, a->is_ipv6) < NEVER;
		last = most(last, wait + a->second_at * MS);
	}
	return is_known ? settled + last + 300 * MS : NEVER;
}

static void vacancy_is_noticed(int t)
{
	int64_t by = vacancy_time(t), up = timeout() ? timeout() : NEVER;
	if (target(t)->state != OCCUPIED && is_undisturbed() && !world.limit &&
	    by < least(up, process_end()))
		must(!*failure(t) && reached_at(t) <= by,
			"4: that nobody accepts is noticed");
}

/* The first ones hold for find, too. */
static void (*const rules[])(int t) = {
	status_is_right, end_is_in_time, find_finds_what_is_free, reason_was_so,
	occupied_was_accepted, free_is_beside_no_server,
	what_accepts_is_noticed, vacancy_is_noticed,
};

/* What -t 0 reaches, a TIME of the connect timeout and 1 s reaches, too, where
 * nothing changes by itself, and nothing is known later than -t 0 takes. */
static void check_longer(void)
{
	int time = world.timeout;
	bool is_static = is_undisturbed() && !world.limit;
	for (int k = 0; k < INTS; k++)
		is_static &= !field_of[k]->is_change || !ints[k] ||
			&ints[k] >= (int *)world.f;
	for (int s = 0; s < SERVERS; s++)
		is_static &= 3 * server_delay(s, 1) < connect_timeout() &&
			/* names share a port */
			!(server(s)->middlebox && world.targets);
	if (!is_static || is_success() || world.find || timeout() <
	    connect_timeout() + SECOND * 3 / 2 + world.stable * MS)
		return;
	world.timeout = 0;
	run_program();
	world.timeout = time;
	must(!is_success() || run.ended - run.started > time * MS,
		"6: a longer TIME is never worse");
}

static void run_world(void)
{
	run_program();
	for (int t = 0; t < target_count() && !violation; t++)
		for (int k = 0; k < (world.find ? 3 : LENGTH(rules)); k++)
			rules[k](t);
	if (!violation)
		check_longer();
}

/* Worlds in words, and smaller ones */

static void print_world(FILE *to)
{
	for (int k = 0; k < INTS; k++)
		if (ints[k])
			fprintf(to, " %s=%d", names[k], ints[k]);
	fprintf(to, "\n");
}

/* Sets what "a5.first=1" says; false: there is no such field. */
static bool parse_field(const char *text)
{
	size_t size = strcspn(text, "=");
	for (int k = 0; k < INTS; k++)
		if (strncmp(names[k], text, size) == 0 && !names[k][size]) {
			ints[k] = atoi(text + size + 1);
			return true;
		}
	return false;
}

static void shrink_world(void)
{
	struct world before;
	const char *first = violation;
	do {
		before = world;
		for (int k = 0; k < INTS; k++)
			for (int next = 0, old = ints[k]; next < old;
			     next += (old - next + 1) / 2) {
				struct world kept = world;
				ints[k] = next;
				settle_world();
				run_world();
				if (violation == first)
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
	if (!violation)
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
	must(!is_running, "5: no loop without a call");
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
	for (int c = 0; c < CALLS_MAX; c++) {
		printf("%-13s %9ld", calls[c].name, coverage[c][0]);
		for (int e = 1; e < 256; e++)
			if (coverage[c][e])
				printf(" %s %ld", strerrorname_np(e),
					coverage[c][e]);
		putchar('\n');
	}
	printf("said by name servers:");
	for (int what = 0; what < SAYS_MAX; what++)
		printf(" %s %ld", replies[what].word, said[what]);
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
		wrong += violation != NULL;
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
	name_fields();
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
	return violation != NULL;
}
