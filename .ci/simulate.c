/*
 * A simulated world: portend.c, compiled as it is, makes its calls here, in a
 * kernel with a network, name servers and a clock of its own. An hour takes a
 * moment, the process can be stopped between any two calls, any call can fail,
 * and what portend says is held against what is so. See .ci/simulate.
 *
 * A world is a struct of ints, of which 0 is always the plainest. The tables
 * OPTION_FIELDS to FAULT_FIELDS say how each is drawn; its name there describes
 * a world ("a5.rtt=20": address 5 of all, the second one of target 1). A new
 * one is X(NAME, PERCENT, MOST) there. A violation is shrunk: smaller ints.
 *
 * To add a fault: an errno at the end of its call's row in CALLS, and one more
 *   for that call in FAULTS of .ci/simulate. A new call is a row behind those
 *   with errors, and a sim_ function that begins with fails() or enter().
 * To add a behaviour: a row at the end of BEHAVIOURS (an address) or SAYS (a
 *   name server), and '0' and its number in the bags of "first" or "says".
 *   What no column says is acted out in syn_arrives() or ask_server().
 * To add an invariant: must(it holds, "section of SPEC.md: its words") in its
 *   call or in a rule of run_world(); it remembers in struct run, and beside
 *   faults and stops asks is_calm(). NEVER of said_at() or known_at()
 *   silences rules. See it fail: SOURCE=broken.c
 *
 * Everywhere t is a target, i one of its addresses, s a name server, f a family
 * (0: A and IPv4, 1: AAAA and IPv6), n a descriptor and d what is behind it.
 * SPDX-License-Identifier: Unlicense
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <resolv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The world */

enum { TARGETS = 6, CROWD = 200, ADDRESSES = 4, SERVERS = 4, DOMAINS = 3,
	FAULTS = 5, DESCRIPTORS = 256, PACKETS = 1 << 16, PORT = 1000 };
typedef int64_t ns;                     /* since it began; its ints are ms */
#define MS 1000000LL
#define SECOND (1000 * MS)
#define HORIZON (40 * SECOND)           /* of a wait without an end */
#define NEVER (INT64_MAX / 16)
#define LENGTH(array) ((int)(sizeof (array) / sizeof *(array)))

enum kind { LITERAL, LOCALHOST, HOSTS, DNS };
enum state { OCCUPIED, FREE, ASSERT_FREE };

/* What an address does: what connect(2) says of TCP at once, the answer to a
 * SYN (0: it accepts), and what is so then. */
enum { DUMB = 1, LISTENS = 2, AWAY = 4, TROUBLE = 8 };
#define BEHAVIOURS(X) \
	X(REFUSES, 0, ECONNREFUSED, 0) X(ACCEPTS, 0, 0, LISTENS) \
	X(SILENT, 0, 0, DUMB | AWAY) X(FULL, 0, 0, DUMB | LISTENS) \
	X(UNREACHABLE, 0, EHOSTUNREACH, AWAY) \
	X(NO_ROUTE, ENETUNREACH, EHOSTUNREACH, AWAY) \
	X(BLACKHOLE, EINVAL, EHOSTUNREACH, AWAY) \
	X(PROHIBITED, EACCES, ECONNREFUSED, TROUBLE) \
	X(BLOCKED, EPERM, ECONNREFUSED, TROUBLE)        /* TCP only */ \
	X(NO_PORT, EADDRNOTAVAIL, ECONNREFUSED, TROUBLE)        /* TCP only */ \
	X(ODD_ICMP, 0, 0, DUMB)         /* POLLERR, but SO_ERROR is 0 */ \
	X(SELF, 0, ECONNREFUSED, 0)     /* where ours: it gets to itself */ \
	X(RESETS, 0, 0, LISTENS)        /* accepts, and resets at once */ \
	X(FILTERED, 0, EACCES, AWAY)    /* ICMP, from afar */ \
	X(UNLISTED, 0, 0, DUMB)         /* the name does not have it */ \
	X(PROXY, 0, 0, LISTENS)         /* ends after rtt; an odd one resets */

/* What a name server says: its RCODE, and what that is. */
enum { EMPTY = 1, TRUNCATED = 2, GONE = 4, KNOWS = 8 };
#define SAYS(X) \
	X(TRUTH, 0, KNOWS) X(DENIES, 3, KNOWS) X(NO_DATA, 0, EMPTY | KNOWS) \
	X(FAILING, 2, 0) X(REFUSING, 5, 0) X(IGNORANT, 4, 0) \
	X(LAME, 0, EMPTY) X(MUTE, 0, 0) X(CLOSED, 0, GONE)      /* ICMP */ \
	X(ROUTELESS, 0, GONE)           /* says connect(2) */ \
	X(BARE, 5, 0)                   /* without the question */ \
	X(TRUNCATES, 0, TRUNCATED | KNOWS) X(TRUNCATED_FAILURE, 2, TRUNCATED) \
	X(LIES, 0, KNOWS)               /* another ID, then the truth */ \
	X(FIREWALLED, 0, 0)             /* send(2): EPERM */
enum stream { ANSWERS, STREAM_REFUSES, STALLS, STREAM_SILENT, STREAM_FAILS,
	CLOSES, STREAM_TRUNCATES };     /* what its TCP does */

#define WORD(word, ...) word,
#define ROW(word, ...) { __VA_ARGS__ },
enum behaviour { BEHAVIOURS(WORD) };
enum says { SAYS(WORD) };
static const struct { int now, later, is; } behaviours[] = { BEHAVIOURS(ROW) };
static const struct { int code, is; } reply[] = { SAYS(ROW) };

/* Of each field its name; in how many percent of the worlds it is not 0; and 1
 * to how much it is then, small ones as often as large ones, or which digits
 * ('0' + value) it is one of. CHANGE: 0 in worlds that do not change. */
#define CHANGE .is_change = true
#define OPTION_FIELDS(X) \
	X(timeout, 88, 8000) X(connect_timeout, 50, 4000)       /* 0: 2 s */ \
	X(stable, 12, 1500) X(any, 8, 1) X(verbose, 60, 1) X(find, 8, 1) \
	X(reserve, 50, 1) X(pid, 8, 4000, CHANGE) X(endless, 3, 1, CHANGE) \
	X(limit, 10, 64, CHANGE)        /* 32 and that: descriptors */ \
	X(targets, 45, TARGETS - 1) X(crowd, 1, 1)      /* and 1; or CROWD */ \
	X(servers, 60, SERVERS)         /* 0: 127.0.0.1 */ \
	X(domains, 25, DOMAINS) X(ndots, 25, 4) X(use_vc, 3, 1) \
	X(hosts_at, 5, 4000, CHANGE)    /* then /etc/hosts has names, */ \
	X(resolv_at, 8, 4000, CHANGE)   /* and resolv.conf servers */ \
	X(old_syns, 15, 1) X(cost, 40, 30)      /* us of a call, and one */ \
	X(spurious, 8, 1, CHANGE)       /* short reads, doubles, early ppoll */
#define TARGET_FIELDS(X) \
	X(kind, 90, .bag = "01122333333333") X(state, 60, .bag = "11112") \
	X(dots, 30, 3) X(zone, 20, 3000, CHANGE)        /* 1: always there */ \
	X(more, 40, ADDRESSES - 1)      /* addresses */ \
	X(exists, 30, .bag = "112349")  /* candidate that does */
#define ADDRESS_FIELDS(X) \
	X(first, 70, .bag = "11111111122223445678999:::;<==>?") \
	X(second_at, 25, 6000, CHANGE)  /* then it does that, */ \
	X(second, 70, .bag = "1111111122234569;>>?") \
	X(back, 30, 4000)               /* and after that the first again */ \
	X(rtt, 50, 1500) X(lost, 12, 3) /* SYNs of each connection */ \
	X(is_ipv6, 40, 1) X(is_local, 25, 1) X(hidden, 50, 1) /* if truncated */
#define SERVER_FIELDS(X) \
	X(says, 55, .bag = "1112233456677778899::;;;;;<<==>>") \
	X(stream, 50, 6) X(only, 30, 2) /* to A, to AAAA; else TRUTH */ \
	X(delay, 60, 2500) X(aaaa_delay, 10, 2500)      /* besides */ \
	X(from, 10, 2000, CHANGE)       /* deaf to sockets of before */ \
	X(middlebox, 6, 1)              /* passes one answer a port */ \
	X(burst, 50, 6)                 /* of ICMP, then 1 a second; 0: all */ \
	X(fails, 5, 3)                  /* for that candidate, and 1 */
