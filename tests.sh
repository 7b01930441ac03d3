#!/bin/sh
# SPDX-License-Identifier: Unlicense
#
# Tests of portend, as TAP. ./tests.sh runs all of them, ./tests.sh WORD...
# those whose name contains one of the words; -x WORD leaves those out whose
# name contains it. PORTEND is the program to test; it may be several words:
# PORTEND='qemu-s390x-static ./portend' ./tests.sh
#
# A test is a function test_NAME, or nstest_NAME, which gets a network and a
# mount namespace of its own. (The others share a network namespace. A user
# without rights has all these in a user namespace, where the kernel lets him.)
# Each runs in a shell and a directory of its own, several side by side; what it
# starts with start is ended with it. Nothing is tried twice, and waiting is
# always for a condition, within a bound.
#
# Lists of words are split on purpose, and code in single quotes is for another
# shell, throughout:
# shellcheck disable=SC1090,SC2016,SC2046,SC2086

jobs=16                                 # tests side by side, fewer if emulated
bound=30                                # seconds that one program may take

# For tests. A variable whose name begins with _ belongs to the function that
# sets it; the others are what a test may read.

# To end them

# fail LINE...: tells them, and what was run last with what it gave.
fail() {
	{
		echo "line $line: $1"
		shift
		[ $# = 0 ] || printf '%s\n' "$@"
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

# static_only REASON: skips what a dynamically linked program cannot do.
static_only() {
	shipped_only "$@"
	! is_dynamic || skip "dynamically linked: $*"
}

is_dynamic() {
	grep -q '/ld[-._0-9a-z]*\.so\.[0-9]' "$PORTEND"
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

# finish PID: waits for its end, and sets status.
finish() {
	_tries=$((bound * 50))
	while is_running "$1"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "process $1 does not end"
		sleep .02
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

# is_status STATUS[@MS]: that was it, after so many ms at least.
is_status() {
	[ "$status" = "${1%@*}" ] || fail "wanted: exit status ${1%@*}"
	case $1 in
	*@*) took_at_least "${1#*@}" ;;
	esac
}

# is_out TEXT: standard output was TEXT and a newline; '' for nothing.
is_out() {
	is_file out "$1"
}

is_err() {
	in_full "$1"
	is_file err "$full"
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
	_tries=500
	until "$@"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "waited in vain for: $*"
		sleep .02
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
	sleep "$(($1 / 1000)).$(($1 % 1000 / 100))"
	until clock && [ $((time - _begun)) -ge "$1" ]; do sleep .02; done
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

# is_reserved4 PORT: it is in TIME_WAIT on 127.0.0.1, which a dual-stack socket
# has as ::ffff:127.0.0.1.
is_reserved4() {
	grep -qs "0100007F:$(printf %04X "$1") [0-9A-F]*:[0-9A-F]* 06" \
		/proc/net/tcp /proc/net/tcp6
}

# On ::1.
is_reserved6() {
	grep -qs "0\{24\}01000000:$(printf %04X "$1") [0-9A-F]*:[0-9A-F]* 06" \
		/proc/net/tcp6
}

# serve TYPE [OPTIONS]: socat listening on port, which logs into socat.log;
# server is its process. socat's children end when their connection does.
serve() {
	need socat
	start socat -d -d -u "$1:$port,reuseaddr,fork${2:+,$2}" \
		OPEN:/dev/null 2>>"$dir/socat.log"
	server=$pid
	wait_until is_served
}

serve4() {
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
	free_port
	serve TCP4-LISTEN "${1-bind=127.0.0.1}"
}

listen6() {
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

# What a loader opens is left out.
run_traced() {
	run_command strace -f -qq -e signal=none -e "trace=$calls" \
		-o calls.raw "$PORTEND" "$@"
	grep -v -e 'exited with' -e 'open.*\.so[.0-9a-z]*"' calls.raw >calls
}

# run_injected FAULT ARG...: portend, whose system calls fail as strace's
# inject=FAULT says, after trace.
run_injected() {
	_fault=$1
	case $_fault in
	openat:* | mmap:* | read:*) ! is_dynamic || pass_loader ;;
	esac
	shift
	run_command strace -qq -o calls -e trace="${_fault%%:*}" \
		-e inject="$_fault" "$PORTEND" "$@"
}

# Has the fault begin behind such calls of a loader.
pass_loader() {
	strace -qq -o calls -e trace="${_fault%%:*}" "$PORTEND" -V >/dev/null
	_calls=$(wc -l <calls)
	_when=${_fault##*:when=}
	[ "$_when" != "$_fault" ] || _when=1+
	_first=${_when%%[!0-9]*}
	_rest=${_when#"$_first"}        # +, ..LAST or nothing
	case $_rest in
	..*) _rest=..$((${_rest#..} + _calls)) ;;
	esac
	_fault=${_fault%:when=*}:when=$((_first + _calls))$_rest
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
	elif unshare -U true 2>/dev/null; then  # without rights, whoever it is
		nobody='exec unshare -U "$@"'
	elif su -s /bin/sh -c 'exec "$0"' -- nobody true 2>/dev/null; then
		nobody='exec su -s /bin/sh -c "exec \"\$0\" \"\$@\"" -- nobody "$@"'
	else
		skip "needs setpriv, su, user namespaces, or not to be root"
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
usage='usage: portend [-aqv] [-t TIME] [-c TIME] [-s TIME] [-p PID] TARGET... STATE
               [TARGET... STATE]... [-- COMMAND [ARG]...]
       portend [-qrv] [-t TIME] [-c TIME]
               [[HOST:]PORT | [HOST:]LOW-HIGH]... find'

help="
TARGET  HOST:PORT, [IPv6]:PORT, HOST:PORT,HOST:PORT, a URL, or a socket's path
STATE   occupied: a connection to HOST is accepted
        free: none is; assert-free: one check of that, no waiting
        find: print the lowest PORT (0: any) free on HOST or everywhere
TIME    5 or 5s, 250ms, 1.5m, 2h, 1d
COMMAND replaces portend once every TARGET has reached its STATE

  -t, --timeout TIME          give up after TIME (never; find: 0); 0 checks once
  -c, --connect-timeout TIME  no answer within TIME is silence (2 s)
  -s, --stable TIME           a connection counts if it stays open for TIME
  -p, --pid PID               give up as soon as process PID has ended
  -a, --any                   one TARGET that reaches its STATE is enough
  -r, --reserve               keep the port from others for a while
  -q, --quiet                 no message when a state is not reached
  -v, --verbose               a line whenever a target's situation changes
  -h, --help                  print this
  -V, --version               print the version

Exit: 0 reached, 1 not, 2 bad usage; 126, 127 COMMAND cannot be run"
# What several tests want to be told.
bad_bytes="a host has only letters, digits, - _ ."
bad_end="no STATE after it: occupied, free, assert-free, find"
bad_ipv6="more than one colon: IPv6 needs brackets, [::1]:80"
bad_length="a host has at most 253 bytes"
bad_numbers="an IPv4 address is four numbers: 127.0.0.1"
bad_path="a socket's path has at most 107 bytes"
bad_service="no such port or service"
bad_slash="a / makes it a path or a URL: ./PATH, SCHEME://HOST:PORT/..."
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

# Said shorter

# in_full TEXT: sets full to it with short messages written out, between which a
# "; " is: "not bound HOST:PORT (REASON)", "not free", "in use", "cannot bind"
# and "cannot reserve" are "Port PORT not bound on HOST. (REASON)" and so on; or
# of a path. Without HOST:PORT it is the target before portend's last word.
in_full() {
	full=$1
	case $1 in
	*not\ bound* | *not\ free* | *in\ use* | *cannot\ *) ;;
	*) return ;;
	esac
	full='' _rest="$1; "
	while [ "$_rest" ]; do
		message_in_full "${_rest%%; *}"
		_rest=${_rest#*; }
		full=$full$_text${_rest:+$nl}
	done
}

message_in_full() {
	_text=$1 _reason=
	case $1 in
	not\ * | in\ use* | cannot\ *) ;;
	*) return ;;
	esac
	case $1 in
	*\ \(*) _reason=" (${1#* (}" ;;
	esac
	set -- ${1%"$_reason"}
	if [ $# = 2 ]; then
		_where=${ran% *}
		_where=${_where##* }
	else
		_where=$3
	fi
	_host=${_where%:*}
	_host=${_host#'['}
	_place="on ${_host%']'}.$_reason"
	_of="Port ${_where##*:}"
	case $_where in
	*/*) _place='' _of="Socket ${_where#unix:}" ;;
	esac
	case $1\ $2 in
	not\ *) _text="$_of not $2 $_place" ;;
	in\ *) _text="$_of is in use $_place" ;;
	*bind) _text="$_of cannot be bound $_place" ;;
	*) _text="$_of cannot be reserved $_place" ;;
	esac
	[ "$_place" ] || _text=${_text% }.$_reason
}

# rows: each line of standard input is STATUS[@MS] | ERR | ARG..., as expect has
# it; what stands before the last | is without blanks at its ends, and ARG... is
# split at them.
rows() {
	while IFS='|' read -r _row _text _words; do
		_text=${_text# }
		expect ${_row} "${_text% }" $_words
	done
}

# runs STATUS[@MS] ARG...: portend, whatever it says.
runs() {
	_status=$1
	shift
	run "$@"
	is_status "$_status"
}

# runs_traced STATUS ARG...: as run_traced.
runs_traced() {
	_status=$1
	shift
	run_traced "$@"
	is_status "$_status"
}

# start_until ERE ARG...: as start_portend with -v, and standard error has ERE.
start_until() {
	_ere=$1
	shift
	start_portend -v "$@"
	wait_for_err "$_ere"
}

# ends_within MS: the waiter does, and has reached all.
ends_within() {
	clock
	_since=$time
	ends 0
	since "$_since"
	took_at_most "$1"
}

# Two listeners; sets taken4, and taken6 and port, to their ports.
listen_both() {
	listen4
	taken4=$port
	listen6
	taken6=$port
}

# Sets taken to a port with a listener, and port to one without.
taken_and_free() {
	listen4
	taken=$port
	free_port
}

# Tests: the command line

test_help_and_version() {
	for option in -h --help -qh -hV; do
		expect_out 0 "$usage$nl$help" $option
	done
	# It fits a terminal of 24 lines.
	check [ "$(wc -l <out)" -le 24 ]
	check_not grep '.\{81\}' out
	for option in -V --version -qV -vV; do
		expect_out 0 "portend 2.1" $option
	done
	# In the spelling of another tool -h is the host.
	while read -r option words; do
		bad $option "only prints, so it stands alone" $words
	done <<-'EOF'
		-h -h db -p 5432 -- server
		-qh db:80 occupied -qh
		-V -V x
		--version --version -- true
	EOF
}

test_spellings_of_timeout() {
	free_port
	for words in "-t.2 T S" "-t .2 T S" "-qvt.2 T S" "-vqt .2 T S" \
		"--timeout .2 T S" "--timeout=.2 T S" "T -t.2 S" "T S -t .2" \
		"T --timeout .2 S" "T S --timeout=.2" "T S -t9 -t.2" \
		"T S -t .2 -- C" "T -t200ms S -v -- C"; do
		words=$(echo "$words" | sed \
			"s/T/$at/; s/S/occupied/; s/C/true/")
		runs 1@200 $words
		case $words in
		*q*) is_err "portend: $at: Connection refused" ;;
		*) err_has "^Port $port not bound on 127\.0\.0\.1\.\$" ;;
		esac
	done
}

test_quiet_and_verbose() {
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
	listen4
	expect 1 '' -q -t 0 $at free
	expect 1 '' -q -t 0 $at assert-free
	expect 1 '' -q -t .1 ./x /nosuch/y occupied
	expect 1 '' -q $at find
	expect 127 "portend: ./no: No such file or directory" \
		-q $at occupied -- ./no
	# What is wrong with the arguments is told.
	bad x: "no port" -q x: free
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
		'[::ffff:127.0.0.1]:' 127.0.0.1:0 127.0.0.1:0000 \
		tcp://127.0.0.1: a+b-c.D1://app:secret@localhost:; do
		expect 0 '' -t 0 "$target$port" occupied
	done
	expect 1 "in use $at" "HTTP://u@$at/a:1?b#c" assert-free
	accepted_none "TCP4:$at"
	listen6
	expect 1 "not free [::1]:$port" -t 0 "http://u@[::1]:$port/" free
	expect 1 "in use [::1%1]:$port" "http://[::1%lo]:$port" assert-free
}

# is_target HOST:PORT WORD...: so is each of them told, whose STATE is missing.
is_target() {
	_told=$1
	shift
	for _word do
		bad "$_told" "$bad_end" "$_word"
	done
}

test_urls() {
	for row in http:80 ws:80 https:443 wss:443 postgres:5432 \
		postgresql:5432 mysql:3306 mariadb:3306 sqlserver:1433 \
		mongodb:27017 redis:6379 rediss:6379 amqp:5672 amqps:5671 \
		nats:4222 mqtt:1883 mqtts:8883 ldap:389 ldaps:636 ssh:22 \
		smtp:25; do
		scheme=${row%:*}
		upper=$(echo "$scheme" | tr '[:lower:]' '[:upper:]')
		is_target "h:${row#*:}" "$upper://h/x:1" "jdbc:$scheme://h?x"
		is_target h:81 "$scheme://h:81"
	done
	is_target "[::1]:80" "http://u:p@[::1]/x" "jdbc:http://[::1]?x"
	is_target "[::1%lo]:80" "http://[::1%lo]/[x]:1"
	# Schemes that are longer, or shorter, or have none.
	bad_targets "no port: SCHEME://HOST:PORT" tcp://h/x:80 'tcp://h#x:80' \
		httpsx://h htt://h xhttp://h MONGODB+SRV://h/x 'tcp://[::1]/' \
		jdbc:mysql:replication://h/x x://h,i:80 x://h:80,i
	is_target h:1 mongodb+srv://h:1
	# With jdbc: in front.
	is_target db:5432 jdbc:postgresql://u:p@db \
		"jdbc:postgresql://db?user=u&password=p" \
		jdbc:a:b-c.d:postgresql://db "jdbc:a=b c:postgresql://db"
	is_target db:1433 "jdbc:sqlserver://db:1433;password=p/@p:1" \
		"jdbc:sqlserver://db;password=p@q;x"
	is_target db:3307 jdbc:x://db:3307 jdbc:mysql:loadbalance://db:3307/x
	is_target a:1 jdbc:mariadb:loadbalance://a:1,b:2/x
	is_target db:3306 jdbc:mariadb:mysql://db/x
	is_target db:389 jdbc:oracle:thin:@ldap://db/x,y
	why="no SCHEME:// after jdbc:"
	bad_targets "$why" jdbc: jdbc:h2:mem jdbc:oracle:thin:db:1521:x \
		jdbc:sqlite:/x/y jdbc:/x jdbc:80
	bad //db:1521/x "$why" jdbc:oracle:thin:@//db:1521/x free
	# They end at / ? # and ; and begin behind the last @ before the first of
	# / ? and #.
	is_target h:81 "x://h:81#x" "x://:p@h:81?x" "x://u:p@q@h:81/x@y:1" \
		"x://h:81/a:1/b" "x://h:81;y/z" "x://h:81/;" "x://h:81?;@z:82" \
		"x://u;v@h:81" "x://u:p;q@h:81;y" "x://u;@h:81/@z:82" \
		"x://h:81;" "x://u:,@h:81/a,b" "x://h:81/a,b:82" \
		"x://h:81?a,b:82" "x://h:81#a,b:82" "x://h:81;a,b:82" \
		"x://u:p=q@h:81" "x://u:p q@h:81" "x://v:81;u@h:81"
	is_target h:80 "http://h;y" "http://h?y=z"
	is_target h:1433 "SqlServer://h;password=p@z:82/x" \
		"sqlserver://u:p@h;q=r@s" "SQLSERVER://h;a,b" \
		"jdbc:sqlserver://u@h;p=q@r;s=t@u/v@w"
}

test_ipv6_targets() {
	listen6
	for target in '[::1]:' '[0:0:0:0:0:0:0:1]:' '[::1%lo]:' '[::1%1]:' \
		localhost: '[::]:' '[::0001]:0'; do
		expect 0 '' -t 0 "$target$port" occupied
	done
	accepted_none "TCP6:[::1]:$port"
	# A zone that is not there is waited for; its number has 32 bits.
	expect 1@200 "not bound (No such device)" \
		-t .2 '[fe80::1%nosuch0]:22' occupied
	expect 1 "not bound (No such device)" \
		-t 0 '[::1%4294967297]:22' occupied
}

test_a_service_is_a_port() {
	[ -r /etc/services ] || skip "needs /etc/services"
	awk '!/^#/ && $2 ~ /\/tcp$/ && $2 + 0 > 1024 { print $1, $2 + 0 }' \
		/etc/services >services
	while read -r service port && is_in_use "$port"; do
		:
	done <services
	[ "$port" ] || skip "needs a service whose port is free"
	expect 1 "not bound" -t 0 "127.0.0.1:$service" occupied
	serve4
	expect 0 '' -t 0 127.0.0.1:$service occupied
	expect 1 "in use 127.0.0.1:$service" 127.0.0.1:$service assert-free
	expect 1 "in use 127.0.0.1:$service" 127.0.0.1:$service find
}

test_bad_words() {
	is_target h:80 h:80 http://u:p@h:80/
	command="no STATE after it; a COMMAND goes after --"
	while IFS='|' read -r why what words; do
		bad "$what" "$why" $words
	done <<-EOF
		missing, as in: portend localhost:80 occupied|TARGET|
		missing, as in: portend localhost:80 occupied|TARGET|-t 1
		missing, as in: portend localhost:80 occupied|TARGET|-- true
		$bad_end|h:80|h:80 i:80 -- true
		$bad_end|81|81 find 81
		$command|k:81|h:80 free k:81 l:82 -- true
		$command|./server|h:80 occupied ./server
		$command|server|h:80 occupied server k:81
		no TARGET before it|occupied|occupied
		no TARGET before it|free|h:80 occupied free
		no TARGET before it|find|find find
		no TARGET before it|find|80 find find
		no TARGET before it|assert-free|-t 1 assert-free
		no COMMAND after it|--|h:80 free --
		no COMMAND after it|--|--
		no COMMAND with find|true|find -- true
		no other STATE beside find|free|h:80 free 0 find
		no other STATE beside find|free|0 find h:80 free
		not with --any|assert-free|-a h:80 assert-free
		not with --any|assert-free|h:80 free i:80 assert-free --any
	EOF
}

test_bad_options() {
	while IFS='|' read -r why options; do
		for option in $options; do
			bad ${option%%=*} "$why" -t 1 h:80 free $option
		done
	done <<-'EOF'
		unknown option|-x -qx -xt1 -T --nope --time --timeoutx --t=5
		unknown option|--TIMEOUT --= ---t --stabl --pi --an --pids=1
		takes no value|--quiet=1 --help= --reserve=x --any=1
		no value after it|-t -qt -c -qc -s -vs -p -ap
		no value after it|--timeout --connect-timeout --stable --pid
		only with find|-r -qr --reserve
		longer than -t|-s1.001 --stable=1.001
	EOF
	# A unit is what it says, nearly to a ten-thousandth.
	for words in "-t .9999 -s1" "-t 999.9ms -s1s" "-t 1s -s1000.1ms" \
		"-t 59.999 -s1m" "-t 1m -s60001ms" "-t 59.999m -s1h" \
		"-t 1h -s60.001m" "-t 23.999h -s1d" "-t 1d -s24.001h"; do
		bad ${words##* } "longer than -t" h:80 free $words
	done
	for option in -s1 --stable=1 -p1 --pid=1 -a -qav --any; do
		bad ${option%=*} "not with find" $option find
		bad ${option%=*} "not with find" 0 find $option
	done
}

test_bad_hosts() {
	bad_targets "no host" :80 '[]:80' http://:80/ http:// http:///x \
		'HTTP://?x' 'http://[]/' jdbc:mysql:///x
	bad_targets "no :PORT after ]" '[::1]' '[::1]80' '[::1:80' \
		'[::1]x:80' '[' 'http://[::1' 'http://[::1]x/'
	bad_targets "not an IPv6 address" '[zz]:80' '[127.0.0.1]:80' '[h]:80' \
		'[::1%]:80' '[%lo]:80' '[1:2:3]:80' '[::12345]:80' \
		"[$(printf %045d 0)::1]:80" '[localhost]:80'
	bad_targets "$bad_word" host 80 - occupie Free ''
	bad_targets "$bad_ipv6" a:b:80 1:2:80 ::1:80 fe80::1
	bad_targets "needs its interface: [fe80::1%eth0]:80" '[fe80::1]:80' \
		'[febf:ffff::]:80' 'http://[fe80::1]:80/'
	bad_targets "$bad_bytes" 'a b:80' "'db':80" '$(DB_HOST):80' '"h:80' \
		'h*:80' 'http://a b:80/' '[fe80::1%$(IF)]:80' '[fe80::1%e ]:80'
	bad 'h?:80' "$bad_bytes" "h$(printf '\r'):80" free
	bad 'h?:80' "$bad_bytes" "h$(printf '\177'):80" free
	bad_targets "a host has no dot first, nor two in a row" .h:80 \
		h..i:80 h..:80 .:80 ..:80
	bad_targets "$bad_numbers" 127.1:80 0x7f.1:80 010.0.0.1:80 \
		2130706433:80 1.2.3.4.5:80 256.0.0.1:80 1.2.3.4.:80 h.0XfF:80 \
		x.0:80 0:80 0x1:80
}

# Labels of 63 bytes and names of 253 are the longest (RFC 1035); a final dot is
# none of either.
nstest_the_longest_host() {
	label=$(printf %063d 0 | tr 0 a)
	name=$label.$label.$label.$(printf %061d 0 | tr 0 a)
	for host in "$label" "$label." "$name" "$name." "$label.b" \
		"b_-${label%aaa}" \
		"$(printf 'b\200')" b.0x b.0xg 0x7f.a 1.2.3a unixh jdbch \
		localhosts x.localhosx xlocalhost; do
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
	bad_targets "a port is 1 to 65535" h:0 h:00 h:65536 h:4294967376 \
		h:18446744073709551696 h:65616 h:11111111112222222222333333333344
	bad_targets "$bad_service" h:+80 'h: 80' 'h:80 ' h:-1 h:0x50 h:8.0 \
		h:80a h:nosuchservice 'h:8 0' 'h:http '
	bad_targets "no port" h: http://h:/ 'http://h:?'
	bad 'h:80?' "$bad_service" "h:80$nl" free
	# Where services(5) has more than one of them behind the name.
	bad 'h:http?' "$bad_service" "h:http$(printf '\t')" free
	for words in "127.0.0.1:1 127.0.0.1:65535 assert-free" "1 find" \
		"65535-65535 find" "1-1 find" "1-65535 find"; do
		run $words
		check [ "$status" -lt 2 ]
	done
}

test_paths() {
	mkdir d
	listen_unix "$dir/d/s"
	for word in "unix://$dir/d/s" "unix:$dir/d/s" unix://d/s unix:d/s \
		unix:./d/s ./d/s d/s; do
		path=${word#unix:}
		expect 1 "Socket ${path#//} is in use." "$word" assert-free
	done
	expect 1 "not free" -t 0 unix:d/s free
	# A slash alone makes a path of what looks like nothing else.
	path=./$(printf %0105d 0)
	for word in a/b a-5/x _1/x a/5432 a,b/c a/b,c:1 a/b:1 \
		./5432/tcp "./a b" ./a=b ./u@h:80/x "../a b=c@d" "/a b" /a=b@c \
		unix:5432/tcp unix:a=b/c unix:u@h "unix:a b/c:1" unix://a=b/c \
		unix:h:80/x ./db:5432/x ./a,b ../a:1,b:2 /a,b unix:a:1,b:2 \
		./a:b /a:b unix://a:b/c "$path" "unix:$path" "unix://$path"; do
		path=${word#unix:}
		expect 1 "Socket ${path#//} not bound. (No such file or\
 directory)" -t 0 "$word" occupied
	done
	bad_targets "$bad_path" "${path}0" "unix:${path}0" "unix://${path}0"
	bad_targets "no path" unix: unix://
	bad_targets "$bad_slash" db:5432/x db:80/ :/x ://h:80 a_b://h:80 \
		5432/tcp 0/x 80/ 127.0.0.1/x 1/2:3 "a b/c" "a/b c:80" ".../a b" \
		http:/h h:/x ,:/ h:80,x/y h:80,unix:/x h:80,/x h:80,i:81,x://j:82/y
	bad 'a?b/c' "$bad_slash" "a$(printf '\t')b/c" free
}

# Lines of SHOWN|TARGET|WORD...: words with a secret in them, what is shown of
# them where they are arguments, # for their number, and, where they are good
# targets, how that is told.
secrets() {
	cat <<-'EOF'
		h:80||user:s3cret@h:80|s3cret@h:80|:s3cret@h:80|u:s3cret @h:80
		h||user:s3cr@s3cret@h|u:s3cret@h:80?x=y|u:s3cret@h:80=x
		h:80,i:81||user:s3cret,x:1@h:80,i:81
		h:80/x||user:s3cret/s3cret@h:80/x|http://user:s3cret?@h:80/x
		h/x||x,s3cret@h/x|smb://dom;u:s3cret@h/x|http://user:s3cret/@h/x
		db:1521/x||app/s3cret@db:1521/x
		[::1||user:s3cret@[::1
		h:80|h:80|http://user:s3cret@h:80
		h,i:81/x|h:80|http://user:s3cret,x@h,i:81/x
		[::1]/x|[::1]:80|http://user:s3cr@s3cret@[::1]/x
		h?a#b|h:5672|amqp://u:s3cret@h?a#b
		h/x|h:5432|jdbc:postgresql://u:s3cret@h/x
		h,/0||redis://:s3cret@h,/0
		d:2||a://b:1,c://u:s3cret@d:2
		//db:1521/x||jdbc:oracle:thin:app/s3cret@//db:1521/x
		#|h:5432|postgres://u:a=s3cret@h/x|postgres://u:s3cret=@h/x?y=z
		#|db:1433|sqlserver://db;user=sa;password=s3@s3cret
		#||postgres://u:a=s3cret@h:x/|u=s3cret@h:80|a/b=s3cret@d
		#||host=db password=s3cret user=a@b|DB_URL=x://u:s3cret@h/x
		#||password=s3cret/x@h/x|db;password=s3cret@x|tcp://h?t=s3cret@x
		#||=s3cret|:=s3cret|?=s3cret|;p=s3cret| p=s3cret|s3cret@
		#||@=s3cret|u:s3cret@=x|://p=s3cret
		postgres|db:5432|postgres://db/app?password=s3cret
		sqlserver|db:1433|sqlserver://db;user=sa;password=s3cret
		jdbc||jdbc:h2:mem:x;PASSWORD=s3cret|jdbc:postgresql:a?p=s3cret
		http||http://h:80,password=s3cret|http://h:x?password=s3cret
		host||host=db password=s3cret|host=/run/pg password=s3cret
		PGPASSWORD||PGPASSWORD=s3cret|PGPASSWORD=s3cret/x
		Server||Server=db,1433;Password=s3cret
		db||db password=s3cret|db;password=s3cret|db?password=s3cret
		db||db/password=s3cret|db:80=s3cret|db	password=s3cret
		k1||k1:9092,k2:9092?p=s3cret
		[||[::1]:80?p=s3cret
	EOF
}

# Each of them, wherever a word can stand.
test_secrets_are_not_shown() {
	free_port
	PATH=/usr/bin:/bin      # which anybody may read
	secrets | awk -F'|' '{ for (i = 3; i <= NF; i++)
		print $1 "|" $2 "|" $i }' >words
	check_not grep -v 's3cret[^|]*$' words
	while IFS='|' read -r shown target word; do
		told 2 "${target:-$shown}" "$word"
		told 2 "$shown" "$word" find
		told 2 "$shown" h:80 free "$word" -- true
		told 2 "$shown" -t "$word" h:80 free
		told 2 "$shown" h:80 free --pid="$word"
		told 2 "$shown" 0 find -- "$word" "$word"
		told 127 "$shown" $at free -- "$word" "$word"
		told 2 "" "x:,$word" free
		told 2 "" "-t$word" h:80 free
		told 2 "" h:80 free "--$word"
		told 2 "" h:80 free "--x=$word"
		[ ! "$target" ] || told 1 "$target" -vt 0 -c .01 \
			"$word" occupied "$word" free
	done <words
	told 2 --password h:80 free --password=s3cret
	told 2 -Dpassword -Dpassword=s3cret h:80 free
	told 2 --password -u:s3cret@--password
	told 2 "#" h:80 free --url=http://u:s3cret@h
}

# told STATUS WHAT ARG...: the first line is of WHAT, where that is given, # for
# "argument N", the first that has a secret; no line has the secret.
told() {
	_status=$1 _what=$2 _number=1
	shift 2
	ran="portend $*"
	_told=$(timeout "$bound" $PORTEND "$@" 2>&1)
	status=$?
	while [ "$_what" = "#" ]; do
		case $1 in
		*3cret*) _what="argument $_number" ;;
		esac
		_number=$((_number + 1))
		shift
	done
	_what="portend: $_what${_what:+: }"
	case $status,$_told in
	*3cret*) fail "it tells the secret: $_told" ;;
	"$_status,$_what"*) ;;
	*) fail "wanted: $_status, $_what, not: $_told" ;;
	esac
}

test_bad_find() {
	bad_ranges "LOW is above HIGH" 8000-7000 localhost:2-1
	bad_ranges "a port is 1 to 65535" 70000 0-5 1-70000 65536 1-65536 \
		99999-5
	bad_ranges "$bad_service" localhost 1-2-3 +80 ' 80' 5--6 100000-5
	bad_ranges "no host" :80
	bad_ranges "no port" 1- 80- localhost: '[::1]:' ''
	bad_ranges "find is for [HOST:]PORT or [HOST:]LOW-HIGH" ./x.sock \
		unix:/x /x:80 http://h:80 h:80/ http://h a/b jdbc:mysql://h:1 \
		80,81 h:1,2 h:1,i:2 80, ,80 8000-8010,9000
	bad_ranges "no :PORT after ]" '[::1'
	bad_ranges "$bad_ipv6" ::1:80 x:80:90
	bad_ranges "needs its interface: [fe80::1%eth0]:80" '[fe80::1]:80'
	bad_ranges "$bad_numbers" 127.1:80
	bad -8 "unknown option" -8 find
}

# bad_ranges WHY WORD...: none of them is one, alone or behind another.
bad_ranges() {
	_reason=$1
	shift
	for _range do
		bad "$_range" "$_reason" "$_range" find
		bad "$_range" "$_reason" 0 "$_range" find
	done
}

test_bad_times() {
	for text in '' -1 1e3 nan inf 5x '5 ' ' 5' +5 0x10 . 5. 5.s .s ms s \
		1.5.5 1,5 5S 5M 5MS 5ss '5 s' -0 5m5 1_0 5sec 5us 5ns 5w 0x1p3 \
		infinity 5h30m 1. 1.m .5.; do
		for option in -t -c -s --timeout --connect-timeout --stable; do
			bad "$text" "$bad_time" h:80 free $option "$text"
		done
		bad "$text" "$bad_time" "--stable=$text" h:80 free
		case $text in
		'' | [a-z]*) ;;         # another option, or this one's value
		*) bad "$text" "$bad_time" "-qt$text" h:80 free ;;
		esac
	done
	bad -timeout "$bad_time" -timeout 5 h:80 free
	bad -qvtx "$bad_time" -qvtx h:80 free
	for words in "-c 0" "-s 0.0" "--connect-timeout .0m" "--stable 0d" \
		--connect-timeout=0 --stable=000.000 -qs0; do
		bad ${words##*[ =s]} "must be above 0" $words h:80 free
	done
}

test_times() {
	free_port
	for text in .25 0.25 00.250 .25s 250ms 0250ms 250.5ms 0.00417m \
		0.00007h 0.0000029d \
		.25000000000000000000000000000000000000009; do
		expect 1@250 "not bound" -t "$text" $at occupied
	done
	expect 1@1000 "not bound" -t 1 $at occupied
	# Shorter than a nanosecond is not 0, but 0 is, in every unit.
	for text in 0 0.0 .0 0ms 0s 0m 0h 0d 1ms 0.0000000001s 00000; do
		expect 1 "not bound" -t "$text" $at occupied
	done
	expect 0 '' -t 0h -c 1d $at free
}

# Among them those of which 64 or 32 bits of s, ms or ns would be a short time.
test_times_too_large_to_pass() {
	free_port
	waiting=
	for text in 9999999999999999999999999999999999999999 18446744074 \
		18446744073709551616 18446744073709551616ms 18446744073710ms \
		18446744073.8 307445734.57m 106752d 213504d 30d 49.8d \
		4294967296 4294968ms 4294967297ms 4294967296d 5124095.7h \
		2147483648 9223372036.9 99999999999999999999d; do
		start_portend -t "$text" "$at" occupied
		waiting="$waiting $pid"
	done
	runs 1 -t .6 "$at" occupied
	for waiter in $waiting; do
		still_waits
	done
	serve4
	for waiter in $waiting; do
		ends 0
	done
}

test_bad_usage_opens_no_socket() {
	trace socket,bind,connect,fork,vfork,clone,clone3
	for words in "127.0.0.1:9 occupied x:" "localhost:9 free x:0 free" \
		"0 70000 find" "nosuch:80 free -t x" "nosuch:80 free --" \
		"./s occupied ./s" "./s occupied --nope" "./s occupied -r"; do
		runs_traced 2 $words
		has_lines 0 calls
	done
	run_traced -t 0 127.0.0.1:9 free
	check grep -q socket calls
}

# As many arguments, lists of as many elements, and one that is as long.
test_ten_thousand_targets() {
	listen4
	set -- $(repeat 9998 $at)
	bad free "no TARGET before it" "$@" occupied free
	bad 127.0.0.1: "no port" "$@" 127.0.0.1: occupied
	bad "argument 9999" "$bad_user" "$@" a=b@c occupied
	list=$(repeat 4999 $at | tr '\n' ',')
	bad "$(echo "$list" | cut -c 1-255)" "no host" "$list" free
	bad "$(echo "$list" | cut -c 1-255)" "no port" "${list}h:" free
	accepted_none "TCP4:$at"
	expect 0 '' -t 25 "$@" occupied
	expect 0 '' -t 25 "$list$at" "x://u:p@$list$at/x" occupied
	long=$(printf %0100000d 0 | tr 0 a)
	short=$(printf %0255d 0 | tr 0 a)
	bad "$short" "$bad_word" "$long" free
	bad "$short" "$bad_length" "$long:80" free
	bad "$short" "$bad_ipv6" "$long:80:80" free
	bad "$short" "$bad_time" h:80 free -t "$long"
	long=$(printf %0100000d 0)
	bad "h:$(printf %0253d 0)" "a port is 1 to 65535" "h:$long" free
	bad "[$(printf %0254d 0)" "$bad_length" "[$long]:80" free
	bad "./$(printf %0253d 0)" "$bad_path" "./$long" free
	bad "--$(printf %0253d 0)" "unknown option" "--$long" h:80 free
}

# Tests: lists of targets

# is_list "HOST:PORT..." WORD...: each is these targets, all of them refused.
is_list() {
	_wanted="not bound $(echo "$1" | sed 's/ /; not bound /g')"
	shift
	for _word do
		expect 1 "$_wanted" -t 0 "$_word" occupied
	done
}

# Of URLs the ports of their schemes, at which nobody is in a network like this.
nstest_lists() {
	need_ipv6
	own_etc
	echo 127.0.0.1 k1 k2 k3 >/etc/hosts
	echo web 81/tcp >/etc/services
	is_list "k1:9092 k2:9092" k1:9092,k2:9092 x://k1:9092,k2:9092 \
		jdbc:x:y://k1:9092,k2:9092/z,k3:1 "x://k1:9092,k2:9092?a,k3:1" \
		"x://u:a,k3:1@k1:9092,k2:9092#a,k3:1" \
		"x://k1:9092,k2:9092;a=b,k3:1" "x://k3:1,@k1:9092,k2:9092"
	is_list "k1:1 k1:web 127.0.0.1:2 [::1]:3 k3:65535" \
		'k1:1,k1:web,127.0.0.1:2,[::1]:3,k3:65535'
	is_list "[::1]:80 [::1]:81" "http://u:p@[::1],[::1]:81/x"
	is_list "k1:27018 k2:27017 k3:27017" \
		"MONGODB://u:p,q@k1:27018,k2,k3:27017/d,b?a=b,c"
	is_list "k1:6379 k2:6379" redis://k1,k2 jdbc:redis://u:p@k1,k2:6379/0
	is_list "k1:1433 k2:1433" "sqlserver://k1,k2;x=y@k3,z" \
		"jdbc:sqlserver://u@k1,k2;password=a,b@k3"
	# Each of them is a target of its own.
	expect 1 "portend: k1:1: Connection refused; portend: [::1]:80:\
 Connection refused; not bound k1:1; not bound [::1]:80" \
		-v -t 0 "http://u:se@cret@k1:1,[::1]/x@y" occupied
	expect 0 '' -t 5 k1:1,k2:2 k3:3 assert-free http://k1,k2 free -- true
}

test_bad_lists() {
	bad_targets "no host" h:80, ,h:80 h:80,,i:81 , ,, h:80,:81 \
		'[]:80,h:80' http://h, http://,h http://h,,i http://h:80,/x \
		"http://h,?x" "http://,;x" http://h,:80 jdbc:mysql://h,/x
	bad_targets "no port" k1,k2:9092 k1:9092,k2 a,b '[::1],[::1]:80' \
		'[::1]:80,[::1]' h:80,i: h:,i:80 http://h,i: http://h:,i
	bad_targets "one URL an argument" a://b:1,c://d:2 \
		http://h/x,http://i/y http://h:80,i:81/,http://j \
		jdbc:mysql://a,http://b jdbc:mysql://a/x,jdbc:mysql://b \
		jdbc:a+w-s.:mysql://a/x,jdbc:a+w-s.:mysql://b http://h/?x,http://i \
		"http://h/x, http://i" "http://h/ http://i" "a://h/0;b://i/0"
	bad_targets "a port is 1 to 65535" h:80,i:0 h:65536,i:80 http://h,i:0
	bad_targets "$bad_bytes" 'h:80, i:80' ' h:80,i:80' 'http://h, i'
	bad_targets "$bad_ipv6" h:80,::1:80 ::1,h:80
	bad i:80 "$bad_user" h:80,u:p@i:80 free
}

# Tests: --any

test_any() {
	taken_and_free
	taken=127.0.0.1:$taken
	for words in "-a $taken $at occupied" "$at $taken occupied -a" \
		"--any $at,$taken occupied" "$at -qa $taken occupied" \
		"-a $taken occupied" "$at $taken --any free" \
		"-a $at occupied $at free" "-a $taken occupied $taken free" \
		"-a ./x $taken occupied" "-a $taken ./x free"; do
		for limit in "-t 0" "-t 15" ''; do
			expect_out 0 ran $limit $words -- echo ran
		done
	done
	for limit in 0 .2; do
		expect 1 "not bound $at; not bound $at; not free $taken;\
 not bound ./x (No such file or directory)" -a -t $limit \
			$at,$at occupied $taken free ./x occupied -- touch ran
		expect 1 '' -aqt $limit $at occupied $taken free
	done
	took_at_least 200
	check [ ! -e ran ]
}

# Beside one that is silent and one that cannot be told.
test_any_waits_for_the_first() {
	wedge
	silent=127.0.0.1:$port
	free_port
	# A check is whole, though one is decided at once.
	expect 1@300 "not bound $at; not bound $silent (No answer)" \
		-a -t 0 -c .3 "$at" "$silent" occupied
	expect 0 '' -a -t 0 -c 60 "$silent" occupied "$at" free
	start_until "^portend: $at: Connection refused" \
		-a -c 15 "$silent" "$at" ./x occupied "$silent" free
	pass_time 200
	still_waits
	serve4
	ends 0
	err_has "^portend: $at: occupied after [0-9.]* s\$"
	start_until "^portend: $at: Connection accepted" \
		-a -c 15 ./x occupied "$silent" "$at" free
	still_waits
	stop "$server"
	ends 0
	err_has "^portend: $at: free after [0-9.]* s\$"
}

# For free nothing can be said of a name that does not exist, but of others.
nstest_any_of_names() {
	dns 1 -- "db A 127.0.0.1" "bad * servfail" "silent *"
	listen4
	for names in "no1 db" "db no1 no2"; do
		start_until "^portend: no1:$port: $unknown" \
			-a $(targets $names) free
		wait_for_err "^portend: db:$port: Connection accepted"
		still_waits
		stop "$server"
		ends 0
		expect 0 '' -a -t 0 $(targets $names) free
		serve4
		expect 0 '' -a -t 0 $(targets $names) occupied
		expect 0 '' -a $(targets $names) occupied
	done
	expect 0 '' -a -t 60 silent:$port no1:$port free db:$port occupied
	# When none is left it is over; while one is it is not.
	no1="not free no1:1 ($unknown)"
	expect 1 "$no1; not free no2:2 ($unknown)" -a -t 60 no1:1,no2:2 free
	expect 1@500 "$no1; not free db:$port" -a -t .5 no1:1 db:$port free
	expect 1@500 "$no1; not free bad:1 ($failing)" -at.5 no1:1 bad:1 free
}

# Tests: --pid

no_process=2147483647                   # is above the kernel's greatest PID

start_process() {
	start sleep 300
	process=$pid
}

test_spellings_of_pid() {
	free_port
	text="not bound $at (Process $no_process has ended)"
	for option in "-p $no_process" "-t9 -p$no_process" --pid=$no_process \
		"--pid $no_process" "-p 1 -p$no_process"; do
		expect 1 "$text" $option $at occupied -- true
		expect 1 "$text" $at $option occupied
		expect 1 "$text" $at occupied $option
	done
	expect 1 '' $at occupied -t 9 -aqp$no_process
	why="a PID is 1 to 2147483647"
	for text in 0 00 x '' -1 +1 1.0 .5 1s ' 1' '1 ' 0x10 1e3 '$!' %1 1,2 \
		2147483648 4294967295 4294967296 4294967297 \
		18446744073709551615 18446744073709551617 5432/x \
		$(repeat 5 1234567890 | tr -d '\n'); do
		bad "$text" "$why" -vp "$text" h:80 free
		bad "$text" "$why" h:80 free --pid="$text"
	done
	bad '1?' "$why" -p "1$(printf '\t')" h:80 free
	bad -pid "$why" -pid 5 h:80 free
}

# One that has ended before makes of a wait its last check. A zombie has: a
# program that never waits for its child, which was the shell's.
test_pid_of_a_process_that_has_ended() {
	taken_and_free
	taken=127.0.0.1:$taken
	mkfifo end
	start sh -c 'read x <end & echo $! >zombie; exec sleep 300'
	wait_until grep -q sleep "/proc/$pid/comm"
	zombie=$(cat zombie)
	echo >end
	wait_until grep -q '^State:[[:blank:]]*Z' "/proc/$zombie/status"
	for process in $no_process $zombie; do
		ended="(Process $process has ended)"
		for limit in '' "-t 60"; do
			expect 1 "not bound $at $ended; not free $taken\
 $ended; not bound ./x $ended" $limit -p $process $taken,$at occupied \
				$at,$taken free ./x occupied -- touch ran
			expect 1 "not bound $at $ended; not bound ./x $ended" \
				-a $limit -p $process $at ./x occupied
			expect 0 '' $limit -p $process \
				$at ./x free "$taken" occupied
			expect 0 '' -a $limit -p $process $at "$taken" occupied
		done
		# These are one check, which is whole and tells what it found.
		expect 1 "not bound $at; not bound ./x (No such file or\
 directory)" -t 0 -p $process $at ./x occupied
		expect 0 '' -p $process $at assert-free
		expect 1 "in use $taken" -p $process "$taken" assert-free
	done
	check [ ! -e ran ]
}

test_pid_of_a_process_that_ends() {
	free_port
	start_process
	# One that is stopped has not ended.
	kill -STOP "$process"
	expect 1@300 "not bound" -t .3 -p "$process" $at occupied
	kill -CONT "$process"
	start_until "./x: No such file" -t 300 -p $process $at ./x occupied
	pass_time 200
	still_waits
	stop "$process"
	ended="(Process $process has ended)"
	ends 1 "portend: $at: Connection refused; portend: ./x: No such file or\
 directory; not bound $at $ended; not bound ./x $ended"
	# What came before it ended is not missed.
	start_process
	start_until "^portend: $at: Connection refused" -p $process $at occupied
	kill -STOP "$waiter"
	wait_until grep -q '^State:[[:blank:]]*T' "/proc/$waiter/status"
	serve4
	kill -KILL "$process"
	finish "$process"
	kill -CONT "$waiter"
	ends 0
	become_nobody
	free_port
	for process in 1 $$; do
		expect 1@100 "not bound" -t .1 -p $process $at occupied
		expect_as_nobody 1@100 "not bound" \
			-t .1 -p $process $at occupied
	done
	# Its own child, as where a shell becomes portend.
	run_command sh -c 'sleep .3 & exec "$@" -p $!' sh $PORTEND $at occupied
	gave_like 1 "Port $port not bound on 127\.0\.0\.1\.\
 \(Process [1-9][0-9]* has ended\)"
}

# Nobody is told that silence is free before it has lasted.
nstest_pid_shortens_no_silence() {
	silent_network
	at=192.0.2.1:80
	expect 0@300 '' -t 0 -c .3 -p $no_process $at free
	ended="(Process $no_process has ended)"
	for words in "-c 1" "-t 60" "-t .5" "-t 60 -c 60" "-a -c 5"; do
		expect 1 "not free $ended" $words -p $no_process $at free
	done
	start_process
	start_portend -c 20 -p $process $at free
	wait_until grep -q '010200C0:0050 02 ' /proc/net/tcp     # a SYN
	pass_time 300
	stop "$process"
	ends 1 "not free $at (Process $process has ended)"
	# But it may last.
	expect 0@300 '' -c .3 -p $$ $at free
	# The same of a name server, but a name may be in a file.
	own_etc "nameserver 192.0.2.1"
	echo 127.0.0.1 db >/etc/hosts
	expect 1 "not bound db:80 $ended; not bound h:80 $ended; not free h:80\
 $ended" -p $no_process db:80 h:80 occupied h:80 free
	# It is found by a machine that stands still for a moment, too.
	trace read
	expect_injected read:delay_enter=60000 0 '' -p $no_process db:80 free
}

# Tests: what a sandbox refuses

test_no_pidfd_no_ppoll_and_no_clock() {
	trace pidfd_open,ppoll,clock_gettime
	wedge
	while read -r fault text; do
		for words in "-p 1 $at occupied -- true" "-t 0 -p 1 $at free" \
			"-qp $no_process $at assert-free"; do
			expect_injected pidfd_open:$fault 1 \
				"portend: -p: $text" $words
		done
	done <<-EOF
		error=ENOSYS Function not implemented
		error=EAGAIN Resource temporarily unavailable
		retval=8192 No file descriptors available
	EOF
	# So says Linux 6.1 of one that has left a group of its own behind.
	expect_injected pidfd_open:error=EINVAL 1 \
		"not bound ./x (Process $no_process has ended)" \
		-p $no_process ./x occupied
	# It is not called without -p.
	expect_injected pidfd_open:error=ENOSYS 0 '' ./x free
	for words in "" "-t 0" "-t 20"; do
		expect_injected ppoll:error=EPERM 1 \
			"portend: ppoll: Operation not permitted" \
			$words $at free
		has_lines 1 calls
	done
	# What may pass is waited for, and not at full speed.
	for fault in error=ENOMEM error=EINTR:when=1..3; do
		expect_injected ppoll:$fault 1@300 "not bound (No answer)" \
			-t .3 $at occupied
		check [ "$(wc -l <calls)" -le 1000 ]
	done
	# strace sees nothing of the vDSO, so a copy does not find it.
	grep -Eq '__(vdso|kernel)_clock_gettime' "$PORTEND" ||
		skip "the rest needs a static program"
	sed 's/_clock_gettime/_clock_nowhere/g' "$PORTEND" >copy
	chmod 755 copy
	PORTEND=./copy
	listen_unix "$dir/s"
	for words in "./s occupied" "-t 0 ./s occupied" "-vt 5 h:80 ./s free" \
		"./s occupied -- true" "./s assert-free" "-ap 1 ./s occupied" \
		"-s 1 ./s occupied" find "-t 1 0 find"; do
		expect_injected clock_gettime:error=EPERM 1 \
			"portend: clock: Operation not permitted" $words
	done
	accepted_none "UNIX:$dir/s"
}

# Tests: messages

# All errors in musl's words; + is no obstacle to free, of which EINVAL, as of a
# blackhole, is told as another.
test_errors_in_words() {
	trace connect
	tr '|' '\n' >errors <<-'EOF'
		ENOENT +No such file or directory|ENOTDIR +Not a directory
		ENETDOWN +Network is down|ENETUNREACH +Network unreachable
		EHOSTDOWN +Host is down|EHOSTUNREACH +Host is unreachable
		EAFNOSUPPORT +Address family not supported|ETIMEDOUT +No answer
		ENONET +Machine is not on the network|EINVAL +Network unreachable
		ENOPROTOOPT +Host is unreachable|EACCES Permission denied
		EBADF Bad file descriptor|ECONNRESET Connection reset
		EFBIG File too large|EPIPE Broken pipe|EISDIR Is a directory
		ELOOP Symbolic link loop|EMFILE No file descriptors available
		ENFILE Too many open files in system|ENOMEM Out of memory
		ENOBUFS No buffer space available|ENODEV No such device
		ENOEXEC Exec format error|ENOSPC No space left on device
		ENOSYS Function not implemented|EPERM Operation not permitted
		EPROTOTYPE Protocol wrong type for socket|ESRCH Error 3
	EOF
	while read -r error text; do
		free="; not free ./x ($text)"
		[ "${text#+}" = "$text" ] || free=
		expect_injected connect:error=$error 1 "not bound ./x\
 (${text#+})$free" -t 0 ./x occupied ./x free
	done <errors
	expect_injected mmap:error=ENOMEM 1 "portend: memory: Out of memory" \
		-t 0 $(repeat 100 ./x) free
	expect_injected openat:error=ENOTDIR 2 "portend: h:no: $bad_service\
$nl$usage" h:no free
	run_injected read:error=EINTR:when=1 h:no free
	is_status 2
	# A descriptor above all that are watched is none.
	expect_injected socket:retval=8192 1 "not bound (No file descriptors\
 available)" -t 0 ./x occupied
}

# Control characters are those of C0, DEL and, in UTF-8, C1.
test_echo() {
	raw=$(printf 'a\001\033[31m\177\tb\302\233c\377\376\303\244\302\240\302x')
	cooked=$(printf 'a??[31m??b?c\377\376\303\244\302\240\302x')
	bad "$cooked:80" "$bad_bytes" "$raw:80" free
	bad "[$cooked]:80" "$bad_bytes" "[$raw]:80" free
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
	# It is cut.
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

test_messages_and_their_order() {
	taken_and_free
	absent="(No such file or directory)"
	expect 1 "not bound $at; not free localhost:$taken; not bound\
 0.0.0.0:$port; not bound ./x $absent; not bound ./y $absent" \
		-t .2 $at "127.0.0.1:$taken" occupied \
		"localhost:$taken" $at free \
		"0.0.0.0:$port" occupied "unix:./x" ./y occupied
	# ::ffff:127.0.0.1 is 127.0.0.1, also where IPv6 is off.
	listen4
	four=$port
	expect 0 '' -t 0 "[::ffff:127.0.0.1]:$four" occupied
	expect 1 "in use 127.0.0.1:$four" "[::FFFF:7f00:1]:$four" assert-free
	expect 1 "not free" -t 0 "[::ffff:127.0.0.1]:$four" free
	expect 1 "in use 127.0.0.1:$four" "[::ffff:127.0.0.1]:$four" find
	expect_out 0 "$four" "[::ffff:127.0.0.2]:$four" find
	runs 0 "[::ffff:127.0.0.1]:0" find
	listen6
	expect 1 "not free" -t 0 "[0:0::0:1]:$port" free
	expect 1 "not bound" -t 0 "[0:0::0:1]:$four" occupied
	expect 1 "in use [::1]:$port" "[0:0::0:1]:$port" assert-free
	expect 1 "in use [::1]:$port" localhost:$port assert-free
	expect 1 "portend: [::1%lo]:$port: Connection accepted
Port $port not free on ::1%lo." -v -t 0 "[::1%lo]:$port" free
}

test_verbose_tells_changes_only() {
	free_port
	start_until refused $at occupied
	pass_time 400
	serve4
	ends 0
	after "Connection refused" occupied 400
	start_until accepted $at free
	pass_time 300
	stop "$server"
	ends 0
	after "Connection accepted" free 300
}

# after ANSWER STATE MS: one line has the one, and the next says that the other
# was reached later.
after() {
	has_lines 2 err
	check [ "$(head -n 1 err)" = "portend: $at: $1" ]
	err_has "^portend: $at: $2 after [0-9]+\.[0-9]{3} s\$"
	check awk -v least="$3" 'END { exit $(NF - 1) * 1000 < least }' err
}

test_each_message_is_one_write() {
	trace write,writev,pwrite64,sendto,sendmsg
	free_port
	runs_traced 1 -v -t 0 $at ./x "localhost:$port" occupied
	has_lines 6 err
	has_lines 6 calls
	runs_traced 2 x: free
	has_lines 5 err
	has_lines 1 calls
	runs_traced 127 $at free -- ./nosuch
	has_lines 1 calls
	runs_traced 0 0 0 0 find
	has_lines 1 calls
	run_injected write:retval=4:when=1 -V   # the rest comes with the next
	gave 0 '' "end 2.1"
}

test_a_wait_outlives_its_standard_error() {
	broken_pipe
	default_signals
	for to in 'exec 2>&4 4>&-' 'exec 4>&- 2>&-'; do
		free_port
		start_command $signals sh -c "$to; exec \"\$@\"" sh $PORTEND \
			-v -t 20 $at occupied -- touch "$dir/done.$port"
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
	# A log that has its greatest size is no reason to be killed.
	free_port
	head -c 4096 /dev/zero >large
	expect_after 'ulimit -f 1; exec >>large' 1 \
		"portend: standard output: File too large" find
	run_after 'ulimit -f 1; exec 2>>large' -v $at free -- echo ran
	gave 0 '' ran
	[ -c /dev/full ] || skip "the rest needs /dev/full"
	for words in find -h -V; do
		expect_after 'exec >/dev/full' 1 "portend: standard output: No\
 space left on device" $words
	done
}

# Tests: what the states mean

test_not_reached() {
	taken_and_free
	expect 1@200 "not free" -t .2 127.0.0.1:$taken free
	expect 1@200 "not free" -t .2 localhost:$taken free
	expect 1@500 "not bound" -t .5 localhost:$port occupied
	expect 0 '' -t 0 127.0.0.1:$taken occupied $at localhost:$port free
	for host in 127.0.0.1 localhost 0.0.0.0; do
		expect 1 "in use 127.0.0.1:$taken" "$host:$taken" assert-free
	done
	expect 0 '' $at "localhost:$port" assert-free
	# The first that is occupied ends the program, whatever else is awaited;
	# of that nothing is said.
	expect 1 "in use 127.0.0.1:$taken" -t 60 $at ./x occupied \
		"127.0.0.1:$taken" free "localhost:$port" \
		"localhost:$taken" assert-free ./y occupied -- touch ran
	check [ ! -e ran ]
	# It does not wait for its own, but the others may take their time.
	expect 1@300 "not bound $at" -t .3 $at assert-free $at occupied
}

# As soon as one is decided, and cannot be told, there is nothing to wait for;
# but what is being checked is checked to the end.
test_a_failed_check_ends_the_wait() {
	become_nobody
	listen_unix "$dir/s"
	chmod 000 s
	wedge
	text="(Permission denied)"
	expect_as_nobody 1@200 "not bound $text" -t .2 ./s occupied
	expect_as_nobody 1@200 "not free $text" -t .2 ./s free
	expect_as_nobody 1 "not free ./s $text" ./s assert-free ./x occupied
	expect_as_nobody 1@400 "not free ./s $text; in use $at" \
		-c .4 ./s assert-free $at assert-free ./x occupied
	expect_as_nobody 1 "not bound ./x (No such file or directory); not free\
 ./s $text" -t 0 ./x occupied ./s free
}

test_a_hundred_probes_are_never_accepted() {
	listen_both
	for target in "127.0.0.1:$taken4" "[::1]:$taken6"; do
		expect 0 '' -t 10 $(repeat 100 $target) occupied
		runs 1 -t .5 $target free
		runs 1 $target assert-free
	done
	for _ in 1 2 3 4 5; do
		runs 1 -t 0 "localhost:$taken4" free
		runs 0 "0.0.0.0:$taken4" occupied
	done
	connect_once "TCP4:127.0.0.1:$taken4"
	connect_once "TCP6:[::1]:$taken6"
	check [ "$(accepted)" = 2 ]
	closed=$(grep -c "$(printf ':%04X .* 06 ' "$taken4")" /proc/net/tcp)
	check [ "$closed" -le 1 ]
}

test_what_was_reached_stays_reached() {
	listen4
	first=$port
	free_port
	start_until "$first: occupied after" -t 15 "127.0.0.1:$first" $at \
		occupied
	wait_for_err "$port: Connection refused"
	stop "$server"
	serve4
	ends 0
	# And free, where it is occupied again afterwards.
	listener=$server
	start_until "$first: free after" -t 15 "127.0.0.1:$first" free $at free
	port=$first
	serve4
	pass_time 100
	stop "$listener"
	ends 0
}

test_localhost_is_both_families() {
	listen_both
	expect 0 '' -t 0 localhost:$taken4 localhost:$taken6 occupied
	expect 1 "not free" -t 0 localhost:$taken4 free
	expect 1 "not free" -t 0 localhost:$taken6 free
	expect 0 '' -t 0 127.0.0.1:$taken6 "[::1]:$taken4" free
	expect 1 "not bound" -t 0 127.0.0.1:$taken6 occupied
	expect 1 "not bound" -t 0 "[::]:$taken4" occupied
}

test_sockets() {
	: >file
	expect 0 '' ./s "unix:$dir/s" ./file/s free ./s assert-free
	expect 1@100 "not bound (No such file or directory)" -t .1 ./s occupied
	listen_unix "$dir/s"
	expect 0 '' -t 0 ./s "$dir/s" unix:./s "unix:$dir/s" "../${dir##*/}/s" \
		occupied
	expect 1 "not free ./s; not free $dir/s" -t 0 ./s "unix:$dir/s" free
	expect 1 "in use $dir/s" "unix:$dir/s" assert-free
	start_portend "unix:$dir/s" free
	kill -KILL "$server"
	ends 0
	check [ -S s ]                  # stale
	expect 0 '' ./s assert-free
	expect 1 "not bound" -t .1 ./s occupied
	rm s
	# Without a network between, what is gone is gone.
	listen_unix "$dir/s"
	start_until "Connection accepted" -p "$server" "$dir/s" free
	rm s
	kill -KILL "$server"
	ends 0
	start_until "^portend: unix:$dir/s: No such" "unix:$dir/s" occupied
	listen_unix "$dir/s"
	ends 0
}

# Two connections to the socket s wait to be accepted.
has_queue() {
	[ "$(grep -c "00000000 0001 02 .* $dir/s\$" /proc/net/unix)" = 2 ]
}

# Its port is silent, and in use; a socket is occupied, but not for --stable.
test_a_server_whose_queue_is_full() {
	wedge
	listen_unix "$dir/s" backlog=1
	kill -STOP "$server"
	for _ in 1 2; do
		start socat -u UNIX:"$dir/s" OPEN:/dev/null
	done
	wait_until has_queue
	for option in -c.3 "-c .3" --connect-timeout=.3 \
		"--connect-timeout 300ms" "-qvc.3"; do
		runs 1@300 -t 0 $at $option free
	done
	held="(No answer, but the address is in use)"
	expect 1@200 "in use $at" -c .2 $at assert-free
	expect 1@2000 "not free $held" -t 2 -c .2 localhost:$port free
	expect 1@1900 "not free $held" -t 1.9 localhost:$port free
	expect 1@300 "not bound (No answer)" -t .3 -c .1 $at occupied
	expect 0 '' -t 0 ./s occupied
	expect 1 "not free" -t .2 ./s free
	expect 1 "in use ./s" ./s assert-free
	expect 1 "not bound (No answer)" -s .1 -t .2 $at occupied
	expect 1 "not free $held" -s .1 -c .1 -t 2 $at free
	expect 1 "in use $at" -s .1 -c .2 $at assert-free
	expect 1 "not bound (Queue is full)" -s .1 -t .2 ./s occupied
	expect 1 "not free (Queue is full)" -s .1 -t .2 ./s free
	expect 1 "in use ./s" -s .1 ./s assert-free
}

# Of who was never asked it is not said that he did not answer.
nstest_silent_targets_and_few_descriptors() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	set -- $(seq 100 | sed 's/^/192.0.2.1:/')
	run_after "ulimit -n 32" -t .6 -c 9 $at "$@" occupied
	check [ "$status $(wc -l <err)" = "1 100" ]
	err_has "\. \(No answer\)\$"
	err_has "\. \(No file descriptors available\)\$"
	expect_after "ulimit -n 32" 0 '' -c .2 "$@" free
	expect_after "ulimit -n 32" 0 '' -c .2 "$@" assert-free
	run_after "ulimit -n 32" -t 0 -c .2 "$@" $at occupied
	check [ "$(grep -c 'on 192\.0\.2\.1\. (No answer)$' err)" = 100 ]
	# A look-up takes nobody's turn for long, and the last check needs none.
	expect_after "ulimit -n 32" 0 '' -a -t 15 192.0.2.1:101 free "$@" \
		no:1 occupied
	expect_after "ulimit -n 32" 0 '' -a -t 3 -c 30 \
		$(seq 29 | sed 's/^/192.0.2.1:/') $at occupied
}

# Tests: --stable

# server_of COMMAND [OPTIONS]: does that with each connection, which socat logs.
server_of() {
	need socat
	free_port
	start socat -d -d \
		"TCP4-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork${2:+,$2}" \
		"SYSTEM:$1" 2>>"$dir/socat.log"
	server=$pid
	wait_until is_served
}

test_stable() {
	taken_and_free
	for option in "-s .3" -s.3 "-qs 300ms" "--stable .3" --stable=.3s \
		"-t 0 -s .3"; do
		expect 0@300 '' $option "127.0.0.1:$taken" occupied
	done
	expect 1@300 "in use 127.0.0.1:$taken" -s .3 127.0.0.1:$taken assert-free
	expect 1@300 "not free" -s .3 -t 0 127.0.0.1:$taken free
	expect 1@500 "not free" -s .3 -t .5 localhost:$taken free
	run -v -s 1.1 "127.0.0.1:$taken" occupied
	err_has "occupied after [0-9]+\.[0-9]{3} s\$"
	check awk -v most="$ms" '{ t = $(NF - 1) * 1000
		exit t < 1100 || t > most + 10 }' err
	# Each is a connection, and closed in the ordinary way.
	wait_until has_accepted 10
	check_not grep -E ' [EW] |reset' socat.log
	expect 0 '' -s .2 localhost:$port $at free localhost:$port assert-free
	expect 1@1000 "not bound $at" -s .2 -t 1 $at 127.0.0.1:$taken occupied
	expect 1@100 "not bound" -s .1 -t .1 $at occupied
	start_portend -s 2 -t 3 $at occupied
	pass_time 1200
	serve4
	ends 1 "not bound $at (Connection accepted)"
	listen_unix "$dir/s"
	start socat UNIX-LISTEN:c,fork EXEC:true
	wait_until [ -S c ]
	runs 0 -s 1 -t 60 ./c free
	expect 0@200 '' -s .2 ./s occupied
	expect 1@200 "in use ./s" -s .2 ./s assert-free
	expect 1 "not free" -s .2 -t 0 ./s free
	expect 1 "not bound (Connection closed)" -s 9 -t 0 ./c occupied
	expect 0 '' -s 5 ./c assert-free
}

# It accepts, and then closes where nobody is behind it.
test_stable_through_a_proxy() {
	need socat
	free_port
	backend=$port
	free_port
	start socat "TCP4-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" \
		"TCP4:127.0.0.1:$backend" 2>>proxy.log
	server=$pid
	wait_until is_served
	expect 0 '' -t 0 $at occupied
	expect 1 "not bound (Connection closed)" -s 9 -t 0 $at occupied
	expect 0 '' -s 2 -t 15 $at free
	expect 0 '' -s 2 $at assert-free
	runs 1@1500 -s 1 -t 1.5 $at occupied    # beside load one may be open
	start_until "Connection closed" -s .5 -t 20 $at occupied
	port=$backend
	clock
	begun=$time
	serve4
	ends 0
	since "$begun"
	took_at_least 500
	after "Connection closed" occupied 500
	check_not grep -E ' [EW] |reset' socat.log
	# And back again.
	start_until "Connection accepted" -s .5 -t 20 $at free
	stop "$server"
	ends 0
}

# What was closed begins anew 100 ms after it began, and no earlier.
test_stable_waits_for_the_next() {
	server_of true
	runs 1 -v -s 1.5 -t 2 $at occupied
	check [ "$(head -n 1 err)" = "portend: $at: Connection closed" ]
	has_lines 2 err                 # the last one may be open yet
	count=$(accepted)
	check [ "$count" -ge 3 ]
	check [ "$count" -le 21 ]
}

# The end is seen behind all that was sent, and what was sent leaves no reset. A
# reset is an end as well; so is half of one.
nstest_stable_reads_what_comes() {
	filter output tcp flags '&' 'rst == rst' counter
	server_of 'head -c 3000000 /dev/zero'
	expect 1 "not bound (Connection closed)" -s 9 -t 0 $at occupied
	server_of 'echo hello; exec cat'
	expect 0 '' -s 1 $at occupied   # or it would come too late, beside load
	check [ "$(counts)" = 0 ]
	server_of 'exec yes'
	expect 0 '' -s .2 $at occupied
	for option in linger=0 shut-down; do
		server_of "sleep .05" $option
		expect 1 "not bound (Connection closed)" -s 5 -t 0 $at occupied
	done
	# So is one that is there before the probe is looked at: ECONNRESET.
	trace getsockopt
	expect_injected getsockopt:poke_exit=@arg4=68000000 1 \
		"not bound (Connection closed)" -s 5 -t 0 $at occupied
}

# Tests: time

# So it notices soon that its time is up, whatever stopped it. It does sleep.
nstest_no_sleep_is_longer_than_a_tenth_of_a_second() {
	trace ppoll
	silent_network
	free_port
	dead_zone
	both="192.0.2.1:9 dead:9"
	for words in "-t 1.2 $at occupied" "-t 1.2 ./x occupied" \
		"-c 1.2 $both assert-free" "-t 1.2 -c 1 $both occupied" \
		"-t 1.2 -c 1 $both free" "-t 0 -c 1 $both free"; do
		run_traced $words
		check grep -q ppoll calls
		grep -E 'tv_sec=[1-9]|tv_nsec=[0-9]{9}' calls |
			grep -v tv_nsec=100000000 >longer
		is_file longer ''
		case $words in
		*dead*) check [ "$(wc -l <calls)" -le 40 ] ;;
		esac
	done
	runs_traced 1 -q -t 2 $(dead 250) occupied
	check [ "$(wc -l <calls)" -le 1000 ]
}

# Each address of each target, and what cannot be looked up; a socket sees it.
test_one_check_is_one() {
	listen_unix "$dir/s"
	expect 1 "not free" -t 0 ./s free
	expect 1 "in use ./s" ./s assert-free
	expect 1 "in use ./s" -t 60 ./s assert-free
	connect_once "UNIX:$dir/s"
	check [ "$(accepted)" = 4 ]
	free_port
	for words in "-t 0 $at ./x [::1]:$port" "-t 0 -c 60 $at" \
		"-t 0 -s 60 -c 60 $at"; do
		runs 1 $words occupied
	done
	expect 0 '' -t 0 -c 60 $at "localhost:$port" ./x free
	# One that is reached does not wait for the rest, nor keeps it waiting.
	expect 1@300 "not bound ./x (No such file or directory)" \
		-t .3 -c 60 $at assert-free ./x occupied
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
		END { if (bad || NR < 6) print "not a hundredth" }' >wrong
	is_file wrong ''
}

test_a_thousand_targets() {
	listen4 bind=127.0.0.1,backlog=1024
	set -- $(repeat 1000 $at)
	free_port
	few="ulimit -n 256"
	for limit in "ulimit -Sn 256" "$few" "ulimit -n 64"; do
		expect_after "$limit" 0 '' -t 10 "$@" occupied
	done
	expect_after "ulimit -n 16" 0 '' -t 0 "$@" occupied
	expect_after "$few" 0 '' -t 10 $(repeat 1000 $at) free \
		$(repeat 1000 $at) assert-free
	expect_after "$few" 1 "not bound $at" -t 4 "$@" $at "$@" occupied
	run_after "$few" -t 3 $(repeat 1000 $at) occupied
	is_status 1@3000
	has_lines 1000 err
	check [ "$(sort -u err)" = "Port $port not bound on 127.0.0.1." ]
}

# Tests: COMMAND

test_command_has_the_same_process_and_environment() {
	listen4
	start_portend $at occupied -- sh -c 'echo $$; exit 42'
	ends 42 ''
	is_out "$waiter"
	printf 'A=1\nB=x  y\nPATH=%s\nZ=\n' "$PATH" >wanted
	run_command env -i A=1 'B=x  y' PATH="$PATH" Z= \
		$PORTEND $at occupied -- env
	is_status 0
	sort -o out out
	is_out "$(cat wanted)"
}

# They are never touched, not even during the wait.
nstest_command_has_the_same_limits() {
	listen4 bind=127.0.0.1,backlog=1024
	run_after 'ulimit -Sn 20' -t 9 $(repeat 1000 $at) occupied -- \
		sh -c 'ulimit -Sn; ulimit -Hn'
	gave 0 '' "20
$(sh -c 'ulimit -Hn')"
	native_only "its own limits"
	silent_network
	start_after 'ulimit -Sn 20; ulimit -Hn 99' -v -t 20 $at \
		$(seq 50 | sed 's/^/192.0.2.1:/') occupied
	wait_for_err "occupied after"
	check grep -q "^Max open files *20 *99 " "/proc/$waiter/limits"
}

test_command_has_the_same_signals() {
	native_only "its own signals"
	default_signals
	defaults=$signals
	lines='^(SigBlk|SigIgn|SigCgt|SigPnd):'
	blocks="env --block-signal=USR2,TERM,PIPE"
	$blocks true 2>/dev/null || blocks=
	taken_and_free
	for code in : "trap '' TERM HUP" "trap '' PIPE CHLD INT" \
		"trap '' USR1 XFSZ" "trap '' QUIT USR2"; do
		for signals in "$defaults" "$blocks"; do
			start_command $signals sh -c "$code
				exec cat /proc/self/status"
			ends 0
			grep -E "$lines" out >wanted
			has_lines 4 wanted
			# -v, because a message changes SIGPIPE for a while.
			start_command $signals sh -c "$code; exec \"\$@\"" sh \
				$PORTEND -v "127.0.0.1:$taken" occupied \
				$at free -- cat /proc/self/status
			ends 0
			grep -E "$lines" out >signals
			is_file signals "$(cat wanted)"
		done
	done
}

test_command_has_no_descriptor_of_ours() {
	taken_and_free
	run_command ls /proc/self/fd
	expect_out 0 "$(cat out)" "127.0.0.1:$taken" "localhost:$taken" occupied \
		"localhost:$port" free \
		$(repeat 1000 "127.0.0.1:$taken") occupied -- ls /proc/self/fd
	# One that was open is still.
	expect_after 'exec 7<&0' 0 '' $at free -- sh -c '[ -e /proc/self/fd/7 ]'
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
		wait_until has_sockets -gt 0
		for fd in 0 1 2; do
			case $(readlink "/proc/$waiter/fd/$fd") in
			socket:* | pipe:*) fail "$closed: $fd is a socket" ;;
			esac
		done
	done
}

# has_sockets -OP N: the waiter has so many open.
has_sockets() {
	for _fd in /proc/"$waiter"/fd/*; do
		readlink "$_fd"
	done >descriptors
	test "$(grep -c '^socket:' descriptors)" "$@"
}

test_command_that_cannot_be_run() {
	free_port
	: >file
	no="No such file or directory"
	expect 127 "portend: ./no: $no" $at free -- ./no arg
	expect 126 "portend: ./file/x: Not a directory" $at free -- ./file/x
	expect 126 "portend: ./file: Permission denied" $at free -- ./file
	expect 126 "portend: $dir: Permission denied" $at free -- $dir
	expect 0 '' $at free -- true
	for path in /usr/bin:/bin "/usr/bin:/bin:$dir/file"; do
		expect_after "PATH=$path" 127 "portend: not-in-path: $no" \
			$at free -- not-in-path
	done
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
	grep -q "occupied" "/proc/$1/cmdline" &&
		grep -q '^State:[[:blank:]]*S' "/proc/$1/status" &&
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

# finds N ARG...: ports that differ, one a line; port is the last.
finds() {
	_wanted=$1
	shift
	runs 0 "$@"
	is_err ''
	has_lines "$_wanted" out
	check [ "$(sort -u out | wc -l)" = "$_wanted" ]
	while read -r _port; do
		check is_port "$_port"
	done <out
	port=$(tail -n 1 out)
}

test_find() {
	finds 1 find
	check_not is_listening "$port"
	serve TCP4-LISTEN
	expect 1 "in use 0.0.0.0:$port" "$port" find
	# Twice the same.
	free_port
	expect_like 1 "Port $port is in use on (0\.0\.0\.0|::)\." \
		"$port" "$port" find
	expect 1 "in use $at" "$port" $at find
	expect 1 "in use $at" "localhost:$port" "localhost:$port" find
	expect_out 0 "$port" $at find
	finds 202 $(repeat 200 0) localhost:0 127.0.0.1:0 find
	trace socket
	for reserve in '' -r; do
		run_injected socket:error=EAFNOSUPPORT:when=1 $reserve find
		is_status 0
		check is_port "$(cat out)"
		check grep -q 'AF_INET,' calls
	done
}

test_find_with_few_descriptors_and_a_small_stack() {
	shipped_only "its own descriptors"
	text="Port 0 cannot be bound. (No file descriptors available)"
	limit="ulimit -n 20"
	expect_after "$limit" 1 "$text" $(repeat 20 0) find
	expect_after "$limit" 1@300 "$text" -t .3 $(repeat 20 0) find
	is_dynamic || expect_after "ulimit -n 2" 1 \
		"portend: standard descriptors: Invalid argument" find
	run_after "$limit" $(repeat 8 0) find
	is_status 0
	has_lines 8 out
	run_after "$limit" -r $(repeat 5 0) localhost:0 find
	is_status 0
	has_lines 6 out
	# The stack is small, too.
	long=$(printf %010000d 0)
	for words in find "-r find" "localhost:0 find" "-t 0 localhost:9 free"
	do
		run_after "ulimit -s 64; LONG=$long; export LONG" $words
		is_status 0
	done
}

test_find_takes_the_lowest_of_a_range() {
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
	# All were found, or none is printed.
	text="No port from $p to $p1 is free"
	expect 1 "$text." $p-$p1 find
	expect 1 "$text on 127.0.0.1." 127.0.0.1:$p-$p1 find
	expect 1 "$text on localhost." $range localhost:$p-$p1 find
}

# 0.0.0.0 and :: by themselves; IPv6's is that of both families.
test_find_names_the_address_in_use() {
	need_ipv6
	for options in '' bind=127.0.0.2 reuseport bind=127.0.0.1; do
		listen4 "$options"      # reuseport would have hidden it
		expect 1 "in use 0.0.0.0:$port" "$port" find
	done
	at=127.0.0.1:$port
	expect 1 "in use $at" $at find
	expect 1 "in use $at" localhost:$port find
	expect 1 "in use 0.0.0.0:$port" 0.0.0.0:$port find
	expect 1 "in use [::]:$port" "[::]:$port" find
	expect_out 0 "$port" "[::1]:$port" find
	for options in '' 'bind=[::1]'; do
		listen6 "$options"
		expect 1 "in use [::]:$port" "$port" find
	done
	expect 1 "in use [::1]:$port" "[0:0::1]:$port" find
	expect 1 "in use [::1]:$port" localhost:$port find
	expect 1 "in use [::]:$port" "[::]:$port" find
	expect_out 0 "$port" $at find
	expect_out 0 "$port" "0.0.0.0:$port" find
}

test_find_waits() {
	listen4 ''
	for word in "$port" $at "localhost:$port" "$port-$port"; do
		expect_like 1@300 "(Port $port|No port from $port to $port) is\
 (in use|free)( on (0\.0\.0\.0|127\.0\.0\.1))?\." -t .3 "$word" find
	done
	for words in "-t 15 $port" "-t 15 -r localhost:$port" \
		"-vt15 $port-$port" "-t 15 0 $at localhost:0"; do
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
		expect 1 "in use $at" $words $at find
	done
	# Only with -v its reason is told, where it changes; the first that is
	# not found is the one at the end.
	free_port
	expect 1 "portend: $at: Address in use
portend: 192.0.2.1:$port: Address not available
Port ${at##*:} is in use on 127.0.0.1." \
		-v -t .3 "$port" $at "192.0.2.1:$port" find
	expect 1 '' -q -t .1 "192.0.2.1:$port" find
	expect 1 "cannot bind 192.0.2.1:$port (Address not available)" \
		-t .1 0 "192.0.2.1:$port" "$port" find
}

# The server closes first, and so has it. It is bound, and nothing listens: that
# would keep others from it.
test_find_takes_a_port_in_time_wait() {
	need socat
	free_port
	start socat -u OPEN:/dev/null "TCP4-LISTEN:$port,reuseaddr"
	wait_until is_listening "$port"
	socat -u "TCP4:$at" OPEN:/dev/null
	finish "$pid"
	wait_until is_reserved4 "$port"
	for word in "$port" $at "localhost:$port" "$port-$port"; do
		expect_out 0 "$port" "$word" find
	done
	expect 1 "in use 0.0.0.0:$port" -r "$port" find
	trace listen
	for word in "$port" $at; do
		run_traced $word find
		gave 0 '' "$port"
		has_lines 0 calls
	done
}

# A port that somebody has bound with SO_REUSEADDR and does not listen on yet
# looks the same; he can, also while find holds it.
test_find_does_not_keep_others_from_listening() {
	need python3
	mkfifo go
	for host in '' 127.0.0.1:; do
		free_port
		start python3 -c "
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', $port))
open('bound', 'w')
open('go').read()
server.listen()"
		server=$pid
		wait_until [ -e bound ]
		start_until "192.0.2.1:0: Address not available" -t 15 \
			"$host$port" 192.0.2.1:0 find
		echo >go
		finish "$server"
		is_status 0
		stop "$waiter"
		rm bound
	done
}

test_reserve() {
	# Those of one range differ.
	free_block
	range=$port-$((port + 2))
	for p in 0 1 2; do
		expect_out 0 $((port + p)) -r "$range" find
	done
	expect 1 "No port from $port to $((port + 2)) is free." -r "$range" find
	expect_out 0 "$port" "$range" find
	finds 1 find --reserve
	check_not is_listening "$port"
	check is_reserved4 "$port"
	serve TCP4-LISTEN
	stop "$server"
	need_ipv6
	check is_reserved6 "$port"
	serve TCP6-LISTEN ipv6only=1
	stop "$server"
	serve TCP6-LISTEN ipv6only=0
	expect 0 '' -t 0 "127.0.0.1:$port" occupied
	finds 2 -qr 127.0.0.1:0 localhost:0 find
	check is_reserved4 "$(head -n 1 out)"
	check_not is_reserved6 "$(head -n 1 out)"
	check is_reserved4 "$port"
	check is_reserved6 "$port"
	finds 1 -r '[::1]:0' find
	check is_reserved6 "$port"
	finds 2 -r '[::]:0' 0.0.0.0:0 find
	check is_reserved6 "$(head -n 1 out)"
	check is_reserved4 "$port"
	free_port
	trace listen
	run_injected accept4:error=ENFILE:when=1..3 -rt 20 $at find
	gave 0 '' "$port"
	free_port
	for call in listen accept4 socket:when=2 bind:when=2; do
		expect_injected $call:error=EPERM 1 "cannot reserve $at\
 (Operation not permitted)" -r $at find
	done
}

# Tests: the program, its figures and its manual

# Prints the words of its input on one line.
squeeze() {
	tr -s ' \n' '  ' | sed 's/^ //; s/ $//'
}

# Prints the options that are explained, as "-t, --timeout TIME".
options() {
	sed -n 's/^ *\(-., --[a-z-]*\( [A-Z]\{3,\}\)\{0,1\}\)\( .*\)\{0,1\}$/\1/p'
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
	has_lines 10 in_help
	is_file in_manual "$(cat in_help)"
}

# What only a stop, a fault at some call or an order of answers can show.
test_simulated_worlds() {
	[ "$PORTEND $(uname -m)" = "${self%/*}/portend x86_64" ] ||
		skip "of another source, or processor"
	need gcc objcopy "${self%/*}/.ci/simulate"
	bound=300
	run_command env CC=gcc SANITIZE= SEED=1 WORLDS=10000 \
		"${self%/*}/.ci/simulate"
	[ "$status" != 2 ] || skip "cannot be built: $(tail -n 1 err)"
	is_status 0
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

# serve_there: a listener of the second machine, at port.
serve_there() {
	need socat
	free_port
	start $there socat -d -d -u \
		"TCP4-LISTEN:$port,fork,reuseaddr,backlog=1024" OPEN:/dev/null \
		2>>socat.log
	server=$pid
	wait_until grep -q "listening on .*:$port" socat.log
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

# Names

# In a namespace of its own a test has an /etc of its own, too, and a name
# server that does what the test wants: .ci/nameserver, which tells its rules.

nameserver=${0%/*}/.ci/nameserver
failing="Name server failed"
unanswered="No answer from the name server"
unknown="Name does not resolve"

# own_etc [LINE...]: an /etc with nothing in it but these lines of resolv.conf;
# a number N is the name server 127.0.0.N. What Debian calls an alternative, awk
# for example, is not there any more.
own_etc() {
	mount -t tmpfs none /etc || skip "needs mount"
	for _line do
		case $_line in
		[0-9]) echo "nameserver 127.0.0.$_line" ;;
		*) echo "$_line" ;;
		esac
	done >/etc/resolv.conf
	[ $# -gt 0 ] || rm /etc/resolv.conf
}

# dns [LINE...] [-- RULE...]: such an /etc, and name servers that do as these
# rules say, or those on standard input.
dns() {
	_lines=
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		_lines=$_lines$nl$1
		shift
	done
	_ifs=$IFS IFS=$nl
	own_etc $_lines
	IFS=$_ifs
	if [ $# = 0 ]; then
		zone
	else
		shift
		printf '%s\n' "$@" | zone
	fi
	serve_zone
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
	listen4 bind=127.0.0.8
	# All others say that it does not exist, and say so first.
	for i in 1 2 3 4 5 6 7 8 9; do
		printf '%s\n' "server 127.0.0.$i" "n$i A 127.0.0.8" \
			"first A delay=${i}00 127.0.0.$i / AAAA"
	done >rules
	dns 1 2 3 4 5 6 7 8 9 <rules
	expect 0 '' -t 15 $(targets n1 n2 n3 n4 n5 n6 n7 n8) occupied
	expect 1 "not bound ($unknown)" -t 0 "n9:$port" occupied
	for i in 1 8; do
		check was_asked " 127\.0\.0\.$i .* A n9\$"
	done
	asked 0 ' 127\.0\.0\.9 '
	# The first address counts.
	expect 0 '' "first:$port" assert-free
}

# That a name does not exist, or has no address of a family, counts when all
# have said so; who is slow, or drops some questions, has its second, or what is
# left of one check. With TIME up before that a denial has decided nothing.
nstest_a_denial_waits_for_slower_name_servers() {
	listen6
	taken=$port
	free_port
	dns 1 2 <<-EOF
		server 127.0.0.1
		* * nxdomain
		half A nodata / AAAA nodata
		split A 127.0.0.1 / AAAA nodata
		boot * after=6 nxdomain
		server 127.0.0.2
		soon * delay=200 ::1
		later * delay=500 ::1
		boot * after=6 delay=400 ::1
		half A / AAAA delay=500 ::1
		denied * delay=500 nxdomain
		silent *
		split AAAA delay=700 ::1
	EOF
	names="soon later half"
	for options in "-t 0 -c 9" "-t 15"; do
		expect 0 '' $options $(port=$taken targets $names) occupied
	done
	for name in $names; do
		expect 1 "in use [::1]:$taken" "$name:$taken" assert-free
	done
	runs 1@2000 -t 2 $(port=$taken targets $names) free
	has_lines 3 err
	expect 0 '' -t 15 $(targets soon later) free
	expect 1@500 "not free ($unknown)" -t 15 denied:9 free
	for words in "silent:9 free" "split:$taken free" "silent:9 occupied"; do
		runs 1@500 -t .5 $words
		err_lacks "$unknown"
	done
	expect 1@900 "not bound ($unknown)" -t 0 -c .9 silent:9 occupied
	# Both were silent for more than 5 s.
	expect 1@9000 "not free boot:$taken" -t 9 "boot:$taken" free
}

# A server that keeps silent costs its second once, not for each candidate, and
# has it again when it has answered, however late.
nstest_a_silent_name_server_is_waited_for_once() {
	listen4
	dns 1 2 "search a.test b.test c.test d.test e.test f.test" <<-EOF
		server 127.0.0.1
		* * nxdomain
		far.f.test A 127.0.0.1
		soon.* * delay=30 nxdomain
		server 127.0.0.2
		* *
		soon.a.test * delay=50 until=2 nodata ; after=2 delay=50 127.0.0.1
		odd A 127.0.0.5 / AAAA delay=3000 nodata
		split A 127.0.0.5 / AAAA delay=60 ::ffff:127.0.0.1
		back A delay=1400 until=1 nxdomain ; after=1 delay=400 127.0.0.1
		drops.b.test AAAA / A delay=400 127.0.0.1
		drops.* AAAA / A delay=200 nxdomain
	EOF
	for state in "-c 60 no:9 assert-free" "no:9 free"; do
		expect 1@1000 "not free ($unknown)" $state
		took_at_most 5900
	done
	# One that drops AAAA is still waited for with A.
	expect 0 '' -t 0 -c 9 "drops:$port" occupied
	expect 0 '' -t 15 "back.:$port" occupied
	# One that answers but one candidate is waited for with that.
	expect 0 '' -t 15 "soon:$port" occupied
	# Nor is it slow for the sake of another name.
	expect 1@1800 "not bound odd.:$port; not free split.:$port" -t 1.8 \
		"odd.:$port" occupied "split.:$port" free
	# One that may not be asked costs no more.
	filter output ip daddr 127.0.0.2 udp dport 53 drop
	expect 0 '' -t 0 -c 5 "far:$port" occupied
	# Nobody is there, but that is told now and then (icmp(7)).
	filter input ip daddr 127.0.0.3 udp dport 53 \
		limit rate over 1/second burst 2 packets drop
	printf '%s\n' "nameserver 127.0.0.1" "nameserver 127.0.0.3" \
		"search a.test b.test c.test d.test e.test f.test" >/etc/resolv.conf
	expect 1@900 "not free ($unknown)" no:9 free
	took_at_most 5900
}

# Each failure of the first; 127.0.0.2 refuses packets, as nobody is there, and
# there is neither a route to 198.51.100.1 nor one to 2001:db8::1.
nstest_a_name_server_that_fails_leaves_the_others() {
	listen4
	kinds="servfail refused formerr notimp lame"
	dns 1 2 3 "nameserver 198.51.100.1" "nameserver 2001:db8::1" <<-EOF
		server 127.0.0.1
		$(for kind in $kinds; do echo "$kind * $kind"; done)
		neither * servfail
		silent *
		server 127.0.0.3
		* A delay=300 127.0.0.1 / AAAA delay=300 nodata
		neither * nxdomain
	EOF
	expect 0 '' -t 0 -c 5 $(targets $kinds silent) occupied
	expect 1 "not bound ($unknown)" -t 0 "neither:$port" occupied
	echo "nameserver 127.0.0.1" >/etc/resolv.conf
	expect 1 "$(not_bound "$failing" $kinds)" -t 0 -c 60 \
		$(targets $kinds) occupied
	# What cannot be reached is not waited for with one check.
	for unreachable in 127.0.0.2 198.51.100.1 2001:db8::1; do
		echo "nameserver $unreachable" >/etc/resolv.conf
		expect 1 "not bound ($unanswered)" -t 0 -c 60 "x:$port" occupied
		took_at_most 30000
		expect 1 "not free ($unanswered)" -c 60 "x:$port" assert-free
		took_at_most 30000
	done
}

# Tests: a longer TIME is never worse

# never_worse LINE...: with these lines of resolv.conf, and each name of the
# zone on standard input, portend waits for both states with several TIMEs, at a
# port that is taken and at one that is not, all side by side. What one TIME
# reaches a longer one reaches, too, the longest all, but of a name that begins
# with x; and none tells free of the port that is taken, at ::1 and 127.0.0.1.
never_worse() {
	native_only "hundreds of it at a time"
	need_ipv6
	free_port
	idle=$port
	free_port
	serve TCP6-LISTEN ipv6only=0
	sed -E 's/^([a-z0-9]+)([. ].* )/\1-*\2/; s/^server-[*]/server/' >rules
	dns "$@" <rules
	names=$(sed -n 's/-[*].*//p' rules | sort -u)
	runs=
	for name in $names; do
		for time in 0 3 12; do
			for to in "$port occupied" "$idle free" "$port free"; do
				set -- $to
				start $PORTEND -qt$time $name-$time-$1-$2:$1 $2
				runs="$runs $pid:$name:$time:$1:$2"
			done
		done
	done
	: >reached
	for run in $runs; do
		finish "${run%%:*}"
		[ "$status" != 0 ] || echo "${run#*:}" >>reached
	done
	for name in $names; do
		for case in "$port:occupied" "$idle:free" "$port:free"; do
			times=$(sed -n "s/^$name:\(.*\):$case\$/\1/p" reached |
				tr '\n' ' ')
			case $case/$name/$times in
			"$port:free"/*/ | */x*/) ;;
			"$port:free"/*) echo "$name: free beside a listener" ;;
			*/"0 3 12 " | */"3 12 " | */"12 ") ;;
			*) echo "$name: $case, only with -t $times" ;;
			esac
		done
	done >wrong
	[ ! -s wrong ] || fail "$(cat wrong)"
}

nstest_a_longer_time_is_not_worse_with_a_name_server() {
	record=c00c00010001000000010004
	never_worse 1 <<-EOF
		both A 127.0.0.1 / AAAA ::1
		twice A after=2 127.0.0.1 / AAAA after=3 nodata
		late5 A after=5 delay=60 127.0.0.1 / AAAA after=5 delay=300 ::1
		halfslow A 127.0.0.1 / AAAA delay=500 ::1
		xhalfdenied A / AAAA nodata
		refused6 A refused / AAAA delay=500 ::1
		refuses * until=2 refused ; after=2 127.0.0.1 ::1
		unasked A until=1 raw=I,8105,0000000000000000 ; after=1 127.0.0.1
		sixty A tc ; tcp 127.0.1.1+59 127.0.0.1
		some A tc 127.0.1.1+29 ; tcp 127.0.1.1+127 127.0.0.1
		both60 A tc 127.0.1.1+20 ; tcp 127.0.1.1+59 127.0.0.1
		both60 AAAA tc ; tcp ::1
		cut A tc 127.0.0.1 ; tcp cut=100 127.0.1.1+60
		trickles A tc 127.0.0.1 ; tcp chunk=1,20 127.0.1.1+60
		lies A tc 127.0.0.1 ; tcp id 127.0.1.1
		another A tc 127.0.0.1 ; tcp asked=another.test,1,1 127.0.1.1
		broken A tc 127.0.0.1 ; tcp raw=I,81800001ffff00000000,Q,c00c
		ends A tc raw=I,8380,0001000500000000,Q,${record}7f000001,c00c00
		end A tc ; tcp chunk=38,300 127.0.0.1
		truncated6 A 127.0.0.1 / AAAA tc
		pieces A tc ; tcp chunk=1,2 127.0.1.1 127.0.0.1
		tcpfails A tc 127.0.0.1 ; tcp until=1 servfail ; tcp after=1 127.0.0.1
		halftc A tc 127.0.1.1+20 ; tcp delay=500 127.0.0.1 / AAAA
		many A 127.0.1.1+127 / AAAA delay=500 ::1
		middlebox4 A once delay=50 127.0.0.1 / AAAA once nodata
		replica6 AAAA ports=2 ::1
		doubled A times=3 127.0.0.1
		spoofed A id times=3 127.0.1.1 ; delay=400 127.0.0.1
		upper * case 127.0.0.1 ::1
		alias A cname=a cname=b cname=c 127.0.0.1 / AAAA cname=other.test
		reversed A owner=a.test 127.0.0.1 owner=reversed cname=a.test
		xno * nxdomain
		xsilent *
	EOF
}

# Tests: silence, and what ends it

# From another port, since a NAT may pin a port to a server that is dead, and
# with the same ID. What a family or a server has answered is not asked again;
# late answers count.
nstest_a_question_is_repeated_after_a_second() {
	listen4
	dns 1 2 "options timeout:30 attempts:1" <<-EOF
		server 127.0.0.1
		lost A after=1 127.0.0.1
		late A delay=1500 until=1 127.0.0.1
		later A delay=4500 until=1 127.0.0.1
		pinned * ports=2 127.0.0.1 ::1
		server 127.0.0.2
		* *
		lost * delay=500 nodata
	EOF
	start_portend -t 15 "later:$port" occupied
	later=$waiter
	expect 0@1500 '' -t 0 -c 60 $(targets lost late pinned) occupied
	waiter=$later
	ends 0
	for name in lost late pinned; do
		grep "127.0.0.1 .* A $name\$" questions >asked
		[ $name = pinned ] || has_lines 2 asked
		check [ "$(cut -d ' ' -f 5 asked | sort -u | wc -l)" = 1 ]
		check [ "$(cut -d ' ' -f 4 asked | sort | uniq -d)" = '' ]
		set -- $(cut -d ' ' -f 1 asked)
		check [ $(($2 - $1)) -ge 500 ]
	done
	asked 1 ' 127\.0\.0\.1 .* AAAA lost$'
	asked 1 ' 127\.0\.0\.2 .* A lost$'
	# A and AAAA never leave from the same port.
	cut -d ' ' -f 4,6 questions | sort -u | cut -d ' ' -f 1 | uniq -d >both
	is_file both ''
}

# Nobody is there at first, and its packets are refused, or, as at boot, before
# the network is there, none can be sent.
nstest_a_name_server_that_becomes_reachable() {
	need_ipv6
	listen4
	own_etc
	for address in 127.0.0.2 192.0.2.9 2001:db8::9 fe80::9%silent; do
		echo "nameserver $address" >/etc/resolv.conf
		start_until "db:$port: $unanswered" -t 15 "db:$port" occupied
		case $address in
		fe80*)
			silent_network
			add_address "${address%[%]*}/64" silent
			;;
		*:*)
			need_iproute2
			add_address "$address/128" lo
			;;
		192*) ip addr add "$address/32" dev lo ;;
		esac
		printf '%s\n' "server $address" "* A 127.0.0.1" | zone
		serve_zone
		ends_within 4500
	done
}

