/*
 * portend - wait until TCP ports are occupied or free, find a port to bind,
 *           and then become another program
 *
 * portend [-qv] [-t TIME] [-c TIME] TARGET... STATE [TARGET... STATE]...
 *         [-- COMMAND [ARG]...]
 * portend [-r] [[HOST:]PORT | [HOST:]LOW-HIGH]... find
 *
 * Exit status: 0 all reached or found; 1 not reached, or it could not be
 * told; 2 bad usage; 126 COMMAND could not be run; 127 not found; 128+N ended
 * by signal N.
 *
 * What the code keeps, everywhere:
 *
 * - One loop (wait_for_all) around one ppoll(2) probes all addresses of all
 *   targets at the same time, and it alone looks at the clock. Nothing else
 *   in it blocks, but for a reader of standard error that does not read, so
 *   nothing can delay a deadline or another target.
 * - A look-up runs in a child process, one for each address family, because
 *   getaddrinfo(3) blocks for as long as a name server keeps silent. The
 *   answer comes back through a pipe, in one atomic write. Children die with
 *   portend (PR_SET_PDEATHSIG), are killed and reaped before it ends or
 *   becomes COMMAND, and close the probes that they inherit: a probe is over
 *   only when its last copy is closed.
 * - A probe's socket is born quiet. With TCP_QUICKACK off the last ACK of the
 *   handshake is held back for about 0.2 s, and with SO_LINGER {1, 0} any
 *   close(2), that of a killed process too, sends a RST instead (tcp(7),
 *   socket(7)): the server's accept(2) never sees the connection. Hence at
 *   most BATCH probes are started before answers are read.
 * - A target is judged by the strongest standing of its addresses. Only what
 *   is known to say "nobody is there" counts as that; every other error says
 *   nothing about the port, and it is asked again.
 * - All descriptors are close-on-exec, 0 to 2 are never ours, the signal mask
 *   is never touched, and a signal disposition that is changed is either
 *   changed back or a handler, which execve(2) resets.
 *
 * This is free and unencumbered software released into the public domain.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Constants, states and data */

static const char version[] = "portend 1.0\n";

enum {
	EXIT_REACHED = 0,
	EXIT_NOT_REACHED = 1,
	EXIT_USAGE = 2,
	EXIT_CANNOT_RUN = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128,          /* and the signal's number */
};

enum {
	ADDRESSES_MAX = 48,         /* of one family of a name, as in musl */
	BATCH = 64,                 /* probes started before answers are read */
	LOOKUP_WORK = BATCH / 4,    /* a fork takes as long as some 16 probes */
	ECHO_MAX = 255,             /* bytes of an argument in a message */
	HOST_MAX = 254,             /* RFC 1035: 253, and a final dot */
	LOOKUPS_MAX = 192,          /* at once: to end more takes too long */
	PICKS_MAX = 256,            /* tries for a port on all addresses */
	OPEN_MAX = 8192,            /* probes and look-ups under way at once */
	PORT_MAX = 65535,
};

/* Times are in nanoseconds, in an int64_t; twice FOREVER still fits. */
enum {
	MS = 1000000,
	GRACE = 20 * MS,            /* for the answers of the last check */
	LOST = 100 * MS,            /* then an answer is not on its way */
	SECOND = 1000 * MS,
};
#define FOREVER (INT64_MAX / 4)
#define NEVER INT64_MAX

enum state { NO_STATE, OCCUPIED, FREE, ASSERT_FREE, FIND };

/* What is known of an address is kept as an errno, as one of getaddrinfo's
 * EAI_ errors (all negative, and far from these two), or as one of these. */
enum {
	ACCEPTED = 0,
	NO_ANSWER_YET = INT_MIN,
	NO_LOOKUP_YET,
};

/* What that says of the port, from the weakest to the strongest: of several
 * addresses the strongest counts. An answer stands, whatever is still unasked;
 * all else may yet be outdone by what that will say. */
enum standing {
	UNREACHABLE,
	REFUSED,
	SILENT,
	UNTOLD,                     /* trouble of our own tells nothing */
	HELD,                       /* silent, but bind(2) says in use */
	UNASKED,
	ANSWERING,
};

enum outcome { WAITING, REACHED, FAILED };

union name {
	sa_family_t family;
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;    /* its port is where that of in is */
	struct sockaddr_un un;
};

struct address {
	int fd;                     /* probe under way, port held; 0: none */
	int slot;                   /* in polls, while a probe is under way */
	int answer;                 /* of the last probe */
	int64_t asked;              /* when that began; 0: never */
	const char *zone;           /* interface, or NULL */
	union name name;
};

struct lookup {                     /* the addresses of one family */
	int family;                 /* to look up; 0: known without */
	pid_t child;                /* looking up; 0: none */
	int fd;                     /* pipe from child; 0: none */
	int slot;                   /* in polls */
	int answer;                 /* of the last that ended: 0, EAI_, errno */
	int64_t asked;              /* when the last began; long ago: never */
	size_t count;
	struct address *addresses;
};

struct target {
	enum state state;
	enum outcome outcome;
	int low, high;              /* ports; equal but for find LOW-HIGH */
	int told;                   /* answer of the last line of -v */
	const char *given;          /* the argument */
	const char *service;        /* its port, or the path of a socket */
	struct lookup lookups[2];   /* IPv4 or Unix-domain; IPv6 */
	struct address known[2];    /* addresses without a look-up */
	char host[HOST_MAX + 1];    /* without brackets; "": none (find only) */
};

static struct target *targets;
static size_t target_count;

static struct {
	int64_t timeout;
	int64_t connect_timeout;
	const char *time_given;     /* TIME of -t, or NULL */
	const char *reserve_given;  /* -r as given, or NULL */
	bool quiet, verbose;
} options = { .timeout = FOREVER, .connect_timeout = 2 * (int64_t)SECOND };

static const char synopsis[] =
	"usage: portend [-qv] [-t TIME] [-c TIME] TARGET... STATE "
	"[TARGET... STATE]... [-- COMMAND [ARG]...]\n"
	"       portend [-r] [[HOST:]PORT | [HOST:]LOW-HIGH]... find\n";

static const char help[] =
	"\n"
	"TARGET: HOST:PORT, [IPv6]:PORT or a path\n"
	"STATE: occupied, free, or assert-free (one check, no waiting)\n"
	"TIME: 5 or 5s, 250ms, 1.5m, 2h, 1d\n"
	"\n"
	"  -t, --timeout TIME          give up after TIME; 0 checks once\n"
	"  -c, --connect-timeout TIME  no answer for TIME is silence (2 s)\n"
	"  -r, --reserve               keep the port from others for a while\n"
	"  -q, --quiet                 no message when a state is not reached\n"
	"  -v, --verbose               a line whenever a target changes\n"
	"  -h, --help                  print this\n"
	"  -V, --version               print the version\n"
	"\n"
	"Exit: 0 reached, 1 not, 2 bad usage; 126, 127 COMMAND cannot run\n";

/* Messages */

/* True if all of text is written. A pipe without a reader is an error like
 * any other: SIGPIPE is ignored for the moment. */
static bool write_all(int fd, const char *text, size_t length)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, inherited;
	ssize_t n;

	sigaction(SIGPIPE, &ignore, &inherited);
	while (length > 0 && (n = write(fd, text, length)) > 0) {
		text += n;
		length -= n;
	}
	sigaction(SIGPIPE, &inherited, NULL);   /* succeeds: errno stays */
	return length == 0;
}

/* Appends what may come from the user: at most ECHO_MAX bytes of it, with ?
 * for each control character, those of C0, DEL and, in UTF-8, C1. */
static char *append_echo(char *to, const char *text)
{
	const char *end = text + strnlen(text, ECHO_MAX);

	while (text < end) {
		unsigned char c = *text++, next = *text;
		bool is_c1 = c == 0xc2 && next >= 0x80 && next < 0xa0 &&
			text < end;

		*to++ = c < ' ' || c == 0x7f || is_c1 ? '?' : c;
		text += is_c1;
	}
	return to;
}

/* Appends number to base 10 or 16, of at least so many digits, and a NUL. */
static char *append_number(char *to, uint64_t number, unsigned base,
	int digits)
{
	char reversed[20];
	int n = 0;

	while (number || n < digits) {
		reversed[n++] = "0123456789abcdef"[number % base];
		number /= base;
	}
	while (n)
		*to++ = reversed[--n];
	*to = '\0';
	return to;
}

