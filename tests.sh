#!/bin/sh
# Tests of portend, as TAP. ./tests.sh runs all of them, ./tests.sh WORD...
# those whose name contains one of the words. PORTEND is the program to test;
# it may be several words: PORTEND='qemu-s390x-static ./portend' ./tests.sh
#
# A test is a function test_NAME, or nstest_NAME, which gets a network and a
# mount namespace of its own. (As root the others share a network namespace,
# so that nothing else on the machine can get in their way.) Each runs in a
# shell and a directory of its own, several side by side, so none may depend on
# another; whatever a test starts with start is ended with it. Nothing is tried
# twice, and waiting is always for a condition, within a bound.
#
# Lists of words are split on purpose, and code in single quotes is for another
# shell, throughout:
# shellcheck disable=SC2016,SC2046,SC2086

jobs=16                                 # tests side by side, fewer if emulated
bound=30                                # seconds that one program may take

# For tests. A variable whose name begins with _ belongs to the function that
# sets it; the others are what a test may read.

# To end them

# fail LINE...: tells them, and what was run last with what it gave.
fail() {
	{
		printf '%s\n' "$@"
		echo "command: $ran"
		echo "exit status: $status, after $ms ms"
		sed -n 's/^/out: /; 1,25p' "$dir/out"
		sed -n 's/^/err: /; 1,20p' "$dir/err"
	} 2>/dev/null | cut -c 1-500 | sed 's/^/# /'
	exit 1
}

skip() {
	echo "$*" >"$suite/$test.skip"
	exit 77
}

# check COMMAND...: fails unless it succeeds.
check() {
	"$@" || fail "wanted, but is not so: $*"
}

# check_not COMMAND...: fails if it does.
check_not() {
	! "$@" || fail "not wanted, but is so: $*"
}

# What is there

# need TOOL...: skips the test where one of them is missing.
need() {
	for _tool do
		command -v "$_tool" >/dev/null || skip "needs $_tool"
	done
}

need_ipv6() {
	grep -qs '^0*1 ' /proc/net/if_inet6 || skip "needs ::1"
}

# native_only REASON: skips what an emulator cannot do.
native_only() {
	is_native || skip "emulated: $*"
}

is_native() {
	[ "${PORTEND% *}" = "$PORTEND" ]
}

# shipped_only REASON: skips what only the program of plain make can do, and
# one that is instrumented by a compiler cannot.
shipped_only() {
	native_only "$@"
	is_shipped || skip "instrumented: $*"
}

is_shipped() {
	is_native && ! grep -qs __asan_init "$PORTEND"
}

# To run portend and to look at what it did

# Sets time, in milliseconds since some time in the past.
clock() {
	time=$(date +%s%N)
	case $time in
	*[!0-9]* | ??????????)  # a date without nanoseconds
		read -r time rest </proc/uptime
		time=${time%.*}${time#*.}0
		;;
	*)
		time=${time%??????}
		;;
	esac
}

# run ARG...: portend, with its output in out and err, its exit status in
# status and how long it took in ms.
run() {
	run_command $PORTEND "$@"
}

# run_after CODE ARG...: as run, in a shell that executed CODE.
run_after() {
	_code=$1
	shift
	run_command sh -c "$_code; exec \"\$@\"" sh $PORTEND "$@"
}

# As run, of any command.
run_command() {
	ran=$* status=none ms='?'
	clock
	_begun=$time
	start timeout "$bound" "$@" >"$dir/out" 2>"$dir/err"
	wait "$pid"
	status=$?
	forget "$pid"
	clock
	ms=$((time - _begun))
}

# start COMMAND...: in the background; pid is its process ID.
start() {
	"$@" &
	pid=$!
	pids="$pids $pid"
}

# As start, of portend, with its output in out and err; waiter is it, too.
start_portend() {
	start_command $PORTEND "$@"
}

# start_after CODE ARG...: as start_portend, in a shell that executed CODE.
start_after() {
	_code=$1
	shift
	start_command sh -c "$_code; exec \"\$@\"" sh $PORTEND "$@"
}

start_command() {
	ran=$* status=none ms='?'
	start "$@" >"$dir/out" 2>"$dir/err"
	waiter=$pid
}

# is_running PID: a process that this test has started, and that has not ended.
# A process ID by itself may be that of another one by now.
is_running() {
	read -r _stat 2>/dev/null <"/proc/$1/stat" || return 1
	case ${_stat##*) } in
	[!Z]" $shell "*) true ;;
	*) false ;;
	esac
}

# is_sleeping PID: it waits in the kernel.
is_sleeping() {
	grep -q '^State:[[:blank:]]*S' "/proc/$1/status"
}

# finish PID: waits for its end, and sets status.
finish() {
	_tries=$((bound * 100))
	while is_running "$1"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "process $1 does not end"
		sleep .01
	done
	wait "$1"
	status=$?
	forget "$1"
}

# ends STATUS [ERR]: the waiter does.
ends() {
	finish "$waiter"
	is_status "$1"
	[ $# = 1 ] || is_err "$2"
}

# stop PID: ends it.
stop() {
	kill "$1"
	finish "$1"
}

# Takes a process that has been waited for from those to be ended.
forget() {
	_kept=
	for _p in $pids; do
		[ "$_p" = "$1" ] || _kept="$_kept $_p"
	done
	pids=$_kept
}

is_status() {
	[ "$status" = "$1" ] || fail "wanted: exit status $1"
}

# is_out TEXT: standard output was TEXT and a newline; '' for nothing.
is_out() {
	is_file out "$1"
}

is_err() {
	is_file err "$1"
}

is_file() {
	if [ "$2" ]; then
		printf '%s\n' "$2" | cmp -s - "$dir/$1"
	else
		[ ! -s "$dir/$1" ]
	fi || fail "wanted $1: $2"
}

err_has() {
	grep -Eq -- "$1" "$dir/err" || fail "wanted in err: $1"
}

err_lacks() {
	! grep -Eq -- "$1" "$dir/err" || fail "not wanted in err: $1"
}

# has_lines N FILE
has_lines() {
	_lines=$(wc -l <"$2")
	[ "$_lines" -eq "$1" ] || fail "wanted: $1 lines in $2, not $_lines"
}

took_at_least() {
	[ "$ms" -ge "$1" ] || fail "wanted: $1 ms at least"
}

# Rows: what portend gives for arguments.

# expect STATUS ERR ARG...: this exit status, this on standard error, '' for
# nothing, and nothing on standard output.
expect() {
	_status=$1 _err=$2
	shift 2
	run "$@"
	gave "$_status" "$_err"
}

# expect_out STATUS OUT ARG...: the same with nothing on standard error.
expect_out() {
	_status=$1 _out=$2
	shift 2
	run "$@"
	gave "$_status" '' "$_out"
}

# expect_like STATUS ERE ARG...: one line on standard error, all of which ERE
# matches.
expect_like() {
	_status=$1 _ere=$2
	shift 2
	run "$@"
	gave_like "$_status" "$_ere"
}

# expect_after CODE STATUS ERR ARG...: as expect, in a shell that executed CODE.
expect_after() {
	_before=$1 _status=$2 _err=$3
	shift 3
	run_after "$_before" "$@"
	gave "$_status" "$_err"
}

# gave STATUS ERR [OUT]: what ran last did.
gave() {
	is_status "$1"
	is_err "$2"
	is_out "${3-}"
}

gave_like() {
	is_status "$1"
	err_has "^$2\$"
	has_lines 1 "$dir/err"
	is_out ''
}

# wait_until COMMAND...: until it succeeds; fails after 10 s.
wait_until() {
	_tries=1000
	until "$@"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "waited in vain for: $*"
		sleep .01
	done
}

# wait_for_err ERE: until standard error has it.
wait_for_err() {
	wait_until grep -Eq -- "$1" "$dir/err"
}

# pass_time MS
pass_time() {
	clock
	_begun=$time
	wait_until has_passed "$1"
}

has_passed() {
	clock
	[ $((time - _begun)) -ge "$1" ]
}

# still_waits: the waiter does.
still_waits() {
	is_running "$waiter" || fail "wanted: it still waits"
}

# Ports and listeners

# Sets port to one that is free, and at to a target there. Each test has fifty
# of its own, none of them where the kernel picks ports: see set_ports.
free_port() {
	port=$(timeout "$bound" $PORTEND "$next_port-39999" find 2>&1) ||
		fail "portend $next_port-39999 find: $port"
	next_port=$((port + 1))
	at=127.0.0.1:$port
}

# Sets port to the first of ten that are free.
free_block() {
	_tries=100
	until timeout "$bound" $PORTEND \
		$(seq "$next_port" $((next_port + 9))) find; do
		[ $((_tries -= 1)) -gt 0 ] || fail "ten free ports: none"
		next_port=$((next_port + 1))
	done >/dev/null 2>&1
	port=$next_port
	next_port=$((next_port + 10))
}

# set_ports LOW HIGH: what the kernel picks from in this namespace.
set_ports() {
	echo "$1 $2" >/proc/sys/net/ipv4/ip_local_port_range ||
		skip "needs to set the range of local ports"
}

# is_listening PORT: as the kernel's tables say.
is_listening() {
	grep -qs "$(printf ':%04X [0-9A-F]*:0000 0A' "$1")" \
		/proc/net/tcp /proc/net/tcp6
}

# is_in_use PORT: by any socket.
is_in_use() {
	grep -qs "^ *[0-9]*: [0-9A-F]*$(printf ':%04X ' "$1")" \
		/proc/net/tcp /proc/net/tcp6
}

is_in_time_wait() {
	is_reserved4 "$1" || is_reserved6 "$1"
}

# On 127.0.0.1, which a dual-stack socket has as ::ffff:127.0.0.1.
is_reserved4() {
	grep -qs "0100007F:$(printf %04X "$1") [0-9A-F]*:[0-9A-F]* 06" \
		/proc/net/tcp /proc/net/tcp6
}

# On ::1.
is_reserved6() {
	grep -qs "0\{24\}01000000:$(printf %04X "$1") [0-9A-F]*:[0-9A-F]* 06" \
		/proc/net/tcp6
}

# Sets port to one that only TIME_WAIT is at: the server closes first, and so
# keeps it.
leave_time_wait() {
	need socat
	free_port
	start socat -u OPEN:/dev/null "TCP4-LISTEN:$port,reuseaddr"
	wait_until is_listening "$port"
	socat -u "TCP4:127.0.0.1:$port" OPEN:/dev/null
	finish "$pid"
	wait_until is_in_time_wait "$port"
}

# is_asking HEX PORT: a SYN is on its way to there, and not answered.
is_asking() {
	grep -q "$(printf '%s:%04X 02 ' "$1" "$2")" /proc/net/tcp
}

# serve TYPE [OPTIONS]: socat listening on port, which logs into socat.log;
# server is its process. socat's children end when their connection does.
serve() {
	start socat -d -d -u "$1:$port,reuseaddr,fork${2:+,$2}" \
		OPEN:/dev/null 2>>"$dir/socat.log"
	server=$pid
	wait_until is_served
}

serve4() {
	need socat
	serve TCP4-LISTEN bind=127.0.0.1
}

is_served() {
	is_listening "$port" || {
		is_running "$server" ||
			fail "socat cannot listen on $port:" \
				"$(cat "$dir/socat.log")"
		false
	}
}

# A listener on a port of its own: listen4 [OPTIONS], listen6 [OPTIONS].
listen4() {
	need socat
	free_port
	serve TCP4-LISTEN "${1-bind=127.0.0.1}"
}

listen6() {
	need socat
	need_ipv6
	free_port
	serve TCP6-LISTEN "ipv6only=1,${1-bind=[::1]}"
}

# listen_unix PATH [OPTIONS]
listen_unix() {
	need socat
	start socat -d -d -u "UNIX-LISTEN:$1,fork${2:+,$2}" OPEN:/dev/null \
		2>>"$dir/socat.log"
	server=$pid
	wait_until grep -q " 00010000 .* $1\$" /proc/net/unix
}

# Prints how many connections the listeners of this test have accepted.
accepted() {
	grep -c ' accepting connection from ' "$dir/socat.log"
}

# Makes one real connection to the listener at socat's ADDRESS, which ends it.
# So accepted is right: no connection that was there before is still queued.
connect_once() {
	check socat -t 30 OPEN:/dev/null "$1"
}

has_accepted() {
	[ "$(accepted)" -ge "$1" ]
}

# accepted_none ADDRESS: not one of the probes of the listener there.
accepted_none() {
	connect_once "$1"
	[ "$(accepted)" = 1 ] ||
		fail "wanted: no probe accepted, not $(($(accepted) - 1))"
}

# A listener whose accept queue is full: it drops SYNs, that is, is silent.
wedge() {
	listen4 bind=127.0.0.1,backlog=1
	kill -STOP "$server"
	for _ in 1 2; do
		start socat -u "TCP4:$at" OPEN:/dev/null
	done
	wait_until grep -q \
		"$(printf ':%04X 00000000:0000 0A 0*:0*2 ' "$port")" \
		/proc/net/tcp
}

# repeat N WORD...: prints them so often.
repeat() {
	_count=$1
	shift
	for _ in $(seq "$_count"); do
		echo "$@"
	done
}

# To look into it

# trace CALLS: what run_traced is to write into the file calls.
trace() {
	need strace
	calls=$1
	shipped_only "system calls"
	strace -o calls true || skip "needs permission to trace"
}

run_traced() {
	run_command strace -f -qq -e signal=none -e "trace=$calls" \
		-o calls.raw "$PORTEND" "$@"
	grep -v 'exited with' calls.raw >calls
}

# run_injected FAULT ARG...: portend, whose system calls fail as strace's
# inject=FAULT says, after trace.
run_injected() {
	_fault=$1
	shift
	run_command strace -qq -o calls -e trace="${_fault%%:*}" \
		-e inject="$_fault" "$PORTEND" "$@"
}

# expect_injected FAULT STATUS ERR ARG...
expect_injected() {
	_inject=$1 _status=$2 _err=$3
	shift 3
	run_injected "$_inject" "$@"
	gave "$_status" "$_err"
}

# Copies portend to where anybody may run it, for run_as_nobody.
become_nobody() {
	native_only "runs a copy of it"
	cp "$PORTEND" "$dir/portend"
	chmod 755 "$dir/portend"
	if [ "$(id -u)" != 0 ]; then
		nobody='exec "$@"'
	elif setpriv --reuid=65534 --clear-groups true 2>/dev/null; then
		nobody='exec setpriv --reuid=65534 --clear-groups "$@"'
	elif su -s /bin/sh -c 'exec "$0"' -- nobody true 2>/dev/null; then
		nobody='exec su -s /bin/sh -c "exec \"\$0\" \"\$@\"" -- nobody "$@"'
	else
		skip "needs setpriv, su, or not to be root"
	fi
}

run_as_nobody() {
	run_command sh -c "$nobody" sh "$dir/portend" "$@"
}

# expect_as_nobody STATUS ERR ARG...
expect_as_nobody() {
	_status=$1 _err=$2
	shift 2
	run_as_nobody "$@"
	gave "$_status" "$_err"
}

# Sets signals to a command before another, which gives it the signals as a
# login shell would, and none blocked, or to no command where env cannot.
default_signals() {
	signals="env --default-signal=HUP,INT,QUIT,USR1,USR2,PIPE,TERM"
	$signals true 2>/dev/null || signals=
}

# need_signal NUMBER: skips the test where what is started with $signals
# has it ignored; the number is below 17.
need_signal() {
	_ignored=$($signals sed -n 's/^SigIgn:.*\(....\)$/\1/p' \
		/proc/self/status)
	[ $((0x$_ignored >> ($1 - 1) & 1)) = 0 ] ||
		skip "signal $1 is ignored: needs env --default-signal"
}

# A pipe without a reader, at descriptor 4.
broken_pipe() {
	mkfifo pipe
	exec 3<>pipe
	exec 4>pipe
	exec 3<&-
}

# A pipe that is full, which descriptor 3 has open for reading, too.
full_pipe() {
	mkfifo pipe
	exec 3<>pipe
	head -c 65536 /dev/zero >pipe
}

# Bad usage

nl='
'
usage='usage: portend [-qv] [-t TIME] [-c TIME] [-s TIME] TARGET... STATE
               [TARGET... STATE]... [-- COMMAND [ARG]...]
       portend [-qrv] [-t TIME] [-c TIME]
               [[HOST:]PORT | [HOST:]LOW-HIGH]... find'

help="
TARGET  HOST:PORT, [IPv6]:PORT, SCHEME://HOST:PORT/..., or a socket's path
STATE   occupied: a connection to HOST is accepted
        free: none is; assert-free: one check of that, no waiting
        find: print the lowest PORT (0: any) free on HOST or everywhere
TIME    5 or 5s, 250ms, 1.5m, 2h, 1d
COMMAND replaces portend once every TARGET has reached its STATE

  -t, --timeout TIME          give up after TIME (never; find: 0); 0 checks once
  -c, --connect-timeout TIME  no answer within TIME is silence (2 s)
  -s, --stable TIME           a connection counts if it stays open for TIME
  -r, --reserve               keep the port from others for a while
  -q, --quiet                 no message when a state is not reached
  -v, --verbose               a line whenever a target's situation changes
  -h, --help                  print this
  -V, --version               print the version

Exit: 0 reached, 1 not, 2 bad usage; 126, 127 COMMAND cannot be run"

# What several tests want to be told.
bad_bytes="a host has only letters, digits, - _ ."
bad_ipv6="more than one colon: IPv6 needs brackets, [::1]:80"
bad_length="a host has at most 253 bytes"
bad_numbers="an IPv4 address is four numbers: 127.0.0.1"
bad_path="a socket's path has at most 107 bytes"
bad_time="not a TIME such as 5, .5, 1.5m or 250ms"
bad_user="USER@ is for a URL: SCHEME://USER@HOST:PORT"
bad_word="neither HOST:PORT, nor a path, nor a STATE: occupied, free,\
 assert-free, find"

# bad WHAT WHY ARG...: bad usage, at once, with one line that names WHAT and
# says WHY.
bad() {
	_what=$1 _why=$2
	shift 2
	expect 2 "portend: $_what: $_why$nl$usage" "$@"
}

# bad_targets WHY WORD...: none of them is one, wherever it stands.
bad_targets() {
	_reason=$1
	shift
	for _target do
		bad "$_target" "$_reason" -t 9 "$_target" free
		bad "$_target" "$_reason" h:80 free "$_target" occupied
	done
}

# Tests: the command line

test_help() {
	for option in -h --help -qh -hV; do
		expect_out 0 "$usage$nl$help" $option
	done
	# It fits a terminal of 24 lines.
	check [ "$(wc -l <out)" -le 24 ]
	check_not grep '.\{81\}' out
	for words in "-h db:80 occupied" "db:80 occupied -h" "-h x" \
		"-h -- true" "-qh 80"; do
		option=$(echo "$words" | grep -o -e '-q*h')
		bad "$option" "only prints, so it stands alone" $words
	done
	bad -V "only prints, so it stands alone" -V x
	bad --version "only prints, so it stands alone" --version -- true
	# The spelling of another tool.
	bad -p "unknown option" -h db -p 5432 -- server
}

test_version() {
	for option in -V --version -qV -vV; do
		expect_out 0 "portend 2.0" $option
	done
}

test_help_or_version_to_a_full_device() {
	[ -c /dev/full ] || skip "needs /dev/full"
	for option in -h -V; do
		expect_after 'exec >/dev/full' 1 \
			"portend: standard output: No space left on device" \
			$option
	done
}

test_spellings_of_timeout() {
	free_port
	for words in "-t.2 T S" "-t .2 T S" "-qvt.2 T S" "-vqt .2 T S" \
		"--timeout .2 T S" "--timeout=.2 T S" "T -t.2 S" "T S -t .2" \
		"T --timeout .2 S" "T S --timeout=.2" "T S -t9 -t.2" \
		"T S -t .2 -- C" "T -t200ms S -v -- C"; do
		words=$(echo "$words" | sed \
			"s/T/$at/; s/S/occupied/; s/C/true/")
		run $words
		is_status 1
		took_at_least 200
		case $words in
		*q*) is_err "portend: $at: Connection refused" ;;
		*) err_has "^Port $port not bound on 127\.0\.0\.1\.\$" ;;
		esac
	done
}

test_spellings_of_quiet_and_verbose() {
	free_port
	for option in -q --quiet -qt0; do
		expect 1 "" -t 0 $at $option occupied
	done
	for option in "-v -q" --verbose\ --quiet -qvt0 -vq; do
		expect 1 "portend: $at: Connection refused" \
			-t 0 $at $option occupied
	done
	for option in -v --verbose -vt0; do
		expect 1 "portend: $at: Connection refused
Port $port not bound on 127.0.0.1." -t 0 $at $option occupied
	done
}

test_spellings_of_reserve() {
	for words in "-r find" "find -r" "--reserve find" "-qr 0 find" \
		"0 --reserve find"; do
		run $words
		is_status 0
		is_err ''
		check is_in_time_wait "$(cat out)"
	done
}

test_nothing_after_the_dashes_is_read() {
	free_port
	run $at free -- sh -c 'printf "<%s>" "$@"' sh \
		-t nonsense --bad -- -h '' 'a  b' find occupied "x${nl}y" '*'
	is_status 0
	is_err ''
	check [ "$(cat out)" = "<-t><nonsense><--bad><--><-h><><a  b><find>\
<occupied><x${nl}y><*>" ]
}

test_targets() {
	listen4
	for target in 127.0.0.1: localhost: LocalHost: localhost.: 0.0.0.0: \
		'[::ffff:127.0.0.1]:' 127.0.0.1:0 127.0.0.1:0000; do
		expect 0 '' -t 0 "$target$port" occupied
	done
	accepted_none "TCP4:$at"
}