# As at boot: both were refused for a second, and then the slower one knows it.
nstest_a_slow_name_server_that_becomes_reachable() {
	listen4
	own_etc 2 3 "search a.test b.test"
	zone <<-EOF
		server 127.0.0.2
		db.b.test A 127.0.0.9
		server 127.0.0.3
		db.a.test A delay=300 127.0.0.1
	EOF
	start_until "db:$port: $unanswered" -t 15 "db:$port" free
	pass_time 1300
	serve_zone
	wait_for_err "db:$port: Connection accepted"
}

# From 127.0.0.1, which is asked without a file, and from 127.0.0.3: both are
# silent, the latter about its last candidate. All begins anew.
nstest_a_resolv_conf_that_changes_is_followed() {
	listen4
	dns <<-EOF
		* *
		server 127.0.0.1
		server 127.0.0.2
		db.b.test A 127.0.0.1
		server 127.0.0.3
		db.a.test * nxdomain
	EOF
	for before in 1 3; do
		start_portend -t 15 "db:$port" occupied
		wait_until was_asked "127\.0\.0\.$before .* A db\$"
		echo "nameserver 127.0.0.2${nl}search b.test" >/etc/resolv.conf
		ends_within 4500
		echo "nameserver 127.0.0.3${nl}search a.test" >/etc/resolv.conf
	done
	# Of those that were there nothing is left open.
	seq 4 11 | sed 's/^/nameserver 127.0.0./' >/etc/resolv.conf
	start_portend dead:1 occupied
	wait_until has_sockets -ge 32
	echo "nameserver 127.0.0.1" >/etc/resolv.conf
	wait_until was_asked ' A dead$'
	check has_sockets -le 12
}