/* Writes the format to standard error, at once, so that several processes do
 * not interleave. % stands for the next argument, echoed, & for it as it is.
 */
static void say(const char *format, ...)
{
	char text[8 * ECHO_MAX], *end = text;
	va_list arguments;

	va_start(arguments, format);
	for (; *format; format++) {
		if (*format == '%')
			end = append_echo(end, va_arg(arguments, char *));
		else if (*format == '&')
			end = stpcpy(end, va_arg(arguments, char *));
		else
			*end++ = *format;
	}
	va_end(arguments);
	write_all(STDERR_FILENO, text, end - text);
}

/* What an errno means, in musl's words, or else its number. All that its
 * strerror(3) knows would be 2.5 KB. */
static const char *error_text(int error)
{
	static char unknown[] = "Error 4294967295";

	switch (error) {
	case EACCES: return "Permission denied";
	case EADDRNOTAVAIL: return "Address not available";
	case EAFNOSUPPORT: return "Address family not supported";
	case EAGAIN: return "Resource temporarily unavailable";
	case EBADF: return "Bad file descriptor";
	case ECONNREFUSED: return "Connection refused";
	case EHOSTUNREACH: return "Host is unreachable";
	case EINVAL: return "Invalid argument";
	case ELOOP: return "Symbolic link loop";
	case EMFILE: return "No file descriptors available";
	case ENETUNREACH: return "Network unreachable";
	case ENFILE: return "Too many open files in system";
	case ENOBUFS: return "No buffer space available";
	case ENODEV: return "No such device";
	case ENOENT: return "No such file or directory";
	case ENOEXEC: return "Exec format error";
	case ENOMEM: return "Out of memory";
	case ENOSPC: return "No space left on device";
	case ENOTCONN: return "Socket not connected";
	case ENOTDIR: return "Not a directory";
	case EPERM: return "Operation not permitted";
	case EPIPE: return "Broken pipe";
	case EPROTOTYPE: return "Protocol wrong type for socket";
	case ETXTBSY: return "Text file busy";
	}
	append_number(unknown + strlen("Error "), error, 10, 1);
	return unknown;
}

static _Noreturn void die_usage(const char *what, const char *why)
{
	say("portend: %: %\n&", what, why, synopsis);
	_exit(EXIT_USAGE);
}

static _Noreturn void die(const char *what, int error)
{
	say("portend: %: %\n", what, error_text(error));
	_exit(EXIT_NOT_REACHED);
}

/* Memory, zeroed, until the end; without malloc(3), which would take more
 * system calls for the little that is needed. */
static void *allocate(size_t count, size_t size)
{
	void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Numbers and time */

static int64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);  /* cannot fail: the clock exists */
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* How many digits the text begins with. */
static int count_digits(const char *text)
{
	int n = 0;

	while (isdigit((unsigned char)text[n]))
		n++;
	return n;
}

/* TIME: digits, with an optional fraction and unit. What is too long to
 * represent is FOREVER; what is not 0 but shorter than 1 ns is 1 ns. */
static int64_t parse_duration(const char *text)
{
	static const struct {
		char name[4];
		int32_t factor;
	} units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 },
		{ "h", 3600000 }, { "d", 86400000 },
	};
	int whole = count_digits(text), fraction = 0, nonzero = 0;
	size_t unit = 0, count = sizeof units / sizeof *units;
	const char *end = text + whole;
	int64_t time = 0, scale;

	if (*end == '.' && (fraction = count_digits(end + 1)))
		end += 1 + fraction;
	while (unit < count && strcmp(end, units[unit].name) != 0)
		unit++;
	if (unit == count || whole + fraction == 0)
		die_usage(text, "not a TIME, as 5, .5, 1.5m or 250ms");
	scale = (int64_t)units[unit].factor * MS;
	for (; whole > 0; whole--, text++) {
		if (time > FOREVER / 10)
			return FOREVER;
		time = time * 10 + (*text - '0') * scale;
	}
	for (text++; fraction > 0; fraction--, text++) {    /* behind the dot */
		scale /= 10;
		time += (*text - '0') * scale;
		nonzero |= *text - '0';
	}
	return time == 0 && nonzero ? 1 : smaller(time, FOREVER);
}

/* A port in decimal digits, or a service, which is looked up in services(5),
 * without blocking. what is the argument to name where it is bad.
 * getaddrinfo(3) by itself would take "+80" and "http ", too. Its answer is not
 * freed: that would cost 4 KB of code. */
static int parse_port(const char *text, int lowest, const char *what)
{
	struct addrinfo hints = { .ai_family = AF_INET,
		.ai_socktype = SOCK_STREAM };
	static struct addrinfo *service;
	const struct sockaddr_in *in;
	const char *p = text;
	int port;

	if (!*text)
		die_usage(what, "no port");
	for (port = 0; isdigit((unsigned char)*p); p++)
		port = smaller(port * 10 + (*p - '0'), PORT_MAX + 1);
	if (*p) {
		while ((unsigned char)*p > ' ')
			p++;
		if (*p || !isalnum((unsigned char)*text) ||
		    getaddrinfo(NULL, text, &hints, &service) != 0)
			die_usage(what, "no such port or service");
		in = (const struct sockaddr_in *)service->ai_addr;
		port = ntohs(in->sin_port);
	}
	if (port < lowest || port > PORT_MAX)
		die_usage(what, "a port is 1 to 65535");
	return port;
}

/* Addresses in numbers, as RFC 5952 writes them. */

static char *append_ipv4(char *to, const unsigned char *bytes)
{
	int i;

	for (i = 0; i < 4; i++) {
		if (i)
			*to++ = '.';
		to = append_number(to, bytes[i], 10, 1);
	}
	return to;
}

/* RFC 5952: the first of the longest runs of two or more zero groups becomes
 * "::", and ::ffff:0:0/96 ends in dotted decimal. */
static char *append_ipv6(char *to, const unsigned char *bytes)
{
	int i, run = 0, first = 0, zeros = 1, groups = 8;

	if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)bytes))
		groups = 6;
	for (i = 0; i < groups; i++) {
		run = bytes[2 * i] | bytes[2 * i + 1] ? 0 : run + 1;
		if (run > zeros) {
			zeros = run;
			first = i + 1 - run;
		}
	}
	for (i = 0; i < groups; i++) {
		if (zeros > 1 && i == first) {
			*to++ = ':';
			i += zeros - 1;
			if (i == 7)
				*to++ = ':';
			continue;
		}
		if (i)
			*to++ = ':';
		to = append_number(to, bytes[2 * i] << 8 | bytes[2 * i + 1],
			16, 1);
	}
	if (groups == 6) {
		*to++ = ':';
		to = append_ipv4(to, bytes + 12);
	}
	return to;
}

/* The text of an IPv4 or IPv6 address, good until the next call. */
static const char *address_text(const union name *name)
{
	static char text[INET6_ADDRSTRLEN + sizeof "%4294967295"];
	char *end;

	if (name->family == AF_INET) {
		end = append_ipv4(text, (const void *)&name->in.sin_addr);
	} else {
		end = append_ipv6(text, (const void *)&name->in6.sin6_addr);
		if (name->in6.sin6_scope_id) {
			*end++ = '%';
			end = append_number(end, name->in6.sin6_scope_id,
				10, 1);
		}
	}
	*end = '\0';
	return text;
}

/* Targets: parsing */

/* How much of a name its family fills. */
static socklen_t name_size(const union name *name)
{
	if (name->family == AF_INET)
		return sizeof name->in;
	return name->family == AF_INET6 ? sizeof name->in6 : sizeof name->un;
}

/* Makes room for the one address of its kind that is known without a look-up;
 * returns its name, of the wildcard address. */
static union name *set_address(struct target *target, int family)
{
	struct lookup *lookup = &target->lookups[family == AF_INET6];
	struct address *address = &target->known[family == AF_INET6];

	address->answer = NO_ANSWER_YET;
	address->name.family = family;
	address->name.in.sin_port = htons(target->low);
	lookup->addresses = address;
	lookup->count = 1;
	return &address->name;
}

/* Makes it the loopback address of its family. */
static void set_loopback(union name *name)
{
	if (name->family == AF_INET)
		name->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		name->in6.sin6_addr = in6addr_loopback;
}

