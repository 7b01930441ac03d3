/*
 * portend - wait until TCP ports are occupied or free, find a port to bind,
 *           and then become another program
 *
 * portend [-aqv] [-t TIME] [-c TIME] [-s TIME] [-p PID] TARGET... STATE
 *         [TARGET... STATE]... [-- COMMAND [ARG]...]
 * portend [-qrv] [-t TIME] [-c TIME]
 *         [[HOST:]PORT | [HOST:]LOW-HIGH]... find
 *
 * Exit status: 0 reached or found; 1 not, or it could not be told; 2 bad usage;
 * 126 COMMAND could not be run; 127 not found; 128+N ended by signal N.
 *
 * A target asks: what addresses has the name, does an address accept, can it be
 * bound (find)? Whatever is asked has two times: due, when to ask it, and
 * until, when silence counts as an answer. One loop serves all: ask what is
 * due, for 5 ms or so; tell what has changed; sleep in ppoll(2) until the next
 * of these times, for 100 ms at most; hear the answers, and judge. Nothing else
 * in it blocks. A table says what an answer means: the strongest counts.
 * Another: what a state makes of it.
 *
 * The sockets to name servers are the program's, not a look-up's: each second
 * has a line of UDP sockets of its own, and what comes on the lines of the last
 * 5 s finds its question by socket, ID and text.
 *
 * Without -s a TCP probe is quiet. With TCP_QUICKACK off the last ACK of the
 * handshake is held back for about 0.2 s, and with SO_LINGER {1, 0} any
 * close(2), that of a killed process too, sends a RST instead (tcp(7),
 * socket(7)): the server's accept(2) never sees the connection.
 *
 * Descriptors 0 to 2 are never ours, so 0 means none. Signal dispositions are
 * restored, or set to a handler, which execve(2) resets.
 * Everywhere t is a target, l its look-up, q one of the two questions of that,
 * f its family (0: A, 1: AAAA), a an address of t, e an endpoint, s a stream
 * and i, beside f, the number of a name server.
 *
 * This is free and unencumbered software released into the public domain.
 * SPDX-License-Identifier: Unlicense
 */

#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <arpa/nameser.h>
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Constants, answers, states and data */

enum {
	EXIT_REACHED = 0, EXIT_NOT_REACHED = 1, EXIT_USAGE = 2,
	EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128,          /* and the signal's number */
	ADDRESSES_MAX = 128,        /* of a family, taken from one answer */
	BOTH = 2,                   /* of the families */
	DOMAINS_MAX = 64,           /* of the search list */
	DRAIN_MAX = 64,             /* reads before a connection is closed */
	ECHO_MAX = 255,             /* bytes of an argument in a message */
	FRESH_MAX = 40,             /* new questions at once: see FRESH */
	HOST_MAX = 253, LABEL_MAX = 63, /* RFC 1035, without a final dot */
	KNOWN_MAX = 4 * ADDRESSES_MAX,  /* then idle addresses are replaced */
	LINES_MAX = 6,              /* of 1 s each: see line_renew() */
	NDOTS_MAX = 15,             /* as resolv.conf(5) has it */
	OPEN_MAX = 8192,            /* above all descriptors of ours */
	PACKETS_MAX = 512,          /* more than a socket's buffer holds */
	PICKS_MAX = 256,            /* tries for a port on all addresses */
	PORT_MAX = 65535,
	SERVERS_MAX = 8,            /* name servers that are asked */
	STREAM_MAX = 2 + 65535,     /* an answer by TCP */
	WORD_MAX = 255,             /* bytes of a word in a file */
	QUERY_MAX = NS_HFIXEDSZ + HOST_MAX + 2 + WORD_MAX + 2 + NS_QFIXEDSZ,

	/* Times are in nanoseconds, in an int64_t; twice FOREVER still fits. */
	MS = 1000000,
	TURN = 5 * MS,              /* of asking, before answers are heard */
	GRACE = 20 * MS,            /* for the answers of the last check */
	FRESH = 20 * MS,            /* then a question's answer is late */
	LOST = 100 * MS,            /* then an answer is not on its way */
	NAP = 100 * MS,             /* the longest sleep, and pause */
	SECOND = 1000 * MS,
};
#define PATIENCE (5 * (int64_t)SECOND)  /* with a name server */
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
	DROPPED, QUEUE_FULL, MUTE, BOUND, NOT_KEPT,
	LACKING,                    /* not asked: no descriptor until later */
	UNSENT,                     /* not asked: no network until later */
	/* What a server has said of a question, by worth: the last of these
	 * counts. Up to NAME_SILENT, as with an errno, it has said nothing. */
	NAME_ASKED,
	NAME_SILENT,                /* it cannot be reached, or refuses */
	NAME_FAILED, NAME_UNKNOWN,
	NAME_FITTING,               /* truncated: TCP is asked for the rest */
	NAME_FITTED,                /* and TCP does not say: that is all */
	NAME_EXCESS,                /* there are more than ADDRESSES_MAX */
	NAME_KNOWN,
};

/* Errors read as musl's strerror(3) has them, which would be 2.5 KB. */
static char unknown_error[] = "Error 4294967295";
static const struct answer {
	uint16_t answer;
	uint16_t meaning;
	const char *text;
} answers[] = {
	{ ACCEPTED, ACCEPTING, "Connection accepted" },
	{ NAME_KNOWN, RESOLVED, "" }, { NAME_FITTED, RESOLVED, "" },
	{ NO_ANSWER, PENDING, "No answer" },
	{ ECONNREFUSED, REFUSING, "Connection refused" },
	{ STILL_OPEN, PENDING, "Connection accepted" },
	{ DROPPED, CLOSED, "Connection closed" },
	{ QUEUE_FULL, HELD, "Queue is full" },
	{ MUTE, HELD, "No answer, but the address is in use" },
	{ BOUND, OURS, "" },
	{ NOT_KEPT, UNTOLD, "TIME_WAIT is not kept" },
	{ LACKING, PENDING, "No file descriptors available" },
	{ UNSENT, UNTOLD, "Network is down" },
	{ NAME_ASKED, PENDING, "No answer from the name server" },
	{ NAME_SILENT, NAME_TROUBLE, "No answer from the name server" },
	{ NAME_FAILED, NAME_TROUBLE, "Name server failed" },
	{ NAME_UNKNOWN, NAMELESS, "Name does not resolve" },
	{ NAME_EXCESS, UNTOLD, "More than 128 addresses" },
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
	{ EISDIR, UNTOLD, "Is a directory" },
	{ ELOOP, UNTOLD, "Symbolic link loop" },
	{ EMFILE, UNTOLD, "No file descriptors available" },
	{ ENFILE, UNTOLD, "Too many open files in system" },
	{ ENOBUFS, UNTOLD, "No buffer space available" },
	{ ENODEV, UNTOLD, "No such device" },
	{ ENOEXEC, UNTOLD, "Exec format error" },
	{ ENOMEM, UNTOLD, "Out of memory" },
	{ ENOSPC, UNTOLD, "No space left on device" },
	{ ENOSYS, UNTOLD, "Function not implemented" },
	{ EPERM, UNTOLD, "Operation not permitted" },
	{ EPROTOTYPE, UNTOLD, "Protocol wrong type for socket" },
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
	int64_t due;                /* when to probe it */
	int64_t begun;              /* the last probe; 0: none so far */
	int64_t until;              /* then it is silent, or -s has its TIME */
	int64_t confirm;            /* one begun then tells that it is gone */
	int64_t listed;             /* when it was in an answer */
	int64_t gone;               /* when its name lost it; 0: listed */
	int fd;                     /* probe under way, or port held */
	int answer;                 /* of the last probe */
	bool is_open;               /* with -s: it has been accepted */
	bool is_ipv6_answer;        /* that was one for AAAA */
	union endpoint endpoint;
};

struct question {                   /* for the addresses of a family */
	unsigned id;
	int said[SERVERS_MAX];      /* by each name server; 0: not asked */
	struct stream *streams[SERVERS_MAX];    /* the last one to each */
	bool was_silent[SERVERS_MAX];   /* for 1 s, and is asked again */
	bool has_fitted;            /* a truncated answer had addresses */
	int64_t until;              /* then a denial counts; 0: none so far */
};

struct lookup {
	int answer;                 /* what is known of the name */
	bool is_under_way;
	int candidate;              /* of the search list */
	int verdict;                /* of the candidates so far */
	bool is_in_hosts;
	int64_t first;              /* when the first candidate was asked */
	int64_t begun;              /* when this candidate was first asked */
	int64_t due;                /* when to ask; under way: asked + 1 s */
	int64_t until;              /* then the silence of a family counts */
	int slow[2 * SERVERS_MAX];  /* said when its time was over; as lines */
	struct question questions[2];
};

struct target {
	enum state state;
	enum outcome outcome;
	int low, high;              /* ports; equal but for find LOW-HIGH */
	int port;                   /* that find holds; 0: none */
	const char *told;           /* by the last line of -v */
	int64_t judged_at;          /* when the outcome was decided */
	const char *given;          /* the argument; of a URL HOST:PORT */
	const char *service;        /* its port, or the path of a socket */
	const char *host;           /* without brackets; "": none */
	size_t host_size;           /* without a final dot; 0: no name */
	struct address *addresses;
	struct lookup lookup;
};

static struct target *targets, *targets_end;

static struct {
	int64_t timeout;
	int64_t connect_timeout;
	int64_t stable;             /* 0: not wanted */
	int64_t pid;
} options = { .timeout = FOREVER, .connect_timeout = 2 * (int64_t)SECOND };
static const char *given[128];      /* the argument that has the letter */
static char **arguments;            /* as main() has got them */

static struct {                     /* the wait */
	int64_t start;
	int64_t deadline;           /* when TIME is up, then the last check */
	int64_t end;                /* of that; NEVER before it */
	int64_t now;                /* the clock when it was last read */
	int64_t turn;               /* when it began to probe; 0: not yet */
	int64_t polled;             /* what is silent was so at this time */
	int64_t wake;               /* when something is to be done next */
	int64_t rest;               /* until when nothing is probed again */
	int spared;                 /* so many of a target, by make_room() */
	int process;                /* of -p, a descriptor */
	bool is_ended;              /* a target is: that ends the wait */
	bool has_process_ended;     /* and so TIME is up */
} loop;
static int poll_count;
static struct pollfd polls[OPEN_MAX];   /* each at its descriptor's number */
static unsigned char packet[65535]; /* the last one that was received */

static const char synopsis[] =
	"usage: portend [-aqv] [-t TIME] [-c TIME] [-s TIME] [-p PID]"
	" TARGET... STATE\n"
	"               [TARGET... STATE]... [-- COMMAND [ARG]...]\n"
	"       portend [-qrv] [-t TIME] [-c TIME]\n"
	"               [[HOST:]PORT | [HOST:]LOW-HIGH]... find\n";

static const char help[] = "\n"
"TARGET  HOST:PORT, [IPv6]:PORT, HOST:PORT,HOST:PORT, a URL, or a socket's"
" path\n"
"STATE   occupied: a connection to HOST is accepted\n"
"        free: none is; assert-free: one check of that, no waiting\n"
"        find: print the lowest PORT (0: any) free on HOST or everywhere\n"
"TIME    5 or 5s, 250ms, 1.5m, 2h, 1d\n"
"COMMAND replaces portend once every TARGET has reached its STATE\n"
"\n"
"  -t, --timeout TIME          give up after TIME (never; find: 0); 0"
" checks once\n"
"  -c, --connect-timeout TIME  no answer within TIME is silence (2 s)\n"
"  -s, --stable TIME           a connection counts if it stays open for TIME\n"
"  -p, --pid PID               give up as soon as process PID has ended\n"
"  -a, --any                   one TARGET that reaches its STATE is enough\n"
"  -r, --reserve               keep the port from others for a while\n"
"  -q, --quiet                 no message when a state is not reached\n"
"  -v, --verbose               a line whenever a target's situation changes\n"
"  -h, --help                  print this\n"
"  -V, --version               print the version\n"
"\n"
"Exit: 0 reached, 1 not, 2 bad usage; 126, 127 COMMAND cannot be run\n";