nstest_hosts_is_read_again_with_each_question() {
	listen4
	dns -- "* *" "late * delay=900 nxdomain" "*.* * delay=600 nxdomain"
	for options in "-t 15" "-t 0 -c 9"; do
		rm -f /etc/hosts
		: >questions
		start_portend $options "db:$port" occupied
		wait_until was_asked ' A db$'
		echo "127.0.0.1 db" >/etc/hosts
		ends 0
	done
	# And one that changes is followed: what has gone counts no more.
	echo "127.0.0.2 db" >/etc/hosts
	start_until refused -t 15 "db:$port" occupied
	echo "127.0.0.1 db" >/etc/hosts
	ends 0
	start_until accepted -t 15 "db:$port" free
	echo "127.0.0.2 db" >/etc/hosts
	ends 0
	echo "search a.test" >/etc/resolv.conf
	start_portend -at 9 late.:1 other:1 free
	wait_until was_asked ' A late$'
	echo "127.0.0.1 late" >>/etc/hosts
	ends 0
}

# What a firewall rule of this machine drops is an error for who sends it, and
# was not asked; .ci/simulate drops those of one family, too.
nstest_questions_that_cannot_be_sent() {
	taken_and_free
	dns 1 2 <<-EOF
		db A delay=300 127.0.0.1
		server 127.0.0.1
		no A 127.0.0.1
		server 127.0.0.2
		no * nxdomain
	EOF
	filter output udp dport 53 counter drop
	runs 1@1000 -t 1 "db:$taken" occupied
	# Tried again at once, unlike a question that was sent.
	check [ "$(counts)" -ge 16 ]
	start_until "db:$taken: Operation not permitted" -t 15 "db:$taken" \
		occupied
	unfilter
	ends 0
	err_lacks "$unanswered"
	filter output ip daddr 127.0.0.1 udp dport 53 drop
	for state in free occupied; do
		runs 1@1500 -t 1.5 "no:$taken" $state
		err_has "\(Operation not permitted\)"
		runs 1 -t 0 -c .5 "no:$taken" $state
		err_lacks "$unknown"
	done
}