test_urls() {
	listen4
	for word in "tcp://$at" "http://$at/" "http://$at/a:1/b" \
		"http://$at?x" \
		"http://$at#x" "postgres://app:secret@$at/app" \
		"a+b-c.D1://u@$at" \
		"redis://:p@$at" "http://u:p@q@$at/x@y:1" "HTTP://$at?a/b#c" \
		"http://localhost:$port/"; do
		expect 0 '' -t 0 "$word" occupied
		expect 1 "Port $port is in use on 127.0.0.1." "$word" \
			assert-free
		run -t 0 "$word" free
		gave_like 1 "Port $port not free on (127\.0\.0\.1|localhost)\."
	done
	listen6
	expect 1 "Port $port not free on ::1." -t 0 "http://u@[::1]:$port/" free
	expect 1 "Port $port is in use on ::1%1." \
		"http://[::1%lo]:$port" assert-free
	listen_unix "$dir/s"
	for word in "unix://$dir/s" "unix:$dir/s" unix://s unix:s unix:./s; do
		expect 0 '' -t 0 "$word" occupied
	done
	expect 1 "Socket $dir/s is in use." "unix://$dir/s" assert-free
	expect 1 "Socket s not free." -t 0 unix:s free
	for word in ./a:b ../x:1 unix:a:b unix://a:b/c /a:b a/b:1; do
		path=${word#unix:}
		expect 1 \
			"Socket ${path#//} not bound. (No such file or directory)" \
			-t 0 "$word" occupied
	done
	mkdir d
	listen_unix "$dir/d/s"
	expect 1 "Socket d/s is in use." d/s assert-free
}

test_ipv6_targets() {
	listen6
	for target in '[::1]:' '[0:0:0:0:0:0:0:1]:' '[::1%lo]:' '[::1%1]:' \
		localhost: '[::]:' '[::0001]:0'; do
		expect 0 '' -t 0 "$target$port" occupied
	done
	accepted_none "TCP6:[::1]:$port"
}

test_a_zone_that_is_not_there_is_waited_for() {
	need_ipv6
	expect 1 'Port 22 not bound on fe80::1%nosuch0. (No such device)' \
		-t .2 '[fe80::1%nosuch0]:22' occupied
	took_at_least 200
	# The number of an interface has 32 bits.
	expect 1 "Port 22 not bound on ::1%4294967297. (No such device)" \
		-t 0 '[::1%4294967297]:22' occupied
}

test_a_service_is_a_port() {
	need socat
	[ -r /etc/services ] || skip "needs /etc/services"
	awk '!/^#/ && $2 ~ /\/tcp$/ && $2 + 0 > 1024 { print $1, $2 + 0 }' \
		/etc/services >services
	while read -r service port && is_in_use "$port"; do
		:
	done <services
	[ "$port" ] || skip "needs a service whose port is free"
	expect 1 "Port $service not bound on 127.0.0.1." \
		-t 0 "127.0.0.1:$service" occupied
	serve4
	expect 0 '' -t 0 "127.0.0.1:$service" occupied
	expect 1 "Port $service is in use on 127.0.0.1." \
		"127.0.0.1:$service" assert-free
	expect 1 "Port $service is in use on 127.0.0.1." \
		"127.0.0.1:$service" find
}

# services(5): a name, PORT/PROTOCOL, aliases; # begins a comment.
nstest_services() {
	[ -e /etc/services ] || skip "needs /etc/services"
	printf '%s\n' '# one 1/tcp' 'two	2/udp two2' \
		'two 3/tcp # three' \
		'four 4/tcp fo2 fo3 # fo4' 'five 5/tcpx' 'six' \
		'seven 70000/tcp' \
		'eight x/tcp' ' nine  9/tcp' 'nul 0/tcp' >services
	printf 'ten 10/tcp' >>services
	mount --bind services /etc/services || skip "needs mount"
	filter output tcp dport 3 counter
	filter output tcp dport 4 counter
	filter output tcp dport 9-10 counter
	for name in two four fo2 fo3 nine ten; do
		expect 0 '' "127.0.0.1:$name" assert-free
	done
	check [ "$(counts)" = "1 3 2" ]
	for name in one two2 three fo4 five six eight Four '#' nul; do
		bad "h:$name" "no such port or service" "h:$name" free
	done
}

test_each_state_applies_to_the_targets_before_it() {
	listen4
	taken=127.0.0.1:$port
	free_port
	expect 0 '' -t 0 "$taken" "$taken" occupied $at free $at assert-free
	expect 1 "Port $port not bound on 127.0.0.1.
Port ${taken#*:} not free on 127.0.0.1." \
		-t 0 "$taken" $at occupied "$taken" free
}

test_bad_words() {
	why="missing, as in: portend localhost:80 occupied"
	bad TARGET "$why"
	bad TARGET "$why" -t 1
	bad TARGET "$why" -- true
	why="no STATE after it: occupied, free, assert-free, find"
	bad h:80 "$why" h:80
	bad h:80 "$why" h:80 i:80 -- true
	bad h:80 "$why" http://u:p@h:80/
	bad 81 "$why" 81 find 81
	why="no STATE after it; a COMMAND goes after --"
	bad k:81 "$why" h:80 free k:81
	bad k:81 "$why" h:80 free k:81 l:82 -- true
	bad ./server "$why" h:80 occupied ./server
	bad server "$why" h:80 occupied server
	bad server "$why" h:80 occupied server k:81
	bad occupied "no TARGET before it" occupied
	bad free "no TARGET before it" h:80 occupied free
	bad find "no TARGET before it" find find
	bad find "no TARGET before it" 80 find find
	bad assert-free "no TARGET before it" -t 1 assert-free
	bad -- "no COMMAND after it" h:80 free --
	bad -- "no COMMAND after it" --
}

test_bad_options() {
	for option in -x -qx -xt1 --nope --time --timeoutx -T --t=5 --TIMEOUT \
		--= ---t --stabl; do
		bad "$option" "unknown option" h:80 free $option
	done
	for option in --quiet=1 --help= --reserve=x; do
		bad $option "takes no value" h:80 free $option
	done
	for option in -t -qt -c -qc -s -vs --timeout --connect-timeout \
		--stable; do
		bad $option "no TIME after it" h:80 free $option
	done
	for option in -r -qr --reserve; do
		bad $option "only with find" h:80 free $option
	done
	for option in -s1 --stable=1; do
		bad $option "find makes no connections" find $option
		bad $option "longer than -t" h:80 free $option -t .999
	done
	bad -s "longer than -t" -t 1 h:80 free -s 1.001
}

test_bad_hosts() {
	bad_targets "no host" :80 '[]:80' http://:80/
	bad_targets "no :PORT after ]" '[::1]' '[::1]80' '[::1:80' \
		'[::1]x:80' '[' 'http://[::1]/'
	bad_targets "not an IPv6 address" '[zz]:80' '[127.0.0.1]:80' '[h]:80' \
		'[::1%]:80' '[%lo]:80' '[1:2:3]:80' '[::12345]:80' \
		"[$(printf %045d 0)::1]:80" '[localhost]:80'
	bad_targets "$bad_word" host 80 - occupie Free ''
	bad_targets "$bad_ipv6" a:b:80 1:2:80 ::1:80 fe80::1
	bad_targets "needs its interface: [fe80::1%eth0]:80" '[fe80::1]:80' \
		'[febf:ffff::]:80' 'http://[fe80::1]:80/'
	bad_targets "one target an argument: db:1 cache:2" db:1,cache:2 a,b:1 ,
	bad_targets "$bad_bytes" 'a b:80' \
		"'db':80" '$(DB_HOST):80' '"h:80' 'h*:80' \
		'http://a b:80/'
	bad 'h?:80' "$bad_bytes" "h$(printf '\r'):80" free
	bad 'h?:80' "$bad_bytes" "h$(printf '\177'):80" free
	bad_targets "nothing between two dots of the host" .h:80 h..i:80 \
		h..:80 \
		.:80 ..:80
	bad_targets "$bad_numbers" 127.1:80 \
		0x7f.1:80 010.0.0.1:80 2130706433:80 1.2.3.4.5:80 256.0.0.1:80 \
		1.2.3.4.:80 h.0XfF:80 x.0:80 0:80 0x1:80
}

# Labels of 63 bytes and names of 253 are the longest (RFC 1035); a final dot is
# none of either.
nstest_the_longest_host() {
	label=$(printf %063d 0 | tr 0 a)
	name=$label.$label.$label.$(printf %061d 0 | tr 0 a)
	for host in "$label" "$label." "$name" "$name." "$label.b" "b_-$label" \
		"$(printf 'b\200')" b.0x b.0xg 0x7f.a 1.2.3a; do
		case $host in
		b_-*) host=${host%aaa} ;;
		esac
		expect_like 1 "Port 80 not bound on .* \(No answer from.*\)" \
			-t 0 -c .1 "$host:80" occupied
	done
	bad_targets "a host has at most 63 bytes between dots" "a$label:80" \
		"b.a$label:80" "a$label.b:80" "b.a$label.:80"
	for host in "${name}a" "$name.b" "${name}a." "$name.bc" "$name$name"; do
		bad "$(echo "$host:80" | cut -c 1-255)" "$bad_length" \
			"$host:80" free
	done
}

test_bad_ports() {
	digits=1111111111222222222233333333334444444444
	for port in 0 00 65536 4294967376 18446744073709551696 $digits 65616; do
		bad "h:$port" "a port is 1 to 65535" "h:$port" free
	done
	for port in +80 ' 80' '80 ' -1 0x50 8.0 80a nosuchservice '8 0' \
		'http '; do
		bad "h:$port" "no such port or service" "h:$port" free
	done
	bad_targets "no port" h: http://h:/ 'http://h:?'
	bad_targets "no port: SCHEME://HOST:PORT" http://h http:// \
		tcp://h/x:80 \
		'tcp://h#x:80'
	bad 'h:80?' "no such port or service" "h:80$nl" free
	# Where services(5) has more than one of them behind the name.
	bad 'h:http?' "no such port or service" "h:http$(printf '\t')" free
}

test_the_first_and_the_last_port() {
	for port in 1 65535; do
		for words in "-t 0 127.0.0.1:$port free" "$port find" \
			"$port-$port find" "1-$port find"; do
			run $words
			check [ "$status" -lt 2 ]
		done
	done
}

test_bad_paths() {
	path=./$(printf %0106d 0)
	bad_targets "$bad_path" "$path" "unix:$path" "unix://$path"
	for word in "${path%0}" "unix:${path%0}" "unix://${path%0}"; do
		expect 1 \
			"Socket ${path%0} not bound. (No such file or directory)" \
			-t 0 "$word" occupied
	done
	bad_targets "no path" unix: unix://
	bad_targets \
		"a / makes it a path or a URL: ./PATH, SCHEME://HOST:PORT/..." \
		db:5432/x db:80/ :/x ://h:80 a_b://h:80
	bad "u@h$path" "$bad_path" "u@h$path" free
}

# Whatever stands before the last @ may be a password.
test_passwords_are_not_shown() {
	bad h:80 "$bad_user" user:secret@h:80 free
	bad h:80 "$bad_user" h:80 free user:sec@ret@h:80 free
	bad h/x "no port: SCHEME://HOST:PORT" http://user:secret@h/x free
	bad h:80/x "no such port or service" http://user:se/cret@h:80/x free
	bad h:80/x "no such port or service" http://user:se/cr@t@h:80/x free
	bad h:80/x "no port: SCHEME://HOST:PORT" http://se?cret@h:80/x free
	bad h:80x "no such port or service" http://user:s@ecret@h:80x free
	bad x "$bad_time" h:80 free -t secret@x
	bad h:80 "one target an argument: db:1 cache:2" a:1,u:secret@h:80 free
	bad h:80 "find is for [HOST:]PORT or [HOST:]LOW-HIGH" \
		http://user:secret@h:80 find
	free_port
	for word in "http://user:secret@localhost:$port/a@b" \
		"http://user:sec@ret@localhost:$port"; do
		expect 1 "portend: localhost:$port: Connection refused
Port $port not bound on localhost." -v -t 0 "$word" occupied
	done
}

test_bad_find() {
	bad_ranges "LOW is above HIGH" 8000-7000 localhost:2-1
	bad_ranges "a port is 1 to 65535" 70000 0-5 1-70000 65536 1-65536 \
		99999-5
	bad_ranges "no such port or service" localhost 1-2-3 +80 ' 80' 5--6 \
		100000-5
	bad_ranges "no host" :80
	bad_ranges "no port" 1- 80- localhost: '[::1]:' ''
	bad_ranges "find is for [HOST:]PORT or [HOST:]LOW-HIGH" ./x.sock \
		unix:/x \
		/x /x:80 http://h:80 h:80/
	bad_ranges "no :PORT after ]" '[::1'
	bad_ranges "$bad_ipv6" ::1:80 x:80:90
	bad_ranges "needs its interface: [fe80::1%eth0]:80" '[fe80::1]:80'
	bad_ranges "one target an argument: db:1 cache:2" 80,81 h:1,2
	bad_ranges "$bad_numbers" 127.1:80
	bad_ranges "$bad_user" @8
	bad -8 "unknown option" -8 find
	bad true "no COMMAND with find" find -- true
	bad free "no other STATE beside find" h:80 free 0 find
	bad free "no other STATE beside find" 0 find h:80 free
}

# bad_ranges WHY WORD...: none of them is one, alone or behind another.
bad_ranges() {
	_reason=$1
	shift
	for _range do
		bad "${_range#@}" "$_reason" "$_range" find
		bad "${_range#@}" "$_reason" 0 "$_range" find
	done
}

test_bad_times() {
	for text in '' -1 1e3 nan inf 5x '5 ' ' 5' +5 0x10 . 5. 5.s .s ms s \
		1.5.5 \
		1,5 5S 5M 5MS 5ss '5 s' -0 5m5 1_0 5sec 5us 5ns 5w 0x1p3 \
		infinity 5h30m 1. 1.m .5.; do
		for option in -t -c -s --timeout --connect-timeout --stable; do
			bad "$text" "$bad_time" h:80 free $option "$text"
			case $option/$text in
			--*) bad "$text" "$bad_time" "$option=$text" h:80 free \
				;;
			*/) ;;
			*/[a-z]*)
				bad "$option$text" "$bad_time" "$option$text" \
					h:80 \
					free
				;;
			*) bad "$text" "$bad_time" "-q${option#-}$text" h:80 \
				free ;;
			esac
		done
	done
	bad -timeout "$bad_time" -timeout 5 h:80 free
	bad -qvtx "$bad_time" -qvtx h:80 free
	for zero in 0 0.0 .0ms 0d; do
		for option in -c --connect-timeout -s --stable; do
			bad $zero "must be above 0" $option $zero h:80 free
		done
	done
	bad 0 "must be above 0" --connect-timeout=0 h:80 free
	bad 0 "must be above 0" -qs0 h:80 free
}

test_times() {
	free_port
	for text in .25 0.25 00.250 .25s 250ms 0250ms 250.5ms 0.00417m \
		0.00007h 0.0000029d \
		.25000000000000000000000000000000000000009; do
		expect 1 "Port $port not bound on 127.0.0.1." \
			-t "$text" $at occupied
		took_at_least 250
	done
	for text in 1000ms 1; do
		run -t "$text" $at occupied
		took_at_least 1000
	done
	# Two of them, in any two units.
	for first in 0 0ms 0s 0m 0h 0d; do
		for second in 1 1ms 1s 1m 1h 1d; do
			expect 0 '' -t $first -c $second $at free
			expect 0 '' -c $second -t $first $at free
		done
	done
	# Shorter than a nanosecond is not 0, but 0 is, in every unit.
	for text in 0 0.0 .0 0ms 0s 0m 0h 0d 1ms 0.0000000001s 00000; do
		expect 1 "Port $port not bound on 127.0.0.1." \
			-t "$text" $at occupied
	done
}

# Among them those of which 64 or 32 bits of s, ms or ns would be a short time.
test_times_too_large_to_pass() {
	free_port
	waiting=
	for text in 9999999999999999999999999999999999999999 18446744074 \
		18446744073709551616 18446744073709551616ms 18446744073710ms \
		18446744073.8 307445734.57m 106752d 213504d 30d 49.8d \
		4294967296 \
		4294968ms 4294967297ms 4294967296d 5124095.7h \
		2147483648 9223372036.9 99999999999999999999d; do
		start_portend -t "$text" "$at" occupied
		waiting="$waiting $pid"
	done
	run -t .6 "$at" occupied
	is_status 1
	for waiter in $waiting; do
		still_waits
	done
	serve4
	for waiter in $waiting; do
		ends 0
	done
}

test_bad_usage_makes_no_probe() {
	listen_unix "$dir/s"
	for words in "$dir/s occupied x: free" "$dir/s occupied -t 5x" \
		"$dir/s occupied $dir/s" "$dir/s occupied --nope" \
		"$dir/s occupied --" "$dir/s occupied -r"; do
		run $words
		is_status 2
	done
	accepted_none "UNIX:$dir/s"
}

test_bad_usage_opens_no_socket() {
	trace socket,bind,connect,fork,vfork,clone,clone3
	for words in "127.0.0.1:9 occupied x:" "localhost:9 free x:0 free" \
		"0 70000 find" "nosuch:80 free -t x" "nosuch:80 free --"; do
		run_traced $words
		is_status 2
		has_lines 0 calls
	done
	run_traced -t 0 127.0.0.1:9 free
	check grep -q socket calls
}

test_ten_thousand_arguments() {
	listen4
	set -- $(repeat 9998 $at)
	bad free "no TARGET before it" "$@" occupied free
	bad 127.0.0.1: "no port" "$@" 127.0.0.1: occupied
	accepted_none "TCP4:$at"
	expect 0 '' -t 15 "$@" occupied
}

test_long_arguments() {
	long=$(printf %0100000d 0 | tr 0 a)
	short=$(printf %0255d 0 | tr 0 a)
	bad "$short" "$bad_word" "$long" free
	bad "$short" "$bad_length" "$long:80" free
	bad "$short" "$bad_ipv6" "$long:80:80" free
	bad "h:$(printf %0253d 0)" "a port is 1 to 65535" \
		"h:$(printf %0100000d 0)" free
	bad "[$(printf %0254d 0)" "$bad_length" "[$(printf %099990d 0)]:80" free
	bad "./$(printf %0253d 0)" "$bad_path" "./$(printf %0100000d 0)" free
	bad "--$(printf %0253d 0)" "unknown option" \
		"--$(printf %0100000d 0)" h:80 free
	bad "$short" "$bad_time" h:80 free -t "$long"
}

# Tests: messages

# Control characters are those of C0, DEL and, in UTF-8, C1.
test_echo() {
	raw=$(printf 'a\001\033[31m\177\tb\302\233c\377\376\303\244\302\240\302x')
	cooked=$(printf 'a??[31m??b?c\377\376\303\244\302\240\302x')
	bad "$cooked:80" "$bad_bytes" "$raw:80" free
	bad "[$cooked]:80" "not an IPv6 address" "[$raw]:80" free
	bad "$cooked" "$bad_time" -t "$raw" h:80 free
	bad "--$cooked" "unknown option" "--$raw" h:80 free
	# The first and the last of each kind, and their neighbours.
	bad "$(printf '?? ~?\302?\302\240')" "$bad_time" h:80 free -t \
		"$(printf '\001\037 ~\177\302\177\302\240')"
	bad "$(printf '??\301\200\303\200')" "$bad_time" h:80 free -t \
		"$(printf '\302\200\302\237\301\200\303\200')"
	free_port
	expect 127 "portend: ./$cooked: No such file or directory" \
		$at free -- "./$raw"
	expect 1 "portend: ./$cooked: No such file or directory
Socket ./$cooked not bound. (No such file or directory)" \
		-v -t 0 "./$raw" occupied
}

test_echo_is_cut() {
	free_port
	zeros=$(printf %0300d 0)
	expect 1 "portend: 127.0.0.1:$(printf %0245d 0): Connection refused
Port $(printf %0255d 0) not bound on 127.0.0.1." \
		-v -t 0 "127.0.0.1:$zeros$port" occupied
	expect 127 "portend: ./$(printf %0253d 0): No such file or directory" \
		$at free -- "./$(printf %0254d 0)"
	# A character at the cut leaves nothing of itself but what was there.
	bad "$(printf %0254d 0)$(printf '\302')" "$bad_time" \
		-t "$(printf %0254d 0)$(printf '\302\233')" h:80 free
}

test_messages_in_the_order_of_the_arguments() {
	listen4
	taken=$port
	free_port
	expect 1 "Port $port not bound on 127.0.0.1.
Port $taken not free on localhost.
Port $port not bound on 0.0.0.0.
Socket ./x not bound. (No such file or directory)
Socket ./y not bound. (No such file or directory)" \
		-t .2 $at "127.0.0.1:$taken" occupied \
		"localhost:$taken" $at free \
		"0.0.0.0:$port" occupied "unix:./x" ./y occupied
}

# Where the end comes early nothing is said of those that wait.
test_messages_where_the_end_comes_early() {
	listen4
	taken=$port
	free_port
	expect 1 "Port $taken is in use on 127.0.0.1." -t 60 $at ./x occupied \
		"127.0.0.1:$taken" free "localhost:$taken" assert-free ./y \
		occupied
}

test_messages_of_ipv6() {
	listen6
	expect 1 "Port $port not free on 0:0::0:1." -t 0 "[0:0::0:1]:$port" free
	expect 1 "Port $port is in use on ::1." "[0:0::0:1]:$port" assert-free
	expect 1 "Port $port is in use on ::1." "localhost:$port" assert-free
	expect 1 "portend: [::1%lo]:$port: Connection accepted
Port $port not free on ::1%lo." -v -t 0 "[::1%lo]:$port" free
	free_port
	expect 1 "Port $port not bound on 0:0::0:1." \
		-t 0 "[0:0::0:1]:$port" occupied
}

# ::ffff:127.0.0.1 is 127.0.0.1, also where IPv6 is off.
test_messages_of_mapped_ipv4() {
	listen4
	expect 0 '' -t 0 "[::ffff:127.0.0.1]:$port" occupied
	expect 1 "Port $port is in use on 127.0.0.1." \
		"[::FFFF:7f00:1]:$port" assert-free
	expect 1 "Port $port not free on ::ffff:127.0.0.1." \
		-t 0 "[::ffff:127.0.0.1]:$port" free
	expect 1 "Port $port is in use on 127.0.0.1." \
		"[::ffff:127.0.0.1]:$port" find
	run "[::ffff:127.0.0.1]:0" find
	is_status 0
	expect_out 0 "$port" "[::ffff:127.0.0.2]:$port" find
}

test_quiet() {
	listen4
	expect 1 '' -q -t 0 $at free
	expect 1 '' -q -t 0 $at assert-free
	expect 1 '' -q -t .1 ./x /nosuch/y occupied
	expect 1 '' -q $at find
	# What is wrong with the arguments is told, and a bad COMMAND.
	bad x: "no port" -q x: free
	expect 127 "portend: ./nosuch: No such file or directory" \
		-q $at occupied -- ./nosuch
}

test_verbose_tells_changes_only() {
	free_port
	start_portend -v $at occupied
	wait_for_err refused
	pass_time 400
	serve4
	ends 0
	check [ "$(head -n 1 err)" = \
		"portend: 127.0.0.1:$port: Connection refused" ]
	after occupied 400
	start_portend -v $at free
	wait_for_err .
	pass_time 300
	stop "$server"
	ends 0
	check [ "$(head -n 1 err)" = \
		"portend: 127.0.0.1:$port: Connection accepted" ]
	after free 300
}

# after STATE MS: the second of two lines says that it was reached after more.
after() {
	has_lines 2 err
	err_has "^portend: 127\.0\.0\.1:$port: $1 after [0-9]+\.[0-9]{3} s\$"
	check awk -v least="$2" 'END { exit $(NF - 1) * 1000 < least }' err
}

test_verbose_of_sockets() {
	start_portend -v "unix:$dir/s" occupied
	wait_for_err .
	listen_unix "$dir/s"
	ends 0
	# It may have been seen between bind and listen.
	sed '/Connection refused$/d; s/[0-9]*\.[0-9][0-9][0-9] s$/N s/' err >lines
	is_file lines "portend: unix:$dir/s: No such file or directory
portend: unix:$dir/s: occupied after N s"
}

test_each_message_is_one_write() {
	trace write,writev,pwrite64,sendto,sendmsg
	free_port
	run_traced -v -t 0 $at ./x "localhost:$port" occupied
	is_status 1
	has_lines 6 err
	has_lines 6 calls
	run_traced x: free
	has_lines 5 err
	has_lines 1 calls
	run_traced $at free -- ./nosuch
	has_lines 1 calls
	run_traced 0 0 0 find
	has_lines 1 calls
}

test_a_wait_outlives_its_standard_error() {
	broken_pipe
	default_signals
	for to in 'exec 2>&4 4>&-' 'exec 4>&- 2>&-'; do
		free_port
		start $signals sh -c "$to; exec \"\$@\"" sh \
			$PORTEND -v -t 20 $at occupied \
			-- touch "$dir/done.$port"
		waiter=$pid
		pass_time 200
		still_waits
		serve4
		ends 0
		check [ -e "done.$port" ]
		free_port
		run_command $signals sh -c "$to; exec \"\$@\"" sh \
			$PORTEND -v -t .1 $at occupied
		is_status 1
	done
}

# A message waits until standard error takes it, and holds no probe open: the
# server would accept it after 0.2 s.
test_a_message_that_blocks_holds_no_probe() {
	full_pipe
	listen4
	start_after 'exec 2>pipe 3<&-' -v -t 1 $at ./x occupied $at free
	pass_time 1500
	still_waits
	accepted_none "TCP4:$at"
	start sh -c 'exec cat <&3' >messages
	wait_until grep -aq "not free" messages
	ends 1
	tr -d '\0' <messages | sed 's/[0-9.]* s$/N s/' >lines
	is_file lines "portend: $at: occupied after N s
portend: ./x: No such file or directory
portend: $at: Connection accepted
Socket ./x not bound. (No such file or directory)
Port $port not free on 127.0.0.1."
}

test_output_that_cannot_be_written() {
	expect_after 'exec >&-' 1 \
		"portend: standard output: Bad file descriptor" find
	broken_pipe
	default_signals
	run_command $signals sh -c 'exec >&4; exec "$@"' sh $PORTEND find
	gave 1 "portend: standard output: Broken pipe"
	[ -c /dev/full ] || skip "the rest needs /dev/full"
	expect_after 'exec >/dev/full' 1 \
		"portend: standard output: No space left on device" find
}

# As where a log has its greatest size: that is no reason to be killed.
test_output_to_a_file_that_may_not_grow() {
	free_port
	head -c 4096 /dev/zero >large
	expect_after 'ulimit -f 1; exec >>large' 1 \
		"portend: standard output: File too large" find
	run_after 'ulimit -f 1; exec 2>>large' -v $at free -- echo ran
	is_status 0
	is_out ran
}

# write(2) may take a part only.
test_output_in_parts() {
	trace write
	free_port
	run_injected write:retval=10:when=1 -h
	is_status 0
	is_out "$(printf '%s\n' "$usage$nl$help" | tail -c +11)"
	run_injected write:retval=10:when=1 -t 0 $at occupied
	is_err "$(echo "Port $port not bound on 127.0.0.1." | tail -c +11)"
	run_injected write:error=ENOSPC:when=2 find
	is_status 0
	run_injected write:error=EIO:when=1 find
	gave 1 "portend: standard output: Error 5"
}

# Tests: what the states mean

test_occupied_waits() {
	free_port
	start_portend -t 15 $at occupied
	pass_time 300
	still_waits
	serve4
	ends 0 ''
	is_out ''
}

test_free_waits() {
	listen4
	start_portend -t 15 "localhost:$port" free
	pass_time 300
	still_waits
	stop "$server"
	ends 0 ''
	check [ "$(accepted)" = 0 ]
}

test_not_reached() {
	listen4
	expect 1 "Port $port not free on 127.0.0.1." -t .2 $at free
	took_at_least 200
	expect 1 "Port $port not free on localhost." \
		-t .2 "localhost:$port" free
	took_at_least 200
	free_port
	expect 1 "Port $port not bound on localhost." \
		-t .2 "localhost:$port" occupied
	took_at_least 200
}

test_assert_free() {
	listen4
	taken=$port
	for host in 127.0.0.1 localhost 0.0.0.0; do
		expect 1 "Port $taken is in use on 127.0.0.1." \
			"$host:$taken" assert-free
	done
	free_port
	expect 0 '' $at "localhost:$port" assert-free
	# The first that is occupied ends the program, whatever else is awaited.
	expect 1 "Port $taken is in use on 127.0.0.1." \
		$at occupied "localhost:$port" "127.0.0.1:$taken" \
		assert-free -- touch ran
	check [ ! -e ran ]
	# It does not wait for its own, but the others may take their time.
	expect 1 "Port $port not bound on 127.0.0.1." \
		-t .3 $at assert-free $at occupied
	took_at_least 300
}

# As soon as one is decided, and cannot be told, there is nothing to wait for;
# but what is being checked is checked to the end.
test_a_failed_check_ends_the_wait() {
	become_nobody
	listen_unix "$dir/s"
	chmod 000 s
	wedge
	expect_as_nobody 1 "Socket ./s not free. (Permission denied)" \
		./s assert-free ./x occupied
	expect_as_nobody 1 "Socket ./s not free. (Permission denied)
Port $port is in use on 127.0.0.1." \
		-c .4 ./s assert-free $at assert-free ./x occupied
	took_at_least 400
	expect_as_nobody 1 "Socket ./x not bound. (No such file or directory)
Socket ./s not free. (Permission denied)" -t 0 ./x occupied ./s free
}

test_a_hundred_probes_are_never_accepted() {
	listen4
	expect 0 '' -t 10 $(repeat 100 $at) occupied
	run -t 1 $at free
	is_status 1
	run $at assert-free
	is_status 1
	for _ in 1 2 3 4 5; do
		run -t 0 "localhost:$port" free
		is_status 1
		run "0.0.0.0:$port" occupied
		is_status 0
	done
	accepted_none "TCP4:$at"
	check [ "$(grep -c "$(printf ':%04X .* 06 ' "$port")" /proc/net/tcp)" \
		-le 1 ]
}

