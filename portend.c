/*
 * portend - wait until TCP ports are occupied or free, find a port to bind,
 *           and then become another program
 *
 * portend [-qv] [-t TIME] [-c TIME] [-s TIME] TARGET... STATE
 *         [TARGET... STATE]... [-- COMMAND [ARG]...]
 * portend [-qrv] [-t TIME] [-c TIME]
 *         [[HOST:]PORT | [HOST:]LOW-HIGH]... find
 *
 * Exit status: 0 reached or found; 1 not, or it could not be told; 2 bad usage;
 * 126 COMMAND could not be run; 127 not found; 128+N ended by signal N.
 *
 * All that a target wants to know are questions: a name to be looked up, an
 * address to be connected to, an address to be bound (find). One loop serves
 * all of them: ask what is due, for 5 ms or so; tell what has changed; sleep
 * in ppoll(2), for 100 ms at most; hear the answers, and judge. Nothing else in
 * it blocks. A table says what an answer means: the strongest counts. Another:
 * what a state makes of it.
 *
 * Without -s a TCP probe is quiet. With TCP_QUICKACK off the last ACK of the
 * handshake is held back for about 0.2 s, and with SO_LINGER {1, 0} any
 * close(2), that of a killed process too, sends a RST instead (tcp(7),
 * socket(7)): the server's accept(2) never sees the connection.
 *
 * Descriptors 0 to 2 are never ours (a 0 is none). What is changed of signals
 * is changed back, or to a handler, which execve(2) resets.
 * Everywhere t is a target, l its look-up, q one of the two questions of that,
 * f its family (0: A, 1: AAAA), a an address of t, and e where that is.
 *
 * This is free and unencumbered software released into the public domain.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <resolv.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Constants, answers, states and data */

enum {
	EXIT_REACHED = 0, EXIT_NOT_REACHED = 1, EXIT_USAGE = 2,
	EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128,          /* and the signal's number */
	ADDRESSES_MAX = 1024,       /* taken from one answer */
	DRAIN_MAX = 64,             /* reads before a connection is closed */
	ECHO_MAX = 255,             /* bytes of an argument in a message */
	FRESH_MAX = 100,            /* new look-ups at once: see FRESH */
	HOST_MAX = 253, LABEL_MAX = 63, /* RFC 1035, without a final dot */
	NDOTS_MAX = 15,             /* as resolv.conf(5) has it */
	OPEN_MAX = 8192,            /* above all descriptors of ours */
	PACKETS_MAX = 16,           /* of a name server, at once */
	PICKS_MAX = 256,            /* tries for a port on all addresses */
	PORT_MAX = 65535,
	QUERY_MAX = 12 + HOST_MAX + 2 + 4,
	SERVERS_MAX = 8,            /* name servers that are asked */
	STREAM_MAX = 2 + 65535,     /* an answer by TCP */
	WORD_MAX = 255,             /* bytes of a word in a file */

	/* Times are in nanoseconds, in an int64_t; twice FOREVER still fits. */
	MS = 1000000,
	TURN = 5 * MS,              /* of asking, before answers are heard */
	GRACE = 20 * MS,            /* for the answers of the last check */
	FRESH = 50 * MS,            /* then a look-up's answer is late */
	HOLD = 300 * MS,            /* of a descriptor that a probe lacks */
	DENIAL = 100 * MS,          /* other name servers may know better */
	LOST = 100 * MS,            /* then an answer is not on its way */
	NAP = 100 * MS,             /* the longest sleep; see ask() */
	SECOND = 1000 * MS,
};
#define NAME_PATIENCE (5 * (int64_t)SECOND)
#define FOREVER (INT64_MAX / 4)
#define NEVER INT64_MAX

/* From the weakest to the strongest, which counts. HELD and ACCEPTING stand;
 * all else may be outdone by what is PENDING. */
enum meaning {
	RESOLVED,                   /* a name: its addresses will tell */
	NAMELESS,                   /* there is no such name */
	NAME_TROUBLE,               /* the name servers do not say */
	UNREACHABLE,
	OURS,                       /* find: the port is held */
	REFUSING,
	CLOSED,                     /* accepted, but not for long */
	SILENT,
	UNTOLD,                     /* trouble of our own tells nothing */
	PENDING,
	HELD,                       /* in use, though it does not accept */
	ACCEPTING,
};

/* An answer is an errno or one of these, which are above all errnos. */
enum {
	NO_ANSWER = 4096, ACCEPTED,
	STILL_OPEN,                 /* accepted, but not yet for TIME of -s */
	DROPPED, QUEUE_FULL, MUTE, BOUND, NOT_KEPT, NAME_ASKED,
	NAME_SILENT, NAME_FAILED, NAME_UNKNOWN, NAME_KNOWN,   /* by worth */
	DONE,                       /* of -v: the state is reached */
};

/* Errors read as musl's strerror(3) has them, which would be 2.5 KB. */
static char unknown_error[] = "Error 4294967295";
static const struct answer {
	uint16_t answer;
	uint16_t meaning;
	const char *text;
} answers[] = {
	{ ACCEPTED, ACCEPTING, "Connection accepted" },
	{ NAME_KNOWN, RESOLVED, "" },
	{ NO_ANSWER, PENDING, "No answer" },
	{ ECONNREFUSED, REFUSING, "Connection refused" },
	{ STILL_OPEN, PENDING, "Connection accepted" },
	{ DROPPED, CLOSED, "Connection closed" },
	{ QUEUE_FULL, HELD, "Queue is full" },
	{ MUTE, HELD, "No answer, but the address is in use" },
	{ BOUND, OURS, "" },
	{ NOT_KEPT, UNTOLD, "TIME_WAIT is not kept" },
	{ NAME_ASKED, PENDING, "No answer from the name server" },
	{ NAME_SILENT, NAME_TROUBLE, "No answer from the name server" },
	{ NAME_FAILED, NAME_TROUBLE, "Name server failed" },
	{ NAME_UNKNOWN, NAMELESS, "Name does not resolve" },
	{ EADDRINUSE, HELD, "Address in use" },
	{ EAFNOSUPPORT, UNREACHABLE, "Address family not supported" },
	{ EHOSTDOWN, UNREACHABLE, "Host is down" },
	{ ENETDOWN, UNREACHABLE, "Network is down" },
	{ EHOSTUNREACH, UNREACHABLE, "Host is unreachable" },
	{ ENETUNREACH, UNREACHABLE, "Network unreachable" },
	{ ENOENT, UNREACHABLE, "No such file or directory" },
	{ ENONET, UNREACHABLE, "Machine is not on the network" },
	{ ENOPROTOOPT, UNREACHABLE, "Host is unreachable" },    /* by ICMP */
	{ ENOTDIR, UNREACHABLE, "Not a directory" },
	{ ETIMEDOUT, SILENT, "No answer" },
	{ EACCES, UNTOLD, "Permission denied" },
	{ EADDRNOTAVAIL, UNTOLD, "Address not available" },
	{ EAGAIN, UNTOLD, "Resource temporarily unavailable" },
	{ EBADF, UNTOLD, "Bad file descriptor" },
	{ ECONNRESET, UNTOLD, "Connection reset" },
	{ EFBIG, UNTOLD, "File too large" }, { EPIPE, UNTOLD, "Broken pipe" },
	{ EINVAL, UNTOLD, "Invalid argument" },
	{ ELOOP, UNTOLD, "Symbolic link loop" },
	{ EMFILE, UNTOLD, "No file descriptors available" },
	{ ENFILE, UNTOLD, "Too many open files in system" },
	{ ENOBUFS, UNTOLD, "No buffer space available" },
	{ ENODEV, UNTOLD, "No such device" },
	{ ENOEXEC, UNTOLD, "Exec format error" },
	{ ENOMEM, UNTOLD, "Out of memory" },
	{ ENOSPC, UNTOLD, "No space left on device" },
	{ ENOTCONN, UNTOLD, "Socket not connected" },
	{ EPERM, UNTOLD, "Operation not permitted" },
	{ EPROTOTYPE, UNTOLD, "Protocol wrong type for socket" },
	{ ETXTBSY, UNTOLD, "Text file busy" },
	{ 0, UNTOLD, unknown_error },   /* the end */
};

enum state { OCCUPIED, FREE, ASSERT_FREE, FIND, NO_STATE };
static const struct {
	char name[12];
	char wanted[6];             /* what a port is not, if it fails */
	char reached[9];            /* what it is after some time, of -v */
	uint16_t reached_by;        /* sets of meanings: 1 << meaning */
	uint16_t ended_by;          /* then the wait for all others ends */
	uint16_t plain;             /* the answer that needs no explanation */
} states[] = {
	[OCCUPIED] = { "occupied", "bound", "occupied",
		1 << ACCEPTING, 0, ECONNREFUSED },
	[FREE] = { "free", "free", "free",
		1 << UNREACHABLE | 1 << REFUSING | 1 << CLOSED | 1 << SILENT,
		1 << NAMELESS, ACCEPTED },
	[ASSERT_FREE] = { "assert-free", "free", "free",
		1 << UNREACHABLE | 1 << REFUSING | 1 << CLOSED | 1 << SILENT,
		1 << HELD | 1 << ACCEPTING, ACCEPTED },
	[FIND] = { "find", "", "", 1 << OURS, 0, EADDRINUSE },
};

enum outcome { WAITING, REACHED, FAILED };

union endpoint {
	sa_family_t family;
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;    /* its port is where that of in is */
	struct sockaddr_un un;
};

struct address {                    /* to be connected to, or bound */
	struct address *next;
	const char *zone;           /* an interface, which may come late */
	int64_t asked;              /* when the probe began; 0: never */
	int64_t open_since;         /* with -s; 0: not accepted */
	int fd;                     /* probe under way, or port held */
	int answer;                 /* of the last probe */
	int64_t gone;               /* when it was listed no more */
	bool is_listed;             /* in the last answer for the name */
	bool is_ipv6_answer;        /* that was one for AAAA */
	union endpoint endpoint;
};

struct question {                   /* for the addresses of a family */
	int answer;                 /* what is known of the family */
	int best;                   /* of what servers say of the candidate */
	uint8_t heard;              /* set of those that have said it */
	uint16_t id;
	int64_t denied_at;          /* when the first server did */
	int fd;                     /* of TCP, if UDP's answer is truncated */
	int server;                 /* that is asked by it */
	bool is_sent;
	bool has_fitted;            /* a truncated answer had addresses */
	uint8_t truncated;          /* set of servers to be asked by TCP */
	int64_t give_up;
	size_t size;                /* of what has come of the reply */
	unsigned char *reply;
};

struct lookup {
	bool is_needed;
	bool has_failed;            /* a candidate before this one has */
	int candidate, candidates;  /* of the search list */
	int64_t due;                /* when to ask, or to ask again */
	int64_t started;            /* with the first candidate; 0: never */
	int64_t candidate_started;
	uint32_t fingerprint;       /* of resolv.conf, when it was asked */
	int servers;                /* that are asked; 0: not under way */
	int fds[SERVERS_MAX];       /* of UDP */
	struct question questions[2];
	char name[HOST_MAX + 2];    /* of the candidate; "": too long */
};