#define FAULT_FIELDS(X) \
	X(call, 12, 18, CHANGE)         /* the first in CALLS is 1; 0: any, */ \
	X(ms, 10, 10000, CHANGE)        /* before it a stop for so long */ \
	X(nth, 100, 250) X(more, 50, 200) X(error, 80, 7)       /* of it */

#define DECLARE(name, ...) int name;
static struct world {
	OPTION_FIELDS(DECLARE)
	struct target { TARGET_FIELDS(DECLARE) } t[TARGETS];
	struct address { ADDRESS_FIELDS(DECLARE) } a[TARGETS * ADDRESSES];
	struct server { SERVER_FIELDS(DECLARE) } s[SERVERS];
	struct fault { FAULT_FIELDS(DECLARE) } f[FAULTS];
} world;

#define FIELD(name, ...) { #name, __VA_ARGS__ },
static const struct field {
	const char *name;
	int percent, most, is_change;
	const char *bag;
} fields[] = {
	OPTION_FIELDS(FIELD) { NULL }, TARGET_FIELDS(FIELD) { NULL },
	ADDRESS_FIELDS(FIELD) { NULL }, SERVER_FIELDS(FIELD) { NULL },
	FAULT_FIELDS(FIELD) { NULL } };

enum { INTS = sizeof world / sizeof (int) };
static int *const ints = (int *)&world; /* all of them */
static const struct field *field_of[INTS];
static char names[INTS][32];            /* "a5.rtt", or "timeout" */