/* An IPv6 address with an optional zone (RFC 4007), which is an interface or
 * its number. The interface may come later: each probe asks for it. */
static void parse_ipv6(struct target *target)
{
	char *zone = strchr(target->host, '%');
	union name *name = set_address(target, AF_INET6);
	int valid, digits;

	if (zone)
		*zone = '\0';
	valid = inet_pton(AF_INET6, target->host, &name->in6.sin6_addr);
	if (zone)
		*zone++ = '%';
	if (!valid || (zone && !*zone))
		die_usage(target->given, "not an IPv6 address");
	if (!zone)
		return;
	digits = count_digits(zone);
	if (zone[digits] || digits > 9)
		target->known[1].zone = zone;
	else
		name->in6.sin6_scope_id = strtoul(zone, NULL, 10);
}

/* Copies the HOST of the argument; returns what follows its colon. An
 * argument without a colon is all port: that is for find. */
static const char *parse_host(struct target *target)
{
	const char *host = target->given, *colon = strrchr(host, ':'), *end;

	if (!colon)
		return host;
	end = colon;
	if (*host == '[') {
		host++;
		if (*--end != ']')
			die_usage(target->given, "no :PORT behind ]");
	} else if (memchr(host, ':', colon - host)) {
		die_usage(target->given,
			"an IPv6 address needs brackets: [::1]:80");
	}
	if (end <= host)
		die_usage(target->given, "no host");
	if (end - host > HOST_MAX)
		die_usage(target->given, "the host name is too long");
	memcpy(target->host, host, end - host);
	return colon + 1;
}

/* Names are compared without regard to case, which is bit 0x20 of a letter; a
 * final dot means the same. */
static bool is_localhost(const char *host)
{
	const char *p = "localhost";

	while (*p && (*host | 0x20) == *p) {
		host++;
		p++;
	}
	return !*p && (!*host || strcmp(host, ".") == 0);
}

/* Gives the host its address, or localhost its two (RFC 6761), or else has
 * both families looked up. */
static void parse_address(struct target *target)
{
	struct in_addr in;
	int f;

	if (target->given[0] == '[') {
		parse_ipv6(target);
	} else if (inet_pton(AF_INET, target->host, &in) == 1) {
		set_address(target, AF_INET)->in.sin_addr = in;
	} else if (is_localhost(target->host)) {
		set_loopback(set_address(target, AF_INET));
		set_loopback(set_address(target, AF_INET6));
	} else {
		for (f = 0; f < 2; f++) {
			target->lookups[f].family = f ? AF_INET6 : AF_INET;
			target->lookups[f].answer = NO_LOOKUP_YET;
			target->lookups[f].asked = -SECOND;
		}
	}
}

static bool is_wildcard(const union name *name)
{
	if (name->family == AF_INET)
		return name->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return name->family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&name->in6.sin6_addr);
}

static bool is_unix(const struct target *target)
{
	return target->known[0].name.family == AF_UNIX;
}

static void parse_target(struct target *target, const char *word)
{
	struct sockaddr_un *un;
	int f;

	target->given = word;
	if (strchr(word, '/')) {
		target->service = word;
		if (strncmp(word, "unix:", 5) == 0)
			target->service += 5;
		if (strlen(target->service) >= sizeof un->sun_path)
			die_usage(word, "too long for a socket's path");
		un = &set_address(target, AF_UNIX)->un;
		stpcpy(un->sun_path, target->service);
		return;
	}
	target->service = parse_host(target);
	if (!*target->host)
		die_usage(word, "not HOST:PORT, a path or a STATE");
	target->low = parse_port(target->service, 1, word);
	parse_address(target);
	/* To connect to the wildcard address is to connect to the loopback
	 * one: fib_lookup in Linux's net/ipv4/route.c, tcp_v6_connect. */
	for (f = 0; f < 2; f++)
		if (is_wildcard(&target->known[f].name))
			set_loopback(&target->known[f].name);
}

/* [HOST:]PORT or [HOST:]LOW-HIGH, for find. Without a host it is the wildcard
 * address. */
static void parse_range(struct target *target, const char *word)
{
	char low[sizeof "65535"] = "";
	const char *port;
	int digits;

	target->given = word;
	if (strchr(word, '/'))
		die_usage(word, "find is for TCP ports");
	target->service = port = parse_host(target);
	digits = count_digits(port);
	if (digits > 0 && digits < (int)sizeof low && port[digits] == '-') {
		memcpy(low, port, digits);
		target->low = parse_port(low, 1, word);
		target->high = parse_port(port + digits + 1, 1, word);
		if (target->low > target->high)
			die_usage(word, "LOW is above HIGH");
	} else {
		target->low = target->high = parse_port(port, 0, word);
	}
	if (*target->host)
		parse_address(target);
	else
		set_address(target, AF_INET6);
}

/* Descriptors */

static int open_count;              /* descriptors of probes and look-ups */
static struct rlimit inherited_limit;   /* rlim_max is 0 until it is raised */

/* Raises the limit of open descriptors as far as it goes, once; true if that
 * is of use, and else errno is EMFILE. COMMAND gets the inherited one back. */
static bool raise_limit(void)
{
	struct rlimit raised;

	if (inherited_limit.rlim_max == 0 &&
	    prlimit(0, RLIMIT_NOFILE, NULL, &inherited_limit) == 0) {
		raised = inherited_limit;
		raised.rlim_cur = raised.rlim_max;
		if (inherited_limit.rlim_cur < raised.rlim_cur &&
		    prlimit(0, RLIMIT_NOFILE, &raised, NULL) == 0)
			return true;
	}
	errno = EMFILE;
	return false;
}

static void restore_limit(void)
{
	if (inherited_limit.rlim_max)
		prlimit(0, RLIMIT_NOFILE, &inherited_limit, NULL);
}

/* Returns a TCP or Unix-domain socket, or -1 and sets errno. */
static int open_socket(int family)
{
	const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
	int fd;

	do
		fd = socket(family, type, 0);
	while (fd < 0 && errno == EMFILE && raise_limit());
	return fd;
}

/* As pipe2(fds, O_CLOEXEC). By syscall(2), as prctl and openat below: musl's
 * own, for the sake of old kernels and of threads, cost 0.4 KB more. */
static int open_pipe(int *fds)
{
	int result;

	do
		result = syscall(SYS_pipe2, fds, O_CLOEXEC);
	while (result < 0 && errno == EMFILE && raise_limit());
	return result;
}

/* As open_socket, and the zone of the address is the interface it is now. */
static int open_address(struct address *address)
{
	while (address->zone && !(address->name.in6.sin6_scope_id =
	                          if_nametoindex(address->zone)))
		if (errno != EMFILE || !raise_limit())
			return -1;
	return open_socket(address->name.family);
}

static void close_fd(int *fd)
{
	if (*fd) {
		close(*fd);
		*fd = 0;
		open_count--;
	}
}

/* The addresses of both families, numbered from 0; NULL past the last. */
static struct address *address_at(const struct target *target, size_t i)
{
	const struct lookup *lookup = target->lookups;

	if (i < lookup->count)
		return &lookup->addresses[i];
	i -= lookup->count;
	lookup++;
	return i < lookup->count ? &lookup->addresses[i] : NULL;
}

static void close_addresses(struct target *target)
{
	struct address *address;
	size_t i;

	for (i = 0; (address = address_at(target, i)); i++)
		close_fd(&address->fd);
}

/* Closes the probes and the pipes of so many targets. */
static void close_targets(struct target *first, size_t count)
{
	for (; count > 0; count--, first++) {
		close_addresses(first);
		close_fd(&first->lookups[0].fd);
		close_fd(&first->lookups[1].fd);
	}
}

/* Targets: look-ups in children */

struct reply {                      /* of one look-up, in one atomic write */
	int answer;
	int count;
	union reply_name {
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} names[ADDRESSES_MAX];
};
_Static_assert(sizeof(struct reply) <= PIPE_BUF, "pipe(7): atomic");

static int lookup_count;            /* look-ups under way */

/* Waits for the child, and for no other process: those are COMMAND's. */
static void reap(struct lookup *lookup)
{
	while (waitpid(lookup->child, NULL, 0) < 0 && errno == EINTR)
		;
	lookup->child = 0;
	lookup_count--;
}

/* Ends what so many targets have under way: probes and look-ups. All children
 * are killed before the first is waited for, so that they end side by side. */