struct target {
	enum state state;
	enum outcome outcome;
	int low, high;              /* ports; equal but for find LOW-HIGH */
	int found;                  /* port that find holds; 0: none */
	int told;                   /* answer of the last line of -v; 0: none */
	int64_t asked;              /* when find last tried; 0: never */
	int64_t reached_at;
	const char *given;          /* the argument; of a URL HOST:PORT */
	const char *service;        /* its port, or the path of a socket */
	struct address *addresses;
	struct lookup lookup;
	char host[HOST_MAX + 2];    /* without brackets; "": none */
};

static struct target *targets;
static size_t target_count;

static struct {
	int64_t timeout;
	int64_t connect_timeout;
	int64_t stable;             /* 0: not wanted */
} options = { .timeout = FOREVER, .connect_timeout = 2 * (int64_t)SECOND };
static const char *given[128];      /* the argument that has the letter */

static struct {                     /* the wait */
	int64_t start;
	int64_t deadline;           /* when TIME is up, then the last check */
	int64_t patience;           /* how long a probe may go unanswered */
	int64_t now;                /* the clock when it was last read */
	int64_t poll_start;         /* of the last ppoll(2); 0: it failed */
	int64_t round_start;        /* of this round of checks */
	int64_t next_round;         /* when it begins; NEVER until this ends */
	int64_t turn_start;         /* of this turn of asking */
	int64_t wake;               /* when something is to be done next */
	size_t cursor;              /* the target whose turn it is */
	size_t held_back;           /* the first that found no room */
	int room;                   /* for so many new look-ups */
	bool is_hurried;            /* the turn ended before all was asked */
	bool is_last;               /* TIME is up: this is the last check */
	bool is_ended;              /* a target is: that ends the wait */
} loop = { .deadline = NEVER, .room = FRESH_MAX };
static int poll_count;
static int open_count;              /* sockets of ours */
static int held_count;              /* of these, those that find holds */
static struct rlimit inherited_limit;   /* rlim_max is 0 until it is read */
static struct pollfd polls[OPEN_MAX];   /* each at its descriptor's number */
static unsigned char packet[65535]; /* the last one that was received */

static const char synopsis[] =
	"usage: portend [-qv] [-t TIME] [-c TIME] [-s TIME] TARGET... STATE\n"
	"               [TARGET... STATE]... [-- COMMAND [ARG]...]\n"
	"       portend [-qrv] [-t TIME] [-c TIME]\n"
	"               [[HOST:]PORT | [HOST:]LOW-HIGH]... find\n";

static const char help[] = "\n"
"TARGET  HOST:PORT, [IPv6]:PORT, SCHEME://HOST:PORT/..., or a socket's path\n"
"STATE   occupied: a connection to HOST is accepted\n"
"        free: none is; assert-free: one check of that, no waiting\n"
"        find: print the lowest PORT (0: any) free on HOST or everywhere\n"
"TIME    5 or 5s, 250ms, 1.5m, 2h, 1d\n"
"COMMAND replaces portend once every TARGET has reached its STATE\n\n"
"  -t, --timeout TIME          give up after TIME (never; find: 0); 0 checks"
" once\n"
"  -c, --connect-timeout TIME  no answer within TIME is silence (2 s)\n"
"  -s, --stable TIME           a connection counts if it stays open for TIME\n"
"  -r, --reserve               keep the port from others for a while\n"
"  -q, --quiet                 no message when a state is not reached\n"
"  -v, --verbose               a line whenever a target's situation changes\n"
"  -h, --help                  print this\n"
"  -V, --version               print the version\n\n"
"Exit: 0 reached, 1 not, 2 bad usage; 126, 127 COMMAND cannot be run\n";

/* Messages */

/* True if all is written; EPIPE and EFBIG are errors like others, no signal. */
static bool write_all(int fd, const char *text, size_t length)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, pipe, size;
	ssize_t n;
	sigaction(SIGPIPE, &ignore, &pipe);
	sigaction(SIGXFSZ, &ignore, &size);
	while (length > 0 && (n = write(fd, text, length)) > 0) {
		text += n;
		length -= n;
	}
	sigaction(SIGPIPE, &pipe, NULL);        /* succeeds: errno stays */
	sigaction(SIGXFSZ, &size, NULL);
	return length == 0;
}

/* At most ECHO_MAX bytes; control characters, C1 of UTF-8 too, become ?. */
static char *append_echo(char *to, const char *text)
{
	const char *end = text + strnlen(text, ECHO_MAX);
	while (text < end) {
		unsigned char c = *text++, next = text < end ? *text : 0;
		bool is_c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;
		*to++ = c < ' ' || c == 0x7f || is_c1 ? '?' : c;
		text += is_c1;
	}
	return to;
}

/* Appends number to base 10 or 16, of at least so many digits, and a NUL. */
static char *append_number(char *to, unsigned number, int base, int digits)
{
	char reversed[10];
	int n = 0;
	for (; number || n < digits; number /= base)
		reversed[n++] = "0123456789abcdef"[number % base];
	while (n)
		*to++ = reversed[--n];
	*to = '\0';
	return to;
}

/* One write(2) to standard error. % is the next argument, a text, echoed, & one
 * as it is; # is an int, of at least as many digits as there are #. */
static void say(const char *format, ...)
{
	char text[8 * ECHO_MAX], *end = text;
	va_list list;
	va_start(list, format);
	for (int digits; *format; format += digits ? digits : 1) {
		digits = strspn(format, "#");
		if (digits)
			end = append_number(end, va_arg(list, int), 10, digits);
		else if (*format == '%')
			end = append_echo(end, va_arg(list, char *));
		else if (*format == '&')
			end = stpcpy(end, va_arg(list, char *));
		else
			*end++ = *format;
	}
	va_end(list);
	write_all(STDERR_FILENO, text, end - text);
}

/* The row of an answer; that of an unknown errno is good until the next one. */
static const struct answer *explain(int answer)
{
	const struct answer *row = answers;
	while (row->answer && row->answer != answer)
		row++;
	if (!row->answer)
		append_number(unknown_error + strlen("Error "), answer, 10, 1);
	return row;
}

static enum meaning meaning_of(int answer)
{
	return explain(answer)->meaning;
}

static _Noreturn void die(int status, const char *what, int error)
{
	say("portend: %: &\n", what, explain(error)->text);
	_exit(status);
}

/* A path of a Unix-domain socket: what has a slash and no colon before it. */
static bool is_path(const char *word)
{
	return strncmp(word, "unix:", 5) == 0 ||
	       word[strcspn(word, ":/")] == '/';
}

/* What is before an @ may be a password, except in a path. */
static _Noreturn void die_usage(const char *what, const char *why)
{
	const char *at = is_path(what) ? NULL : strrchr(what, '@');
	say("portend: %: &\n&", at ? at + 1 : what, why, synopsis);
	_exit(EXIT_USAGE);
}

static const char *argument;        /* the one that is parsed */

static void bad_if(bool is_bad, const char *why)
{
	if (is_bad)
		die_usage(argument, why);
}

static void print(const char *text)
{
	if (!write_all(STDOUT_FILENO, text, strlen(text)))
		die(EXIT_NOT_REACHED, "standard output", errno);
}

/* Memory, zeroed, with fewer calls than malloc(3). Once there is a wait, which
 * can try again, NULL if there is none. */
static void *allocate(size_t size)
{
	static _Alignas(8) char pool[8192];
	static char *next = pool;
	static size_t left = sizeof pool;
	size = (size + 7) / 8 * 8;
	if (size > left) {
		size_t more = size > 1 << 18 ? size : 1 << 18;
		void *memory = mmap(NULL, more, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED && !loop.start)
			die(EXIT_NOT_REACHED, "memory", ENOMEM);
		if (memory == MAP_FAILED)
			return NULL;
		next = memory;
		left = more;
	}
	left -= size;
	next += size;
	return next - size;
}

/* Numbers and time */

static int64_t clock_now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int count_digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* The number that the text begins with, limit + 1 at most, and what follows. */
static int64_t parse_number(const char *text, int64_t limit, const char **end)
{
	int64_t number = 0;
	for (; isdigit((unsigned char)*text); text++)
		number = smaller(number * 10 + (*text - '0'), limit + 1);
	if (end)
		*end = text;
	return number;
}

/* TIME: FOREVER at most and, but for 0, 1 ns at least. */
static int64_t parse_duration(const char *text)
{
	static const struct {
		char name[4];
		int32_t ms;
	} units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
		{ "h", 3600000 }, { "d", 86400000 }, { "", 0 },
	};
	const char *point = text + count_digits(text), *end = point;
	int unit = 0;
	if (*point == '.' && count_digits(point + 1) > 0)
		end += 1 + count_digits(point + 1);
	while (units[unit].ms && strcmp(end, units[unit].name) != 0)
		unit++;
	bad_if(units[unit].ms == 0 || end == text,
		"not a TIME such as 5, .5, 1.5m or 250ms");
	int64_t scale = (int64_t)units[unit].ms * MS;
	int64_t time = parse_number(text, FOREVER / scale, NULL) * scale;
	for (const char *p = point + 1; p < end; p++) {
		scale /= 10;
		time += (*p - '0') * scale;
	}
	bool is_zero = !text[strcspn(text, "123456789")];
	return time == 0 && !is_zero ? 1 : smaller(time, FOREVER);
}

/* Endpoints: addresses with ports */

static unsigned get16(const unsigned char *p)
{
	return p[0] << 8 | p[1];
}

/* RFC 5952: the first longest run of two or more zero groups is "::". */
static char *append_ipv6(char *to, const unsigned char *bytes)
{
	int run = 0, first = 8, zeros = 1;
	for (int i = 0; i < 8; i++) {
		run = get16(bytes + 2 * i) ? 0 : run + 1;
		if (run > zeros) {
			zeros = run;
			first = i + 1 - run;
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i == first) {
			to = stpcpy(to, i == 0 ? "::" : ":");
			i += zeros - 1;
		} else {
			to = append_number(to, get16(bytes + 2 * i), 16, 1);
			to = stpcpy(to, i < 7 ? ":" : "");
		}
	}
	return to;
}

/* The text of an IPv4 or IPv6 address, good until the next call. */
static const char *address_text(const union endpoint *e)
{
	static char text[INET6_ADDRSTRLEN + sizeof "%4294967295"];
	const unsigned char *ipv4 = (const void *)&e->in.sin_addr;
	char *end = text;
	if (e->family == AF_INET) {
		for (int i = 0; i < 4; i++)
			end = stpcpy(append_number(end, ipv4[i], 10, 1), ".");
		end[-1] = '\0';
		return text;
	}
	end = append_ipv6(text, e->in6.sin6_addr.s6_addr);
	if (e->in6.sin6_scope_id)
		append_number(stpcpy(end, "%"), e->in6.sin6_scope_id, 10, 1);
	return text;
}