/* Messages */

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

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
static char *append_number(char *to, unsigned number, unsigned base, int digits)
{
	if (number >= base || digits > 1)
		to = append_number(to, number / base, base, digits - 1);
	*to++ = "0123456789abcdef"[number % base];
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

/* A path of a Unix-domain socket: what begins like one, or has a slash and no
 * colon before it, and looks like nothing else that has one. */
static bool is_path(const char *word)
{
	size_t dots = strspn(word, ".");
	if ((dots <= 2 && word[dots] == '/') || strncmp(word, "unix:", 5) == 0)
		return true;
	return word[strcspn(word, ":/")] == '/' &&
	       !isdigit((unsigned char)*word) &&
	       !word[strcspn(word, "=@ \t\n")];
}

/* What may be shown of an argument, good until the next one. What is before an
 * @ or behind an = may be a password, except in a path; where nothing is left
 * this is "argument N". */
static const char *mask(const char *word)
{
	static char shown[ECHO_MAX + 1];
	const char *equal = strchrnul(word, '='), *at = strrchr(word, '@');
	const char *start = at ? at + 1 : word;
	if (is_path(word) || !*word)
		return word;
	size_t size = strcspn(start, *equal ? "=:/?; \t\n" : "");
	if (size > 0 && start <= equal) {
		*stpncpy(shown, start, smaller(size, ECHO_MAX)) = '\0';
		return shown;
	}
	int n = 1;
	while (arguments[n] && (word < arguments[n] ||
	                        word > arguments[n] + strlen(arguments[n])))
		n++;
	append_number(stpcpy(shown, "argument "), n, 10, 1);
	return shown;
}

static _Noreturn void die(int status, const char *what, int error)
{
	say("portend: %: &\n", what, explain(error)->text);
	_exit(status);
}

static _Noreturn void die_usage(const char *what, const char *why)
{
	say("portend: %: &\n&", mask(what), why, synopsis);
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

/* Without a clock there is no wait: a seccomp profile may be older than
 * clock_gettime64. */
static int64_t clock_now(void)
{
	struct timespec time;
	if (clock_gettime(CLOCK_MONOTONIC, &time) < 0)
		die(EXIT_NOT_REACHED, "clock", errno);
	return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

static const char decimal[] = "0123456789";

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
	const char *point = text + strspn(text, decimal);
	int decimals = *point == '.' ? strspn(point + 1, decimal) : 0, unit = 0;
	const char *end = point + decimals + (decimals > 0);
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
	for (int i = 0; i < 4 && e->family == AF_INET; i++)
		end = append_number(stpcpy(end, i ? "." : ""), ipv4[i], 10, 1);
	if (e->family == AF_INET6)
		end = append_ipv6(end, e->in6.sin6_addr.s6_addr);
	if (e->family == AF_INET6 && e->in6.sin6_scope_id)
		append_number(stpcpy(end, "%"), e->in6.sin6_scope_id, 10, 1);
	return text;
}

static const unsigned char loopback[] = { 127, 0, 0, 1 };

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

/* IN6_ARE_ADDR_EQUAL would take 50 bytes each time. */
static bool has_ipv6(const union endpoint *e, const struct in6_addr *address)
{
	return e->family == AF_INET6 &&
	       memcmp(&e->in6.sin6_addr, address, sizeof *address) == 0;
}

/* connect(2) to a wildcard goes to loopback: this makes the address say so. */
static void replace_wildcard(union endpoint *e)
{
	if (e->family == AF_INET && e->in.sin_addr.s_addr == htonl(INADDR_ANY))
		e->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (has_ipv6(e, &in6addr_any))
		e->in6.sin6_addr = in6addr_loopback;
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
		/* The port is not compared: find changes it. */
		e.in.sin_port = a->endpoint.in.sin_port;
		if (memcmp(&a->endpoint, &e, size_of(&e)) == 0) {
			bool is_back = a->gone && a->gone < loop.now;
			bool is_old = a->begun + 60LL * SECOND < loop.now;
			if (is_back && (a->answer != ETIMEDOUT || is_old)) {
				a->answer = NO_ANSWER;
				a->due = 0;
			}
			a->listed = loop.now;
			a->gone = 0;
			return a;
		}
		if (a->gone && !a->fd)
			idle = a;
	}
	e.in.sin_port = htons(t->low);
	a = count >= KNOWN_MAX ? idle : NULL;
	if (!a)
		a = *link = allocate(sizeof *a);
	if (a)
		*a = (struct address){ .next = a->next, .listed = loop.now,
			.answer = NO_ANSWER, .endpoint = e };
	return a;
}

static void add_both(struct target *t, const unsigned char *ipv4,
	const struct in6_addr *ipv6)
{
	union endpoint e;
	set_ip(&e, ipv4, false);
	add_address(t, &e);
	set_ip(&e, ipv6->s6_addr, true);
	add_address(t, &e);
}

/* True for a target that is asked once only: no second probe or look-up. */
static bool is_once(const struct target *t)
{
	return t->state == ASSERT_FREE || options.timeout == 0;
}

/* Descriptors */

static void close_socket(int *fd)
{
	if (*fd) {
		close(*fd);
		polls[*fd] = (struct pollfd){ .fd = -1 };
	}
	*fd = 0;
}

/* From now on ppoll(2) waits for these events of a socket, too. */
static void watch(int fd, short events)
{
	while (poll_count <= fd)
		polls[poll_count++].fd = -1;
	if (fd)
		polls[fd] = (struct pollfd){ .fd = fd, .events = events };
}

/* Each second's sockets to name servers, the newest first: of server i, for A
 * and for AAAA, at 2 * i + f. */
static int lines[LINES_MAX][2 * SERVERS_MAX];

/* True if it had sockets. */
static bool line_close(int *line)
{
	bool had = false;
	for (int k = 0; k < 2 * SERVERS_MAX; k++) {
		had |= line[k] != 0;
		close_socket(&line[k]);
	}
	return had;
}

static struct stream {              /* TCP to a name server */
	struct stream *next;
	struct target *target;      /* that asks, for family f, server i */
	int f, i;
	unsigned id;                /* of the question */
	int fd;
	bool is_sent;
	int64_t begun, until;
	size_t size;                /* of what has come of the reply */
	unsigned char reply[STREAM_MAX];
} *streams, *spare_streams;         /* the newest first; without a socket */
static struct target *owners[1 << 16];  /* of the questions under way, by ID */

/* Closes the oldest, for another stream or a probe only after 1 s: that server
 * could not be asked. False if there is none. */
static bool drop_stream(void)
{
	struct stream *oldest = NULL;
	for (struct stream *s = streams; s; s = s->next)
		if (s->fd && (!loop.spared || s->begun + SECOND < loop.now))
			oldest = s;
	if (!oldest)
		return false;
	close_socket(&oldest->fd);
	struct target *t = oldest->target;
	if (owners[oldest->id] == t)
		t->lookup.questions[oldest->f].said[oldest->i] = EMFILE;
	return true;
}

/* What -s has opened is read first, or close(2) would reset it. */
static void close_probe(struct address *a)
{
	for (int i = 0; a->is_open && i < DRAIN_MAX; i++)
		if (recv(a->fd, packet, sizeof packet, 0) <= 0)
			break;
	a->is_open = false;
	close_socket(&a->fd);
}

/* Those that are under way. */
static int count_probes(const struct target *t)
{
	int count = 0;
	for (const struct address *a = t->addresses; a; a = a->next)
		count += a->fd != 0 && t->state != FIND;
	return count;
}

/* After a call that was to make a descriptor: true if it may work now, since
 * the oldest line is gone, or an old stream or, of the targets with the most
 * probes, and more than are spared, the youngest, which is begun anew later.
 * Else errno is LACKING while there are probes. */
static bool make_room(void)
{
	struct address *youngest = NULL;
	int most = loop.spared;
	if (errno != EMFILE)
		return false;
	for (int n = LINES_MAX - 1; n > 0; n--)
		if (line_close(lines[n]))
			return true;
	if (drop_stream())
		return true;
	for (struct target *t = targets; t < targets_end; t++) {
		int count = count_probes(t);
		errno = count > 0 ? LACKING : errno;
		for (struct address *a = t->addresses; a; a = a->next)
			if (a->fd && (count > most || (count == most &&
			    youngest && a->begun >= youngest->begun))) {
				youngest = a;
				most = count;
			}
	}
	if (!youngest)
		return false;
	close_probe(youngest);
	youngest->due = loop.now + NAP;
	return true;
}

/* Returns a socket, or 0 and sets errno. */
static int open_socket(int family, int type)
{
	int fd = -1;
	do {
		fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= OPEN_MAX) {
			close(fd);
			fd = -1;
			errno = EMFILE;
		}
	} while (fd < 0 && make_room());
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

/* True for what says nothing of the other side: trouble of our own. Without
 * an address of the family (EADDRNOTAVAIL), or with a blackhole route (EINVAL),
 * there is no way to the other side, and a reset comes from it. */
static bool is_trouble(int error)
{
	return error && meaning_of(error) == UNTOLD &&
	       error != EADDRNOTAVAIL && error != EINVAL &&
	       error != ECONNRESET && error != EPIPE;
}

/* Files: words in lines, of any size, up to # or ; */

static struct {
	int fd;                     /* -1: as if it were empty */
	int error;                  /* trouble of ours, or TIME is up */
	int c;                      /* the next byte; -1: the end */
	size_t next, size;          /* in data */
	uint32_t fingerprint;       /* of what has been read: FNV-1a */
	size_t length;              /* of word */
	char word[WORD_MAX + 1];
	unsigned char data[16384];
} file;

/* A file that is missing is like empty. musl's open(3) adds a call. */
static void file_open(const char *path)
{
	do
		file.fd = syscall(SYS_openat, AT_FDCWD, path,
			O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	while (file.fd < 0 && make_room());
	bool is_missing = errno == ENOENT || errno == ENOTDIR;
	file.error = file.fd < 0 && !is_missing ? errno : 0;
	file.next = file.size = 0;
	file.fingerprint = 2166136261;
	file.c = '\n';
}

/* Goes on by a byte. What has more than a block is read until TIME is up. */
static void advance(void)
{
	ssize_t n = 0;
	if (file.next == file.size) {
		if (file.size == sizeof file.data &&
		    clock_now() - GRACE >= loop.deadline)
			file.error = ETIMEDOUT;
		else if (file.fd >= 0)
			do
				n = read(file.fd, file.data, sizeof file.data);
			while (n < 0 && errno == EINTR);
		if (n < 0)
			file.error = errno;
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

/* The next word of the line, or its beginning, is in file.word. False at the
 * end of the line. */
static bool next_word(void)
{
	while (file.c == ' ' || file.c == '\t' || file.c == '\r')
		advance();
	file.length = 0;
	for (; file.c > ' ' && file.c != '#' && file.c != ';'; advance())
		if (file.length < WORD_MAX)
			file.word[file.length++] = file.c;
	file.word[file.length] = '\0';
	return file.length > 0;
}

static bool is_word(const char *text)
{
	return strcmp(file.word, text) == 0;
}

/* Arguments */

/* The first port that services(5) has for a name or an alias; 0 if it has none.
 * The file is read to its end, which closes it. */
static int find_service(const char *name)
{
	const char *protocol = NULL;
	int port = 0;
	file_open("/etc/services");
	while (next_line()) {
		bool is_it = next_word() && is_word(name);
		next_word();
		int number = parse_number(file.word, PORT_MAX, &protocol);
		bool is_tcp = strcmp(protocol, "/tcp") == 0;
		while (is_tcp && !is_it && next_word())
			is_it = is_word(name);
		if (is_it && is_tcp && port == 0 && number <= PORT_MAX)
			port = number;
	}
	if (file.error)                 /* that is no bad usage */
		die(EXIT_NOT_REACHED, "/etc/services", file.error);
	return port;
}

/* PORT or, for find, LOW-HIGH: then the service is HIGH. */
static void parse_ports(struct target *t)
{
	bool is_find = t->state == FIND;
	size_t digits = is_find ? strspn(t->service, decimal) : 0;
	bool is_range = digits > 0 && digits < sizeof "65535" &&
		t->service[digits] == '-';
	const char *low = t->service, *end;
	t->service += is_range ? digits + 1 : 0;
	bad_if(!*t->service, "no port");
	t->high = parse_number(t->service, PORT_MAX, &end);
	if (*end)
		t->high = find_service(t->service);
	bad_if(*end && !t->high, "no such port or service");
	t->low = is_range ? parse_number(low, PORT_MAX, NULL) : t->high;
	bad_if(t->low > PORT_MAX || t->high > PORT_MAX ||
		(t->low == 0 && (is_range || !is_find)),
		"a port is 1 to 65535");
	bad_if(t->low > t->high, "LOW is above HIGH");
}

/* What no host can be called (RFC 1035). A last label that is a number, 0x1f
 * too, was meant as an address. Returns the last label. */
static const char *check_host(const char *host, const char *end)
{
	const char *label = host;
	for (size_t size;; label += size + 1) {
		size = strcspn(label, ".");
		bad_if(size == 0, "a host has no dot first, nor two in a row");
		bad_if(size > LABEL_MAX,
			"a host has at most 63 bytes between dots");
		if (label + size >= end)
			break;
	}
	const char *rest = label;
	if (strncasecmp(label, "0x", 2) == 0 && label[2])
		rest += 2 + strspn(label + 2, "0123456789abcdefABCDEF");
	bad_if(rest + strspn(rest, decimal) == end,
		"an IPv4 address is four numbers: 127.0.0.1");
	return label;
}

/* Gives the host its address, or leaves it to be looked up: _ and what is not
 * ASCII are in use. localhost, and whatever ends in .localhost, has two (RFC
 * 6761). */
static void parse_host(struct target *t)
{
	bool has_brackets = *t->given == '[', has_colon = strchr(t->host, ':');
	const char *end = strchr(t->host, '\0'), *zone = NULL;
	union endpoint e;
	end -= end[-1] == '.';
	bad_if(end - t->host > HOST_MAX, "a host has at most 253 bytes");
	bool is_ip = parse_ip(t->host, &e, &zone);
	for (const char *p = zone ? zone : is_ip ? "" : t->host; *p; p++)
		bad_if((*p & 0x80) == 0 && !isalnum(*p) &&
			!strchr(has_brackets ? "-_.:%+" : "-_.", *p),
			"a host has only letters, digits, - _ .");
	if (is_ip && has_brackets == has_colon) {
		bad_if(e.family == AF_INET6 && !zone && !e.in6.sin6_scope_id &&
			IN6_IS_ADDR_LINKLOCAL(&e.in6.sin6_addr),
			"needs its interface: [fe80::1%eth0]:80");
		add_address(t, &e)->zone = zone;
		return;
	}
	bad_if(has_brackets, "not an IPv6 address");
	const char *last = check_host(t->host, end);
	if (end - last == 9 && strncasecmp(last, "localhost", 9) == 0) {
		add_both(t, loopback, &in6addr_loopback);
	} else {
		t->host_size = end - t->host;
		t->lookup.answer = NAME_ASKED;
	}
}

/* A copy of so many bytes and then of the rest. */
static char *copy(const char *text, size_t size, const char *rest)
{
	char *to = allocate(size + strlen(rest) + 1);
	strcpy(mempcpy(to, text, size), rest);
	return to;
}

/* These return the target behind the last of theirs. */
static struct target *parse_path(struct target *t)
{
	union endpoint e = { .un.sun_family = AF_UNIX };
	t->given = t->service = argument;
	t->host = "";
	if (strncmp(argument, "unix:", 5) == 0)
		t->service += strncmp(argument + 5, "//", 2) == 0 ? 7 : 5;
	bad_if(!*t->service, "no path");
	bad_if(strlen(t->service) >= sizeof e.un.sun_path,
		"a socket's path has at most 107 bytes");
	/* Not before: add_address() writes a port where the path begins. */
	strcpy(add_address(t, &e)->endpoint.un.sun_path, t->service);
	return t + 1;
}

/* HOST:PORT; for find also PORT, on all of this machine: both wildcards. */
static struct target *parse_target(struct target *t, const char *text)
{
	bool has_brackets = *text == '[';
	const char *colon = strrchr(text, ':'), *host = text + has_brackets;
	const char *end = colon ? colon - has_brackets : host;
	bad_if(has_brackets && (!colon || colon[-1] != ']'),
		"no :PORT after ]");
	bad_if(!colon && t->state != FIND,
		"neither HOST:PORT, nor a path, nor a STATE:"
		" occupied, free, assert-free, find");
	t->given = text;
	t->service = colon ? colon + 1 : text;
	bad_if(colon && host >= end, "no host");
	bad_if(!has_brackets && memchr(host, ':', end - host),
		"more than one colon: IPv6 needs brackets, [::1]:80");
	t->host = copy(host, end - host, "");
	parse_ports(t);
	if (colon)
		parse_host(t);
	else
		add_both(t, in6addr_any.s6_addr, &in6addr_any);
	return t + 1;
}

/* The SCHEME of the first SCHEME://; NULL if there is none. */
static const char *find_scheme(const char *word)
{
	const char *end = strchr(word, ':');
	while (end && strncmp(end, "://", 3) != 0)
		end = strchr(end + 1, ':');
	const char *p = end;
	while (p && p > word && (isalnum((unsigned char)p[-1]) ||
	                         memchr("+-.", p[-1], 3)))
		p--;
	return p < end ? p : NULL;
}

/* ":PORT" of the scheme, or bad usage. */
static const char *scheme_port(const char *scheme)
{
	static const char ports[] = "http:80 ws:80 https:443 wss:443 "
		"postgres:5432 postgresql:5432 mysql:3306 mariadb:3306 "
		"sqlserver:1433 mongodb:27017 redis:6379 rediss:6379 "
		"amqp:5672 amqps:5671 nats:4222 mqtt:1883 mqtts:8883 "
		"ldap:389 ldaps:636 ssh:22 smtp:25 ";
	size_t size = strcspn(scheme, ":");
	for (const char *p = ports; *p; p = strchr(p, ' ') + 1)
		if (strncasecmp(p, scheme, size + 1) == 0)
			return copy(p + size, strcspn(p + size, " "), "");
	die_usage(argument, "no port: SCHEME://HOST:PORT");
}

/* A list of HOST:PORT, that of a URL perhaps without :PORT. */
static struct target *parse_list(struct target *t, const char *start,
	const char *end, const char *scheme)
{
	for (const char *next; start <= end; start = next + 1) {
		next = memchr(start, ',', end - start);
		next = next ? next : end;
		bad_if(next == start, "no host");
		bool has_port = *start == '[' ? next[-1] != ']'
			: memchr(start, ':', next - start) != NULL;
		bad_if(!has_port && !scheme, "no port");
		t = parse_target(t, copy(start, next - start, has_port ? ""
			: scheme_port(scheme)));
	}
	return t;
}

/* The hosts of a URL (RFC 3986): from the last @ of its authority to its end or
 * a ;. With sqlserver any ; begins parameters; else a password may have it. */
static struct target *parse_url(struct target *t, const char *scheme)
{
	bool has_parameters = strncasecmp(scheme, "sqlserver:", 10) == 0;
	const char *start = strchr(scheme, ':') + 3, *second;
	const char *at = memrchr(start, '@',
		strcspn(start, has_parameters ? "/?#;" : "/?#"));
	start = at ? at + 1 : start;
	for (const char *next = start; (second = find_scheme(next));
	     next = strchr(second, ':') + 3) {
		const char *before = second;
		while (isalnum((unsigned char)before[-1]) ||
		       memchr("+-.:", before[-1], 4))
			before--;       /* jdbc:aws-wrapper: */
		bad_if(strchr(",; \t\n", before[-1]), "one URL an argument");
	}
	return parse_list(t, start, start + strcspn(start, "/?#;"), scheme);
}

static struct target *parse_word(struct target *t)
{
	bool is_jdbc = strncasecmp(argument, "jdbc:", 5) == 0;
	bool has_slash = strchr(argument, '/'), is_list = strchr(argument, ',');
	const char *scheme = find_scheme(argument);
	bad_if(t->state == FIND && (has_slash || is_list || is_path(argument)),
		"find is for [HOST:]PORT or [HOST:]LOW-HIGH");
	if (is_path(argument))
		return parse_path(t);
	bad_if(is_jdbc && !scheme, "no SCHEME:// after jdbc:");
	if (scheme == argument || is_jdbc)
		return parse_url(t, scheme);
	bad_if(has_slash, "a / makes it a path or a URL: ./PATH,"
		" SCHEME://HOST:PORT/...");
	bad_if(strchr(argument, '@'),
		"USER@ is for a URL: SCHEME://USER@HOST:PORT");
	if (is_list)
		return parse_list(t, argument, strchr(argument, '\0'), NULL);
	return parse_target(t, argument);
}

/* Names: what the files say */

static struct {                     /* addresses that an answer has */
	int count;                  /* more than are in the list, too */
	union endpoint list[ADDRESSES_MAX];
} found;

/* Those of family f, or of both, that were listed before this time stay known
 * and probed, but count no more. */
static void unlist(struct target *t, int f, int64_t before)
{
	for (struct address *a = t->addresses; a; a = a->next)
		if (!a->gone && a->listed < before &&
		    (f == BOTH || a->is_ipv6_answer == f))
			a->gone = loop.now;
}

/* Returns the answer that they came with, or why these are not all. */
static int list_found(struct target *t, bool ipv6, int answer)
{
	for (int i = 0; i < smaller(found.count, ADDRESSES_MAX); i++) {
		struct address *a = add_address(t, &found.list[i]);
		if (!a)
			return ENOMEM;
		a->is_ipv6_answer = ipv6;
	}
	return found.count > ADDRESSES_MAX && answer == NAME_KNOWN
		? NAME_EXCESS : answer;
}

static struct {                     /* hosts(5), read for all targets */
	int error;                  /* that ended it */
	struct stat stat;           /* of what was read */
} hosts;

/* A line: an address, and the names that have it. A name in hosts(5) has no
 * other addresses than those there. */
static void read_hosts_line(void)
{
	char text[WORD_MAX + 1];
	union endpoint e;
	next_word();
	memcpy(text, file.word, sizeof text);
	while (next_word())
		for (struct target *t = targets; t < targets_end; t++) {
			if (t->outcome != WAITING || t->lookup.due == NEVER ||
			    t->host_size != file.length ||
			    strncasecmp(t->host, file.word, file.length) != 0 ||
			    !parse_ip(text, &e, NULL))
				continue;
			if (!t->lookup.is_in_hosts) {
				unlist(t, BOTH, NEVER);
				t->lookup.answer = NAME_ASKED;
			}
			t->lookup.is_in_hosts = true;
			if (!add_address(t, &e))
				file.error = ENOMEM;
			if (strchr(text, '%'))  /* for its interface */
				hosts.stat.st_size = -1;
		}
}

/* Reads hosts(5) if anything but the time of its last access has changed. */
static void read_hosts(void)
{
	struct stat now = { 0 };
	file_open("/etc/hosts");
	bool is_there = file.fd >= 0 && fstat(file.fd, &now) == 0;
	memset(&now.st_atim, 0, sizeof now.st_atim);
	if (is_there && !hosts.error &&
	    memcmp(&now, &hosts.stat, sizeof now) == 0) {
		close(file.fd);
		return;
	}
	hosts.stat = now;
	for (struct target *t = targets; t < targets_end; t++)
		t->lookup.is_in_hosts = false;
	while (next_line())
		read_hosts_line();
	hosts.error = file.error;
}

static struct {                     /* what resolv.conf(5) says */
	int servers;                /* 0: it is to be read */
	union endpoint server[SERVERS_MAX];
	int ndots;
	bool is_tcp_only;           /* options use-vc */
	bool is_ipv4_only;          /* options no-aaaa */
	int domains;                /* in the search list */
	char domain[DOMAINS_MAX][WORD_MAX + 1];
} configuration;

static void read_configuration_line(void)
{
	int i = 0, servers = configuration.servers;
	next_word();
	if (is_word("nameserver")) {
		configuration.servers += servers < SERVERS_MAX && next_word() &&
			parse_ip(file.word, &configuration.server[servers],
				NULL);
	} else if (is_word("search") || is_word("domain")) {
		for (; i < DOMAINS_MAX && next_word(); i++)
			strcpy(configuration.domain[i], file.word);
		configuration.domains = i;
	} else if (is_word("options")) {
		while (next_word()) {
			if (strncmp(file.word, "ndots:", 6) == 0)
				configuration.ndots = parse_number(
					file.word + 6, NDOTS_MAX - 1, NULL);
			configuration.is_tcp_only |= is_word("use-vc");
			configuration.is_ipv4_only |= is_word("no-aaaa");
		}
	}
}

/* Without a name server in it that is 127.0.0.1. Returns 0 or an errno. */
static int read_configuration(void)
{
	configuration.servers = configuration.domains = 0;
	configuration.ndots = 1;
	configuration.is_tcp_only = configuration.is_ipv4_only = false;
	set_ip(&configuration.server[0], loopback, false);
	file_open("/etc/resolv.conf");
	while (next_line())
		read_configuration_line();
	configuration.servers = file.error ? 0
		: larger(configuration.servers, 1);
	file.fingerprint += file.error;
	return file.error;
}

/* Names: questions to the servers (RFC 1035) */

/* When each server last said anything, of any name; as in lines. */
static int64_t heard[2 * SERVERS_MAX];

/* Ends its questions; what they have found out stays in the answer. */
static void lookup_end(struct target *t)
{
	struct lookup *l = &t->lookup;
	if (!l->is_under_way)
		return;
	l->is_under_way = false;
	owners[l->questions[0].id] = owners[l->questions[1].id] = NULL;
}

static int name_answer(const struct target *t)
{
	return t->host_size ? t->lookup.answer : NAME_KNOWN;
}

/* With fewer than ndots dots the search list comes first, else the name as it
 * is; with a final dot there is no list. Returns how many candidates there are,
 * and the domain of this one, "" for the name as it is. */
static int find_candidate(const struct target *t, const char **domain)
{
	int dots = 0, candidate = t->lookup.candidate;
	for (const char *p = t->host; *p; p++)
		dots += *p == '.';
	bool is_absolute = t->host[t->host_size] == '.';
	bool is_first = is_absolute || dots >= configuration.ndots;
	bool is_bare = candidate == (is_first ? 0 : configuration.domains);
	*domain = is_bare ? "" : configuration.domain[candidate - is_first];
	return is_absolute ? 1 : configuration.domains + 1;
}

/* Writes a question; returns its size, or 0 if there can be no such name. */
static size_t make_query(const struct target *t, int f, unsigned char *query)
{
	unsigned id = t->lookup.questions[f].id;
	unsigned char header[NS_HFIXEDSZ] = {
		id >> 8, id, 1 /* recursion desired */, 0, 0, 1 };
	/* The root, which ends the name; type; class. */
	unsigned char type[] = { 0, 0, f ? ns_t_aaaa : ns_t_a, 0, ns_c_in };
	char text[HOST_MAX + 1 + WORD_MAX + 1];
	const char *domain;
	find_candidate(t, &domain);
	domain += *domain == '.';       /* "search .": the name as it is */
	stpcpy(stpcpy(mempcpy(text, t->host, t->host_size), "."), domain);
	unsigned char *name = mempcpy(query, header, sizeof header), *to = name;
	for (const char *label = text; *label; label += *label == '.') {
		size_t size = strcspn(label, ".");
		if (size == 0 || size > LABEL_MAX)
			return 0;
		*to++ = size;
		to = mempcpy(to, label, size);
		label += size;
	}
	if (to - name > HOST_MAX + 1)
		return 0;
	to = mempcpy(to, type, sizeof type);
	return to - query;
}

/* A new candidate, of which nothing has been said. Nobody can guess the IDs,
 * which no other question under way has; at boot, without entropy, the clock
 * must do. */
static void lookup_begin(struct target *t)
{
	static uint32_t seed;
	struct lookup *l = &t->lookup;
	struct question *q = l->questions;
	memset(q, 0, sizeof l->questions);
	do {
		if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
			seed = seed * 69069 + (loop.now | 1);
		q[0].id = seed & 0xffff;
		q[1].id = seed >> 16;
	} while (owners[q[0].id] || owners[q[1].id] || q[0].id == q[1].id);
	owners[q[0].id] = owners[q[1].id] = t;
	for (int k = 0; k < 2 * SERVERS_MAX && l->candidate == 0; k++)
		if (heard[k] >= l->first)
			l->slow[k] = 0;
	l->begun = loop.now;
	if (l->candidate == 0) {
		l->first = loop.now;
		l->verdict = NAME_UNKNOWN;
	}
	l->is_under_way = true;
}

/* What is known of a question for which nothing but an error came. */
static int unheard_answer(int error, int awaited)
{
	bool is_fitting = awaited == NAME_FITTING;
	if (error == ENETDOWN)          /* says nothing of the server */
		return UNSENT;
	if (error == LACKING)           /* as a probe has it */
		return EMFILE;
	/* UDP has just got there: no port is left. */
	if (is_trouble(error) || (is_fitting && error == EADDRNOTAVAIL))
		return error;
	return is_fitting ? NAME_FITTED : NAME_SILENT;
}

/* The socket is connected: the kernel takes answers from there only. Returns
 * what is awaited then, or what is known of the question without it. */
static int connect_server(int *fd, int i, int type, int awaited)
{
	union endpoint e = configuration.server[i];
	e.in.sin_port = htons(NS_DEFAULTPORT);
	*fd = open_socket(e.family, type);
	int error = *fd ? connect_socket(*fd, &e) : errno;
	watch(*fd, type == SOCK_DGRAM ? POLLIN : POLLOUT);
	if (error)
		close_socket(fd);
	return error ? unheard_answer(error, awaited) : awaited;
}

/* Asks by TCP; the question itself is sent when there is a connection. Returns
 * what that says of the question. */
static int stream_start(struct target *t, int f, int i, int awaited)
{
	struct question *q = &t->lookup.questions[f];
	struct stream *s = spare_streams;
	s = s ? s : allocate(sizeof *s);
	if (!s)
		return ENOMEM;
	if (s == spare_streams)
		spare_streams = s->next;
	s->next = streams;
	streams = q->streams[i] = s;
	s->target = t;
	s->f = f;
	s->i = i;
	s->id = q->id;
	s->is_sent = false;
	s->size = 0;
	loop.spared = 1;
	int answer = connect_server(&s->fd, i, SOCK_STREAM, awaited);
	loop.spared = 0;
	s->begun = clock_now();
	s->until = s->begun +
		(awaited == NAME_FITTING ? (int64_t)SECOND : PATIENCE);
	return answer;
}

/* True while a server has the question, by TCP. */
static bool is_asked(const struct question *q, int i)
{
	const struct stream *s = q->streams[i];
	return s && s->fd && s->is_sent && s->id == q->id && s->i == i;
}

/* The best that servers have said of a question, NAME_SILENT at least. */
static int best_said(const struct question *q)
{
	int best = NAME_SILENT;
	for (int i = 0; i < configuration.servers; i++)
		best = larger(best, q->said[i]);
	return best;
}

/* The families about which a server has said something; AAAA that is not asked
 * for is one. */
static int count_heard(const struct lookup *l)
{
	bool ipv4 = best_said(&l->questions[0]) > NAME_SILENT;
	return ipv4 + (configuration.is_ipv4_only ? ipv4
		: best_said(&l->questions[1]) > NAME_SILENT);
}

/* Asks the servers that are not heard yet; what they have said stays said. One
 * that is asked late has its time all the same; in one check that is no more
 * than the look-up has left. */
static void question_send(struct target *t, int f)
{
	struct lookup *l = &t->lookup;
	struct question *q = &l->questions[f];
	unsigned char query[QUERY_MAX];
	size_t size = make_query(t, f, query);
	for (int i = 0; i < configuration.servers; i++) {
		int *fd = &lines[0][2 * i + f];
		int before = q->said[i], said = NAME_ASKED;
		if (before > NAME_SILENT || best_said(q) >= NAME_EXCESS)
			continue;
		if (size == 0)
			said = NAME_UNKNOWN;
		else if (configuration.is_tcp_only)
			said = is_asked(q, i) ? said
				: stream_start(t, f, i, NAME_ASKED);
		else if (!*fd)
			said = connect_server(fd, i, SOCK_DGRAM, NAME_ASKED);
		/* An error may be that of the packet before: two tries. */
		if (said == NAME_ASKED && *fd &&
		    send(*fd, query, size, MSG_NOSIGNAL) < 0 &&
		    send(*fd, query, size, MSG_NOSIGNAL) < 0)
			said = unheard_answer(errno, NAME_ASKED);
		q->said[i] = said;
		q->was_silent[i] |= before == NAME_ASKED;
		if (before >= NAME_ASKED || said != NAME_ASKED)
			continue;
		if (!is_once(t))
			l->until = clock_now() + PATIENCE;
		if (q->until)
			q->until = smaller(clock_now() + SECOND, l->until);
	}
}

/* Begins a new line of sockets where the last is a second old, and reads
 * resolv.conf(5) for it: where that says something else now, all is asked
 * anew. Returns 0, or the errno that prevented it. */
static int line_renew(void)
{
	static uint32_t fingerprint;
	static int64_t opened;
	if (configuration.servers && loop.now < opened + SECOND)
		return 0;
	int error = read_configuration();
	if (file.fingerprint != fingerprint) {
		for (int n = 0; n < LINES_MAX; n++)
			line_close(lines[n]);
		for (struct target *t = targets; t < targets_end; t++) {
			if (t->lookup.is_under_way)
				t->lookup.due = loop.now;
			lookup_end(t);
			t->lookup.candidate = 0;
			memset(t->lookup.slow, 0, sizeof t->lookup.slow);
		}
	}
	fingerprint = file.fingerprint;
	if (error)
		return error;
	line_close(lines[LINES_MAX - 1]);
	memmove(lines + 1, lines, sizeof lines - sizeof *lines);
	memset(lines, 0, sizeof *lines);
	opened = loop.now;
	return 0;
}

/* Judging */

/* The first address of the strongest answer, or NULL. One that is not listed
 * counts only where it accepts, for occupied. */
static struct address *strongest(const struct target *t)
{
	struct address *best = NULL;
	for (struct address *a = t->addresses; a; a = a->next) {
		bool is_reached = t->state == OCCUPIED && a->answer == ACCEPTED;
		if ((!a->gone || is_reached) &&
		    (!best || meaning_of(a->answer) > meaning_of(best->answer)))
			best = a;
	}
	return best;
}

/* Until all addresses of a name are known the name's own answer counts, unless
 * an address is in use or may be, and for find even then. */
static int target_answer(const struct target *t)
{
	const struct address *a = strongest(t);
	int name = name_answer(t);
	bool is_name = !a || (name != NAME_KNOWN &&
		(t->state == FIND || meaning_of(a->answer) < PENDING));
	return is_name ? name : a->answer;
}

static void close_addresses(struct target *t)
{
	for (struct address *a = t->addresses; a; a = a->next)
		close_probe(a);
}

static void close_target(struct target *t)
{
	lookup_end(t);
	if (!t->port)
		close_addresses(t);
}

/* With -a one that is reached ends the wait, and one that fails does not. */
static void judge(struct target *t)
{
	unsigned meaning = 1 << meaning_of(target_answer(t));
	bool is_end = meaning & states[t->state].ended_by;
	if (t->outcome != WAITING)
		return;
	if (meaning & states[t->state].reached_by &&
	    (t->state != FIND || t->port))
		t->outcome = REACHED;
	else if (is_end || (is_once(t) && meaning != 1 << PENDING))
		t->outcome = FAILED;
	else
		return;
	t->judged_at = loop.now;
	loop.is_ended |= given['a'] ? t->outcome == REACHED : is_end;
	close_target(t);
}

/* Names: answers */

/* What the servers say of a family; NAME_ASKED while it is worth waiting for
 * one that has not said anything: after a denial of the family until q->until,
 * else until l->until. Once a server has been heard, slow ones are not waited
 * for. One that lets this time pass is slow for this look-up until it answers
 * it or, from the first candidate on, has answered any other; one that could
 * not be asked, while that is so. */
static int question_answer(struct target *t, int f)
{
	struct lookup *l = &t->lookup;
	const struct question *q = &l->questions[f];
	int best = best_said(q), answer = best;
	bool is_heard = best > NAME_SILENT;
	int64_t end = best >= NAME_UNKNOWN ? q->until
		: smaller(l->until, loop.end);
	if (best >= NAME_EXCESS)
		return best;
	for (int i = 0; i < configuration.servers; i++) {
		int said = q->said[i], *slow = &l->slow[2 * i + f];
		bool is_awaited = is_heard ? said <= NAME_ASKED && said > *slow
			: said == NAME_ASKED;
		if (said == NAME_FITTING || (is_awaited && loop.polled < end))
			return NAME_ASKED;
		if (is_awaited && is_heard &&
		    (!is_once(t) || loop.polled < l->until))
			*slow = said;
		if (said < NAME_ASKED)
			answer = said;
	}
	return answer == NAME_FITTED && !q->has_fitted ? NAME_FAILED : answer;
}

/* The look-up is over, and begins anew with the first candidate. What is known
 * already stays so, unless there is no such name any more. */
static void lookup_over(struct target *t, int answer)
{
	struct lookup *l = &t->lookup;
	lookup_end(t);
	l->candidate = 0;
	if (answer == NAME_UNKNOWN)
		unlist(t, BOTH, NEVER);
	if (answer == NAME_UNKNOWN || l->answer != NAME_KNOWN)
		l->answer = answer;
	if (is_once(t))
		l->due = NEVER;
	judge(t);
}

/* Leads to the next candidate, at once. After the last there is no such name,
 * unless one could not be told. */
static void candidate_over(struct target *t, int answer)
{
	struct lookup *l = &t->lookup;
	const char *domain;
	int count = find_candidate(t, &domain);
	l->verdict = smaller(l->verdict, answer);
	lookup_end(t);
	if (++l->candidate < count)
		l->due = loop.now;
	else
		lookup_over(t, l->verdict);
}

/* The family is denied, or all is known that fitted: what has not been listed
 * since this candidate was first asked for is listed no more. */
static void unlist_rest(struct target *t, int f, int answer)
{
	if (answer == NAME_UNKNOWN || answer == NAME_FITTED)
		unlist(t, f, t->lookup.begun);
}

/* The first candidate with an address is the name. Silence of all, and trouble
 * of ours before anybody was heard about a family, are asked again; all else
 * leads to the next candidate, after a while the silence of one family beside a
 * denial, too. */
static void lookup_decide(struct target *t)
{
	struct lookup *l = &t->lookup;
	if (!l->is_under_way)
		return;
	int ipv4 = question_answer(t, 0);
	/* AAAA that is not asked for is denied, once A is told. */
	int ipv6 = configuration.is_ipv4_only ? smaller(ipv4, NAME_UNKNOWN)
		: question_answer(t, 1);
	int best = larger(ipv4, ipv6), worst = smaller(ipv4, ipv6);
	int trouble = meaning_of(best) == UNTOLD ? best : worst;
	bool has_trouble = meaning_of(trouble) == UNTOLD;
	bool is_late = loop.polled >= l->until;
	if (best == NAME_ASKED || worst == NAME_ASKED) {
		if (is_once(t) && is_late)
			lookup_over(t, NAME_SILENT);
	} else if (best > NAME_UNKNOWN) {
		unlist_rest(t, 0, ipv4);
		unlist_rest(t, 1, ipv6);
		lookup_over(t, has_trouble ? trouble : NAME_KNOWN);
	} else if (count_heard(l) == BOTH) {
		candidate_over(t, worst);
	} else if (count_heard(l) && worst == NAME_SILENT && is_late &&
	           !is_once(t)) {
		candidate_over(t, best);
	} else if (has_trouble || is_once(t)) {
		l->due = loop.now + NAP;
		lookup_over(t, has_trouble ? trouble : NAME_SILENT);
	} else if (l->answer != NAME_KNOWN && (loop.polled < loop.end ||
	           meaning_of(l->answer) == PENDING)) {
		l->answer = NAME_SILENT;        /* it is asked on */
	}
}

/* What a server says stays said. The first thing said of either family, a
 * denial too, limits the wait for a family that is silent; the first denial of
 * a family limits that for its other servers. */
static void take_answer(struct target *t, int f, int i, int answer)
{
	struct lookup *l = &t->lookup;
	struct question *q = &l->questions[f];
	bool was_silent = !count_heard(l);
	q->said[i] = answer;
	if (!is_once(t) && was_silent && count_heard(l))
		l->until = loop.now + PATIENCE;
	if (answer >= NAME_UNKNOWN && q->until == 0)
		q->until = smaller(loop.now + SECOND,
			is_once(t) ? l->until : NEVER);
}

/* Fills found with the addresses of the question's type among the answers,
 * whosever they are: CNAMEs lead there. False if the reply is malformed; what
 * is truncated may end anywhere. */
static bool read_records(const unsigned char *reply, size_t size,
	const unsigned char *p, bool ipv6)
{
	const unsigned char *end = reply + size;
	const unsigned type = ipv6 ? ns_t_aaaa : ns_t_a;
	int count = get16(reply + 6), wanted = ipv6 ? 16 : 4;
	for (; count > 0; count--) {
		int length = dn_skipname(p, end);
		if (length < 0 || end - p < length + NS_RRFIXEDSZ)
			break;
		p += length + NS_RRFIXEDSZ;
		length = get16(p - 2);
		if (end - p < length)
			break;
		if (get16(p - 10) == type && get16(p - 8) == ns_c_in &&
		    length == wanted && found.count++ < ADDRESSES_MAX)
			set_ip(&found.list[found.count - 1], p, ipv6);
		p += length;
	}
	return count == 0 || reply[2] & 2;
}

/* Returns what the reply says, NAME_FITTED where it is truncated, or 0 if it
 * is no answer to this very question, or malformed. A failure may come without
 * the question. An empty answer is a failure where the server is neither the
 * name's own nor asks others. */
static int read_reply(const unsigned char *reply, size_t size,
	const unsigned char *query, size_t query_size, bool ipv6)
{
	bool is_lame = !(reply[2] & 4) && !(reply[3] & 0x80);   /* AA, RA */
	int code = reply[3] & 15, questions = get16(reply + 4);
	bool is_denial = code == ns_r_nxdomain;
	bool is_failure = code != ns_r_noerror && !is_denial;
	found.count = 0;
	if (get16(reply) != get16(query) || (reply[2] & 0xf8) != 0x80)
		return 0;
	if (questions == 0 && is_failure)
		return NAME_FAILED;
	if (!query_size || size < query_size || questions != 1)
		return 0;
	for (size_t i = NS_HFIXEDSZ; i < query_size; i++)
		if (tolower(reply[i]) != tolower(query[i]))
			return 0;
	if (!read_records(reply, size, reply + query_size, ipv6))
		return 0;
	if (!is_failure && reply[2] & 2)        /* TC */
		return NAME_FITTED;
	if (code == ns_r_noerror && found.count > 0)
		return NAME_KNOWN;
	return is_failure || (is_lame && !is_denial) ? NAME_FAILED
		: NAME_UNKNOWN;
}

/* Takes a packet from server i about family f: for the question that has its
 * ID. The first answer with an address counts, whoever has said what before. */
static void take_reply(int f, int i, const unsigned char *reply, size_t size,
	bool is_stream)
{
	unsigned char query[QUERY_MAX];
	struct target *t = owners[get16(reply)];
	if (size < NS_HFIXEDSZ)
		return;
	heard[2 * i + f] = loop.now;
	if (!t)
		return;
	t->lookup.slow[2 * i + f] = 0;
	struct question *q = &t->lookup.questions[f];
	size_t query_size = make_query(t, f, query);
	int answer = read_reply(reply, size, query, query_size, f);
	if (!answer || best_said(q) >= NAME_EXCESS ||
	    (q->said[i] > NAME_SILENT && !is_stream && answer != NAME_KNOWN))
		return;
	if (answer == NAME_KNOWN)
		unlist(t, f, NEVER);
	if (answer == NAME_KNOWN || answer == NAME_FITTED)
		answer = list_found(t, f, answer);
	q->has_fitted |= answer == NAME_FITTED && found.count > 0;
	if (answer == NAME_FITTED && !is_stream)
		answer = stream_start(t, f, i, NAME_FITTING);
	if (answer == NAME_EXCESS || answer == ENOMEM)
		t->lookup.answer = NAME_ASKED;  /* not all are listed */
	take_answer(t, f, i, answer);
}

/* TCP is over, perhaps without an answer; the error is 0 if it was silent. */
static void stream_end(struct stream *s, int error)
{
	int said = s->target->lookup.questions[s->f].said[s->i];
	close_socket(&s->fd);
	if (said == NAME_FITTING || (said == NAME_ASKED && error))
		take_answer(s->target, s->f, s->i,
			unheard_answer(error, said));
}

/* Sends the question, or takes what has come of the reply: its length in two
 * bytes, and the packet (RFC 1035, 4.2.2). */
static void stream_go_on(struct stream *s)
{
	unsigned char query[2 + QUERY_MAX];
	size_t size = make_query(s->target, s->f, query + 2);
	ssize_t n;
	query[0] = size >> 8;
	query[1] = size;
	if (s->is_sent)
		n = recv(s->fd, s->reply + s->size, STREAM_MAX - s->size, 0);
	else
		n = send(s->fd, query, size + 2, MSG_NOSIGNAL);
	int error = n < 0 ? errno : ECONNRESET;
	socklen_t error_size = sizeof error;
	if (error == EAGAIN)            /* what ICMP says, only this tells */
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	if (n < 0 && (error == 0 || error == EINTR))
		return;
	if (n > 0 && !s->is_sent) {     /* all of it: the buffer was empty */
		s->is_sent = true;
		/* It may be late: the reply has a second all the same. */
		s->until = larger(s->until, clock_now() + SECOND);
		watch(s->fd, POLLIN);
		return;
	}
	s->size += larger(n, 0);
	size = get16(s->reply);
	if (n > 0 && (s->size < 2 || s->size < 2 + size))
		return;
	if (n > 0)
		take_reply(s->f, s->i, s->reply + 2, size, true);
	stream_end(s, error);
}

/* Probes */

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof value);
}

/* For SO_LINGER: close(2) sends a RST, or goes the ordinary way. */
static const struct linger rst = { .l_onoff = 1 }, fin = { .l_onoff = 0 };

/* Turns an endpoint into the source of what goes there; nothing is sent. */
static int find_source(union endpoint *e)
{
	socklen_t size = sizeof *e;
	int fd = open_socket(e->family, SOCK_DGRAM);
	int error = fd ? connect_socket(fd, e) : errno;
	if (!error && getsockname(fd, &e->any, &size) < 0)
		error = errno;
	close_socket(&fd);
	return error;
}

/* Returns 0 if the address is this machine's. Only a local one is taken for
 * IP_MULTICAST_IF (ip(7)) or, with IPv6, becomes its own source. */
static int local_error(const union endpoint *e)
{
	union endpoint source = *e;
	if (e->family == AF_INET6) {
		int error = find_source(&source);
		bool is_local = has_ipv6(e, &source.in6.sin6_addr);
		return error || is_local ? error : EADDRNOTAVAIL;
	}
	int fd = open_socket(AF_INET, SOCK_DGRAM), error = fd ? 0 : errno;
	if (fd && set_option(fd, IPPROTO_IP, IP_MULTICAST_IF,
	                     e->in.sin_addr.s_addr) < 0)
		error = errno;
	close_socket(&fd);
	return error;
}

/* EADDRNOTAVAIL is EAFNOSUPPORT where IPv6 is off: then loopback has no source,
 * either. Otherwise an address is tentative, or no TCP port is left. */
static int check_family(sa_family_t family, int error)
{
	bool ipv6 = family == AF_INET6;
	union endpoint e;
	set_ip(&e, ipv6 ? in6addr_loopback.s6_addr : loopback, ipv6);
	e.in.sin_port = htons(NS_DEFAULTPORT);  /* any would do */
	bool is_off = error == EADDRNOTAVAIL && find_source(&e) == error;
	return is_off ? EAFNOSUPPORT : error;
}

/* If it may share, EADDRINUSE means a listener, or a socket without
 * SO_REUSEADDR. IP_FREEBIND, which serves IPv6, too, gets addresses that are
 * away for now. */
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
	bool is_loopback = e->family == AF_INET
		? *(const char *)&e->in.sin_addr == 127
		: has_ipv6(e, &in6addr_loopback);
	if ((meaning != SILENT && meaning != UNREACHABLE) ||
	    e->family == AF_UNIX)
		return answer;
	int error = is_loopback ? 0 : local_error(e);
	if (!error)
		error = try_bind(e, true);
	if (error == EADDRINUSE)
		return MUTE;
	return is_trouble(error) && answer != EAFNOSUPPORT ? error : answer;
}

/* True if there is a route, whatever the source: with IP_FREEBIND, which serves
 * IPv6, too, that is the address itself, which nobody has to have. */
static bool has_route(const union endpoint *e)
{
	union endpoint source = *e;
	int fd = open_socket(e->family, SOCK_DGRAM);
	source.in.sin_port = 0;
	if (fd)
		set_option(fd, IPPROTO_IP, IP_FREEBIND, 1);
	bool has = fd && !bind_socket(fd, &source) && !connect_socket(fd, e);
	close_socket(&fd);
	return has;
}

static int connect_answer(const union endpoint *e, int error)
{
	if (error == EAGAIN && e->family == AF_UNIX)    /* its queue is full */
		return options.stable ? QUEUE_FULL : ACCEPTED;
	if (error == EINVAL)            /* blackhole; link-local, no zone */
		return ENETUNREACH;
	if (error == EACCES)            /* by ICMPv6, from afar */
		return EHOSTUNREACH;
	if (error == EADDRNOTAVAIL && has_route(e))
		return error;           /* tentative, or no port is left */
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
	if (options.stable && (error == ECONNRESET || error == EPIPE))
		return DROPPED;         /* so it had been accepted */
	if (error)
		return connect_answer(&a->endpoint, error);
	if (getsockname(a->fd, &self.any, &size) < 0)
		return errno;
	bool is_tentative = has_ipv6(&self, &in6addr_loopback) &&
		!has_ipv6(&a->endpoint, &in6addr_loopback);
	if (getpeername(a->fd, &peer.any, &size) < 0)
		return errno != ENOTCONN ? errno :
			is_tentative ? EADDRNOTAVAIL : NO_ANSWER;
	if (peer.family != AF_UNIX && memcmp(&peer, &self, size) == 0)
		return ECONNREFUSED;
	return ACCEPTED;
}

/* What the other side sends is read, or its end would not be seen behind it. */
static int stable_answer(const struct address *a, short events)
{
	if (events & (POLLRDHUP | POLLHUP | POLLERR))
		return DROPPED;
	if (events)
		recv(a->fd, packet, sizeof packet, 0);
	return loop.polled >= a->until ? ACCEPTED : STILL_OPEN;
}

/* Its zone is the interface that has that name now. */
static int open_address(struct address *a)
{
	union endpoint *e = &a->endpoint;
	while (a->zone && !(e->in6.sin6_scope_id = if_nametoindex(a->zone)))
		if (!make_room())
			return errno;
	a->fd = open_socket(e->family, SOCK_STREAM);
	return a->fd ? 0 : errno;
}

/* Returns the answer, or NO_ANSWER while that is awaited. Silence counts from
 * here, since the process may have been stopped: for the connect timeout, but
 * no longer than nine tenths of TIME or until it is up, whichever is later. */
static int probe_begin(struct address *a)
{
	const union endpoint *e = &a->endpoint;
	int error = open_address(a);
	if (error)
		return error;
	/* A kernel without TCP_QUICKACK is no obstacle. */
	if (e->family != AF_UNIX && !options.stable)
		set_option(a->fd, IPPROTO_TCP, TCP_QUICKACK, 0);
	setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &rst, sizeof rst);
	error = connect_socket(a->fd, e);
	if (error) {
		close_socket(&a->fd);
		/* EACCES: a prohibit route, SELinux, Landlock. */
		return error == EACCES ? error : connect_answer(e, error);
	}
	watch(a->fd, POLLOUT);
	/* Loopback has answered by now; else try_bind must not find us. */
	int answer = probe_answer(a);
	if (answer == NO_ANSWER || options.stable)
		set_option(a->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	int64_t now = clock_now(), time = options.timeout;
	if (loop.has_process_ended)     /* that shortens no silence */
		time = FOREVER;
	a->until = smaller(now + options.connect_timeout,
		larger(now + time - time / 10, loop.deadline));
	return answer;
}

/* When to probe it again: the pause is a hundredth of the time waited. */
static int64_t next_due(const struct target *t)
{
	int64_t now = clock_now(), pause = (now - loop.start) / 100;
	return is_once(t) ? NEVER : now + larger(MS, smaller(pause, NAP));
}

/* For free (else the wait is over) an address that has accepted is gone only if
 * it is silent or unreachable twice, 1 s apart: a route may have been away, or
 * packets lost, but not to a path. True for the first of the two, which is not
 * believed yet. */
static bool await_confirmation(struct address *a, int answer)
{
	enum meaning meaning = meaning_of(answer);
	if (meaning == ACCEPTING && a->endpoint.family != AF_UNIX)
		a->confirm = NEVER;
	if ((meaning != SILENT && meaning != UNREACHABLE) ||
	    a->begun >= a->confirm)
		return false;
	int64_t now = clock_now();
	a->confirm = smaller(a->confirm, now + SECOND);
	/* A probe that would end later should be one that counts. */
	if (meaning == SILENT && now + options.connect_timeout >= a->confirm)
		a->due = larger(a->due, a->confirm);
	return true;
}

/* True for a probe from a link-local address to one that is none: routers send
 * it no farther. The address that should be its source may be tentative, but
 * not for longer than some seconds (RFC 4862, 5.4). */
static bool is_stranded(const struct address *a)
{
	union endpoint self;
	socklen_t size = sizeof self;
	return loop.now < loop.start + PATIENCE &&
	       a->fd && a->endpoint.family == AF_INET6 &&
	       getsockname(a->fd, &self.any, &size) == 0 &&
	       IN6_IS_ADDR_LINKLOCAL(&self.in6.sin6_addr) &&
	       !IN6_IS_ADDR_LINKLOCAL(&a->endpoint.in6.sin6_addr);
}

/* With -s, STILL_OPEN is no news where the last answer was ACCEPTED, or was
 * DROPPED and the new connection is younger than LOST. */
static void settle(struct target *t, struct address *a, int answer)
{
	if (answer == ACCEPTED && options.stable && !a->is_open) {
		setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &fin, sizeof fin);
		watch(a->fd, POLLIN | POLLRDHUP);
		a->is_open = true;
		a->until = clock_now() + options.stable;
		answer = STILL_OPEN;
	}
	enum meaning meaning = meaning_of(answer);
	if ((meaning == SILENT || meaning == UNREACHABLE) && is_stranded(a))
		answer = EADDRNOTAVAIL;
	bool is_old_news = a->answer == ACCEPTED || (a->answer == DROPPED &&
		loop.now < a->until - options.stable + LOST);
	if (answer == NO_ANSWER || (answer == STILL_OPEN && is_old_news))
		return;
	if (answer != STILL_OPEN) {
		close_probe(a);
		a->due = next_due(t);
	}
	if (answer == DROPPED)
		a->due = larger(a->due, a->begun + NAP);
	if (t->state != OCCUPIED)
		answer = check_local(&a->endpoint, answer);
	if (await_confirmation(a, answer))
		return;
	a->answer = answer;
	judge(t);
}

