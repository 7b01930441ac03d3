# portend: make, make check, make install. Variables: CC, CFLAGS, LDFLAGS,
# PREFIX, DESTDIR; PORTEND is the program that the tests run.

.POSIX:

CC != command -v musl-gcc || echo cc
CFLAGS = -Os
LDFLAGS = -s
PREFIX = /usr/local
PORTEND = ./portend

# All behind -Wshadow is for size, and saves from 300 bytes to 7 KB each, some on
# other processors only. CFLAGS and LDFLAGS come later, and win.
COMPILE = -std=c11 -Wall -Wextra -Wpedantic -Wshadow -fno-pie \
	-fno-asynchronous-unwind-tables -fno-unwind-tables
LINK = $(STATIC) -Wl,--gc-sections -Wl,-z,noseparate-code -Wl,-z,norelro \
	-Wl,-z,common-page-size=512

# Unless LDFLAGS ask for -static-pie, which Debian 12's musl-gcc does not know.
STATIC != case '$(CC) $(LDFLAGS)' in *musl-gcc*) echo -static ;; \
	*-static-pie*) ;; *) echo -static ;; esac

all: portend

portend: portend.c Makefile
	$(CC) $(COMPILE) $(CFLAGS) $(LINK) $(LDFLAGS) -o $@ portend.c

check: portend
	PORTEND='$(PORTEND)' ./tests.sh

bench check-servers check-boot check-containers: portend
	./.ci/$(@:check-%=%)

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
	rm -f portend

distclean: clean
	rm -rf dist

.PHONY: all check bench check-servers check-boot check-containers \
	check-archs dist install uninstall clean distclean