/* From 4 or 16 bytes. ::ffff:1.2.3.4 is 1.2.3.4. */
static void set_ip(union endpoint *e, const unsigned char *bytes, bool ipv6)
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool is_mapped = ipv6 && memcmp(bytes, mapped, sizeof mapped) == 0;
	memset(e, 0, sizeof *e);
	e->family = ipv6 && !is_mapped ? AF_INET6 : AF_INET;
	if (e->family == AF_INET6)
		memcpy(&e->in6.sin6_addr, bytes, 16);
	else
		memcpy(&e->in.sin_addr, bytes + 12 * is_mapped, 4);
}

/* Reads an address; false if it is none. A zone (RFC 4007) that is the name of
 * an interface is left to *zone or, where that is NULL, is found out now. */
static bool parse_ip(const char *text, union endpoint *e, const char **zone)
{
	char bare[INET6_ADDRSTRLEN] = "";
	unsigned char bytes[16];
	size_t length = strcspn(text, "%");
	const char *name = text + length, *end;
	bool ipv6 = inet_pton(AF_INET, text, bytes) != 1;
	if (ipv6 && (length >= sizeof bare || strcmp(name, "%") == 0 ||
	    inet_pton(AF_INET6, memcpy(bare, text, length), bytes) != 1))
		return false;
	set_ip(e, bytes, ipv6);
	if (e->family != AF_INET6 || *name == '\0')
		return true;
	int64_t number = parse_number(++name, UINT32_MAX, &end);
	if (!*end && number <= UINT32_MAX)
		e->in6.sin6_scope_id = number;
	else if (zone)
		*zone = name;
	else
		e->in6.sin6_scope_id = if_nametoindex(name);
	return true;
}

/* connect(2) to a wildcard goes to loopback: this makes the address say so. */
static void replace_wildcard(union endpoint *e)
{
	if (e->family == AF_INET && e->in.sin_addr.s_addr == htonl(INADDR_ANY))
		e->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (e->family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr))
		e->in6.sin6_addr = in6addr_loopback;
}

/* The wildcard or the loopback address, without a port. */
static void set_special(union endpoint *e, sa_family_t family, bool loopback)
{
	memset(e, 0, sizeof *e);
	e->family = family;
	if (loopback)
		replace_wildcard(e);
}

/* What its family fills: the rest is not compared. */
static socklen_t size_of(const union endpoint *e)
{
	if (e->family == AF_INET)
		return sizeof e->in;
	return e->family == AF_INET6 ? sizeof e->in6 : sizeof e->un;
}

/* Lists the address; NULL without memory. One that is back has no answer yet,
 * unless it was silent within the last minute. Where there are many, a new one
 * takes the place of one that is neither listed nor under way. */
static struct address *add_address(struct target *t, const union endpoint *from)
{
	struct address **link = &t->addresses, *a, *idle = NULL;
	union endpoint e = *from;
	int count = 0;
	if (t->state != FIND)
		replace_wildcard(&e);
	for (; (a = *link); link = &a->next, count++) {
		if (e.family != AF_UNIX)        /* find changes ports */
			e.in.sin_port = a->endpoint.in.sin_port;
		if (memcmp(&a->endpoint, &e, size_of(&e)) == 0) {
			bool is_back = !a->is_listed && a->gone < loop.now;
			bool is_old = a->asked + 60LL * SECOND < loop.now;
			if (is_back && (a->answer != ETIMEDOUT || is_old))
				a->answer = NO_ANSWER;
			a->is_listed = true;
			return a;
		}
		if (!a->is_listed && !a->fd)
			idle = a;
	}
	if (e.family != AF_UNIX)
		e.in.sin_port = htons(t->low);
	a = count >= 2 * ADDRESSES_MAX ? idle : NULL;
	if (!a)
		a = *link = allocate(sizeof *a);
	if (a)
		*a = (struct address){ .next = a->next, .answer = NO_ANSWER,
			.is_listed = true, .endpoint = e };
	return a;
}

static void add_both(struct target *t, bool loopback)
{
	union endpoint e;
	set_special(&e, AF_INET, loopback);
	add_address(t, &e);
	set_special(&e, AF_INET6, loopback);
	add_address(t, &e);
}

/* Descriptors */

static void close_socket(int *fd)
{
	if (*fd) {
		close(*fd);
		polls[*fd].revents = 0;
		open_count--;
	}
	*fd = 0;
}

static void lookup_end(struct lookup *l)
{
	for (int i = 0; i < SERVERS_MAX; i++)
		close_socket(&l->fds[i]);
	close_socket(&l->questions[0].fd);
	close_socket(&l->questions[1].fd);
	l->servers = l->candidate = 0;
}

/* Raises the limit of descriptors, once; true if that is of use. */
static bool raise_limit(void)
{
	struct rlimit *old = &inherited_limit;
	if (old->rlim_max || prlimit(0, RLIMIT_NOFILE, NULL, old) < 0)
		return false;
	struct rlimit raised = { old->rlim_max, old->rlim_max };
	return old->rlim_cur < old->rlim_max &&
	       prlimit(0, RLIMIT_NOFILE, &raised, NULL) == 0;
}

/* Ends the oldest look-up of that age; false if there is none. */
static bool give_way(int64_t age)
{
	struct lookup *oldest = NULL;
	for (size_t i = 0; i < target_count; i++) {
		struct lookup *l = &targets[i].lookup;
		bool is_old = loop.now >= l->due - SECOND + age;
		if (l->servers && is_old && (!oldest || l->due < oldest->due))
			oldest = l;
	}
	if (oldest)
		lookup_end(oldest);
	return oldest;
}

/* After a call that was to make a descriptor: true if it may work now. */
static bool has_made_room(int64_t age)
{
	int error = errno;
	bool has_made = error == EMFILE && (raise_limit() || give_way(age));
	errno = error;
	return has_made;
}

/* Returns a socket, or 0 and sets errno. */
static int open_socket(int family, int type)
{
	int64_t age = type == SOCK_STREAM ? HOLD : SECOND;
	int fd = -1;
	do {
		fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= OPEN_MAX) {
			close(fd);
			fd = -1;
			errno = EMFILE;
		}
	} while (fd < 0 && has_made_room(age));
	open_count += fd > 0;
	return larger(fd, 0);
}

/* Returns 0 or an errno; a connection that is under way is no error. */
static int connect_socket(int fd, const union endpoint *e)
{
	bool has_failed = connect(fd, &e->any, size_of(e)) < 0;
	return has_failed && errno != EINPROGRESS ? errno : 0;
}

static int bind_socket(int fd, const union endpoint *e)
{
	return bind(fd, &e->any, size_of(e)) < 0 ? errno : 0;
}

/* True if a descriptor is lacking that will be free again. */
static bool is_room_awaited(int error)
{
	return error == EMFILE && open_count > held_count;
}

/* Files: words in lines, of any size, up to # */

static struct {
	int fd;                     /* -1: as if it were empty */
	int error;                  /* trouble of ours, or TIME is up */
	int c;                      /* the next byte; -1: the end */
	size_t next, size;          /* in data */
	uint32_t fingerprint;       /* of what has been read: FNV-1a */
	size_t length;              /* of word, and of what did not fit */
	char word[WORD_MAX + 1];
	unsigned char data[16384];
} file;