test_a_hundred_probes_of_ipv6_are_never_accepted() {
	listen6
	expect 0 '' -t 10 $(repeat 100 "[::1]:$port") occupied
	run -t .5 "[::1]:$port" free
	is_status 1
	accepted_none "TCP6:[::1]:$port"
}

test_a_listener_that_flaps_is_seen_both_ways() {
	need socat
	free_port
	start sh -c '
		trap "kill \$p; exit" TERM
		for _ in $(seq 1000); do
			socat -u \
				"TCP4-LISTEN:$0,bind=127.0.0.1,reuseaddr,fork" \
				OPEN:/dev/null 2>/dev/null &
			p=$!
			sleep .03
			kill $p
			wait $p
			sleep .03
		done' "$port"
	for state in occupied free occupied; do
		expect 0 '' -t 20 $at $state
	done
}

test_what_was_reached_stays_reached() {
	listen4
	first=$port
	free_port
	start_portend -v -t 15 "127.0.0.1:$first" "127.0.0.1:$port" occupied
	wait_for_err "$first: occupied after"
	wait_for_err "$port: Connection refused"
	stop "$server"
	serve4
	ends 0
	# And free, where it is occupied again afterwards.
	listener=$server
	start_portend -v -t 15 "127.0.0.1:$first" free "127.0.0.1:$port" free
	wait_for_err "$first: free after"
	port=$first
	serve4
	pass_time 100
	stop "$listener"
	ends 0
}

test_localhost_is_both_families() {
	listen6
	expect 0 '' -t 0 "localhost:$port" occupied
	expect 1 "Port $port not free on localhost." -t 0 "localhost:$port" free
	expect 0 '' -t 0 $at free
	expect 1 "Port $port not bound on 127.0.0.1." -t 0 $at occupied
	listen4
	expect 0 '' -t 0 "localhost:$port" occupied
	expect 1 "Port $port not free on localhost." -t 0 "localhost:$port" free
	expect 0 '' -t 0 "[::1]:$port" free
	expect 1 "Port $port not bound on ::." -t 0 "[::]:$port" occupied
}

test_localhost_is_not_looked_up() {
	trace fork,vfork,clone,clone3,open,openat
	listen4
	for host in localhost LOCALHOST localhost. a.localhost b.c.LocalHost. \
		127.0.0.1 '[::1]' 0.0.0.0; do
		run_traced -t 0 "$host:$port" occupied
		has_lines 0 calls
	done
	run_traced localhost:0 find
	has_lines 0 calls
}

test_sockets() {
	: >file
	expect 0 '' ./s "unix:$dir/s" ./file/s free ./s assert-free
	expect 1 "Socket ./s not bound. (No such file or directory)" \
		-t .1 ./s occupied
	took_at_least 100
	listen_unix "$dir/s"
	for path in ./s "$dir/s" unix:./s "unix:$dir/s" "../${dir##*/}/s"; do
		expect 0 '' -t 0 "$path" occupied
	done
	expect 1 "Socket ./s not free.
Socket $dir/s not free." -t 0 ./s "unix:$dir/s" free
	expect 1 "Socket $dir/s is in use." "unix:$dir/s" assert-free

	start_portend "unix:$dir/s" free
	kill -KILL "$server"
	ends 0
	check [ -S s ]                  # stale
	expect 0 '' ./s assert-free
	expect 1 "Socket ./s not bound." -t .1 ./s occupied
	ln -s loop loop
	expect 1 "Socket ./loop not free. (Symbolic link loop)" -t 0 ./loop free
	rm s
	start_portend -t 15 "unix:$dir/s" occupied
	listen_unix "$dir/s"
	ends 0
}

test_a_socket_whose_queue_is_full_is_occupied() {
	full_queue
	expect 0 '' -t 0 ./s occupied
	expect 1 "Socket ./s not free." -t .2 ./s free
	expect 1 "Socket ./s is in use." ./s assert-free
}

# Two connections to the socket s wait to be accepted.
full_queue() {
	listen_unix "$dir/s" backlog=1
	kill -STOP "$server"
	for _ in 1 2; do
		start socat -u UNIX:"$dir/s" OPEN:/dev/null
	done
	wait_until has_queue
}

has_queue() {
	[ "$(grep -c "00000000 0001 02 .* $dir/s\$" /proc/net/unix)" = 2 ]
}

test_a_socket_without_permission_is_neither() {
	become_nobody
	listen_unix "$dir/s"
	chmod 000 s
	text="(Permission denied)"
	expect_as_nobody 1 "Socket ./s not bound. $text" -t .2 ./s occupied
	expect_as_nobody 1 "Socket ./s not free. $text" -t .2 ./s free
	expect_as_nobody 1 "Socket ./s not free. $text" ./s assert-free
}

test_a_wedged_server_is_neither_free_nor_occupied() {
	wedge
	held="(No answer, but the address is in use)"
	for option in -c.3 "-c .3" --connect-timeout=.3 \
		"--connect-timeout 300ms" "-qvc.3"; do
		run -t 0 $at $option free
		is_status 1
		took_at_least 300
	done
	expect 1 "Port $port is in use on 127.0.0.1." -c .2 $at assert-free
	took_at_least 200
	expect 1 "Port $port not free on localhost. $held" \
		-t .5 -c .2 "localhost:$port" free
	took_at_least 500
	expect 1 "Port $port not free on localhost. $held" \
		-t .3 "localhost:$port" free
	took_at_least 300
	expect 1 "Port $port not bound on 127.0.0.1. (No answer)" \
		-t .3 -c .1 $at occupied
	took_at_least 300
}

# By itself; one of four seconds that began before ends after it.
test_the_connect_timeout_is_two_seconds() {
	wedge
	start_portend -c 4 $at assert-free
	wait_until is_sleeping "$waiter"
	longer=$waiter
	expect 1 "Port $port is in use on 127.0.0.1." $at assert-free
	took_at_least 2000
	check is_running "$longer"
}

test_a_silent_target_delays_no_other() {
	wedge
	silent=127.0.0.1:$port
	free_port
	start_portend -v -t 15 -c 15 "$silent" $at "$silent" occupied
	wait_for_err "127.0.0.1:$port: Connection refused"
	serve4
	wait_for_err "127.0.0.1:$port: occupied after"
	still_waits
	expect 1 "Port $port is in use on 127.0.0.1." \
		-c 60 "$silent" $at assert-free
}

test_a_full_table_of_descriptors_says_nothing() {
	shipped_only "its own descriptors"
	listen4
	taken=$port
	free_port
	text="(No file descriptors available)"
	for limit in "ulimit -n 3" "ulimit -Sn 3; ulimit -Hn 3"; do
		expect_after "$limit" 1 \
			"Port $port not free on 127.0.0.1. $text" \
			-t .2 $at free
		took_at_least 200
		expect_after "$limit" 1 \
			"Port $taken not bound on 127.0.0.1. $text" \
			-t .2 "127.0.0.1:$taken" occupied
		expect_after "$limit" 1 \
			"Port $port not free on 127.0.0.1. $text" \
			$at assert-free
		expect_after "$limit" 1 "Port 0 cannot be bound. $text" find
	done
	# One is enough.
	expect_after "ulimit -n 4" 0 '' -t 5 "localhost:$port" \
		$at free "localhost:$taken" "127.0.0.1:$taken" occupied
}

# Tests: --stable

# proxy BACKEND: a proxy on a port of its own, which accepts, and then closes
# where nobody is at port BACKEND.
proxy() {
	need socat
	free_port
	start socat "TCP4-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" \
		"TCP4:127.0.0.1:$1" 2>>"$dir/proxy.log"
	server=$pid
	wait_until is_served
}

# A server that does COMMAND with each connection, which socat logs.
server_of() {
	need socat
	free_port
	start socat -d -d "TCP4-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" \
		"SYSTEM:$1" 2>>"$dir/socat.log"
	server=$pid
	wait_until is_served
}

test_stable() {
	listen4
	for option in "-s .3" -s.3 "-qs 300ms" "--stable .3" --stable=.3s; do
		expect 0 '' $option $at occupied
		took_at_least 300
	done
	expect 0 '' -t 0 -s .3 $at occupied
	took_at_least 300
	expect 1 "Port $port is in use on 127.0.0.1." -s .3 $at assert-free
	took_at_least 300
	expect 1 "Port $port not free on 127.0.0.1." -s .3 -t 0 $at free
	took_at_least 300
	expect 1 "Port $port not free on localhost." \
		-s .3 -t .5 "localhost:$port" free
	took_at_least 500
	# Each is a connection, and closed in the ordinary way.
	wait_until has_accepted 9
	check_not grep -E ' [EW] |reset' socat.log
	taken=$port
	free_port
	expect 0 '' -s .2 "localhost:$port" $at free
	expect 0 '' -s .2 "localhost:$port" assert-free
	expect 1 "Port $port not bound on 127.0.0.1." \
		-s .2 -t 1 $at "127.0.0.1:$taken" occupied
	took_at_least 1000
	# Not for long enough.
	start_portend -s 2 -t 3 $at occupied
	pass_time 1200
	serve4
	ends 1 "Port $port not bound on 127.0.0.1. (Connection accepted)"
}

test_stable_through_a_proxy() {
	free_port
	backend=$port
	proxy "$backend"
	expect 0 '' -t 0 $at occupied
	expect 1 "Port $port not bound on 127.0.0.1. (Connection closed)" \
		-s .2 -t .5 $at occupied
	took_at_least 500
	expect 1 "Port $port not bound on 127.0.0.1. (Connection closed)" \
		-s .2 -t 0 $at occupied
	expect 0 '' -s .2 -t 15 $at free
	expect 0 '' -s .2 $at assert-free
	start_portend -v -s .5 -t 20 $at occupied
	front=$port
	wait_for_err "Connection closed"
	port=$backend
	clock
	begun=$time
	serve4
	ends 0
	clock
	check [ $((time - begun)) -ge 500 ]
	has_lines 2 err
	check [ "$(head -n 1 err)" = "portend: $at: Connection closed" ]
	err_has "^portend: $at: occupied after [0-9]+\.[0-9]{3} s\$"
	check_not grep -E ' [EW] |reset' socat.log
	# And back again.
	port=$front
	start_portend -v -s .5 -t 20 $at free
	wait_for_err "Connection accepted"
	stop "$server"
	ends 0
}

# What was closed begins anew 100 ms after it began, and no earlier.
test_stable_waits_for_the_next() {
	server_of true
	run -v -s 1.5 -t 2 $at occupied
	is_status 1
	check [ "$(head -n 1 err)" = "portend: $at: Connection closed" ]
	has_lines 2 err                 # the last one may be open yet
	count=$(accepted)
	check [ "$count" -ge 3 ]
	check [ "$count" -le 21 ]
}

# The end is seen behind all that was sent, and what was sent leaves no reset.
nstest_stable_reads_what_comes() {
	filter output tcp flags '&' 'rst == rst' counter
	server_of 'head -c 3000000 /dev/zero'
	expect 1 "Port $port not bound on 127.0.0.1. (Connection closed)" \
		-s 9 -t 0 $at occupied
	server_of 'echo hello; exec cat'
	expect 0 '' -s .2 $at occupied
	check [ "$(counts)" = 0 ]
	server_of 'exec yes'
	expect 0 '' -s .2 $at occupied
}

test_stable_of_sockets() {
	need socat
	listen_unix "$dir/s"
	expect 0 '' -s .2 ./s occupied
	took_at_least 200
	expect 1 "Socket ./s is in use." -s .2 ./s assert-free
	took_at_least 200
	expect 1 "Socket ./s not free." -s .2 -t 0 ./s free
	start socat UNIX-LISTEN:c,fork EXEC:true
	wait_until [ -S c ]
	wait_until run_reaches -s .1 -t 0 ./c free
	expect 1 "Socket ./c not bound. (Connection closed)" \
		-s 2 -t 2.5 ./c occupied
	expect 0 '' -s 5 ./c assert-free
}

run_reaches() {
	run "$@"
	[ "$status" = 0 ]
}

# A full queue, and what bind(2) finds in use: neither stable nor free.
test_stable_of_what_is_wedged() {
	full_queue
	expect 1 "Socket ./s not bound. (Queue is full)" -s .1 -t .2 ./s \
		occupied
	expect 1 "Socket ./s not free. (Queue is full)" -s .1 -t .2 ./s free
	expect 1 "Socket ./s is in use." -s .1 ./s assert-free
	wedge
	expect 1 "Port $port not bound on 127.0.0.1. (No answer)" \
		-s .1 -t .2 $at occupied
	expect 1 "Port $port not free on 127.0.0.1.\
 (No answer, but the address is in use)" -s .1 -c .1 -t .3 $at free
	expect 1 "Port $port is in use on 127.0.0.1." -s .1 -c .2 $at \
		assert-free
}

# A reset is an end as well; so is half of one.
test_stable_sees_every_end() {
	need socat
	free_port
	for address in "TCP4-LISTEN:$port,linger=0" \
		"TCP4-LISTEN:$port,shut-down"
	do
		start socat "$address,bind=127.0.0.1,reuseaddr,fork" \
			"SYSTEM:sleep .05"
		server=$pid
		wait_until is_served
		expect 1 \
			"Port $port not bound on 127.0.0.1. (Connection closed)" \
			-s 5 -t 0 $at occupied
		stop "$server"
	done
}

test_stable_of_a_server_that_resets_at_once() {
	need python3
	free_port
	start python3 -c "
import socket
import struct
server = socket.socket()
server.bind(('127.0.0.1', $port))
server.listen(99)
while True:
    client = server.accept()[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                      struct.pack('ii', 1, 0))
    client.close()"
	server=$pid
	wait_until is_served
	for _ in $(seq 20); do
		expect 0 '' -s 9 -t 0 $at free
		expect 0 '' -s 9 $at assert-free
		expect 1 \
			"Port $port not bound on 127.0.0.1. (Connection closed)" \
			-s 9 -t 0 $at occupied
	done
}

# Tests: time

# Not once does it sleep before it tells.
test_what_is_true_is_seen_at_once() {
	trace ppoll,write
	listen4
	taken=$port
	free_port
	run_traced -v "localhost:$taken" occupied $at free $at assert-free
	is_status 0
	has_lines 3 err
	check_not grep 'ppoll.*tv_nsec=[1-9].*Timeout' calls
}

test_not_before_its_time() {
	free_port
	expect 1 "Port $port not bound on 127.0.0.1." -t .5 $at occupied
	took_at_least 500
}

# What is asked last is waited for, for 20 ms.
nstest_the_end_is_near() {
	trace connect,ppoll
	silent_network
	run_traced -t .5 192.0.2.1:9 occupied
	is_status 1
	check [ "$(grep -c connect calls)" = 2 ]
	awk '/connect/ { n++ } n == 2 && /ppoll/' calls |
		sed 's/.*tv_sec=\([0-9]*\), tv_nsec=\([0-9]*\)}.*/\1 \2/' >last
	check [ -s last ]
	awk '$1 > 0 || $2 > 20000000' last >longer
	is_file longer ''
}

# So it notices soon that its time is up, whatever stopped it.
nstest_no_sleep_is_longer_than_a_tenth_of_a_second() {
	trace ppoll
	silent_network
	free_port
	for words in "$at occupied -t 1.2" "192.0.2.1:9 occupied -t 1.2" \
		"192.0.2.1:9 assert-free -c 1.2" "./x occupied -t 1.2"; do
		run_traced $words
		check grep -q ppoll calls
		sed 's/.*tv_sec=\([0-9]*\), tv_nsec=\([0-9]*\)}.*/\1 \2/' calls |
			awk '$1 > 0 || $2 > 100000000' >longer
		is_file longer ''
	done
}

test_timeout_0_checks_once() {
	listen_unix "$dir/s"
	expect 1 "Socket ./s not free." -t 0 ./s free
	connect_once "UNIX:$dir/s"
	check [ "$(accepted)" = 2 ]
	trace connect
	free_port
	run_traced -t 0 $at occupied
	is_status 1
	has_lines 1 calls
	run_traced -t 0 "localhost:$port" occupied
	is_status 1
	has_lines 2 calls
}

# A look-up that fails is no reason to wait, either.
test_what_is_asked_once_ends() {
	free_port
	for words in "-t 0 $at ./x [::1]:$port" "-t 0 -c 60 $at" \
		"-t 0 -s 60 -c 60 $at"; do
		run $words occupied
		is_status 1
	done
	expect 0 '' -t 0 -c 60 $at "localhost:$port" ./x free
	# One that is reached does not wait for the rest, nor keeps it waiting.
	expect 1 "Socket ./x not bound. (No such file or directory)" \
		-t .3 -c 60 $at assert-free ./x occupied
	took_at_least 300
}

test_assert_free_checks_once() {
	listen_unix "$dir/s"
	expect 1 "Socket ./s is in use." ./s assert-free
	expect 1 "Socket ./s is in use." -t 60 ./s assert-free
	connect_once "UNIX:$dir/s"
	check [ "$(accepted)" = 3 ]
	trace connect
	free_port
	run_traced -t .3 $at assert-free ./x occupied
	is_status 1
	check [ "$(grep -c INET calls)" = 1 ]
}

test_the_last_check_sees_what_came_during_a_stop() {
	free_port
	start_portend -v -t .4 $at occupied
	wait_for_err .
	kill -STOP "$waiter"
	serve4
	pass_time 600
	kill -CONT "$waiter"
	ends 0
	err_has "occupied after [0-9]"
}

test_a_stopped_wait_notices_that_its_time_is_up() {
	free_port
	start_portend -t .4 $at occupied
	wait_until is_sleeping "$waiter"
	kill -STOP "$waiter"
	pass_time 600
	kill -CONT "$waiter"
	ends 1 "Port $port not bound on 127.0.0.1."
}

# A hundredth of the time waited, but 1 ms at least: some 90 + 100 * ln(10) in
# the first second, and not 100 in its first tenth.
test_the_pause_grows() {
	listen_unix "$dir/s" backlog=1024
	run -t .1 ./s free
	is_status 1
	connect_once "UNIX:$dir/s"
	count=$(accepted)
	check [ "$count" -le 105 ]
	run -t 1 ./s free
	is_status 1
	connect_once "UNIX:$dir/s"
	count=$(($(accepted) - count))
	check [ "$count" -ge 25 ]
	check [ "$count" -le 450 ]
}

# The next round begins after a hundredth of the time waited, 1 ms at least.
test_the_pause_is_a_hundredth() {
	trace connect
	free_port
	run_command strace -ttt -qq -o calls -e trace=connect "$PORTEND" -q \
		-t 3 $at occupied
	is_status 1
	sed '$d' calls | awk '
		!first { first = $1 }
		last && $1 - last < (last - first) / 100 - .000002 { bad = 1 }
		last && $1 - last < .001 { bad = 1 }
		{ last = $1 }
		END { if (bad || NR < 20) print "not a hundredth" }' >wrong
	is_file wrong ''
}

# thousand TARGET: arguments of a thousand.
thousand() {
	repeat 1000 "$1"
}

test_a_thousand_occupied_targets() {
	listen4 bind=127.0.0.1,backlog=1024
	for limit in "ulimit -Sn 256" "ulimit -n 256" "ulimit -n 64"; do
		expect_after "$limit" 0 '' -t 10 $(thousand $at) occupied
	done
	# With -t 0, too, each has its turn.
	expect_after "ulimit -n 16" 0 '' -t 0 $(thousand $at) occupied
}

test_a_thousand_refused_targets() {
	free_port
	for limit in "ulimit -Sn 256" "ulimit -n 256"; do
		run_after "$limit" -t 1 $(thousand $at) occupied
		is_status 1
		took_at_least 1000
		has_lines 1000 err
		check [ "$(sort -u err)" = \
			"Port $port not bound on 127.0.0.1." ]
		expect_after "$limit" 0 '' -t 10 $(thousand $at) free \
			$(thousand $at) assert-free
	done
}

test_one_among_a_thousand() {
	listen4 bind=127.0.0.1,backlog=1024
	set -- $(thousand $at)
	free_port
	expect_after "ulimit -n 256" 1 "Port $port not bound on 127.0.0.1." \
		-t 1.5 "$@" $at "$@" occupied
}

test_a_thousand_refused_targets_leave_the_processor_alone() {
	free_port
	start_portend -q -t 1 $(thousand $at) occupied
	ticks=0
	while read -r stat 2>/dev/null <"/proc/$waiter/stat"; do
		set -- ${stat##*) }
		[ "$1" != Z ] || break
		ticks=$((${12} + ${13}))
		sleep .05
	done
	ends 1
	check [ "$ticks" -le 30 ]
}

# The pause is ten times what a round takes: of 50 ms at least, here.
test_a_long_round_makes_a_long_pause() {
	trace connect
	free_port
	expect_injected connect:delay_enter=1000 1 '' \
		-q -t 2 $(repeat 50 $at) occupied
	check [ "$(wc -l <calls)" -le 250 ]
}

# A process that is stopped within a round does not sleep for ten times as long.
test_a_round_that_takes_long() {
	trace connect
	free_port
	start strace -qq -o calls -e trace=connect \
		-e inject=connect:delay_enter=1500000:when=1 \
		"$PORTEND" -v $at occupied 2>err
	waiter=$pid
	wait_for_err refused
	clock
	begun=$time
	serve4
	ends 0
	clock
	check [ $((time - begun)) -le 10000 ]
}

# With 20 ms for each probe a round takes 0.2 s, and the next begins 1 s later:
# the last one would be long before the end, if there were no last check.
test_the_last_check_is_at_the_end() {
	trace connect
	free_port
	run_command strace -ttt -qq -o calls -e trace=connect \
		-e inject=connect:delay_enter=20000 "$PORTEND" -q -t 1.9 \
		$(repeat 10 $at) occupied
	is_status 1
	check awk '!first { first = $1 } { last = $1 }
		END { exit last - first < 1.8 }' calls
}

# Tests: COMMAND

test_command_has_the_same_process_id() {
	listen4
	start_portend $at occupied -- sh -c 'echo $$; exit 42'
	ends 42 ''
	is_out "$waiter"
}

test_command_has_the_same_environment() {
	listen4
	printf 'A=1\nB=x  y\nPATH=%s\nZ=\n' "$PATH" >wanted
	run_command env -i A=1 'B=x  y' PATH="$PATH" Z= \
		$PORTEND $at occupied -- env
	is_status 0
	sort -o out out
	is_out "$(cat wanted)"
}

test_command_has_the_same_limits() {
	listen4 bind=127.0.0.1,backlog=1024
	set -- $(thousand $at)
	run_after 'ulimit -Sn 20' -t 9 "$@" occupied -- \
		sh -c 'ulimit -Sn; ulimit -Hn'
	gave 0 '' "20
$(sh -c 'ulimit -Hn')"
	run_after 'ulimit -n 30' -t 9 "$@" occupied -- \
		sh -c 'ulimit -Sn; ulimit -Hn'
	gave 0 '' "30
30"
}

test_command_has_the_same_signals() {
	native_only "its own signals"
	default_signals
	defaults=$signals
	blocks="env --block-signal=USR2,TERM,PIPE"
	$blocks true 2>/dev/null || blocks=
	listen4
	taken=$port
	free_port
	for code in : "trap '' TERM HUP" "trap '' PIPE CHLD INT" \
		"trap '' USR1 XFSZ" \
		"trap '' QUIT USR2"; do
		for signals in "$defaults" "$blocks"; do
			start_command $signals sh -c "$code
				exec cat /proc/self/status"
			ends 0
			signal_lines <out >wanted
			has_lines 4 wanted
			# -v, because a message changes SIGPIPE for a while.
			start_command $signals sh -c "$code; exec \"\$@\"" sh \
				$PORTEND -v "127.0.0.1:$taken" occupied \
				$at free -- cat /proc/self/status
			ends 0
			signal_lines <out >signals
			is_file signals "$(cat wanted)"
		done
	done
}

signal_lines() {
	grep -E '^(SigBlk|SigIgn|SigCgt|SigPnd):'
}

test_command_has_no_descriptor_of_ours() {
	listen4
	taken=127.0.0.1:$port
	free_port
	run_command ls /proc/self/fd
	wanted=$(cat out)
	run -v "$taken" localhost:"${taken#*:}" occupied \
		"localhost:$port" free $(thousand "$taken") occupied \
		-- ls /proc/self/fd
	is_status 0
	is_out "$wanted"
	# One that was open is still.
	expect_after 'exec 7<&0' 0 '' \
		"$taken" occupied -- sh -c '[ -e /proc/self/fd/7 ]'
}

test_closed_descriptors_stay_closed_for_command() {
	listen4
	for closed in 0 1 2 "0 1" "1 2" "0 2" "0 1 2"; do
		code=:
		kept=' 0 1 2'
		for fd in $closed; do
			code="$code; exec $fd<&-"
			kept=$(echo "$kept" | sed "s/ $fd//")
		done
		run_after "$code" -v $at occupied -- sh -c '
			cd /proc/$$/fd || exit
			for fd in 0 1 2; do
				[ ! -e $fd ] || left="$left $fd"
			done
			mkdir "$0$left"' "$dir/left"
		is_status 0
		check rmdir "left$kept"
	done
}

# The probe of a silent port stays open; so it can be looked at.
test_closed_descriptors_never_become_a_socket() {
	native_only "its own descriptors"
	wedge
	for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
		start_after "exec $closed" -v -t 15 $at occupied
		wait_until has_socket "$waiter"
		for fd in 0 1 2; do
			case $(readlink "/proc/$waiter/fd/$fd") in
			socket:* | pipe:*) fail "$closed: $fd is a socket" ;;
			esac
		done
	done
}