static void abandon_targets(struct target *first, size_t count)
{
	struct target *target, *end = first + count;
	int f;

	close_targets(first, count);
	for (target = first; target < end; target++)
		for (f = 0; f < 2; f++)
			if (target->lookups[f].child)
				kill(target->lookups[f].child, SIGKILL);
	for (target = first; target < end; target++)
		for (f = 0; f < 2; f++)
			if (target->lookups[f].child)
				reap(&target->lookups[f]);
}

/* The child: it writes the addresses of a host to fd, and ends. */
static _Noreturn void lookup_child(const struct target *target, int family,
	int fd)
{
	struct addrinfo hints = { .ai_family = family }, *list = NULL;
	struct reply reply = { 0 };
	union reply_name *last;
	int i;

	hints.ai_socktype = SOCK_STREAM;
	reply.answer = getaddrinfo(target->host, NULL, &hints, &list);
	for (; list && reply.count < ADDRESSES_MAX; list = list->ai_next) {
		last = &reply.names[reply.count];
		memcpy(last, list->ai_addr, list->ai_addrlen);
		for (i = 0; memcmp(&reply.names[i], last, sizeof *last); i++)
			;
		if (i == reply.count)   /* hosts(5) may list it twice */
			reply.count++;
	}
	_exit(write(fd, &reply, sizeof reply) != sizeof reply);
}

/* Starts the child. Returns 0 or an errno. The child must not hold a probe
 * open when its parent closes it, and needs descriptors of its own. _Fork(3)
 * is fork(2) without the locks of threads and handlers, of which there are
 * none here; that saves 1 KB. */
static int lookup_start(struct target *target, struct lookup *lookup)
{
	pid_t parent = getpid(), child;
	int fds[2], error;

	if (!lookup->addresses)
		lookup->addresses = allocate(ADDRESSES_MAX,
			sizeof *lookup->addresses);
	if (!lookup->addresses || open_pipe(fds) < 0)
		return errno;
	lookup->fd = fds[0];
	open_count++;
	child = _Fork();
	error = errno;
	if (child == 0) {
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
		close_targets(targets, target_count);
		lookup_child(target, lookup->family, fds[1]);
	}
	close(fds[1]);
	if (child < 0) {
		close_fd(&lookup->fd);
		return error;
	}
	lookup->child = child;
	lookup_count++;
	return 0;
}

/* Replaces the addresses by those of the reply. An address that stays keeps
 * what is known of it, and its probe. */
static void lookup_merge(struct lookup *lookup, const struct reply *reply,
	int port)
{
	struct address merged[ADDRESSES_MAX] = { 0 }, *old;
	size_t i, j;

	for (i = 0; i < (size_t)reply->count; i++) {
		union name *name = &merged[i].name;

		memcpy(name, &reply->names[i], sizeof reply->names[i]);
		name->in.sin_port = htons(port);
		merged[i].answer = NO_ANSWER_YET;
		for (j = 0; j < lookup->count; j++) {
			old = &lookup->addresses[j];
			if (memcmp(name, &old->name, sizeof *name) == 0) {
				merged[i] = *old;
				old->fd = 0;
			}
		}
	}
	for (j = 0; j < lookup->count; j++)
		close_fd(&lookup->addresses[j].fd);
	lookup->count = reply->count;
	memcpy(lookup->addresses, merged, lookup->count * sizeof *merged);
}

static bool does_not_resolve(int answer)
{
	return answer == EAI_NONAME;
}

/* Reads the reply, and reaps the child; lost is the answer where it died before
 * its reply. A failure that may pass leaves the addresses that are known. */
static void lookup_end(struct target *target, struct lookup *lookup, int lost)
{
	struct reply reply;

	if (read(lookup->fd, &reply, sizeof reply) != sizeof reply) {
		reply.answer = lost;
		reply.count = 0;
	}
	close_fd(&lookup->fd);
	reap(lookup);
	/* That there is no address of this family tells nothing more. */
	if (reply.answer == EAI_NODATA)
		reply.answer = EAI_NONAME;
	if (reply.answer == 0 || does_not_resolve(reply.answer))
		lookup_merge(lookup, &reply, target->low);
	lookup->answer = reply.answer;
}

/* Probes */

/* Binds a socket to the name and closes it. Returns 0 or an errno: with
 * SO_REUSEADDR, EADDRINUSE only where another one listens or would not share,
 * EADDRNOTAVAIL where the address is not this machine's (ip(7), socket(7)). */
static int try_bind(const union name *name)
{
	int fd = open_socket(name->family), error = 0;

	if (fd < 0)
		return errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 },
	               sizeof(int)) < 0 ||
	    bind(fd, &name->any, name_size(name)) < 0)
		error = errno;
	close(fd);
	return error;
}

/* True if the error of a TCP socket says that this machine has no address from
 * which to reach name, as with IPv6 switched off, and not that it is short of
 * TCP ports: to connect a UDP socket, which sends nothing, fails then, too. */
static bool is_absent(const union name *name, int error)
{
	int fd;

	if (error != EADDRNOTAVAIL)
		return error == EAFNOSUPPORT;
	fd = socket(name->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	error = connect(fd, &name->any, name_size(name)) < 0 ? errno : 0;
	close(fd);
	return error == EADDRNOTAVAIL;
}

/* Begins to connect. Returns EINPROGRESS if ppoll(2) is to tell when the answer
 * is there, on address->fd, even if connect(2) has succeeded; otherwise the
 * answer. */
static int probe_start(struct address *address)
{
	union name *name = &address->name;
	int fd, error = EINPROGRESS;

	fd = open_address(address);
	if (fd < 0)
		return errno;
	if ((name->family != AF_UNIX &&
	     setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 },
	                sizeof(int)) < 0) ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER,
	               &(struct linger){ .l_onoff = 1, .l_linger = 0 },
	               sizeof(struct linger)) < 0 ||
	    connect(fd, &name->any, name_size(name)) < 0)
		error = errno;
	if (error == EINPROGRESS) {
		address->fd = fd;
		open_count++;
		return EINPROGRESS;
	}
	close(fd);
	if (error == EAGAIN && name->family == AF_UNIX)
		return ACCEPTED;        /* the queue is full: connect(2) */
	if (is_absent(name, error))
		return EAFNOSUPPORT;
	return error;
}

/* Reads the answer that ppoll(2) reported. getpeername(2) alone tells that
 * there is a connection; SO_ERROR can be 0 without one. A connection to
 * itself, which connect(2) makes where it draws the very port that it goes to
 * as its source, means that nobody else is there. */
