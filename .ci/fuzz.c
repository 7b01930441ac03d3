/* SPDX-License-Identifier: Unlicense */
/*
 * What strangers write to portend, and what stands in the three files, for
 * libFuzzer: portend.c as it is, with files that are in memory. The first byte
 * of an input says what the rest is: an answer to a question for A or AAAA,
 * hosts(5), resolv.conf(5) or services(5).
 */

#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int memory = -1;

static long open_memory(long number, ...)
{
	(void)number;
	lseek(memory, 0, SEEK_SET);
	return dup(memory);
}

#define main portend_main
#define syscall open_memory
#include "../portend.c"
#undef syscall
#undef main

static void fail_if(bool is_wrong)
{
	if (is_wrong)
		abort();
}

static void set_file(const uint8_t *data, size_t size)
{
	if (memory < 0)
		memory = memfd_create("file", MFD_CLOEXEC);
	fail_if(memory < 0 || ftruncate(memory, 0) < 0 ||
		pwrite(memory, data, size, 0) != (ssize_t)size);
}

/* What portend waits for: a name, in lower and in upper case alike. */
static struct target target = { .host = "db.test", .host_size = 7,
	.lookup.questions = { { .id = 0x1234 }, { .id = 0x1234 } } };

/* All that is found is of a family. */
static void check_found(void)
{
	fail_if(found.count < 0);
	for (int i = 0; i < found.count && i < ADDRESSES_MAX; i++)
		fail_if(found.list[i].family != AF_INET &&
			found.list[i].family != AF_INET6);
}

static void read_answer(const uint8_t *data, size_t size, bool ipv6)
{
	unsigned char query[QUERY_MAX], *reply;
	int answer;

	if (size < NS_HFIXEDSZ)         /* these are not read */
		return;
	/* One that ends where the packet does, for the address sanitizer. */
	reply = malloc(size);
	memcpy(reply, data, size);
	configuration.ndots = 1;
	configuration.domains = target.lookup.candidate = 0;
	answer = read_reply(reply, size, query,
		make_query(&target, ipv6, query), ipv6);
	fail_if(answer && answer != NAME_FAILED && answer != NAME_UNKNOWN &&
		answer != NAME_FITTED && answer != NAME_KNOWN);
	check_found();
	free(reply);
}

static void read_hosts_file(void)
{
	hosts.error = ENOENT;           /* read it, changed or not */
	read_hosts();
	fail_if(hosts.error);
	for (struct address *a = target.addresses; a; a = a->next)
		fail_if(a->endpoint.family != AF_INET &&
			a->endpoint.family != AF_INET6);
}

static void read_resolv_conf(void)
{
	unsigned char query[QUERY_MAX];
	const char *domain;

	fail_if(read_configuration() != 0);
	fail_if(configuration.servers < 1 ||
		configuration.servers > SERVERS_MAX ||
		configuration.domains > DOMAINS_MAX ||
		configuration.ndots > NDOTS_MAX);
	target.lookup.candidate = 0;
	int count = find_candidate(&target, &domain);
	for (; target.lookup.candidate < count; target.lookup.candidate++)
		fail_if(make_query(&target, 0, query) > sizeof query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int port;

	targets = &target;
	targets_end = targets + 1;
	loop.deadline = NEVER;
	if (size == 0)
		return 0;
	switch (data[0] % 5) {
	case 0:
	case 1:
		read_answer(data + 1, size - 1, data[0] % 5);
		break;
	case 2:
		set_file(data + 1, size - 1);
		read_hosts_file();
		break;
	case 3:
		set_file(data + 1, size - 1);
		read_resolv_conf();
		break;
	case 4:
		set_file(data + 1, size - 1);
		port = find_service("web");
		fail_if(port < 0 || port > PORT_MAX + 1);
	}
	return 0;
}