# has_socket PID: it has a socket open.
has_socket() {
	for _fd in /proc/"$1"/fd/*; do
		case $(readlink "$_fd") in
		socket:*) return 0 ;;
		esac
	done
	return 1
}

test_the_lowest_limits() {
	shipped_only "its own descriptors"
	free_port
	for closed in : 'exec <&-' 'exec <&- >&-'; do
		for limit in 0 1 2; do
			expect_after "$closed; ulimit -Sn $limit" 0 '' \
				-t 0 $at free
		done
	done
	for limit in 2 1 0; do
		expect_after "ulimit -n $limit" 1 \
			"portend: standard descriptors: No file descriptors\
 available" -t 5 $at free
	done
}

test_command_does_not_run_if_not_reached() {
	free_port
	for words in "-t .1 $at occupied" \
		"-t .1 $at free ./x occupied" "x: $at free x: free"; do
		run $words -- touch "$dir/ran"
		check [ "$status" != 0 ]
		check [ ! -e ran ]
	done
}

test_command_that_cannot_be_run() {
	free_port
	expect 127 "portend: ./nosuch: No such file or directory" \
		$at free -- ./nosuch arg
	expect_after 'PATH=/usr/bin:/bin' 127 \
		"portend: nosuch-in-path: No such file or directory" \
		$at free -- nosuch-in-path
	: >file
	expect_after "PATH=/usr/bin:/bin:$dir/file" 127 \
		"portend: nosuch-in-path: No such file or directory" \
		$at free -- nosuch-in-path
	expect 126 "portend: ./file/x: Not a directory" $at free -- ./file/x
	expect 126 "portend: ./file: Permission denied" $at free -- ./file
	expect 126 "portend: $dir: Permission denied" $at free -- "$dir"
	expect 0 '' $at free -- true
}

test_command_is_looked_for_in_path() {
	free_port
	mkdir bin
	printf '#!/bin/sh\necho found "$0" "$@"\n' >bin/some-command
	chmod 755 bin/some-command
	run_after "PATH=$dir/bin:\$PATH" $at free -- some-command x
	gave 0 '' "found $dir/bin/some-command x"
}

test_signals_end_a_wait() {
	default_signals
	free_port
	for signal in TERM:143 HUP:129 INT:130 QUIT:131 USR1:138 USR2:140; do
		start_command $signals sh -c 'ulimit -c 0; exec "$@"' sh \
			$PORTEND -t 15 $at ./x occupied
		wait_until is_sleeping_portend "$waiter"
		need_signal $((${signal#*:} - 128))
		is_shipped && check grep -q '^SigCgt:.*0000$' \
			"/proc/$waiter/status"  # no handler
		kill "-${signal%:*}" "$waiter"
		ends "${signal#*:}"
		is_native && is_err ''
	done
}

is_sleeping_portend() {
	grep -q "occupied" "/proc/$1/cmdline" && is_sleeping "$1" &&
		! grep -Eq "default-signal|ulimit" "/proc/$1/cmdline"
}

# Tests: find

# is_port TEXT
is_port() {
	case $1 in
	'' | *[!0-9]* | ??????*) false ;;
	*) [ "$1" -ge 1 ] && [ "$1" -le 65535 ] ;;
	esac
}

test_find() {
	run find
	is_status 0
	is_err ''
	has_lines 1 out
	port=$(cat out)
	check is_port "$port"
	check_not is_listening "$port"
	need socat
	serve TCP4-LISTEN
	expect 1 "Port $port is in use on 0.0.0.0." "$port" find
}

# As of a kernel without IPv6.
test_find_where_there_is_no_ipv6() {
	trace socket
	for reserve in '' -r; do
		run_injected socket:error=EAFNOSUPPORT:when=1 $reserve find
		is_status 0
		check is_port "$(cat out)"
		check grep -q 'AF_INET,' calls
	done
}

test_find_raises_a_low_limit() {
	run_after "ulimit -Sn 40" $(repeat 100 0) find
	is_status 0
	check [ "$(sort -u out | wc -l)" = 100 ]
}

test_find_with_few_descriptors() {
	shipped_only "its own descriptors"
	text="(No file descriptors available)"
	expect_after "ulimit -n 20" 1 "Port 0 cannot be bound. $text" \
		$(repeat 20 0) find
	expect_after "ulimit -n 20" 1 "Port 0 cannot be bound. $text" \
		-t .3 $(repeat 20 0) find
	took_at_least 300
	run_after "ulimit -n 20" $(repeat 8 0) find
	is_status 0
	has_lines 8 out
	run_after "ulimit -n 20" -r $(repeat 5 0) localhost:0 find
	is_status 0
	has_lines 6 out
}

test_found_ports_are_distinct() {
	run $(repeat 300 0) localhost:0 127.0.0.1:0 find
	is_status 0
	is_err ''
	has_lines 302 out
	check [ "$(sort -u out | wc -l)" = 302 ]
	while read -r port; do
		check is_port "$port"
	done <out
}

test_find_takes_the_lowest_of_a_range() {
	need socat
	free_block
	p=$port p1=$((port + 1)) p2=$((port + 2)) p3=$((port + 3))
	p8=$((port + 8)) p9=$((port + 9))
	range=$p-$p9
	expect_out 0 "$p" "$range" find
	expect_out 0 "$p$nl$p1$nl$p2$nl$p3" \
		"$range" "$range" "127.0.0.1:$range" "$p-$p3" find
	expect_out 0 "$p$nl$p1$nl$p2" \
		"127.0.0.1:$range" "127.0.0.2:$range" "127.0.0.1:$range" find
	# What another argument asks for by itself is left to that.
	expect_out 0 "$p1$nl$p" "$p-$p1" "$p" find
	serve4
	expect_out 0 "$p1" "$range" find
	port=$p1
	serve TCP4-LISTEN
	expect_out 0 "$p2$nl$p3$nl$p9" "$range" "localhost:$range" "$p9-$p9" \
		find
	expect_out 0 "$p9$nl$p8" "$p9" "0$p8" find
	expect 1 "No port from $p to $p1 is free." "$p-$p1" find
	expect 1 "No port from $p to $p1 is free on 127.0.0.1." \
		"127.0.0.1:$p-$p1" find
	# All were found, or none is printed.
	expect 1 "No port from $p to $p1 is free on localhost." \
		"$range" "localhost:$p-$p1" find
}

test_find_names_the_address_in_use() {
	listen4
	expect 1 "Port $port is in use on 0.0.0.0." "$port" find
	expect 1 "Port $port is in use on 127.0.0.1." $at find
	expect 1 "Port $port is in use on 127.0.0.1." "localhost:$port" find
	expect 1 "Port $port is in use on 0.0.0.0." "0.0.0.0:$port" find
	need_ipv6
	expect_out 0 "$port" "[::1]:$port" find
	listen6
	expect 1 "Port $port is in use on ::." "$port" find
	expect 1 "Port $port is in use on ::1." "[0:0::1]:$port" find
	expect 1 "Port $port is in use on ::1." "localhost:$port" find
	expect_out 0 "$port" $at find
}

test_find_sees_a_listener_on_any_one_address() {
	for options in '' bind=127.0.0.1 bind=127.0.0.2 reuseport; do
		listen4 "$options"      # reuseport would have hidden it
		expect 1 "Port $port is in use on 0.0.0.0." "$port" find
	done
	expect 1 "Port $port is in use on 127.0.0.1." $at find
	for options in '' 'bind=[::1]'; do
		listen6 "$options"
		expect 1 "Port $port is in use on ::." "$port" find
	done
}

# 0.0.0.0 and :: by themselves; IPv6's is that of both families.
test_find_on_a_wildcard_address() {
	need_ipv6
	listen4 bind=127.0.0.1
	expect 1 "Port $port is in use on 0.0.0.0." "0.0.0.0:$port" find
	expect 1 "Port $port is in use on ::." "[::]:$port" find
	listen6 'bind=[::1]'
	expect_out 0 "$port" "0.0.0.0:$port" find
	expect 1 "Port $port is in use on ::." "[::]:$port" find
	run -r '[::]:0' 0.0.0.0:0 find
	is_status 0
	check is_reserved6 "$(head -n 1 out)"
	check is_reserved4 "$(tail -n 1 out)"
}

test_find_the_same_port_twice() {
	free_port
	expect_like 1 "Port $port is in use on (0\.0\.0\.0|::)\." \
		"$port" "$port" find
	expect 1 "Port $port is in use on 127.0.0.1." "$port" $at find
	expect 1 "Port $port is in use on 127.0.0.1." \
		"localhost:$port" "localhost:$port" find
	expect_out 0 "$port" $at find
}

test_find_what_cannot_be_bound() {
	reason="(Address not available)"
	expect 1 "Port 0 cannot be bound on 192.0.2.1. $reason" 192.0.2.1:0 find
	expect 1 "No port from 8000 to 8010 is free on 192.0.2.1. $reason" \
		192.0.2.1:8000-8010 find
}

test_find_waits() {
	need socat
	listen4 ''
	for word in "$port" "127.0.0.1:$port" "localhost:$port" "$port-$port"; \
		do
		run -t .3 "$word" find
		took_at_least 300
		gave_like 1 "(Port $port|No port from $port to $port) is (in use|free)\
( on (0\.0\.0\.0|127\.0\.0\.1))?\."
	done
	for words in "-t 15 $port" "-t 15 -r localhost:$port" \
		"-vt15 $port-$port" \
		"-t 15 0 $at localhost:0"; do
		start_portend $words find
		pass_time 200
		still_waits
		stop "$server"
		ends 0
		check grep -x "$port" out
		serve4
	done
	# Once.
	for words in "" "-t 0" "-t 0.0ms"; do
		expect 1 "Port $port is in use on 127.0.0.1." $words $at find
	done
	# Only with -v its reason is told, where it changes; the first that is
	# not found is the one at the end.
	free_port
	expect 1 "portend: $at: Address in use
portend: 192.0.2.1:$port: Address not available
Port ${at##*:} is in use on 127.0.0.1." \
		-v -t .3 "$port" $at "192.0.2.1:$port" find
	expect 1 '' -q -t .1 "192.0.2.1:$port" find
	expect 1 \
		"Port $port cannot be bound on 192.0.2.1. (Address not available)" \
		-t .1 0 "192.0.2.1:$port" "$port" find
}

test_find_takes_a_port_in_time_wait() {
	leave_time_wait
	for word in "$port" $at "localhost:$port" "$port-$port"; do
		expect_out 0 "$port" "$word" find
	done
	expect 1 "Port $port is in use on 0.0.0.0." -r "$port" find
}

test_reserve() {
	run -r find
	is_status 0
	is_err ''
	port=$(cat out)
	check is_reserved4 "$port"
	check_not is_listening "$port"
	need socat
	serve TCP4-LISTEN
	stop "$server"
	need_ipv6
	check is_reserved6 "$port"
	serve TCP6-LISTEN ipv6only=1
	stop "$server"
	serve TCP6-LISTEN ipv6only=0
	expect 0 '' -t 0 "127.0.0.1:$port" occupied
}

test_reserve_on_a_host() {
	run -r 127.0.0.1:0 localhost:0 find
	is_status 0
	is_err ''
	has_lines 2 out
	while read -r port; do
		check is_reserved4 "$port"
		check_not is_listening "$port"
	done <out
	need_ipv6
	check is_reserved6 "$(tail -n 1 out)"
	check_not is_reserved6 "$(head -n 1 out)"
	run -r '[::1]:0' find
	is_status 0
	check is_reserved6 "$(cat out)"
}

test_reservations_of_one_range_differ() {
	free_block
	range=$port-$((port + 2))
	for p in 0 1 2; do
		expect_out 0 $((port + p)) -r "$range" find
	done
	expect 1 "No port from $port to $((port + 2)) is free." -r "$range" find
	expect_out 0 "$port" "$range" find
}

# Twenty reservations side by side; their ports are in ports.
reserve_twenty() {
	reserving=
	for _ in $(seq 20); do
		start $PORTEND -r find >>ports 2>>errors
		reserving="$reserving $pid"
	done
	for waiter in $reserving; do
		ends 0
	done
	is_file errors ''
	check [ "$(sort -u ports | wc -l)" = 20 ]
}

test_twenty_reservations_side_by_side() {
	reserve_twenty
	while read -r port; do
		check is_port "$port"
		check_not is_listening "$port"
	done <ports
}

# Tests: the program, its figures and its manual

test_the_binary_is_static() {
	shipped_only "how it is linked"
	check_not grep -q /ld- "$PORTEND"
}

test_system_calls_are_few() {
	trace all
	listen4
	taken=$port
	free_port
	for words in "127.0.0.1:$taken occupied" "localhost:$taken occupied" \
		"$at free" "localhost:$port free" \
		"localhost:$port assert-free" find; do
		run_traced $words
		is_status 0
		check [ "$(wc -l <calls)" -le 20 ]
	done
}

# Prints the words of its input on one line.
squeeze() {
	tr -s ' \n' '  ' | sed 's/^ //; s/ $//'
}

# Prints the options that are explained, as "-t, --timeout TIME".
options() {
	sed -n 's/^ *\(-[a-zA-Z], --[a-z-]*\( TIME\)\{0,1\}\)\( .*\)\{0,1\}$/\1/p'
}

test_the_manual_agrees_with_the_usage() {
	manual=${self%/*}/portend.1
	[ -f "$manual" ] || skip "needs portend.1"
	need mandoc
	mandoc -T ascii -O width=1000 "$manual" |
		sed "s/.$(printf '\b')//g" >text
	sed -n '/^SYNOPSIS/,/^DESCRIPTION/p' text | sed '1d; $d' >synopsis
	check [ "$(squeeze <synopsis)" = \
		"$(echo "$usage" | sed 's/^usage://' | squeeze)" ]
	run -h
	options <out >in_help
	options <text >in_manual
	has_lines 8 in_help
	is_file in_manual "$(cat in_help)"
}

# Tests in a namespace of their own

# That of busybox does not name the peer of a veth.
need_iproute2() {
	case $(ip -V 2>&1) in
	*iproute2*) ;;
	*) skip "needs iproute2" ;;
	esac
}

# add_address ADDRESS/PREFIX DEVICE [COMMAND...]: of IPv6, by COMMAND ip; it can
# be used at once.
add_address() {
	_address=${1%/*} _device=$2
	_full=$1
	shift 2
	"$@" ip addr add "$_full" dev "$_device" nodad 2>/dev/null || return
	wait_until is_usable "$@"
}

is_usable() {
	"$@" ip -6 route show table local | grep -q "^local $_address dev" &&
		! "$@" ip -6 addr show dev "$_device" tentative | grep -q inet6
}

# A silent network: an interface that swallows what is sent there. 192.0.2.1
# and 2001:db8::1 are in it, 192.0.2.2 and 2001:db8::2 are this machine's.
silent_network() {
	need_iproute2
	ip link add silent index 11 type veth peer name end ||
		skip "needs veth"
	ip link set silent arp off
	ip link set end up
	ip link set silent up
	ip addr add 192.0.2.2/24 dev silent
	add_address 2001:db8::2/64 silent
	wait_until is_up silent
}

# is_up DEVICE [COMMAND...]
is_up() {
	_device=$1
	shift
	"$@" ip link show "$_device" | grep -q 'state UP'
}

# A second machine at the other end of a cable, 192.0.2.2 and 2001:db8::2;
# there runs a command in it.
second_machine() {
	need nsenter
	need_iproute2
	start unshare -n sleep 300
	there="nsenter -t $pid -n"
	wait_until is_elsewhere "$pid"
	ip link add here type veth peer name there netns "$pid" ||
		skip "needs veth"
	ip addr add 192.0.2.1/24 dev here
	ip link set here up
	$there ip addr add 192.0.2.2/24 dev there
	$there ip link set there up
	$there ip link set lo up
	wait_until is_up here
	wait_until is_up there $there
	add_address 2001:db8::1/64 here
	add_address 2001:db8::2/64 there $there
}

is_elsewhere() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/$$/ns/net)" ]
}

# filter HOOK RULE...: has nft add a rule on what comes in or goes out.
filter() {
	need nft
	_hook=$1
	shift
	nft add table inet test
	nft add chain inet test "$_hook" \
		"{ type filter hook $_hook priority 0; }"
	nft add rule inet test "$_hook" "$@" || skip "needs nft: $*"
}

unfilter() {
	nft delete table inet test
}

# drop_syns PORT: this machine's port keeps silent.
drop_syns() {
	filter input tcp dport "$1" tcp flags syn counter drop
}

# Prints what the counters of these rules say.
counts() {
	nft list table inet test | sed -n 's/.* packets \([0-9]*\) .*/\1/p' |
		tr '\n' ' ' | sed 's/ $//'
}

has_counted() {
	[ "$(counts)" -ge "$1" ]
}

# Names

# In a namespace of its own a test has an /etc of its own, too, and a name
# server that does what the test wants: .ci/nameserver, which tells its rules.

nameserver=${0%/*}/.ci/nameserver
failing="Name server failed"
unanswered="No answer from the name server"
unknown="Name does not resolve"

# own_etc [LINE...]: an /etc with nothing in it but these lines of resolv.conf.
# What Debian calls an alternative, awk for example, is not there any more.
own_etc() {
	mount -t tmpfs none /etc || skip "needs mount"
	[ $# = 0 ] || printf '%s\n' "$@" >/etc/resolv.conf
}

# zone: what the name servers do from now on is on standard input.
zone() {
	cat >zone.new
	mv zone.new zone
}

# Starts the name servers, which log each question into the file questions.
serve_zone() {
	[ -x "$nameserver" ] || skip "needs .ci/nameserver"
	need python3
	rm -f questions
	start "$nameserver" zone questions
	wait_until [ -e questions ]
}

# asked N ERE: they were asked so many questions like this.
asked() {
	_count=$(grep -Ec -- "$2" questions)
	[ "$_count" -eq "$1" ] ||
		fail "wanted: $1 questions like '$2', not $_count of" \
			"$(tail -n 20 questions)"
}

# was_asked ERE [N]: N or more.
was_asked() {
	[ "$(grep -Ec -- "$1" questions)" -ge "${2-1}" ]
}

# took_at_most MS: what would be wrong takes longer.
took_at_most() {
	[ "$ms" -le "$1" ] || fail "wanted: $1 ms at most"
}

# since TIME: sets ms to what has passed since the clock said TIME.
since() {
	clock
	ms=$((time - $1))
}

# targets NAME...: prints a target of port for each of them.
targets() {
	printf "%s:$port " "$@"
}

# not_bound REASON NAME...: prints a message of port for each of them.
not_bound() {
	_reason=$1
	shift
	printf "Port $port not bound on %s. ($_reason)\n" "$@"
}

# Tests: several name servers

nstest_an_address_from_any_name_server_counts() {
	listen4
	own_etc
	seq 9 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	# All others say that it does not exist, and say so first.
	seq 9 | sed 's/.*/server 127.0.0.&\nn& A 127.0.0.1/' | zone
	serve_zone
	expect 0 '' -t 15 $(targets n1 n2 n3 n4 n5 n6 n7 n8) occupied
	expect 1 "$(not_bound "$unknown" n9)" -t 0 "n9:$port" occupied
	for i in 1 8; do
		check was_asked " 127\.0\.0\.$i .* A n9\$"
	done
	asked 0 ' 127\.0\.0\.9 '
}

# The first denies at once, the others later, or never.
nstest_a_denial_waits_100_ms_for_other_name_servers() {
	listen4
	own_etc
	seq 7 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	{
		echo "* *"
		echo "server 127.0.0.1"
		echo "* * nxdomain"
		echo "soon2 * nodata"
		for i in 2 3 4 5; do
			echo "server 127.0.0.$i"
			echo "late * delay=$((i * 90 - 90)) nxdomain"
		done
		echo "server 127.0.0.6"
		echo "soon1 A delay=50 127.0.0.1"
		echo "soon2 A delay=50 127.0.0.1"
		echo "server 127.0.0.7"
		echo "late A delay=430 127.0.0.1"
	} | zone
	serve_zone
	expect 0 '' -t 15 "soon1:$port" "soon2:$port" occupied
	for name in silent late; do
		expect 1 "Port $port not free on $name. ($unknown)" -c 60 \
			"$name:$port" assert-free
		took_at_least 100
	done
	expect 1 "Port $port not free on silent. ($unknown)" -t 60 \
		"silent:$port" free
}

# Just before the question is sent again the first denies.
nstest_a_late_denial_waits_100_ms_for_other_name_servers() {
	listen4
	own_etc "nameserver 127.0.0.1" "nameserver 127.0.0.2" "search a.test"
	zone <<-EOF
		server 127.0.0.1
		* * delay=960 nxdomain
		db * delay=20 127.0.0.1
		server 127.0.0.2
		* *
	EOF
	serve_zone
	expect 1 "Port $port not free on no. ($unknown)" -t 20 "no:$port" free
	took_at_most 6000
	expect 0 '' -t 20 "db:$port" occupied
	took_at_most 4500
}

# Each failure of the first; 127.0.0.2 refuses packets, as nobody is there.
nstest_a_name_server_that_fails_leaves_the_others() {
	listen4
	own_etc "nameserver 127.0.0.1" "nameserver 127.0.0.2" \
		"nameserver 198.51.100.1" "nameserver 127.0.0.3"
	kinds="servfail refused formerr notimp"
	{
		echo "server 127.0.0.1"
		for kind in $kinds; do
			echo "$kind * $kind"
		done
		echo "neither * servfail"
		echo "silent *"
		echo "server 127.0.0.3"
		echo "* A delay=300 127.0.0.1"
		echo "* AAAA delay=300 nodata"
		echo "neither * nxdomain"
	} | zone
	serve_zone
	expect 0 '' -t 0 -c 5 $(targets $kinds silent) occupied
	expect 1 "$(not_bound "$unknown" neither)" -t 0 "neither:$port" \
		occupied
	echo "nameserver 127.0.0.1" >/etc/resolv.conf
	expect 1 "$(not_bound "$failing" $kinds)" -t 0 -c 60 \
		$(targets $kinds) occupied
	for unreachable in 127.0.0.2 198.51.100.1 2001:db8::1; do
		echo "nameserver $unreachable" >/etc/resolv.conf
		expect 1 "$(not_bound "$unanswered" any)" -t 0 -c .2 \
			"any:$port" occupied
	done
}

nstest_name_servers_of_ipv6() {
	need_ipv6
	listen4
	own_etc
	silent_network
	add_address fe80::5/64 silent
	zone <<-EOF
		server ::1
		* A 127.0.0.1
		server fe80::5%silent
		* A 127.0.0.1
	EOF
	serve_zone
	for address in ::1 fe80::5%silent fe80::5%11; do
		: >questions
		echo "nameserver $address" >/etc/resolv.conf
		expect 0 '' -t 15 "db:$port" occupied
		check was_asked " ${address%[%]*}.* db\$"
	done
}

# Tests: silence, and what ends it

nstest_a_question_is_repeated_after_a_second() {
	listen4
	own_etc "nameserver 127.0.0.1" "options timeout:30 attempts:1"
	zone <<-EOF
		lost A after=1 127.0.0.1
		late A delay=1500 until=1 127.0.0.1
	EOF
	serve_zone
	expect 0 '' -t 0 -c 60 $(targets lost late) occupied
	took_at_least 1500
	for name in lost late; do
		# By the same socket, with the same ID.
		asked 2 " A $name\$"
		set -- $(sed -n "s/ [^ ]* udp \(.*\) A $name\$/ \1/p" questions)
		check [ "$2 $3" = "$5 $6" ]
		check [ $(($4 - $1)) -ge 900 ]
	done
	# What has been answered is not asked again.
	asked 1 ' AAAA lost$'
}

# Nobody is there at first, and its packets are refused.
nstest_a_name_server_that_starts_late() {
	listen4
	own_etc
	echo "db A 127.0.0.1" | zone
	start_portend -v -t 15 "db:$port" occupied
	pass_time 500
	still_waits
	serve_zone
	clock
	begun=$time
	ends 0
	since "$begun"
	took_at_most 4500
}

# As at boot, before the network is there: no packet can be sent.
nstest_a_name_server_that_becomes_reachable() {
	need_ipv6
	listen4
	own_etc
	for address in 192.0.2.9 2001:db8::9 fe80::9%silent; do
		echo "nameserver $address" >/etc/resolv.conf
		start_portend -v -t 15 "db:$port" occupied
		wait_for_err "db:$port: $unanswered"
		case $address in
		fe80*)
			silent_network
			add_address "${address%[%]*}/64" silent
			;;
		*:*)
			need_iproute2
			add_address "$address/128" lo
			;;
		*) ip addr add "$address/32" dev lo ;;
		esac
		printf '%s\n' "server $address" "* A 127.0.0.1" | zone
		serve_zone
		ends 0
	done
}

# As where a route or an address of ours has changed, or a rule that translates
# addresses: what an old socket sends never arrives.
nstest_a_look_up_that_keeps_silent_gets_new_sockets() {
	listen4
	own_etc
	echo "* *" | zone
	serve_zone
	start_portend -t 20 "db:$port" occupied
	wait_until was_asked ' A db$'
	filter input udp sport "$(sed -n 1p questions | cut -d ' ' -f 4)" drop
	echo "* A 127.0.0.1" | zone
	ends 0
}

nstest_a_resolv_conf_that_changes_is_followed() {
	listen4
	own_etc
	zone <<-EOF
		server 127.0.0.2
		db A 127.0.0.1
		server 127.0.0.3
		* *
	EOF
	serve_zone
	for before in '' "nameserver 127.0.0.3"; do
		rm -f /etc/resolv.conf
		[ ! "$before" ] || echo "$before" >/etc/resolv.conf
		start_portend -t 15 "db:$port" occupied
		if [ "$before" ]; then
			wait_until was_asked "127.0.0.3 .* A db\$"
		else
			wait_until is_sleeping "$waiter"
		fi
		echo "nameserver 127.0.0.2" >/etc/resolv.conf
		clock
		begun=$time
		ends 0
		since "$begun"
		took_at_most 4500
	done
}

nstest_hosts_is_read_again_with_each_question() {
	listen4
	own_etc
	echo "* *" | zone
	serve_zone
	for options in "-t 15" "-t 0 -c 9"; do
		rm -f /etc/hosts
		: >questions
		start_portend $options "db:$port" occupied
		wait_until was_asked ' A db$'
		echo "127.0.0.1 db" >/etc/hosts
		ends 0
	done
	# And one that changes is followed.
	echo "127.0.0.2 db" >/etc/hosts
	start_portend -v -t 15 "db:$port" occupied
	wait_for_err refused
	echo "127.0.0.1 db" >/etc/hosts
	ends 0
}