# The ID of a question is its own among those under way, and a second's
# questions leave from one port for each family.
nstest_each_question_has_an_id_of_its_own() {
	dns -- "* * nodata"
	run -t 0 $(seq 40 | sed 's/.*/n&:9/') occupied
	check [ "$(cut -d ' ' -f 5 questions | sort -u | wc -l)" = 80 ]
	run -t 0 n1:9 occupied
	for field in 4 5; do
		check [ "$(grep ' A n1$' questions |
			cut -d ' ' -f $field | sort -u | wc -l)" = 2 ]
	done
}

# Tests: the search list

# One that has no server in it: that is 127.0.0.1.
nstest_the_search_list() {
	dns -- "* * nxdomain"
	dots14=a.b.c.d.e.f.g.h.i.j.k.l.m.n.o    # 15 count at most
	while IFS='|' read -r conf name wanted; do
		printf '%b' "$conf" >/etc/resolv.conf
		: >questions
		expect 1 "not bound ($unknown)" -t 0 "$name:9" occupied
		for type in A AAAA; do
			found=$(sed -n "s/.* $type //p" questions | uniq |
				tr '\n' ' ')
			[ "${found% }" = "$wanted" ] ||
				fail "with $conf $name is $found, not $wanted"
		done
	done <<-EOF
		|x|x
		|x.y|x.y
		\n\noptions\n\nsearch\n|x|x
		search a.test b.test|x|x.a.test x.b.test x
		search a.test b.test\n|x.y|x.y x.y.a.test x.y.b.test
		search a.test b.test|x.|x
		search a.test b.test|x.y.|x.y
		search a.test\noptions ndots:2|x.y|x.y.a.test x.y
		search a.test\noptions ndots:2\n|x.y.z|x.y.z x.y.z.a.test
		search a.test\noptions ndots:5|x.y.|x.y
		search a.test\noptions ndots:0|x|x x.a.test
		search z\noptions ndots:99|$dots14|$dots14.z $dots14
		search z\noptions ndots:99|$dots14.p|$dots14.p $dots14.p.z
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
		search a.test ; b.test|x|x.a.test x
		search a.test # b.test\noptions ; ndots:2|x.y|x.y x.y.a.test
		search a.test;b.test\nnameserver 127.0.0.1;2|x|x.a.test x
		nameserver 127.0.0.1\nnameserver nosuch\nnameserver\n|x|x
		nameserver 1.2.3\nnameserver 127.0.0.1.1\n|x|x
	EOF
}