static int probe_answer(const struct address *address, short events)
{
	union name peer = { 0 }, self = { 0 };
	socklen_t size = sizeof(int), peer_size = sizeof peer;
	socklen_t self_size = sizeof self;
	int error = 0;

	if (events & POLLERR)
		getsockopt(address->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	/* ICMP's protocol unreachable, ICMPv6's administratively prohibited. */
	if (error == ENOPROTOOPT || error == EACCES)
		return EHOSTUNREACH;
	if (error)
		return error;
	if (getpeername(address->fd, &peer.any, &peer_size) < 0 ||
	    getsockname(address->fd, &self.any, &self_size) < 0)
		return errno;
	return memcmp(&self, &peer, sizeof self) ? ACCEPTED : ECONNREFUSED;
}

/* What silence means for free and assert-free: a listener of this machine
 * whose accept queue is full keeps silent, too, but bind(2) knows it. */
static int silence_answer(const struct address *address)
{
	int error = try_bind(&address->name);

	return error == 0 || error == EADDRNOTAVAIL ? ETIMEDOUT : error;
}

/* What ICMP may say of a host or its network (icmp_err_convert in Linux's
 * net/ipv4/icmp.c) is that nobody is there to be reached. */
static enum standing standing_of(int answer)
{
	switch (answer) {
	case EAFNOSUPPORT:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENOENT:
	case ENONET:
	case ENOTDIR:
		return UNREACHABLE;
	case ECONNREFUSED:
		return REFUSED;
	case ETIMEDOUT:
		return SILENT;
	case NO_ANSWER_YET:
	case NO_LOOKUP_YET:
		return UNASKED;
	case EADDRINUSE:
		return HELD;
	case ACCEPTED:
		return ANSWERING;
	default:
		return UNTOLD;
	}
}

static bool is_in_use(enum standing standing)
{
	return standing == ANSWERING || standing == HELD;
}

static const char *answer_text(int answer)
{
	switch (answer) {
	case ACCEPTED:
		return "Connection accepted";
	case EADDRINUSE:
		return "No answer, but the address is in use";
	case ETIMEDOUT:
	case NO_ANSWER_YET:
		return "No answer";
	case EAI_NONAME:
		return "Name does not resolve";
	case EAI_AGAIN:
	case EAI_FAIL:
	case NO_LOOKUP_YET:
		return "No answer from the name server";
	default:
		return answer > 0 ? error_text(answer) : "Look-up failed";
	}
}

/* Judging a target, and telling of it */

/* Counts for a target that is asked once only: no second probe or look-up. */
static bool is_once(const struct target *target)
{
	return target->state >= ASSERT_FREE || options.timeout == 0;
}

/* Trouble of this machine, and none of the name server's. */
static bool is_own_trouble(int lookup_answer)
{
	return lookup_answer > 0 || lookup_answer == EAI_MEMORY ||
	       lookup_answer == EAI_SYSTEM;
}

/* The look-up's answer that stands for both: our own trouble before all, and
 * any before a name that does not resolve, as only both families together say
 * that it does not. */
static int lookup_answer(const struct target *target)
{
	int first = target->lookups[0].answer;
	int second = target->lookups[1].answer;

	return does_not_resolve(first) || is_own_trouble(second)
		? second : first;
}

/* The address of the strongest standing, or NULL if there is none. */
static const struct address *strongest(const struct target *target)
{
	const struct address *best = NULL, *address;
	size_t i;

	for (i = 0; (address = address_at(target, i)); i++)
		if (!best || standing_of(address->answer) >
		             standing_of(best->answer))
			best = address;
	return best;
}

/* True until the first look-ups of both families have ended. */
static bool is_pending(const struct target *target)
{
	return target->lookups[0].answer == NO_LOOKUP_YET ||
	       target->lookups[1].answer == NO_LOOKUP_YET;
}

/* What is known of the target. That it is free depends on the look-ups of both
 * families; that it is not does not. */
static int target_answer(const struct target *target)
{
	const struct address *address = strongest(target);
	int lookup = is_pending(target)
		? NO_LOOKUP_YET : lookup_answer(target);

	if (!address)
		return lookup;
	if (target->state == OCCUPIED ||
	    is_in_use(standing_of(address->answer)) ||
	    (lookup != NO_LOOKUP_YET && !is_own_trouble(lookup)))
		return address->answer;
	return lookup;
}

/* The lines of -v; waited is the time since the start. */
static void say_change(struct target *target, int answer, int64_t waited)
{
	const char *state = target->state == OCCUPIED ? "occupied" : "free";
	char seconds[32], *end;

	if (!options.verbose || target->state == FIND)
		return;
	if (target->outcome == REACHED) {
		end = append_number(seconds, waited / SECOND, 10, 1);
		*end++ = '.';
		append_number(end, waited % SECOND / MS, 10, 3);
		say("portend: %: % after % s\n", target->given, state, seconds);
	} else if (answer != target->told && standing_of(answer) != UNASKED) {
		target->told = answer;
		say("portend: %: %\n", target->given, answer_text(answer));
	}
}

/* The end of a message: the reason in parentheses, or nothing. */
static const char *reason_text(int answer, bool explain)
{
	static char text[64];

	if (!explain)
		return "";
	stpcpy(stpcpy(stpcpy(text, " ("), answer_text(answer)), ")");
	return text;
}

/* The message for a target that was not reached. */
static void say_failure(const struct target *target)
{
	bool wanted = target->state == OCCUPIED;
	int answer = target_answer(target);
	enum standing standing = standing_of(answer);
	enum standing expected = wanted ? REFUSED : ANSWERING;
	bool in_use = target->state == ASSERT_FREE && is_in_use(standing);
	const char *verb = wanted ? "bound" : "free";
	const char *reason = reason_text(answer, standing != expected);

	if (options.quiet || target->state == FIND)
		return;
	if (in_use && is_unix(target))
		say("Socket % is in use.\n", target->service);
	else if (in_use)
		say("Port % is in use on %.\n", target->service,
			address_text(&strongest(target)->name));
	else if (is_unix(target))
		say("Socket % not %.&\n", target->service, verb, reason);
	else
		say("Port % not % on %.&\n", target->service, verb,
			target->host, reason);
}

/* Waiting */

static struct pollfd *polls;        /* of OPEN_MAX */
static nfds_t poll_count;

struct wait {
	int64_t start;              /* of the wait */
	int64_t deadline;           /* when TIME is up, then the last check */
	int64_t patience;           /* how long a probe may go unanswered */
	int64_t now;                /* when ppoll last returned */
	int64_t poll_start;         /* when that ppoll began; 0: it failed */
	int64_t round_start;        /* of this round of checks */
	int64_t next_round;         /* when it begins; NEVER until this ends */
	int64_t wake;               /* when something is to be done next */
	size_t probe_cursor;        /* target whose turn it is */
	size_t lookup_cursor;
	int work;                   /* started in this turn; a probe is 1 */
	bool full;                  /* no room for what was to start last */
	bool is_last;               /* TIME is up: this is the last check */
	bool has_slept;
	bool hopeless;              /* a target is: that ends the wait */
};

/* A find is over once its addresses are known: it never probes them. */
static bool is_reached(const struct target *target, int answer)
{
	if (target->state == FIND)
		return answer == NO_ANSWER_YET;
	if (target->state == OCCUPIED)
		return answer == ACCEPTED;
	return standing_of(answer) <= SILENT;
}

/* True if that ends the wait for all targets. */
static bool is_hopeless(const struct target *target, int answer)
{
	return (target->state == ASSERT_FREE &&
	        is_in_use(standing_of(answer))) ||
	       (target->state == FREE && does_not_resolve(answer));
}

/* True if the one check of the target has all its answers. A find asks none of
 * the addresses. */
static bool is_checked(const struct target *target)
{
	const struct address *address = strongest(target);

	return !is_pending(target) &&
	       (!address || target->state == FIND ||
	        standing_of(address->answer) != UNASKED);
}

/* Decides, after each answer, what has become of the target. */
static void judge(struct target *target, struct wait *wait)
{
	int answer = target_answer(target);
	bool hopeless = is_hopeless(target, answer);

	if (is_reached(target, answer))
		target->outcome = REACHED;
	else if (hopeless || (is_once(target) && is_checked(target)))
		target->outcome = FAILED;
	if (target->outcome != WAITING)
		abandon_targets(target, 1);
	wait->hopeless |= hopeless;
	say_change(target, answer, wait->now - wait->start);
}

/* Takes the answer to a probe. */
static void settle(struct target *target, struct address *address, int answer,
	struct wait *wait)
{
	close_fd(&address->fd);
	if (answer == ETIMEDOUT && target->state != OCCUPIED)
		answer = silence_answer(address);
	address->answer = answer;
	judge(target, wait);
}

/* Starts a probe if the address has not been asked in this round. Where no
 * descriptor is left it waits until one of ours is closed. */
static void probe_if_due(struct target *target, struct address *address,
	struct wait *wait)
{
	int64_t asked;
	int answer;

	if (address->fd || address->asked >= wait->round_start ||
	    (address->asked && is_once(target)))
		return;
	asked = clock_now();
	answer = open_count < OPEN_MAX ? probe_start(address) : EMFILE;
	if (answer == EMFILE && open_count > 0) {
		wait->full = true;
		return;
	}
	address->asked = asked;
	wait->work++;
	if (answer != EINPROGRESS)
		settle(target, address, answer, wait);
}

/* Starts a look-up 1 s after the last one began, or when that has ended. Where
 * too many are under way it waits until one has ended. A pipe takes two
 * descriptors and keeps one, so look-ups cannot take a probe's last. */
static void look_up_if_due(struct target *target, struct lookup *lookup,
	struct wait *wait)
{
	int error = EMFILE;

	if (!lookup->family || lookup->child || wait->is_last ||
	    wait->now < lookup->asked + SECOND ||
	    (lookup->answer != NO_LOOKUP_YET && is_once(target)))
		return;
	if (open_count < OPEN_MAX && lookup_count < LOOKUPS_MAX)
		error = lookup_start(target, lookup);
	if ((error == EMFILE && open_count > 0) ||
	    (error == EAGAIN && lookup_count > 0 && is_once(target))) {
		wait->full = true;
		return;
	}
	lookup->asked = clock_now();
	wait->work += LOOKUP_WORK;
	if (error) {
		lookup->answer = error;
		judge(target, wait);
	}
}

static void probe_target(struct target *target, struct wait *wait)
{
	struct address *address;
	size_t i;

	for (i = 0; (address = address_at(target, i)); i++)
		if (target->outcome == WAITING && target->state != FIND &&
		    wait->work < BATCH)
			probe_if_due(target, address, wait);
}

static void look_up_target(struct target *target, struct wait *wait)
{
	int f;

	for (f = 0; f < 2; f++)
		if (target->outcome == WAITING)
			look_up_if_due(target, &target->lookups[f], wait);
}

/* Has each target start what is due, from the one at *cursor on, until a batch
 * is full; the next turn goes on there. */
static void take_turns(void (*start)(struct target *, struct wait *),
	size_t *cursor, struct wait *wait)
{
	size_t n;

	wait->full = false;
	for (n = 0; n < target_count && !wait->hopeless; n++) {
		start(&targets[*cursor], wait);
		if (wait->full || wait->work >= BATCH)
			break;
		*cursor = (*cursor + 1) % target_count;
	}
}

/* The last check asks anew for occupied where the probe under way is old: its
 * SYN was lost. Frees the descriptors of all of them before any is asked. */
static void begin_last_check(struct wait *wait)
{
	struct address *address;
	size_t i, n;

	wait->is_last = true;
	wait->deadline = wait->now + GRACE;
	for (n = 0; n < target_count; n++)
		for (i = 0; (address = address_at(&targets[n], i)); i++)
			if (targets[n].state == OCCUPIED &&
			    address->asked + LOST < wait->now)
				close_fd(&address->fd);
}

/* A round has ended when all probes that were due have been started. The next
 * one begins after a hundredth of the time waited, and ten times what this one
 * took, but no more than 1 s: a process that was stopped within a round would
 * sleep for ten times as long. */
static void end_round(struct wait *wait)
{
	int64_t now = clock_now();
	int64_t pause = smaller((now - wait->start) / 100, 100 * MS);

	pause = larger(pause, 10 * (now - wait->round_start));
	wait->next_round = now + larger(MS, smaller(pause, SECOND));
}

/* Begins a round, or the last check, if it is time to, and starts what is due:
 * probes first, as a look-up takes longer to start, unless there was no room
 * for look-ups the last time. */
static void start_due(struct wait *wait)
{
	bool is_up = !wait->is_last && wait->now >= wait->deadline;
	int work;

	if (is_up)
		begin_last_check(wait);
	if (is_up || wait->now >= wait->next_round) {
		wait->round_start = wait->now;
		wait->next_round = NEVER;
	}
	wait->work = 0;
	if (wait->full)
		take_turns(look_up_target, &wait->lookup_cursor, wait);
	work = wait->work;
	take_turns(probe_target, &wait->probe_cursor, wait);
	if (wait->work == work && wait->next_round == NEVER && !wait->is_last)
		end_round(wait);
	take_turns(look_up_target, &wait->lookup_cursor, wait);
}

static int add_poll(int fd, short events)
{
	polls[poll_count] = (struct pollfd){ .fd = fd, .events = events };
	return poll_count++;
}

/* Puts what the target has under way into polls, and the time of what is next
 * to be done for it into wake. */
static void add_polls(struct target *target, struct wait *wait)
{
	struct address *address;
	struct lookup *lookup;
	int64_t wake = NEVER;
	size_t i;

	for (i = 0; (address = address_at(target, i)); i++) {
		if (address->fd) {
			address->slot = add_poll(address->fd, POLLOUT);
			wake = smaller(wake, address->asked + wait->patience);
		} else if (!is_once(target)) {
			wake = smaller(wake, wait->next_round);
		}
	}
	for (i = 0; i < 2; i++) {
		lookup = &target->lookups[i];
		if (lookup->fd)
			lookup->slot = add_poll(lookup->fd, POLLIN);
		if (lookup->fd && is_once(target))
			wake = smaller(wake,
				lookup->asked + options.connect_timeout);
		else if (lookup->family && wait->now < lookup->asked + SECOND)
			wake = smaller(wake, lookup->asked + SECOND);
	}
	wait->wake = smaller(wait->wake, wake);
}

/* Takes what ppoll reported. A probe is silent only if its patience was at an
 * end before ppoll, which still found no answer: so one that was answered
 * while the process was stopped counts. */
static void hear(struct target *target, struct wait *wait)
{
	struct lookup *lookup;
	struct address *address;
	short events;
	size_t i;

	for (i = 0; (address = address_at(target, i)); i++) {
		if (!address->fd)
			continue;
		events = polls[address->slot].revents;
		if (events)
			settle(target, address, probe_answer(address, events),
				wait);
		else if (wait->poll_start >= address->asked + wait->patience)
			settle(target, address, ETIMEDOUT, wait);
	}
	for (i = 0; i < 2; i++) {
		lookup = &target->lookups[i];
		if (!lookup->fd)
			continue;
		if (polls[lookup->slot].revents) {
			lookup_end(target, lookup, EAI_SYSTEM);
		} else if (is_once(target) && wait->poll_start >=
		           lookup->asked + options.connect_timeout) {
			kill(lookup->child, SIGKILL);
			lookup_end(target, lookup, EAI_AGAIN);
		} else {
			continue;
		}
		judge(target, wait);
	}
}

/* SIGCONT is there to interrupt a ppoll(2); the others end process 1. */
static void on_signal(int number)
{
	if (number != SIGCONT)
		_exit(EXIT_SIGNAL + number);
}

/* One that is ignored stays so. SA_RESTART is for write(2): a ppoll(2) that a
 * handler interrupts ends all the same. */
static void catch_signal(int number)
{
	struct sigaction inherited, caught = {
		.sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (sigaction(number, NULL, &inherited) == 0 &&
	    inherited.sa_handler == SIG_DFL)
		sigaction(number, &caught, NULL);
}

/* Process 1 is not ended by a signal that has no handler (kill(2)); any other
 * is, and whoever waits for it sees by which. */
static void catch_ends_of_process_1(void)
{
	if (getpid() == 1) {
		catch_signal(SIGHUP);
		catch_signal(SIGINT);
		catch_signal(SIGTERM);
	}
}

/* Sleeps until something is to be done; after a turn that started something it
 * only looks whether there is an answer. A ppoll(2) in which the process was
 * stopped would go on for all that was left of its time, if SIGCONT had no
 * handler (signal(7)). */
static void wait_sleep(struct wait *wait)
{
	int64_t now = clock_now(), time;
	struct timespec t;
	size_t i;

	poll_count = 0;
	wait->wake = wait->deadline;
	for (i = 0; i < target_count; i++)
		if (targets[i].outcome == WAITING)
			add_polls(&targets[i], wait);
	time = wait->work == 0 ? larger(wait->wake - now, 0) : 0;
	t = (struct timespec){ time / SECOND, time % SECOND };
	if (time > 0 && !wait->has_slept) {
		catch_signal(SIGCONT);
		wait->has_slept = true;
	}
	/* Fails with EINTR, or ENOMEM, and then leaves revents alone: 0. */
	wait->poll_start = ppoll(polls, poll_count, &t, NULL) < 0 ? 0 : now;
	wait->now = clock_now();
}

/* True if the last check has ended, or all is decided: once a target has
 * failed, those that would wait on are not waited for. */
static bool is_over(const struct wait *wait)
{
	bool failed = false, waiting = false, checking = false;
	size_t i;

	for (i = 0; i < target_count; i++) {
		failed |= targets[i].outcome == FAILED;
		if (targets[i].outcome == WAITING) {
			waiting = true;
			checking |= is_once(&targets[i]);
		}
	}
	return wait->hopeless || !(failed ? checking : waiting) ||
	       (wait->is_last && (wait->now >= wait->deadline ||
	                          (open_count == 0 && wait->work == 0)));
}

/* Says which targets were not reached; returns the exit status. Where the wait
 * ended before its time, nothing can be said of those that still waited. */
static int report(const struct wait *wait)
{
	int status = EXIT_REACHED;
	size_t i;

	for (i = 0; i < target_count; i++) {
		if (targets[i].outcome != REACHED)
			status = EXIT_NOT_REACHED;
		if (targets[i].outcome == FAILED ||
		    (targets[i].outcome == WAITING && wait->is_last))
			say_failure(&targets[i]);
	}
	return status;
}

/* Waits for all targets; returns the exit status. */
static int wait_for_all(void)
{
	struct wait wait = { .deadline = NEVER, .next_round = NEVER };
	size_t i;

	wait.start = wait.now = wait.round_start = clock_now();
	wait.patience = options.connect_timeout;
	if (options.timeout > 0) {
		wait.deadline = wait.start + options.timeout;
		wait.patience = smaller(wait.patience, options.timeout);
	}
	for (i = 0; i < target_count; i++)
		judge(&targets[i], &wait);
	if (!is_over(&wait))
		catch_ends_of_process_1();
	start_due(&wait);
	while (!is_over(&wait)) {
		wait_sleep(&wait);
		for (i = 0; i < target_count && !wait.hopeless; i++)
			if (targets[i].outcome == WAITING)
				hear(&targets[i], &wait);
		start_due(&wait);
	}
	abandon_targets(targets, target_count);
	return report(&wait);
}

/* find */

/* The port that was found for a target is its low. */
static bool was_found(const struct target *target, int port)
{
	const struct target *earlier;

	for (earlier = targets; earlier < target; earlier++)
		if (earlier->low == port)
			return true;
	return false;
}

/* Opens a socket on address->fd. Shared, that is with SO_REUSEADDR, it gets a
 * port that is in TIME_WAIT; without it the kernel, or --reserve, passes that
 * over. Returns 0 or an errno. */
static int open_holder(struct address *address, bool shared)
{
	int fd = open_address(address);

	if (fd < 0)
		return errno;
	address->fd = fd;
	open_count++;
	if (address->name.family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 },
	               sizeof(int)) < 0)
		return errno;
	if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 },
	                         sizeof(int)) < 0)
		return errno;
	return 0;
}