# What a firewall rule of this machine drops is an error for who sends it.
nstest_questions_that_cannot_be_sent() {
	listen4
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	filter output udp dport 53 drop
	start_portend -t 15 "db:$port" occupied
	pass_time 300
	still_waits
	unfilter
	ends 0
}

nstest_each_question_has_an_id_and_a_port_of_its_own() {
	own_etc
	echo "* * nodata" | zone
	serve_zone
	run -t 0 $(seq 40 | sed 's/.*/n&:9/') occupied
	for field in 4 5; do
		check [ "$(grep ' A ' questions | cut -d ' ' -f $field |
			sort -u | wc -l)" -ge 35 ]
	done
	run -t 0 n1:9 occupied
	check [ "$(grep ' A n1$' questions |
		cut -d ' ' -f 5 | sort -u | wc -l)" = 2 ]
}

# What has come meanwhile is heard before anything counts as silent, though it
# is behind more packets than are taken at once.
nstest_a_look_up_that_is_frozen() {
	need_ipv6
	listen6
	own_etc
	zone <<-EOF
		frozen A delay=300 127.0.0.1
		frozen AAAA times=20 delay=300 id ::1 ; delay=300 ::1
		now A 127.0.0.2
	EOF
	serve_zone
	start_portend -t 1 "frozen:$port" free
	free=$waiter
	start_portend -c .8 "frozen:$port" assert-free
	wait_until was_asked ' AAAA frozen$' 2
	kill -STOP "$free" "$waiter"
	pass_time 1000
	# The name server answers in the order of time.
	expect 0 '' -c 30 "now:$port" assert-free
	kill -CONT "$free" "$waiter"
	ends 1
	finish "$free"
	is_status 1
}

# A name server that has been silent for 5 s, and then answers: both families
# are waited for, as at the beginning.
nstest_answers_after_a_long_silence() {
	need_ipv6
	listen6
	own_etc
	zone <<-EOF
		x A after=6 127.0.0.1
		x AAAA after=6 delay=300 ::1
		y A after=4 delay=800 127.0.0.1
		y AAAA after=4 delay=1100 ::1
	EOF
	serve_zone
	start_portend -v "x:$port" "y:$port" free
	for name in x y; do
		wait_for_err "$name:$port: (Connection accepted|free)"
	done
	still_waits
	err_lacks free
}

# When silence has counted, the next question is on its way at once.
nstest_no_question_is_lost_when_silence_counts() {
	listen4
	own_etc
	printf '%s\n' "x A after=5 delay=60 127.0.0.1" "x AAAA" | zone
	serve_zone
	# The rounds of the other wake it meanwhile.
	start_portend -v "x:$port" 127.0.0.1:1 occupied
	wait_for_err "x:$port: occupied"
	asked 6 ' A x$'
}

# Tests: the search list

# One that has no server in it: that is 127.0.0.1.
nstest_the_search_list() {
	own_etc
	echo "* * nxdomain" | zone
	serve_zone
	while IFS='|' read -r conf name wanted; do
		printf '%b' "$conf" >/etc/resolv.conf
		: >questions
		expect 1 "Port 9 not bound on $name. ($unknown)" -t 0 \
			"$name:9" occupied
		for type in A AAAA; do
			found=$(sed -n "s/.* $type //p" questions | uniq |
				tr '\n' ' ')
			[ "${found% }" = "$wanted" ] ||
				fail "with $conf $name is $found, not $wanted"
		done
	done <<-'EOF'
		|x|x
		|x.y|x.y
		\n\noptions\n\nsearch\n|x|x
		search a.test b.test|x|x.a.test x.b.test x
		search a.test b.test\n|x.y|x.y x.y.a.test x.y.b.test
		search a.test b.test|x.|x
		search a.test b.test|x.y.|x.y
		search a.test\noptions ndots:2|x.y|x.y.a.test x.y
		search a.test\noptions ndots:2\n|x.y.z|x.y.z x.y.z.a.test
		search a.test\noptions ndots:2|x.y.|x.y
		search a.test\noptions ndots:0|x|x x.a.test
		options x ndots:3 timeout:9\nsearch a.test|x.y|x.y.a.test x.y
		options ndots:3\noptions x\nsearch a.test|x.y|x.y.a.test x.y
		search .|x|x
		search .\noptions ndots:5|x.y|x.y
		search a.test.|x|x.a.test x
		search \t a.test\t b.test \t\n|x|x.a.test x.b.test x
		domain a.test|x|x.a.test x
		domain a.test\nsearch b.test c.test|x|x.b.test x.c.test x
		search b.test c.test\ndomain a.test|x|x.a.test x
		search b.test\nsearch a.test|x|x.a.test x
		search a.test\n#search b.test\n# search c.test|x|x.a.test x
		search a.test\n;search b.test\n; search c.test|x|x.a.test x
		searching b.test\nsearch a.test\nsearch2 b.test|x|x.a.test x
		nameserver 127.0.0.1\nnameserver nosuch\nnameserver\n|x|x
		nameserver 1.2.3\nnameserver 127.0.0.1.1\n|x|x
	EOF
}

nstest_a_long_search_list() {
	listen4
	own_etc
	printf '%s\n' "x.d500.test A 127.0.0.1" "y.a.test A 127.0.0.1" | zone
	serve_zone
	blanks=$(printf %010000d 0 | tr 0 ' ')
	# In this one any name is too long; the others are no domains.
	long=$(printf '%060d.%060d.%060d.%060d.test' 1 2 3 4)
	{
		echo "#$blanks"
		echo "search $(seq 500 | sed 's/.*/d&.test/' | tr '\n' ' ')"
		echo "nameserver$blanks 127.0.0.1"
	} >/etc/resolv.conf
	expect 0 '' -t 0 -c 30 "x:$port" occupied
	asked 500 ' A x\.d[0-9]+\.test$'
	printf %s "search $long a..test $(printf %070d 0).test$blanks a.test" \
		>/etc/resolv.conf
	expect 0 '' -t 0 -c 5 "y:$port" occupied
}

# search_a_b: a resolv.conf with a search list of two.
search_a_b() {
	own_etc "nameserver 127.0.0.1" "search a.test b.test"
}

nstest_a_candidate_without_an_address_leads_on() {
	listen4
	search_a_b
	kinds="nxdomain nodata servfail refused"
	{
		for kind in $kinds; do
			echo "$kind.a.test * $kind"
			echo "$kind.b.test A 127.0.0.1"
			echo "$kind.dots * $kind"
			echo "$kind.dots.b.test A 127.0.0.1"
			echo "$kind-last.a.test * $kind"
			echo "$kind-last A 127.0.0.1"
		done
		echo "mixed.a.test A servfail"
		echo "mixed.a.test AAAA delay=200 nodata"
		echo "mixed.b.test A 127.0.0.1"
	} | zone
	serve_zone
	for kind in $kinds; do
		expect 0 '' -t 0 -c 5 $(targets "$kind" "$kind.dots" \
			"$kind-last") occupied
	done
	expect 0 '' -t 0 -c 5 "mixed:$port" occupied
}

# Though the family that the first of them does not have is answered sooner.
nstest_a_candidate_is_one_for_both_families() {
	need_ipv6
	listen4
	taken4=$port
	listen6
	taken6=$port
	search_a_b
	zone <<-EOF
		four.a.test A delay=300 127.0.0.1
		four.b.test AAAA ::1
		six.a.test AAAA delay=300 ::1
		six.b.test A 127.0.0.1
		half.a.test A 127.0.0.1
		half.a.test AAAA servfail
		half.b.test * ::1
		half * ::1
	EOF
	serve_zone
	expect 0 '' -t 0 -c 5 "four:$taken4" "six:$taken6" occupied
	expect 1 "Port $taken6 not bound on four.
Port $taken4 not bound on six.
Port $taken6 not bound on half." -t 0 -c 5 "four:$taken6" "six:$taken4" \
		"half:$taken6" occupied
	asked 0 b.test
}

# None has an address, and one of them has failed: who knows.
nstest_a_candidate_that_failed() {
	free_port
	search_a_b
	zone <<-EOF
		first.a.test * servfail
		second.b.test * refused
		last * servfail
		dots.test * servfail
		six.a.test AAAA servfail
	EOF
	serve_zone
	names="first second last dots.test six"
	expect 1 "$(not_bound "$failing" $names)" -t 0 $(targets $names) \
		occupied
	for name in $names; do
		expect 1 "Port $port not free on $name. ($failing)" \
			"$name:$port" assert-free
	done
	run -t .5 $(targets $names) free
	is_status 1
	took_at_least 500
	has_lines 5 err
	check [ "$(grep -c "not free .* ($failing)" err)" = 5 ]
}

nstest_silence_leads_nowhere_else() {
	listen4
	search_a_b
	zone <<-EOF
		* A 127.0.0.1
		quiet.a.test *
		half.a.test A nxdomain
		half.a.test AAAA
	EOF
	serve_zone
	expect 1 "$(not_bound "$unanswered" quiet half)" -t 1.5 \
		$(targets quiet half) occupied
	asked 0 b.test
	asked 2 ' A quiet.a.test$'
	asked 2 ' AAAA half.a.test$'
}

# Though nothing is heard for so long that for free it would count as without an
# address. What then is heard is as ever: the best is said last.
nstest_a_long_silence_leads_nowhere_else() {
	listen4
	search_a_b
	echo "nameserver 127.0.0.2" >>/etc/resolv.conf
	zone <<-EOF
		* A 127.0.0.1
		server 127.0.0.1
		half.a.test A
		half.a.test AAAA nodata
		back.a.test A after=6 delay=10 127.0.0.1
		back.a.test AAAA after=6 nodata
		two.a.test * after=6 nxdomain
		server 127.0.0.2
		half.a.test *
		back.a.test *
		two.a.test A after=6 delay=10 127.0.0.1
		two.a.test AAAA after=6 delay=10 nodata
	EOF
	serve_zone
	expect 1 "$(not_bound "$unanswered" half)" -t 8 "back:$port" \
		"two:$port" "half:$port" occupied
	asked 0 b.test
}

# Tests: answers

# The port is taken on 127.0.0.1 only, which is the last of many.
nstest_truncated_answers() {
	need_ipv6
	listen4
	own_etc
	record=c00c00010001000000010004
	long=$(printf '%060d.%060d.%060d.%060d.test' 1 2 3 4)
	zone <<-EOF
		server 127.0.0.1
		sixty A tc ; tcp 127.0.1.1+59 127.0.0.1
		some A tc 127.0.1.1+29 ; tcp 127.0.1.1+127 127.0.0.1
		many A tc 127.0.1.1+29 ; tcp 127.0.1.1+199 127.0.0.1
		both A tc ; tcp 127.0.1.1+59 127.0.0.1
		both AAAA tc ; tcp fd00::1+128
		pieces A tc ; tcp chunk=1,2 127.0.1.1 127.0.0.1
		end A tc ; tcp chunk=38,300 127.0.0.1
		$long A tc ; tcp 127.0.0.1
		late A tc ; tcp delay=500 127.0.0.1
		fitted A tc 127.0.0.1
		cut A tc 127.0.0.1 ; tcp cut=100 127.0.1.1+60
		closed A tc 127.0.0.1 ; tcp cut=0
		slow A tc 127.0.0.1 ; tcp chunk=1,20 127.0.1.1+60
		lies A tc 127.0.0.1 ; tcp id 127.0.1.1
		another A tc 127.0.0.1 ; tcp asked=another.test,1,1 127.0.1.1
		broken A tc 127.0.0.1 ; tcp raw=I,81800001ffff00000000,Q,c00c
		ends A tc raw=I,8380,0001000500000000,Q,${record}7f000001,c00c00
		six A 127.0.0.1
		six AAAA tc
		fitted.a.test A tc 127.0.0.1
		server 127.0.0.2 notcp
		refused A tc 127.0.0.1
	EOF
	serve_zone
	rest="fitted cut closed slow lies another broken ends six"
	expect 0 '' -t 0 -c 9 \
		$(targets sixty some many both pieces end "$long" late $rest) \
		occupied
	# What the others are is not known before TCP has had its second.
	free_port
	: >questions
	start_portend -c 60 "fitted:$port" assert-free
	wait_until was_asked ' tcp .* fitted$'
	clock
	begun=$time
	ends 0
	since "$begun"
	took_at_least 600
	took_at_most 8000
	# What is not an answer ends it before.
	expect 0 '' -c 60 $(targets cut closed lies another broken) assert-free
	took_at_most 4000
	echo "nameserver 127.0.0.2" >/etc/resolv.conf
	expect 0 '' -c 60 "refused:$port" assert-free
	# The candidate is the name.
	printf '%s\n' "nameserver 127.0.0.1" "search a.test b.test" \
		>/etc/resolv.conf
	expect 1 "Port $port not bound on fitted." -t 1.5 "fitted:$port" \
		occupied
	asked 0 b.test
}

# Each server that has truncated its answer is asked by TCP, until one answers.
nstest_truncated_answers_of_several_name_servers() {
	listen4
	own_etc
	seq 3 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	zone <<-EOF
		server 127.0.0.1
		x A tc ; tcp delay=50 servfail
		y A tc ; tcp delay=50 servfail
		server 127.0.0.2
		x A delay=10 tc ; tcp delay=50 refused
		y A delay=10 tc ; tcp 127.0.0.1
		server 127.0.0.3
		x A delay=20 tc ; tcp 127.0.0.1
		y A delay=20 tc ; tcp refused
	EOF
	serve_zone
	expect 0 '' -t 8 "x:$port" "y:$port" occupied
	asked 1 ' 127\.0\.0\.3 tcp '
}

# Nothing has fitted, and TCP gives nothing: that is no denial.
nstest_a_truncated_answer_without_an_address() {
	free_port
	own_etc
	zone <<-EOF
		hang A tc
		cut A tc ; tcp cut=1
		never A tc
		never AAAA 127.0.0.1
	EOF
	serve_zone
	for name in hang cut never; do
		run -t 0 -c 1.5 "$name:$port" free
		is_status 1
		err_has "^Port $port not free on $name\. \("
		err_lacks "$unknown"
	done
	run -t .5 "hang:$port" free
	is_status 1
	took_at_least 500
	err_lacks "$unknown"
}

# Another server's denial does not decide while TCP is under way.
nstest_a_truncated_answer_and_a_denial() {
	listen4
	own_etc "nameserver 127.0.0.1" "nameserver 127.0.0.2"
	zone <<-EOF
		server 127.0.0.1
		x A tc ; tcp delay=300 127.0.0.1
		server 127.0.0.2
		x * nxdomain
	EOF
	serve_zone
	expect 0 '' -t 0 -c 9 "x:$port" occupied
	expect 1 "Port $port is in use on 127.0.0.1." -c 9 "x:$port" assert-free
}

nstest_a_name_with_many_addresses() {
	listen4 bind=127.0.1.47
	taken=$port
	free_port
	own_etc
	zone <<-EOF
		many A 127.0.1.1+60
		many AAAA nodata
	EOF
	serve_zone
	expect 1 "Port $taken is in use on 127.0.1.47." "many:$taken" \
		assert-free
	expect 1 "Port $taken not free on many." -t 0 "many:$taken" free
	expect 0 '' -t 0 "many:$taken" occupied
	expect 0 '' "many:$port" assert-free
	expect 0 '' -t 5 "many:$port" free
	expect 1 "Port $port not bound on many." -t 2 "many:$port" occupied
}

nstest_an_address_that_is_given_twice() {
	trace connect
	free_port
	own_etc
	printf '%s hosts\n' 127.0.0.1 127.0.0.1 ::ffff:127.0.0.1 >/etc/hosts
	zone <<-EOF
		dns A 127.0.0.1 127.0.0.1
		dns AAAA ::ffff:127.0.0.1
	EOF
	serve_zone
	for name in hosts dns; do
		run_traced -t 0 "$name:$port" occupied
		gave 1 "Port $port not bound on $name."
		check [ "$(grep -c "htons($port)" calls)" = 1 ]
		expect_out 0 "$port" "$name:$port" find
	done
}

nstest_aliases() {
	listen4
	own_etc
	zone <<-EOF
		one A cname=a.test 127.0.0.1
		three A cname=a.test cname=b.test cname=c.test 127.0.0.1
		three AAAA cname=a.test cname=b.test cname=c.test
		reversed A owner=a.test 127.0.0.1 owner=reversed cname=a.test
		without A cname=a.test
		without AAAA cname=a.test
	EOF
	serve_zone
	expect 0 '' -t 0 $(targets one three reversed) occupied
	expect 1 "$(not_bound "$unknown" without)" -t 0 "without:$port" \
		occupied
}

# With 253 bytes it is left as it is, whatever the search list.
nstest_the_longest_names() {
	listen4
	long=$(printf '%063d.%063d.%063d.%061d' 1 2 3 4 | tr 0-9 a-j)
	short=${long#????}
	own_etc "search test ${short#*.}"
	printf '%s\n' "$long A 127.0.0.1" "x.${short#*.} A 127.0.0.1" | zone
	serve_zone
	expect 0 '' -t 0 $(targets "$long" "$long." x) occupied
	asked 0 "$long.test"
	: >questions
	echo "127.0.0.1 $short" >/etc/hosts
	expect 0 '' -t 0 "$short:$port" occupied
	is_file questions ''
}

nstest_names_in_upper_and_lower_case() {
	listen4
	own_etc
	zone <<-EOF
		dns A case 127.0.0.1
		dns AAAA case nodata
	EOF
	serve_zone
	echo "127.0.0.1 HoSts" >/etc/hosts
	expect 0 '' -t 0 $(targets dns DNS hosts HOSTS) occupied
}

# Each lie is told twice, and the truth later: once the name would not exist,
# once it would have an address that is taken. A lie in bytes is two.
nstest_answers_that_do_not_belong_to_the_question() {
	listen4
	own_etc
	a=c00c000100010000000100047f000001
	none=0001000000000000 one=0001000100000000 two=0002000100000000
	n=0
	while IFS='|' read -r denial address; do
		n=$((n + 1))
		[ "$address" ] || address="$denial 127.0.0.1" \
			denial="$denial nxdomain"
		for type in A AAAA; do
			echo "name$n $type $denial ; delay=300 127.0.0.1"
			echo "address$n $type $address ; delay=300 127.0.0.2"
		done
	done <<-EOF >rules
		id
		asked=other,,
		asked=name,,
		asked=,16,
		asked=,257,
		asked=,,3
		asked=,,257
		via=127.0.0.9#53
		via=127.0.0.1#5353
		raw=I,8183,0000000000000000|raw=I,8180,0000000100000000,$a
		raw=I,8183,0002000000000000,Q,Q|raw=I,8180,$two,Q,Q,$a
		raw=I,0103,$none,Q|raw=I,0100,$one,Q,$a
	EOF
	zone <rules
	serve_zone
	expect 0 '' -t 0 -c 9 $(targets $(seq $n | sed 's/^/name/')) occupied
	expect 0 '' -t 0 -c 9 $(targets $(seq $n | sed 's/^/address/')) free
}

# They are of the other family or class, of another type, or in another section.
nstest_records_that_are_no_addresses() {
	need_ipv6
	listen4
	taken4=$port
	listen6
	own_etc
	one=0001000100000000,Q
	a=c00c00010001000000010004,7f000001 b=c00c001c0001000000010010
	zone <<-EOF
		family4 A ::1
		family4 AAAA nodata
		family6 AAAA 127.0.0.1
		family6 A nodata
		class A raw=I,8180,$one,c00c000100030000000100047f000001
		type A raw=I,8180,$one,c00c001000010000000100047f000001
		size4 A raw=I,8180,$one,c00c000100010000000100107f000001,Z12
		size6 AAAA raw=I,8180,$one,c00c001c00010000000100047f000001
		short6 AAAA raw=I,8180,$one,$b,00000000
		authority A raw=I,8180,0001000000010000,Q,$a
		additional A raw=I,8180,0001000000000001,Q,$a
		nxdomain A raw=I,8183,0001000000010000,Q,$a
	EOF
	serve_zone
	names=$(cut -d ' ' -f 1 zone | sort -u)
	for port in "$taken4" "$port"; do
		run -t 0 -c .5 $(targets $names) occupied
		for name in $names; do
			err_has "^Port $port not bound on $name\."
		done
	done
}

# All have the right ID, and most the right question. Records begin at byte 24.
nstest_hostile_packets_do_nothing() {
	listen4
	own_etc
	one=I,8180,0001000100000000,Q
	n=9
	while read -r parts; do
		n=$((n + 1))
		echo "name$n A raw=$parts ; delay=300 127.0.0.1"
		echo "name$n AAAA raw=$parts ; delay=300 nodata"
	done <<-EOF >rules
		Z0
		I
		I,8180
		I,8180,0001000000000000
		I,8180,0001000100000000
		I,8180,0001000000000000,c00c,00010001
		I,8180,0001000000000000,c00e,c00c,00010001
		I,8180,0001000000000000,3f616263
		I,8180,0001ffffffffffff,Q
		$one
		$one,c0
		$one,c00c
		$one,c00c0001000100000001
		$one,c00c00010001000000010004
		$one,c00c000100010000000100047f0000
		$one,c00c000100010000000100057f000001
		$one,c00c0001000100000001ffff7f000001
		$one,c018
		$one,c01ac018
		$one,c3ff
		$one,3f61626300010001000000010004
		$one,4000010001000000010004
		$one,01610161016101610161016101610161
		$one,c00c0005000100000001ffffc018
		I,8180,0001ffff00000000,Q,c00c000500010000000100020161
		I,8180,0001ffff00000000,Q,Z65483
		I,8180,0001ffff00000000,Q,R100
		I,8180,0001000900000000,Q,R2000
		I,8180,0001ffffffffffff,R500
		I,R500
		R20
		R1000
		R65507
	EOF
	zone <rules
	serve_zone
	expect 0 '' -t 0 -c 9 $(targets $(seq 10 $n | sed 's/^/name/')) occupied
	# 64,000 bytes of addresses, and a hundred thousand packets.
	zone <<-EOF
		huge * 127.0.0.1 127.0.1.1+4000
		flood A times=20000 id 127.0.0.1
		flood AAAA times=20000 raw=I,8180,0001000000000000,c00c,00010001
	EOF
	expect 0 '' -t 0 -c 9 "huge:$port" occupied
	expect 1 "$(not_bound "$unanswered" flood)" -t .5 "flood:$port" occupied
	took_at_least 500
}

# Tests: files

nstest_the_hosts_file() {
	need_ipv6
	listen4
	taken4=$port
	listen6
	taken6=$port
	own_etc
	echo "* * nxdomain" | zone
	serve_zone
	long=$(printf %070000d 0)
	{
		printf '%s\n' "# 127.0.0.1 no1" \
			"127.0.0.1 four four.test #no2" \
			"127.0.0.9 fourteen" "::1 six" "#$long no3" \
			"127.0.0.1 before $long after$long after" \
			"127.0.0.9 $long" "$long 127.0.0.1 no4" \
			"  127.0.0.1   blank  " "256.0.0.1 no5" "127.1 no6" \
			"no7 127.0.0.1 no8" "127.0.0.1" "" "127.0.0.9 both" \
			"::1 Both" "127.0.0.1 BOTH both.test" "127.0.0.1#no9" \
			"127.0.0.1 comment# no10"
		printf '127.0.0.1\ttab\tAlias\t\n'
		printf '127.0.0.1 h\303\244 last'
	} >/etc/hosts
	port=$taken4
	expect 0 '' -t 0 $(targets four four.test Four before after blank both \
		BOTH both.test comment tab alias ALIAS last) \
		"$(printf 'h\303\244'):$port" occupied
	port=$taken6
	expect 0 '' -t 0 $(targets six both SIX) occupied
	expect 1 "Port $port not bound on four.
Port $port not bound on last." -t 0 "four:$port" "last:$port" occupied
	is_file questions ''
	names="$(seq 10 | sed 's/^/no/') fou ast 127.0.0.1x f"
	expect 1 "$(not_bound "$unknown" $names)" -t 0 $(targets $names) \
		occupied
	# A search list is for name servers.
	rm /etc/hosts
	echo "search test" >/etc/resolv.conf
	expect 1 "$(not_bound "$unknown" four)" -t 0 "four:$port" occupied
}

nstest_a_large_hosts_file() {
	listen4
	own_etc
	echo "* *" | zone
	serve_zone
	seq 100000 | sed 's/.*/10.0.0.1 host&.example.test/' >/etc/hosts
	printf '127.0.0.1 last' >>/etc/hosts
	expect 0 '' -t 15 "last:$port" occupied
	# To read it for each of them would take many seconds.
	set -- $(seq 400 | sed 's/^/name/')
	expect 1 "$(not_bound "$unanswered" "$@")" -t .1 $(targets "$@") \
		occupied
	took_at_least 100
	took_at_most 3000
	# TIME may be up before the end of the file.
	truncate -s 2000M /etc/hosts
	expect 1 "$(not_bound "$unanswered" name)" -t .1 "name:$port" occupied
	took_at_most 1000
}

# Of a name that has hundreds of addresses each counts.
nstest_a_long_list_in_the_hosts_file() {
	listen4 bind=127.0.4.1
	own_etc
	for i in 1 2 3; do
		seq 200 | sed "s/.*/127.0.$i.& many/"
	done >/etc/hosts
	echo "127.0.4.1 many" >>/etc/hosts
	expect 0 '' "many:1" assert-free
	expect 1 "Port $port is in use on 127.0.4.1." "many:$port" assert-free
}

test_services_that_cannot_be_read() {
	trace openat
	expect_injected openat:error=ENFILE 1 \
		"portend: /etc/services: Too many open files in system" \
		-t 5 127.0.0.1:http occupied
}

nstest_the_services_file() {
	listen4
	own_etc
	bad 127.0.0.1:some "no such port or service" 127.0.0.1:some free
	long=$(printf %070000d 0)
	{
		printf '%s\n' '# comment' "#no1 $port/tcp" "other 9/tcp a1 a2" \
			"some $port/udp" "some	$port/tcp	alias # no2" \
			"some 9/tcp" "$long 9/tcp" "long $port/tcp $long end" \
			"no3 $port/udp" "no4 $port" "no5 -$port/tcp" \
			"no6 0/tcp" "no7 ${port}x/tcp" "no8 /tcp" \
			"no9 $port/tcpx" ""
		printf 'last %s/tcp' "$port"
	} >/etc/services
	for service in some alias long end last; do
		expect 0 '' -t 0 "127.0.0.1:$service" occupied
	done
	for service in $(seq 9 | sed 's/^/no/') som somes a3; do
		bad "127.0.0.1:$service" "no such port or service" \
			"127.0.0.1:$service" free
	done
}

# Tests: localhost, and addresses of a special kind

nstest_localhost_is_asked_of_nobody() {
	need_ipv6
	own_etc
	echo "* A 127.0.0.9" | zone
	serve_zone
	echo "127.0.0.9 localhost localhost. db.localhost" >/etc/hosts
	for listen in listen4 listen6; do
		$listen
		expect 0 '' -t 0 $(targets localhost LocalHost. db.localhost \
			A.b.LOCALHOST. x-.localhost) occupied
	done
	is_file questions ''
	for name in localhosts alocalhost localhost.test db.localhost.test \
		a-localhost localhost.localhosts; do
		expect 1 "Port $port not bound on $name." -t 0 "$name:$port" \
			occupied
		check was_asked " A $name\$"
	done
}

nstest_numbers_and_localhost_need_no_file() {
	trace open,openat,socket
	listen4
	for host in localhost db.localhost 127.0.0.1 0.0.0.0; do
		run_traced -t 0 "$host:$port" occupied
		is_status 0
		check_not grep -E 'open|DGRAM' calls
	done
}

nstest_special_addresses_of_names() {
	need_ipv6
	listen4
	taken=$port
	free_port
	own_etc
	zone <<-EOF
		zero A 0.0.0.0
		mapped AAAA ::ffff:127.0.0.1
		local A 127.0.0.1
		local AAAA fe80::1
		only AAAA fe80::1
	EOF
	serve_zone
	printf '%s\n' '0.0.0.0 zero-h' '::ffff:127.0.0.1 mapped-h' \
		'127.0.0.1 local-h' 'fe80::1 local-h only-h' >/etc/hosts
	for where in '' -h; do
		expect 0 '' -t 0 "zero$where:$taken" "mapped$where:$taken" \
			"local$where:$taken" occupied
		for name in zero mapped local; do
			expect 1 "Port $taken is in use on 127.0.0.1." \
				"$name$where:$taken" assert-free
		done
		expect 0 '' -t 15 "zero$where:$port" "mapped$where:$port" \
			"local$where:$port" "only$where:$port" free
		run -t 0 "only$where:$port" occupied
		is_status 1
		err_has "^Port $port not bound on only$where\. \(.*unreach"
	done
}

# Tests: the two families

# What a name server does with questions for the family that it does not know.
nstest_one_family_fails() {
	need_ipv6
	listen6
	taken6=$port
	listen4
	taken4=$port
	free_port
	own_etc
	for kind in servfail refused nxdomain silent; do
		word=${kind%silent}
		printf '%s\n' "$kind-4 A 127.0.0.1" "$kind-4 AAAA $word" \
			"$kind-6 AAAA ::1" "$kind-6 A $word"
	done >rules
	echo "slow A 127.0.0.1" >>rules
	echo "slow AAAA delay=500 ::1" >>rules
	zone <rules
	serve_zone
	clock
	silent_since=$time
	start_portend -t 60 "silent-4:$port" "silent-6:$port" free

	for kind in servfail refused nxdomain silent; do
		for options in "-t 15" "-t 0 -c 5"; do
			expect 0 '' $options "$kind-4:$taken4" \
				"$kind-6:$taken6" occupied
			took_at_most 4500
		done
		expect 1 "Port $taken4 is in use on 127.0.0.1." \
			-c 5 "$kind-4:$taken4" assert-free
		took_at_most 4500
		expect 1 "Port $port not bound on $kind-4.
Port $port not bound on $kind-6." -t 2 "$kind-4:$port" "$kind-6:$port" occupied
		[ $kind != silent ] || continue
		expect 0 '' -t 15 "$kind-4:$port" "$kind-6:$port" free
		took_at_most 4500
		expect 0 '' -c 5 "$kind-4:$port" "$kind-6:$port" assert-free
		took_at_most 4500
	done
	# Both are waited for.
	expect 1 "Port $taken6 not free on slow." -t 0 -c 9 "slow:$taken6" free
	expect 1 "Port $taken6 is in use on ::1." -c 9 "slow:$taken6" \
		assert-free
	# Where one is silent, until the time is up.
	expect 0 '' -c .5 "silent-4:$port" "silent-6:$port" assert-free
	took_at_least 500
	for options in "-t 0 -c .5" "-t .5"; do
		expect 0 '' $options "silent-4:$port" "silent-6:$port" free
		took_at_least 500
	done
	ends 0
	since "$silent_since"
	took_at_least 5000
	took_at_most 20000
}

# Tests: addresses that change

# The silence of a family is paid for once: then what is freed is free at once.
nstest_a_family_that_keeps_silent_is_waited_for_once() {
	listen4
	own_etc
	zone <<-EOF
		x A delay=30 127.0.0.1
		x AAAA
	EOF
	serve_zone
	start_portend -v -t 30 "x:$port" free
	pass_time 6300
	still_waits
	clock
	begun=$time
	stop "$server"
	ends 0
	since "$begun"
	took_at_most 2000
}

nstest_a_name_that_appears_late() {
	listen4
	own_etc
	zone </dev/null
	serve_zone
	start_portend -v -t 15 "late:$port" occupied
	wait_for_err "late:$port: $unknown"
	echo "late A 127.0.0.1" | zone
	ends 0
	has_lines 2 err
}

nstest_a_name_server_in_trouble_is_asked_again() {
	listen4
	taken=$port
	free_port
	own_etc
	zone <<-EOF
		db * until=1 servfail ; after=1 127.0.0.1
		gone * until=1 refused ; after=1 nxdomain
	EOF
	serve_zone
	start_portend -t 15 "db:$taken" occupied "db:$port" free
	expect 1 "Port $port not free on gone. ($unknown)" -t 15 "gone:$port" \
		free
	took_at_least 900
	ends 0
}

nstest_an_address_that_changes_is_followed() {
	listen4
	own_etc
	echo "db A 127.0.0.2" | zone
	serve_zone
	start_portend -v -t 15 "db:$port" occupied
	wait_for_err "db:$port: Connection refused"
	echo "db A 127.0.0.1" | zone
	ends 0
	# The other way round.
	start_portend -v -t 15 "db:$port" free
	wait_for_err "db:$port: Connection accepted"
	echo "db A 127.0.0.2" | zone
	ends 0
}

nstest_an_address_is_kept_while_the_name_server_is_dead() {
	free_port
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	start_portend -v -t 15 "db:$port" occupied
	wait_for_err "db:$port: Connection refused"
	echo "db *" | zone
	wait_until was_asked ' A db$' 3
	serve4
	ends 0
}

# A candidate that fails, and the last that denies, tell nothing of either family.
nstest_an_address_is_kept_while_a_candidate_fails() {
	need_ipv6
	search_a_b
	zone </dev/null
	serve_zone
	for record in "A 127.0.0.1" "AAAA ::1"; do
		free_port
		: >questions
		echo "db.a.test $record" | zone
		start_portend -v -t 15 "db:$port" occupied
		wait_for_err "db:$port: Connection refused"
		echo "db.a.test * servfail" | zone
		wait_until was_asked ' A db$' 2
		case $record in
		*::1) serve TCP6-LISTEN "bind=[::1]" ;;
		*) serve4 ;;
		esac
		ends 0
	done
}