# Its first 64 domains count, however long the line.
nstest_a_long_search_list() {
	listen4
	dns -- "x.d64.test A 127.0.0.1" "y.d65.test A 127.0.0.1" \
		"z.a.test A 127.0.0.1"
	blanks=$(printf %010000d 0 | tr 0 ' ')
	{
		echo "#$blanks"
		echo "search $(seq 70 | sed 's/.*/d&.test/' | tr '\n' ' ')"
		echo "nameserver$blanks 127.0.0.1"
	} >/etc/resolv.conf
	expect 0 '' -t 0 -c 30 "x:$port" occupied
	asked 64 ' A x\.d[0-9]+\.test$'
	expect 1 "not bound ($unknown)" -t 0 -c 30 "y:$port" occupied
	asked 65 ' A y'
	# What can be no name leads on at once: 50 short sleeps would take long.
	long=$(printf '%060d.%060d.%060d.%060d.test' 1 2 3 4)
	printf %s "search a..test $(printf %070d 0).test $(repeat 50 "$long" |
		tr '\n' ' ')$blanks a.test" >/etc/resolv.conf
	expect 0 '' -t 0 -c 30 "z:$port" occupied
	took_at_most 4900
}

# TCP only; a server that hangs delays no other.
nstest_use_vc() {
	native_only "its own descriptors"
	listen4
	dns 1 2 "search a.test b.test" "options use-vc rotate" <<-EOF
		server 127.0.0.1
		* *
		server 127.0.0.2
		x.b.test A 127.0.0.1
		y.b.test A servfail
		slow* A delay=300 127.0.0.1
	EOF
	expect 0 '' -t 0 -c 60 "x:$port" occupied
	took_at_most 30000
	printf '%s\n' "nameserver 127.0.0.2" "options use-vc" >/etc/resolv.conf
	expect 1 "not bound ($unknown)" -t 0 -c 9 "no:$port" occupied
	expect 1 "not bound ($failing)" -t 0 -c 9 "y.b.test:$port" occupied
	asked 0 ' udp '
	check was_asked ' tcp .* AAAA x.b.test$'
	# One connection takes the place of another only when that is old.
	expect_after "ulimit -n 32" 0 '' -t 25 \
		$(seq 60 | sed "s/.*/slow&:$port/") occupied
	printf '%s\n' "nameserver 127.0.0.1" "options use-vc" >/etc/resolv.conf
	# Who has the question is not asked again.
	runs 1 -t 2.5 has:1 occupied
	asked 1 ' tcp .* A has$'
	# Who is refused by ICMP is not tried all the time.
	trace '?send,sendto'
	filter output tcp dport 53 reject
	runs_traced 1 -t 2 has:1 occupied
	check [ "$(grep -c send calls)" -lt 100 ]
	unfilter
	free_port
	drop_syns "$port"
	run_after "ulimit -n 64" -vt 6 $(seq 40 | sed 's/.*/n&:1/') $at free
	err_has "^portend: $at: free after"
}

