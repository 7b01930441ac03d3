# portend: make, make check, make install. Variables: CC, CFLAGS, LDFLAGS,
# PREFIX, DESTDIR; PORTEND is the program that the tests run.

.POSIX:

CC != command -v musl-gcc || echo cc
CFLAGS = -Os
LDFLAGS =
PREFIX = /usr/local
PORTEND = ./portend

# Each of the flags from -fno-jump-tables on makes the program smaller.
COMPILE = -std=c11 -Wall -Wextra -Wpedantic -Wshadow -fno-pie \
	-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
	-fno-jump-tables -fno-inline-functions-called-once -fno-thread-jumps
LINK = -static -no-pie -s -Wl,--gc-sections -Wl,-z,noseparate-code \
	-Wl,-z,norelro -Wl,-z,common-page-size=512

all: portend

portend: portend.c Makefile
	$(CC) $(COMPILE) $(CFLAGS) $(LINK) $(LDFLAGS) -o $@ portend.c

check: portend
	PORTEND='$(PORTEND)' ./tests.sh

bench: portend
	./.ci/bench

check-servers: portend
	./.ci/servers

check-boot: portend
	./.ci/boot

check-archs:
	./.ci/archs check $(ARCHS)

dist:
	./.ci/archs dist $(ARCHS)

install: portend
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 portend $(DESTDIR)$(PREFIX)/bin
	install -m 644 portend.1 $(DESTDIR)$(PREFIX)/share/man/man1

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/portend
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/portend.1

clean:
	rm -rf portend dist

.PHONY: all check bench check-servers check-boot check-archs dist install \
	uninstall clean