/* Binds the address to the port; 0 is any. Returns 0 or an errno. A socket that
 * could not be bound is there still, for the next port of a range. */
static int bind_address(struct address *address, int port, bool shared)
{
	int error = address->fd ? 0 : open_holder(address, shared);

	address->name.in.sin_port = htons(port);
	if (!error && bind(address->fd, &address->name.any,
	                   name_size(&address->name)) < 0)
		error = errno;
	return error;
}

/* The port to which the kernel has bound the socket. */
static int bound_port(const struct address *address)
{
	union name name = { 0 };
	socklen_t size = sizeof name;

	/* Cannot fail: the socket is open, and of the family IPv4 or IPv6. */
	getsockname(address->fd, &name.any, &size);
	return ntohs(name.in.sin_port);
}

/* Two sockets with SO_REUSEADDR exclude each other once one listens. Returns 0
 * or an errno, with *where it came from. */
static int listen_all(struct target *target, struct address **where)
{
	size_t i;

	for (i = 0; (*where = address_at(target, i)); i++)
		if ((*where)->fd && listen((*where)->fd, 1) < 0)
			return errno;
	return 0;
}

/* Closes the sockets of the target, but not the first where the kernel has
 * picked its port: that one stays until the end, or it would be picked again.
 */
static void let_go(struct target *target, bool picked)
{
	if (picked)
		address_at(target, 0)->fd = 0;
	close_addresses(target);
}