nstest_no_aaaa() {
	listen4
	taken=$port
	listen6
	dns 1 "options rotate no-aaaa edns0" <<-EOF
		four A 127.0.0.1 / AAAA
		both * 127.0.0.1 ::1
		six AAAA ::1
	EOF
	expect 0 '' -t 15 "four:$port" "both:$port" free
	took_at_most 4900
	expect 0 '' -t 0 "both:$taken" occupied
	expect 1 "not bound ($unknown)" -t 0 "six:$port" occupied
	asked 0 AAAA
	expect_out 0 "$port" "both:$port" find
	# An address that is not asked for any more counts no more.
	echo "nameserver 127.0.0.1" >/etc/resolv.conf
	start_until "Connection accepted" -t 15 "both:$port" free
	echo "options no-aaaa" >>/etc/resolv.conf
	ends 0
}

# A candidate is one for both families, though the family that the first of them
# does not have is answered sooner.
nstest_a_candidate_is_one_for_both_families() {
	listen_both
	dns 1 "search a.test b.test" <<-EOF
		four.a.test A delay=300 127.0.0.1
		four.b.test AAAA ::1
		six.a.test AAAA delay=300 ::1
		six.b.test A 127.0.0.1
		half.a.test A 127.0.0.1 / AAAA servfail
		half.b.test * ::1
		half * ::1
	EOF
	expect 0 '' -t 0 -c 5 "four:$taken4" "six:$taken6" occupied
	expect 1 "not bound four:$taken6; not bound six:$taken4; not bound\
 half:$taken6" -t 0 -c 5 "four:$taken6" "six:$taken4" "half:$taken6" occupied
	# What could not be sent was not denied.
	trace sendto
	expect_injected sendto:error=EPERM:when=2..3 1 \
		"not free six:$taken6 (Operation not permitted)" \
		"six:$taken6" assert-free
	asked 0 b.test
}

# None has an address, and one of them has failed: who knows.
nstest_a_candidate_that_failed() {
	free_port
	dns 1 "search a.test b.test" <<-EOF
		first.a.test * servfail
		second.b.test * refused
		last * servfail
		dots.test * servfail
		six.a.test AAAA servfail
	EOF
	names="first second last dots.test six"
	expect 1 "$(not_bound "$failing" $names)" -t 0 $(targets $names) \
		occupied
	for name in $names; do
		expect 1 "not free ($failing)" "$name:$port" assert-free
	done
	runs 1@500 -t .5 $(targets $names) free
	check [ "$(grep -c "not free .* ($failing)" err)" = 5 ]
}

nstest_silence_leads_nowhere_else() {
	listen4
	dns 1 "search a.test b.test" <<-EOF
		* A 127.0.0.1
		quiet.a.test *
		half.a.test A nxdomain / AAAA
	EOF
	expect 1 "$(not_bound "$unanswered" quiet half)" -t 1.5 \
		$(targets quiet half) occupied
	asked 0 b.test
	asked 2 ' A quiet.a.test$'
	asked 2 ' AAAA half.a.test$'
}

# Tests: answers

# What fitted, 127.0.0.2, where nobody is, is not all: 127.0.0.1 did not fit. It
# counts for free when TCP of each server has given nothing for 1 s, and not
# when the time is up before.
nstest_what_fitted_does_not_count_for_free() {
	listen4
	dns 1 2 3 <<-EOF
		server 127.0.0.1 notcp
		two A tc 127.0.0.2
		slow * refused
		fails * refused
		hangs * refused
		itself * refused
		server 127.0.0.2
		* A tc 127.0.0.2 / AAAA nodata
		two A delay=100 tc 127.0.0.2 ; tcp delay=500 127.0.0.1
		slow A tc 127.0.0.2 ; tcp delay=500 127.0.0.1
		fails A tc 127.0.0.2 ; tcp servfail
		itself A tc servfail 127.0.0.2 ; tcp servfail 127.0.0.2
		itself AAAA servfail
		server 127.0.0.3
		* * servfail
	EOF
	for words in "-t .7" "-t 0 -c .7" "-t 2" "-t 0 -c 2"; do
		case $words in
		*.7) names="fails itself slow hangs" ;;
		*) names="fails itself two" ;;
		esac
		runs 1 $words $(targets $names) free
		for name in $names; do
			err_has "^Port $port not free on $name\."
		done
	done
	runs 1 -c .7 "hangs:$port" assert-free
	for name in fails itself; do
		expect 1 "not free ($failing)" -c 60 "$name:$port" assert-free
		took_at_most 30000
	done
	expect 0@1000 '' -t 9 "hangs:$port" free
	expect 0 '' -t 0 -c 9 "hangs:$port" free
	# The candidate is the name.
	printf '%s\n' "nameserver 127.0.0.2" "search a.test b.test" \
		>/etc/resolv.conf
	: >questions
	expect 1 "not bound" -t 1.5 "fitted:1" occupied
	asked 0 b.test
}

# Of more than 128 addresses of a family what is beyond is as what did not fit.
nstest_a_name_with_many_addresses() {
	listen4 bind=127.0.1.128
	taken=$port
	free_port
	dns 1 <<-EOF
		many A 127.0.1.1+128 / AAAA nodata
		more A 127.0.1.1+129 / AAAA nodata
	EOF
	seq 128 | sed "s/.*/127.0.1.& list/" >/etc/hosts
	for name in many list; do
		expect 1 "in use 127.0.1.128:$taken" "$name:$taken" assert-free
		expect 1 "not free" -t 0 $name:$taken free
		expect 0 '' -t 0 $name:$taken occupied
		expect 0 '' $name:$port assert-free
		expect 0 '' -t 5 $name:$port free
		expect 1 "not bound" -t 1 $name:$port occupied
	done
	expect 0 '' -t 5 "more:$taken" occupied
	runs 1@500 -t .5 "more:$port" free
	runs 1 "more:$port" assert-free
}

# With 253 bytes it is left as it is, whatever the search list.
nstest_the_longest_names() {
	listen4
	long=$(printf '%063d.%063d.%063d.%061d' 1 2 3 4 | tr 0-9 a-j)
	short=${long#????}
	dns "search test ${short#*.}" -- "$long A 127.0.0.1" \
		"x.${short#*.} A 127.0.0.1"
	expect 0 '' -t 0 $(targets "$long" "$long." x) occupied
	asked 0 "$long.test"
	echo "127.0.0.1 $short" >/etc/hosts
	expect 0 '' -t 0 "$short:$port" occupied
	asked 0 " $short\$"
}

# Each lie is told twice, and the truth later: once the name would not exist,
# once it would have an address that is taken. A lie in bytes is two.
nstest_answers_that_do_not_belong_to_the_question() {
	listen4
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
		raw=J,8185,0000000000000000|raw=J,8185,0000000000000000
		raw=I,8183,0002000000000000,Q,Q|raw=I,8180,$two,Q,Q,$a
		raw=I,0103,$none,Q|raw=I,0100,$one,Q,$a
	EOF
	dns <rules
	expect 0 '' -t 0 -c 9 $(targets $(seq $n | sed 's/^/name/')) occupied
	expect 0 '' -t 0 -c 9 $(targets $(seq $n | sed 's/^/address/')) free
}

# They are of the other family or class, of another type, or in another section.
nstest_records_that_are_no_addresses() {
	listen_both
	one=0001000100000000,Q
	a=c00c00010001000000010004,7f000001 b=c00c001c0001000000010010
	dns <<-EOF
		family4 A ::1 / AAAA nodata
		family6 AAAA 127.0.0.1 / A nodata
		class A raw=I,8180,$one,c00c000100030000000100047f000001
		type A raw=I,8180,$one,c00c001000010000000100047f000001
		size4 A raw=I,8180,$one,c00c000100010000000100107f000001,Z12
		size6 AAAA raw=I,8180,$one,c00c001c00010000000100047f000001
		short6 AAAA raw=I,8180,$one,$b,00000000
		authority A raw=I,8180,0001000000010000,Q,$a
		additional A raw=I,8180,0001000000000001,Q,$a
		nxdomain A raw=I,8183,0001000000010000,Q,$a
	EOF
	names=$(cut -d ' ' -f 1 zone | sort -u)
	for port in "$taken4" "$port"; do
		run -t 0 -c .5 $(targets $names) occupied
		for name in $names; do
			err_has "^Port $port not bound on $name\."
		done
	done
}

# All have the right ID, and most the right question; .ci/fuzz has more of them.
nstest_hostile_packets_do_nothing() {
	listen4
	one=I,8180,0001000100000000,Q
	n=0
	for parts in Z0 I I,8180,0001000000000000,c00c,00010001 \
		I,8180,0001000000000000,3f616263 I,8180,0001ffffffffffff,Q \
		$one $one,c00c000100010000000100057f000001 \
		$one,c00c0001000100000001ffff7f000001 $one,c01ac018 $one,c3ff \
		$one,c00c0005000100000001ffffc018 \
		I,8180,0001ffff00000000,Q,Z65483 I,8180,0001000900000000,Q,R2000 \
		I,R500 R20 R65507; do
		n=$((n + 1))
		echo "name$n A raw=$parts ; delay=300 127.0.0.1"
		echo "name$n AAAA raw=$parts ; delay=300 nodata"
	done >rules
	dns <rules
	expect 0 '' -t 0 -c 9 $(targets $(seq $n | sed 's/^/name/')) occupied
	# 64,000 bytes of addresses, and forty thousand packets.
	zone <<-EOF
		huge * 127.0.0.1 127.0.1.1+4000
		flood A times=20000 id 127.0.0.1
		flood AAAA times=20000 raw=I,8180,0001000000000000,c00c,00010001
	EOF
	expect 0 '' -t 0 -c 9 "huge:$port" occupied
	expect 1@500 "not bound ($unanswered)" -t .5 "flood:$port" occupied
}

# Tests: files

nstest_the_hosts_file() {
	listen_both
	dns -- "* * nxdomain"
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
		printf '127.0.0.1\ttab\tAlias\t\n127.0.0.1 h\303\244 last'
	} >/etc/hosts
	port=$taken4
	expect 0 '' -t 0 $(targets four four.test Four before after blank both \
		BOTH both.test comment tab alias ALIAS last) \
		"$(printf 'h\303\244'):$port" occupied
	port=$taken6
	expect 0 '' -t 0 $(targets six both SIX localhost) occupied
	expect 1 "not bound four:$port; not bound last:$port" -t 0 \
		"four:$port" "last:$port" occupied
	is_file questions ''
	names="$(seq 10 | sed 's/^/no/') fou ast 127.0.0.1x f"
	expect 1 "$(not_bound "$unknown" $names)" -t 0 $(targets $names) \
		occupied
	# A search list is for name servers.
	rm /etc/hosts
	echo "search test" >/etc/resolv.conf
	expect 1 "not bound ($unknown)" -t 0 "four:$port" occupied
}