nstest_an_address_is_dropped_when_the_name_is_gone() {
	free_port
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	start_portend -v -t 3 "db:$port" occupied
	wait_for_err "db:$port: Connection refused"
	zone </dev/null
	wait_for_err "db:$port: $unknown"
	serve4
	ends 1
	err_has "^Port $port not bound on db\. \($unknown\)"
}

# The listener's queue is full until the name has another address.
nstest_a_probe_outlives_the_address_of_a_name() {
	wedge
	wedged=$server
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	start_portend -t 90 -c 90 "db:$port" free
	free=$waiter
	start_portend -t 90 -c 90 "db:$port" occupied
	wait_until has_two_probes
	echo "db A 127.0.0.2" | zone
	# What was not answered does not count for free any more.
	finish "$free"
	is_status 0
	still_waits
	kill -CONT "$wedged"
	ends 0
}

# Both waiters have a SYN on its way.
has_two_probes() {
	[ "$(grep -c "$(printf ' 0100007F:%04X 02 ' "$port")" /proc/net/tcp)" \
		= 2 ]
}

nstest_an_address_that_stays_keeps_its_probe() {
	silent_network
	own_etc
	echo "192.0.2.1 stays" >/etc/hosts
	zone <<-EOF
		deal A turn 192.0.2.1 192.0.2.3
		stays A 192.0.2.1
	EOF
	serve_zone
	expect 0 '' -t 15 -c 1.5 stays:9 deal:9 free
	took_at_least 1500
	expect 1 "Port 9 not bound on deal. (No answer)" -t 1.5 -c 1.2 deal:9 \
		occupied
}

# What it answered before it had gone is not what it answers now.
nstest_an_address_that_comes_back_is_asked_anew() {
	need socat
	free_port
	for address in 127.0.0.2 127.0.0.3; do
		serve TCP4-LISTEN "bind=$address"
	done
	own_etc
	echo "db A 127.0.0.1 127.0.0.2" | zone
	serve_zone
	start_portend -v -t 15 "db:$port" free
	wait_for_err "db:$port: Connection accepted"
	change "db A 127.0.0.3"
	serve4
	change "db A 127.0.0.1"
	pass_time 100
	still_waits
}

# change RULE: and waits until the name server has been asked since.
change() {
	echo "$1" | zone
	_asked=$(grep -c ' A ' questions)
	wait_until was_asked ' A ' $((_asked + 1))
}

# With TIME shorter than the connect timeout nothing can be silent for longer
# than TIME less the look-up; what is asked late has not been silent for long.
nstest_a_silent_host_that_has_a_name() {
	silent_network
	own_etc
	zone <<-EOF
		soon A delay=30 192.0.2.1
		late A delay=1200 192.0.2.1
	EOF
	serve_zone
	expect 1 "Port 80 not free on late. (No answer)" -t 4 -c 9 \
		soon:80 late:80 free
	took_at_least 4000
}

# Tests: messages, and how often is asked

nstest_reasons_of_names() {
	free_port
	own_etc
	zone <<-EOF
		servfail * servfail
		refused * refused
		silent *
		nodata * nodata
		half A
		half AAAA nodata
	EOF
	serve_zone
	while read -r name reason; do
		not_free="Port $port not free on $name. ($reason)"
		expect 1 "$(not_bound "$reason" "$name")" -t .5 "$name:$port" \
			occupied
		took_at_least 500
		expect 1 "portend: $name:$port: $reason
$(not_bound "$reason" "$name")" -v -t 0 -c .5 "$name:$port" occupied
		expect 1 "$not_free" -t 0 -c .5 "$name:$port" free
		took_at_most 4500
		expect 1 "$not_free" -c .5 "$name:$port" assert-free
		expect 1 '' -q -c .5 "$name:$port" assert-free
		expect 1 "Port $port cannot be bound on $name. ($reason)" \
			-c .5 "$name:$port" find
	done <<-EOF
		servfail $failing
		refused $failing
		silent $unanswered
		half $unanswered
		nodata $unknown
		nosuch $unknown
		n.o.s.u.c.h. $unknown
	EOF
	# One that does not exist ends a wait, whatever else is waited for.
	expect 1 "Port $port not free on nosuch. ($unknown)" -t 60 \
		$at occupied "nosuch:$port" free \
		"silent:$port" free -- touch ran
	check [ ! -e ran ]
}

nstest_a_name_is_asked_for_once_a_second() {
	free_port
	own_etc
	zone <<-EOF
		db A 127.0.0.1
		servfail * servfail
		silent *
	EOF
	serve_zone
	names="db servfail silent nosuch"
	run -t 2.5 $(targets $names) occupied
	is_status 1
	for name in $names; do
		for type in A AAAA; do
			asked 3 " $type $name\$"
			set -- $(sed -n "s/ .* $type $name\$//p" questions)
			check [ $(($2 - $1)) -ge 900 ]
			check [ $(($3 - $2)) -ge 900 ]
		done
	done
	: >questions
	run -t 0 -c .5 "db:$port" "silent:$port" occupied
	run "db:$port" assert-free
	run "db:0" find
	for type in A AAAA; do
		asked 3 " $type db\$"
		asked 1 " $type silent\$"
	done
}

nstest_what_is_reached_is_asked_for_no_more() {
	listen4
	taken=$port
	free_port
	own_etc
	zone <<-EOF
		db A 127.0.0.1
		other A 127.0.0.1
		half A 127.0.0.1
		half AAAA
	EOF
	serve_zone
	expect 1 "Port $port not bound on 127.0.0.1." -t 1.5 \
		"db:$taken" "half:$taken" $at occupied "other:$port" free
	for question in 'A db' 'AAAA db' 'A half' 'AAAA half' 'A other'; do
		asked 1 " $question\$"
	done
	ls /proc/self/fd >wanted
	expect_out 0 "$(cat wanted)" -t 5 "half:$taken" "db:$taken" occupied \
		-- ls /proc/self/fd
}

# The machine's own trouble is no answer.
nstest_a_look_up_that_cannot_start() {
	trace socket
	free_port
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	for state in occupied free assert-free; do
		[ $state = occupied ] && not=bound || not=free
		run_injected socket:error=ENFILE -t .2 "db:$port" $state
		gave 1 "Port $port not $not on db. (Too many open files in\
 system)"
	done
	expect_injected socket:error=ENFILE:when=1..2 0 '' -t 60 "db:$port" free
}

# Tests: many names

# dead N: prints targets of names that are never answered.
dead() {
	seq "$1" | sed "s/.*/dead&:$port/"
}

dead_zone() {
	own_etc
	printf '%s\n' '* *' 'live A 127.0.0.1' 'hang A tc' | zone
	serve_zone
}

nstest_dead_names_do_not_take_turns() {
	free_port
	dead_zone
	run -t 0 -c 4 $(dead 200) occupied
	is_status 1
	took_at_least 4000
	took_at_most 7500
	has_lines 200 err
	check [ "$(grep -c "not bound .* ($unanswered)" err)" = 200 ]
}

nstest_a_live_name_among_dead_ones() {
	listen4
	dead_zone
	start_portend -v -t 15 $(dead 1500) "live:$port" $at \
		occupied
	wait_for_err "live:$port: occupied after [0-2]\."
	err_has "127.0.0.1:$port: occupied after 0\."
}

nstest_dead_names_are_given_up_in_time() {
	free_port
	dead_zone
	run -t .5 $(dead 40) "hang:$port" "live:$port" occupied
	is_status 1
	took_at_least 500
	took_at_most 4000
	has_lines 42 err
	check [ "$(grep -c "dead.* ($unanswered)" err)" = 40 ]
}

nstest_many_names_and_one_process() {
	listen4 bind=127.0.0.1,backlog=1024
	own_etc
	echo "* A 127.0.0.1" | zone
	serve_zone
	set -- $(seq 1500 | sed "s/.*/name&:$port/")
	expect 0 '' -t 30 "$@" occupied
	shift 1450
	if is_shipped; then
		for limit in 4 5 16; do
			expect_after "ulimit -n $limit" 0 '' -t 30 "$@" occupied
		done
	fi
	accepted_none "TCP4:$at"
	trace fork,vfork,clone,clone3
	run_traced -t 15 "name1:$port" "name2:$port" occupied
	is_status 0
	is_file calls ''
}

# 8,000 questions under way, and room for all that is to be polled. Where there
# are not that many descriptors, none is taken from a slow answer for ever.
nstest_many_names_and_many_name_servers() {
	listen4 bind=127.0.0.1,backlog=1024
	own_etc
	{
		echo "* A delay=200 127.0.0.1"
		seq 8 | sed 's/^/server 127.0.0./'
	} | zone
	seq 8 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	serve_zone
	set -- $(seq 500 | sed "s/.*/name&:$port/") occupied
	for limit in 4096 300; do
		expect_after "ulimit -n $limit" 0 '' -q -t 9 "$@"
	done
}

# What there is to read of a thousand long answers holds up no end.
nstest_many_names_and_many_addresses() {
	free_port
	own_etc
	echo "* A delay=1600 127.0.1.1+1023" | zone
	serve_zone
	run -q -t 2 $(seq 1000 | sed "s/.*/name&:$port/") occupied
	is_status 1
	took_at_least 2000
	took_at_most 2700
}

# The last of four is the one that answers.
nstest_name_servers_and_few_descriptors() {
	shipped_only "its own descriptors"
	listen4
	own_etc
	seq 6 9 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	printf '%s\n' "server 127.0.0.9" "* A delay=150 127.0.0.1" | zone
	serve_zone
	for case in 5:2 8:9; do
		expect_after "ulimit -n ${case%:*}" 0 '' -q -t 25 \
			$(seq "${case#*:}" | sed "s/.*/name&:$port/") occupied
	done
}

# Whatever is asked of them, probes have their turn.
nstest_dead_names_leave_descriptors_to_probes() {
	shipped_only "its own descriptors"
	dead_zone
	for case in 4:12 5:12 20:300; do
		free_port
		start_after "ulimit -n ${case%:*}" -v -t 15 \
			$(dead "${case#*:}") $at "live:$port" \
			occupied
		wait_for_err "127.0.0.1:$port: Connection refused"
		serve4
		wait_for_err "127.0.0.1:$port: occupied after"
		wait_for_err "live:$port: occupied after"
		stop "$waiter"
	done
}

# And names have theirs among silent addresses.
nstest_silent_addresses_leave_descriptors_to_names() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	own_etc
	echo "name A 127.0.0.1" | zone
	serve_zone
	for limit in 4 5; do
		run_after "ulimit -n $limit" -t 2.5 -c .3 192.0.2.1:1 \
			192.0.2.1:2 192.0.2.1:3 "name:$port" occupied
		is_status 1
		err_has '^Port 3 not bound'
		err_lacks "^Port $port"
	done
}

nstest_look_ups_hold_no_probe_open() {
	listen4
	dead_zone
	expect 1 "Port $port not free on dead. ($unanswered)" -t 1 \
		$at "live:$port" occupied "dead:$port" free
	accepted_none "TCP4:$at"
}

nstest_look_ups_sleep() {
	trace ppoll
	silent_network
	free_port
	dead_zone
	run_traced -q -t 2 $(dead 250) occupied
	is_status 1
	check [ "$(wc -l <calls)" -le 1000 ]
	for state in assert-free "-t 0 free" "-t 1.2 free" "-t 1.2 occupied"; do
		run_traced -c 1 192.0.2.1:9 dead:9 $state
		check [ "$(wc -l <calls)" -le 40 ]
	done
}

# Tests: names and find

nstest_find_with_a_name() {
	need_ipv6
	listen4
	taken=$port
	free_port
	own_etc
	zone <<-EOF
		both A 127.0.0.1
		both AAAA ::1
		other A 192.0.2.77
		silent *
		half A 127.0.0.1
		half AAAA
	EOF
	serve_zone
	expect_out 0 "$port" "both:$port" find
	expect 1 "Port $taken is in use on 127.0.0.1." "both:$taken" find
	expect 1 "Port 0 cannot be bound on other. (Address not available)" \
		other:0 find
	expect 1 "Port 0 cannot be bound on nosuch. ($unknown)" nosuch:0 find
	# Where one does not exist yet, or is not answered yet.
	start_portend -v -t 15 "late:$port" "silent:0" find
	wait_for_err "^portend: late:$port: $unknown\$"
	printf '%s\n' "late A 127.0.0.1" "silent AAAA ::1" | zone
	ends 0
	has_lines 2 out
	check [ "$(head -n 1 out)" = "$port" ]
	expect 1 "Port $port cannot be bound on nosuch. ($unknown)" -t 1 \
		"nosuch:$port" find
	took_at_least 1000
}

# A name server as people have it

# Makes 127.0.0.1 the name server of this namespace: what is in the files
# resolv.conf and hosts of this directory counts.
resolver() {
	for _file in resolv.conf hosts; do
		[ -e "/etc/$_file" ] || skip "needs /etc/$_file"
		: >"$_file"
		mount --bind "$_file" "/etc/$_file" || skip "needs mount"
	done
	echo "nameserver 127.0.0.1" >resolv.conf
	: >names
}

# A name server that knows the lines of the file names, and that no other name
# is in .test; it refuses to answer anything else. It logs into dns.log.
name_server() {
	need dnsmasq
	rm -f dns.log
	start dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv \
		--no-hosts --no-poll --pid-file= --user=root --group=root \
		--listen-address=127.0.0.1 --bind-interfaces --cache-size=0 \
		--addn-hosts="$dir/names" --log-queries \
		--log-facility="$dir/dns.log" --local=/test/
	name_server=$pid
	wait_until grep -qs "read $dir/names" dns.log
}

# names LINE...: what the name server is to say from now on.
names() {
	printf '%s\n' "$@" >names
	_read=$(grep -c "read $dir/names" dns.log)
	kill -HUP "$name_server"
	wait_until has_read $((_read + 1))
}

has_read() {
	[ "$(grep -c "read $dir/names" dns.log)" -ge "$1" ]
}

drop_all_questions() {
	filter input udp dport 53 drop
}

# Without a name server in reach, it does not resolve.
nstest_not_all_that_begins_with_localhost_is() {
	listen4
	for host in localhosts alocalhost localhost.a b.localhost.c ocalhost; do
		expect_like 1 "Port $port not bound on $host\. \(.*\)" \
			-t .2 -c .1 "$host:$port" occupied
	done
	for host in a.localhost A.b.LOCALHOST.; do
		expect 1 "Port $port not free on $host." \
			-t 0 "$host:$port" free
	done
}

nstest_forty_names_and_twelve_descriptors() {
	shipped_only "its own descriptors"
	listen4
	resolver
	names=
	for i in $(seq 20); do
		echo "127.0.0.1 n$i.test m$i.test" >>names
		names="$names n$i.test:$port m$i.test:$port"
	done
	name_server
	expect_after "ulimit -n 12" 0 '' -t 15 $names occupied
	expect_after "ulimit -n 12" 1 "Port $port is in use on 127.0.0.1." \
		-t 10 -c 1 $names assert-free
}

# Tests: networks

nstest_a_silent_host() {
	silent_network
	expect 1 "Port 9 not bound on 192.0.2.1. (No answer)" \
		-t .5 192.0.2.1:9 occupied
	took_at_least 500
	expect 0 '' -c .3 192.0.2.1:9 free
	took_at_least 300
	expect 0 '' -t .4 192.0.2.1:9 free
	took_at_least 400
	expect 0 '' -c 3 192.0.2.1:9 assert-free
	took_at_least 3000
	expect 1 "Port 9 not bound on 192.0.2.1. (No answer)" \
		-t 0 -c .3 192.0.2.1:9 occupied
	took_at_least 300
	need_ipv6
	expect 0 '' -c .3 '[2001:db8::1]:9' free
	took_at_least 300
}

# Every address can be bound then.
nstest_ip_nonlocal_bind() {
	native_only "IP_MULTICAST_IF"
	silent_network
	for name in ipv4 ipv6; do
		echo 1 >/proc/sys/net/$name/ip_nonlocal_bind || skip "needs $name"
	done
	for target in 192.0.2.1:9 '[2001:db8::1]:9'; do
		expect 0 '' -c .3 "$target" free
		expect 0 '' -c .3 "$target" assert-free
	done
	# Nor is it taken for this machine's, which has a server there.
	listen4 ''
	expect 0 '' -c .3 "192.0.2.1:$port" assert-free
	listen6 'bind=[::]'
	expect 0 '' -c .3 "[2001:db8::1]:$port" assert-free
	# These are this machine's.
	listen4 bind=192.0.2.2
	drop_syns "$port"
	expect 1 "Port $port is in use on 192.0.2.2." \
		-c .2 "192.0.2.2:$port" assert-free
	listen6 'bind=[2001:db8::2]'
	drop_syns "$port"
	expect 1 "Port $port is in use on 2001:db8::2." \
		-c .2 "[2001:db8::2]:$port" assert-free
	listen4 bind=127.0.0.5
	drop_syns "$port"
	expect 1 "Port $port is in use on 127.0.0.5." \
		-c .2 "127.0.0.5:$port" assert-free
	expect 0 '' -c .2 "127.0.0.6:$port" assert-free
}

# Addresses that are this machine's by a route; its own source may be ::1 then.
nstest_addresses_that_a_route_makes_local() {
	need_iproute2
	need_ipv6
	ip -6 route add local 2001:db8:5::/64 dev lo || skip "needs routes"
	listen6 'bind=[::]'
	expect 0 '' -t 0 "[2001:db8:5::7]:$port" occupied
	free_port
	expect 0 '' "[2001:db8:5::7]:$port" assert-free
	ip route add local 192.0.2.0/24 dev lo
	listen4 ''
	expect 0 '' -t 0 "192.0.2.7:$port" occupied
	free_port
	expect 0 '' "192.0.2.7:$port" assert-free
}

# Without a second socket it is not known whose address it is.
nstest_own_trouble_with_a_wedged_server() {
	trace socket
	ip addr add 10.1.1.1/24 dev lo
	listen4 bind=10.1.1.1
	drop_syns "$port"
	expect_injected socket:error=ENFILE:when=2+ 1 \
		"Port $port not free on 10.1.1.1. (Too many open files in system)" \
		-c .2 "10.1.1.1:$port" assert-free
	expect 1 "Port $port is in use on 10.1.1.1." \
		-c .2 "10.1.1.1:$port" assert-free
}