/* find */

/* Returns BOUND or an errno. A port in TIME_WAIT needs SO_REUSEADDR, and then
 * others may bind it, too. With a HOST, :: serves IPv4 as well. */
static int bind_address(struct address *a, int port, bool has_host,
	bool may_share)
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
	if (error == EADDRINUSE && may_share) {
		set_option(a->fd, SOL_SOCKET, SO_REUSEADDR, 1);
		error = bind_socket(a->fd, e);
	}
	if (!error) {
		getsockname(a->fd, &e->any, &size);     /* cannot fail */
		return BOUND;
	}
	close_socket(&a->fd);
	return check_family(e->family, error);
}

/* True for a port that another target holds or asks for by itself. */
static bool is_taken(const struct target *t, int port)
{
	for (struct target *other = targets; other < targets_end; other++)
		if (other != t && (other->port == port ||
		    ((t->low < t->high || !t->low) &&
		     other->low == port && other->high == port)))
			return true;
	return false;
}

/* Returns the strongest answer: BOUND if all are bound whose family is
 * supported. Then their port is found. */
static int bind_all(struct target *t, int port)
{
	bool may_share = port && !given['r'] && !is_taken(t, port);
	bool is_single = t->low && t->low == t->high;
	int bound = 0;
	for (struct address *a = t->addresses; a; a = a->next)
		a->answer = EAFNOSUPPORT;
	for (struct address *a = t->addresses; a; a = a->next) {
		if (a->gone)
			continue;
		a->answer = bind_address(a, bound ? bound : port, *t->host,
			may_share);
		if (a->answer == BOUND)
			bound = ntohs(a->endpoint.in.sin_port);
		if (a->answer == BOUND && !is_single && is_taken(t, bound))
			a->answer = EADDRINUSE;
		if (a->answer != BOUND && a->answer != EAFNOSUPPORT)
			return a->answer;
	}
	if (!bound)
		strongest(t)->answer = EADDRNOTAVAIL;
	t->port = bound;
	return strongest(t)->answer;
}