# A list of an advertisement blocker: what needs no file is asked first, and one
# that is the same is not read again.
nstest_a_hosts_file_of_5_mb() {
	taken_and_free
	dns 1 -- "* *"
	seq 150000 | sed 's/.*/0.0.0.0 advertisement&.example.test/' >/etc/hosts
	printf '127.0.0.1 last' >>/etc/hosts
	expect 0 '' -t 15 "last:$taken" occupied
	start_until "^portend: 127\.0\.0\.1:$taken: occupied after [0-2]\." -t \
		20 $(seq 200 | sed "s/.*/name&:$taken/") "127.0.0.1:$taken" \
		"localhost:$port" occupied
	port=${at#*:}
	serve4
	wait_for_err "^portend: localhost:$port: occupied after"
	still_waits
	stop "$waiter"
	if is_shipped; then
		trace read,pread64,readv,preadv,mmap
		for time in "-t 0 -c .5" "-t 7"; do
			run_command strace -f -qq -y -e signal=none \
				-e "trace=$calls" -o calls "$PORTEND" -q \
				$time "db:$port" occupied
			grep -c /etc/hosts calls
		done >reads
		check [ "$(sed -n 1p reads)" = "$(sed -n 2p reads)" ]
	fi
	# TIME may be up before the end of the file.
	truncate -s 2000M /etc/hosts
	runs 1@100 -t .1 "name:$port" occupied
	took_at_most 3000
}

# A file that is there and cannot be read is no empty one, and nobody else is
# asked instead.
nstest_files_that_cannot_be_read() {
	become_nobody
	listen4
	dns -- "* A 127.0.0.1"
	for file in hosts resolv.conf; do
		: >questions
		: >/etc/$file
		chmod 000 /etc/$file
		expect_as_nobody 1 "not free (Permission denied)" \
			"db:$port" assert-free
		rm /etc/$file
		mkdir /etc/$file
		expect 1@300 "not bound (Is a directory)" -t .3 db:$port occupied
		expect 1@300 "not free (Is a directory)" -t .3 db:$port free
		is_file questions ''
		# It may pass.
		start_until "db:$port: Is a directory" -t 15 "db:$port" occupied
		rmdir /etc/$file
		ends 0
		wait_until was_asked ' AAAA db$'        # so it is told by now
	done
	mkdir /etc/services
	expect 1 "portend: /etc/services: Is a directory" -t 5 db:http occupied
}

# services(5): a name, PORT/PROTOCOL, aliases; # begins a comment.
nstest_the_services_file() {
	listen4
	own_etc
	bad 127.0.0.1:some "no such port or service" 127.0.0.1:some free
	long=$(printf %070000d 0)
	{
		printf '%b\n' '\0000\n#\0000some 9/tcp\0001some 9/tcp' \
			"#no1 $port/tcp" "other 9/tcp a1 a2" "some $port/udp" \
			"some	$port/tcp	alias # no2" "some 9/tcp" \
			"$long 9/tcp" "long $port/tcp $long end" \
			"no3 $port/udp" "no4 $port" "no5 -$port/tcp" "no6 0/tcp" \
			"no 65536/tcp" "no7 ${port}x/tcp" "no8 /tcp" "no9 $port/tcpx" ""
		printf 'last %s/tcp' "$port"
	} >/etc/services
	for service in some alias long end last; do
		expect 0 '' -t 0 "127.0.0.1:$service" occupied
	done
	for service in $(seq 9 | sed 's/^/no/') som somes a3 no; do
		bad "127.0.0.1:$service" "no such port or service" \
			"127.0.0.1:$service" free
	done
}

# Tests: localhost, and addresses of a special kind

nstest_localhost_is_asked_of_nobody() {
	need_ipv6
	dns -- "* A 127.0.0.9"
	echo "127.0.0.9 localhost localhost. db.localhost" >/etc/hosts
	for listen in listen4 listen6; do
		$listen
		expect 0 '' -t 0 $(targets localhost LocalHost. db.localhost \
			A.b.LOCALHOST. x-.localhost) occupied
	done
	is_file questions ''
	for name in localhosts alocalhost localhost.test db.localhost.test \
		a-localhost localhost.localhosts; do
		expect 1 "not bound" -t 0 "$name:$port" occupied
		check was_asked " A $name\$"
	done
}

nstest_special_addresses_of_names() {
	need_ipv6
	taken_and_free
	dns <<-EOF
		zero A 0.0.0.0
		mapped AAAA ::ffff:127.0.0.1
		local A 127.0.0.1 / AAAA fe80::1
		only AAAA fe80::1
	EOF
	printf '%s\n' '0.0.0.0 zero-h' '::ffff:127.0.0.1 mapped-h' \
		'127.0.0.1 local-h' 'fe80::1 local-h only-h' >/etc/hosts
	for where in '' -h; do
		names="zero$where mapped$where local$where"
		expect 0 '' -t 0 $(port=$taken targets $names) occupied
		for name in $names; do
			expect 1 "in use 127.0.0.1:$taken" "$name:$taken" \
				assert-free
		done
		expect 0 '' -t 15 $(targets $names "only$where") free
		runs 1 -t 0 "only$where:$port" occupied
		err_has "^Port $port not bound on only$where\. \(.*unreach"
	done
}

# Tests: addresses that change

# What a name server does with questions for the family that it does not know.
# One that keeps silent is waited for until the time is up, or for 5 s, once:
# then what is freed is free at once.
nstest_one_family_fails() {
	need_ipv6
	taken_and_free
	dns <<-EOF
		servfail A 127.0.0.1 / AAAA servfail
		refused A refused / AAAA ::1
		half A delay=30 127.0.0.1 / AAAA
		slow A 127.0.0.1 / AAAA delay=500 ::1
	EOF
	start_portend -t 300 "half:$taken" free
	# Both are waited for.
	expect 0 '' -c 9 servfail:$port refused:$port assert-free
	expect 0 '' -t 15 servfail:$port refused:$port free
	expect 1 "in use 127.0.0.1:$taken" -c 9 slow:$taken assert-free
	expect 0@500 '' -c 9 slow:$port assert-free
	expect 0@500 '' -c .5 half:$port assert-free
	expect 0@500 '' -t 0 -c .5 half:$port free
	expect 0@1900 '' -t 1.9 half:$port free
	expect 0@5000 '' -t 60 half:$port free
	pass_time 1500
	still_waits
	stop "$server"
	ends_within 2000
	# What is known stays so when nobody is there to ask.
	serve4
	start_until "Connection accepted" -t 15 "servfail:$port" free
	echo "nameserver 127.0.0.2" >/etc/resolv.conf
	pass_time 1500
	stop "$server"
	ends_within 2000
}

# So is a name that appears. It is kept while the name server keeps silent, and
# dropped when the name is gone.
nstest_an_address_that_changes_is_followed() {
	listen4
	dns </dev/null
	start_until "db:$port: $unknown" -t 15 "db:$port" occupied
	echo "db A 127.0.0.2" | zone
	wait_for_err "db:$port: Connection refused"
	echo "db A 127.0.0.1" | zone
	ends 0
	# The other way round, to the other family, and as far as it fits.
	for then in "A 127.0.0.2" "AAAA ::1" "A tc 127.0.0.2"; do
		echo "db A 127.0.0.1" | zone
		start_until "db:$port: Connection accepted" -t 15 "db:$port" free
		echo "db $then" | zone
		ends 0
	done
	# One that is back has no answer yet.
	echo "db A 127.0.0.1 127.0.0.2" | zone
	start_until "db:$port: Connection accepted" -t 30 "db:$port" free
	echo "db A 127.0.0.1" | zone
	: >questions
	wait_until was_asked ' A db$' 2
	serve TCP4-LISTEN bind=127.0.0.2
	wait_until grep -q "listening on .* 127\.0\.0\.2:$port" socat.log
	echo "db A 127.0.0.2" | zone
	: >questions
	wait_until was_asked ' A db$' 2
	still_waits
	stop "$waiter"
	for then in "db * servfail" "db *" "other *"; do
		free_port
		echo "db A 127.0.0.1" | zone
		start_until "db:$port: Connection refused" -t 4 "db:$port" \
			occupied
		: >questions
		echo "$then" | zone
		if [ "$then" != "other *" ]; then
			wait_until was_asked ' A db$' 2
			serve4
			ends 0
			err_lacks "[Nn]ame server"
		else
			wait_for_err "db:$port: $unknown"
			serve4
			ends 1
			err_has "^Port $port not bound on db\. \($unknown\)"
		fi
	done
}

# Tests: messages of names, and how often is asked

nstest_reasons_of_names() {
	free_port
	names=
	dns <<-EOF
		servfail * servfail
		refused * refused
		silent *
		nodata * raw=I,8500,0001000000000000,Q
		alias * cname=nodata
		half A / AAAA nodata
	EOF
	while read -r name reason; do
		target=$name:$port
		names="$names $name"
		not_bound "$reason" "$name" >>untold
		echo "portend: $target: $reason" >>changed
		expect 1 "not free ($reason)" -t 0 -c .3 $target free
		expect 1 "not free ($reason)" -c .3 $target assert-free
		expect 1 "cannot bind $target ($reason)" -c .3 $target find
	done <<-EOF
		servfail $failing
		refused $failing
		silent $unanswered
		half $unanswered
		nodata $unknown
		alias $unknown
		n.o.s.u.c.h. $unknown
	EOF
	expect 1@500 "$(cat untold)" -t .5 $(targets $names) occupied
	runs 1 -v -t 0 -c .5 $(targets $names) occupied
	sort err >told
	is_file told "$(sort untold changed)"
	# One that does not exist ends a wait, whatever else is waited for.
	expect 1 "not free nosuch:$port ($unknown)" -t 60 $at occupied \
		"nosuch:$port" free "silent:$port" free -- touch ran
	check [ ! -e ran ]
}

nstest_a_name_is_asked_for_once_a_second() {
	free_port
	dns -- "db A 127.0.0.1" "servfail * servfail" "silent *"
	names="db servfail silent nosuch"
	runs 1 -t 2.5 $(targets $names) occupied
	for name in $names; do
		for type in A AAAA; do
			asked 3 " $type $name\$"
			set -- $(sed -n "s/ .* $type $name\$//p" questions)
			check [ $(($2 - $1)) -ge 500 ]
			check [ $(($3 - $2)) -ge 500 ]
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
	taken_and_free
	dns <<-EOF
		db A 127.0.0.1
		other A 127.0.0.1
		half A 127.0.0.1 / AAAA
	EOF
	expect 1 "not bound $at" -t 1.5 \
		"db:$taken" "half:$taken" $at occupied "other:$port" free
	for question in 'A db' 'AAAA db' 'A half' 'AAAA half' 'A other'; do
		asked 1 " $question\$"
	done
}

# Tests: many names, and find

# dead N: prints targets of names that are never answered.
dead() {
	seq "$1" | sed "s/.*/dead&:$port/"
}

dead_zone() {
	dns -- "* *" "live A 127.0.0.1"
}

nstest_dead_names_do_not_take_turns() {
	listen4
	dead_zone
	runs 1@4000 -t 0 -c 4 $(dead 200) occupied
	took_at_most 7500
	check [ "$(grep -c "not bound .* ($unanswered)" err)" = 200 ]
	start_until "live:$port: occupied after [0-2]\." -t 15 $(dead 1500) \
		"live:$port" $at occupied
	err_has "127.0.0.1:$port: occupied after 0\."
}

# The name servers are the program's: two families, each second of the last 5.
nstest_many_names_and_few_descriptors() {
	native_only "its own descriptors"
	listen4 bind=127.0.0.1,backlog=1024
	dns 1 -- "name* A 127.0.0.1" "* *"
	set -- $(seq 800 | sed "s/.*/name&:$port/")
	expect 0 '' -t 20 "$@" occupied
	expect_after "ulimit -n 32" 0 '' -t 20 "$@" occupied
	start_portend -q -t 20 $(dead 1000) occupied
	for second in 1 2 3 4 5 6 7; do
		wait_until was_asked " A dead1000\$" $second
		check has_sockets -le 12
	done
	grep ' A dead1000$' questions | cut -d ' ' -f 4 | sort | uniq -d >again
	is_file again ''
	is_shipped || skip "instrumented: system calls"
	trace fork,vfork,clone,clone3
	runs_traced 0 -t 15 "name1:$port" "name2:$port" occupied
	is_file calls ''
}

# All are asked at the same time, though descriptors are few.
nstest_a_name_with_many_silent_addresses() {
	shipped_only "its own descriptors"
	silent_network
	ip addr add 10.9.0.1/16 dev silent
	dns 1 -- "silent A 10.9.1.1+128" "silent AAAA nodata" "live A 127.0.0.1"
	for limit in 64 32; do
		free_port
		start_after "ulimit -n $limit" -v -c 15 "silent:$port" $at \
			"live:$port" occupied
		wait_for_err "^portend: $at: Connection refused"
		wait_for_err "^portend: live:$port: Connection refused"
		serve4
		wait_for_err "^portend: $at: occupied after [0-3]\."
		wait_for_err "^portend: live:$port: occupied after [0-3]\."
		stop "$waiter"
	done
}

# However often its name is asked for anew.
nstest_one_check_is_not_prolonged() {
	free_port
	dns 1 -- "* *"
	start sh -c 'while sleep .2; do
		echo "nameserver 127.0.0.1 # $((i += 1))" >/etc/resolv.conf.new
		mv /etc/resolv.conf.new /etc/resolv.conf
	done'
	expect 1@2500 "not bound ($unanswered)" -t 0 -c 2.5 "db:$port" occupied
	check [ "$(cut -d ' ' -f 4 questions | sort -u | wc -l)" -ge 2 ]
}

# A name server may end a connection: no SIGPIPE. At boot there may be no
# entropy: nothing waits for it (the vDSO, for its 32 bytes, knows there is).
nstest_look_ups_need_little() {
	trace sendto,getrandom
	listen4
	dns -- "* * tc times=2" "db A 127.0.0.1"
	runs_traced 1 -t 0 -c 9 no:9 occupied
	asked 2 ' tcp .* no$'
	check_not grep -Ev 'MSG_NOSIGNAL|GRND_NONBLOCK|, 32, 0\)' calls
	expect_injected getrandom:error=EAGAIN 0 '' -t 0 "db:$port" occupied
	check grep -q INJECTED calls
}

nstest_find_with_a_name() {
	need_ipv6
	taken_and_free
	dns <<-EOF
		both A 127.0.0.1 / AAAA delay=300 ::1
		twice A 127.0.0.1 127.0.0.1 / AAAA delay=300 ::ffff:127.0.0.1
		other A 192.0.2.77
		silent *
	EOF
	for name in both twice; do
		expect_out 0 "$port" "$name:$port" find
	done
	expect 1 "in use 127.0.0.1:$taken" both:$taken find
	expect 1 "cannot bind other:0 (Address not available)" other:0 find
	expect 1@500 "cannot bind nosuch:$port ($unknown)" -t .5 nosuch:$port find
	# Where one does not exist yet, or is not answered yet.
	start_until "^portend: late:$port: $unknown\$" -t 15 "late:$port" \
		"silent:0" find
	printf '%s\n' "late A 127.0.0.1" "silent AAAA ::1" | zone
	ends 0
	has_lines 2 out
	check [ "$(head -n 1 out)" = "$port" ]
}

# Tests: networks

nstest_a_silent_host() {
	silent_network
	need_ipv6
	target=192.0.2.1:9
	expect 1@500 "not bound (No answer)" -t .5 $target occupied
	expect 0@300 '' -c .3 $target free
	expect 0@1900 '' -t 1.9 $target free
	expect 0@2000 '' $target assert-free
	expect 1@300 "not bound (No answer)" -t 0 -c .3 $target occupied
	expect 0@300 '' -c .3 "[2001:db8::1]:9" free
	# It delays no other address of a name.
	taken_and_free
	own_etc
	printf '%s two\n' 192.0.2.1 127.0.0.1 192.0.2.3 >/etc/hosts
	expect 0 '' -t 60 -c 60 two:$taken occupied
	expect 0 '' -t 0 -c 60 two:$taken occupied
	expect 1 "in use 127.0.0.1:$taken" -c 60 two:$taken assert-free
	expect 0@400 '' -c .4 two:$port free
	expect 1 "not bound (No answer)" -t .3 two:$port occupied
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
	for host in 192.0.2.2 127.0.0.5 '[2001:db8::2]'; do
		case $host in
		*:*) listen6 "bind=$host" ;;
		*) listen4 "bind=$host" ;;
		esac
		drop_syns "$port"
		expect 1 "in use $host:$port" -c .2 "$host:$port" assert-free
	done
	expect 0 '' -c .2 "127.0.0.6:$port" assert-free
}

# Addresses that are this machine's by a route; its own source may be ::1 then.
nstest_addresses_that_a_route_makes_local() {
	need_iproute2
	need_ipv6
	ip -6 route add local 2001:db8:5::/64 dev lo || skip "needs routes"
	ip route add local 192.0.2.0/24 dev lo
	for host in '[2001:db8:5::7]' 192.0.2.7; do
		case $host in
		*:*) listen6 'bind=[::]' ;;
		*) listen4 '' ;;
		esac
		expect 0 '' -t 0 "$host:$port" occupied
		free_port
		expect 0 '' "$host:$port" assert-free
	done
}

nstest_an_address_with_a_zone() {
	silent_network
	add_address fe80::5/64 silent || skip "needs IPv6"
	listen6 'bind=[::]'
	for zone in silent 11; do
		rows <<-EOF
			0 | | -t 15 [fe80::5%$zone]:$port occupied
			0@200 | | -c .2 [fe80::6%$zone]:$port assert-free
			1 | in use [fe80::5%11]:$port | [fe80::5%$zone]:$port assert-free
			1 | in use [fe80::5%11]:$port | [fe80::5%$zone]:$port find
		EOF
		runs 0 "[fe80::5%$zone]:0" find
	done
	expect 1 "cannot bind [fe80::5%nosuch]:$port (No such device)" \
		"[fe80::5%nosuch]:$port" find
	start_portend -t 15 "[fe80::7%late]:$port" occupied
	ip link set end name late
	add_address fe80::7/64 late
	ends 0
	native_only "sin6_scope_id with -r"
	for zone in silent 11; do
		runs 0 -r "[fe80::5%$zone]:0" find
	done
}

# As many as there are descriptors for.
nstest_silent_targets_do_not_take_turns() {
	silent_network
	set -- $(seq 3000 | sed 's/.*/192.0.2.1:&/')
	expect_after "ulimit -n 4096" 0@3000 '' -c 3 "$@" free
	took_at_most 20000
	run_after "ulimit -n 4096" -t 1 "$@" occupied
	check [ "$status $(wc -l <err)" = "1 3000" ]
}

# As RFC 5952 writes them.
nstest_addresses_in_numbers() {
	need_iproute2
	listen6 'bind=[::]'
	while read -r given text; do
		add_address "$text/128" lo
		expect 1 "in use [$text]:$port" "[$given]:$port" assert-free
	done <<-EOF
		2001:db8:0:1:1:1:1:0 2001:db8:0:1:1:1:1:0
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
	echo 60 >/proc/sys/net/ipv6/conf/one/dad_transmits
	echo 1 >/proc/sys/net/ipv6/conf/other/disable_ipv6
	ip link set other up
	ip link set one up
	wait_until is_tentative one
	text="(Address not available)"
	expect 1 "not free $text" '[fe80::9%one]:9' assert-free
	expect 1 "not bound $text" -t .1 '[fe80::9%one]:9' occupied
	# The kernel would take ::1 for the source, and nobody could answer.
	ip addr add 2001:db8::2/64 dev one
	expect 1 "not free $text" -c 9 '[2001:db8::9]:9' assert-free
	ip link set lo down
	expect 1 "not free $text" -c 9 '[2001:db8::9]:9' assert-free
	ip addr add fe80::5/64 dev one nodad
	ip -6 route add default dev one
	expect 1 "not free $text" -c .1 '[2001:db9::9]:9' assert-free
	check is_tentative one
	expect 0 '' -t 15 '[fe80::9%one]:9' free
}

is_tentative() {
	ip -6 addr show dev "$1" tentative | grep -q inet6
}

# One sample of a route that is away is no silence of who has accepted.
nstest_free_needs_a_second_sample() {
	second_machine
	serve_there
	at=192.0.2.2:$port
	start_until "$at: Connection accepted" -c .3 $at free
	# It comes back in time, which begins anew.
	away="unreachable 192.0.2.2/32"
	{ echo route add $away; sleep .1; echo route del $away; } | ip -batch -
	pass_time 700
	still_waits
	clock
	begun=$time
	ip route add $away
	ends 0
	since "$begun"
	took_at_least 1000
	ip route del $away
	# A refusal counts at once.
	start_until "$at: Connection accepted" -p "$server" $at free
	stop "$server"
	ends 0
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

nstest_unreachable() {
	taken_and_free
	ip route add unreachable 198.51.100.0/24
	ip route add blackhole 198.18.0.0/24
	ip route add throw 198.18.1.0/24
	for host in 198.51.100.1:Host\ is 198.18.0.1:Network \
		198.18.1.1:Network 203.0.113.1:Network; do
		text="(${host#*:} unreachable)"
		host=${host%%:*}
		expect 0 '' -t 60 $host:9 free
		expect 0 '' $host:9 assert-free
		expect 1@200 "not bound $text" -t .2 $host:9 occupied
	done
	# A rule of this machine says nothing about the port; it may be lifted.
	ip route add prohibit 203.0.113.0/24
	target=203.0.113.1:9
	expect 1@200 "not free (Permission denied)" -t .2 $target free
	expect 1@200 "not bound (Permission denied)" -t .2 $target occupied
	expect 1 "not free (Permission denied)" $target assert-free
	start_until "Permission denied" -t 15 $target free
	ip route del prohibit 203.0.113.0/24
	ends 0
	# One that is for TCP only, as Landlock and SELinux have them.
	ip route add 203.0.113.0/24 dev lo
	ip rule add ipproto tcp dport 9 prohibit || skip "needs ip rule dport"
	expect 1@200 "not free (Permission denied)" -t .2 $target free
	expect 1 "not free (Permission denied)" $target assert-free
	ip rule del ipproto tcp dport 9 prohibit
	ip route del 203.0.113.0/24 dev lo
	# It hides no other address's answer; nor does one without its zone.
	own_etc
	printf '%s two\n' 198.18.0.1 fe80::1 127.0.0.1 198.51.100.1 >/etc/hosts
	echo "fe80::1 zone" >>/etc/hosts
	expect 0 '' -t 0 two:$taken occupied
	expect 1 "in use 127.0.0.1:$taken" two:$taken assert-free
	expect 1 "not bound" -t 0 two:$port occupied
	expect 0 '' two:$port assert-free
	expect 0 '' -t 60 zone:$port free
	expect 1 "not bound (Network unreachable)" -t 0 zone:$port occupied
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
			case $hook$reason in
			output*host-* | output*net-* | output*no-*) continue ;;
			esac
			filter $hook tcp dport "$port" reject with $reason
			runs 1@100 -t .1 $at occupied
			err_has "^Port $port not bound on 127\.0\.0\.1\."
			err_lacks 'No answer|not connected|Error'
			expect 0 '' $free assert-free
			case $reason in
			*port-*|*reset*) expect 0 '' $at assert-free ;;
			*)
				expect 1 "in use $at" $at assert-free
				expect 1 "not free (No answer, but the address\
 is in use)" -t .1 $at free
				;;
			esac
			unfilter
		done
	done
	expect 0 '' -t 15 $at occupied
	listen6
	filter output tcp dport "$port" reject with icmpx admin-prohibited
	for host in localhost '[::1]'; do
		expect 1 "in use [::1]:$port" "$host:$port" assert-free
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