/* A file that is missing is like empty. musl's open(3) adds a call. */
static void file_open(const char *path)
{
	do
		file.fd = syscall(SYS_openat, AT_FDCWD, path,
			O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	while (file.fd < 0 && has_made_room(SECOND));
	bool is_trouble = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
	file.error = file.fd < 0 && is_trouble ? errno : 0;
	file.next = file.size = 0;
	file.fingerprint = 2166136261;
	file.c = '\n';
}

/* Goes on by a byte. Reading ends when TIME is up. */
static void advance(void)
{
	ssize_t n = 0;
	if (file.next == file.size) {
		if (clock_now() >= loop.deadline)
			file.error = ETIMEDOUT;
		else if (file.fd >= 0)
			n = read(file.fd, file.data, sizeof file.data);
		file.size = larger(n, 0);
		file.next = 0;
	}
	file.c = file.size ? file.data[file.next++] : -1;
	file.fingerprint = (file.fingerprint ^ file.c) * 16777619;
}

/* Goes on to the next line. False at the end of the file, which is closed. */
static bool next_line(void)
{
	while (file.c >= 0 && file.c != '\n')
		advance();
	if (file.c >= 0)
		advance();
	if (file.c < 0 && file.fd >= 0)
		close(file.fd);
	return file.c >= 0;
}

/* The next word of the line is in file.word. False at its end. */
static bool next_word(void)
{
	while (file.c == ' ' || file.c == '\t' || file.c == '\r')
		advance();
	for (file.length = 0; file.c > ' ' && file.c != '#'; advance()) {
		if (file.length < WORD_MAX)
			file.word[file.length] = file.c;
		file.length++;
	}
	file.word[smaller(file.length, WORD_MAX)] = '\0';
	return file.length > 0;
}

static bool is_word(const char *text, bool any_case)
{
	return file.length <= WORD_MAX && (any_case
		? strcasecmp(file.word, text) : strcmp(file.word, text)) == 0;
}

/* Arguments */

/* The port that services(5) has for a name or an alias; 0 if it has none. */
static int find_service(const char *name)
{
	const char *protocol = NULL;
	int port = 0;
	file_open("/etc/services");
	while (next_line()) {
		bool is_it = next_word() && is_word(name, false);
		next_word();
		int number = parse_number(file.word, PORT_MAX, &protocol);
		bool is_tcp = strcmp(protocol, "/tcp") == 0;
		while (is_tcp && !is_it && next_word())
			is_it = is_word(name, false);
		if (is_it && is_tcp && port == 0 && number <= PORT_MAX)
			port = number;
	}
	if (file.error)                 /* that is no bad usage */
		die(EXIT_NOT_REACHED, "/etc/services", file.error);
	return port;
}

static int parse_port(const char *text, int lowest)
{
	const char *end = text;
	int port = parse_number(text, PORT_MAX, &end);
	bad_if(!*text, "no port");
	if (*end)
		port = find_service(text);
	bad_if(*end && !port, "no such port or service");
	bad_if(port < lowest || port > PORT_MAX, "a port is 1 to 65535");
	return port;
}

/* What no host can be called (RFC 1035, but _ and what is not ASCII are in
 * use). A last label that is a number, 0x1f too, was meant as an address. */
static void check_host(const char *host)
{
	const char *label = host, *end = host + strlen(host);
	for (const unsigned char *p = (const void *)host; *p; p++)
		bad_if(*p < 128 && !isalnum(*p) && !strchr("-_.", *p),
			"a host has only letters, digits, - _ .");
	end -= end[-1] == '.';
	bad_if(end - host > HOST_MAX, "a host has at most 253 bytes");
	for (size_t size;; label += size + 1) {
		size = strcspn(label, ".");
		bad_if(size == 0, "nothing between two dots of the host");
		bad_if(size > LABEL_MAX,
			"a host has at most 63 bytes between dots");
		if (label + size >= end)
			break;
	}
	if (strncasecmp(label, "0x", 2) == 0 && label[2])
		label += 2 + strspn(label + 2, "0123456789abcdefABCDEF");
	bad_if(label + count_digits(label) == end,
		"an IPv4 address is four numbers: 127.0.0.1");
}

/* localhost and all that ends in .localhost, with or without a final dot. */
static bool is_localhost(const char *host)
{
	const int size = strlen("localhost");
	int start = strlen(host) - size;
	start -= host[start + size - 1] == '.';
	return start >= 0 && (start == 0 || host[start - 1] == '.') &&
	       strncasecmp(host + start, "localhost", size) == 0;
}

/* Gives the host its address, or localhost its two (RFC 6761). */
static void parse_address(struct target *t, bool has_brackets)
{
	bool has_colon = strchr(t->host, ':');
	const char *zone = NULL;
	union endpoint e;
	if (parse_ip(t->host, &e, &zone) && has_brackets == has_colon) {
		bad_if(e.family == AF_INET6 && !zone && !e.in6.sin6_scope_id &&
			IN6_IS_ADDR_LINKLOCAL(&e.in6.sin6_addr),
			"needs its interface: [fe80::1%eth0]:80");
		add_address(t, &e)->zone = zone;
		return;
	}
	bad_if(has_brackets, "not an IPv6 address");
	check_host(t->host);
	t->lookup.is_needed = !is_localhost(t->host);
	if (!t->lookup.is_needed)
		add_both(t, true);
	t->lookup.questions[0].answer = NAME_ASKED;
	t->lookup.questions[1].answer = NAME_ASKED;
}

/* HOST:PORT of a URL (RFC 3986), copied, or the word as it is. */
static const char *strip_url(const char *word)
{
	const char *start = word;
	while (isalnum((unsigned char)*start) || memchr("+-.", *start, 3))
		start++;
	if (start == word || strncmp(start, "://", 3) != 0)
		return word;
	start += 3;
	const char *end = start + strcspn(start, "/?#");
	const char *at = memrchr(start, '@', end - start);
	start = at ? at + 1 : start;
	return memcpy(allocate(end - start + 1), start, end - start);
}

/* Copies the HOST of HOST:PORT; returns PORT, without a colon the text. */
static const char *parse_host(struct target *t, const char *text)
{
	const char *colon = strrchr(text, ':');
	bool has_brackets = *text == '[';
	bad_if(strchr(text, ','), "one target an argument: db:1 cache:2");
	bad_if(strchr(text, '/'), "a / makes it a path or a URL: ./PATH,"
		" SCHEME://HOST:PORT/...");
	bad_if(strchr(text, '@'),
		"USER@ is for a URL: SCHEME://USER@HOST:PORT");
	bad_if(has_brackets && (!colon || colon[-1] != ']'),
		"no :PORT after ]");
	if (!colon)
		return text;
	const char *host = text + has_brackets, *end = colon - has_brackets;
	bad_if(host >= end, "no host");
	bad_if(!has_brackets && memchr(host, ':', end - host),
		"more than one colon: IPv6 needs brackets, [::1]:80");
	bad_if(end - host >= (int)sizeof t->host,
		"a host has at most 253 bytes");
	memcpy(t->host, host, end - host);
	return colon + 1;
}

static void parse_path(struct target *t)
{
	union endpoint e = { .un.sun_family = AF_UNIX };
	t->given = t->service = argument;
	if (strncmp(argument, "unix:", 5) == 0)
		t->service += strncmp(argument + 5, "//", 2) == 0 ? 7 : 5;
	bad_if(!*t->service, "no path");
	bad_if(strlen(t->service) >= sizeof e.un.sun_path,
		"a socket's path has at most 107 bytes");
	strcpy(e.un.sun_path, t->service);
	add_address(t, &e);
}

static void parse_target(struct target *t)
{
	t->given = strip_url(argument);
	t->service = parse_host(t, t->given);
	bad_if(!*t->host && t->given != argument,
		"no port: SCHEME://HOST:PORT");
	bad_if(!*t->host, "neither HOST:PORT, nor a path, nor a STATE:"
		" occupied, free, assert-free, find");
	t->low = t->high = parse_port(t->service, 1);
	parse_address(t, *t->given == '[');
}

/* [HOST:]PORT or [HOST:]LOW-HIGH, for find; without a host both wildcards. */
static void parse_range(struct target *t, const char *range)
{
	char low[sizeof "65535"] = "";
	t->given = range;
	t->state = FIND;
	bad_if(strchr(range, '/'),
		"find is for [HOST:]PORT or [HOST:]LOW-HIGH");
	t->service = parse_host(t, range);
	size_t digits = count_digits(t->service);
	if (digits > 0 && digits < sizeof low && t->service[digits] == '-') {
		t->low = parse_port(memcpy(low, t->service, digits), 1);
		t->service += digits + 1;
		t->high = parse_port(t->service, 1);
	} else {
		t->low = t->high = parse_port(t->service, 0);
	}
	bad_if(t->low > t->high, "LOW is above HIGH");
	if (*t->host)
		parse_address(t, *range == '[');
	else
		add_both(t, false);
}

/* Names: what the files say */

static struct {                     /* addresses that an answer has */
	int count;
	union endpoint list[ADDRESSES_MAX];
} found;

/* Those of a family stay known, with their probes, but count no more. */
static void unlist(struct target *t, bool ipv6)
{
	for (struct address *a = t->addresses; a; a = a->next)
		if (a->is_listed && a->is_ipv6_answer == ipv6) {
			a->is_listed = false;
			a->gone = loop.now;
		}
}

/* False without memory for all of them: then none counts. */
static bool list_found(struct target *t, bool ipv6)
{
	struct address *a;
	int i = 0;
	for (; i < found.count && (a = add_address(t, &found.list[i])); i++)
		a->is_ipv6_answer = ipv6;
	if (i < found.count)
		unlist(t, ipv6);
	return i == found.count;
}

/* Adds to found what hosts(5) says of the host. Returns 0 or an errno. */
static int read_hosts(const char *host)
{
	char name[HOST_MAX + 2], text[WORD_MAX + 1];
	size_t length = strlen(strcpy(name, host));
	if (name[length - 1] == '.')
		name[length - 1] = '\0';
	file_open("/etc/hosts");
	while (next_line()) {
		next_word();
		memcpy(text, file.word, sizeof text);
		while (next_word() && !is_word(name, true))
			;
		if (file.length > 0 && found.count < ADDRESSES_MAX &&
		    parse_ip(text, &found.list[found.count], NULL))
			found.count++;
	}
	return file.error;
}

static struct {                     /* what resolv.conf(5) says */
	int servers;
	union endpoint server[SERVERS_MAX];
	int ndots;
	int domains;                /* in the search list */
	char domain[2][WORD_MAX + 1];   /* numbers candidate - 1, candidate */
} configuration;

/* Of the search list only what the candidate may need. */
static void read_line(int candidate)
{
	union endpoint *server = &configuration.server[configuration.servers];
	int i = 0;
	next_word();
	if (is_word("nameserver", false)) {
		if (configuration.servers < SERVERS_MAX && next_word() &&
		    parse_ip(file.word, server, NULL)) {
			server->in.sin_port = htons(NS_DEFAULTPORT);
			configuration.servers++;
		}
	} else if (is_word("search", false) || is_word("domain", false)) {
		for (; next_word(); i++)
			if (i == candidate || i == candidate - 1)
				memcpy(configuration.domain[i == candidate],
					file.word, sizeof file.word);
		configuration.domains = i;
	} else if (is_word("options", false)) {
		while (next_word())
			if (strncmp(file.word, "ndots:", 6) == 0)
				configuration.ndots = parse_number(
					file.word + 6, NDOTS_MAX - 1, NULL);
	}
}

/* Returns 0 or an errno. Without a name server in it that is 127.0.0.1. */
static int read_configuration(int candidate)
{
	union endpoint *server = configuration.server;
	set_special(server, AF_INET, true);
	server->in.sin_port = htons(NS_DEFAULTPORT);
	configuration.servers = configuration.domains = 0;
	configuration.ndots = 1;
	file_open("/etc/resolv.conf");
	while (next_line())
		read_line(candidate);
	configuration.servers = larger(configuration.servers, 1);
	return file.error;
}

/* Names: questions to the servers, and their answers (RFC 1035) */

/* True for a target that is asked once only: no second probe or look-up. */
static bool is_once(const struct target *t)
{
	return t->state == ASSERT_FREE || options.timeout == 0;
}

static int name_answer(const struct target *t)
{
	int ipv4 = t->lookup.questions[0].answer;
	int ipv6 = t->lookup.questions[1].answer;
	if (!t->lookup.is_needed)
		return NAME_KNOWN;
	return meaning_of(ipv6) > meaning_of(ipv4) ? ipv6 : ipv4;
}

/* With fewer than ndots dots the search list comes first, else the name as it
 * is; with a final dot there is no list. "" where it would be too long. */
static void name_candidate(struct lookup *l, const char *host)
{
	size_t length = strlen(host);
	bool is_absolute = host[length - 1] == '.';
	int dots = 0;
	for (const char *p = host; *p; p++)
		dots += *p == '.';
	bool is_first = is_absolute || dots >= configuration.ndots;
	l->candidates = is_absolute ? 1 : configuration.domains + 1;
	strcpy(l->name, host);
	if (l->candidate == (is_first ? 0 : configuration.domains))
		return;
	const char *domain = configuration.domain[!is_first];
	domain += *domain == '.';       /* "search .": the name as it is */
	if (length + 1 + strlen(domain) < sizeof l->name)
		stpcpy(stpcpy(l->name + length, "."), domain);
	else
		*l->name = '\0';
}

/* Writes a question; returns its size, or 0 if there can be no such name. */
static size_t make_query(const struct lookup *l, int f, unsigned char *query)
{
	int type = f ? ns_t_aaaa : ns_t_a, size = 0;
	if (*l->name)
		size = res_mkquery(0, l->name, ns_c_in, type, NULL, 0, NULL,
			query, QUERY_MAX);
	query[0] = l->questions[f].id >> 8;
	query[1] = l->questions[f].id;
	return larger(size, 0);
}

/* Found has the addresses of the question's type among the answers, whosever
 * they are: CNAMEs lead there. Returns the RCODE, or -1 if it is no answer to
 * this very question, or malformed; what is truncated may end anywhere. */
static int read_reply(const unsigned char *reply, size_t size,
	const unsigned char *query, size_t query_size, bool ipv6)
{
	const unsigned char *p = reply + query_size, *end = reply + size;
	const unsigned type = ipv6 ? ns_t_aaaa : ns_t_a;
	int count, wanted = ipv6 ? 16 : 4;
	found.count = 0;
	if (!query_size || size < query_size || memcmp(reply, query, 2) != 0 ||
	    (reply[2] & 0xf8) != 0x80 || get16(reply + 4) != 1)
		return -1;
	for (size_t i = NS_HFIXEDSZ; i < query_size; i++)
		if (tolower(reply[i]) != tolower(query[i]))
			return -1;
	bool is_truncated = reply[2] & 2;
	for (count = get16(reply + 6); count > 0; count--) {
		int length = dn_skipname(p, end);
		if (length < 0 || end - p < length + NS_RRFIXEDSZ)
			break;
		p += length + NS_RRFIXEDSZ;
		length = get16(p - 2);
		if (end - p < length)
			break;
		if (get16(p - 10) == type && get16(p - 8) == ns_c_in &&
		    length == wanted && found.count < ADDRESSES_MAX)
			set_ip(&found.list[found.count++], p, ipv6);
		p += length;
	}
	return count > 0 && !is_truncated ? -1 : reply[3] & 15;
}

/* The best that servers have said; NAME_ASKED while more is awaited. No address
 * counts when all have been heard, or DENIAL after the first. */
static int family_answer(const struct target *t, const struct question *q)
{
	const struct lookup *l = &t->lookup;
	int64_t end = l->candidate_started + NAME_PATIENCE;
	if (is_once(t))
		end = smaller(end, l->started + options.connect_timeout);
	bool is_late = loop.poll_start >=
		(loop.is_last ? loop.deadline - GRACE : end);
	if (q->best == NAME_UNKNOWN && !q->fd)
		is_late = loop.now >= q->denied_at + DENIAL;
	is_late |= q->heard == (1 << l->servers) - 1 && !q->fd;
	return is_late || q->best == NAME_KNOWN ? q->best : NAME_ASKED;
}

static void take_answer(struct question *q, int server, int answer)
{
	if (answer == NAME_UNKNOWN && q->best < NAME_UNKNOWN)
		q->denied_at = loop.now;
	q->best = larger(q->best, answer);
	q->heard |= 1 << server;
}

/* The first candidate with an address is the name; after trouble with both
 * families the other is pending again. Silence is asked again, all else leads
 * to the next; after the last there is no such name, or failure if one failed.
 * Then sockets are made anew: routes and our own addresses may have changed. */
static void lookup_decide(struct target *t)
{
	struct lookup *l = &t->lookup;
	struct question *q = l->questions;
	int answer[2] = { family_answer(t, &q[0]), family_answer(t, &q[1]) };
	int best = larger(answer[0], answer[1]), next = l->candidate + 1;
	int worst = smaller(answer[0], answer[1]);
	bool was_lost = larger(q[0].answer, q[1].answer) < NAME_UNKNOWN;
	if (!l->servers || (best < NAME_KNOWN && worst == NAME_ASKED))
		return;
	if (worst > NAME_ASKED)
		lookup_end(l);
	if (worst == NAME_SILENT && best < NAME_KNOWN) {
		answer[0] = answer[1] = NAME_SILENT;
	} else if (best < NAME_KNOWN) {
		l->has_failed |= worst < NAME_UNKNOWN;
		if (next < l->candidates) {
			l->candidate = next;
			l->due = loop.now;
			return;
		}
		answer[0] = l->has_failed ? NAME_FAILED : NAME_UNKNOWN;
		answer[1] = answer[0];
	}
	for (int f = 0; f < 2; f++) {
		if (answer[f] == NAME_UNKNOWN)
			unlist(t, f);
		if (answer[f] == NAME_SILENT ? q[f].answer != NAME_KNOWN
		    : answer[f] != NAME_ASKED || was_lost)
			q[f].answer = answer[f];
	}
}

/* A question by TCP is over: what fitted into UDP's answer counts. */
static void stream_end(struct question *q)
{
	close_socket(&q->fd);
	take_answer(q, q->server, q->has_fitted ? NAME_KNOWN : NAME_FAILED);
}

static void stream_start(struct lookup *l, struct question *q)
{
	union endpoint peer;
	socklen_t size = sizeof peer;
	q->server = ffs(q->truncated) - 1;
	q->truncated &= q->truncated - 1;
	q->is_sent = false;
	q->size = 0;
	q->give_up = loop.now + SECOND;
	if (!q->reply)
		q->reply = allocate(STREAM_MAX);
	getpeername(l->fds[q->server], &peer.any, &size);  /* cannot fail */
	if (q->reply)
		q->fd = open_socket(peer.family, SOCK_STREAM);
	/* To make room this very look-up may have given way. */
	if (!q->fd || !l->servers || connect_socket(q->fd, &peer) != 0)
		stream_end(q);
}

/* True for an answer. The first of a family with an address counts. */
static bool take_reply(struct target *t, const unsigned char *reply,
	size_t size, int server, bool is_stream)
{
	struct lookup *l = &t->lookup;
	unsigned char query[QUERY_MAX];
	int f = -1, code = -1, answer = NAME_FAILED;
	while (code < 0 && ++f < 2)
		code = read_reply(reply, size, query,
			make_query(l, f, query), f);
	if (code < 0)
		return false;
	struct question *q = &l->questions[f];
	if (q->best == NAME_KNOWN)
		return true;
	if (reply[2] & 2 && !is_stream) {       /* it is truncated */
		q->has_fitted |= list_found(t, f) && found.count > 0;
		q->truncated |= 1 << server;
		return true;
	}
	if (code == ns_r_noerror && found.count > 0) {
		unlist(t, f);
		answer = list_found(t, f) ? NAME_KNOWN : NAME_FAILED;
	} else if (code == ns_r_noerror || code == ns_r_nxdomain) {
		answer = NAME_UNKNOWN;
	}
	/* The other family has its time from the first sign of life on. */
	if (answer == NAME_KNOWN &&
	    larger(q->answer, l->questions[!f].answer) < NAME_UNKNOWN)
		l->candidate_started = loop.now;
	take_answer(q, server, answer);
	return true;
}

/* Sends the question, or takes what has come of the reply: its length in two
 * bytes, and the packet (RFC 1035, 4.2.2). */
static void stream_hear(struct target *t, int f)
{
	struct question *q = &t->lookup.questions[f];
	unsigned char query[2 + QUERY_MAX];
	if (!q->is_sent) {
		ssize_t n = make_query(&t->lookup, f, query + 2);
		query[0] = n >> 8;
		query[1] = n;
		q->is_sent = true;
		if (send(q->fd, query, n + 2, MSG_NOSIGNAL) != n + 2)
			stream_end(q);
		return;
	}
	ssize_t n = recv(q->fd, q->reply + q->size, STREAM_MAX - q->size, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	q->size += larger(n, 0);
	size_t size = get16(q->reply);
	if (n > 0 && (q->size < 2 || q->size < 2 + size))
		return;
	if (n > 0 && take_reply(t, q->reply + 2, size, q->server, true))
		close_socket(&q->fd);
	else
		stream_end(q);
}

/* A refusal by ICMP is an error of the socket (udp(7)). */
static void lookup_hear(struct target *t)
{
	struct lookup *l = &t->lookup;
	struct question *q = l->questions;
	/* Names have a turn, begun anywhere; the rest is there next time. */
	for (int i = 0; i < l->servers && clock_now() >= loop.now + TURN; i++)
		if (polls[l->fds[i]].revents)
			return;
	for (int i = 0; i < l->servers; i++) {
		ssize_t n = 0;
		for (int k = 0; n >= 0 && polls[l->fds[i]].revents &&
		     k < PACKETS_MAX; k++) {
			n = recv(l->fds[i], packet, sizeof packet, 0);
			if (n >= 0)
				take_reply(t, packet, n, i, false);
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			take_answer(&q[0], i, NAME_SILENT);
			take_answer(&q[1], i, NAME_SILENT);
		}
	}
	for (int f = 0; f < 2; f++) {
		if (polls[q[f].fd].revents)
			stream_hear(t, f);
		else if (q[f].fd && loop.now >= q[f].give_up)
			stream_end(&q[f]);
		while (l->servers && q[f].truncated && !q[f].fd)
			stream_start(l, &q[f]);
	}
	lookup_decide(t);
}

/* The sockets are connected: the kernel takes packets from there only. Where
 * descriptors are few, the next time begins with the server that got none. An
 * errno is returned where there is no socket at all. */
static int open_servers(struct lookup *l)
{
	static int first;
	int count = configuration.servers, has_any = l->servers;
	for (int n = 0; n < count; n++) {
		int i = (first + n) % count, *fd = &l->fds[i];
		const union endpoint *e = &configuration.server[i];
		if (*fd)
			continue;
		*fd = open_socket(e->family, SOCK_DGRAM);
		if (!*fd && errno != EAFNOSUPPORT) {
			if (!has_any)
				return errno;
			first = i;
			break;
		}
		has_any |= *fd;
		if (*fd && connect_socket(*fd, e) != 0)
			close_socket(fd);
	}
	l->servers = count;
	return 0;
}

/* Nobody can guess the IDs; at boot, without entropy, the clock must do. */
static void lookup_begin(struct target *t)
{
	struct lookup *l = &t->lookup;
	uint32_t id;
	if (getrandom(&id, sizeof id, GRND_NONBLOCK) != sizeof id)
		id = loop.now ^ loop.now >> 16;
	l->questions[0].id = id;
	l->questions[1].id = id >> 16;
	l->fingerprint = file.fingerprint;
	name_candidate(l, t->host);
	l->has_failed &= l->candidate > 0;
	l->candidate_started = loop.now;
	if (l->candidate == 0 && !(is_once(t) && l->started))
		l->started = loop.now;
}

/* Asks all servers or, in one check and while a denial waits for others, those
 * not heard yet. An error may be that of the packet before: hence two tries. */
static void send_questions(struct target *t, bool is_new)
{
	struct lookup *l = &t->lookup;
	unsigned char query[QUERY_MAX];
	for (int f = 0; f < 2; f++) {
		struct question *q = &l->questions[f];
		size_t size = make_query(l, f, query);
		int failure = size ? NAME_SILENT : NAME_UNKNOWN;
		if (is_new)
			q->truncated = q->has_fitted = 0;
		if (is_new || (!is_once(t) && (q->best != NAME_UNKNOWN ||
		               loop.now >= q->denied_at + DENIAL))) {
			q->best = NAME_SILENT;
			q->heard = 0;
		}
		for (int i = 0; q->best < NAME_KNOWN && i < l->servers; i++) {
			int fd = size ? l->fds[i] : 0;
			if (!(q->heard & 1 << i) && (!fd ||
			    (send(fd, query, size, MSG_NOSIGNAL) < 0 &&
			     send(fd, query, size, MSG_NOSIGNAL) < 0)))
				take_answer(q, i, failure);
		}
	}
}

/* Asks again on the same sockets, so that late answers count, while
 * resolv.conf(5) stays as it is. Returns 0, or the errno that prevented it. */
static int lookup_ask(struct target *t)
{
	struct lookup *l = &t->lookup;
	bool is_begun = l->servers || l->candidate > 0;
	int error = 0;
	found.count = 0;
	if (l->servers || l->candidate == 0)
		error = read_hosts(t->host);
	if (!error && found.count > 0) {
		lookup_end(l);
		unlist(t, false);
		unlist(t, true);
		l->questions[0].answer = NAME_KNOWN;
		l->questions[1].answer = NAME_UNKNOWN;
		return list_found(t, false) ? 0 : ENOMEM;
	}
	if (!error)
		error = read_configuration(l->candidate);
	if (!error && is_begun && l->fingerprint != file.fingerprint) {
		lookup_end(l);
		error = read_configuration(0);
	}
	bool is_new = !l->servers;
	if (!error)
		error = open_servers(l);
	if (!error && is_new)
		lookup_begin(t);
	if (!error)
		send_questions(t, is_new);
	return error;
}

/* Judging */

/* The first address of the strongest answer, or NULL. One that is not listed
 * counts only where it accepts, for occupied. */
static struct address *strongest(const struct target *t)
{
	struct address *best = NULL;
	for (struct address *a = t->addresses; a; a = a->next) {
		bool is_reached = t->state == OCCUPIED && a->answer == ACCEPTED;
		if ((a->is_listed || is_reached) &&
		    (!best || meaning_of(a->answer) > meaning_of(best->answer)))
			best = a;
	}
	return best;
}

static int target_answer(const struct target *t)
{
	const struct address *a = strongest(t);
	int name = name_answer(t);
	bool is_name = !a || meaning_of(a->answer) <= meaning_of(name);
	return is_name ? name : a->answer;
}

/* What -s has opened is read first, or close(2) would reset it. */
static void close_probe(struct address *a)
{
	for (int i = 0; a->open_since && i < DRAIN_MAX; i++)
		if (recv(a->fd, packet, sizeof packet, 0) <= 0)
			break;
	a->open_since = 0;
	close_socket(&a->fd);
}

static void close_addresses(struct target *t)
{
	for (struct address *a = t->addresses; a; a = a->next)
		close_probe(a);
}

static void close_target(struct target *t)
{
	lookup_end(&t->lookup);
	if (!t->found)
		close_addresses(t);
}

static void judge(struct target *t)
{
	unsigned meaning = 1 << meaning_of(target_answer(t));
	bool is_end = meaning & states[t->state].ended_by;
	if (meaning & states[t->state].reached_by)
		t->outcome = REACHED;
	else if (is_end || (is_once(t) && meaning != 1 << PENDING))
		t->outcome = FAILED;
	else
		return;
	t->reached_at = loop.now;
	loop.is_ended |= is_end;
	close_target(t);
}

/* Probes */

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

/* For SO_LINGER: close(2) sends a RST, or goes the ordinary way. */
static const struct linger rst = { .l_onoff = 1 }, fin = { .l_onoff = 0 };

/* True if it is this machine's: only such a one can be taken for
 * IP_MULTICAST_IF (ip(7)), or is its own source with IPv6. */
static bool is_local(const union endpoint *e)
{
	const struct in6_addr *ipv6 = &e->in6.sin6_addr;
	uint32_t ipv4 = e->in.sin_addr.s_addr;
	bool is_ipv4 = e->family == AF_INET, result = false;
	union endpoint self;
	socklen_t size = sizeof self;
	if (is_ipv4 ? ntohl(ipv4) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(ipv6))
		return true;
	int fd = open_socket(e->family, SOCK_DGRAM);
	if (!fd)                /* then bind(2) will say so, too */
		return true;
	if (is_ipv4)
		result = !set_option(fd, IPPROTO_IP, IP_MULTICAST_IF, ipv4);
	else if (connect_socket(fd, e) == 0 &&
	         getsockname(fd, &self.any, &size) == 0)
		result = IN6_ARE_ADDR_EQUAL(&self.in6.sin6_addr, ipv6);
	close_socket(&fd);
	return result;
}

/* Asks the kernel, which sends nothing. */
static int try_connect_udp(const union endpoint *e)
{
	int fd = open_socket(e->family, SOCK_DGRAM);
	int error = fd ? connect_socket(fd, e) : errno;
	close_socket(&fd);
	return error;
}

/* EADDRNOTAVAIL is EAFNOSUPPORT where IPv6 is off: then loopback has no source,
 * either. Otherwise an address is tentative, or no TCP port is left. */
static int check_family(sa_family_t family, int error)
{
	union endpoint e;
	set_special(&e, family, true);
	e.in.sin_port = htons(NS_DEFAULTPORT);
	bool is_off = error == EADDRNOTAVAIL && try_connect_udp(&e) == error;
	return is_off ? EAFNOSUPPORT : error;
}

/* If it may share, EADDRINUSE means a listener, or one without SO_REUSEADDR.
 * IP_FREEBIND, which serves IPv6, too, gets addresses that are away for now. */
static int try_bind(const union endpoint *e, bool may_share)
{
	int fd = open_socket(e->family, SOCK_STREAM);
	if (fd && may_share) {
		set_option(fd, IPPROTO_IP, IP_FREEBIND, 1);
		set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	}
	int error = fd ? bind_socket(fd, e) : errno;
	close_socket(&fd);
	return error;
}

/* Silence of this machine may be a full queue or a firewall: bind(2) tells. */
static int check_local(const union endpoint *e, int answer)
{
	enum meaning meaning = meaning_of(answer);
	bool is_open = meaning == SILENT || meaning == UNREACHABLE;
	if (!is_open || e->family == AF_UNIX || !is_local(e))
		return answer;
	int error = try_bind(e, true);
	if (error == EADDRINUSE)
		return MUTE;
	bool is_nobody = error == 0 || error == EADDRNOTAVAIL;
	return is_nobody || answer == EAFNOSUPPORT ? answer : error;
}

static int connect_answer(const union endpoint *e, int error)
{
	if (e->family == AF_UNIX && error == EAGAIN)    /* queue is full */
		return options.stable ? QUEUE_FULL : ACCEPTED;
	if (e->family == AF_UNIX)
		return error;
	if (error == EINVAL)            /* blackhole; link-local, no zone */
		return ENETUNREACH;
	if (error == EACCES)            /* prohibited here, or by ICMPv6 */
		return try_connect_udp(e) ? error : EHOSTUNREACH;
	return check_family(e->family, error);
}

/* Only getpeername(2) tells if it is connected. One to itself, where connect(2)
 * drew the very port that it goes to, means that nobody is there. ::1 as the
 * source of what goes elsewhere means that an address of ours is tentative. */
static int probe_answer(const struct address *a)
{
	union endpoint peer, self;
	socklen_t size = sizeof peer, error_size = sizeof(int);
	int error = 0;
	getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	if (error == EACCES)    /* by ICMPv6; what is local, connect(2) says */
		return EHOSTUNREACH;
	if (options.stable && (error == ECONNRESET || error == EPIPE))
		return DROPPED;         /* so it had been accepted */
	if (error)
		return connect_answer(&a->endpoint, error);
	if (getsockname(a->fd, &self.any, &size) < 0)
		return errno;
	bool is_tentative = self.family == AF_INET6 &&
		IN6_IS_ADDR_LOOPBACK(&self.in6.sin6_addr) &&
		!IN6_IS_ADDR_LOOPBACK(&a->endpoint.in6.sin6_addr);
	if (getpeername(a->fd, &peer.any, &size) < 0)
		return errno != ENOTCONN ? errno :
			is_tentative ? EADDRNOTAVAIL : NO_ANSWER;
	if (peer.family != AF_UNIX && memcmp(&peer, &self, size) == 0)
		return ECONNREFUSED;
	return ACCEPTED;
}

/* What the other side sends is read: it would hide the end. */
static int stable_answer(const struct address *a, short events)
{
	if (events & (POLLRDHUP | POLLHUP | POLLERR))
		return DROPPED;
	if (events)
		recv(a->fd, packet, sizeof packet, 0);
	int64_t end = a->open_since + options.stable;
	return loop.poll_start >= end ? ACCEPTED : STILL_OPEN;
}

/* Its zone is the interface that has that name now. */
static int open_address(struct address *a)
{
	union endpoint *e = &a->endpoint;
	while (a->zone && !(e->in6.sin6_scope_id = if_nametoindex(a->zone)))
		if (!has_made_room(HOLD))
			return errno;
	a->fd = open_socket(e->family, SOCK_STREAM);
	return a->fd ? 0 : errno;
}

/* Returns the answer, or NO_ANSWER while that is awaited. */
static int probe_begin(struct address *a)
{
	const union endpoint *e = &a->endpoint;
	int error = open_address(a);
	if (error)
		return error;
	/* A kernel that does not know it is asked all the same. */
	if (e->family != AF_UNIX && !options.stable)
		set_option(a->fd, IPPROTO_TCP, TCP_QUICKACK, 0);
	setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
	error = connect_socket(a->fd, e);
	if (error) {
		close_socket(&a->fd);
		return connect_answer(e, error);
	}
	/* Loopback has answered by now; else try_bind must not find us. */
	int answer = probe_answer(a);
	if (answer == NO_ANSWER || options.stable)
		set_option(a->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	return answer;
}

/* With -s, STILL_OPEN is no news where the last answer was ACCEPTED, or was
 * DROPPED and the new connection is younger than LOST. */
static void settle(struct target *t, struct address *a, int answer)
{
	if (answer == ACCEPTED && options.stable && !a->open_since) {
		setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &fin, sizeof fin);
		a->open_since = loop.now;
		answer = STILL_OPEN;
	}
	bool is_old_news = a->answer == ACCEPTED ||
		(a->answer == DROPPED && loop.now < a->open_since + LOST);
	if (answer == NO_ANSWER || (answer == STILL_OPEN && is_old_news))
		return;
	if (answer != STILL_OPEN)
		close_probe(a);
	if (t->state != OCCUPIED)
		answer = check_local(&a->endpoint, answer);
	a->answer = answer;
	judge(t);
}

/* find */

/* Returns BOUND or an errno. A port in TIME_WAIT needs SO_REUSEADDR, and then
 * only listen(2) keeps others off. With a HOST, :: serves IPv4, too. */
static int bind_address(struct address *a, int port, bool has_host)
{
	union endpoint *e = &a->endpoint;
	socklen_t size = sizeof *e;
	int error = open_address(a);
	if (error)
		return error;
	e->in.sin_port = htons(port);
	if (e->family == AF_INET6)
		set_option(a->fd, IPPROTO_IPV6, IPV6_V6ONLY, !has_host);
	error = bind_socket(a->fd, e);
	if (error == EADDRINUSE && port && !given['r']) {
		set_option(a->fd, SOL_SOCKET, SO_REUSEADDR, 1);
		error = bind_socket(a->fd, e);
		if (!error && listen(a->fd, 1) < 0)
			error = errno;
	}
	if (!error) {
		getsockname(a->fd, &e->any, &size);     /* cannot fail */
		return BOUND;
	}
	close_socket(&a->fd);
	return check_family(e->family, error);
}

/* Returns the port of the first one bound, or 0; the answers tell the rest. */
static int bind_all(struct target *t, int port)
{
	int bound = 0;
	for (struct address *a = t->addresses; a; a = a->next)
		a->answer = EAFNOSUPPORT;
	for (struct address *a = t->addresses; a; a = a->next) {
		if (!a->is_listed)
			continue;
		a->answer = bind_address(a, bound ? bound : port, *t->host);
		if (a->answer == BOUND)
			bound = ntohs(a->endpoint.in.sin_port);
		else if (a->answer != EAFNOSUPPORT)
			return bound;
	}
	if (!bound)
		strongest(t)->answer = EADDRNOTAVAIL;
	return bound;
}

/* The first sockets of tries are kept: the kernel would pick the same again. */
static void find_port(struct target *t)
{
	int picks[PICKS_MAX] = { 0 };
	int tries = t->low ? t->high - t->low + 1 : PICKS_MAX;
	struct address *first = t->addresses;
	while (!first->is_listed)
		first = first->next;
	for (int i = 0; i < tries && !t->found; i++) {
		int port = bind_all(t, t->low ? t->low + i : 0);
		int answer = strongest(t)->answer;
		bool is_taken = false;  /* by another target */
		for (size_t n = 0; tries > 1 && n < target_count; n++)
			is_taken |= targets[n].found == port ||
				(targets[n].low == port &&
				 targets[n].high == port);
		if (answer == BOUND && is_taken)
			answer = first->answer = EADDRINUSE;
		if (answer == BOUND) {
			t->found = port;
			break;
		}
		if (t->low == 0) {
			picks[i] = first->fd;
			first->fd = 0;
		}
		close_addresses(t);
		if ((answer != EADDRINUSE && answer != EACCES) ||
		    (t->low == 0 && !port) || clock_now() >= loop.deadline)
			break;
	}
	for (int i = 0; i < PICKS_MAX; i++)
		close_socket(&picks[i]);
	for (struct address *a = t->addresses; a; a = a->next)
		held_count += a->fd != 0;
}

/* The accepted side, with the listener's SO_REUSEADDR, closes first. Then only
 * a bind(2) to the port with SO_REUSEADDR gets it (inet_csk_get_port). */
static int make_time_wait(int listener, const union endpoint *e)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	int64_t left = larger(loop.deadline - clock_now(), GRACE);
	int64_t ms = smaller(options.connect_timeout, left) / MS + 1;
	int client = open_socket(e->family, SOCK_STREAM);
	if (!client)
		return errno;
	set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
	int error = listen(listener, 1) < 0 ? errno : connect_socket(client, e);
	if (!error && poll(&ready, 1, smaller(ms, INT32_MAX)) == 0)
		error = ETIMEDOUT;
	int accepted = error ? 0 : accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (accepted > 0)
		close(accepted);
	else if (!error)
		error = errno;
	close_socket(&client);
	return error;
}

/* Reserves the port that the address holds, of a wildcard on loopback, and lets
 * go of it. NOT_KEPT: anybody could have it (net.ipv4.tcp_max_tw_buckets). */
static int reserve(const struct target *t, struct address *a)
{
	union endpoint *e = &a->endpoint;
	replace_wildcard(e);
	int error = check_family(e->family, make_time_wait(a->fd, e));
	close_socket(&a->fd);
	if (error)
		return error == EAFNOSUPPORT && !*t->host ? 0 : error;
	return try_bind(e, false) ? 0 : NOT_KEPT;
}

static int hand_over(void)
{
	char text[OPEN_MAX * sizeof "65535\n"], *end = text;
	for (struct target *t = targets; t < targets + target_count; t++) {
		end = stpcpy(append_number(end, t->found, 10, 1), "\n");
		for (struct address *a = t->addresses; a; a = a->next) {
			int error = given['r'] && a->fd ? reserve(t, a) : 0;
			if (error && !given['q'])
				say("Port # cannot be reserved on &. (&)\n",
					t->found, address_text(&a->endpoint),
					explain(error)->text);
			if (error)
				return EXIT_NOT_REACHED;
			close_socket(&a->fd);
		}
	}
	print(text);
	return EXIT_REACHED;
}

/* Telling */

/* -v: all, or as long as standard error takes it, lest probes are kept open. */
static void tell(bool all)
{
	struct pollfd to = { .fd = STDERR_FILENO, .events = POLLOUT };
	if (!given['v'])
		return;
	for (struct target *t = targets; t < targets + target_count; t++) {
		int64_t ms = (t->reached_at - loop.start) / MS;
		int news = t->outcome == REACHED ? DONE : target_answer(t);
		if (news == t->told || meaning_of(news) == PENDING ||
		    (news == DONE && t->state == FIND))
			continue;
		if (!all && poll(&to, 1, 0) <= 0)
			return;
		t->told = news;
		if (news == DONE)
			say("portend: %: & after #.### s\n", t->given,
				states[t->state].reached, (int)(ms / 1000),
				(int)(ms % 1000));
		else
			say("portend: %: &\n", t->given, explain(news)->text);
	}
}

static void say_failure(const struct target *t, int answer, const char *why)
{
	const char *host = t->host, *on = *host ? " on " : "";
	const char *wanted = states[t->state].wanted;
	bool is_find = t->state == FIND, is_unix = !is_find && !*host;
	bool is_in_use = meaning_of(answer) >= HELD &&
		(is_find || t->state == ASSERT_FREE);
	if (t->low < t->high)
		say("No port from # to # is free&%.&\n", t->low, t->high, on,
			host, why);
	else if (is_find && !is_in_use)
		say("Port % cannot be bound&%.&\n", t->service, on, host, why);
	else if (is_find && t->low == 0)
		say("No port is free&%.\n", on, host);
	else if (is_unix && is_in_use)
		say("Socket % is in use.\n", t->service);
	else if (is_unix)
		say("Socket % not &.&\n", t->service, wanted, why);
	else if (is_in_use)
		say("Port % is in use on &.\n", t->service,
			address_text(&strongest(t)->endpoint));
	else
		say("Port % not & on %.&\n", t->service, wanted, host, why);
}

/* Where another one ended the wait nothing can be said of those that waited. */
static int report(void)
{
	int status = EXIT_REACHED;
	for (struct target *t = targets; t < targets + target_count; t++) {
		int answer = target_answer(t);
		char reason[64] = "";
		if (t->outcome == REACHED)
			continue;
		if (answer != states[t->state].plain)
			stpcpy(stpcpy(stpcpy(reason, " ("),
				explain(answer)->text), ")");
		if (!given['q'] && (t->outcome == FAILED || loop.is_last) &&
		    (t->state != FIND || status == EXIT_REACHED))
			say_failure(t, answer, reason);
		status = EXIT_NOT_REACHED;
	}
	return status;
}

/* Asking: each ask_... returns false if the turn is over */

static bool is_turn_over(void)
{
	loop.now = clock_now();
	return loop.is_hurried = loop.now - loop.turn_start >= TURN;
}

static bool is_due(const struct target *t, int64_t asked)
{
	return is_once(t) ? !asked : asked < loop.round_start;
}

static bool ask_name(struct target *t)
{
	struct lookup *l = &t->lookup;
	bool is_new = !l->servers && l->candidate == 0;
	if (!l->is_needed || loop.is_last || loop.now < l->due ||
	    (is_new && is_once(t) && meaning_of(name_answer(t)) != PENDING))
		return true;
	if (is_turn_over())
		return false;
	/* Silence ends it first: see what ppoll says of now. */
	if (l->servers && loop.now >= l->candidate_started + NAME_PATIENCE) {
		l->due = loop.now + MS;
		return true;
	}
	bool is_full = is_new && loop.room <= 0;
	int error = is_full ? 0 : lookup_ask(t);
	loop.now = clock_now();
	if (error == ETIMEDOUT)
		return false;
	if (is_full || is_room_awaited(error)) {
		loop.room = 0;
		if (loop.held_back == target_count)
			loop.held_back = t - targets;
		return true;
	}
	loop.room -= is_new;
	l->due = loop.now + SECOND;
	if (error)
		l->questions[0].answer = l->questions[1].answer = error;
	lookup_decide(t);
	judge(t);
	return true;
}

static bool ask_address(struct target *t, struct address *a)
{
	if (t->outcome != WAITING || a->fd || !a->is_listed ||
	    !is_due(t, a->asked) || (loop.is_last && options.stable) ||
	    (a->answer == DROPPED && loop.now < a->asked + NAP))
		return true;
	if (is_turn_over())
		return false;
	int answer = probe_begin(a);
	if (is_room_awaited(answer))
		return false;
	a->asked = loop.now;
	settle(t, a, answer);
	return true;
}

static bool ask_port(struct target *t)
{
	if (t->outcome != WAITING || !is_due(t, t->asked) ||
	    meaning_of(name_answer(t)) == PENDING || !strongest(t))
		return true;
	if (is_turn_over())
		return false;
	t->asked = loop.now;
	find_port(t);
	judge(t);
	return true;
}

static bool ask_target(struct target *t)
{
	bool is_done = ask_name(t);
	if (t->state == FIND)
		return is_done && ask_port(t);
	for (struct address *a = t->addresses; is_done && a; a = a->next)
		is_done = ask_address(t, a);
	return is_done;
}

/* The loop */

/* Where a probe for occupied is old its SYN was lost: it is begun anew. */
static void begin_last_check(void)
{
	loop.is_last = true;
	loop.deadline = loop.now + GRACE;
	if (loop.patience == options.timeout)   /* what began soon is silent */
		loop.patience -= loop.patience / 10;
	for (struct target *t = targets; t < targets + target_count; t++)
		for (struct address *a = t->addresses; a; a = a->next)
			if (t->state == OCCUPIED && !options.stable &&
			    a->asked + LOST < loop.now)
				close_probe(a);
}

/* Asks what is due, from the cursor on, until the turn is over. */
static void ask(void)
{
	loop.turn_start = loop.now = clock_now();
	bool is_up = !loop.is_last && loop.now >= loop.deadline;
	if (is_up)
		begin_last_check();
	if (is_up || loop.now >= loop.next_round) {
		loop.round_start = loop.now;
		loop.next_round = NEVER;
	}
	loop.is_hurried = false;
	loop.held_back = target_count;
	size_t n = 0;
	for (; n < target_count && !loop.is_ended; n++) {
		struct target *t = &targets[loop.cursor];
		if (t->outcome == WAITING && !ask_target(t))
			break;
		loop.cursor = (loop.cursor + 1) % target_count;
	}
	if (n == target_count && loop.next_round == NEVER && !loop.is_last) {
		/* Within 1 s: the process may have been stopped. */
		int64_t now = clock_now();
		int64_t pause = smaller((now - loop.start) / 100, NAP);
		pause = larger(pause, 10 * (now - loop.round_start));
		loop.next_round = now + larger(MS, smaller(pause, SECOND));
	}
	if (n == target_count && loop.held_back < target_count)
		loop.cursor = loop.held_back;
}

static void watch(int fd, short events)
{
	if (!fd)
		return;
	while (poll_count <= fd)
		polls[poll_count++] = (struct pollfd){ .fd = -1 };
	polls[fd] = (struct pollfd){ .fd = fd, .events = events };
}

static void wake_at(int64_t time)
{
	if (time > loop.now)
		loop.wake = smaller(loop.wake, time);
}

static void watch_lookup(const struct lookup *l)
{
	for (int i = 0; i < l->servers; i++)
		watch(l->fds[i], POLLIN);
	for (int f = 0; f < 2; f++) {
		const struct question *q = &l->questions[f];
		watch(q->fd, q->is_sent ? POLLIN : POLLOUT);
		wake_at(q->denied_at + DENIAL);
	}
	loop.room -= l->servers && loop.now < l->started + FRESH;
	wake_at(l->started + FRESH);
	wake_at(l->due);
	wake_at(l->started + options.connect_timeout);
}

static void watch_address(const struct target *t, const struct address *a)
{
	if (a->open_since) {
		watch(a->fd, POLLIN | POLLRDHUP);
		loop.wake = smaller(loop.wake, a->open_since + options.stable);
	} else if (a->fd) {
		watch(a->fd, POLLOUT);
		loop.wake = smaller(loop.wake, a->asked + loop.patience);
	} else if (!is_once(t)) {
		wake_at(loop.next_round);
	}
}

/* A process that was frozen is late by no more than NAP. */
static void nap(void)
{
	loop.now = clock_now();
	loop.wake = smaller(loop.deadline, loop.now + NAP);
	loop.room = FRESH_MAX;
	poll_count = 0;
	for (struct target *t = targets; t < targets + target_count; t++) {
		if (t->outcome != WAITING)
			continue;
		if (t->lookup.is_needed)
			watch_lookup(&t->lookup);
		for (struct address *a = t->addresses; a; a = a->next)
			watch_address(t, a);
	}
	int64_t length = loop.is_hurried ? 0 : larger(loop.wake - loop.now, 0);
	struct timespec time = { .tv_nsec = length };   /* below a second */
	/* Fails with EINTR, or ENOMEM, and then leaves revents alone: 0. */
	int result = ppoll(polls, poll_count, &time, NULL);
	loop.poll_start = result < 0 ? 0 : loop.now;
	loop.now = clock_now();
}

/* Silent is what was so when ppoll began: the process may have been stopped. */
static void hear(struct target *t)
{
	if (t->lookup.servers) {
		lookup_hear(t);
		judge(t);
	}
	for (struct address *a = t->addresses; a; a = a->next) {
		short events = polls[a->fd].revents;
		if (!a->fd || t->outcome != WAITING)
			continue;
		if (a->open_since)
			settle(t, a, stable_answer(a, events));
		else if (events)
			settle(t, a, probe_answer(a));
		else if (loop.poll_start >= a->asked + loop.patience)
			settle(t, a, ETIMEDOUT);
	}
}

static void on_signal(int number)
{
	_exit(EXIT_SIGNAL + number);
}

/* Process 1 is not ended by a signal that has no handler (kill(2)). */
static void catch_ends_of_process_1(void)
{
	static const char numbers[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 };
	struct sigaction old, caught = { .sa_handler = on_signal };
	if (getpid() != 1)
		return;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (sigaction(numbers[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_DFL)
			sigaction(numbers[i], &caught, NULL);
}

/* Once a target has failed, those that would wait on are not waited for. */
static bool is_over(void)
{
	bool has_failed = false, is_waiting = false, is_checking = false;
	for (struct target *t = targets; t < targets + target_count; t++) {
		has_failed |= t->outcome == FAILED;
		is_waiting |= t->outcome == WAITING;
		is_checking |= t->outcome == WAITING && is_once(t);
	}
	if (loop.is_ended || !(has_failed ? is_checking : is_waiting))
		return true;
	bool is_answered = !loop.is_hurried && open_count == held_count;
	return loop.is_last && (is_answered || loop.now >= loop.deadline);
}

static int wait_for_all(void)
{
	catch_ends_of_process_1();
	loop.start = loop.now = clock_now();
	loop.patience = options.connect_timeout;
	if (options.timeout > 0) {
		loop.deadline = loop.start + options.timeout;
		loop.patience = smaller(loop.patience, options.timeout);
	}
	ask();
	while (!is_over()) {
		tell(false);
		nap();
		for (size_t i = 0; i < target_count && !loop.is_ended; i++)
			hear(&targets[(loop.now + i) % target_count]);
		ask();
	}
	for (struct target *t = targets; t < targets + target_count; t++)
		close_target(t);
	tell(true);
	return report();
}

/* Options, usage, main */

static const struct option {
	char letter;
	char name[sizeof "connect-timeout"];
	int64_t *time;              /* NULL: it takes none */
} option_table[] = {
	{ 't', "timeout", &options.timeout },
	{ 'c', "connect-timeout", &options.connect_timeout },
	{ 's', "stable", &options.stable },
	{ 'r', "reserve", NULL }, { 'q', "quiet", NULL },
	{ 'v', "verbose", NULL }, { 'h', "help", NULL },
	{ 'V', "version", NULL }, { '\0', "", NULL },
};

/* TIME may be the next argument. A letter right behind that of the option, as
 * in -timeout, was meant for a long one: then messages quote the whole word. */
static void parse_option(char ***words)
{
	const char *rest = **words + 1;
	bool is_long = *rest == '-';
	const struct option *o;
	argument = **words;
	do {
		size_t length = is_long ? strcspn(rest + 1, "=") : 1;
		for (o = option_table; o->letter; o++)
			if (is_long ? strncmp(o->name, rest + 1, length) == 0 &&
			              !o->name[length] : o->letter == *rest)
				break;
		bad_if(!o->letter, "unknown option");
		given[(unsigned char)o->letter] = argument;
		rest = is_long ? strchr(argument, '=') : rest + 1;
	} while (!is_long && !o->time && *rest);
	bad_if(!o->time && is_long && rest, "takes no value");
	if (!o->time)
		return;
	const char *time = rest && *rest ? rest + is_long : *++*words;
	bad_if(!time, "no TIME after it");
	if (time != rest || !isalpha((unsigned char)*time))
		argument = time;
	*o->time = parse_duration(time);
	bad_if(*o->time == 0 && o->letter != 't', "must be above 0");
}

/* Leaves the words before "--" at the beginning of argv; returns COMMAND. */
static char **parse_options(int argc, char **argv)
{
	char **words = argv, **command = NULL;
	for (char **next = argv + 1; next < argv + argc && !command; next++) {
		if (strcmp(*next, "--") == 0)
			command = next + 1;
		else if (**next == '-' && (*next)[1])
			parse_option(&next);
		else
			*words++ = *next;
	}
	if (command && !*command)
		die_usage("--", "no COMMAND after it");
	*words = NULL;
	return command;
}

static enum state parse_state(const char *word)
{
	enum state state = OCCUPIED;
	while (state != NO_STATE && strcmp(word, states[state].name) != 0)
		state++;
	return state;
}

/* Each word becomes a target with its state; find alone means find 0. */
static void parse_words(char **words, char **last, bool is_find)
{
	struct target *t = targets, *bare = targets;
	for (; (argument = *words); words++) {
		enum state state = parse_state(argument);
		bad_if(last && words > last && !is_find,
			"no STATE after it; a COMMAND goes after --");
		bad_if(is_find && state != FIND && state != NO_STATE,
			"no other STATE beside find");
		if (state == FIND && t == targets)
			parse_range(t++, "0");
		else if (state == NO_STATE && is_find)
			parse_range(t++, argument);
		else if (state == NO_STATE && is_path(argument))
			parse_path(t++);
		else if (state == NO_STATE)
			parse_target(t++);
		bad_if(state != NO_STATE && bare == t, "no TARGET before it");
		for (; state != NO_STATE && bare < t; bare++)
			bare->state = state;
	}
	if (bare < t)
		die_usage(bare->given, "no STATE after it:"
			" occupied, free, assert-free, find");
	target_count = t - targets;
}

static void parse_command_line(char **words, char **command)
{
	const char *alone = given['h'] ? given['h'] : given['V'];
	char **last = NULL;
	bool is_find = false;
	size_t count = 0;
	for (; words[count]; count++) {
		enum state state = parse_state(words[count]);
		is_find |= state == FIND;
		last = state == NO_STATE ? last : &words[count];
	}
	if (alone && (*words || command))
		die_usage(alone, "only prints, so it stands alone");
	if (alone) {
		print(given['h'] ? synopsis : "portend 2.0\n");
		print(given['h'] ? help : "");
		_exit(EXIT_REACHED);
	}
	if (!*words)
		die_usage("TARGET", "missing, as in:"
			" portend localhost:80 occupied");
	if (is_find && given['s'])
		die_usage(given['s'], "find makes no connections");
	if (is_find && command)
		die_usage(*command, "no COMMAND with find");
	if (!is_find && given['r'])
		die_usage(given['r'], "only with find");
	if (options.timeout > 0 && options.stable > options.timeout)
		die_usage(given['s'], "longer than -t");
	if (is_find && !given['t'])
		options.timeout = 0;
	targets = allocate(count * sizeof *targets);
	parse_words(words, last, is_find);
}

/* Plugs what is closed with the root directory, lest a socket gets there. */
static void plug_descriptors(void)
{
	struct pollfd standard[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int result = 0;
	do                      /* fails only where the limit is below 3 */
		result = poll(standard, 3, 0);
	while (result < 0 && raise_limit());
	errno = EMFILE;
	for (int i = 0; i < 3; i++)
		if (result < 0 || (standard[i].revents & POLLNVAL &&
		    syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC) < 0))
			die(EXIT_NOT_REACHED, "standard descriptors", errno);
}

static _Noreturn void become(char **command)
{
	if (inherited_limit.rlim_max)
		prlimit(0, RLIMIT_NOFILE, &inherited_limit, NULL);
	execvp(*command, command);
	/* ENOTDIR is what the last word of PATH gave, if COMMAND has no /. */
	int why = errno == ENOTDIR && !strchr(*command, '/') ? ENOENT : errno;
	die(why == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, *command, why);
}

int main(int argc, char **argv)
{
	plug_descriptors();
	char **command = parse_options(argc, argv);
	parse_command_line(argv, command);
	int status = wait_for_all();
	if (status == EXIT_REACHED && targets->state == FIND)
		return hand_over();
	if (status == EXIT_REACHED && command)
		become(command);
	return status;
}