/* Binds all addresses of the target to *port; where that is 0, to one that
 * the kernel picks, which it becomes. Returns 0 or an errno, with *where it
 * came from. An address of a family that is absent here does not count. */
static int hold(struct target *target, int *port, struct address **where)
{
	bool picked = !*port, held = false;
	bool shared = !picked && !options.reserve_given;
	struct address *address;
	int error = 0;
	size_t i;

	for (i = 0; !error && (*where = address = address_at(target, i)); i++) {
		error = bind_address(address, *port, shared);
		if (error == EAFNOSUPPORT && !*target->host) {
			address->name.family = AF_INET;
			error = bind_address(address, *port, shared);
		}
		if (is_absent(&address->name, error)) {
			close_fd(&address->fd);
			error = 0;
		} else if (!error) {
			held = true;
			*port = bound_port(address);
			address->name.in.sin_port = htons(*port);
		}
	}
	if (!error && !held)
		error = EADDRNOTAVAIL;
	if (!error && (shared || options.reserve_given))
		error = listen_all(target, where);
	if (error && held)
		let_go(target, picked);
	return error;
}

/* Finds the target's port, and holds it; it becomes its low. Returns 0, or
 * the errno and address of the last that was tried. */
static int find_port(struct target *target, struct address **where)
{
	bool any = target->low == 0;
	int tries = any ? PICKS_MAX : target->high - target->low + 1;
	int port, error = 0, i;

	for (i = 0; i < tries; i++) {
		port = any ? 0 : target->low + i;
		error = hold(target, &port, where);
		if (error == 0 && (tries == 1 || !was_found(target, port))) {
			target->low = port;
			break;
		}
		if (error == 0) {
			let_go(target, any);
			error = EADDRINUSE;
		} else if ((error != EADDRINUSE && error != EACCES) ||
		           (any && *where == address_at(target, 0))) {
			break;          /* another port would not help */
		}
	}
	return error;
}

/* The message for a port that was not found. */
static void say_not_found(const struct target *target, int error,
	const struct address *where)
{
	const char *on = *target->host ? " on " : "", *host = target->host;
	bool used = error == EADDRINUSE;
	const char *reason = reason_text(error, !used);
	char low[8], high[8];

	append_number(low, target->low, 10, 1);
	append_number(high, target->high, 10, 1);
	if (target->low != target->high)
		say("No port from % to % is free&%.&\n", low, high, on, host,
			reason);
	else if (used && target->low == 0)
		say("No port is free&%.\n", on, host);
	else if (used)
		say("Port % is in use on %.\n", target->service,
			address_text(&where->name));
	else
		say("Port % cannot be bound&%.&\n", target->service, on, host,
			reason);
}

/* Leaves the port in TIME_WAIT at name: connects to its listener and has the
 * accepted side, which inherits SO_REUSEADDR, close first. Linux then gives
 * the port to no bind(2) to port 0 and to no connect(2), but to a bind(2)
 * with SO_REUSEADDR (inet_csk_get_port). Returns 0 or an errno. */
static int reserve(int listener, const union name *name)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };
	int64_t ms = smaller(options.connect_timeout / MS, INT_MAX);
	int client, accepted, error = 0;

	client = open_socket(name->family);
	if (client < 0)
		return errno;
	if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 },
	               sizeof(int)) < 0 ||
	    (connect(client, &name->any, name_size(name)) < 0 &&
	     errno != EINPROGRESS))
		error = errno;
	else if (poll(&ready, 1, ms) == 0)
		error = ETIMEDOUT;
	else if ((accepted = accept(listener, NULL, NULL)) < 0)
		error = errno;
	else
		close(accepted);
	close(client);
	return error;
}

/* To connect to the wildcard address is to connect to the loopback one; that of
 * IPv6 stands for both families. */
static int reserve_address(const struct address *address)
{
	union name name = address->name;
	int error = reserve(address->fd, &name);

	if (name.family == AF_INET6 && is_wildcard(&name) &&
	    (!error || is_absent(&name, error))) {
		name.family = AF_INET;  /* flowinfo, 0, becomes 0.0.0.0 */
		error = reserve(address->fd, &name);
	}
	return error;
}

/* Reserves the target's port on all its addresses; tells if that fails. */
static bool reserve_all(const struct target *target)
{
	const struct address *address;
	char port[8];
	int error;
	size_t i;

	append_number(port, target->low, 10, 1);
	for (i = 0; (address = address_at(target, i)); i++) {
		error = address->fd ? reserve_address(address) : 0;
		if (error && !options.quiet)
			say("Port % cannot be reserved on %.&\n", port,
				address_text(&address->name),
				reason_text(error, true));
		if (error)
			return false;
	}
	return true;
}

/* Finds all ports, holding each until the last is found; then reserves them,
 * lets go of them and prints them. Returns the exit status. */