/* Says what each int of a world is. */
static void name_fields(void)
{
	const int many[] = { 1, TARGETS, TARGETS * ADDRESSES, SERVERS, FAULTS };
	const struct field *part = fields, *field = fields;
	int n = 0;
	for (int k = 0; k < LENGTH(many); k++, part = field + 1)
		for (int i = 0; i < many[k]; i++)
			for (field = part; field->name; field++, n++) {
				snprintf(names[n], k ? 20 : 1, "%c%d.",
					" tasf"[k], i);
				strcat(names[n], field->name);
				field_of[n] = field;
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
	if ((int)(mix(++*state) % 100) >= field->percent)
		return 0;
	if (field->bag)
		return field->bag[mix(++*state) % strlen(field->bag)] - '0';
	int shift = mix(++*state) % (32 - __builtin_clz(field->most));
	return 1 + mix(++*state) % (field->most >> shift);
}

/* What contradicts itself is made plain. */
static void settle_world(void)
{
	world.reserve &= world.find;
	if (world.find)
		world.stable = world.any = world.pid = world.endless = 0;
	world.endless &= !world.crowd;  /* that takes too long */
	if (world.timeout > 0 && world.stable > world.timeout && !world.endless)
		world.stable = world.timeout;
	for (int t = 0; t < TARGETS; t++) {
		struct address *a = &world.a[t * ADDRESSES];
		world.any &= world.t[t].state != ASSERT_FREE;
		if (world.t[t].kind == LOCALHOST)
			world.t[t].more = a[0].is_local = a[1].is_local = 1;
		world.t[t].more *= world.t[t].kind != LITERAL;
		world.t[t].zone *= a->is_ipv6 && world.t[t].kind == LITERAL;
	}
}

/* One in four does not change, and one in four only by itself. */
static void draw_world(uint64_t seed)
{
	uint64_t state = mix(seed);
	int calm = mix(seed + 1) % 4;
	for (int k = 0; k < INTS; k++) {
		bool is_plain = calm == 0 ? field_of[k]->is_change
			: calm == 1 && &ints[k] >= (int *)world.f;
		ints[k] = is_plain ? 0 : draw_field(&state, field_of[k]);
	}
}

/* What its ints mean */

static ns least(ns a, ns b) { return a < b ? a : b; }
static ns most(ns a, ns b) { return a > b ? a : b; }
static int variety(void) { return 1 + world.targets; }
static int targets(void) { return world.crowd ? CROWD : variety(); }
static bool is_cramped(void) { return world.limit || world.crowd; }
static int servers(void) { return most(world.servers, 1); }
static const struct target *target(int t) { return &world.t[t % variety()]; }
static bool is_name(int t) { return target(t)->kind >= HOSTS; }
static int addresses(int t) { return 1 + target(t)->more; }
static int zone(int t) { return target(t)->zone ? 7 + t : 0; }  /* its index */
static ns zone_at(int t) { return zone(t) ? (target(t)->zone - 1) * MS : 0; }

/* Times in nanoseconds; NEVER without -t, 0: the process of -p is over. */
static ns connect_timeout(void) { return (world.connect_timeout ?: 2000) * MS; }
static ns timeout(void) { return world.endless ? NEVER : world.timeout * MS; }
static bool is_once(int t) { return !timeout() || target(t)->state > FREE; }
static ns process_end(void) { return world.pid ? (world.pid - 1) * MS : NEVER; }
static ns time_up(void) { return least(timeout() ?: NEVER, process_end()); }

static ns server_delay(int s, int f)
{
	return MS / 5 + (world.s[s].delay + f * world.s[s].aaaa_delay) * MS;
}

static enum says says(int s, int f)
{
	enum says it = world.s[s].says;
	return world.s[s].only == 2 - f && !(reply[it].is & GONE) ? TRUTH : it;
}

static const struct address *address(int t, int i)
{
	return &world.a[t % variety() * ADDRESSES + i];
}

static ns rtt(int t, int i)
{
	return address(t, i)->is_local ? 0 : MS / 5 + address(t, i)->rtt * MS;
}

/* Leaves in *next, if it is wanted, when it changes. */
static enum behaviour does(int t, int i, ns time, ns *next)
{
	const struct address *a = address(t, i);
	ns second = a->second_at ? a->second_at * MS : NEVER;
	ns back = a->back ? second + a->back * MS : NEVER;
	if (next)
		*next = time < second ? second : time < back ? back : NEVER;
	return time < second || time >= back ? a->first : a->second;
}

/* Writes 10.0.t.i, of this machine 127.1.t.i or 10.1.t.i, of a name server
 * 10.2.0.i; IPv6 has 2001:db8:: before it. Returns its length. */
static int put_ip(int t, int i, unsigned char *to)
{
	bool is_localhost = t >= 0 && target(t)->kind == LOCALHOST;
	bool ipv6 = is_localhost ? i : t >= 0 && address(t, i)->is_ipv6;
	int net = t < 0 ? 2 : address(t, i)->is_local;
	unsigned char ip[16] = { 0x20, 1, 0xd, 0xb8, [12] = net == 1 && i % 2 ?
		127 : 10, net, t + 1, i + 1 };
	if (is_localhost)
		inet_pton(AF_INET6, ipv6 ? "::1" : "::127.0.0.1", ip);
	memcpy(to, ipv6 ? ip : ip + 12, ipv6 ? 16 : 4);
	return ipv6 ? 16 : 4;
}

static const char *ip_text(int t, int i)
{
	static char text[INET6_ADDRSTRLEN];
	unsigned char ip[16];
	return inet_ntop(put_ip(t, i, ip) == 16 ? AF_INET6 : AF_INET, ip, text,
		sizeof text);
}

static const char *host_text(int t)     /* as it is given, but for brackets */
{
	static char text[64];
	if (target(t)->kind == LITERAL && !zone(t))
		return ip_text(t, 0);
	sprintf(text, "n%d%.*s", t, 2 * target(t)->dots, ".a.b.c");
	if (zone(t))
		sprintf(text, "%s%%v%d", ip_text(t, 0), t);
	return target(t)->kind == LOCALHOST ? "localhost" : text;
}

static struct packet {                  /* an answer on its way */
	struct packet *next;            /* on the same socket, by time */
	ns at;
	int s, t, f, candidate;
	size_t size;                    /* of the question, then of that */
	unsigned char bytes[600];
} packets[PACKETS];

enum sort { NONE, STANDARD, DIRECTORY, TEXT, TCP, UDP, PIDFD };

static struct file {                    /* behind a descriptor */
	enum sort sort;
	int family, port, t, i, s;      /* whom it goes to; -1: nobody */
	int error;                      /* of connect(2), when answered */
	bool is_bound, is_connected, is_self, is_reset, is_told, is_listening;
	bool is_quick, is_rst, has_passed, is_heard, may_share;
	int client;                     /* to be accepted; -1: it has closed */
	ns born, answered, ended, odd;  /* odd: by ICMP */
	struct packet *packets;
	const char *text;               /* the rest of it */
} files[DESCRIPTORS];

static struct run {                     /* all that a run changes */
	ns now, stopped_at, stopped_for, started; /* the first clock reading */
	int calls, counts[32], faults, idle, packets, status;
	ns asked[CROWD][2][DOMAINS + 1][SERVERS];       /* when */
	ns icmp[SERVERS];               /* when its burst is whole again */
	bool is_executed, is_seen[256]; /* by errno */
	bool is_tried[CROWD][ADDRESSES], is_accepted[CROWD];    /* as -s asks */
	enum { LOOSE, HELD, KEPT } port[CROWD][ADDRESSES];      /* TIME_WAIT */
	ns accepted[CROWD][ADDRESSES];  /* the last one */
	ns next[CROWD][ADDRESSES];      /* with -s: the next may begin */
	char failure[CROWD][96];        /* behind "Port N"; "": none */
	ns reached[CROWD];              /* as -v has it; 0: it has not */
	size_t memory;
} run;

static const char *violation;           /* the rule; NULL: none */
static unsigned char memory[1 << 28];
static jmp_buf end_of_run;
static bool is_running, is_tracing;
static unsigned long long seed;

/* Each call and its errors; those with some are first: "call" counts them. */
#define CALLS(X) \
	X(socket, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM) \
	X(connect, EAGAIN, ENOMEM, ENOBUFS, EPERM, EADDRNOTAVAIL) \
	X(send, EPERM, ENOBUFS, EAGAIN, ENOMEM, ENETDOWN) \
	X(recv, EINTR, EAGAIN, ENOMEM) X(ppoll, EINTR, ENOMEM) \
	X(openat, EMFILE, ENFILE, ENOMEM, EACCES) X(read, EIO, ENOMEM) \
	X(write, EINTR, EPIPE) X(bind, ENOMEM, EACCES, EPERM) X(mmap, ENOMEM) \
	X(getrandom, EAGAIN, ENOSYS) X(poll, EINTR, ENOMEM) X(fstat, EIO) \
	X(execvp, ENOENT, EACCES, ENOEXEC, ENOTDIR) \
	X(pidfd_open, ENOSYS, EPERM, EMFILE) X(listen, ENOBUFS, EADDRINUSE) \
	X(accept4, EMFILE, ENFILE, ENOMEM, EINTR) \
	X(if_nametoindex, EMFILE, ENFILE, ENOMEM) X(clock_gettime) \
	X(setsockopt) X(getsockopt) X(getsockname) X(getpeername) X(close)

#define NUMBER(name, ...) CALL_##name,
enum call { CALLS(NUMBER) };
#define ERRORS(name, ...) \
	{ #name, LENGTH(((int[]){ __VA_ARGS__ })), { __VA_ARGS__ } },
static const struct { const char *name; int kinds, errors[8]; } calls[] = {
	CALLS(ERRORS) };

#define TRACE(format, ...) do { if (is_tracing) printf("%11.6f  " format \
	"\n", run.now / 1e9, ##__VA_ARGS__); } while (0)

static void end_run_if(bool is_over)
{
	if (is_over && is_running)
		longjmp(end_of_run, 1);
}

/* A rule begins with its section of SPEC.md; the first violation ends it. */
static inline void must(bool holds, const char *rule)
{
	if (holds || violation)
		return;
	violation = rule;
	TRACE("VIOLATION %s", rule);
	end_run_if(true);
}

static int fail(int error)
{
	run.is_seen[error & 255] = true;
	TRACE("  %s", strerrorname_np(error));
	errno = error;
	return -1;
}

static bool is_cut(void) { return run.now > HORIZON; }
static bool is_calm(void) { return !run.faults && !run.stopped_for; }
static uint32_t random_number(void) { return mix(run.calls) >> 16; }

static void pass_time(ns until)
{
	run.now = until;
	end_run_if(is_cut());
}

/* Each call begins here: time passes, and it may be stopped before, or fail. */
static bool fails(enum call call, int n, int detail)
{
	int nth = ++run.counts[call], kinds = calls[call].kinds;
	TRACE("%s(%d, %d)", calls[call].name, n, detail);
	must(++run.calls < 4000000, "5: no busy loop");
	pass_time(run.now + 1000 + 1000 * world.cost);
	for (struct fault *f = world.f; f < world.f + FAULTS; f++)
		if (f->call == 0 && f->ms && f->nth == run.calls) {
			TRACE("(stopped for %d ms)", f->ms);
			run.stopped_at = run.now += f->ms * MS;
			run.stopped_for += f->ms * MS;
		} else if (f->call == (int)call + 1 && kinds &&
		           nth >= f->nth && nth <= f->nth + f->more) {
			run.faults++;
			return fail(calls[call].errors[f->error % kinds]);
		}
	return false;
}

/* What is behind a descriptor; NULL: the call fails. */
static struct file *enter(enum call call, int n, int detail)
{
	must(n >= 0 && n < DESCRIPTORS && files[n].sort, "8: only open ones");
	return fails(call, n, detail) ? NULL : &files[n];
}

/* The lowest descriptor that is free, or EMFILE. */
static int new_file(enum sort sort, bool is_cloexec)
{
	int limit = world.limit ? 32 + world.limit : DESCRIPTORS, n = 0;
	while (n < limit && files[n].sort)
		n++;
	if (n == limit)
		return fail(EMFILE);
	must(is_cloexec, "8: no descriptor is left for COMMAND");
	must(n > 2 || sort == DIRECTORY, "8: 0 to 2 never become ours");
	files[n] = (struct file){ .sort = sort, .t = -1, .s = -1,
		.is_quick = true, .born = run.now, .answered = NEVER,
		.ended = sort == PIDFD ? process_end() : NEVER, .odd = NEVER };
	return n;
}

/* The kernel: connections, as Linux 6.18 has them */

static bool is_established(const struct file *d)
{
	return d->answered <= run.now && !d->error &&
	       !(d->is_reset && d->ended <= run.now);
}

/* What becomes of a SYN; false: nothing, and it is sent again. */
static bool syn_arrives(struct file *d, ns sent)
{
	ns delay = rtt(d->t, d->i), back = sent + delay, next = back;
	enum behaviour b = does(d->t, d->i, sent + delay / 2, NULL);
	d->odd = least(d->odd, b == ODD_ICMP ? back : NEVER);
	if (behaviours[b].is & DUMB)
		return false;
	d->answered = back;
	d->is_self = b == SELF && address(d->t, d->i)->is_local;
	d->error = d->is_self ? 0 : behaviours[b].later;
	d->is_reset = b == RESETS || (b == PROXY && delay / MS % 2);
	while (next < NEVER && does(d->t, d->i, next, &next) == b)
		d->ended = next;
	d->ended = b == RESETS ? back : b == PROXY ? back + delay : d->ended;
	return true;
}

/* When a SYN is repeated: each second, then doubled; before 6.5 at once. */
static ns syn_at(int k)
{
	return SECOND * (world.old_syns ? (1 << k) - 1
		: k < 6 ? k : 3 + (1 << k) / 16);
}

/* SYNs go out until one is answered. */
static void begin_connection(struct file *d)
{
	int how = world.s[most(d->s, 0)].stream;
	int k = d->t < 0 ? 10 : address(d->t, d->i)->lost;
	while (k < 10 && !syn_arrives(d, run.now + syn_at(k)))
		k++;
	if (d->s < 0 || how == STREAM_SILENT)
		return;
	d->answered = run.now + MS / 5 + server_delay(d->s, 0) / 4;
	if (how == STREAM_REFUSES || d->born < world.s[d->s].from * MS)
		d->error = ECONNREFUSED;
}

/* Whose address is that? Port 53 is that of name servers, or of nobody. */
static void find_peer(struct file *d, const struct sockaddr_in6 *to)
{
	bool ipv6 = (d->family = to->sin6_family) == AF_INET6;
	int size = ipv6 ? 16 : 4, port = d->port = ntohs(to->sin6_port);
	const void *ip = (char *)to + (ipv6 ? 8 : 4);   /* sin_addr is at 4 */
	unsigned char own[16];
	int t = port < PORT || port >= PORT + targets() ? -1 : port - PORT;
	d->i = t >= 0 ? addresses(t) : port == 53 ? world.servers : 0;
	while (--d->i >= 0)
		if (put_ip(t, d->i, own) == size && memcmp(ip, own, size) == 0)
			break;
	d->t = d->i < 0 ? -1 : t;
	must(d->t < 0 || !ipv6 || to->sin6_scope_id == (unsigned)zone(d->t),
		"1: a zone is an interface");
	d->s = t >= 0 ? -1 : port == 53 && !world.servers ? 0 : d->i;
}

int sim_socket(int family, int type, int protocol)
{
	bool is_udp = (type & 15) == SOCK_DGRAM;
	return fails(CALL_socket, family, is_udp) ? -1
		: new_file(is_udp ? UDP : TCP, type & SOCK_CLOEXEC);
}

int sim_connect(int n, const struct sockaddr_in6 *to, socklen_t size)
{
	struct file *d = enter(CALL_connect, n, 0);
	/* As the kernel has it; and SPEC.md calls that of use-vc no trouble. */
	if (!d)
		return errno == (files[n].sort == UDP || world.use_vc ?
			EADDRNOTAVAIL : EAGAIN) ? fail(ENOMEM) : -1;
	find_peer(d, to);
	TRACE("  target %d address %d, or server %d", d->t, d->i, d->s);
	for (struct file *own = files; own < files + DESCRIPTORS; own++)
		if (own->is_listening && own->t == d->t && own->i == d->i) {
			own->client = own->client ?: n;
			own->answered = own->ended = d->answered = run.now;
			d->t = -1;
		}
	enum behaviour b = d->t < 0 ? ACCEPTS : does(d->t, d->i, run.now, NULL);
	int error = d->s >= 0 && world.s[d->s].says == ROUTELESS ? ENETUNREACH
		: d->sort == TCP || (b != BLOCKED && b != NO_PORT)
		? behaviours[b].now : 0;
	d->is_connected = !error;
	run.is_tried[most(d->t, 0)][most(d->i, 0)] |= d->t >= 0;
	if (error || d->sort == UDP)
		return error ? fail(error) : 0;
	begin_connection(d);
	must(d->t < 0 || run.now >= run.next[d->t][d->i] || is_cramped() ||
		!is_calm(), "4: -s: open for TIME, or anew in 100 ms");
	return fail(EINPROGRESS);
}

/* A quiet probe is closed within 0.2 s, by RST. With -s what stayed counts. */
static void check_end(const struct file *d)
{
	ns stayed = least(d->ended, run.now) - d->answered;
	if (d->sort != TCP || d->t < 0 || d->is_bound || d->error || is_cut() ||
	    d->answered > run.now || (d->is_reset && !stayed) || d->is_self)
		return;
	run.is_accepted[d->t] |= stayed >= world.stable * MS;
	run.accepted[d->t][d->i] = d->answered;
	must(run.now - d->answered < 200 * MS || run.stopped_at > d->born ||
		world.stable || run.faults > 20, "4: a probe closes in 0.2 s");
	run.next[d->t][d->i] = stayed >= world.stable * MS ? 0 : d->ended <=
		run.now ? d->born + 95 * MS : stayed > MS ? NEVER : 0;
	must(world.stable || (d->is_rst && !d->is_quick), "4: no trace");
	must(!(d->is_heard && d->is_rst) || !world.stable, "4: -s: no RST");
}

int sim_close(int n)
{
	struct file *d = enter(CALL_close, n, 0);
	check_end(d);
	for (struct file *other = files; other < files + DESCRIPTORS; other++)
		other->client = other->client == n ? -1 : other->client;
	if (d->is_bound && d->t >= 0 && run.port[d->t][d->i] == HELD)
		run.port[d->t][d->i] = d->is_listening || d->client <= 0 ||
			!d->may_share ? LOOSE : KEPT;
	*d = (struct file){ .sort = NONE };
	return 0;
}

/* A port is in use where somebody listens, or in TIME_WAIT. */
int sim_bind(int n, const struct sockaddr_in6 *to, socklen_t size)
{
	struct file *d = enter(CALL_bind, n, 0);
	if (!d)
		return -1;
	find_peer(d, to);
	d->is_bound = true;
	if (d->t < 0)
		return 0;
	enum behaviour b = does(d->t, d->i, run.now, NULL);
	if (!address(d->t, d->i)->is_local)
		return fail(EADDRNOTAVAIL);
	if (behaviours[b].is & LISTENS || run.port[d->t][d->i] == KEPT)
		return fail(EADDRINUSE);
	run.port[d->t][d->i] = HELD;
	return 0;
}

int sim_listen(int n, int backlog)
{
	struct file *d = enter(CALL_listen, n, backlog);
	must(world.reserve, "7: nothing listens but for -r");
	if (d)
		d->is_listening = true;
	return d ? 0 : -1;
}

int sim_accept4(int n, struct sockaddr *from, socklen_t *size, int flags)
{
	struct file *d = enter(CALL_accept4, n, 0);
	int m = !d ? -1 : !d->client ? fail(EAGAIN)
		: new_file(TCP, flags & SOCK_CLOEXEC);
	if (m < 0)
		return -1;
	files[m] = *d;
	files[m].is_listening = false;
	d->client = 0;
	d->ended = NEVER;
	return m;
}

/* Name servers */

/* A proper question (RFC 1035): "n3.a" of target 3, "n3.a.d0" with a domain. */
static void read_question(struct packet *p, const unsigned char *q, size_t size)
{
	char name[300] = "", wanted[300];
	const unsigned char *from = q + 12, *end = q + size;
	must(size > 17 && size < 300 && q[2] == 1 && q[5] == 1,
		"6: questions are well-formed");
	memcpy(p->bytes, q, p->size = size);
	from += dn_expand(q, end, from, name, sizeof name);
	must(end - from == 4 && from[3] == 1 && (from[1] == 1 || from[1] == 28),
		"6: what is asked is A or AAAA");
	TRACE("  %s? type %d, id %02x%02x", name, from[1], *q, q[1]);
	p->f = from[1] == 28;
	p->t = name[0] == 'n' ? atoi(name + 1) : -1;
	must(p->t >= 0 && p->t < targets() && is_name(p->t), "6: only names");
	size = sprintf(wanted, "%s", host_text(p->t));
	for (p->candidate = 0; strcmp(name, wanted) != 0; p->candidate++) {
		must(p->candidate < world.domains, "6: only candidates");
		sprintf(wanted + size, ".d%d", p->candidate);
	}
}

static void put_record(struct packet *p, int i)
{
	unsigned char *to = mempcpy(p->bytes + p->size,
		"\300\014\0\1\0\1\0\0\0\7\0", 11);
	to[-8] = p->f ? 28 : 1;
	*to = put_ip(p->t, i, to + 1);
	p->size += 12 + *to;
	p->bytes[7]++;
}

/* Makes of the question what the server says; if truncated, what fits. */
static void make_reply(struct packet *p, bool is_stream)
{
	enum says what = says(p->s, p->f);
	enum stream how = world.s[p->s].stream;
	bool is_truncated = is_stream ? how == STREAM_TRUNCATES
		: reply[what].is & TRUNCATED;
	bool is_known = target(p->t)->kind == DNS && p->candidate ==
		target(p->t)->exists, is_empty = reply[what].is & EMPTY;
	int code = is_stream && how == STREAM_FAILS ? 2 : reply[what].code;
	p->size = what == BARE ? 12 : p->size;
	for (int i = 0; i < addresses(p->t) && is_known; i++)
		if (address(p->t, i)->is_ipv6 == p->f && !is_empty &&
		    (is_truncated ? !address(p->t, i)->hidden : !code) &&
		    does(p->t, i, p->at, NULL) != UNLISTED)
			put_record(p, i);
	if (!is_known && !is_empty && !code)
		code = p->candidate + 1 == world.s[p->s].fails ? 2 : 3;
	p->bytes[2] = 0x81 | is_truncated << 1;
	p->bytes[3] = (what == LAME ? 0 : 0x80) | code;
	p->bytes[5] = what != BARE;
	if (is_stream) {
		memmove(p->bytes + 2, p->bytes, p->size);
		memcpy(p->bytes, &(uint16_t){ htons(p->size) }, 2);
		p->size += 2;
	}
}

static void put_packet(struct file *d, const struct packet *from, ns at)
{
	struct packet **link = &d->packets;
	must(run.packets < PACKETS >> (world.crowd ? 0 : 3), "6: no flood");
	struct packet *p = &packets[run.packets++];
	while (*link && (*link)->at <= at)
		link = &(*link)->next;
	*p = *from;
	p->at = at;
	p->next = *link;
	*link = p;
	make_reply(p, d->sort == TCP);
}

/* A question has been sent: what comes of it? */
static void ask_server(struct file *d, struct packet *p)
{
	const struct server *own = &world.s[p->s];
	ns at = run.now + server_delay(p->s, p->f), *whole = &run.icmp[p->s];
	bool is_stream = d->sort == TCP;
	enum says what = is_stream ? TRUTH : says(p->s, p->f);
	if (is_stream ? own->stream == STALLS : d->born < own->from * MS ||
	    what == MUTE || (own->middlebox && d->has_passed))
		return;
	d->has_passed = true;
	if (is_stream && own->stream == CLOSES) {
		d->ended = at;
	} else if (what != CLOSED) {
		put_packet(d, p, at);
	} else if (!own->burst ||
	           *whole <= run.now + (own->burst - 1) * SECOND) {
		*whole = most(*whole, run.now) + SECOND;
		d->odd = run.now + MS / 5;
	}
	if (world.spurious && !is_stream && !own->middlebox && what != CLOSED)
		put_packet(d, p, at + 5 * MS);
	p->bytes[1] ^= 1;               /* another ID */
	if (what == LIES)
		put_packet(d, p, at - MS / 10);
}

/* What a socket has to say, once; 0: nothing. By UDP it is what ICMP said. */
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
	struct file *d = enter(CALL_send, n, 0);
	if (!d)
		return -1;
	must(d->is_connected && d->port == 53, "6: only servers are asked");
	must(flags & MSG_NOSIGNAL || d->sort == UDP, "3: no SIGPIPE");
	if (d->s < 0)
		return size;
	struct packet p = { .s = d->s };
	int error = d->sort == UDP ? take_error(d) : is_established(d) ? 0
		: d->answered <= run.now ? EPIPE : EAGAIN;
	if (error)
		return fail(error);
	int framed = d->sort == TCP ? 2 : 0;    /* its length is before it */
	must(!framed || size == 2 + (size_t)(bytes[0] << 8 | bytes[1]),
		"6: TCP has whole questions");
	read_question(&p, bytes + framed, size - framed);
	if (!framed && says(p.s, p.f) == FIREWALLED)
		return fail(EPERM);
	/* By TCP counted from its socket; for what is truncated at once. */
	ns *last = &run.asked[p.t][p.f][p.candidate][p.s];
	ns time = framed ? d->born : run.now;
	must(!*last || llabs(time - *last) >= SECOND || run.faults ||
		world.resolv_at || run.is_seen[EPERM] || run.is_seen[EMFILE] ||
		(framed && !world.use_vc), "6: it is sent again after 1 s");
	*last = framed && !world.use_vc ? *last : time;
	ask_server(d, &p);
	return size;
}

/* A packet; or a part of an answer by TCP, perhaps in pieces. */
ssize_t sim_recv(int n, void *buffer, size_t size, int flags)
{
	struct file *d = enter(CALL_recv, n, 0);
	if (!d)
		return -1;
	struct packet *p = d->packets;
	bool tcp = d->sort == TCP;
	int error = take_error(d);
	if (error || !p || p->at > run.now)
		return !error && tcp && (d->is_told || d->ended <= run.now) ? 0
			: fail(error ?: EAGAIN);
	size = least(tcp && world.spurious ? 7 : size, p->size);
	memcpy(buffer, p->bytes, size);
	memmove(p->bytes, p->bytes + size, p->size -= size);
	d->packets = tcp && p->size ? p : p->next;
	return size;
}

/* The kernel: waiting */

static short events_of(struct file *d)
{
	short input = d->packets && d->packets->at <= run.now ? POLLIN : 0;
	short odd = d->odd <= run.now ? POLLERR : 0;
	short end = d->ended <= run.now ? POLLIN | POLLRDHUP : 0;
	if (d->sort != TCP)
		return POLLOUT | input | odd | end;
	d->odd = odd ? NEVER : d->odd;  /* this is told once */
	if (d->answered > run.now)
		return odd;
	if (!is_established(d))
		return POLLIN | POLLOUT | POLLHUP | POLLRDHUP |
			(d->is_told ? 0 : POLLERR);
	return POLLOUT | input | end;
}

/* What is so of each now, and when something may happen next. */
static int look(struct pollfd *polls, nfds_t count, ns *next)
{
	int result = 0, asking = 0, streams = 0;
	*next = process_end() > run.now ? process_end() : NEVER;
	for (struct pollfd *p = polls; p < polls + count; p++) {
		struct file *d = &files[most(p->fd, 0)];
		const ns times[] = { d->answered, d->ended, d->odd,
			d->packets ? d->packets->at : NEVER };
		must(p->fd < 3 || d->sort, "8: only open ones are polled");
		p->revents = p->fd < 0 ? 0 : events_of(d) &
			(p->events | POLLERR | POLLHUP | POLLNVAL);
		result += p->revents != 0;
		asking += d->sort == UDP && d->s >= 0;
		streams += d->sort == TCP && d->s >= 0 && is_established(d);
		for (int k = 0; k < LENGTH(times) && p->fd >= 0; k++)
			if (times[k] > run.now)
				*next = least(*next, times[k]);
	}
	must(asking <= 12 * servers(), "6: 12 sockets a name server");
	/* For A, for AAAA, and for the candidate before, which is over. */
	must(streams <= 4 * targets() * servers(), "6: asked once");
	return result;
}

static int wait_until(struct pollfd *polls, nfds_t count, ns until)
{
	ns next;
	int result;
	if (world.spurious && random_number() % 8 == 0)
		until = least(until, run.now + 3 * MS);
	while ((result = look(polls, count, &next)) == 0 && run.now < until)
		pass_time(least(until, next));
	pass_time(run.now + 1000 * (random_number() % 80));
	TRACE("  %d", result);
	return result;
}

int sim_ppoll(struct pollfd *p, nfds_t count, struct timespec *time, void *mask)
{
	ns nap = time ? time->tv_sec * SECOND + time->tv_nsec : NEVER;
	ns began = run.now;
	must(nap >= 0 && nap <= 100 * MS && !mask, "5: sleeps 100 ms at most");
	int result = fails(CALL_ppoll, count, nap / 1000) ? -1
		: wait_until(p, count, began + nap);
	run.idle = result > 0 || run.now - began >= MS / 20 ? 0 : run.idle + 1;
	must(run.idle < 1000, "5: no busy loop");
	return result;
}

int sim_poll(struct pollfd *polls, nfds_t count, int ms)
{
	return fails(CALL_poll, count, ms) ? -1
		: wait_until(polls, count, run.now + ms * MS);
}

int sim_getsockopt(int n, int level, int name, int *error, socklen_t *size)
{
	struct file *d = enter(CALL_getsockopt, n, name);
	*error = take_error(d);
	run.is_seen[*error] = true;
	return 0;
}

int sim_setsockopt(int n, int level, int name, const int *value, socklen_t size)
{
	struct file *d = enter(CALL_setsockopt, n, name);
	if (level == IPPROTO_TCP && name == TCP_QUICKACK)
		d->is_quick = *value || d->is_connected;
	if (level == SOL_SOCKET && name == SO_LINGER)
		d->is_rst = *value;
	d->may_share |= level == SOL_SOCKET && name == SO_REUSEADDR;
	return level != IPPROTO_IP || name != IP_MULTICAST_IF ||
		((const char *)value)[1] == 1 ? 0 : fail(EADDRNOTAVAIL);
}

static int put_name(struct file *d, bool is_peer, void *to, socklen_t *size)
{
	struct sockaddr_in6 in6 = { .sin6_family = d->family,
		.sin6_scope_id = d->t < 0 ? 0 : zone(d->t) };
	bool ipv6 = d->family == AF_INET6;
	void *ip = (char *)&in6 + (ipv6 ? 8 : 4);
	in6.sin6_port = htons(is_peer || d->is_self || d->is_bound ? d->port
		: 30000 + (d - files));
	memset(ip, 9, 4);
	if (d->t >= 0 && (is_peer || address(d->t, d->i)->is_local))
		put_ip(d->t, d->i, ip);
	memcpy(to, &in6, least(*size, sizeof in6));
	*size = ipv6 ? sizeof in6 : sizeof (struct sockaddr_in);
	return 0;
}

int sim_getsockname(int n, struct sockaddr *to, socklen_t *size)
{
	return put_name(enter(CALL_getsockname, n, 0), false, to, size);
}

int sim_getpeername(int n, struct sockaddr *to, socklen_t *size)
{
	struct file *d = enter(CALL_getpeername, n, 0);
	d->is_heard = d->sort == UDP || is_established(d);
	return d->is_heard ? put_name(d, true, to, size) : fail(ENOTCONN);
}

/* The kernel: files, and all the rest */

static void put_hosts(char *to)
{
	to += sprintf(to, "# a comment\n127.0.0.1 localhost\n");
	for (int t = targets(); run.now >= world.hosts_at * MS && t--;)
		for (int i = 0; i < addresses(t); i++)
			if (target(t)->kind == HOSTS &&
			    does(t, i, run.now, NULL) != UNLISTED)
				to += sprintf(to, "%s\tx%d %s\n", ip_text(t, i),
					t, host_text(t));
}

static void put_resolv(char *to)
{
	for (int s = 0; s < world.servers; s++)
		if (run.now >= world.resolv_at * MS)
			to += sprintf(to, "nameserver %s\n", ip_text(-1, s));
	sprintf(to, "search%.*s\noptions edns0 ndots:%d%s\n",
		3 * world.domains, " d0 d1 d2", (int)most(world.ndots, 1),
		world.use_vc ? " use-vc" : "");
}

unsigned sim_if_nametoindex(const char *name)
{
	int t = atoi(name + 1);
	return fails(CALL_if_nametoindex, t, 0) ? 0
		: run.now < zone_at(t) ? fail(ENODEV) + 1 : zone(t);
}

long sim_syscall(long number, int first, const char *path, int flags)
{
	static char texts[2][1 << 16];
	if (number == SYS_pidfd_open)
		return fails(CALL_pidfd_open, first, 0) ? -1 : run.now >=
			process_end() ? fail(ESRCH) : new_file(PIDFD, true);
	bool is_hosts = strcmp(path, "/etc/hosts") == 0;
	bool is_root = strcmp(path, "/") == 0;
	TRACE("%s", path);
	if (fails(CALL_openat, first, flags))
		return -1;
	if (!is_hosts && !is_root && strcmp(path, "/etc/resolv.conf") != 0)
		return fail(ENOENT);
	int n = new_file(is_root ? DIRECTORY : TEXT, flags & O_CLOEXEC);
	(is_hosts ? put_hosts : put_resolv)(texts[is_hosts]);
	files[most(n, 0)].text = texts[is_hosts];
	return n;
}

ssize_t sim_read(int n, void *buffer, size_t size)
{
	struct file *d = enter(CALL_read, n, size);
	if (!d)
		return -1;
	size = strnlen(d->text, least(size, world.spurious ? 99 : size));
	memcpy(buffer, d->text, size);
	d->text += size;
	return size;
}

/* A message is one write(2): a target's failure, a line of -v, or all found. */
ssize_t sim_write(int n, const char *bytes, size_t size)
{
	char line[4096], *next = line, why[96], word[128];
	int port = PORT, s, ms;
	snprintf(line, sizeof line, "%.*s", (int)size, bytes);
	TRACE("%s", line);
	if (fails(CALL_write, n, size))
		return -1;
	must(n == 1 || n == 2, "3: what is written goes to 1 or 2");
	for (int k = 3; k < DESCRIPTORS && *line == 'P'; k++)
		must(files[k].sort != TCP || files[k].t < 0 || world.find,
			"3: messages come when probes are closed");
	if (sscanf(line, "Port %d%95[^\n]", &port, why) == 2)
		strcpy(run.failure[(unsigned)(port - PORT) % CROWD], why);
	if (sscanf(line, "portend: %127s %*s after %d.%d", word, &s, &ms) == 3)
		run.reached[(atoi(strrchr(word, ':') - 4) - PORT) % CROWD] =
			s * SECOND + ms * MS + 1;
	for (int t = 0; t < targets() && n == 1; t++) {
		must(strtol(next, &next, 10) == PORT + t, "7: found is free");
		for (int i = 0; i < addresses(t) && world.reserve; i++)
			must(run.port[t][i] == (is_name(t) && run.port[t][i] ==
				LOOSE ? LOOSE : KEPT), "7: -r: it is reserved");
	}
	must(!strstr(line, "not kept"), "3: TIME_WAIT is kept");
	must(!strstr(line, "be reserved") || run.port[port - PORT][0] == KEPT ||
		run.now - run.started >= timeout() || is_name(port - PORT) ||
		run.is_seen[EINTR] || run.is_seen[ENOMEM], "7: it may pass");
	return size;
}

int sim_fstat(int n, struct stat *status)       /* its size tells a change */
{
	struct file *d = enter(CALL_fstat, n, 0);
	if (d)
		*status = (struct stat){ .st_size = strlen(d->text) };
	return d ? 0 : -1;
}

int sim_clock_gettime(clockid_t clock, struct timespec *time)
{
	must(clock == CLOCK_MONOTONIC, "5: no other clock");
	fails(CALL_clock_gettime, clock, 0);
	run.started = run.started ?: run.now;
	*time = (struct timespec){ 1000 + run.now / SECOND, run.now % SECOND };
	return 0;
}

void *sim_mmap(void *at, size_t size, int prot, int flags, int n, off_t from)
{
	if (fails(CALL_mmap, n, size) || (run.memory += size) > sizeof memory)
		return MAP_FAILED;
	return memset(memory + run.memory - size, 0, size);
}

ssize_t sim_getrandom(unsigned char *buffer, size_t size, unsigned flags)
{
	if (fails(CALL_getrandom, size, flags))
		return -1;
	memcpy(buffer, &(uint64_t){ mix(run.calls) }, size);
	return size;
}

void sim__exit(int status)
{
	TRACE("_exit(%d)", status);
	run.status = status;
	end_run_if(true);
}

int sim_execvp(const char *path, char *const argv[])
{
	run.is_executed = !fails(CALL_execvp, 0, 0);
	end_run_if(run.is_executed);
	return -1;
}

/* A run */

int portend_main(int argc, char **argv);
__attribute__((weak)) void __gcov_dump(void), __gcov_reset(void); /* COVERAGE */
extern char __start_portend[], __stop_portend[];       /* its variables */

/* The program's variables are again as they were at first. By hand: the
 * sanitizer would see memcpy(3) write between variables. */
__attribute__((no_sanitize_address, no_sanitize_undefined,
	optimize("O3", "no-tree-loop-distribute-patterns")))
static void restore_program(void)
{
	static char saved[1 << 22], *from = __start_portend, *to = saved;
	if (to != saved && __gcov_dump) {
		__gcov_dump();
		__gcov_reset();
	}
	for (int k = 0; k < __stop_portend - __start_portend; k++)
		to[k] = from[k];
	from = saved;
	to = __start_portend;
}

/* The command line, in words that are one string. */
static void put_words(char *to)
{
	static const char *const w[] = { "occupied", "free", "assert-free" };
	to += sprintf(to, "portend -c%dms%s%s%s", (int)(connect_timeout() / MS),
		world.any ? " --any" : "", world.verbose ? " -v" : "",
		world.pid ? " --pid=4711" : "");
	to += world.endless ? 0 : sprintf(to, " -t%dms", world.timeout);
	to += world.stable ? sprintf(to, " -s%dms", world.stable) : 0;
	for (int t = 0; t < targets(); t++)
		to += sprintf(to, strchr(host_text(t), ':') ? " [%s]:%d %s"
			: " %s:%d %s", host_text(t), PORT + t, world.find ? ""
			: w[target(t)->state]);
	strcpy(to, world.reserve ? " find -r" : world.find ? " find"
		: " -- command");
}

static void run_program(void)
{
	static char words[1 << 14], *arguments[2 * CROWD + 20];
	volatile int count = 0;         /* for setjmp(3) */
	memset(files, 0, sizeof files);
	memset(&run, 0, sizeof run);
	violation = NULL;
	put_words(words);
	TRACE("%s", words);
	while ((arguments[count] = strtok(count ? NULL : words, " ")))
		count++;
	restore_program();
	files[0].sort = files[1].sort = files[2].sort = STANDARD;
	is_running = true;
	alarm(60);
	if (setjmp(end_of_run) == 0)
		run.status = portend_main(count, arguments);
	is_running = false;
	for (int n = 0; n < DESCRIPTORS; n++) {
		check_end(&files[n]);
		must(files[n].sort != TEXT || is_cut(), "8: none is leaked");
	}
	TRACE("ended with %d", run.status);
}

/* What is so in the world: this follows SPEC.md, and not the program */

/* From connect(2) to the answer. */
static ns lag(int t, int i) { return syn_at(address(t, i)->lost) + rtt(t, i); }

/* When it accepts for good; NEVER: not. */
static ns live_from(int t, int i)
{
	const struct address *a = address(t, i);
	ns from = most(zone_at(t), a->second_at ? (a->second_at + a->back) * MS
		: 0);
	bool was_listed = !from || (a->first != UNLISTED && !(a->back &&
		a->second == UNLISTED)) || !is_name(t);
	return was_listed && does(t, i, from, NULL) == ACCEPTS ? from : NEVER;
}

/* When a server has said all that it ever says of a family; NEVER: perhaps not.
 * Its silence is an answer 5 s after that for the other family. */
static ns said_at(int s, int f)
{
	const struct server *own = &world.s[s];
	ns time = server_delay(s, f), late = own->from * MS;
	enum says what = says(s, f);
	bool by_tcp = world.use_vc || what == TRUNCATES;
	if (what == MUTE && says(s, !f) != MUTE && timeout())
		return said_at(s, !f) + 5 * SECOND;
	if (what == MUTE || what == FIREWALLED || reply[what].is & GONE ||
	    (own->middlebox && (targets() > 1 || world.domains)) ||
	    (by_tcp && (own->stream || late || time > 400 * MS)))
		return NEVER;
	return MS + (by_tcp ? 3 * (time + world.spurious * MS) : time) +
		(late ? late + 1100 * MS : 0);
}

static int candidates_before(int t)     /* the one that exists */
{
	bool is_first = target(t)->dots >= most(world.ndots, 1);
	return target(t)->exists ? target(t)->exists - !is_first
		: is_first ? 0 : world.domains;
}

/* When all addresses of a family are known; NEVER: perhaps not. */
static ns known_at(int t, int f)
{
	ns best = NEVER, denied = 0, once = 0, failed = 0;
	int many = target(t)->exists > world.domains ? 0 : servers();
	if (target(t)->kind != DNS)
		return !is_name(t) || !world.hosts_at ? 0 : !timeout() ? NEVER
			: (world.hosts_at + 1100) * MS;
	for (int s = 0; s < many; s++) {
		enum says what = says(s, f);
		ns time = said_at(s, f);
		if ((what == TRUTH || what == LIES || what == TRUNCATES) &&
		    (servers() == 1 || time < 900 * MS))
			best = least(best, time);
		if (what == CLOSED && !world.use_vc)    /* 1 s a family */
			once = candidates_before(t) ? 2 * SECOND : 0;
		else
			denied = most(denied, most(time, said_at(s, !f)));
		failed |= what != CLOSED && (world.s[s].fails ||
			!(reply[what].is & reply[says(s, !f)].is & KNOWS));
	}
	best += world.resolv_at ? world.resolv_at * MS + 1100 * MS : 0;
	return least(best + candidates_before(t) * denied +
		(failed ? once * SECOND : once), NEVER);
}

/* Rules: what was told is so */

static bool is_success(void)
{
	return run.is_executed || run.status == 126 || run.status == 127 ||
	       (world.find && run.status == 0 && !is_cut());
}

/* In [TIME, TIME + 50 ms], or within 150 ms after a stop; one check takes the
 * connect timeout twice, and 100 ms. */
static void end_is_right(void)
{
	bool is_told = run.faults || is_cut() || world.find;
	bool may_be_early = is_told || is_success() || world.pid;
	bool are_once = !world.find, has_failed = false;
	ns up = timeout(), took = run.now - run.started, last;
	for (int t = 0; t < targets(); t++) {
		const char *why = run.failure[t];
		are_once &= is_once(t);
		may_be_early |= is_once(t) || (target(t)->state == FREE &&
			strstr(why, "(Name does not resolve)"));
		has_failed |= is_once(t) && *why && !world.find;
		is_told |= world.limit || *why;
	}
	must(is_success() || run.status == 1 || is_cut(), "2: exit status");
	must(is_success() ? !world.find || run.counts[CALL_write] : is_told,
		"3: what is not reached is told, and what is found");
	must(up == 0 || may_be_early || took >= up, "5: no end before TIME");
	if (are_once || timeout() == 0 || (has_failed && !is_cramped()))
		up = (2 - world.find + world.crowd * 8) * connect_timeout() +
			world.stable * MS + 50 * MS + run.stopped_for +
			run.faults * 100 * MS;
	up = are_once ? up : least(up, process_end());
	last = most(run.started + up + 50 * MS + targets() * (MS / 5 +
		world.crowd * 100000 * world.cost),     /* of 100 calls */
		run.stopped_at ? run.stopped_at + 150 * MS : 0);
	must(run.now <= last || (are_once && world.limit) || run.faults > 20,
		"5: the end is in time");
}

/* An errno that is told as the reason was returned by some call. */
static void reason_was_so(int t)
{
	static const struct { const char *text; int error; } reasons[] = {
		{ "(Connection ref", ECONNREFUSED }, { "(Operation", EPERM },
		{ "(Connection res", ECONNRESET }, { "(No buffer", ENOBUFS },
		{ "(No file", EMFILE }, { "(Too", ENFILE }, { "(Out", ENOMEM },
		{ "(Address", EADDRNOTAVAIL }, { "(No such dev", ENODEV } };
	const char *why = run.failure[t];
	int fails = world.s[0].fails;
	ns patience = least(is_once(t) ? connect_timeout() : NEVER, time_up());
	ns heard = world.resolv_at || !is_calm() ? NEVER : 0;
	for (int k = 0; k < LENGTH(reasons); k++)
		must(!strstr(why, reasons[k].text) ||
			run.is_seen[reasons[k].error], "3: the reason was so");
	for (int k = 0; k < 2 * servers(); k++)
		heard = most(heard, said_at(k / 2, k % 2));
	must(!strstr(why, "(No answer from the") || world.crowd || patience <
		SECOND + 2 * heard * (world.domains + 1), "3: DNS did answer");
	must(!strstr(why, "(Name does not") || world.servers > 1 || !fails ||
		fails == target(t)->exists + 1 || fails > world.domains + 1 ||
		target(t)->kind != DNS || world.resolv_at || run.faults ||
		says(0, 0) || says(0, 1), "6: a failure is no denial");
}

/* Nothing can be said of it; or it is there all the time but for less than 1 s,
 * known in time, and answers in time. */
static bool is_never_free(int t, int i)
{
	const struct address *a = address(t, i);
	ns patience = least(connect_timeout(), time_up()) / 10 * 9;
	ns known = known_at(t, a->is_ipv6) + (run.faults && target(t)->kind ==
		DNS ? SECOND : 0);      /* after a question not sent */
	if (a->second_at)
		return a->first == ACCEPTS && behaviours[a->second].is & AWAY &&
			a->back && a->back < 900 && lag(t, i) < MS &&
			!is_name(t) && !world.stable && run.accepted[t][i] &&
			!is_once(t) && run.accepted[t][i] <= a->second_at * MS;
	return known <= patience && (a->first == FULL ? a->is_local :
		a->first == ACCEPTS ? lag(t, i) <= patience :
		behaviours[a->first].is & TROUBLE);
}

/* Some server has said what it knows; not one that could not be asked, or whose
 * TCP had neither the whole answer nor its second. */
static void free_is_beside_no_server(int t)
{
	bool is_dns = target(t)->kind == DNS, is_told = false, is_shut = false;
	/* A stop leaves nothing of TIME, for TCP or for a repeat: it was silent. */
	bool is_over = run.stopped_for && ((is_dns && (world.use_vc ||
		connect_timeout() < 100 * MS)) || (timeout() && timeout() <
		run.stopped_for + (is_dns ? 1100 : 100) * MS));
	for (int k = 0; k < 2 * servers(); k++) {
		enum says what = says(k / 2, k % 2);
		ns delay = server_delay(k / 2, k % 2);
		is_shut |= what == FIREWALLED;
		is_told |= reply[what].is & KNOWS && (what != TRUNCATES ||
			world.s[k / 2].stream || !timeout() || delay + least(
			delay, SECOND) < time_up() + run.stopped_for + 50 * MS);
	}
	must(!is_dns || world.use_vc || (is_told && (!is_shut ||
		world.servers > 1)), "6: free only if the name is known");
	for (int i = 0; i < addresses(t); i++)
		must(is_over || !is_never_free(t, i), "4: free: none accepts");
}

/* When it must have been noticed that it accepts; NEVER: perhaps not. */
static ns notice_time(int t)
{
	ns best = NEVER, patience = connect_timeout() / 10 * 9;
	ns others_first = world.crowd ? 2 * SECOND + 4 * connect_timeout() : 0;
	for (int i = 0; i < addresses(t); i++) {
		const struct address *a = address(t, i);
		ns wait = lag(t, i), from = live_from(t, i);
		ns known = known_at(t, a->is_ipv6) + others_first;
		if (wait > patience || from == NEVER || known >= NEVER ||
		    (timeout() == 0 && (from || known > patience)))
			continue;
		if (from)               /* behind a probe that is silent */
			from += a->second_at && !behaviours[a->first].later ?
				connect_timeout() + 1200 * MS : wait + 250 * MS;
		best = least(best, most(from, known) + wait +
			world.stable * MS + 150 * MS);
	}
	return best;
}

/* When it must have been seen that an address does not accept, or no more: what
 * has accepted must be silent or unreachable twice. NEVER: perhaps not. */
static ns vacant_at(int t, int i)
{
	const struct address *a = address(t, i);
	bool changes = a->second_at, is_known = !changes || (!a->back &&
		a->first == ACCEPTS && !is_once(t) && !world.stable);
	enum behaviour b = changes ? a->second : a->first;
	int error = b == SILENT ? ETIMEDOUT : behaviours[b].later;
	ns wait = least(b == SILENT ? NEVER : lag(t, i), connect_timeout());
	if (!is_known || !error || (is_once(t) && zone_at(t)) ||
	    behaviours[b].is & TROUBLE)
		return NEVER;
	wait += changes && error != ECONNREFUSED ? SECOND + wait : 0;
	return wait + zone_at(t) + a->second_at * MS + changes * rtt(t, i) / 2;
}

/* When it must have been noticed that none accepts. */
static ns vacancy_time(int t)
{
	bool is_dns = target(t)->kind == DNS, is_known = false;
	ns last = 0, settled = !is_dns ? known_at(t, 0) :
		most(said_at(0, 0), said_at(0, 1)) * (candidates_before(t) + 1);
	if (world.hosts_at || world.resolv_at || (is_dns && world.servers > 1)
	    || (is_once(t) && settled > connect_timeout() / 10 * 9))
		return NEVER;
	for (int i = 0; i < addresses(t); i++) {
		is_known |= known_at(t, address(t, i)->is_ipv6) < NEVER;
		last = most(last, settled + vacant_at(t, i) + 300 * MS);
	}
	return is_known && last < least(time_up(), HORIZON) ? last : NEVER;
}

/* What is so is noticed in time; what is local, by the last check, too. */
static void it_is_noticed(int t)
{
	const struct address *a = address(t, 0);
	bool is_free = target(t)->state != OCCUPIED;
	ns by = is_free ? vacancy_time(t) : notice_time(t);
	must(is_free || !*run.failure[t] || live_from(t, 0) + MS >= time_up() ||
		(a->second_at && !behaviours[a->first].later) || lag(t, 0) ||
		is_name(t) || world.stable || world.crowd || !timeout(),
		"5: nothing is missed at the end");
	must(by > time_up() || by == NEVER || (!*run.failure[t] &&
		run.reached[t] <= by && (targets() > 1 ||
		run.now - run.started < by + 50 * MS)), "5: noticed in time");
}

/* What -t 0 reaches, a TIME of the connect timeout and 1 s reaches, too, where
 * nothing changes by itself, and nothing is known later than -t 0 takes: it was
 * lucky if its name servers kept silent of an address that is not free. */
static void check_longer(void)
{
	int time = world.timeout;
	bool is_static = is_calm() && !world.crowd, is_lucky = false;
	for (int k = 0; &ints[k] < (int *)world.f; k++)
		is_static &= !field_of[k]->is_change || !ints[k];
	for (int s = 0; s < SERVERS; s++)
		is_static &= 3 * server_delay(s, 1) < connect_timeout() &&
			!(world.s[s].middlebox && targets() > 1);
	if (violation || !is_static || is_success() || world.find || timeout() <
	    connect_timeout() + SECOND * 3 / 2 + world.stable * MS)
		return;
	world.timeout = 0;
	run_program();
	world.timeout = time;
	for (int t = 0; t < targets(); t++)
		for (int i = 0; i < addresses(t); i++)
			is_lucky |= target(t)->state && !run.is_tried[t][i] &&
				behaviours[address(t, i)->first].is &
				(LISTENS | TROUBLE);
	must(!is_success() || is_lucky || run.now - run.started > time * MS,
		"6: a longer TIME is never worse");
}

static void run_world(void)
{
	settle_world();
	run_program();
	end_is_right();
	for (int t = 0; t < targets() && !world.find; t++) {
		bool is_occupied = target(t)->state == OCCUPIED;
		bool is_reached = run.reached[t] || (is_success() &&
			!(world.any && targets() > 1));         /* certainly */
		reason_was_so(t);
		must(!is_occupied || !is_reached || run.is_accepted[t],
			"4: occupied only after an acceptance");
		if (is_calm() && (is_occupied || !is_cramped()))
			it_is_noticed(t);
		if (!is_occupied && is_reached)
			free_is_beside_no_server(t);
	}
	check_longer();
}

/* Worlds in words, and smaller ones */

static void print_world(FILE *to, const char *what)
{
	fprintf(to, "seed %llu: %s\nsimulate", seed, what);
	for (int k = 0; k < INTS; k++)
		if (ints[k])
			fprintf(to, " %s=%d", names[k], ints[k]);
	fprintf(to, "\n");
}

static void parse_field(const char *text)       /* "a5.first=1" */
{
	size_t size = strcspn(text, "=");
	int k = 0;
	while (k < INTS && (strncmp(names[k], text, size) || names[k][size]))
		k++;
	if (k == INTS)
		errx(2, "there is no %s", text);
	ints[k] = atoi(text + size + 1);
}

static void print_shrunk_world(void)
{
	struct world before, kept;
	const char *first = violation;
	is_tracing = false;
	do {
		before = world;
		for (int k = 0; k < INTS; k++)
			for (int next = 0, old = ints[k]; next < old;
			     next += (old - next + 1) / 2) {
				kept = world;
				ints[k] = next;
				run_world();
				if (violation == first)
					break;
				world = kept;
			}
	} while (memcmp(&before, &world, sizeof world) != 0);
	print_world(stdout, first);
}

/* A crash, a sanitizer's complaint, or a loop without a call. */
static void on_crash(int number)
{
	print_world(stderr, strsignal(number));
	exit(1);
}

static double number_of(const char *variable, double otherwise)
{
	return getenv(variable) ? atof(getenv(variable)) : otherwise;
}

/* Worlds are drawn until there are enough violations, or time is up. */
int main(int argc, char **argv)
{
	bool is_given = argc > 1 && strchr(argv[1], '=');
	time_t end = time(NULL) + number_of("SECONDS", 30);
	double worlds = argc > 1 ? 1 : number_of("WORLDS", 0), count = 0;
	int left = number_of("VIOLATIONS", 1), wrong = 0;
	for (int k = 0; k < 3; k++)
		signal((int[]){ SIGSEGV, SIGABRT, SIGALRM }[k], on_crash);
	name_fields();
	seed = argc > 1 ? atoll(argv[1]) : number_of("SEED", time(NULL) * 1e6);
	is_tracing = argc > 1;
	while (is_given && *++argv)
		parse_field(*argv);
	for (; wrong < left && (worlds ? count < worlds : (int)count % 64 ||
	       time(NULL) < end); count++, seed++) {
		if (!is_given)
			draw_world(seed);
		run_world();
		wrong += violation != NULL;
		if (violation)
			print_shrunk_world();
	}
	printf("%.0f worlds, %.0f a second of CPU time\n", count,
		count * CLOCKS_PER_SEC / clock());
	return wrong > 0;
}
