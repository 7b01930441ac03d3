# SPDX-License-Identifier: Unlicense
#
# portend: make, make check, make install. CC, CPPFLAGS, CFLAGS, LDFLAGS, PREFIX,
# MANDIR and DESTDIR are yours, from the command line or the environment: what
# makes the program small and static is in the defaults only.
# PORTEND is the program that the tests run.

.POSIX:

# Not ?=, since make itself has some CC and CFLAGS. LDFLAGS that are given and
# not static, as by debhelper, are for the distribution's own C library.
CC != case "$(LDFLAGS)$$LDFLAGS" in \
	'' | *-static*) c=musl-gcc ;; *) c=cc ;; esac; \
	printf '%s\n' "$${CC:-$$(command -v "$$c" || echo cc)}"

# All of these are for size, and save from 300 bytes to 7 KB each, some on other
# processors only; those are left out that compiler or linker does not know.
SMALLEST != for o in '-Oz -fno-thread-jumps' -Oz -Os; do \
	$(CC) -Werror $$o -fsyntax-only -x c /dev/null 2>/dev/null && \
	echo "$$o" && break; done || echo -Os
NO_HEADERS != $(CC) -Wl,--help 2>/dev/null | grep -q 'z nosectionheader' && \
	echo -Wl,-z,nosectionheader || true
SMALL_CFLAGS = $(SMALLEST) -fno-asynchronous-unwind-tables -fno-unwind-tables
SMALL_LDFLAGS = -static -fno-pie -s -Wl,--gc-sections -Wl,-z,noseparate-code \
	-Wl,-z,norelro -Wl,-z,common-page-size=64 $(NO_HEADERS)

CFLAGS != printf '%s\n' "$${CFLAGS-$(SMALL_CFLAGS)}"
LDFLAGS != printf '%s\n' "$${LDFLAGS-$(SMALL_LDFLAGS)}"
PREFIX ?= /usr/local
MANDIR ?= $(PREFIX)/share/man
PORTEND ?= ./portend

all: portend

# CFLAGS are behind LDFLAGS, whose default has -fno-pie: yours win.
portend: portend.c Makefile
	$(CC) -std=c11 -Wall -Wextra -Wpedantic -Wshadow \
		$(LDFLAGS) $(CPPFLAGS) $(CFLAGS) -o $@ portend.c

check: portend
	PORTEND='$(PORTEND)' ./tests.sh

simulate:
	./.ci/simulate

bench figures check-servers check-boot check-containers: portend
	./.ci/$(@:check-%=%)

check-archs:
	./.ci/archs check $(ARCHS)

dist:
	./.ci/dist $(ARCHS)

install: portend
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(MANDIR)/man1"
	install -m 755 portend "$(DESTDIR)$(PREFIX)/bin"
	install -m 644 portend.1 "$(DESTDIR)$(MANDIR)/man1"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/portend"
	rm -f "$(DESTDIR)$(MANDIR)/man1/portend.1"

clean:
	rm -f portend

distclean: clean
	rm -rf dist

.PHONY: all check simulate bench figures check-servers check-boot \
	check-containers check-archs dist install uninstall clean distclean