/* The first sockets of tries are kept: the kernel would pick the same again. */
static void find_port(struct target *t)
{
	int picks[PICKS_MAX], picked = 0, port = t->low, answer;
	struct address *first = t->addresses;
	while (first->gone)
		first = first->next;
	do {
		answer = bind_all(t, port);
		if (answer == BOUND)
			break;
		if (t->low == 0) {
			picks[picked++] = first->fd;
			first->fd = 0;
		}
		close_addresses(t);
	} while ((answer == EADDRINUSE || answer == EACCES) &&
	         (t->low ? port++ < t->high : picked < PICKS_MAX) &&
	         clock_now() - GRACE < loop.deadline);
	while (picked > 0)
		close_socket(&picks[--picked]);
}

/* The accepted side, with the listener's SO_REUSEADDR, closes first. Then only
 * a bind(2) to the port with SO_REUSEADDR gets it (inet_csk_get_port). Where
 * accept4(2) fails, the client stays for the next try, which would else accept
 * what has closed. */
static int make_time_wait(int listener, int *client, const union endpoint *e)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	int64_t left = larger(loop.deadline - clock_now(), GRACE);
	int64_t ms = smaller(options.connect_timeout, left) / MS + 1;
	int error = 0;
	if (!*client) {
		*client = open_socket(e->family, SOCK_STREAM);
		if (!*client)
			return errno;
		set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
		error = listen(listener, 1) < 0 ? errno
			: connect_socket(*client, e);
	}
	if (!error && poll(&ready, 1, smaller(ms, INT32_MAX)) == 0)
		error = ETIMEDOUT;
	if (!error) {
		int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (accepted < 0)
			return errno;
		close(accepted);
	}
	close_socket(client);
	return error;
}