nstest_an_address_with_a_zone() {
	need_ipv6
	silent_network
	add_address fe80::5/64 silent || skip "needs IPv6"
	listen6 'bind=[::]'
	for zone in silent 11; do
		expect 0 '' -t 15 "[fe80::5%$zone]:$port" occupied
		is_shipped && expect_after "ulimit -Sn 3" 0 '' \
			"[fe80::5%$zone]:9" assert-free
		expect 0 '' -c .2 "[fe80::6%$zone]:$port" assert-free
		took_at_least 200
		expect 1 "Port $port is in use on fe80::5%11." \
			"[fe80::5%$zone]:$port" assert-free
		run "[fe80::5%$zone]:0" find
		is_status 0
		expect 1 "Port $port is in use on fe80::5%11." \
			"[fe80::5%$zone]:$port" find
	done
	expect 1 "Port $port cannot be bound on fe80::5%nosuch.\
 (No such device)" "[fe80::5%nosuch]:$port" find
	start_portend -t 15 "[fe80::7%late]:$port" occupied
	ip link set end name late
	add_address fe80::7/64 late
	ends 0
	native_only "sin6_scope_id with -r"
	for zone in silent 11; do
		run -r "[fe80::5%$zone]:0" find
		is_status 0
	done
}

# Nor do they where there are fewer descriptors than silent targets.
nstest_a_look_up_has_its_turn_among_silent_targets() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	resolver
	echo "127.0.0.1 name" >hosts
	run_after "ulimit -n 5" -t 2.5 -c .3 192.0.2.1:1 192.0.2.1:2 \
		192.0.2.1:3 \
		"name:$port" occupied
	is_status 1
	err_has '^Port 3 not bound'
	err_lacks "^Port $port"
}

# While there is nothing to do.
nstest_a_wait_for_an_answer_sleeps() {
	trace ppoll
	silent_network
	resolver
	drop_all_questions
	for words in "assert-free" "-t 0 free" "-t 1.2 free" \
		"-t 1.2 occupied"; do
		run_traced -c 1 192.0.2.1:9 db:9 $words
		check [ "$(wc -l <calls)" -le 30 ]
	done
}

# Silent targets, three at a time, have taken all descriptors until then.
nstest_the_last_check_frees_descriptors() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	run_after "ulimit -n 6" -t .6 -c .4 192.0.2.1:1 192.0.2.1:2 \
		192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 192.0.2.1:6 $at occupied
	is_status 1
	err_has 'Port 6 not bound'
	err_lacks "Port $port"
}

# A kernel that does not know prlimit(2), or forbids it, changes nothing.
nstest_few_descriptors_and_no_prlimit() {
	trace prlimit64
	silent_network
	listen4
	run_command sh -c 'ulimit -n 8; exec "$@"' sh strace -qq -o calls \
		-e trace=prlimit64 -e inject=prlimit64:error=ENOSYS \
		"$PORTEND" -t 0 -c .2 $(seq 20 | sed 's/^/192.0.2.1:/') \
		$at occupied
	is_status 1
	check grep -q INJECTED calls
	has_lines 20 err
	check [ "$(grep -c 'on 192\.0\.2\.1\. (No answer)$' err)" = 20 ]
}

# In turns they would take a minute. There is room for 8192 at a time.
nstest_silent_targets_do_not_take_turns() {
	silent_network
	expect_after "ulimit -Sn 32" 0 '' \
		-c 1 $(seq 1000 | sed 's/.*/192.0.2.1:&/') free
	took_at_least 1000
	set -- $(seq 9000 | sed 's/.*/192.0.2.1:&/')
	expect_after "ulimit -n 8000" 0 '' -c 1 "$@" free
	took_at_least 2000
	expect_after "ulimit -n 20000" 0 '' -c 1 "$@" free
	took_at_least 2000
	run_after "ulimit -n 20000" -t 1 "$@" occupied
	is_status 1
	has_lines 9000 err
}

# As RFC 5952 writes them.
nstest_addresses_in_numbers() {
	need_ipv6
	need_iproute2
	listen6 'bind=[::]'
	while read -r given text; do
		add_address "$text/128" lo
		expect 1 "Port $port is in use on $text." \
			"[$given]:$port" assert-free
	done <<-EOF
		2001:db8:0:1:1:1:1:1 2001:db8:0:1:1:1:1:1
		2001:db8:0:0:1:0:0:1 2001:db8::1:0:0:1
		2001:db8:0:1:0:0:0:1 2001:db8:0:1::1
		2001:DB8:AB:0:0:0:0:0 2001:db8:ab::
		2001:db8:0:0:0:0:1:0 2001:db8::1:0
		fd00:a:b0:c00:d000:e:f:10 fd00:a:b0:c00:d000:e:f:10
	EOF
}

# While its only address is tentative a link cannot be asked.
nstest_a_tentative_address() {
	need_ipv6
	need_iproute2
	ip link add one type veth peer name other || skip "needs veth"
	echo 3 >/proc/sys/net/ipv6/conf/one/dad_transmits
	ip link set other up
	ip link set one up
	wait_until is_tentative one
	text="(Address not available)"
	expect 1 "Port 9 not free on fe80::9%one. $text" \
		'[fe80::9%one]:9' assert-free
	expect 1 "Port 9 not bound on fe80::9%one. $text" \
		-t .1 '[fe80::9%one]:9' occupied
	# The kernel would take ::1 for the source, and nobody could answer.
	ip addr add 2001:db8::2/64 dev one
	expect 1 "Port 9 not free on 2001:db8::9. $text" -c 9 \
		'[2001:db8::9]:9' assert-free
	check is_tentative one
	expect 0 '' -t 15 '[fe80::9%one]:9' free
	check_not is_tentative one
}

is_tentative() {
	ip -6 addr show dev "$1" tentative | grep -q inet6
}

nstest_a_silent_address_delays_no_other() {
	silent_network
	listen4
	resolver
	printf '%s\n' "192.0.2.1 two" "127.0.0.1 two" "192.0.2.3 two" >hosts
	expect 0 '' -t 60 -c 60 "two:$port" occupied
	expect 0 '' -t 0 -c 60 "two:$port" occupied
	expect 1 "Port $port is in use on 127.0.0.1." -c 60 "two:$port" \
		assert-free
	# A refusal is not the whole answer, and all others are.
	free_port
	expect 0 '' -c .4 "two:$port" free
	took_at_least 400
	expect 1 "Port $port not bound on two. (No answer)" \
		-t .3 "two:$port" occupied
}

nstest_lost_syns() {
	listen4
	drop_syns "$port"
	expect 1 "Port $port not bound on 127.0.0.1. (No answer)" \
		-t .3 $at occupied
	expect 1 "Port $port not free on localhost.\
 (No answer, but the address is in use)" -t .3 "localhost:$port" free
	expect 1 "Port $port is in use on 127.0.0.1." -c .3 $at assert-free
	start_portend -t 15 $at occupied
	wait_until is_asking 0100007F "$port"
	unfilter
	ends 0
	# TIME_WAIT is nobody.
	leave_time_wait
	drop_syns "$port"
	expect 0 '' -c .2 $at assert-free
}

# A port that only a probe of portend's own has as its source is not in use. Of
# these hundred each is one, sooner or later.
nstest_probes_do_not_hold_a_port() {
	set_ports 40000 40127
	filter input tcp dport 40000-45999 tcp flags syn drop
	for state in assert-free free; do
		expect 0 '' -c 1.3 $(seq 40000 40099 | sed 's/^/127.0.0.1:/') \
			$state
		expect 0 '' -c .3 $(seq 40000 40099 | sed 's/^/[::1]:/') $state
	done
	# Nor do the connections of -s.
	listen4
	set_ports 40126 40127
	unfilter
	filter input tcp dport 40126-40127 tcp flags '&' '(syn|ack)' == syn drop
	expect 0 '' -c .3 -s 1 $at occupied \
		127.0.0.1:40126 127.0.0.1:40127 assert-free
}

# The last check is a fresh one: the second SYN, which was lost when less than
# the connect timeout was left, would be repeated only after the end.
nstest_a_lost_syn_does_not_spoil_the_last_check() {
	listen4
	drop_syns "$port"
	start_portend -c .8 -t 1.4 $at occupied
	wait_until has_counted 2
	unfilter
	ends 0
}

nstest_unreachable() {
	ip route add unreachable 198.51.100.0/24
	ip route add blackhole 198.18.0.0/24
	ip route add throw 198.18.1.0/24
	for host in 198.51.100.1:Host\ is 198.18.0.1:Network \
		198.18.1.1:Network \
		203.0.113.1:Network; do
		text="(${host#*:} unreachable)"
		host=${host%%:*}
		expect 0 '' -t 60 "$host:9" free
		expect 0 '' "$host:9" assert-free
		expect 1 "Port 9 not bound on $host. $text" -t .2 "$host:9" \
			occupied
		took_at_least 200
	done
	# It hides no other address's answer; nor does one without its zone.
	resolver
	printf '%s two\n' 198.18.0.1 fe80::1 127.0.0.1 198.51.100.1 >hosts
	listen4
	expect 0 '' -t 0 "two:$port" occupied
	expect 1 "Port $port is in use on 127.0.0.1." "two:$port" assert-free
	free_port
	expect 1 "Port $port not bound on two." -t 0 "two:$port" occupied
	expect 0 '' "two:$port" assert-free
	echo fe80::1 two >hosts
	expect 0 '' -t 60 "two:$port" free
	expect 1 "Port $port not bound on two. (Network unreachable)" \
		-t 0 "two:$port" occupied
}

# What a router or a firewall on the way says; before the packet is sent it is
# this machine. A listener is there, behind it, unless ICMP's port unreachable
# or TCP refuses.
nstest_icmp_unreachable() {
	listen4
	free=127.0.0.2:$port
	for reason in "icmpx host-unreachable" "icmpx no-route" \
		"icmpx admin-prohibited" "icmpx port-unreachable" \
		"icmp prot-unreachable" "icmp net-prohibited" \
		"icmp host-prohibited" "tcp reset"; do
		for hook in input output; do
			filter $hook tcp dport "$port" reject with $reason
			run -t .2 $at occupied
			is_status 1
			took_at_least 200
			err_has "^Port $port not bound on 127\.0\.0\.1\."
			err_lacks 'No answer|not connected|Error'
			expect 0 '' $free assert-free
			case $reason in
			*port-*|*reset*) expect 0 '' $at assert-free ;;
			*)
				expect 1 "Port $port is in use on 127.0.0.1." \
					$at assert-free
				expect 1 "Port $port not free on 127.0.0.1.\
 (No answer, but the address is in use)" -t .1 $at free
				;;
			esac
			unfilter
		done
	done
	expect 0 '' -t 15 $at occupied
	listen6
	filter output tcp dport "$port" reject with icmpx admin-prohibited
	expect 1 "Port $port is in use on ::1." "localhost:$port" assert-free
	expect 1 "Port $port is in use on ::1." "[::1]:$port" assert-free
}

# poll(2) may report an answer where there is neither an error nor a peer.
test_no_error_is_no_answer() {
	trace getsockopt
	free_port
	for state in occupied free; do
		run_injected getsockopt:retval=0 -t .3 $at $state
		is_status 1
		took_at_least 300
	done
	check grep -q INJECTED calls
	# Without a peer there is no answer at all.
	listen4
	for state in occupied free; do
		run_injected getpeername:error=ENOTCONN -t .3 $at $state
		is_status 1
		took_at_least 300
	done
	check grep -q INJECTED calls
}

# What fails before a question is asked says nothing.
test_own_trouble_is_no_answer() {
	trace getsockname
	free_port
	for error in EINVAL:"Invalid argument" \
		ENOBUFS:"No buffer space available" \
		EMFILE:"No file descriptors available" \
		ENFILE:"Too many open files in system"; do
		text=${error#*:}
		for state in free assert-free; do
			expect_injected socket:error=${error%%:*} 1 \
				"Port $port not free on 127.0.0.1. ($text)" \
				-t .1 $at $state
		done
		expect_injected socket:error=${error%%:*} 1 \
			"Port $port not bound on 127.0.0.1. ($text)" \
			-t .1 $at occupied
		took_at_least 100
	done
	# It may pass.
	expect_injected socket:error=ENOBUFS:when=1..3 0 '' -t 15 $at free
	listen4
	for call in getsockname getpeername; do
		expect_injected $call:error=EACCES 1 \
			"Port $port not bound on 127.0.0.1. (Permission denied)" \
			-t .1 $at occupied
	done
}

# A kernel that does not know TCP_QUICKACK, or forbids it, is asked as well.
test_a_kernel_without_quickack() {
	trace setsockopt
	listen4
	for error in ENOPROTOOPT EPERM; do
		expect_injected setsockopt:error=$error:when=1 0 '' \
			-t 0 $at occupied
		check grep -q 'TCP_QUICKACK.*INJECTED' calls
	done
}

# Nothing of ours is left open for COMMAND, or blocks.
test_descriptors_are_close_on_exec() {
	trace socket,open,openat,accept,accept4,pipe2,dup,fcntl
	free_port
	for words in "-t 0 localhost:$port occupied" "-r localhost:0 find" \
		"-t 0 localhost:nosuchservice free" \
		"-t 0 -c .1 nosuch:80 free" \
		"-c .1 192.0.2.1:9 [2001:db8::1]:9 assert-free"; do
		run_traced $words
		check_not grep -v CLOEXEC calls
		grep -E '(socket|openat)\(' calls >opened
		check_not grep -v NONBLOCK opened
	done
	run_command strace -o calls -e trace=openat sh -c \
		'exec 0<&- "$@"' sh "$PORTEND" -t 0 $at occupied
	check grep -q '"/", O_RDONLY|O_CLOEXEC|O_PATH' calls
}

# Prints the errors that say nothing of the port, with their texts.
own_trouble() {
	cat <<-EOF
		EAGAIN Resource temporarily unavailable
		EBADF Bad file descriptor
		ECONNRESET Connection reset
		ELOOP Symbolic link loop
		EMFILE No file descriptors available
		ENFILE Too many open files in system
		ENOBUFS No buffer space available
		ENODEV No such device
		ENOEXEC Exec format error
		ENOKEY Error 126
		ENOMEM Out of memory
		ENOSPC No space left on device
		ENOTCONN Socket not connected
		EPERM Operation not permitted
		EPIPE Broken pipe
		EPROTOTYPE Protocol wrong type for socket
		ETXTBSY Text file busy
	EOF
}

test_errors_of_connect() {
	trace connect
	free_port
	{
		echo EACCES Permission denied
		own_trouble
	} >errors
	while read -r error text; do
		expect_injected connect:error=$error 1 \
			"Port $port not bound on 127.0.0.1. ($text)" \
			-t .05 $at occupied
		for state in free assert-free; do
			expect_injected connect:error=$error 1 \
				"Port $port not free on 127.0.0.1. ($text)" \
				-t .05 $at $state
		done
	done <errors
	# These say that nobody is there.
	while read -r error text; do
		for state in free assert-free; do
			expect_injected connect:error=$error 0 '' -t 15 $at \
				$state
		done
		expect_injected connect:error=$error 1 \
			"Port $port not bound on 127.0.0.1.${text:+ ($text)}" \
			-t .05 $at occupied
	done <<-EOF
		EADDRNOTAVAIL Address family not supported
		EAFNOSUPPORT Address family not supported
		ECONNREFUSED
		EHOSTDOWN Host is down
		EHOSTUNREACH Host is unreachable
		ENETDOWN Network is down
		EINVAL Network unreachable
		ENETUNREACH Network unreachable
		ENOENT No such file or directory
		ENONET Machine is not on the network
		ENOPROTOOPT Host is unreachable
		ENOTDIR Not a directory
		ETIMEDOUT No answer
	EOF
	# Only TCP has no port left; only TCP is prohibited, and that elsewhere.
	for state in free assert-free; do
		expect_injected connect:error=EADDRNOTAVAIL:when=1 1 \
			"Port $port not free on 127.0.0.1. (Address not available)" \
			-t 0 $at $state
		expect_injected connect:error=EACCES:when=1 0 '' -t 0 $at $state
	done
	expect_injected connect:error=EADDRINUSE 1 \
		"Port $port not bound on 127.0.0.1. (Address in use)" \
		-t .05 $at occupied
	expect_injected connect:error=EADDRINUSE 1 \
		"Port $port is in use on 127.0.0.1." $at assert-free
}

# What comes later, as SO_ERROR.
test_errors_that_come_later() {
	trace getsockopt
	free_port
	while read -r error free text; do
		case $(printf '\001\000' | od -An -tu2) in
		*256) poke=$(printf 000000%02x $error) ;;
		*) poke=$(printf %02x000000 $error) ;;
		esac
		expect_injected getsockopt:poke_exit=@arg4=$poke 1 \
			"Port $port not bound on 127.0.0.1. ($text)" \
			-t .05 $at occupied
		run_injected getsockopt:poke_exit=@arg4=$poke -t 0 $at free
		is_status $free
	done <<-EOF
		13 0 Host is unreachable
		92 0 Host is unreachable
		99 1 Address not available
		100 0 Network is down
		126 1 Error 126
		101 0 Network unreachable
		104 1 Connection reset
		110 0 No answer
		112 0 Host is down
		113 0 Host is unreachable
	EOF
	check grep -q INJECTED calls
}

# A rule of this machine says nothing about the port.
nstest_local_rules() {
	ip route add prohibit 198.51.100.0/24
	for state in free occupied assert-free; do
		[ $state = occupied ] && verb=bound || verb=free
		expect 1 \
			"Port 9 not $verb on 198.51.100.1. (Permission denied)" \
			-t .2 198.51.100.1:9 $state
		[ $state = assert-free ] || took_at_least 200
	done
	# It may be lifted.
	start_portend -v -t 15 198.51.100.1:9 free
	wait_for_err "Permission denied"
	ip route del prohibit 198.51.100.0/24
	ends 0
}

nstest_no_local_port_left() {
	listen4
	taken=$port
	free_port
	other=$port
	free_block
	set_ports "$port" $((port + 2))
	for _ in 0 1 2; do
		serve TCP6-LISTEN ipv6only=0
		port=$((port + 1))
	done
	text="(Address not available)"
	for host in 127.0.0.1 localhost '[::1]' 127.0.0.7; do
		name=${host#'['}
		name=${name%]}
		for state in free assert-free; do
			expect 1 "Port $taken not free on $name. $text" \
				-t .2 "$host:$taken" $state
		done
		expect 1 "Port $other not bound on $name. $text" \
			-t .2 "$host:$other" occupied
		took_at_least 200
	done
	expect 1 "No port is free." find
	start_portend -v -t 15 "127.0.0.1:$taken" occupied
	wait_for_err "not available"
	set_ports 40000 60999
	ends 0
}

# Nor is it a family that is switched off where loopback is down.
nstest_no_local_port_left_and_lo_is_down() {
	silent_network
	ip link set lo down
	set_ports 20000 20001
	start_portend -t 30 -c 30 192.0.2.1:9 192.0.2.1:9 occupied
	wait_until has_taken_all
	for state in free assert-free; do
		expect 1 \
			"Port 9 not free on 192.0.2.1. (Address not available)" \
			-t .3 192.0.2.1:9 $state
	done
}

has_taken_all() {
	[ "$(grep -c ' 010200C0:0009 02 ' /proc/net/tcp)" = 2 ]
}

nstest_ipv6_is_off() {
	echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 ||
		skip "needs IPv6 to switch it off"
	listen4
	expect 0 '' -t 15 "localhost:$port" occupied
	expect 1 "Port $port is in use on 127.0.0.1." "localhost:$port" \
		assert-free
	free_port
	expect 0 '' -t 60 "localhost:$port" "[::1]:$port" free
	expect 0 '' "localhost:$port" assert-free
	expect_like 1 "Port $port not bound on ::1\. \(Address family not\
 supported.*" -t .2 "[::1]:$port" occupied
	took_at_least 200
	for reserve in '' -r; do
		for words in find "localhost:0 find"; do
			run $reserve $words
			is_status 0
		done
		expect 1 \
			"Port 0 cannot be bound on ::1. (Address not available)" \
			$reserve '[::1]:0' find
	done
	expect_like 1 "Port [1-9][0-9]* cannot be reserved on ::1\. \(Address\
 family not supported.*" -r '[::]:0' find
}

# One that was never up is unreachable, another one is silent.
nstest_lo_is_down() {
	free_port
	for down in "unshare -n" ""; do
		[ "$down" ] || ip link set lo down
		run_command $down $PORTEND -t 60 -c .3 \
			"localhost:$port" $at "[::1]:$port" free
		gave 0 ''
		run_command $down $PORTEND -c .3 "localhost:$port" assert-free
		gave 0 ''
		run_command $down $PORTEND -t .2 $at occupied
		gave_like 1 "Port $port not bound on 127\.0\.0\.1\. \(\
(No answer|Network unreachable)\)"
		for words in find "localhost:0 find"; do
			run_command $down $PORTEND $words
			is_status 0
		done
		run_command $down $PORTEND -r -c .3 find
		gave_like 1 "Port [1-9][0-9]* cannot be reserved on [0-9a-f.:]+\. \(\
(No answer|Network unreachable)\)"
		run_command $down $PORTEND -q -r -c .3 find
		gave 1 ''
	done
	start_portend -v -t 15 "localhost:$port" occupied
	wait_for_err "localhost:$port"
	ip link set lo up
	serve4
	ends 0
}

nstest_a_listener_while_its_interface_is_down() {
	silent_network
	for host in 127.0.0.1 ::1 192.0.2.2; do
		case $host in
		*:*)
			listen6 "bind=[$host]"
			target=[$host]
			;;
		*)
			listen4 "bind=$host"
			target=$host
			;;
		esac
		case $host in
		*1) device=lo name=localhost ;;
		*) device=silent name=$target ;;
		esac
		ip link set $device down
		expect 1 "Port $port is in use on $host." \
			-c .3 "$target:$port" assert-free
		expect 1 "Port $port is in use on $host." \
			-c .3 "$name:$port" assert-free
		expect 0 '' -c .3 "$target:1" assert-free
		ip link set $device up
	done
	# They are this machine's also where no interface has them.
	listen6 ''
	port6=$port
	listen4 ''
	ip addr flush dev lo
	expect 1 "Port $port is in use on 127.0.0.1." -c .3 $at assert-free
	expect 1 "Port $port6 is in use on ::1." -c .3 "[::1]:$port6" assert-free
}

nstest_a_wedged_server_on_a_low_port() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	port=80
	need socat
	serve TCP4-LISTEN backlog=1
	drop_syns 80
	for host in 127.0.0.1 0.0.0.0 localhost; do
		for state in free assert-free; do
			expect_as_nobody 1 \
				"Port 80 not free on $host. (Permission denied)" \
				-t .2 -c .2 $host:80 $state
		done
	done
	expect 1 "Port 80 not free on 127.0.0.1.\
 (No answer, but the address is in use)" -t .3 -c .1 127.0.0.1:80 free
	expect 1 "Port 80 is in use on 127.0.0.1." -c .2 127.0.0.1:80 \
		assert-free
	# Nobody is there; and somebody else's silence is not our business.
	drop_syns 81
	expect 0 '' -c .2 127.0.0.1:81 assert-free
	took_at_least 200
	expect_as_nobody 1 \
		"Port 81 not free on 127.0.0.1. (Permission denied)" \
		-t .2 127.0.0.1:81 free
	silent_network
	expect_as_nobody 0 '' -c .2 192.0.2.1:80 assert-free
}

nstest_find_without_permission() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	text="(Permission denied)"
	expect_as_nobody 1 "Port 80 cannot be bound. $text" 80 find
	expect_as_nobody 1 "Port 80 cannot be bound on localhost. $text" \
		localhost:80 find
	expect_as_nobody 1 "No port from 80 to 90 is free. $text" 80-90 find
	run_as_nobody 1000-1024 find
	gave 0 '' 1024
}

# A naive loop connects to itself before long, and takes it for a server.
nstest_a_connection_to_itself_is_nobody() {
	need socat
	free_port
	for family in 4:127.0.0.1 '6:[::1]'; do
		[ $family = 4:127.0.0.1 ] || need_ipv6
		host=${family#?:}
		name=${host#'['}
		set_ports $((port - 32)) $((port + 31))
		tries=400
		until socat -u OPEN:/dev/null "TCP$family:$port" 2>/dev/null; do
			[ $((tries -= 1)) -gt 0 ] || fail "nobody is fooled"
		done
		expect 1 "Port $port not bound on ${name%]}." \
			-t 1 "$host:$port" occupied
		targets=$(repeat 96 "$host:$port")
		expect 0 '' $targets assert-free
		expect 0 '' -t 15 $targets free
	done
}

nstest_twenty_waiters_for_one_port() {
	free_port
	for state in occupied free; do
		waiters=
		for _ in $(seq 20); do
			start_portend -t 15 "localhost:$port" $state
			waiters="$waiters $waiter"
		done
		case $state in
		occupied) serve4 ;;
		free) stop "$server" ;;
		esac
		for waiter in $waiters; do
			ends 0 ''
		done
		[ $state = free ] || accepted_none "TCP4:$at"
	done
}

# Tests: process 1

# children PID: prints the processes that it has started.
children() {
	cat "/proc/$1/task/$1/children" 2>/dev/null
}

has_child() {
	[ "$(children "$1")" ]
}

need_process_1() {
	native_only "process 1"
	[ -e "/proc/$$/task/$$/children" ] || skip "needs /proc/PID/children"
	unshare --kill-child true || skip "needs unshare --kill-child"
	default_signals
}

# start_first CODE ARG...: portend as process 1, in a shell that executed CODE.
# waiter and first are the processes, as they are called here.
start_first() {
	_code=$1
	shift
	start_command $signals sh -c "$_code; exec unshare -p --kill-child \
		--mount-proc \"\$@\"" sh "$PORTEND" -v "$@"
	wait_for_err "Connection refused"
	first=$(children "$waiter")
	first=${first% }
}

nstest_signals_end_process_1() {
	need_process_1
	free_port
	for number in 1 2 3 10 12 15; do
		start_first : $at occupied
		need_signal $number
		kill -$number "$first"
		ends $((128 + number))
		start_first "trap '' $number" -t .6 $at occupied
		kill -$number "$first"
		ends 1
		err_has "^Port $port not bound on 127\.0\.0\.1\.\$"
	done
}