nstest_no_local_port_left() {
	taken_and_free
	other=$port
	free_block
	set_ports "$port" $((port + 2))
	for _ in 0 1 2; do
		serve TCP6-LISTEN ipv6only=0
		port=$((port + 1))
	done
	text="(Address not available)"
	for host in 127.0.0.1 localhost '[::1]' 127.0.0.7; do
		expect 1 "not free $text" -t .2 $host:$taken free
		expect 1 "not free $text" $host:$taken assert-free
		expect 1@200 "not bound $text" -t .2 $host:$other occupied
	done
	expect 1 "No port is free." find
	start_until "not available" -t 15 "127.0.0.1:$taken" occupied
	set_ports 40000 60999
	ends 0
}

nstest_ipv6_is_off() {
	echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 ||
		skip "needs IPv6 to switch it off"
	taken_and_free
	expect 0 '' -t 15 localhost:$taken occupied
	expect 1 "in use 127.0.0.1:$taken" localhost:$taken assert-free
	expect 0 '' -t 60 localhost:$port "[::1]:$port" free
	expect 0 '' localhost:$port assert-free
	expect_like 1@200 "Port $port not bound on ::1\. \(Address family not\
 supported.*" -t .2 "[::1]:$port" occupied
	for reserve in '' -r; do
		for words in find "localhost:0 find"; do
			runs 0 $reserve $words
		done
		expect 1 "cannot bind [::1]:0 (Address not available)" \
			$reserve '[::1]:0' find
	done
	expect_like 1 "Port [1-9][0-9]* cannot be reserved on ::1\. \(Address\
 family not supported.*" -r '[::]:0' find
}

# One that was never up is unreachable, another one is silent.
nstest_lo_is_down() {
	free_port
	silent="\((No answer|Network unreachable)\)"
	portend=$PORTEND
	for down in "unshare -n" ""; do
		[ "$down" ] || ip link set lo down
		PORTEND="$down $portend"
		expect 0 '' -t 60 -c .3 "localhost:$port" $at "[::1]:$port" free
		expect 0 '' -c .3 "localhost:$port" assert-free
		expect_like 1 "Port $port not bound on 127\.0\.0\.1\. $silent" \
			-t .2 $at occupied
		runs 0 find
		runs 0 localhost:0 find
		expect_like 1 "Port [1-9][0-9]* cannot be reserved on\
 [0-9a-f.:]+\. $silent" -r -c .3 find
	done
	start_until "localhost:$port" -t 15 "localhost:$port" occupied
	ip link set lo up
	serve4
	ends 0
}

nstest_a_listener_while_its_interface_is_down() {
	silent_network
	while read -r listen host device name; do
		$listen "bind=$host"
		ip link set "$device" down
		expect 1 "in use $host:$port" -c .3 $host:$port assert-free
		expect 1 "in use $host:$port" -c .3 $name:$port assert-free
		expect 0 '' -c .3 $host:1 assert-free
		ip link set "$device" up
	done <<-EOF
		listen4 127.0.0.1 lo localhost
		listen6 [::1] lo localhost
		listen4 192.0.2.2 silent 192.0.2.2
	EOF
	# They are this machine's also where no interface has them.
	listen6 ''
	port6=$port
	listen4 ''
	ip addr flush dev lo
	expect 1 "in use 127.0.0.1:$port" -c .3 127.0.0.1:$port assert-free
	expect 1 "in use [::1]:$port6" -c .3 "[::1]:$port6" assert-free
}

nstest_a_wedged_server_on_a_low_port() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	port=80
	serve TCP4-LISTEN backlog=1
	drop_syns 80-81
	for host in 127.0.0.1 0.0.0.0 localhost; do
		for state in free assert-free; do
			expect_as_nobody 1 "not free (Permission denied)" \
				-t 2 -c .4 $host:80 $state
		done
	done
	expect_as_nobody 1 "not free (Permission denied)" \
		-t 2 127.0.0.1:81 free
	# Nobody is there; and somebody else's silence is not our business.
	expect 1 "not free (No answer, but the address is in use)" -t 2 -c .1 \
		127.0.0.1:80 free
	expect 1 "in use 127.0.0.1:80" -c .2 127.0.0.1:80 assert-free
	expect 0@200 '' -c .2 127.0.0.1:81 assert-free
	silent_network
	expect_as_nobody 0 '' -c .2 192.0.2.1:80 assert-free
}

# A naive loop connects to itself before long, and takes it for a server.
nstest_a_connection_to_itself_is_nobody() {
	need socat
	free_port
	for host in 127.0.0.1 '[::1]'; do
		[ $host = 127.0.0.1 ] || need_ipv6
		set_ports $((port - 32)) $((port + 31))
		tries=400
		until socat -u OPEN:/dev/null "TCP:$host:$port" 2>/dev/null; do
			[ $((tries -= 1)) -gt 0 ] || fail "nobody is fooled"
		done
		expect 1 "not bound" -t 1 "$host:$port" occupied
		targets=$(repeat 96 "$host:$port")
		expect 0 '' $targets assert-free
		expect 0 '' -t 15 $targets free
		expect 0 '' -s 9 $(repeat 300 "$host:$((port + 2))") assert-free
		_hex=$(printf %04X $((port + 2)))
		check_not grep ":$_hex [^ ]*:$_hex 06" /proc/net/tcp*
	done
}

# Tests: process 1

# Sets first to the waiter's child, which is process 1, as it is called here.
has_first() {
	first=$(cat "/proc/$waiter/task/$waiter/children" 2>/dev/null)
	first=${first% }
	[ "$first" ]
}

need_process_1() {
	native_only "process 1"
	[ -e "/proc/$$/task/$$/children" ] || skip "needs /proc/PID/children"
	unshare --kill-child true || skip "needs unshare --kill-child"
	default_signals
}

# start_first CODE ARG...: portend as process 1, in a shell that executed CODE.
start_first() {
	_code=$1
	shift
	start_command $signals sh -c "$_code; exec unshare -p --kill-child \
		--mount-proc \"\$@\"" sh "$PORTEND" -v "$@"
	wait_for_err "Connection refused"
	wait_until has_first
}

nstest_signals_end_process_1() {
	need_process_1
	free_port
	for number in 1 2 3 10 12 15; do
		start_first : $at occupied
		need_signal $number
		kill -$number "$first"
		ends $((128 + number))
		start_first "trap '' $number" -t 2 $at occupied
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
		wait_until has_first
		# It is within write(2) to a pipe.
		wait_until grep -q '^pipe_w\|anon_pipe_write' "/proc/$first/wchan"
		need_signal 15
		kill -TERM "$first"
		ends 143
	done
}

nstest_command_as_process_1() {
	native_only "process 1"
	need unshare
	listen4
	PORTEND="unshare -p -f --mount-proc $PORTEND"
	runs 0 -t 15 $at occupied -- cat /proc/self/status
	check grep -q "^Pid:.1\$" out
	check [ "$(grep -c '^Sig\(Cgt\|Blk\):.0*$' out)" = 2 ]
	runs 3 -t 15 $at occupied -- sh -c 'kill $$; exit 3'
}

# Tests: find in a network

# nobody_gets PORT: all that is left is taken, again and again.
nobody_gets() {
	for _prefix in "" 127.0.0.1: "[::1]:" 0.0.0.0:; do
		for _ in $(seq 5); do
			runs 0 $(repeat 160 "${_prefix}0") find
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
	set_ports 20000 20199
	finds 1 -r find
	nobody_gets "$port"
	filter output tcp sport "$port" tcp dport "$taken" counter
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
	for options in "TCP4-LISTEN bind=127.0.0.1" TCP4-LISTEN TCP6-LISTEN \
		"TCP6-LISTEN ipv6only=1,bind=[::1]"; do
		serve $options
		stop "$server"
	done
}

# What is free on the first address need not be so on the others; and the kernel
# offers ports of one parity first, again and again.
nstest_find_on_several_addresses() {
	own_etc
	printf '%s many\n' 127.0.0.2 127.0.0.3 ::1 >/etc/hosts
	listen4 bind=127.0.0.3
	expect 1 "in use 127.0.0.3:$port" "many:$port" find
	stop "$server"
	expect_out 0 "$port" "many:$port" find
	listen6
	expect 1 "in use [::1]:$port" "many:$port" find
	set_ports "$port" $((port + 3))
	taken=$port
	for _ in $(seq 10); do
		finds 3 many:0 many:0 many:0 find
		check_not grep -qx "$taken" out
	done
	expect 1 "No port is free on many." many:0 many:0 many:0 many:0 find
	runs 0 -r many:0 find
	set_ports 20000 20007
	for port in 20001 20003 20005 20007; do
		serve TCP6-LISTEN 'ipv6only=1,bind=[::1]'
	done
	finds 1 localhost:0 find
	set_ports 20000 20001
	finds 2 127.0.0.1:0 127.0.0.2:0 find
	expect_out 0 "20000${nl}20001" 127.0.0.1:0 127.0.0.1:20001 find
	expect_out 0 "20001${nl}20000" 127.0.0.1:0 127.0.0.1:20000 find
}

# An address or an interface that comes late.
nstest_find_waits_for_an_address() {
	silent_network
	free_port
	start_until "^portend: 192\.0\.2\.7:$port: Address not available\$" -t \
		15 "192.0.2.7:$port" 192.0.2.7:0 \
		"192.0.2.7:$port-$((port + 1))" find
	pass_time 200
	still_waits
	ip addr add 192.0.2.7/24 dev silent
	ends 0
	has_lines 3 out
	has_lines 3 err
	check [ "$(head -n 1 out)" = "$port" ]
	check [ "$(tail -n 1 out)" = "$((port + 1))" ]
	expect 1 "cannot bind [fe80::7%late]:$port (No such device)" \
		-t .1 "[fe80::7%late]:$port" find
	start_until "No such device" -t 15 "[fe80::7%late]:$port" find
	ip link set end name late
	wait_for_err "Address not available"
	ip addr add fe80::7/64 dev late nodad
	ends 0
	is_out "$port"
}

# A find that fooled a waiter had a listener.
nstest_find_does_not_listen() {
	start sh -c 'while "$@" >/dev/null; do :; done' sh \
		$PORTEND 20000-20009 20000-20009 find
	finder=$pid
	expect 1 "not bound" -t 1.5 localhost:20000 occupied
	check is_running "$finder"
	trace listen,accept4
	free_port
	for words in find "$port find" "localhost:0 0 find" "-t .1 0 find" \
		"$port-$((port + 9)) find"; do
		runs_traced 0 $words
		has_lines 0 calls
	done
	run_traced -r find
	check [ "$(grep -c listen calls)" = 2 ]
}

nstest_find_without_permission() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	text="(Permission denied)"
	expect_as_nobody 1 "Port 80 cannot be bound. $text" 80 find
	expect_as_nobody 1 "cannot bind localhost:80 $text" localhost:80 find
	expect_as_nobody 1 "No port from 80 to 90 is free. $text" 80-90 find
	run_as_nobody 1000-1024 find
	gave 0 '' 1024
}

# What passes is waited for: that no local port is left, here.
nstest_a_reservation_that_fails() {
	listen4
	set_ports "$port" "$port"
	free_port
	expect 1 "cannot reserve $at (Address not available)" -r $at find
	start_portend -r -t 15 $at find
	pass_time 300
	still_waits
	set_ports 40000 60999
	ends 0
	is_out "$port"
	# Not after the connect timeout, which is longer.
	free_port
	drop_syns "$port"
	expect 1 "cannot reserve $at (No answer)" -r -t .5 -c 60 "$port" find
	took_at_most 30000
	expect 1 "cannot reserve $at (No answer)" -r -c .1 "$port" find
	unfilter
	echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets ||
		skip "needs tcp_max_tw_buckets"
	free_port
	text="(TIME_WAIT is not kept)"
	for word in "$port" $at "localhost:$port"; do
		expect 1 "cannot reserve $at $text" -r "$word" find
	done
	expect 1 '' -q -r "$port" find
	need_ipv6
	expect 1 "cannot reserve [::1]:$port $text" -r "[::1]:$port" find
	expect_out 0 "$port" "$port" find
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
	serve_there
	filter output tcp flags '&' '(syn|ack|rst|fin) == syn' counter
	filter output tcp flags '&' '(syn|ack|rst|fin) == ack' counter
	filter output tcp flags '&' 'rst == rst' counter
	expect 1 "not free" -t 3 "192.0.2.2:$port" free
	expect 0 '' "192.0.2.2:$port" occupied
	set -- $(counts)                # SYN, ACK, RST
	check [ "$1 0 $1" = "$1 $2 $3" ]
	check [ "$1" -gt 5 ]
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
	serve_there
	# So slowly that answers come while others are asked.
	$there tc qdisc add dev there root tbf rate 200kbit burst 2kb latency 9s
	expect_injected connect:delay_enter=1000 0 '' \
		-t 20 $(repeat 600 "192.0.2.2:$port") occupied
	connect_once "TCP4:192.0.2.2:$port"
	check [ "$(accepted)" -le 100 ] # without that half of them
}

# Tests: other systems

# In a root of portend and one static program, with neither /etc nor /proc.
empty_root() {
	static_only "without its libraries"
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
		runs 1 -t .1 $target free
	done
	expect 1 "in use 127.0.0.1:$port" "localhost:$port" assert-free
	bad "localhost:http" "no such port or service" "localhost:http" free
	expect 1 "in use $at" $at find
	for reserve in '' -r; do
		finds 2 $reserve 0 localhost:0 find
	done
	free_port
	expect 0 '' -t 15 "localhost:$port" "[::1]:$port" /nosuch free
	expect 1 "not bound" -t .2 "localhost:$port" occupied
	expect_like 1 "Port $port not bound on db\. \(.*\)" \
		-t .2 "db:$port" occupied
	expect 127 "portend: nosuch: No such file or directory" \
		"localhost:$port" free -- nosuch
	runs 127 "localhost:$port" free -- busybox
}

# These tests themselves, on busybox's sh and tools, as on Alpine.
nstest_a_busybox_userland() {
	bound=120
	empty_root
	need socat
	mkdir root/bin root/dev root/etc root/lib root/proc root/tmp
	chroot root /busybox --install -s /bin
	mount --rbind /proc root/proc || skip "needs mount"
	mount --bind /dev root/dev
	cp "$0" root/tests.sh
	socat=$(command -v socat)
	for file in $socat $(ldd "$socat" | grep -o '/[^ ]*'); do
		mkdir -p "root${file%/*}"
		cp "$file" "root$file"
	done
	run_command chroot root /bin/sh -c \
		'PATH=/bin:/usr/bin PORTEND=/portend TMPDIR=/tmp exec /tests.sh \
		help spellings bad_words bad_options not_shown messages quiet \
		verbose_tells not_reached stays_reached is_both a_hundred_ \
		sockets command_ end_a_wait check_is_one find_takes find_waits'
	grep '^not ok' out | sed 's/^/# /'
	is_status 0
	check grep -qE '^[2-9][0-9] passed, 0 failed, [0-9]+ skipped$' out
}

# The runner

die() {
	echo "tests.sh: $*" >&2
	exit 1
}

# Makes the paths in PORTEND good in any directory. One with a blank, which
# would be two words, or a =, which env(1) would set, is replaced by a link.
set_portend() {
	: "${PORTEND:=./portend}"
	if [ -f "$PORTEND" ]; then
		set -- "$PORTEND"
	else
		set -- $PORTEND
		[ $# -gt 1 ] || set -- "$(command -v "$1" || echo "$1")"
	fi
	PORTEND=
	for _word do
		case $_word in
		*/*) _word=$(cd "$(dirname "$_word")" && pwd)/${_word##*/} ;;
		esac
		case $_word in
		*[' =']*)
			ln -s "$_word" "$suite/portend"
			_word=$suite/portend
			;;
		esac
		PORTEND="$PORTEND${PORTEND:+ }$_word"
	done
	export PORTEND
	$PORTEND -V >/dev/null || die "$PORTEND cannot be run: try make"
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
	next_port=$((20000 + $2 % 250 * 50))
	line=none
	read -r shell _ </proc/self/stat
	trap '_status=$?; end_started; end_test "$_status"' EXIT
	trap 'exit 143' TERM
	. "$suite/$test.sh"
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
		echo "needs unshare, ip and the right to use them" \
			>"$suite/$test.skip"
		end_test 77
	else
		exec unshare -n -m "$self" --in-namespace "$suite" "$@"
	fi
}

# A network namespace to start in, where the kernel picks none of the ports of
# tests; by default it picks from 32768.
set_up_network() {
	ip link set lo up
	(set_ports 40000 60999) 2>/dev/null
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

# Prints the names of all tests.
all_tests() {
	sed -n 's/^\(\(ns\)\{0,1\}test_[a-z0-9_]*\)() {$/\1/p' "$self"
}

# is_word WORD: there is a test with it in its name.
is_word() {
	all_tests | grep -qF -e "$1" || die "no test has this in its name: $1"
}

# Sets left to the tests that are to be run: choose [-x WORD]... [WORD]...
choose() {
	_without=' '
	while getopts :x: _option; do
		[ "$_option" = x ] ||
			die "usage: tests.sh [-x WORD]... [WORD]..."
		is_word "$OPTARG"
		_without=$_without$nl$OPTARG
	done
	shift $((OPTIND - 1))
	for _word do
		is_word "$_word"
	done
	left=$(all_tests | grep -F -e "$(printf '%s\n' "$@")" |
		grep -vF -e "$_without" | tr '\n' ' ')
	[ "$left" ] || die "no test is left"
}

# Writes each test into a file of its own, where a statement that begins with
# one of the functions here notes its line.
number_lines() {
	awk '
		NR == FNR {
			if (sub(/\(\) \{$/, ""))
				is_function[$0]
			next
		}
		/^(ns)?test_[a-z0-9_]*\(\) \{$/ {
			file = dir "/" substr($0, 1, length - 4) ".sh"
		}
		file {
			if ($1 in is_function && !goes_on)
				sub(/[a-z]/, "line=" FNR "; &")
			print >file
		}
		/<<-/ { is_document = 1 }
		/^\t*EO[FT]$/ { is_document = 0 }
		{ goes_on = is_document || /(\\|\||&&)$/ }
		/^\}$/ && file {
			close(file)
			file = ""
		}
	' dir="$suite" "$self" "$self"
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
self=$(cd "$(dirname "$0")" && pwd)/${0##*/}
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
	[ -r /proc/self/stat ] || die "needs /proc"
	for _rights in '' -r; do
		! unshare $_rights -n -m ip link set lo up 2>/dev/null ||
			exec unshare $_rights -n "$self" --in-network "$@"
	done
	# Where that cannot be told, it is up.
	[ ! -r /proc/net/fib_trie ] ||
		grep -q '127\.0\.0\.1$' /proc/net/fib_trie ||
		die "needs lo, which is down: ip link set lo up"
	;;
esac

LC_ALL=C
export LC_ALL
passed=0 failed=0 skipped=0 number=0 running='' under_way=0 launched=0
choose "$@"
# One that a command may have in it, and a socket's path.
expr "${TMPDIR:=/tmp}" : '/[-+./0-9A-Z_a-z]\{0,48\}$' >/dev/null || TMPDIR=/tmp
suite=$(mktemp -d "$TMPDIR/portend.XXXXXX") || exit 1
chmod 755 "$suite"
trap 'end_tests; trap - EXIT; exit 130' INT TERM HUP
trap end_tests EXIT
set_portend
is_native || jobs=6
number_lines
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