/* Reserves the port that the address holds, for a wildcard on loopback, and
 * lets go of it; trouble may pass while there is TIME, in short pauses, which
 * may end after it. NOT_KEPT: anybody could have it (tcp_max_tw_buckets). */
static int reserve(const struct target *t, struct address *a)
{
	union endpoint *e = &a->endpoint;
	int error, client = 0;
	replace_wildcard(e);
	do {
		error = make_time_wait(a->fd, &client, e);
		error = check_family(e->family, error);
	} while (error && error != EAFNOSUPPORT && options.timeout > 0 &&
	         clock_now() < loop.deadline && poll(NULL, 0, GRACE / MS) == 0);
	close_socket(&client);
	close_socket(&a->fd);
	if (error)
		return error == EAFNOSUPPORT && !*t->host ? 0 : error;
	error = try_bind(e, false);
	return error == EADDRINUSE ? 0 : error ? error : NOT_KEPT;
}

/* Lets go of the ports, reserved if so wanted, and prints them. */
static int hand_over(void)
{
	static char text[OPEN_MAX * sizeof "65535\n"];
	char *end = text;
	for (struct target *t = targets; t < targets_end; t++) {
		end = stpcpy(append_number(end, t->port, 10, 1), "\n");
		for (struct address *a = t->addresses; a; a = a->next) {
			int error = given['r'] && a->fd ? reserve(t, a) : 0;
			if (error && !given['q'])
				say("Port # cannot be reserved on &. (&)\n",
					t->port, address_text(&a->endpoint),
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
	for (struct target *t = targets; t < targets_end; t++) {
		int64_t ms = (t->judged_at - loop.start) / MS;
		bool is_reached = t->outcome == REACHED;
		const struct answer *news = explain(target_answer(t));
		const char *text = is_reached ? states[t->state].reached
			: news->text;
		bool is_news = is_reached || news->meaning != PENDING;
		if (!*text || text == t->told || !is_news)
			continue;
		if (!all && poll(&to, 1, 0) <= 0)
			return;
		t->told = text;
		if (is_reached)
			say("portend: %: & after #.### s\n", t->given, text,
				(int)(ms / 1000), (int)(ms % 1000));
		else
			say("portend: %: &\n", t->given, text);
	}
}

/* Why a target is not reached; "" if that goes without saying. */
static const char *reason_of(const struct target *t, int answer)
{
	static char reason[64];
	bool is_late = t->outcome == WAITING || t->judged_at >= loop.deadline;
	*reason = '\0';
	if (loop.has_process_ended && is_late)
		strcpy(append_number(stpcpy(reason, " (Process "), options.pid,
			10, 1), " has ended)");
	else if (answer != states[t->state].plain)
		strcpy(stpcpy(stpcpy(reason, " ("), explain(answer)->text),
			")");
	return reason;
}

static void say_failure(const struct target *t)
{
	int answer = target_answer(t);
	const char *why = reason_of(t, answer);
	const char *host = t->host, *on = *host ? " on " : "";
	const char *wanted = states[t->state].wanted;
	bool is_find = t->state == FIND, is_unix = !is_find && !*host;
	const char *what = is_unix ? "Socket" : "Port";
	bool is_in_use = meaning_of(answer) >= HELD &&
		(is_find || t->state == ASSERT_FREE);
	if (t->low < t->high)
		say("No port from # to # is free&%.&\n", t->low, t->high, on,
			host, why);
	else if (is_find && !is_in_use)
		say("Port % cannot be bound&%.&\n", t->service, on, host, why);
	else if (is_find && t->low == 0)
		say("No port is free&%.\n", on, host);
	else if (is_in_use)
		say("& % is in use&&.\n", what, t->service,
			is_unix ? "" : " on ", is_unix ? ""
			: address_text(&strongest(t)->endpoint));
	else
		say("& % not &&%.&\n", what, t->service, wanted, on, host,
			why);
}

/* Where one target ended the wait nothing can be said of those that waited. */
static int report(void)
{
	int status = EXIT_REACHED;
	if (given['a'] && loop.is_ended)
		return EXIT_REACHED;
	for (struct target *t = targets; t < targets_end; t++) {
		bool is_first = t->state != FIND || status == EXIT_REACHED;
		bool is_known = t->outcome == FAILED || loop.end != NEVER;
		if (t->outcome == REACHED)
			continue;
		if (is_first && is_known && !given['q'])
			say_failure(t);
		status = EXIT_NOT_REACHED;
	}
	return status;
}

/* Asking: what is due */

static void wake_at(int64_t time)
{
	loop.wake = smaller(loop.wake, time);
}

/* When to probe it or, for find, all of the target's. Once TIME is up all are
 * probed once more, which cannot help with -s. A rest puts it off by 1 s at
 * most. */
static int64_t address_due(const struct target *t, const struct address *a)
{
	if (a->gone || a->due == NEVER || a->fd ||
	    (t->state == FIND && name_answer(t) != NAME_KNOWN))
		return NEVER;
	bool is_again = a->begun && !is_once(t);
	int64_t rest = is_again ? smaller(loop.rest, a->due + SECOND) : 0;
	int64_t due = smaller(larger(a->due, rest), loop.deadline);
	return due == loop.deadline && (options.stable || a->begun >= due)
		? NEVER : due;
}

/* Once TIME is up nothing is looked up, except what never was. */
static int64_t lookup_due(const struct target *t)
{
	int64_t due = t->lookup.due;
	bool is_late = due > 0 && larger(due, loop.now) >= loop.deadline;
	bool is_wanted = t->host_size && t->outcome == WAITING;
	return is_wanted && !is_late ? due : NEVER;
}

/* False if that must wait until another probe has ended. */
static bool ask_address(struct target *t, struct address *a)
{
	loop.spared = count_probes(t) + 1;
	int answer = probe_begin(a);
	loop.spared = 0;
	if (!a->begun)
		a->answer = answer == LACKING ? LACKING : NO_ANSWER;
	if (answer == LACKING) {
		wake_at(loop.now + NAP);
		return false;
	}
	a->begun = loop.now;
	settle(t, a, answer);
	return true;
}

static void ask_port(struct target *t)
{
	find_port(t);
	for (struct address *a = t->addresses; a; a = a->next) {
		a->begun = loop.now;
		a->due = next_due(t);
	}
	judge(t);
}

/* The address that has been due for the longest time, or NULL. */
static struct address *find_due(const struct target *t)
{
	struct address *first = NULL;
	for (struct address *a = t->addresses; a; a = a->next) {
		int64_t due = address_due(t, a);
		if (due > loop.now)
			wake_at(a->fd ? a->until : due);
		else if (!first || a->due < first->due)
			first = a;
	}
	return first;
}

/* False if the turn is over, or there is no descriptor for anybody. */
static bool ask_target(struct target *t)
{
	struct address *a;
	while (t->outcome == WAITING && (a = find_due(t))) {
		loop.now = clock_now();
		loop.turn = loop.turn ? loop.turn : loop.now;
		if (loop.now - loop.turn >= TURN) {
			wake_at(loop.now);
			return false;
		}
		if (t->state == FIND)
			ask_port(t);
		else if (!ask_address(t, a))
			/* It has none? Then nobody has two, to give one. */
			return count_probes(t) > 0;
	}
	return true;
}

/* Asks the servers or, where it is in hosts(5), nobody. */
static void ask_name(struct target *t)
{
	struct lookup *l = &t->lookup;
	int error = hosts.error || l->is_in_hosts ? hosts.error : line_renew();
	if (error) {
		l->due = loop.now + NAP;
		if (error != ETIMEDOUT)         /* TIME ended while reading */
			lookup_over(t, error);
	} else if (l->is_in_hosts) {
		l->due = loop.now + SECOND;
		lookup_over(t, NAME_KNOWN);
	} else {
		if (!l->is_under_way)
			lookup_begin(t);
		question_send(t, 0);
		if (!configuration.is_ipv4_only)
			question_send(t, 1);
		loop.now = clock_now();
		if (is_once(t) && l->until == 0)
			l->until = loop.now + options.connect_timeout;
		else if (loop.now > l->due + LOST)      /* after a stop */
			l->until = larger(l->until, loop.now + LOST);
		l->due = loop.now + SECOND;
		lookup_decide(t);
	}
}

/* What is silent until this time is to be judged then; it has been judged at a
 * time that has passed. */
static void foresee(int64_t until)
{
	if (until > loop.polled)
		wake_at(until);
}

static void foresee_lookup(const struct lookup *l)
{
	if (!l->is_under_way)
		return;
	foresee(l->until);
	foresee(l->questions[0].until);
	foresee(l->questions[1].until);
	foresee(loop.end);
}

/* Reads hosts(5): of a name that is there all is known. */
static void look_into_hosts(void)
{
	read_hosts();
	for (struct target *t = targets; t < targets_end; t++)
		if (t->lookup.is_in_hosts && !hosts.error) {
			lookup_end(t);
			t->lookup.answer = NAME_KNOWN;
		}
}

/* Asks for all that are due, first for those that never were, beginning
 * anywhere, but not for so many at once that answers are lost. After one that
 * can be no name the next candidate is asked for at once. */
static void ask_names(void)
{
	size_t count = targets_end - targets, first = loop.now % count;
	bool is_read = false;
	int fresh = 0;
	for (struct target *t = targets; t < targets_end; t++)
		fresh += t->lookup.is_under_way &&
			loop.now < t->lookup.due - SECOND + FRESH;
	for (size_t n = 0; n < 2 * count; n++) {
		struct target *t = &targets[(first + n) % count];
		while (loop.now >= lookup_due(t) && fresh < FRESH_MAX &&
		       (t->lookup.due == 0 || n >= count)) {
			if (!is_read)
				look_into_hosts();
			is_read = true;
			ask_name(t);
			fresh += t->lookup.is_under_way;
		}
		if (n < count)
			continue;
		wake_at(larger(lookup_due(t), fresh < FRESH_MAX ? 0
			: loop.now + TURN));
		foresee_lookup(&t->lookup);
	}
	for (struct stream *s = streams; s; s = s->next)
		if (s->fd)
			foresee(s->until);
}

/* TIME is up. For occupied a SYN that may be lost is sent again, which makes
 * room for those that have no descriptor, too. */
static void begin_last_check(void)
{
	loop.end = loop.now + GRACE;
	for (struct target *t = targets; t < targets_end; t++)
		for (struct address *a = t->addresses; a; a = a->next)
			if (t->state == OCCUPIED && !options.stable &&
			    !a->gone && a->begun + LOST < loop.now)
				close_probe(a);
}

/* From where the last turn was over. After one with probes nothing is probed
 * again for ten times as long, up to 1 s: more may be due to a stop. */
static void ask_targets(void)
{
	static size_t next;
	size_t count = targets_end - targets, n = 0;
	loop.now = clock_now();
	loop.turn = 0;
	while (n++ < count && !loop.is_ended && ask_target(&targets[next]))
		next = (next + 1) % count;
	int64_t now = clock_now(), rest = 10 * (now - loop.turn);
	if (loop.turn)
		loop.rest = larger(loop.rest, now + smaller(rest, SECOND));
}

/* The loop */

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

/* After a freeze it is late by NAP at most. Silent is what was silent when
 * ppoll began: the process may have been stopped since. */
static void nap(void)
{
	int64_t start = clock_now();
	wake_at(start + NAP);
	wake_at(loop.end == NEVER ? loop.deadline : loop.end);
	struct timespec time = { .tv_nsec = larger(loop.wake - start, 0) };
	int result = ppoll(polls, poll_count, &time, NULL);
	if (result < 0 && errno == ENOMEM)
		poll(NULL, 0, 1);
	else if (result < 0 && errno != EINTR)
		die(EXIT_NOT_REACHED, "ppoll", errno);
	if (result >= 0)
		loop.polled = start;
	loop.now = clock_now();
	loop.wake = NEVER;
}

/* ICMP says that nobody is at the name server's port (udp(7)), not which packet
 * it is about: whatever was asked there is not answered. Where only a repeat is
 * refused (ICMP is limited, icmp(7)), beside a denial, the server has let its
 * time pass, too. */
static void take_refusal(int f, int i)
{
	for (struct target *t = targets; t < targets_end; t++) {
		struct question *q = &t->lookup.questions[f];
		if (!t->lookup.is_under_way || q->said[i] != NAME_ASKED)
			continue;
		q->said[i] = NAME_SILENT;
		if (q->until && q->was_silent[i])
			t->lookup.slow[2 * i + f] = NAME_ASKED;
	}
}

/* Takes what has come, until that closes the socket. */
static void hear_socket(int f, int i, const int *fd)
{
	for (int n = 0; n < PACKETS_MAX && *fd; n++) {
		ssize_t size = recv(*fd, packet, sizeof packet, 0);
		if (size >= 0)
			take_reply(f, i, packet, size, false);
		else if (errno == EACCES || !is_trouble(errno))
			take_refusal(f, i);
		else if (errno != EINTR)        /* EAGAIN, too */
			return;
	}
}

/* A stream that brings something has not kept silent, whatever the time. */
static void hear_servers(void)
{
	for (int n = 0; n < LINES_MAX; n++)
		for (int k = 0; k < 2 * configuration.servers; k++)
			if (polls[lines[n][k]].revents)
				hear_socket(k % 2, k / 2, &lines[n][k]);
	for (struct stream **link = &streams, *s; (s = *link);) {
		if (owners[s->id] != s->target) /* the question is over */
			close_socket(&s->fd);
		if (polls[s->fd].revents)
			stream_go_on(s);
		if (s->fd && loop.polled >= s->until &&
		    !(polls[s->fd].revents & (POLLIN | POLLOUT)))
			stream_end(s, 0);
		if (s->fd) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		s->next = spare_streams;
		spare_streams = s;
	}
}

static void hear(struct target *t)
{
	if (lookup_due(t) > loop.polled)        /* else it is asked first */
		lookup_decide(t);
	for (struct address *a = t->addresses; a; a = a->next) {
		short events = polls[a->fd].revents;
		if (!a->fd || t->outcome != WAITING)
			continue;
		int answer = NO_ANSWER;
		if (a->is_open)
			answer = stable_answer(a, events);
		else if (events)
			answer = probe_answer(a);
		if (answer == NO_ANSWER && loop.polled >= a->until)
			answer = ETIMEDOUT;
		settle(t, a, answer);
		if (a->fd)
			wake_at(a->until);
	}
}

/* All is heard before anything is asked: probes that wait hold descriptors. */
static void hear_all(void)
{
	if (loop.process && polls[loop.process].revents) {
		loop.has_process_ended = loop.now < loop.deadline;
		loop.deadline = smaller(loop.deadline, loop.now);
		close_socket(&loop.process);
	}
	hear_servers();
	for (struct target *t = targets; t < targets_end && !loop.is_ended; t++)
		hear(t);
}

/* TIME is up when the process of -p has ended; with -t 0 it never is. */
static void watch_process(void)
{
	int fd = 0;
	if (options.pid)
		fd = syscall(SYS_pidfd_open, (int)options.pid, 0);
	/* EINVAL is a thread or, with Linux 6.1, one that led a group and has
	 * ended: of that kill(2) says ESRCH. */
	if (fd < 0 && errno == EINVAL)
		kill(options.pid, 0);
	if (fd >= OPEN_MAX || (fd < 0 && errno != ESRCH))
		die(EXIT_NOT_REACHED, "-p", fd < 0 ? errno : EMFILE);
	if (options.timeout == 0)
		return;
	loop.process = larger(fd, 0);
	watch(loop.process, POLLIN);
	loop.has_process_ended = fd < 0;
	if (fd < 0)
		loop.deadline = loop.start;
}

/* Once a target has failed, only those that are checked once are waited for.
 * The last check is over early if there is nothing to wake up for. */
static bool is_over(void)
{
	bool has_failed = false, is_waiting = false, is_checking = false;
	for (struct target *t = targets; t < targets_end; t++) {
		has_failed |= t->outcome == FAILED && !given['a'];
		is_waiting |= t->outcome == WAITING;
		is_checking |= t->outcome == WAITING && is_once(t);
	}
	return loop.is_ended || !(has_failed ? is_checking : is_waiting) ||
	       loop.now >= loop.end ||
	       (loop.end != NEVER && loop.wake == NEVER);
}

static int wait_for_all(void)
{
	catch_ends_of_process_1();
	loop.start = loop.now = clock_now();
	if (options.timeout > 0)
		loop.deadline = loop.start + options.timeout;
	watch_process();
	ask_targets();                  /* what needs no file is first */
	for (;;) {
		if (loop.end == NEVER && loop.now >= loop.deadline &&
		    !loop.is_ended)
			begin_last_check();
		ask_names();
		ask_targets();
		if (is_over())
			break;
		tell(false);
		nap();
		hear_all();
	}
	/* A family that was silent until TIME was up counts as such. */
	if (loop.end != NEVER && !loop.has_process_ended)
		loop.polled = loop.end;
	for (struct target *t = targets; t < targets_end; t++) {
		lookup_decide(t);
		close_target(t);
	}
	tell(true);
	return report();
}

/* Options, usage, main */

static const struct option {
	const char *names;          /* its letter, then its long name */
	int64_t *value;             /* a TIME or PID; NULL: it has none */
} option_table[] = {
	{ "ttimeout", &options.timeout }, { "sstable", &options.stable },
	{ "cconnect-timeout", &options.connect_timeout },
	{ "ppid", &options.pid }, { "aany", NULL }, { "rreserve", NULL },
	{ "qquiet", NULL }, { "vverbose", NULL }, { "hhelp", NULL },
	{ "Vversion", NULL }, { NULL, NULL },
};

static int64_t parse_pid(const char *text)
{
	const char *end;
	int64_t pid = parse_number(text, INT32_MAX, &end);
	bad_if(*end || pid < 1 || pid > INT32_MAX,
		"a PID is 1 to 2147483647");
	return pid;
}

/* A value may be the next argument. A letter right behind that of the option,
 * as in -timeout, was meant for a long one: then messages quote the whole
 * word. */
static void parse_option(char ***words)
{
	const char *rest = **words + 1;
	bool is_long = *rest == '-';
	const struct option *o;
	argument = **words;
	rest += is_long;
	do {
		size_t length = is_long ? strcspn(rest, "=") : 1;
		for (o = option_table; o->names; o++)
			if (is_long ? strncmp(o->names + 1, rest, length) == 0
			              && !o->names[1 + length]
			            : *o->names == *rest)
				break;
		bad_if(!o->names, "unknown option");
		given[(unsigned char)*o->names] = argument;
		rest += length;
	} while (!is_long && !o->value && *rest);
	bad_if(!o->value && *rest, "takes no value");
	if (!o->value)
		return;
	const char *text = *rest ? rest + is_long : *++*words;
	bad_if(!text, "no value after it");
	if (text != rest || !isalpha((unsigned char)*text))
		argument = text;
	*o->value = o->value == &options.pid ? parse_pid(text)
		: parse_duration(text);
	bad_if(*o->value == 0 && o->value != &options.timeout,
		"must be above 0");
}

/* Parses the options before "--", copies the other words; returns COMMAND. */
static char **parse_options(int argc, char **argv, char **words)
{
	char **command = NULL;
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
	return command;
}

static enum state parse_state(const char *word)
{
	enum state state = OCCUPIED;
	while (state != NO_STATE && strcmp(word, states[state].name) != 0)
		state++;
	return state;
}

/* Each word becomes its targets with their state; find alone means find 0. */
static void parse_words(char **words, bool is_find)
{
	struct target *t = targets, *bare = targets;    /* no STATE yet */
	for (; (argument = *words); words++) {
		enum state state = parse_state(argument);
		t->state = is_find ? FIND : OCCUPIED;
		if (state == NO_STATE) {
			t = parse_word(t);
			continue;
		}
		bad_if(is_find && state != FIND, "no other STATE beside find");
		bad_if(state == ASSERT_FREE && given['a'], "not with --any");
		if (is_find && t == targets)
			t = parse_target(t, "0");
		bad_if(bare == t, "no TARGET before it");
		for (; bare < t; bare++)
			bare->state = state;
	}
	if (bare < t)
		die_usage(bare->given, "no STATE after it:"
			" occupied, free, assert-free, find");
	targets_end = t;
}

static void parse_command_line(char **words, char **command)
{
	const char *alone = given['h'] ? given['h'] : given['V'];
	char **last = NULL;
	bool is_find = false;
	size_t count = 0;
	for (char **word = words; *word; word++, count++) {
		enum state state = parse_state(*word);
		is_find |= state == FIND;
		last = state == NO_STATE ? last : word;
		for (const char *p = *word; (p = strchr(p, ',')); p++)
			count++;
	}
	if (alone && (*words || command))
		die_usage(alone, "only prints, so it stands alone");
	if (alone) {
		print(given['h'] ? synopsis : "portend 2.1\n");
		print(given['h'] ? help : "");
		_exit(EXIT_REACHED);
	}
	if (!*words)
		die_usage("TARGET", "missing, as in:"
			" portend localhost:80 occupied");
	for (const char *p = is_find ? "sap" : "r"; *p; p++)
		if (given[(unsigned char)*p])
			die_usage(given[(unsigned char)*p], is_find
				? "not with find" : "only with find");
	if (is_find && command)
		die_usage(*command, "no COMMAND with find");
	if (is_find && !given['t'])
		options.timeout = 0;
	if (options.timeout > 0 && options.stable > options.timeout)
		die_usage(given['s'], "longer than -t");
	if (last && last[1] && !is_find)
		die_usage(last[1], "no STATE after it;"
			" a COMMAND goes after --");
	targets = allocate(count * sizeof *targets);
	parse_words(words, is_find);
}

/* Opens / for each standard descriptor that is closed, so that no socket gets
 * its number. */
static void plug_descriptors(void)
{
	struct pollfd standard[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int result = poll(standard, 3, 0);      /* a limit below 3: EINVAL */
	for (int i = 0; i < 3; i++)
		if (result < 0 || (standard[i].revents & POLLNVAL &&
		    syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC) < 0))
			die(EXIT_NOT_REACHED, "standard descriptors", errno);
}

static _Noreturn void become(char **command)
{
	execvp(*command, command);
	/* ENOTDIR is what the last word of PATH gave, if COMMAND has no /. */
	int why = errno == ENOTDIR && !strchr(*command, '/') ? ENOENT : errno;
	die(why == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, mask(*command),
		why);
}

int main(int argc, char **argv)
{
	plug_descriptors();
	arguments = argv;
	loop.deadline = loop.end = loop.wake = NEVER;
	char **words = allocate((argc + 1) * sizeof *words);
	char **command = parse_options(argc, argv, words);
	parse_command_line(words, command);
	int status = wait_for_all();
	if (status == EXIT_REACHED && targets->state == FIND)
		return hand_over();
	if (status == EXIT_REACHED && command)
		become(command);
	return status;
}