# While a message blocks, at the end, even of the first check.
nstest_signals_end_process_1_late() {
	need_process_1
	full_pipe
	for options in "-t .2" "-v -t 0"; do
		start $signals unshare -p --kill-child --mount-proc \
			"$PORTEND" $options /nosuch/x occupied 2>pipe
		waiter=$pid
		wait_until has_child "$waiter"
		first=$(children "$waiter")
		first=${first% }
		wait_until is_writing "$first"
		need_signal 15
		kill -TERM "$first"
		ends 143
	done
}

# is_writing PID: it is within write(2) to a pipe.
is_writing() {
	grep -q '^pipe_w\|anon_pipe_write' "/proc/$1/wchan"
}

nstest_command_as_process_1() {
	native_only "process 1"
	need unshare
	listen4
	run_command unshare -p -f --mount-proc "$PORTEND" -t 15 \
		$at occupied -- cat /proc/self/status
	is_status 0
	check grep -q "^Pid:.1\$" out
	check [ "$(grep -c '^Sig\(Cgt\|Blk\):.0*$' out)" = 2 ]
	run_command unshare -p -f --mount-proc "$PORTEND" -t 15 \
		$at occupied -- sh -c 'kill $$; exit 3'
	is_status 3
}

# Tests: find in a network

# nobody_gets PORT: all that is left is taken, again and again.
nobody_gets() {
	for _prefix in "" 127.0.0.1: "[::1]:" 0.0.0.0:; do
		for _ in $(seq 20); do
			run $(repeat 160 "${_prefix}0") find
			is_status 0
			has_lines 160 out
			check_not grep -qx "$1" out
		done
	done
}

nstest_a_reserved_port_is_given_to_nobody() {
	need_ipv6
	listen4 ""
	taken=$port
	serve TCP6-LISTEN ipv6only=1
	free_port
	set_ports 20000 20199
	run -r find
	is_status 0
	reserved=$(cat out)
	nobody_gets "$reserved"
	filter output tcp sport "$reserved" tcp dport "$taken" counter
	filter output tcp dport "$taken" tcp flags '&' '(syn|ack) == syn' \
		counter
	targets=$(repeat 500 "localhost:$taken")
	for _ in $(seq 20); do
		expect 0 '' -t 15 $targets occupied
	done
	# Of each target one address or both.
	count=$(counts)
	check [ "${count#* }" -ge 10000 ]
	check [ "${count% *}" = 0 ]
	port=$reserved
	for options in "TCP4-LISTEN bind=127.0.0.1" TCP4-LISTEN TCP6-LISTEN \
		"TCP6-LISTEN ipv6only=1,bind=[::1]"; do
		serve $options
		stop "$server"
	done
}

nstest_twenty_reservations_from_a_narrow_range() {
	set_ports 20000 20063
	reserve_twenty
	count=$(sort -u ports | wc -l)
	until [ "$count" -ge 60 ]; do
		run -r localhost:0 localhost:0 find
		is_status 0
		sort -u ports out | sort -n >sorted
		has_lines $((count += 2)) sorted        # no port twice
		cp sorted ports
	done
}

nstest_find_on_several_addresses() {
	resolver
	printf '%s many\n' 127.0.0.2 127.0.0.3 ::1 >hosts
	listen4 bind=127.0.0.3
	expect 1 "Port $port is in use on 127.0.0.3." "many:$port" find
	stop "$server"
	expect_out 0 "$port" "many:$port" find
	listen6
	expect 1 "Port $port is in use on ::1." "many:$port" find
	set_ports "$port" $((port + 3))
	# What is free on the first address need not be so on the others.
	for _ in $(seq 10); do
		run many:0 many:0 many:0 find
		is_status 0
		check [ "$(sort -u out | wc -l)" = 3 ]
		check_not grep -qx "$port" out
	done
	expect 1 "No port is free on many." many:0 many:0 many:0 many:0 find
	run -r many:0 find
	is_status 0
}

# An address, an interface or a name that comes late.
nstest_find_waits_for_an_address() {
	silent_network
	free_port
	start_portend -v -t 15 "192.0.2.7:$port" 192.0.2.7:0 \
		"192.0.2.7:$port-$((port + 1))" find
	wait_for_err "^portend: 192\.0\.2\.7:$port: Address not available\$"
	pass_time 200
	still_waits
	ip addr add 192.0.2.7/24 dev silent
	ends 0
	has_lines 3 out
	has_lines 3 err
	check [ "$(head -n 1 out)" = "$port" ]
	check [ "$(tail -n 1 out)" = "$((port + 1))" ]
	expect 1 \
		"Port $port cannot be bound on fe80::7%late. (No such device)" \
		-t .1 "[fe80::7%late]:$port" find
	start_portend -v -t 15 "[fe80::7%late]:$port" find
	wait_for_err "No such device"
	ip link set end name late
	wait_for_err "Address not available"
	ip addr add fe80::7/64 dev late nodad
	ends 0
	is_out "$port"
	resolver
	start_portend -v -t 15 "here:$port" find
	wait_for_err "here:$port: No answer from the name server"
	printf '192.0.2.7 here\n127.0.0.1 here\n' >hosts
	ends 0
	is_out "$port"
	resolver
	name_server
	start_portend -v -r -t 15 "here.test:$port" find
	wait_for_err "here.test:$port: Name does not resolve"
	names "127.0.0.1 here.test"
	ends 0
	is_out "$port"
	check is_reserved4 "$port"
}

# A find that fooled a waiter had a listener.
nstest_find_does_not_listen() {
	start sh -c 'while "$@" >/dev/null; do :; done' sh \
		$PORTEND 20000-20009 20000-20009 find
	finder=$pid
	expect 1 "Port 20000 not bound on localhost." \
		-t 1.5 localhost:20000 occupied
	check is_running "$finder"
	trace listen,accept4
	free_port
	for words in find "$port find" "localhost:0 0 find" "-t .1 0 find" \
		"$port-$((port + 9)) find"; do
		run_traced $words
		is_status 0
		has_lines 0 calls
	done
	run_traced -r find
	check [ "$(grep -c listen calls)" = 2 ]
}

# Where the kernel keeps no TIME_WAIT.
nstest_a_reservation_that_does_not_hold() {
	echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets ||
		skip "needs tcp_max_tw_buckets"
	free_port
	text="(TIME_WAIT is not kept)"
	for word in "$port" $at "localhost:$port"; do
		expect 1 "Port $port cannot be reserved on 127.0.0.1. $text" \
			-r "$word" find
	done
	expect 1 '' -q -r "$port" find
	need_ipv6
	expect 1 "Port $port cannot be reserved on ::1. $text" \
		-r "[::1]:$port" find
	expect_out 0 "$port" "$port" find
}

# Not after the connect timeout, which is longer.
nstest_a_reservation_that_is_not_answered() {
	free_port
	drop_syns "$port"
	expect 1 "Port $port cannot be reserved on 127.0.0.1. (No answer)" \
		-r -t .5 -c 9 "$port" find
	took_at_most 6000
}

# The kernel offers ports of one parity first, again and again.
nstest_find_on_several_addresses_of_a_narrow_range() {
	need_ipv6
	need socat
	set_ports 20000 20007
	for port in 20001 20003 20005 20007; do
		serve TCP6-LISTEN 'ipv6only=1,bind=[::1]'
	done
	run localhost:0 find
	is_status 0
	is_err ''
	set_ports 20000 20001
	run 127.0.0.1:0 127.0.0.2:0 find
	is_status 0
	check [ "$(sort -u out | wc -l)" = 2 ]
}

# Tests: the machine's own trouble

# Trouble with one address outweighs that nobody is at another one.
test_own_trouble_with_one_address() {
	trace connect
	need_ipv6
	free_port
	own_trouble >errors
	while read -r error text; do
		for state in free assert-free; do
			expect_injected connect:error=$error:when=1 1 \
				"Port $port not free on localhost. ($text)" \
				-t 0 "localhost:$port" $state
		done
	done <errors
}

# What cannot be read for the machine's own trouble is not an empty file.
nstest_files_that_cannot_be_opened() {
	trace openat
	listen4
	own_etc
	echo "* * nxdomain" | zone
	serve_zone
	echo "127.0.0.1 db" >/etc/hosts
	for error in EMFILE:"No file descriptors available" \
		ENFILE:"Too many open files in system" \
		ENOMEM:"Out of memory"; do
		for when in '' :when=1+2; do    # hosts and resolv.conf, or hosts
			expect_injected "openat:error=${error%%:*}$when" 1 \
				"Port $port not bound on db. (${error#*:})" \
				-t .2 "db:$port" occupied
			took_at_least 200
			expect_injected "openat:error=${error%%:*}$when" 1 \
				"Port $port not free on db. (${error#*:})" \
				"db:$port" assert-free
		done
	done
	# It may pass.
	expect_injected openat:error=ENFILE:when=1..2 0 '' -t 15 "db:$port" \
		occupied
}

# Those addresses that still got memory are not all.
nstest_no_memory_for_addresses() {
	trace mmap
	free_port
	own_etc
	zone <<-EOF
		dns A 127.0.1.1+200
		dns AAAA nodata
	EOF
	serve_zone
	seq 200 | sed "s/.*/127.0.1.& hosts/" >/etc/hosts
	for case in bound:occupied free:free free:assert-free; do
		for name in "hosts. (Out of memory)" "dns. ($failing)"; do
			expect_injected mmap:error=ENOMEM 1 \
				"Port $port not ${case%:*} on $name" \
				-t .3 "${name%%.*}:$port" "${case#*:}"
		done
	done
}

# A packet that is refused is as good as an answer for who asks once.
nstest_a_refused_question_is_not_waited_for() {
	free_port
	own_etc
	for conf in "nameserver 127.0.0.1" \
		"nameserver 127.0.0.2${nl}nameserver 127.0.0.3"; do
		echo "$conf" >/etc/resolv.conf
		expect 1 "$(not_bound "$unanswered" any)" -t 0 -c 60 \
			"any:$port" occupied
		took_at_most 4000
		expect 1 "Port $port not free on any. ($unanswered)" -c 60 \
			"any:$port" assert-free
		took_at_most 4000
	done
}

# What a look-up still asks by TCP when it ends is closed with it.
nstest_a_look_up_that_ends_leaves_no_connection() {
	native_only "its own descriptors"
	need_ipv6
	listen4
	taken4=$port
	listen6
	own_etc
	zone <<-EOT
		four A delay=200 127.0.0.1
		four AAAA tc
		six A tc
		six AAAA delay=200 ::1
	EOT
	serve_zone
	start_portend -v -t 15 "four:$taken4" "six:$port" ./x occupied
	wait_for_err "four:$taken4: occupied after"
	wait_for_err "six:$port: occupied after"
	for name in four six; do
		check was_asked " tcp .* $name\$"
	done
	wait_until has_no_socket "$waiter"
	still_waits
}

has_no_socket() {
	! has_socket "$1"
}

# All that is sent must not raise SIGPIPE: a name server may end a connection.
nstest_a_name_server_cannot_raise_sigpipe() {
	trace sendto
	own_etc
	echo "* * tc" | zone
	serve_zone
	run_traced -t 0 -c .5 db:9 occupied
	is_status 1
	check was_asked ' tcp .* db$'
	check_not grep -v MSG_NOSIGNAL calls
}

# More silent targets than there is room for, which is 8192, though there are
# descriptors: the rest has its turn, also with one check.
nstest_more_silent_targets_than_room() {
	shipped_only "its own descriptors"
	silent_network
	set -- $(seq 9000 | sed 's/.*/192.0.2.1:&/')
	expect_after "ulimit -n 20000" 0 '' -c 1 "$@" assert-free
	start_after "ulimit -n 20000" -c 60 "$@" free
	wait_until has_asked 8100
}

# has_asked N: so many SYNs are on their way.
has_asked() {
	[ "$(grep -c ':[0-9A-F]* 02 ' /proc/net/tcp)" -ge "$1" ]
}

# At boot there may be no entropy yet: nothing waits for it.
nstest_no_entropy() {
	trace getrandom
	listen4
	own_etc
	echo "db A 127.0.0.1" | zone
	serve_zone
	run_traced -t 0 "db:$port" occupied
	is_status 0
	check [ -s calls ]
	check_not grep -v GRND_NONBLOCK calls
	expect_injected getrandom:error=EAGAIN 0 '' -t 0 "db:$port" occupied
}

# What a try has bound is free for the next one.
nstest_find_lets_go_of_what_it_tried() {
	need_ipv6
	need socat
	set_ports 20000 20000
	port=20000
	serve TCP6-LISTEN 'ipv6only=1,bind=[::1]'
	start_portend -v -t 15 localhost:0 find
	wait_for_err "localhost:0: Address (in use|not available)"
	pass_time 100
	still_waits
	stop "$server"
	ends 0
	is_out 20000
}

# A reservation needs two descriptors more; the reason is told.
test_a_reservation_without_descriptors() {
	shipped_only "its own descriptors"
	free_port
	for limit in 4 5; do
		expect_after "ulimit -n $limit" 1 "Port $port cannot be reserved\
 on 127.0.0.1. (No file descriptors available)" -r $at find
	done
	run_after "ulimit -n 6" -r $at find
	gave 0 '' "$port"
}

# Names that are asked for again and again leave the last its turn, also where
# descriptors are few.
nstest_names_that_do_not_exist_take_turns() {
	shipped_only "its own descriptors"
	listen4
	own_etc
	printf '%s\n' "* * delay=100 nxdomain" "live A 127.0.0.1" | zone
	serve_zone
	start_after "ulimit -n 12" -v -t 25 \
		$(seq 200 | sed "s/.*/no&:$port/") "live:$port" occupied
	wait_for_err "live:$port: occupied after"
}

# What one name server has answered is asked of no other one once more.
nstest_what_is_answered_is_not_asked_again() {
	free_port
	own_etc "nameserver 127.0.0.1" "nameserver 127.0.0.2"
	zone <<-EOT
		server 127.0.0.1
		half A 127.0.0.1
		half AAAA
		server 127.0.0.2
		* *
	EOT
	serve_zone
	expect 0 '' -t 0 -c 1.5 "half:$port" free
	asked 2 ' 127\.0\.0\.2 .* AAAA half$'
	asked 1 ' 127\.0\.0\.2 .* A half$'
}

# Names for which there is no descriptor are not tried in vain again and again.
nstest_names_without_descriptors_sleep() {
	trace openat
	free_port
	dead_zone
	run_command strace -f -qq -e signal=none -e trace=openat -o calls \
		sh -c 'ulimit -n 12; exec "$@"' sh "$PORTEND" -q -t 1.5 \
		$(dead 200) occupied
	is_status 1
	check [ "$(wc -l <calls)" -le 1000 ]
}

# One check takes the connect timeout, however often its name is asked for anew.
nstest_one_check_is_not_prolonged() {
	free_port
	own_etc "nameserver 127.0.0.1"
	echo "* *" | zone
	serve_zone
	start sh -c 'while sleep .2; do
		echo "nameserver 127.0.0.1 # $((i += 1))" >/etc/resolv.conf.new
		mv /etc/resolv.conf.new /etc/resolv.conf
	done'
	expect 1 "$(not_bound "$unanswered" db)" -t 0 -c 2.5 "db:$port" occupied
	took_at_least 2500
	check [ "$(cut -d ' ' -f 4 questions | sort -u | wc -l)" -ge 2 ]
}

# Tests: two machines

nstest_what_another_machine_rejects() {
	need nft
	need_ipv6
	second_machine
	$there sh -c 'for name in ipv4/icmp_ratelimit ipv6/icmp/ratelimit; do
		echo 0 >/proc/sys/net/$name
	done' || skip "needs all ICMP to be sent"
	for reason in "tcp reset" "icmpx port-unreachable" "icmpx no-route" \
		"icmpx host-unreachable" "icmpx admin-prohibited"; do
		$there nft "add table inet test
			add chain inet test input { type filter hook input \
				priority 0; }
			add rule inet test input tcp dport 9 reject \
				with $reason" || skip "needs nft: $reason"
		for state in free assert-free; do
			expect 0 '' -t 60 -c 60 192.0.2.2:9 $state
		done
		[ "$reason" = "icmpx admin-prohibited" ] ||
			$there nft delete table inet test
	done
	# What ICMPv6 says of the first SYN may be lost; of the next, after 1 s.
	expect 0 '' -t 60 -c 60 '[2001:db8::2]:9' free
}

nstest_a_probe_from_afar_leaves_no_trace() {
	second_machine
	free_port
	need socat
	start $there socat -d -d -u "TCP4-LISTEN:$port,fork" OPEN:/dev/null \
		2>>socat.log
	wait_until grep -q "listening on" socat.log
	filter output tcp flags '&' '(syn|ack|rst|fin) == syn' counter
	filter output tcp flags '&' '(syn|ack|rst|fin) == ack' counter
	filter output tcp flags '&' 'rst == rst' counter
	expect 1 "Port $port not free on 192.0.2.2." -t 1 "192.0.2.2:$port" free
	expect 0 '' "192.0.2.2:$port" occupied
	set -- $(counts)                # SYN, ACK, RST
	check [ "$1 0 $1" = "$1 $2 $3" ]
	check [ "$1" -gt 9 ]
	for where in "" "$there"; do
		$where cat /proc/net/tcp >sockets
		check_not grep "$(printf ':%04X [^ ]* 0[^A]' "$port")" sockets
		check_not grep "$(printf ':%04X 0[^A] ' "$port")" sockets
	done
	accepted_none "TCP4:192.0.2.2:$port"
}

# Answers are heard after 5 ms of asking: the ACK is held back for 0.2 s, if
# this machine does not stand still for that long.
nstest_many_probes_from_afar_leave_no_trace() {
	trace connect
	second_machine
	free_port
	need socat
	start $there socat -d -d -u "TCP4-LISTEN:$port,fork,backlog=1024" \
		OPEN:/dev/null 2>>socat.log
	wait_until grep -q "listening on" socat.log
	# So slowly that answers come while others are asked.
	$there tc qdisc add dev there root tbf rate 200kbit burst 2kb latency 9s
	expect_injected connect:delay_enter=1000 0 '' \
		-t 20 $(repeat 600 "192.0.2.2:$port") occupied
	connect_once "TCP4:192.0.2.2:$port"
	check [ "$(accepted)" -le 20 ]  # without that half of them
}

# Tests: other systems

# In a root of portend and one static program, with neither /etc nor /proc.
empty_root() {
	shipped_only "without its libraries"
	need chroot busybox
	busybox=$(command -v busybox)
	mkdir root
	cp "$PORTEND" root/portend
	cp "$busybox" root/busybox
	chroot root /busybox true 2>/dev/null || skip "needs a static busybox"
	PORTEND="chroot $dir/root /portend"
}

nstest_an_empty_root() {
	empty_root
	listen4
	listen_unix "$dir/root/s"
	for target in "localhost:$port" $at "0.0.0.0:$port" /s; do
		expect_out 0 reached $target occupied -- /busybox echo reached
		run -t .1 $target free
		is_status 1
	done
	expect 1 "Port $port is in use on 127.0.0.1." "localhost:$port" \
		assert-free
	bad "localhost:http" "no such port or service" "localhost:http" free
	expect 1 "Port $port is in use on 127.0.0.1." $at find
	for reserve in '' -r; do
		run $reserve 0 localhost:0 find
		is_status 0
		check [ "$(sort -u out | wc -l)" = 2 ]
	done
	free_port
	expect 0 '' -t 15 "localhost:$port" "[::1]:$port" /nosuch free
	expect 1 "Port $port not bound on localhost." \
		-t .2 "localhost:$port" occupied
	expect_like 1 "Port $port not bound on db\. \(.*\)" \
		-t .2 "db:$port" occupied
	expect 127 "portend: nosuch: No such file or directory" \
		"localhost:$port" free -- nosuch
	run "localhost:$port" free -- busybox
	is_status 127
}

# These tests themselves, on busybox's sh and tools, as on Alpine.
nstest_a_busybox_userland() {
	empty_root
	need socat
	mkdir root/bin root/dev root/etc root/lib root/proc root/tmp
	chroot root /busybox --install -s /bin
	mount -t proc none root/proc || skip "needs mount"
	mount --bind /dev root/dev
	cp "$0" root/tests.sh
	socat=$(command -v socat)
	for file in $socat $(ldd "$socat" | grep -o '/[^ ]*'); do
		mkdir -p "root${file%/*}"
		cp "$file" "root$file"
	done
	run_command chroot root /bin/sh -c \
		'PATH=/bin:/usr/bin PORTEND=/portend TMPDIR=/tmp exec /tests.sh \
		help spellings each_state bad_ messages quiet verbose \
		occupied_waits free_waits not_reached hundred_probes sockets \
		command signals_end_a timeout_0 find'
	grep '^not ok' out | sed 's/^/# /'
	is_status 0
	check grep -qE '^[3-9][0-9] passed, 0 failed, [0-9]+ skipped$' out
}

# The runner

# Makes the words of PORTEND that are paths good in any directory.
absolute() {
	for _word do
		case $_word in
		/*) ;;
		*/*) _word=$PWD/$_word ;;
		esac
		printf '%s ' "$_word"
	done
}

# Ends what the test has started. One that is stopped, or takes no notice of
# the polite way, must end, too.
end_started() {
	# start may have been interrupted before it could note what it started.
	[ "${!-}" = "$pid" ] || pids="$pids ${!-}"
	for _p in $pids; do
		is_running "$_p" && kill -TERM "$_p" && kill -CONT "$_p"
	done 2>/dev/null
	_tries=200
	for _p in $pids; do
		while is_running "$_p" && [ $((_tries -= 1)) -gt 0 ]; do
			sleep .01
		done
		is_running "$_p" && kill -KILL "$_p"
		wait "$_p"
	done 2>/dev/null
}

# run_test NAME NUMBER: runs one test in this shell, which ends with it and then
# tells the runner.
run_test() {
	test=$1
	dir=$suite/$test
	pid='' pids='' ran=none status=none ms='?'
	next_port=$((20000 + $2 % 390 * 50))
	read -r shell _ </proc/self/stat
	trap '_status=$?; end_started; end_test "$_status"' EXIT
	trap 'exit 143' TERM
	mkdir "$dir" && cd "$dir" || exit 1
	"$test"
	exit 0
}

end_test() {
	echo "$1" >"$suite/$test.status"
	echo 1<>"$suite/done"
}

# As run_test, in namespaces of its own.
run_in_namespace() {
	test=$1
	if [ ! "$own_network" ]; then
		echo "needs root, unshare and ip" >"$suite/$test.skip"
		end_test 77
	else
		exec unshare -n -m "$self" --in-namespace "$suite" "$@"
	fi
}

# A network namespace to start in.
set_up_network() {
	ip link set lo up
	set_ports 40000 60999
}

# Starts a test.
launch() {
	launched=$((launched + 1))
	(
		exec </dev/null >"$suite/$1.log" 2>&1 9>&-
		case $1 in
		ns*) run_in_namespace "$1" $launched ;;
		*) run_test "$1" $launched ;;
		esac
	) &
	running="$running $1:$!"
}

# Prints the results that are there, in the order of the tests.
report() {
	while [ "$left" ]; do
		test=${left%% *}
		[ -s "$suite/$test.status" ] || break
		read -r status <"$suite/$test.status"
		left=${left#* }
		number=$((number + 1))
		_title=$(echo "${test#*test_}" | tr _ ' ')
		case $status in
		0)
			passed=$((passed + 1))
			echo "ok $number - $_title"
			;;
		77)
			skipped=$((skipped + 1))
			read -r reason <"$suite/$test.skip"
			echo "ok $number - $_title # SKIP $reason"
			;;
		*)
			failed=$((failed + 1))
			echo "not ok $number - $_title"
			;;
		esac
		grep '^#' "$suite/$test.log"
		[ "$status" = 0 ] || [ "$status" = 77 ] ||
			sed '/^#/d; s/^/#   /' "$suite/$test.log"
	done
}

# Prints the tests, in their order, whose name contains one of the words.
choose() {
	sed -n 's/^\(\(ns\)\{0,1\}test_[a-z0-9_]*\)() {$/\1/p' "$self" |
	while read -r test; do
		[ $# -gt 0 ] || echo "$test"
		for _word do
			case $test in
			*"$_word"*)
				echo "$test"
				break
				;;
			esac
		done
	done
}

end_tests() {
	for _p in $running; do
		[ -s "$suite/${_p%:*}.status" ] || kill -TERM "${_p#*:}"
	done 2>/dev/null
	wait
	rm -rf "$suite"
}

umask 022
own_network=
case ${1-} in
--in-namespace)
	suite=$2
	set_up_network
	run_test "$3" "$4"
	;;
--in-network)
	shift
	own_network=1
	set_up_network
	;;
*)
	! unshare -n -m ip link set lo up 2>/dev/null ||
		exec unshare -n "$0" --in-network "$@"
	;;
esac

LC_ALL=C
export LC_ALL
self=$(dirname "$0")
self=$(cd "$self" && pwd)/${0##*/}
PORTEND=$(absolute ${PORTEND:-./portend})
PORTEND=${PORTEND% }
export PORTEND
$PORTEND -V >/dev/null || {
	echo "tests.sh: $PORTEND cannot be run: try make" >&2
	exit 1
}
is_native || jobs=6
left=$(choose "$@" | tr '\n' ' ')
passed=0 failed=0 skipped=0 number=0 running='' under_way=0 launched=0
suite=$(mktemp -d "${TMPDIR:-/tmp}/portend.XXXXXX") || exit 1
chmod 755 "$suite"
trap 'end_tests; trap - EXIT; exit 130' INT TERM HUP
trap end_tests EXIT
mkfifo "$suite/done"
exec 9<>"$suite/done"
set -- $left
echo "1..$#"
for name do
	if [ "$under_way" -ge "$jobs" ]; then
		read -r _ <&9
		under_way=$((under_way - 1))
		report
	fi
	launch "$name"
	under_way=$((under_way + 1))
done
while [ "$under_way" -gt 0 ]; do
	read -r _ <&9
	under_way=$((under_way - 1))
	report
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