static int find_all(void)
{
	struct target *target, *end = targets + target_count;
	char *text = allocate(target_count, sizeof "65535\n"), *to = text;
	struct address *where = NULL;
	int error;

	if (!text)
		die("memory", errno);
	wait_for_all();
	for (target = targets; target < end; target++) {
		error = target->outcome == REACHED
			? find_port(target, &where) : target_answer(target);
		if (error) {
			if (!options.quiet)
				say_not_found(target, error, where);
			return EXIT_NOT_REACHED;
		}
		to = append_number(to, target->low, 10, 1);
		*to++ = '\n';
	}
	for (target = targets; target < end && options.reserve_given; target++)
		if (!reserve_all(target))
			return EXIT_NOT_REACHED;
	close_targets(targets, target_count);
	if (!write_all(STDOUT_FILENO, text, to - text))
		die("standard output", errno);
	return EXIT_REACHED;
}

/* COMMAND */

/* Becomes COMMAND, or returns the exit status that says why not. */
static int become(char **command)
{
	int error;

	restore_limit();
	execvp(command[0], command);
	error = errno;
	say("portend: %: %\n", command[0], error_text(error));
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

/* Options, usage, main */

static _Noreturn void print_and_exit(const char *first, const char *second)
{
	if (!write_all(STDOUT_FILENO, first, strlen(first)) ||
	    !write_all(STDOUT_FILENO, second, strlen(second)))
		die("standard output", errno);
	_exit(EXIT_REACHED);
}

/* word is the argument that the option stands in. */
static void set_option(char letter, const char *word, const char *time)
{
	switch (letter) {
	case 't':
		options.timeout = parse_duration(time);
		options.time_given = word;
		break;
	case 'c':
		options.connect_timeout = parse_duration(time);
		if (options.connect_timeout == 0)
			die_usage(time, "must be above 0");
		break;
	case 'r':
		options.reserve_given = word;
		break;
	case 'q':
		options.quiet = true;
		break;
	case 'v':
		options.verbose = true;
		break;
	case 'h':
		print_and_exit(synopsis, help);
	case 'V':
		print_and_exit(version, "");
	default:
		die_usage(word, "unknown option");
	}
}

/* The letter of a long option; *value is what is behind its equals sign. */
static char parse_long_option(const char *word, const char **value)
{
	static const struct {
		char letter;
		char name[sizeof "connect-timeout"];
	} names[] = {
		{ 't', "timeout" }, { 'c', "connect-timeout" },
		{ 'r', "reserve" }, { 'q', "quiet" }, { 'v', "verbose" },
		{ 'h', "help" }, { 'V', "version" },
	};
	const char *name = word + 2, *end = strchrnul(name, '=');
	size_t i, length = end - name;

	if (*end)
		*value = end + 1;
	for (i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i].name) == length &&
		    !memcmp(name, names[i].name, length))
			return names[i].letter;
	die_usage(word, "unknown option");
}

/* Sets the options in the argument; moves on to its TIME if that is the next.
 */
static void parse_option(char ***argument)
{
	const char *word = **argument, *rest = word + 1, *value = NULL;
	bool is_long = *rest == '-', has_time;
	char letter;

	do {
		letter = is_long ? parse_long_option(word, &value) : *rest++;
		has_time = letter == 't' || letter == 'c';
		if (!has_time && value)
			die_usage(word, "takes no argument");
		if (has_time && !value)
			value = !is_long && *rest ? rest : *++*argument;
		if (has_time && !value)
			die_usage(word, "no TIME after it");
		set_option(letter, word, value);
	} while (!is_long && !has_time && *rest);
}

/* Takes the options out of the arguments. Leaves the other words before "--"
 * at the beginning of argv, ended by NULL; returns COMMAND, or NULL. */
static char **parse_options(char **argv)
{
	char **argument, **words = argv, **command = NULL;

	for (argument = argv + 1; *argument && !command; argument++) {
		if (strcmp(*argument, "--") == 0)
			command = argument + 1;
		else if (**argument == '-' && (*argument)[1])
			parse_option(&argument);
		else
			*words++ = *argument;
	}
	if (command && !*command)
		die_usage("--", "no COMMAND after it");
	*words = NULL;
	return command;
}

static enum state parse_state(const char *word)
{
	static const char names[][12] = {
		[OCCUPIED] = "occupied", [FREE] = "free",
		[ASSERT_FREE] = "assert-free", [FIND] = "find",
	};
	enum state state = FIND;

	while (state != NO_STATE && strcmp(word, names[state]) != 0)
		state--;
	return state;
}

/* Makes the words targets, each with its state; find alone means find 0. */
static void parse_words(char **words, bool find)
{
	struct target *target = targets, *stateless = targets;
	enum state state;

	for (; *words; words++) {
		state = parse_state(*words);
		if (find && state != NO_STATE && state != FIND)
			die_usage(*words, "no other STATE beside find");
		if (state == FIND && target == targets)
			parse_range(target++, "0");
		else if (state == NO_STATE && find)
			parse_range(target++, *words);
		else if (state == NO_STATE)
			parse_target(target++, *words);
		else if (stateless == target)
			die_usage(*words, "no TARGET before it");
		for (; state != NO_STATE && stateless < target; stateless++) {
			stateless->state = state;
			stateless->told = NO_ANSWER_YET;
		}
	}
	if (stateless < target)
		die_usage(stateless->given, "no STATE after it");
	target_count = target - targets;
}

/* Checks what belongs together; makes the targets. Returns true for find. */
static bool parse_command_line(char **words, char **command)
{
	size_t count;
	bool find = false;

	for (count = 0; words[count]; count++)
		find |= parse_state(words[count]) == FIND;
	if (count == 0)
		die_usage("TARGET", "missing");
	if (find && options.time_given)
		die_usage(options.time_given, "find does not wait");
	if (find && command)
		die_usage(*command, "no COMMAND with find");
	if (!find && options.reserve_given)
		die_usage(options.reserve_given, "only with find");
	/* In one piece: a page less to be touched before the first answer. */
	targets = allocate(1, count * sizeof *targets +
		OPEN_MAX * sizeof *polls);
	if (!targets)
		die("memory", errno);
	polls = (struct pollfd *)(targets + count);
	parse_words(words, find);
	return find;
}

/* Puts the root directory, unreadable, where 0, 1 or 2 is closed, so that no
 * socket gets there; open(2) takes the lowest. It is closed for COMMAND. */
static void plug_descriptors(void)
{
	struct pollfd standard[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int i, result;

	do                      /* fails only where the limit is below 3 */
		result = poll(standard, 3, 0);
	while (result < 0 && raise_limit());
	for (i = 0; i < 3; i++)
		if (result < 0 || (standard[i].revents & POLLNVAL &&
		    syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC) < 0))
			die("standard descriptors", errno);
}

int main(int argc, char **argv)
{
	char **command;
	int status;

	(void)argc;
	plug_descriptors();
	command = parse_options(argv);
	if (parse_command_line(argv, command))
		return find_all();
	status = wait_for_all();
	if (status == EXIT_REACHED && command)
		status = become(command);
	return status;
}

/* Not part of portend: three functions of the C library, made small
 *
 * Nothing above calls them, but musl's getaddrinfo(3) does: to sort at most 48
 * addresses, to search lines of its files, and to check a name. The linker
 * looks into libc.a only for what is still missing, so it takes these. Without
 * them, when all that follows is deleted, nothing changes but that the program
 * has 4.6 KB more. C11 7.1.3 keeps these names for the library: this is for a
 * static binary. They are weak because glibc's libc.a brings its own in all the
 * same; mbstowcs is that of the C locale, as setlocale(3) is not called. */

__attribute__((weak)) void qsort(void *base, size_t count, size_t size,
	int (*compare)(const void *, const void *))
{
	char *low = base, *end = low + count * size, *next, *p, byte;
	size_t i;

	for (next = low; next < end; next += size)
		for (p = next; p > low && compare(p - size, p) > 0; p -= size)
			for (i = 0; i < size; i++) {
				byte = p[i];
				p[i] = p[i - size];
				p[i - size] = byte;
			}
}

__attribute__((weak)) char *strstr(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (; strncmp(text, word, length) != 0; text++)
		if (!*text)
			return NULL;
	return (char *)text;
}

__attribute__((weak)) size_t mbstowcs(wchar_t *to, const char *from, size_t n)
{
	size_t i;

	for (i = 0; (!to || i < n) && from[i]; i++)
		if (to)
			to[i] = (unsigned char)from[i];
	if (to && i < n)
		to[i] = 0;
	return i;
}
