#!/bin/sh
# Tests of portend, as TAP. ./tests.sh runs all of them, ./tests.sh WORD...
# those whose name contains one of the words. PORTEND is the program to test;
# it may be several words: PORTEND='qemu-s390x-static ./portend' ./tests.sh
#
# A test is a function test_NAME, or nstest_NAME, which gets a network and a
# mount namespace of its own. Each runs in a shell and a directory of its own,
# several side by side, so none may depend on another; whatever a test starts
# with start is ended with it. Waiting is always for a condition (wait_until).

jobs=12                                 # tests side by side
bound=20                                # seconds that one program may take

# For tests. A variable whose name begins with _ belongs to the function that
# sets it; the others are what a test may read.

# To end them

fail() {
	echo "# $*"
	exit 1
}

skip() {
	echo "$*" >"$suite/$test.skip"
	exit 77
}

# check TEXT COMMAND...: fails with TEXT unless COMMAND succeeds.
check() {
	_text=$1
	shift
	"$@" || fail "$_text"
}

# check_not TEXT COMMAND...: fails with TEXT if it does.
check_not() {
	_text=$1
	shift
	! "$@" || fail "$_text"
}

# What is there

# need TOOL...: skips the test where one of them is missing.
need() {
	for _tool do
		command -v "$_tool" >/dev/null || skip "needs $_tool"
	done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
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
	# shellcheck disable=SC2086  # PORTEND may be several words
	run_command $PORTEND "$@"
}

# run_after CODE ARG...: as run, in a shell that executed CODE.
run_after() {
	_code=$1
	shift
	# shellcheck disable=SC2086
	run_command sh -c "$_code; exec \"\$@\"" sh $PORTEND "$@"
}

# As run, of any command.
run_command() {
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

# As start, of portend, with its output in out and err.
start_portend() {
	# shellcheck disable=SC2086
	start $PORTEND "$@" >"$dir/out" 2>"$dir/err"
}

# start_after CODE ARG...: as start_portend, in a shell that executed CODE.
start_after() {
	_code=$1
	shift
	# shellcheck disable=SC2086
	start sh -c "$_code; exec \"\$@\"" sh $PORTEND "$@" \
		>"$dir/out" 2>"$dir/err"
}

# is_running PID: a process that this test has started, and that has not ended.
# A process ID by itself may be that of another one by now.
is_running() {
	_parent='' _state=''
	while read -r _name _value _; do
		case $_name in
		State:) _state=$_value ;;
		PPid:) _parent=$_value ;;
		esac
	done 2>/dev/null <"/proc/$1/status"
	[ "$_parent" = "$shell" ] && [ "$_state" != Z ]
}

# finish PID: waits for its end, and sets status.
finish() {
	_tries=$((bound * 100))
	while is_running "$1"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "$1 does not end"
		sleep .01
	done
	wait "$1"
	status=$?
	forget "$1"
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

show() {
	sed 's/^/# /' "$dir/out" "$dir/err"
}

is_status() {
	[ "$status" = "$1" ] || {
		show
		fail "exit status $status, not $1"
	}
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
	fi || {
		show
		fail "$1 is not: $2"
	}
}

err_has() {
	grep -Eq -- "$1" "$dir/err" || {
		show
		fail "err has no: $1"
	}
}

err_lacks() {
	! grep -Eq -- "$1" "$dir/err" || {
		show
		fail "err has: $1"
	}
}

took_at_least() {
	[ "$ms" -ge "$1" ] || fail "$ms ms, less than $1"
}

took_at_most() {
	[ "$ms" -le "$1" ] || fail "$ms ms, more than $1"
}

# wait_until COMMAND...: until it succeeds, for 5 s at most.
wait_until() {
	_tries=400
	until "$@"; do
		[ $((_tries -= 1)) -gt 0 ] || fail "in vain: $*"
		sleep .01
	done
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

# run_best LIMIT ARG...: as run, once in ten times within LIMIT ms: a machine
# that is busy delays some.
run_best() {
	_limit=$1
	shift
	for _ in $(seq 10); do
		run "$@"
		[ "$ms" -gt "$_limit" ] || return 0
	done
	fail "never within $_limit ms, at last $ms: $*"
}

# Ports and listeners

# Sets port to one that is free, and was given to no other test.
free_port() {
	for _ in $(seq 9); do
		# shellcheck disable=SC2086
		port=$($PORTEND find 2>&1) || fail "portend find: $port"
		if mkdir "$suite/port.$port" 2>/dev/null; then
			return
		fi
	done
	fail "portend find finds the same port always"
}

# is_listening PORT: as the kernel's tables say.
is_listening() {
	grep -qs "$(printf ':%04X [0-9A-F]*:0000 0A' "$1")" \
		/proc/net/tcp /proc/net/tcp6
}

# serve TYPE [OPTIONS]: socat listening on port, which logs into socat.log.
# socat's children end when their connection does.
serve() {
	start socat -d -d -u "$1:$port,reuseaddr,fork${2:+,$2}" \
		OPEN:/dev/null 2>>"$dir/socat.log"
	wait_until is_served
}

is_served() {
	is_listening "$port" || {
		kill -0 "$pid" 2>/dev/null || {
			sed 's/^/# /' "$dir/socat.log"
			fail "socat cannot listen on $port"
		}
		false
	}
}

# A listener on a port of its own: listen4 [OPTIONS], listen6 [OPTIONS].
listen4() {
	need socat
	free_port
	serve TCP4-LISTEN "${1:-bind=127.0.0.1}"
}

listen6() {
	need socat
	need_ipv6
	free_port
	serve TCP6-LISTEN "ipv6only=1,${1:-bind=[::1]}"
}

# listen_unix PATH [OPTIONS]
listen_unix() {
	need socat
	start socat -d -d -u "UNIX-LISTEN:$1,fork${2:+,$2}" OPEN:/dev/null \
		2>>"$dir/socat.log"
	wait_until grep -q " 00010000 .* $1\$" /proc/net/unix
}

# Prints how many connections the listeners of this test have accepted.
accepted() {
	grep -c ' accepting connection from ' "$dir/socat.log"
}

# Makes one real connection to the listener at socat's ADDRESS. Afterwards
# accepted is right: no connection that was there before is still queued.
connect_once() {
	_before=$(accepted)
	check "connects" socat -u OPEN:/dev/null "$1"
	wait_until has_accepted $((_before + 1))
}

has_accepted() {
	[ "$(accepted)" -ge "$1" ]
}

# Bad usage

nl='
'
usage="usage: portend [-qv] [-t TIME] [-c TIME] TARGET... STATE\
 [TARGET... STATE]... [-- COMMAND [ARG]...]
       portend [-r] [[HOST:]PORT | [HOST:]LOW-HIGH]... find"

# bad WHAT ARG...: bad usage, at once, with one line that names WHAT.
bad() {
	_what=$1
	shift
	run "$@"
	is_status 2
	is_out ''
	took_at_most 3000
	case $(cat "$dir/err") in
	"portend: $_what: "?*"$nl$usage") ;;
	*)
		show
		fail "bad usage, but the line has no $_what: $*"
		;;
	esac
	check "one line and the usage" [ "$(wc -l <"$dir/err")" = 3 ]
}

# Tests: the command line

test_help() {
	for option in -h --help -qh; do
		run $option
		is_status 0
		is_err ''
		text=$(cat "$dir/out")
		[ "${text#"$usage$nl"}" != "$text" ] || fail "no usage: $option"
	done
	# Every option in it exists, and all are there.
	sed -n 's/^  -\([a-zA-Z]\), --\([a-z-]*\).*/\1 \2/p' out >options
	cut -c 1 options | tr -d '\n' >letters
	check "options: $(cat letters)" [ "$(cat letters)" = tcrqvhV ]
	while read -r letter name; do
		run "-$letter"
		err_lacks "unknown option"
		run "--$name"
		err_lacks "unknown option"
	done <options
}

test_version() {
	for option in -V --version; do
		run $option
		is_status 0
		is_err ''
		check "version" grep -Eqx 'portend [0-9][0-9.]*' out
		check "one line" [ "$(wc -l <out)" = 1 ]
	done
}

test_help_or_version_to_a_full_device() {
	[ -c /dev/full ] || skip "needs /dev/full"
	for option in -h -V; do
		run_after 'exec >/dev/full' $option
		is_status 1
		check "one line" [ "$(wc -l <err)" = 1 ]
	done
}

test_spellings_of_timeout() {
	free_port
	target=127.0.0.1:$port
	for arguments in "-t.2 T S" "-t .2 T S" "-vt.2 T S" "-vt .2 T S" \
		"--timeout .2 T S" "--timeout=.2 T S" "T -t.2 S" "T S -t .2" \
		"T --timeout .2 S" "T S --timeout=.2" "T S -t9 -t.2" \
		"T S -t .2 -- C" "T -t200ms S -v -- C"; do
		words=
		for word in $arguments; do
			case $word in
			T) word=$target ;;
			S) word=occupied ;;
			C) word=true ;;
			esac
			words="$words $word"
		done
		# shellcheck disable=SC2086
		run $words
		is_status 1
		err_has "^Port $port not bound on 127\.0\.0\.1\.\$"
		took_at_least 200
		took_at_most 3000
	done
}

test_spellings_of_quiet_and_verbose() {
	free_port
	for option in -q --quiet -qt0 -vq; do
		run -t 0 "127.0.0.1:$port" $option occupied
		is_status 1
		err_lacks "not bound"
	done
	for option in -v --verbose -vt0 -qv; do
		run -t 0 "127.0.0.1:$port" $option occupied
		is_status 1
		err_has "^portend: 127\.0\.0\.1:$port: Connection refused\$"
	done
}

test_spellings_of_reserve() {
	for arguments in "-r find" "find -r" "--reserve find" "-qr 0 find" \
		"0 --reserve find"; do
		# shellcheck disable=SC2086
		run $arguments
		is_status 0
		is_err ''
		is_in_time_wait "$(cat out)" ||
			fail "$arguments: not in TIME_WAIT: $(cat out)"
	done
}

# is_in_time_wait PORT: in TIME_WAIT, as the kernel's tables say.
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

test_nothing_after_the_dashes_is_read() {
	free_port
	# shellcheck disable=SC2016
	run "127.0.0.1:$port" free -- sh -c 'printf "<%s>" "$@"' sh \
		-t nonsense --bad -- -h '' 'a  b' find occupied "x${nl}y" '*'
	is_status 0
	is_err ''
	is_out_bytes "<-t><nonsense><--bad><--><-h><><a  b><find><occupied>\
<x${nl}y><*>"
}

is_out_bytes() {
	printf %s "$1" | cmp -s - out || {
		show
		fail "out is not: $1"
	}
}

test_targets() {
	listen4
	for target in 127.0.0.1: localhost: LocalHost: localhost.: 0.0.0.0: \
		'[::ffff:127.0.0.1]:' 127.0.0.1:0 127.0.0.1:0000; do
		run -t 0 "$target$port" occupied
		is_status 0
		is_err ''
	done
	check "none accepted" [ "$(accepted)" = 0 ]
}

test_ipv6_targets() {
	listen6
	for target in '[::1]:' '[0:0:0:0:0:0:0:1]:' '[::1%lo]:' '[::1%1]:' \
		localhost: '[::]:' '[::0001]:0'; do
		run -t 0 "$target$port" occupied
		is_status 0
		is_err ''
	done
	check "none accepted" [ "$(accepted)" = 0 ]
}

test_a_zone_that_is_not_there_is_waited_for() {
	need_ipv6
	run -t .2 '[fe80::1%nosuch0]:22' occupied
	is_status 1
	err_has '^Port 22 not bound on fe80::1%nosuch0\. \(No such device\)$'
	took_at_least 200
	# The number of an interface has 32 bits.
	run -t 0 '[::1%4294967297]:22' occupied
	is_err "Port 22 not bound on ::1%4294967297. (No such device)"
}

# Sets port to one that has a service's name, which becomes service.
find_service() {
	[ -r /etc/services ] || skip "needs /etc/services"
	awk '!/^#/ && $2 ~ /\/tcp$/ && $2 + 0 > 1024 { print $1, $2 + 0 }' \
		/etc/services >services
	while read -r service port; do
		if ! is_in_use "$port" && mkdir "$suite/port.$port"; then
			return
		fi
	done <services 2>/dev/null
	skip "needs a service whose port is free"
}

# is_in_use PORT: by any socket, as the kernel's tables say.
is_in_use() {
	grep -qs "^ *[0-9]*: [0-9A-F]*$(printf ':%04X ' "$1")" \
		/proc/net/tcp /proc/net/tcp6
}

test_a_service_is_a_port() {
	need socat
	find_service
	run -t 0 "127.0.0.1:$service" occupied
	is_status 1
	is_err "Port $service not bound on 127.0.0.1."
	serve TCP4-LISTEN bind=127.0.0.1
	run -t 0 "127.0.0.1:$service" occupied
	is_status 0
	run "127.0.0.1:$service" assert-free
	is_err "Port $service is in use on 127.0.0.1."
}

test_each_state_applies_to_the_targets_before_it() {
	listen4
	taken=127.0.0.1:$port
	free_port
	run -t 0 "$taken" "$taken" occupied "127.0.0.1:$port" free \
		"127.0.0.1:$port" assert-free
	is_status 0
	is_err ''
	run -t 0 "$taken" "127.0.0.1:$port" occupied "$taken" free
	is_status 1
	is_err "Port $port not bound on 127.0.0.1.
Port ${taken#*:} not free on 127.0.0.1."
}

test_bad_words() {
	bad TARGET
	bad TARGET -t 1
	bad h:80 h:80
	bad k:81 h:80 free k:81
	bad k:81 h:80 free k:81 l:82 -- true
	bad occupied occupied
	bad free h:80 occupied free
	bad assert-free -t 1 assert-free
	bad -- h:80 free --
	bad -- --
	bad -x h:80 free -x
	bad -qx h:80 -qx free
}

test_bad_options() {
	for option in -x -qx -xt1 --nope --time --timeoutx -T --t=5 --TIMEOUT; do
		bad "$option" h:80 free $option
	done
	bad --quiet=1 --quiet=1 h:80 free
	bad --help= h:80 --help= free
	bad -t h:80 free -t
	bad -qt h:80 free -qt
	bad -c h:80 free -c
	bad --timeout h:80 free --timeout
	bad --connect-timeout h:80 free --connect-timeout
	bad -r h:80 free -r
	bad -qr h:80 -qr free
	bad --reserve --reserve h:80 free
}

test_bad_hosts() {
	for target in :80 '[]:80' '[::1]' '[::1]80' '[::1:80' '[zz]:80' \
		'[127.0.0.1]:80' '[::1%]:80' '[%lo]:80' '[::1]x:80' host 80 '' - \
		occupie 'Free' a:b:80 '[1:2:3]:80' '[::12345]:80' 1:2:80; do
		bad "$target" -t 9 "$target" free
		bad "$target" h:80 free "$target" occupied
	done
	bad ::1:80 ::1:80 free
	err_has '\[::1\]:80'
	bad fe80::1 fe80::1 free
}

test_bad_ports() {
	digits=1111111111222222222233333333334444444444
	for text in '' 0 00 65536 +80 ' 80' '80 ' -1 0x50 8.0 80a 4294967376 \
		18446744073709551696 $digits 65616 nosuchservice '8 0' "80$nl"; do
		case $text in
		*"$nl") bad 'h:80?' "h:$text" free ;;
		*) bad "h:$text" "h:$text" free ;;
		esac
	done
	bad h:0 h:0 occupied
	# Where services(5) has more than one of them behind the name.
	bad 'h:http?' "h:http$(printf '\t')" free
	bad 'h:http ' "h:http " free
}

test_the_first_and_the_last_port() {
	for port in 1 65535; do
		for words in "-t 0 127.0.0.1:$port free" "$port find" \
			"$port-$port find" "1-$port find"; do
			# shellcheck disable=SC2086
			run $words
			check "$words: $status" [ "$status" -lt 2 ]
		done
	done
}

test_bad_paths() {
	path=./$(printf %0200d 0 | cut -c 1-106)
	bad "$path" "$path" free
	bad "unix:$path" "unix:$path" free
	run "${path%0}" free
	is_status 0
	bad unix: unix: free
	bad unix:x unix:x free
}

test_bad_find() {
	for word in 8000-7000 70000 1- -8 -5 localhost 0-5 1-70000 1-2-3 :80 \
		localhost: '[::1]:' 65536 +80 ' 80' 80- 1-65536 localhost:2-1 \
		./x.sock unix:/x /x /x:80 '' 5--6 '[::1' ::1:80 x:80:90; do
		bad "$word" "$word" find
		bad "$word" 0 "$word" find
	done
	bad -t -t 1 find
	bad -t1 find -t1
	bad --timeout=1 0 --timeout=1 find
	bad true find -- true
	bad free h:80 free 0 find
	bad free 0 find h:80 free
	bad 81 find 81
}

bad_times="'' -1 1e3 nan inf 5x '5 ' ' 5' +5 0x10 . 5. 5.s .s ms s 1.5.5 1,5 \
	5S 5M 5MS 5ss '5 s' -0 5m5 1_0 5sec 5us 5ns 5w 0x1p3 infinity 5h30m"

test_bad_times() {
	eval "set -- $bad_times"
	for text do
		bad "$text" h:80 free -t "$text"
		bad "$text" "--timeout=$text" h:80 free
	done
}

test_bad_connect_times() {
	eval "set -- $bad_times"
	for text do
		bad "$text" "--connect-timeout" "$text" h:80 free
		[ -z "$text" ] || bad "$text" h:80 free "-qc$text"
	done
	bad 0 -c 0 h:80 free
}

test_times() {
	free_port
	for text in .25 0.25 00.250 .25s 250ms 0250ms 250.5ms 0.00417m \
		0.00007h 0.0000029d .25000000000000000000000000000000000000009; do
		run -t "$text" "127.0.0.1:$port" occupied
		is_status 1
		is_err "Port $port not bound on 127.0.0.1."
		took_at_least 250
		took_at_most 1900
	done
	for text in 1000ms 1; do
		run -t "$text" "127.0.0.1:$port" occupied
		took_at_least 1000
		took_at_most 1900
	done
	# Two of them, in any two units.
	for first in 0 0ms 0s 0m 0h 0d; do
		for second in 1 1ms 1s 1m 1h 1d; do
			run -t $first -c $second "127.0.0.1:$port" free
			is_status 0
			run -c $second -t $first "127.0.0.1:$port" free
			is_status 0
		done
	done
	# Shorter than a nanosecond is not 0, but 0 is, in every unit.
	for text in 0 0.0 .0 0ms 0s 0m 0h 0d 1ms 0.0000000001s 00000; do
		run -t "$text" "127.0.0.1:$port" occupied
		is_status 1
		took_at_most 2000
	done
}

# Among them those of which 64 or 32 bits of s, ms or ns would be a short time.
test_times_too_large_to_pass() {
	free_port
	target=127.0.0.1:$port
	waiting=
	for text in 9999999999999999999999999999999999999999 18446744074 \
		18446744073709551616 18446744073709551616ms 18446744073710ms \
		18446744073.8 307445734.57m 106752d 213504d 30d 49.8d 4294967296 \
		4294968ms 4294967297ms 4294967296d 5124095.7h \
		2147483648 9223372036.9 99999999999999999999d; do
		start_portend -t "$text" "$target" occupied
		waiting="$waiting $pid"
	done
	run -t .6 "$target" occupied
	is_status 1
	for p in $waiting; do
		check "waits on" kill -0 "$p"
	done
	need socat
	serve TCP4-LISTEN bind=127.0.0.1
	for p in $waiting; do
		finish "$p"
		is_status 0
	done
}

test_bad_usage_makes_no_probe() {
	listen_unix "$dir/s"
	bad x: "$dir/s" occupied x: free
	bad 5x "$dir/s" occupied -t 5x
	bad "$dir/s" "$dir/s" occupied "$dir/s"
	bad --nope "$dir/s" occupied --nope
	bad -- "$dir/s" occupied --
	bad -r "$dir/s" occupied -r
	connect_once "UNIX:$dir/s"
	check "one accepted" [ "$(accepted)" = 1 ]
}

test_bad_usage_opens_no_socket() {
	trace socket,bind,connect,fork,vfork,clone,clone3
	for arguments in "127.0.0.1:9 occupied x:" "localhost:9 free x:0 free" \
		"0 70000 find" "nosuch:80 free -t x" "nosuch:80 free --"; do
		# shellcheck disable=SC2086
		run_traced $arguments
		is_status 2
		check "no socket" [ ! -s calls ]
	done
	run_traced -t 0 127.0.0.1:9 free
	check "the trace works" grep -q socket calls
}

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

test_ten_thousand_arguments() {
	listen4
	# shellcheck disable=SC2046
	set -- $(seq 9998 | sed "s/.*/127.0.0.1:$port/")
	bad free "$@" occupied free
	bad 127.0.0.1: "$@" 127.0.0.1: occupied
	check "none accepted" [ "$(accepted)" = 0 ]
	run -t 15 "$@" occupied
	is_status 0
	is_err ''
}

test_long_arguments() {
	long=$(printf %0100000d 0 | tr 0 a)
	short=$(printf %0255d 0 | tr 0 a)
	for argument in "$long" "$long:80" "a$long:80" "$long:80:80"; do
		bad "$short" "$argument" free
	done
	bad "h:$(printf %0253d 0)" "h:$(printf %0100000d 0)" free
	bad "[$(printf %0254d 0)" "[$(printf %099990d 0)]:80" free
	bad "./$(printf %0253d 0)" "./$(printf %0100000d 0)" free
	bad "--$(printf %0253d 0)" "--$(printf %0100000d 0)" h:80 free
	bad "$short" h:80 free -t "$long"
}

# Tests: messages

# Control characters are those of C0, DEL and, in UTF-8, C1.
test_echo() {
	raw=$(printf 'a\001\033[31m\177\tb\302\233c\377\376\303\244\302\240\302x')
	cooked=$(printf 'a??[31m??b?c\377\376\303\244\302\240\302x')
	bad "$cooked" "$raw" free
	bad "[$cooked]:80" "[$raw]:80" free
	bad "$cooked" -t "$raw" h:80 free
	bad "--$cooked" "--$raw" h:80 free
	free_port
	run "127.0.0.1:$port" free -- "./$raw"
	is_status 127
	is_err "portend: ./$cooked: No such file or directory"
	run -v -t 0 "./$raw" occupied
	is_status 1
	is_err "portend: ./$cooked: No such file or directory
Socket ./$cooked not bound. (No such file or directory)"
}

test_echo_is_cut() {
	free_port
	zeros=$(printf %0300d 0)
	run -v -t 0 "127.0.0.1:$zeros$port" occupied
	is_status 1
	is_err "portend: 127.0.0.1:$(printf %0245d 0): Connection refused
Port $(printf %0255d 0) not bound on 127.0.0.1."
	run "127.0.0.1:$port" free -- "./$zeros"
	err_has "^portend: \\./0{253}: "
	# A character at the cut leaves nothing of itself but what was there.
	run -t "$(printf %0254d 0)$(printf '\302\233')" h:80 free
	check "is cut inside" grep -q "$(printf '0\302: ')" err
}

test_messages_in_the_order_of_the_arguments() {
	listen4
	taken=$port
	free_port
	run -t .2 "127.0.0.1:$port" "127.0.0.1:$taken" occupied \
		"localhost:$taken" "127.0.0.1:$port" free \
		"0.0.0.0:$port" occupied "unix:./x" ./y occupied
	is_status 1
	is_err "Port $port not bound on 127.0.0.1.
Port $taken not free on localhost.
Port $port not bound on 0.0.0.0.
Socket ./x not bound. (No such file or directory)
Socket ./y not bound. (No such file or directory)"
	is_out ''
}

test_messages_of_ipv6() {
	listen6
	run -t 0 "[0:0::0:1]:$port" free
	is_err "Port $port not free on 0:0::0:1."
	run "[0:0::0:1]:$port" assert-free
	is_err "Port $port is in use on ::1."
	run "localhost:$port" assert-free
	is_err "Port $port is in use on ::1."
	run -v -t 0 "[::1%lo]:$port" free
	is_err "portend: [::1%lo]:$port: Connection accepted
Port $port not free on ::1%lo."
	free_port
	run -t 0 "[0:0::0:1]:$port" occupied
	is_err "Port $port not bound on 0:0::0:1."
}

test_messages_of_mapped_ipv4() {
	need_ipv6
	listen4
	run "[::FFFF:7f00:1]:$port" assert-free
	is_status 1
	is_err "Port $port is in use on ::ffff:127.0.0.1."
	run -t 0 "[::ffff:127.0.0.1]:$port" free
	is_status 1
	is_err "Port $port not free on ::ffff:127.0.0.1."
}

test_quiet() {
	listen4
	for state in free assert-free; do
		run -q -t 0 "127.0.0.1:$port" $state
		is_status 1
		is_err ''
	done
	run -q -t .1 ./x /nosuch/y occupied
	is_status 1
	is_err ''
	run -q "127.0.0.1:$port" find
	is_status 1
	is_err ''
	# What is wrong with the arguments is told, and a bad COMMAND.
	bad x: -q x: free
	run -q "127.0.0.1:$port" occupied -- ./nosuch
	is_status 127
	is_err "portend: ./nosuch: No such file or directory"
}

test_verbose_tells_changes_only() {
	need socat
	free_port
	start_portend -v "127.0.0.1:$port" occupied
	waiter=$pid
	wait_until grep -q refused err
	pass_time 400
	serve TCP4-LISTEN bind=127.0.0.1
	server=$pid
	finish "$waiter"
	is_status 0
	check "two lines" [ "$(wc -l <err)" = 2 ]
	first=$(head -n 1 err)
	check "$first" [ "$first" = \
		"portend: 127.0.0.1:$port: Connection refused" ]
	err_has "^portend: 127\.0\.0\.1:$port: occupied after [0-9]+\.[0-9]{3} s\$"
	seconds=$(sed -n 's/.* after \([0-9]*\)\.[0-9]* s/\1/p' err)
	ms=1$(sed -n 's/.* after [0-9]*\.\([0-9]*\) s/\1/p' err)
	ms=$((seconds * 1000 + ms - 1000))
	took_at_least 400
	took_at_most 4000

	start_portend -v "127.0.0.1:$port" free
	waiter=$pid
	wait_until grep -q . err
	pass_time 300
	stop "$server"
	finish "$waiter"
	is_status 0
	check "two lines" [ "$(wc -l <err)" = 2 ]
	err_has "^portend: 127\.0\.0\.1:$port: free after 0\.[3-9][0-9]{2} s\$|\
: free after [1-4]\.[0-9]{3} s\$"
}

test_verbose_of_sockets() {
	need socat
	start_portend -v "unix:$dir/s" occupied
	waiter=$pid
	wait_until grep -q . err
	listen_unix "$dir/s"
	finish "$waiter"
	is_status 0
	sed 's/[0-9]*\.[0-9][0-9][0-9] s$/N s/' err >lines
	printf '%s\n' "portend: unix:$dir/s: No such file or directory" \
		"portend: unix:$dir/s: occupied after N s" >wanted
	# It may have been seen between bind and listen.
	grep -v 'Connection refused$' lines | cmp -s - wanted || {
		show
		fail "not the lines"
	}
}

test_each_message_is_one_write() {
	trace write,writev,pwrite64,sendto,sendmsg
	free_port
	run_traced -v -t 0 "127.0.0.1:$port" ./x "localhost:$port" occupied
	is_status 1
	check "six lines" [ "$(wc -l <err)" = 6 ]
	check "six writes" [ "$(wc -l <calls)" = 6 ]
	run_traced x: free
	check "three lines" [ "$(wc -l <err)" = 3 ]
	check "one write" [ "$(wc -l <calls)" = 1 ]
	run_traced "127.0.0.1:$port" free -- ./nosuch
	check "one write" [ "$(wc -l <calls)" = 1 ]
	run_traced 0 0 0 find
	check "one write" [ "$(wc -l <calls)" = 1 ]
}

# Sets signals to a command before another, which gives it the signals as a
# login shell would, and none blocked, or to no command where env cannot.
default_signals() {
	signals="env --default-signal=HUP,INT,PIPE,TERM"
	$signals true 2>/dev/null || signals=
}

# A pipe without a reader, at descriptor 4.
broken_pipe() {
	mkfifo pipe
	exec 3<>pipe
	exec 4>pipe
	exec 3<&-
}

test_a_wait_outlives_its_standard_error() {
	need socat
	broken_pipe
	default_signals
	for to in 'exec 2>&4 4>&-' 'exec 4>&- 2>&-'; do
		free_port
		# shellcheck disable=SC2086
		start $signals sh -c "$to; exec \"\$@\"" sh \
			$PORTEND -v -t 20 "127.0.0.1:$port" occupied \
			-- touch "$dir/done.$port"
		waiter=$pid
		pass_time 200
		check "waits on" kill -0 "$waiter"
		serve TCP4-LISTEN bind=127.0.0.1
		finish "$waiter"
		is_status 0
		check "COMMAND ran" [ -e "done.$port" ]
		free_port
		# shellcheck disable=SC2086
		run_command $signals sh -c "$to; exec \"\$@\"" sh \
			$PORTEND -v -t .1 "127.0.0.1:$port" occupied
		is_status 1
	done
}

test_output_that_cannot_be_written() {
	run_after 'exec >&-' find
	is_status 1
	check "one line" [ "$(wc -l <err)" = 1 ]
	err_has 'Bad file descriptor$'
	broken_pipe
	default_signals
	# shellcheck disable=SC2086
	run_command $signals sh -c 'exec >&4; exec "$@"' sh $PORTEND find
	is_status 1
	check "one line" [ "$(wc -l <err)" = 1 ]
	err_has 'Broken pipe$'
	[ -c /dev/full ] || skip "the rest needs /dev/full"
	run_after 'exec >/dev/full' find
	is_status 1
	check "one line" [ "$(wc -l <err)" = 1 ]
	err_has '^portend: .*No space left on device$'
}

# Tests: what the states mean

test_occupied_waits() {
	need socat
	free_port
	start_portend -t 15 "127.0.0.1:$port" occupied
	waiter=$pid
	pass_time 300
	check "waits" kill -0 "$waiter"
	serve TCP4-LISTEN bind=127.0.0.1
	finish "$waiter"
	is_status 0
	is_err ''
	is_out ''
}

test_free_waits() {
	listen4
	server=$pid
	start_portend -t 15 "localhost:$port" free
	waiter=$pid
	pass_time 300
	check "waits" kill -0 "$waiter"
	stop "$server"
	finish "$waiter"
	is_status 0
	is_err ''
	connects=$(accepted)
	check "none accepted" [ "$connects" = 0 ]
}

test_not_reached() {
	listen4
	run -t .2 "127.0.0.1:$port" free
	is_status 1
	is_err "Port $port not free on 127.0.0.1."
	took_at_least 200
	took_at_most 3000
	run -t .2 "localhost:$port" free
	is_status 1
	is_err "Port $port not free on localhost."
	free_port
	run -t .2 "localhost:$port" occupied
	is_status 1
	is_err "Port $port not bound on localhost."
	took_at_least 200
}

test_assert_free() {
	listen4
	taken=$port
	run "127.0.0.1:$taken" assert-free
	is_status 1
	is_err "Port $taken is in use on 127.0.0.1."
	run "localhost:$taken" assert-free
	is_err "Port $taken is in use on 127.0.0.1."
	run "0.0.0.0:$taken" assert-free
	is_err "Port $taken is in use on 127.0.0.1."
	free_port
	run "127.0.0.1:$port" "localhost:$port" assert-free
	is_status 0
	is_err ''
	# The first that is occupied ends the program, whatever else it waits for.
	run "127.0.0.1:$port" occupied "localhost:$port" "127.0.0.1:$taken" \
		assert-free -- touch ran
	is_status 1
	is_err "Port $taken is in use on 127.0.0.1."
	took_at_most 3000
	check "COMMAND did not run" [ ! -e ran ]
	# It does not wait for its own, but the others may take their time.
	run -t .3 "127.0.0.1:$port" assert-free "127.0.0.1:$port" occupied
	is_status 1
	is_err "Port $port not bound on 127.0.0.1."
	took_at_least 300
}

# As soon as one is decided, and cannot be told, there is nothing to wait for;
# but what is being checked is checked to the end.
test_a_failed_check_ends_the_wait() {
	become_nobody
	listen_unix "$dir/s"
	chmod 000 s
	wedge
	run_as_nobody ./s assert-free ./x occupied
	is_status 1
	is_err "Socket ./s not free. (Permission denied)"
	took_at_most 3000
	run_as_nobody -c .4 ./s assert-free "127.0.0.1:$port" assert-free \
		./x occupied
	is_status 1
	is_err "Socket ./s not free. (Permission denied)
Port $port is in use on 127.0.0.1."
	took_at_least 400
	run_as_nobody -t 0 ./x occupied ./s free
	is_status 1
	is_err "Socket ./x not bound. (No such file or directory)
Socket ./s not free. (Permission denied)"
}

test_a_hundred_probes_are_never_accepted() {
	listen4
	# shellcheck disable=SC2046
	run -t 10 $(seq 100 | sed "s/.*/127.0.0.1:$port/") occupied
	is_status 0
	run -t 1 "127.0.0.1:$port" free
	is_status 1
	run "127.0.0.1:$port" assert-free
	is_status 1
	for _ in 1 2 3 4 5; do
		run -t 0 "localhost:$port" free
		is_status 1
		run "0.0.0.0:$port" occupied
		is_status 0
	done
	connect_once "TCP4:127.0.0.1:$port"
	check "$(accepted) accepted, not 1" [ "$(accepted)" = 1 ]
	check "no TIME_WAIT" [ "$(time_waits)" -le 1 ]
}

time_waits() {
	grep -c "$(printf ':%04X .* 06 ' "$port")" /proc/net/tcp
}

test_a_hundred_probes_of_ipv6_are_never_accepted() {
	listen6
	# shellcheck disable=SC2046
	run -t 10 $(seq 100 | sed "s/.*/[::1]:$port/") occupied
	is_status 0
	run -t .5 "[::1]:$port" free
	is_status 1
	connect_once "TCP6:[::1]:$port"
	check "$(accepted) accepted, not 1" [ "$(accepted)" = 1 ]
}

test_a_listener_that_flaps_is_seen_both_ways() {
	need socat
	free_port
	# shellcheck disable=SC2016
	start sh -c '
		trap "kill \$p; exit" TERM
		for _ in $(seq 1000); do
			socat -u "TCP4-LISTEN:$0,bind=127.0.0.1,reuseaddr,fork" \
				OPEN:/dev/null 2>/dev/null &
			p=$!
			sleep .03
			kill $p
			wait $p
			sleep .03
		done' "$port"
	run -t 10 "127.0.0.1:$port" occupied
	is_status 0
	run -t 10 "127.0.0.1:$port" free
	is_status 0
	run -t 10 "127.0.0.1:$port" occupied
	is_status 0
}

test_what_was_reached_stays_reached() {
	listen4
	server=$pid
	first=$port
	free_port
	start_portend -v -t 15 "127.0.0.1:$first" occupied "127.0.0.1:$port" \
		occupied
	waiter=$pid
	wait_until grep -q "$first: occupied after" err
	wait_until grep -q "$port: Connection refused" err
	stop "$server"
	serve TCP4-LISTEN bind=127.0.0.1
	finish "$waiter"
	is_status 0
	# And free, where it is occupied again afterwards.
	start_portend -v -t 15 "127.0.0.1:$first" free "127.0.0.1:$port" free
	waiter=$pid
	wait_until grep -q "$first: free after" err
	second=$port
	port=$first
	serve TCP4-LISTEN bind=127.0.0.1
	pass_time 100
	stop_listener "$second"
	finish "$waiter"
	is_status 0
}

# stop_listener PORT: ends the socat that was started there.
stop_listener() {
	for _listener in $pids; do
		if tr '\0' ' ' <"/proc/$_listener/cmdline" | grep -q ":$1,"; then
			stop "$_listener"
		fi
	done
}

test_localhost_is_both_families() {
	listen6
	run -t 0 "localhost:$port" occupied
	is_status 0
	run -t 0 "localhost:$port" free
	is_status 1
	is_err "Port $port not free on localhost."
	run -t 0 "127.0.0.1:$port" free
	is_status 0
	run -t 0 "127.0.0.1:$port" occupied
	is_status 1
	listen4
	run -t 0 "localhost:$port" occupied
	is_status 0
	run -t 0 "localhost:$port" free
	is_status 1
	run -t 0 "[::1]:$port" free
	is_status 0
	run -t 0 "[::]:$port" occupied
	is_status 1
	is_err "Port $port not bound on ::."
}

test_localhost_is_not_looked_up() {
	trace fork,vfork,clone,clone3,open,openat
	listen4
	for host in localhost LOCALHOST localhost. 127.0.0.1 '[::1]' 0.0.0.0; do
		run_traced -t 0 "$host:$port" occupied
		check "no child" [ ! -s calls ]
	done
	run_traced localhost:0 find
	check "no child" [ ! -s calls ]
}

# With 253 bytes (RFC 1035) and a final dot it is a name, which only a look-up
# can tell; there is none.
nstest_the_longest_host() {
	name=$(printf %063d 0).$(printf %063d 0).$(printf %063d 0).$(printf %061d 0)
	run -t 0 -c .3 "$name.:80" occupied
	is_status 1
	err_has "^Port 80 not bound on $name\.\. \(.*\)\$"
	run "0$name.:80" free
	is_status 2
}

# Without a name server in reach, it does not resolve.
nstest_not_all_that_begins_with_localhost_is() {
	listen4
	run -t .3 -c .1 "localhosts:$port" "localhost..:$port" occupied
	is_status 1
	err_has "^Port $port not bound on localhosts\. \(.*\)\$"
}

test_sockets() {
	: >file
	run ./s "unix:$dir/s" ./file/s free ./s assert-free
	is_status 0
	run -t .1 ./s occupied
	is_status 1
	is_err "Socket ./s not bound. (No such file or directory)"
	took_at_least 100

	listen_unix "$dir/s"
	server=$pid
	for path in ./s "$dir/s" unix:./s "unix:$dir/s" "../${dir##*/}/s"; do
		run -t 0 "$path" occupied
		is_status 0
	done
	run -t 0 ./s "unix:$dir/s" free
	is_status 1
	is_err "Socket ./s not free.
Socket $dir/s not free."
	run "unix:$dir/s" assert-free
	is_status 1
	is_err "Socket $dir/s is in use."

	start_portend "unix:$dir/s" free
	waiter=$pid
	kill -KILL "$server"
	finish "$waiter"
	is_status 0
	check "a stale file" [ -S s ]
	run ./s assert-free
	is_status 0
	run -t .1 ./s occupied
	is_status 1
	is_err "Socket ./s not bound."
	ln -s loop loop
	run -t 0 ./loop free
	is_status 1
	is_err "Socket ./loop not free. (Symbolic link loop)"
	rm s
	start_portend -t 15 "unix:$dir/s" occupied
	waiter=$pid
	listen_unix "$dir/s"
	finish "$waiter"
	is_status 0
}

test_a_socket_whose_queue_is_full_is_occupied() {
	listen_unix "$dir/s" backlog=1
	kill -STOP "$pid"
	for _ in 1 2; do
		start socat -u UNIX:"$dir/s" OPEN:/dev/null
	done
	wait_until has_queue
	run -t 0 ./s occupied
	is_status 0
	run -t .2 ./s free
	is_status 1
	is_err "Socket ./s not free."
	run ./s assert-free
	is_status 1
	is_err "Socket ./s is in use."
}

# Two connections to the socket s wait to be accepted.
has_queue() {
	[ "$(grep -c "00000000 0001 02 .* $dir/s\$" /proc/net/unix)" = 2 ]
}

# Copies portend to where anybody may run it; runs as nobody afterwards.
# shellcheck disable=SC2016  # expanded by the other shell
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

test_a_socket_without_permission_is_neither() {
	become_nobody
	listen_unix "$dir/s"
	chmod 000 s
	for state in occupied free assert-free; do
		run_as_nobody -t .2 ./s $state
		is_status 1
		case $state in
		occupied) is_err "Socket ./s not bound. (Permission denied)" ;;
		*) is_err "Socket ./s not free. (Permission denied)" ;;
		esac
	done
}

# A listener whose accept queue is full: it drops SYNs, that is, is silent.
wedge() {
	listen4 bind=127.0.0.1,backlog=1
	wedged=$pid
	kill -STOP "$wedged"
	for _ in 1 2; do
		start socat -u "TCP4:127.0.0.1:$port" OPEN:/dev/null
	done
	wait_until grep -q "$(printf ':%04X 00000000:0000 0A 0*:0*2 ' "$port")" \
		/proc/net/tcp
}

test_a_wedged_server_is_neither_free_nor_occupied() {
	wedge
	for option in -c.3 "-c .3" --connect-timeout=.3 \
		"--connect-timeout 300ms" "-qvc.3"; do
		# shellcheck disable=SC2086
		run -t 0 "127.0.0.1:$port" $option free
		is_status 1
		took_at_least 300
		took_at_most 2000
	done
	run -c .2 "127.0.0.1:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	took_at_least 200
	run -t .5 -c .2 "localhost:$port" free
	is_status 1
	err_has "^Port $port not free on localhost\. \(.*\)\$"
	took_at_least 500
	run -t .3 "localhost:$port" free
	is_status 1
	err_has "^Port $port not free on localhost\. \(.*\)\$"
	took_at_least 300
	took_at_most 3000
	run -t .3 -c .1 "127.0.0.1:$port" occupied
	is_status 1
	is_err "Port $port not bound on 127.0.0.1. (No answer)"
	took_at_least 300
}

test_the_connect_timeout_is_two_seconds() {
	wedge
	run "127.0.0.1:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	took_at_least 2000
	took_at_most 4000
}

test_a_silent_target_delays_no_other() {
	wedge
	silent=127.0.0.1:$port
	free_port
	start_portend -v -t 15 "$silent" "127.0.0.1:$port" "$silent" occupied
	waiter=$pid
	wait_until grep -q "127.0.0.1:$port: Connection refused" err
	serve TCP4-LISTEN bind=127.0.0.1
	clock
	begun=$time
	wait_until grep -q "127.0.0.1:$port: occupied after" err
	clock
	ms=$((time - begun))
	took_at_most 1500
	check "still waits" kill -0 "$waiter"
	run "$silent" "127.0.0.1:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	took_at_most 1500
}

test_a_full_table_of_descriptors_says_nothing() {
	shipped_only "its own descriptors"
	listen4
	taken=$port
	free_port
	for limit in "ulimit -n 3" "ulimit -Sn 3; ulimit -Hn 3"; do
		run_after "$limit" -t .2 "127.0.0.1:$port" free
		is_status 1
		err_has "^Port $port not free on 127\.0\.0\.1\. \(No file descriptors available\)\$"
		took_at_least 200
		run_after "$limit" -t .2 "127.0.0.1:$taken" occupied
		is_status 1
		err_has "^Port $taken not bound on 127\.0\.0\.1\. \(No file descriptors available\)\$"
		run_after "$limit" "127.0.0.1:$port" assert-free
		is_status 1
		err_has "^Port $port not free on 127\.0\.0\.1\. \(No file descriptors available\)\$"
		run_after "$limit" find
		is_status 1
		err_has "^Port 0 cannot be bound\. \(No file descriptors available\)\$"
	done
	# One is enough.
	run_after "ulimit -n 4" -t 5 "localhost:$port" "127.0.0.1:$port" free \
		"localhost:$taken" "127.0.0.1:$taken" occupied
	is_status 0
}

# Tests: time

test_what_is_true_is_seen_at_once() {
	native_only "its start takes long"
	listen4
	taken=$port
	free_port
	for _ in 1 2 3 4 5; do
		run -v "localhost:$taken" occupied "127.0.0.1:$port" free \
			"127.0.0.1:$port" assert-free
		is_status 0
		check "three lines" [ "$(wc -l <err)" = 3 ]
		if [ "$(grep -c 'after 0\.00[0-9] s$' err)" = 3 ]; then
			return
		fi
	done
	show
	fail "not at once"
}

test_not_before_its_time() {
	free_port
	best=99999
	for _ in $(seq 10); do
		run -t .5 "127.0.0.1:$port" occupied
		is_status 1
		took_at_least 500
		took_at_most 3000
		[ "$ms" -ge "$best" ] || best=$ms
		[ "$best" -gt 570 ] || break
	done
	shipped_only "its start takes long"
	check "$best ms at best" [ "$best" -le 650 ]
}

test_timeout_0_checks_once() {
	listen_unix "$dir/s"
	run -t 0 ./s free
	is_status 1
	took_at_most 2000
	connect_once "UNIX:$dir/s"
	check "$(accepted) accepted, not 2" [ "$(accepted)" = 2 ]
	trace connect
	free_port
	run_traced -t 0 "127.0.0.1:$port" occupied
	is_status 1
	check "one connect" [ "$(wc -l <calls)" = 1 ]
	run_traced -t 0 "localhost:$port" occupied
	is_status 1
	check "two connects" [ "$(wc -l <calls)" = 2 ]
}

test_assert_free_checks_once() {
	listen_unix "$dir/s"
	run ./s assert-free
	is_status 1
	run -t 9 ./s assert-free
	is_status 1
	took_at_most 3000
	connect_once "UNIX:$dir/s"
	check "$(accepted) accepted, not 3" [ "$(accepted)" = 3 ]
	trace connect
	free_port
	run_traced -t .3 "127.0.0.1:$port" assert-free ./x occupied
	is_status 1
	check "one connect" [ "$(grep -c INET calls)" = 1 ]
}

test_the_last_check_sees_what_came_during_a_stop() {
	need socat
	free_port
	start_portend -v -t .4 "127.0.0.1:$port" occupied
	waiter=$pid
	wait_until grep -q . err
	kill -STOP "$waiter"
	serve TCP4-LISTEN bind=127.0.0.1
	pass_time 600
	kill -CONT "$waiter"
	finish "$waiter"
	is_status 0
	err_has "occupied after [0-9]"
}

# stop_for MS PID: stops it once it waits, lets it go on, and waits for its end;
# ms is how long that took afterwards.
stop_for() {
	wait_until is_sleeping "$2"
	kill -STOP "$2"
	pass_time "$1"
	clock
	_continued=$time
	kill -CONT "$2"
	finish "$2"
	clock
	ms=$((time - _continued))
}

test_a_stopped_wait_notices_that_its_time_is_up() {
	free_port
	start_portend -t .4 "127.0.0.1:$port" occupied
	stop_for 600 "$pid"
	is_status 1
	is_err "Port $port not bound on 127.0.0.1."
	took_at_most 1300
}

# is_sleeping PID: it waits in the kernel.
is_sleeping() {
	grep -q '^State:[[:blank:]]*S' "/proc/$1/status"
}

# A hundredth of the time waited, but 1 ms at least: some 90 + 100 * ln(10) in
# the first second, and not 100 in its first tenth.
test_the_pause_grows() {
	listen_unix "$dir/s" backlog=1024
	run -t .1 ./s free
	is_status 1
	connect_once "UNIX:$dir/s"
	count=$(accepted)
	check "$count probes in 0.1 s" [ "$count" -le 105 ]
	run -t 1 ./s free
	is_status 1
	connect_once "UNIX:$dir/s"
	count=$(($(accepted) - count))
	check "$count probes in 1 s" [ "$count" -ge 40 ]
	check "$count probes in 1 s" [ "$count" -le 450 ]
}

# thousand PATTERN: arguments of a thousand targets.
thousand() {
	seq 1000 | sed "s/.*/$1/"
}

test_a_thousand_occupied_targets() {
	listen4 bind=127.0.0.1,backlog=1024
	for limit in "ulimit -Sn 256" "ulimit -n 256" "ulimit -n 64"; do
		# shellcheck disable=SC2046
		run_after "$limit" -t 10 $(thousand "127.0.0.1:$port") occupied
		is_status 0
		is_err ''
		is_native && took_at_most 5000
	done
	# With -t 0, too, each has its turn.
	# shellcheck disable=SC2046
	run_after "ulimit -n 16" -t 0 $(thousand "127.0.0.1:$port") occupied
	is_status 0
	check "none accepted" [ "$(accepted)" = 0 ]
}

test_a_thousand_refused_targets() {
	free_port
	for limit in "ulimit -Sn 256" "ulimit -n 256"; do
		# shellcheck disable=SC2046
		run_after "$limit" -t 1 $(thousand "127.0.0.1:$port") occupied
		is_status 1
		check "1000 lines" [ "$(grep -cx \
			"Port $port not bound on 127\.0\.0\.1\." err)" = 1000 ]
		took_at_least 1000
		took_at_most 4000
		# shellcheck disable=SC2046
		run_after "$limit" -t 10 $(thousand "127.0.0.1:$port") free \
			$(thousand "127.0.0.1:$port") assert-free
		is_status 0
		is_err ''
	done
}

test_one_among_a_thousand() {
	listen4 bind=127.0.0.1,backlog=1024
	# shellcheck disable=SC2046
	set -- $(thousand "127.0.0.1:$port")
	free_port
	run_after "ulimit -n 256" -t 1.5 "$@" "127.0.0.1:$port" "$@" occupied
	is_status 1
	is_err "Port $port not bound on 127.0.0.1."
}

test_a_thousand_refused_targets_leave_the_processor_alone() {
	free_port
	# shellcheck disable=SC2046
	start_portend -q -t 1 $(thousand "127.0.0.1:$port") occupied
	waiter=$pid
	ticks=0
	while kill -0 "$waiter"; do
		stat=$(cat "/proc/$waiter/stat") || break
		# shellcheck disable=SC2086
		set -- ${stat##*) }
		[ "$1" = Z ] || ticks=$((${12} + ${13}))
		sleep .05
	done 2>/dev/null
	finish "$waiter"
	is_status 1
	check "$ticks of 100 ticks" [ "$ticks" -le 25 ]
}

# The pause is ten times what a round takes, which is long where each call is
# traced: a few rounds of 1,000. Without it there would be some twenty.
test_a_thousand_refused_targets_sleep() {
	trace connect
	free_port
	# shellcheck disable=SC2046
	run_traced -q -t 1 $(thousand "127.0.0.1:$port") occupied
	is_status 1
	check "$(wc -l <calls) probes" [ "$(wc -l <calls)" -le 6000 ]
}

# A process that is stopped within a round does not sleep for ten times as long.
test_a_round_that_takes_long() {
	trace connect
	need socat
	free_port
	start strace -qq -o calls -e trace=connect \
		-e inject=connect:delay_enter=400000:when=1 \
		"$PORTEND" -v "127.0.0.1:$port" occupied 2>err
	waiter=$pid
	wait_until grep -q refused err
	clock
	begun=$time
	serve TCP4-LISTEN bind=127.0.0.1
	finish "$waiter"
	is_status 0
	clock
	ms=$((time - begun))
	took_at_most 2500
}

# With 20 ms for each probe a round takes 0.2 s, and the next begins 1 s later:
# the last one would be long before the end, if there were no last check.
test_the_last_check_is_at_the_end() {
	trace connect
	free_port
	# shellcheck disable=SC2046
	run_command strace -ttt -qq -o calls -e trace=connect \
		-e inject=connect:delay_enter=20000 "$PORTEND" -q -t 1.9 \
		$(seq 10 | sed "s/.*/127.0.0.1:$port/") occupied
	is_status 1
	# shellcheck disable=SC2016
	check "$(cat calls)" awk '!first { first = $1 } { last = $1 }
		END { exit last - first < 1.8 }' calls
}

# Tests: COMMAND

test_command_has_the_same_process_id() {
	listen4
	# shellcheck disable=SC2016
	start_portend "127.0.0.1:$port" occupied -- sh -c 'echo $$; exit 42'
	waiter=$pid
	finish "$waiter"
	is_status 42
	is_out "$waiter"
	is_err ''
}

test_command_has_the_same_environment() {
	listen4
	printf 'A=1\nB=x  y\nPATH=%s\nZ=\n' "$PATH" >wanted
	# shellcheck disable=SC2086
	run_command env -i A=1 'B=x  y' PATH="$PATH" Z= \
		$PORTEND "127.0.0.1:$port" occupied -- env
	is_status 0
	sort out | cmp -s - wanted || {
		show
		fail "not the same"
	}
}

test_command_has_the_same_limits() {
	listen4 bind=127.0.0.1,backlog=1024
	# shellcheck disable=SC2046
	set -- $(thousand "127.0.0.1:$port")
	run_after 'ulimit -Sn 20' -t 9 "$@" occupied -- \
		sh -c 'ulimit -Sn; ulimit -Hn'
	is_status 0
	is_out "20
$(sh -c 'ulimit -Hn')"
	run_after 'ulimit -n 30' -t 9 "$@" occupied -- \
		sh -c 'ulimit -Sn; ulimit -Hn'
	is_out "30
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
	for code in : "trap '' TERM HUP" "trap '' PIPE CHLD INT" "trap '' USR1"; do
		for signals in "$defaults" "$blocks"; do
			# shellcheck disable=SC2086
			$signals sh -c "$code; exec cat /proc/self/status" |
				signal_lines >wanted
			check "four lines" [ "$(wc -l <wanted)" = 4 ]
			# -v, because a message changes SIGPIPE for a while.
			# shellcheck disable=SC2086
			$signals sh -c "$code; exec \"\$@\"" sh $PORTEND -v \
				"127.0.0.1:$taken" occupied \
				"127.0.0.1:$port" free \
				-- cat /proc/self/status 2>err |
				signal_lines >out
			cmp -s wanted out || {
				diff wanted out
				fail "$signals: not the signals of: $code"
			}
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
	ls /proc/self/fd >wanted
	# shellcheck disable=SC2046
	run_after ': ' -v "$taken" localhost:"${taken#*:}" occupied \
		"localhost:$port" free $(thousand "$taken") occupied \
		-- ls /proc/self/fd
	is_status 0
	cmp -s out wanted || {
		diff -u wanted out
		fail "not the same descriptors"
	}
	# One that was open is still.
	run_after 'exec 7<&0' "$taken" occupied -- sh -c '[ -e /proc/self/fd/7 ]'
	is_status 0
}

test_closed_descriptors_stay_closed_for_command() {
	listen4
	for closed in 0 1 2 "0 1" "1 2" "0 2" "0 1 2"; do
		code=:
		for fd in $closed; do
			code="$code; exec $fd<&-"
		done
		rm -f left
		# shellcheck disable=SC2016
		run_after "$code" -v "127.0.0.1:$port" occupied -- sh -c '
			cd /proc/$$/fd || exit
			for fd in 0 1 2; do
				[ ! -e $fd ] || left="$left $fd"
			done
			mkdir "$0$left"' "$dir/left"
		is_status 0
		for fd in 0 1 2; do
			case " $closed " in
			*" $fd "*) ;;
			*) printf ' %s' $fd ;;
			esac
		done >kept
		check "closed: $closed" rmdir "left$(cat kept)"
	done
}

test_closed_descriptors_never_become_a_socket() {
	native_only "its own descriptors"
	wedge
	# The probe of a silent port stays open; so it can be looked at.
	for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
		start_after "exec $closed" -v -t 15 "127.0.0.1:$port" occupied
		waiter=$pid
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
	for fd in /proc/"$1"/fd/*; do
		case $(readlink "$fd") in
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
			run_after "$closed; ulimit -Sn $limit" \
				-t 0 "127.0.0.1:$port" free
			is_status 0
		done
	done
	for limit in 2 1 0; do
		run_after "ulimit -n $limit" -t 5 "127.0.0.1:$port" free
		is_status 1
		is_err "portend: standard descriptors: No file descriptors\
 available"
	done
}

test_command_does_not_run_if_not_reached() {
	free_port
	run -t .1 "127.0.0.1:$port" occupied -- touch "$dir/ran"
	is_status 1
	run -t .1 "127.0.0.1:$port" free ./x occupied -- touch "$dir/ran"
	is_status 1
	bad x: "127.0.0.1:$port" free x: free -- touch "$dir/ran"
	check "did not run" [ ! -e ran ]
}

test_command_that_cannot_be_run() {
	free_port
	run "127.0.0.1:$port" free -- ./nosuch arg
	is_status 127
	is_err "portend: ./nosuch: No such file or directory"
	run_after 'PATH=/usr/bin:/bin' "127.0.0.1:$port" free -- nosuch-in-path
	is_status 127
	is_err "portend: nosuch-in-path: No such file or directory"
	: >file
	run "127.0.0.1:$port" free -- ./file
	is_status 126
	is_err "portend: ./file: Permission denied"
	run "127.0.0.1:$port" free -- "$dir"
	is_status 126
	is_err "portend: $dir: Permission denied"
	run "127.0.0.1:$port" free -- true
	is_status 0
	is_out ''
}

test_command_is_looked_for_in_path() {
	free_port
	mkdir bin
	# shellcheck disable=SC2016
	printf '#!/bin/sh\necho found "$0" "$@"\n' >bin/some-command
	chmod 755 bin/some-command
	run_after "PATH=$dir/bin:\$PATH" "127.0.0.1:$port" free -- \
		some-command x
	is_status 0
	is_out "found $dir/bin/some-command x"
}

test_signals_end_a_wait() {
	default_signals
	free_port
	for signal in TERM:143 HUP:129 INT:130; do
		# shellcheck disable=SC2086
		start $signals $PORTEND -t 15 "127.0.0.1:$port" ./x occupied \
			2>err
		waiter=$pid
		wait_until is_sleeping_portend "$waiter"
		need_signal $((${signal#*:} - 128))
		is_shipped && check "no handler: it is seen what ended it" \
			grep -q '^SigCgt:.*0000$' "/proc/$waiter/status"
		kill "-${signal%:*}" "$waiter"
		finish "$waiter"
		is_status "${signal#*:}"
		check "silent" [ ! -s err ]
	done
}

is_sleeping_portend() {
	grep -q occupied "/proc/$1/cmdline" && is_sleeping "$1" &&
		! grep -q default-signal "/proc/$1/cmdline"
}

# need_signal NUMBER: skips the test where what is started with $signals
# has it ignored; the number is below 17.
need_signal() {
	_ignored=$($signals sed -n 's/^SigIgn:.*\(....\)$/\1/p' /proc/self/status)
	[ $((0x$_ignored >> ($1 - 1) & 1)) = 0 ] ||
		skip "signal $1 is ignored: needs env --default-signal"
}

# Tests: find

# is_port TEXT
is_port() {
	case $1 in
	'' | *[!0-9]* | ??????*) return 1 ;;
	esac
	[ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}

test_find() {
	run find
	is_status 0
	is_err ''
	check "one line" [ "$(wc -l <out)" = 1 ]
	port=$(cat out)
	check "a port: $port" is_port "$port"
	check_not "nothing listens" is_listening "$port"
	need socat
	serve TCP4-LISTEN
	run "$port" find
	is_status 1
	is_out ''
}

# As of a kernel without IPv6.
test_find_where_there_is_no_ipv6() {
	trace socket
	for reserve in '' -r; do
		# shellcheck disable=SC2086
		run_command strace -qq -o calls -e trace=socket \
			-e inject=socket:error=EAFNOSUPPORT:when=1 \
			"$PORTEND" $reserve find
		is_status 0
		check "a port: $(cat out)" is_port "$(cat out)"
		check "of IPv4" grep -q 'AF_INET,' calls
	done
}

test_find_raises_a_low_limit() {
	# shellcheck disable=SC2046
	run_after "ulimit -Sn 40" $(yes 0 | head -n 100) find
	is_status 0
	check "a hundred ports" [ "$(sort -u out | wc -l)" = 100 ]
}

test_found_ports_are_distinct() {
	# shellcheck disable=SC2046
	run $(seq 300 | sed 's/.*/0/') localhost:0 127.0.0.1:0 find
	is_status 0
	is_err ''
	check "302 lines" [ "$(wc -l <out)" = 302 ]
	check "all distinct" [ "$(sort -u out | wc -l)" = 302 ]
	while read -r port; do
		check "a port: $port" is_port "$port"
	done <out
}

# Sets port to the first of ten ports outside of the range that the kernel
# picks from, none of them in use.
free_block() {
	_block=$((2000 + $$ % 1000))
	while [ $((_block += 1)) ]; do
		[ $_block -lt 3000 ] || _block=2000
		port=$((_block * 10))
		mkdir "$suite/block.$_block" 2>/dev/null || continue
		for _p in 0 1 2 3 4 5 6 7 8 9; do
			is_in_use $((port + _p)) && continue 2
		done
		return
	done
}

test_find_takes_the_lowest_of_a_range() {
	need socat
	free_block
	low=$port
	range=$low-$((low + 9))
	run "$range" find
	is_out "$low"
	run "$range" "$range" "127.0.0.1:$range" "$low-$((low + 3))" find
	is_status 0
	is_out "$low
$((low + 1))
$((low + 2))
$((low + 3))"
	run "127.0.0.1:$range" "127.0.0.2:$range" "127.0.0.1:$range" find
	is_out "$low
$((low + 1))
$((low + 2))"
	serve TCP4-LISTEN bind=127.0.0.1
	run "$range" find
	is_out "$((low + 1))"
	port=$((low + 1))
	serve TCP4-LISTEN
	run "$range" "localhost:$range" "$((low + 9))-$((low + 9))" find
	is_out "$((low + 2))
$((low + 3))
$((low + 9))"
	run "$((low + 9))" "0$((low + 8))" find
	is_out "$((low + 9))
$((low + 8))"
	run "$low-$((low + 1))" find
	is_status 1
	is_out ''
	is_err "No port from $low to $((low + 1)) is free."
	run "127.0.0.1:$low-$((low + 1))" find
	is_status 1
	is_err "No port from $low to $((low + 1)) is free on 127.0.0.1."
	# All were found, or none is printed.
	run "$range" "localhost:$low-$((low + 1))" find
	is_status 1
	is_out ''
	is_err "No port from $low to $((low + 1)) is free on localhost."
}

test_find_names_the_address_in_use() {
	listen4
	run "$port" find
	is_status 1
	is_out ''
	err_has "^Port $port is in use on [0-9a-f.:]+\.\$"
	for host in 127.0.0.1 localhost; do
		run "$host:$port" find
		is_status 1
		is_err "Port $port is in use on 127.0.0.1."
	done
	run "0.0.0.0:$port" find
	is_status 1
	is_err "Port $port is in use on 0.0.0.0."
	need_ipv6
	run "[::1]:$port" find
	is_status 0
	is_out "$port"
	listen6
	run "$port" find
	is_status 1
	err_has "^Port $port is in use on [0-9a-f.:]+\.\$"
	for host in '[0:0::1]' localhost; do
		run "$host:$port" find
		is_status 1
		is_err "Port $port is in use on ::1."
	done
	run "127.0.0.1:$port" find
	is_status 0
	is_out "$port"
}

test_find_sees_a_listener_on_any_one_address() {
	for options in '' bind=127.0.0.1 bind=127.0.0.2; do
		listen4 "$options"
		run "$port" find
		is_status 1
		check "IPv4 $options" [ ! -s out ]
	done
	for options in '' 'bind=[::1]'; do
		listen6 "$options"
		run "$port" find
		is_status 1
		check "IPv6 $options" [ ! -s out ]
	done
}

# SO_REUSEPORT would have hidden it.
test_find_sees_a_listener_that_shares() {
	need socat
	free_port
	serve TCP4-LISTEN reuseport
	run "$port" find
	is_status 1
	run "127.0.0.1:$port" find
	is_status 1
}

test_find_the_same_port_twice() {
	free_port
	run "$port" "$port" find
	is_status 1
	is_out ''
	err_has "^Port $port is in use on [0-9a-f.:]+\.\$"
	run "$port" "127.0.0.1:$port" find
	is_status 1
	run "localhost:$port" "localhost:$port" find
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	run "127.0.0.1:$port" find
	is_out "$port"
}

test_find_what_cannot_be_bound() {
	run 192.0.2.1:0 find
	is_status 1
	is_out ''
	is_err "Port 0 cannot be bound on 192.0.2.1. (Address not available)"
	run 192.0.2.1:8000-8010 find
	is_status 1
	is_err "No port from 8000 to 8010 is free on 192.0.2.1.\
 (Address not available)"
	become_nobody
	lowest=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
	[ "$lowest" -gt 80 ] || skip "needs ports that are privileged"
	for port in 80 79 78 77 76; do
		is_in_use "$port" || break
	done
	run_as_nobody "$port" find
	is_status 1
	is_err "Port $port cannot be bound. (Permission denied)"
	run_as_nobody "localhost:$port" find
	is_status 1
	is_err "Port $port cannot be bound on localhost. (Permission denied)"
}

test_find_takes_a_port_in_time_wait() {
	need socat
	free_port
	# The server closes first, and so keeps TIME_WAIT.
	start socat -u OPEN:/dev/null "TCP4-LISTEN:$port,reuseaddr"
	wait_until is_listening "$port"
	socat -u "TCP4:127.0.0.1:$port" OPEN:/dev/null
	finish "$pid"
	wait_until is_in_time_wait "$port"
	for word in "$port" "127.0.0.1:$port" "localhost:$port" "$port-$port"; do
		run "$word" find
		is_status 0
		is_out "$port"
	done
	run -r "$port" find
	is_status 1
	err_has "^Port $port is in use on [0-9a-f.:]+\.\$"
}

test_reserve() {
	run -r find
	is_status 0
	is_err ''
	port=$(cat out)
	check "TIME_WAIT on 127.0.0.1" is_reserved4 "$port"
	check_not "nothing listens" is_listening "$port"
	need socat
	serve TCP4-LISTEN
	stop "$pid"
	need_ipv6
	check "TIME_WAIT on ::1" is_reserved6 "$port"
	serve TCP6-LISTEN ipv6only=1
	stop "$pid"
	serve TCP6-LISTEN ipv6only=0
	run -t 0 "127.0.0.1:$port" occupied
	is_status 0
}

test_reserve_on_a_host() {
	run -r 127.0.0.1:0 localhost:0 find
	is_status 0
	is_err ''
	check "two lines" [ "$(wc -l <out)" = 2 ]
	while read -r port; do
		check "TIME_WAIT" is_reserved4 "$port"
		check_not "nothing listens" is_listening "$port"
	done <out
	need_ipv6
	check "TIME_WAIT on ::1" is_reserved6 "$(tail -n 1 out)"
	check_not "not on ::1" is_reserved6 "$(head -n 1 out)"
	run -r '[::1]:0' find
	is_status 0
	check "TIME_WAIT on ::1" is_reserved6 "$(cat out)"
}

test_reservations_of_one_range_differ() {
	free_block
	for p in 0 1 2; do
		run -r "$port-$((port + 2))" find
		is_status 0
		is_out $((port + p))
	done
	run -r "$port-$((port + 2))" find
	is_status 1
	is_err "No port from $port to $((port + 2)) is free."
	run "$port-$((port + 2))" find
	is_out "$port"
}

# Twenty reservations side by side; their ports are in ports.
reserve_twenty() {
	reserving=
	for _ in $(seq 20); do
		# shellcheck disable=SC2086
		start $PORTEND -r find >>ports 2>>errors
		reserving="$reserving $pid"
	done
	for p in $reserving; do
		finish "$p"
		is_status 0
	done
	check "silent" [ ! -s errors ]
	check "twenty ports" [ "$(sort -u ports | wc -l)" = 20 ]
}

test_twenty_reservations_side_by_side() {
	reserve_twenty
	while read -r port; do
		check "a port: $port" is_port "$port"
		check_not "nothing listens" is_listening "$port"
	done <ports
}

# Tests: the program, its figures and its manual

test_the_binary_is_small_and_static() {
	shipped_only "its size"
	size=$(wc -c <"$PORTEND")
	check "$size bytes" [ "$size" -le 49152 ]
	check_not "static" grep -q /ld- "$PORTEND"
}

test_system_calls_are_few() {
	trace all
	listen4
	taken=$port
	free_port
	for arguments in "127.0.0.1:$taken occupied" "localhost:$taken occupied" \
		"127.0.0.1:$port free" "localhost:$port free" \
		"localhost:$port assert-free"; do
		# shellcheck disable=SC2086
		run_traced $arguments
		is_status 0
		count=$(wc -l <calls)
		check "$arguments: $count" [ "$count" -le 20 ]
	done
	run_traced find
	is_status 0
	count=$(wc -l <calls)
	check "find: $count" [ "$count" -le 15 ]
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
	found=$(squeeze <synopsis)
	wanted=$(echo "$usage" | sed 's/^usage://' | squeeze)
	check "SYNOPSIS: $found" [ "$found" = "$wanted" ]
	$PORTEND -h | options >in_help
	options <text >in_manual
	check "seven options" [ "$(wc -l <in_help)" = 7 ]
	cmp -s in_help in_manual || {
		diff in_help in_manual
		fail "options differ"
	}
}

# Tests in a namespace of their own

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
	ip addr add 2001:db8::2/64 dev silent nodad 2>/dev/null
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

# Prints what the counters of these rules say.
counts() {
	nft list table inet test | sed -n 's/.* packets \([0-9]*\) .*/\1/p' |
		tr '\n' ' ' | sed 's/ $//'
}

# set_ports LOW HIGH: what the kernel picks from in this namespace.
set_ports() {
	echo "$1 $2" >/proc/sys/net/ipv4/ip_local_port_range ||
		skip "needs to set the range of local ports"
}

# children PID: prints the processes that it has started.
children() {
	cat "/proc/$1/task/$1/children" 2>/dev/null
}

has_child() {
	[ "$(children "$1")" ]
}

need_children() {
	[ -e "/proc/$$/task/$$/children" ] || skip "needs /proc/PID/children"
}

# True if no process has TARGET:PORT in its command line. Busybox's timeout
# leaves one of its own for a second.
nobody_uses() {
	# shellcheck disable=SC2013  # these have no blanks
	for _file in $(grep -sal "[a-z0-9][:]$1" /proc/[0-9]*/cmdline); do
		case $(tr '\0' ' ' 2>/dev/null <"$_file") in
		timeout* | '') ;;
		*) return 1 ;;
		esac
	done 2>/dev/null
}

# That of busybox does not name the peer of a veth.
need_iproute2() {
	case $(ip -V 2>&1) in
	*iproute2*) ;;
	*) skip "needs iproute2" ;;
	esac
}

# resolver [OPTION...]: makes 127.0.0.1 the name server of this namespace.
# What the hosts file is to say can be written into hosts.
resolver() {
	for _file in resolv.conf hosts; do
		[ -e "/etc/$_file" ] || skip "needs /etc/$_file"
		: >"$_file"
		mount --bind "$_file" "/etc/$_file" || skip "needs mount"
	done
	echo "nameserver 127.0.0.1" >resolv.conf
	[ $# = 0 ] || echo "options $*" >>resolv.conf
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

# True once there have been so many questions of a type: asked A 2.
asked() {
	[ "$(grep -c "query\[$1\]" dns.log)" -ge "$2" ]
}

# drop_questions NAME TYPE: the name server does not get them. TYPE is the
# number of RFC 1035; it stands behind 20 bytes of headers and the name.
drop_questions() {
	_at=$(((8 + 12 + ${#1} + 2) * 8))
	filter input udp dport 53 "@th,$_at,16" "$2" drop
}

drop_all_questions() {
	filter input udp dport 53 drop
}

nstest_a_name_that_appears_late() {
	listen4
	resolver
	name_server
	start_portend -v -t 15 "late.test:$port" occupied
	waiter=$pid
	wait_until grep -q "late.test:$port: Name does not resolve" err
	names "127.0.0.1 late.test"
	finish "$waiter"
	is_status 0
	check "two lines" [ "$(wc -l <err)" = 2 ]
}

nstest_a_name_that_does_not_exist() {
	free_port
	resolver
	name_server
	run -t 15 "nosuch.test:$port" free
	is_status 1
	is_err "Port $port not free on nosuch.test. (Name does not resolve)"
	took_at_most 3000
	run "nosuch.test:$port" assert-free
	is_status 1
	is_err "Port $port not free on nosuch.test. (Name does not resolve)"
	run -t .5 "nosuch.test:$port" occupied
	is_status 1
	is_err "Port $port not bound on nosuch.test. (Name does not resolve)"
	took_at_least 500
	run -t 0 "nosuch.test:$port" occupied
	is_status 1
	is_err "Port $port not bound on nosuch.test. (Name does not resolve)"
	run "nosuch.test:$port" find
	is_status 1
	is_out ''
	is_err "Port $port cannot be bound on nosuch.test.\
 (Name does not resolve)"
}

nstest_a_dead_name_server() {
	free_port
	resolver
	drop_all_questions
	for state in occupied free; do
		run -t 1 "db:$port" $state
		is_status 1
		took_at_least 1000
		took_at_most 2500
		is_err "Port $port not $([ $state = free ] &&
			echo free || echo bound) on db. (No answer from the\
 name server)"
	done
	run -t 0 -c .3 "db:$port" free
	is_status 1
	is_err "Port $port not free on db. (No answer from the name server)"
	took_at_least 300
	took_at_most 2000
	run -c .3 "db:$port" assert-free
	is_status 1
	is_err "Port $port not free on db. (No answer from the name server)"
	took_at_least 300
	took_at_most 2000
	run -c .3 "db:$port" find
	is_status 1
	is_out ''
	is_err "Port $port cannot be bound on db. (No answer from the name\
 server)"
	took_at_least 300
	took_at_most 2000
	check "no process is left" nobody_uses "$port"
}

nstest_a_name_server_that_comes_late() {
	listen4
	taken=$port
	free_port
	resolver timeout:2 attempts:1
	drop_all_questions
	echo "127.0.0.1 db" >names
	name_server
	start_portend -v -t 15 "db:$taken" occupied "db:$port" free
	waiter=$pid
	wait_until grep -q "db:$taken: No answer from the name server" err
	wait_until grep -q "db:$port: No answer from the name server" err
	unfilter
	finish "$waiter"
	is_status 0
}

nstest_questions_for_ipv6_that_are_dropped() {
	need_children
	listen4
	taken=$port
	free_port
	resolver timeout:2 attempts:1
	drop_questions db 28
	echo "127.0.0.1 db" >names
	name_server
	run -t 15 "db:$taken" occupied
	is_status 0
	took_at_most 1900
	run -t 0 -c 5 "db:$taken" occupied
	is_status 0
	took_at_most 1900
	run -c 5 "db:$taken" assert-free
	is_status 1
	is_err "Port $taken is in use on 127.0.0.1."
	took_at_most 1900
	# Whether it is free depends on the other answer; that fails after 2 s.
	run "db:$port" free
	is_status 0
	took_at_least 1900
	took_at_most 5000
	run -t 0 -c .3 "db:$port" free
	is_status 0
	took_at_least 300
	took_at_most 1400
	run -t .5 "db:$port" free
	is_status 1
	is_err "Port $port not free on db. (No answer from the name server)"
	run -t .3 "db:$port" occupied
	is_status 1
	is_err "Port $port not bound on db."
	run "db:$taken" occupied -- cat /proc/thread-self/children
	is_status 0
	is_out ''
	check "no process is left" nobody_uses "$taken"
}

nstest_questions_for_ipv4_that_are_dropped() {
	listen6
	taken=$port
	free_port
	resolver timeout:2 attempts:1
	drop_questions db 1
	echo "::1 db" >names
	name_server
	run -t 15 "db:$taken" occupied
	is_status 0
	took_at_most 1900
	run "db:$port" free
	is_status 0
	took_at_least 1900
	took_at_most 5000
}

nstest_questions_for_ipv6_that_are_refused() {
	listen4
	taken=$port
	free_port
	resolver timeout:2 attempts:1
	echo "127.0.0.1 db" >names
	name_server
	run -t 15 "db:$taken" occupied
	is_status 0
	took_at_most 1900
	run "db:$port" free
	is_status 0
	took_at_most 5000
	check "it refuses" grep -q REFUSED dns.log
	run -t 1.5 "nosuch:$port" free
	is_status 1
	took_at_least 1500
	is_err "Port $port not free on nosuch. (No answer from the name server)"
}

nstest_an_address_that_changes_is_followed() {
	listen4 bind=127.0.0.3
	resolver
	echo "127.0.0.2 db.test" >names
	name_server
	start_portend -v -t 15 "db.test:$port" occupied
	waiter=$pid
	wait_until grep -q "db.test:$port: Connection refused" err
	names "127.0.0.3 db.test"
	finish "$waiter"
	is_status 0
	# The other way round.
	start_portend -v -t 15 "db.test:$port" free
	waiter=$pid
	wait_until grep -q "db.test:$port: Connection accepted" err
	names "127.0.0.2 db.test"
	finish "$waiter"
	is_status 0
}

nstest_an_address_is_kept_while_the_name_server_is_dead() {
	free_port
	resolver timeout:1 attempts:1
	echo "127.0.0.2 db.test" >names
	name_server
	start_portend -v -t 15 "db.test:$port" occupied
	waiter=$pid
	wait_until grep -q "db.test:$port: Connection refused" err
	stop "$name_server"
	# Until the next look-up has failed, for all it may tell.
	pass_time 2300
	serve TCP4-LISTEN bind=127.0.0.2
	clock
	begun=$time
	finish "$waiter"
	clock
	ms=$((time - begun))
	is_status 0
	took_at_most 1900
}

nstest_an_address_is_dropped_when_the_name_is_gone() {
	free_port
	resolver
	echo "127.0.0.2 db.test" >names
	name_server
	start_portend -v -t 3 "db.test:$port" occupied
	waiter=$pid
	wait_until grep -q "db.test:$port: Connection refused" err
	names "127.0.0.2 other.test"
	wait_until grep -q "db.test:$port: Name does not resolve" err
	serve TCP4-LISTEN bind=127.0.0.2
	finish "$waiter"
	is_status 1
	err_has "^Port $port not bound on db\.test\. \(Name does not resolve\)"
}

nstest_the_probe_of_an_address_that_is_gone_ends() {
	silent_network
	free_port
	resolver
	echo "192.0.2.1 db.test" >names
	name_server
	start_portend -v -t 15 -c 15 "db.test:$port" occupied
	wait_until is_asking_in_vain
	names "127.0.0.2 db.test"
	wait_until grep -q "db.test:$port: Connection refused" err
	check_not "no SYN is repeated" is_asking_in_vain
}

is_asking_in_vain() {
	grep -q "$(printf '010200C0:%04X 02 ' "$port")" /proc/net/tcp
}

nstest_a_name_is_asked_for_once_a_second() {
	free_port
	resolver
	echo "127.0.0.2 db.test" >names
	name_server
	run -t 2.5 "db.test:$port" "nosuch.test:$port" occupied
	is_status 1
	for name in db nosuch; do
		for type in A AAAA; do
			count=$(grep -c "query\[$type\] $name.test " dns.log)
			check "$type of $name: $count" [ "$count" = 3 ]
		done
	done
	: >dns.log
	run -t 0 "db.test:$port" "nosuch.test:$port" occupied
	run "db.test:$port" assert-free
	run "db.test:0" find
	check "once each" [ "$(grep -c 'query\[A\] ' dns.log)" = 4 ]
	check "once each" [ "$(grep -c 'query\[AAAA\] ' dns.log)" = 4 ]
}

nstest_forty_dead_names_and_a_good_address() {
	listen4
	resolver timeout:60
	drop_all_questions
	dead=
	for i in $(seq 20); do
		dead="$dead dead$i:$port late$i:$port"
	done
	# shellcheck disable=SC2086
	run -v -t 1 $dead "127.0.0.1:$port" occupied
	is_status 1
	took_at_least 1000
	took_at_most 2500
	err_has "^portend: 127\.0\.0\.1:$port: occupied after 0\.[0-3]"
	grep '^Port' err >messages
	check "forty messages" [ "$(wc -l <messages)" = 40 ]
	check "of one kind" [ "$(grep -c \
		"not bound on .*\. (No answer from the name server)" \
		messages)" = 40 ]
	check "no process is left" nobody_uses "$port"
	# shellcheck disable=SC2086
	is_shipped && run_best 570 -t .5 $dead occupied
	# shellcheck disable=SC2086
	start_portend $dead occupied
	waiter=$pid
	need_children
	wait_until has_child "$waiter"
	kill -KILL "$waiter"
	finish "$waiter" 2>/dev/null
	wait_until nobody_uses "$port"
}

nstest_look_ups_hold_no_probe_open() {
	listen4
	resolver timeout:60
	drop_all_questions
	run -t 1 "127.0.0.1:$port" occupied "dead:$port" free
	is_status 1
	connect_once "TCP4:127.0.0.1:$port"
	check "$(accepted) accepted, not 1" [ "$(accepted)" = 1 ]
}

# dead_names N: sets names to targets of names that are never answered.
dead_names() {
	resolver timeout:60
	drop_all_questions
	names=$(seq "$1" | sed "s/.*/dead&:$port/")
}

nstest_look_ups_leave_descriptors_to_probes() {
	shipped_only "its own descriptors"
	need socat
	free_port
	dead_names 30
	# shellcheck disable=SC2086
	start_after "ulimit -n 20" -v -t 15 $names "127.0.0.1:$port" occupied
	wait_until grep -q "127.0.0.1:$port: Connection refused" err
	serve TCP4-LISTEN bind=127.0.0.1
	wait_until grep -q "127.0.0.1:$port: occupied after" err
}

nstest_look_ups_that_await_their_turn_sleep() {
	trace ppoll
	free_port
	dead_names 250
	# shellcheck disable=SC2086
	run_traced -q -t 2 $names occupied
	is_status 1
	check "$(wc -l <calls) calls" [ "$(wc -l <calls)" -le 1000 ]
}

nstest_an_address_that_stays_keeps_its_probe() {
	silent_network
	resolver
	echo "192.0.2.1 silent" >hosts
	run -t 15 -c 1.5 silent:9 free
	is_status 0
	took_at_least 1500
	took_at_most 5000
}

nstest_an_address_that_is_listed_twice() {
	free_port
	resolver
	printf '127.0.0.1 twice\n127.0.0.1 twice\n' >hosts
	run "twice:$port" find
	is_out "$port"
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
	# shellcheck disable=SC2086
	run_after "ulimit -n 12" -t 10 $names occupied
	is_status 0
	took_at_most 3000
	# shellcheck disable=SC2086
	run_after "ulimit -n 12" -t 10 -c .1 $names assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
}

nstest_a_look_up_that_is_killed_is_made_again() {
	native_only "processes of its own"
	need_children
	listen4
	resolver
	drop_all_questions
	echo "127.0.0.1 db" >names
	name_server
	start_portend -t 15 "db:$port" occupied
	waiter=$pid
	wait_until has_child "$waiter"
	before=$(children "$waiter")
	# shellcheck disable=SC2086
	kill -KILL $before
	unfilter
	clock
	begun=$time
	finish "$waiter"
	clock
	ms=$((time - begun))
	is_status 0
	took_at_most 3000
}

nstest_numbers_and_localhost_need_no_etc() {
	listen4
	taken=$port
	free_port
	mount -t tmpfs none /etc || skip "needs mount"
	filter output udp dport 53 counter
	for host in localhost LocalHost. 127.0.0.1 0.0.0.0; do
		run -t 5 "$host:$taken" occupied
		is_status 0
		run "$host:$port" assert-free
		is_status 0
		run -t 0 "$host:$taken" free
		is_err "Port $taken not free on $host."
	done
	run -t 5 "[::1]:$port" "[::]:$port" free
	is_status 0
	run localhost:0 127.0.0.1:0 find
	is_status 0
	check "no question" [ "$(counts)" = 0 ]
	run -c .2 "db:$port" assert-free
	check "questions are counted" [ "$(counts)" -gt 0 ]
}

nstest_a_silent_host() {
	silent_network
	run -t .5 192.0.2.1:9 occupied
	is_status 1
	is_err "Port 9 not bound on 192.0.2.1. (No answer)"
	took_at_least 500
	took_at_most 2000
	is_shipped && run_best 570 -t .5 192.0.2.1:9 occupied
	run -c .3 192.0.2.1:9 free
	is_status 0
	took_at_least 300
	took_at_most 2000
	run -t .4 192.0.2.1:9 free
	is_status 0
	took_at_least 400
	took_at_most 1900
	run -c .3 192.0.2.1:9 assert-free
	is_status 0
	took_at_least 300
	took_at_most 2000
	run -t 0 -c .3 192.0.2.1:9 occupied
	is_status 1
	is_err "Port 9 not bound on 192.0.2.1. (No answer)"
	took_at_least 300
	took_at_most 2000
	need_ipv6
	run -c .3 '[2001:db8::1]:9' free
	is_status 0
	took_at_least 300
}

nstest_an_address_with_a_zone() {
	need_ipv6
	silent_network
	ip addr add fe80::5/64 dev silent nodad || skip "needs IPv6"
	number=$(ip -o link show silent | sed 's/:.*//')
	listen6 'bind=[::]'
	for zone in silent "$number"; do
		run -t 5 "[fe80::5%$zone]:$port" occupied
		is_status 0
		if is_shipped; then
			run_after "ulimit -Sn 3" "[fe80::5%$zone]:9" assert-free
			is_status 0
		fi
		run -c .2 "[fe80::6%$zone]:$port" assert-free
		is_status 0
		took_at_least 200
		run "[fe80::5%$zone]:$port" assert-free
		is_status 1
		is_err "Port $port is in use on fe80::5%$number."
		run "[fe80::5%$zone]:0" find
		is_status 0
	done
	start_portend -t 15 "[fe80::7%late]:$port" occupied
	waiter=$pid
	ip link set end name late
	ip addr add fe80::7/64 dev late nodad
	finish "$waiter"
	is_status 0
}

nstest_find_on_an_address_with_a_zone() {
	need_ipv6
	silent_network
	ip addr add fe80::5/64 dev silent nodad || skip "needs IPv6"
	number=$(ip -o link show silent | sed 's/:.*//')
	listen6 ipv6only=1
	for zone in "$number" silent; do
		for reserve in '' -r; do
			# shellcheck disable=SC2086
			run $reserve "[fe80::5%$zone]:0" find
			is_status 0
		done
		run "[fe80::5%$zone]:$port" find
		is_status 1
		is_err "Port $port is in use on fe80::5%$number."
	done
	run "[fe80::5%nosuch]:$port" find
	is_status 1
	is_err "Port $port cannot be bound on fe80::5%nosuch. (No such device)"
}

# Nor do they where there are fewer descriptors than silent targets.
nstest_a_look_up_has_its_turn_among_silent_targets() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	resolver
	echo "127.0.0.1 name" >hosts
	run_after "ulimit -n 5" -t 2.5 -c .3 192.0.2.1:1 192.0.2.1:2 192.0.2.1:3 \
		"name:$port" occupied
	is_status 1
	err_has '^Port 3 not bound'
	err_lacks "^Port $port"
	# One is not enough for a pipe.
	for time in 0 .3; do
		run_after "ulimit -n 4" -t $time "name:$port" occupied
		is_status 1
		is_err "Port $port not bound on name.\
 (No file descriptors available)"
	done
}

# While there is nothing to do: one ppoll for each thing that is awaited.
nstest_a_wait_for_an_answer_sleeps() {
	trace ppoll
	silent_network
	resolver timeout:60
	drop_all_questions
	for state in assert-free "-t 0 free" "-t 1.2 free" "-t 1.2 occupied"; do
		# shellcheck disable=SC2086
		run_traced -c 1 192.0.2.1:9 db:9 $state
		check "$state: $(wc -l <calls)" [ "$(wc -l <calls)" -le 12 ]
	done
}

nstest_a_stop_takes_nothing_from_a_long_sleep() {
	silent_network
	start_portend -t 1 -c 9 192.0.2.1:9 occupied
	stop_for 1300 "$pid"
	is_status 1
	is_err "Port 9 not bound on 192.0.2.1. (No answer)"
	took_at_most 500
}

# Silent targets, three at a time, have taken all descriptors until then.
nstest_the_last_check_frees_descriptors() {
	shipped_only "its own descriptors"
	silent_network
	listen4
	run_after "ulimit -n 6" -t .6 -c .4 192.0.2.1:1 192.0.2.1:2 \
		192.0.2.1:3 192.0.2.1:4 192.0.2.1:5 192.0.2.1:6 \
		"127.0.0.1:$port" occupied
	is_status 1
	err_has 'Port 6 not bound'
	err_lacks "Port $port"
}

nstest_silent_targets_do_not_take_turns() {
	silent_network
	# shellcheck disable=SC2046
	run_after "ulimit -Sn 32" -c 1 \
		$(seq 100 | sed 's/.*/192.0.2.1:&/') free
	is_status 0
	took_at_least 1000
	took_at_most 3500
}

# As RFC 5952 writes them.
nstest_addresses_in_numbers() {
	need_ipv6
	need_iproute2
	listen6 'bind=[::]'
	while read -r given text; do
		ip addr add "$given/128" dev lo nodad
		run "[$given]:$port" assert-free
		is_status 1
		is_err "Port $port is in use on $text."
	done <<-EOF
		2001:db8:0:1:1:1:1:1 2001:db8:0:1:1:1:1:1
		2001:db8:0:0:1:0:0:1 2001:db8::1:0:0:1
		2001:db8:0:1:0:0:0:1 2001:db8:0:1::1
		2001:DB8:AB:0:0:0:0:0 2001:db8:ab::
		2001:db8:0:0:0:0:1:0 2001:db8::1:0
		fd00:a:b0:c00:d000:e:f:10 fd00:a:b0:c00:d000:e:f:10
	EOF
}

# In the order of RFC 6724: of two that answer, the nearer one is named.
nstest_addresses_are_sorted() {
	need_ipv6
	silent_network
	resolver
	printf '%s three\n' 2001:db8::1 2001:db8::2 ::1 2001:db8::3 >hosts
	listen6 'bind=[::]'
	run "three:$port" assert-free
	is_status 1
	is_err "Port $port is in use on ::1."
}

nstest_a_silent_address_delays_no_other() {
	silent_network
	listen4
	resolver
	printf '%s\n' "192.0.2.1 two" "127.0.0.1 two" "192.0.2.3 two" >hosts
	run -t 15 "two:$port" occupied
	is_status 0
	took_at_most 1900
	run -t 0 -c 5 "two:$port" occupied
	is_status 0
	took_at_most 1900
	run -c 5 "two:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	took_at_most 1900
	# A refusal is not the whole answer, and all others are.
	free_port
	run -c .4 "two:$port" free
	is_status 0
	took_at_least 400
	run -t .3 "two:$port" occupied
	is_status 1
	is_err "Port $port not bound on two. (No answer)"
}

nstest_lost_syns() {
	listen4
	filter input tcp dport "$port" tcp flags syn drop
	run -t .3 "127.0.0.1:$port" occupied
	is_status 1
	is_err "Port $port not bound on 127.0.0.1. (No answer)"
	run -t .3 "localhost:$port" free
	is_status 1
	err_has "^Port $port not free on localhost\. \(No answer, but"
	run -c .3 "127.0.0.1:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	start_portend -t 15 "127.0.0.1:$port" occupied
	waiter=$pid
	wait_until grep -q "$(printf '0100007F:%04X 02 ' "$port")" /proc/net/tcp
	unfilter
	finish "$waiter"
	is_status 0
}

# The last check is a fresh one: the second SYN, which was lost when less than
# the connect timeout was left, would be repeated only after the end.
nstest_a_lost_syn_does_not_spoil_the_last_check() {
	listen4
	filter input tcp dport "$port" tcp flags syn counter drop
	start_portend -c .8 -t 1.4 "127.0.0.1:$port" occupied
	waiter=$pid
	wait_until has_counted 2
	unfilter
	finish "$waiter"
	is_status 0
}

has_counted() {
	[ "$(counts)" -ge "$1" ]
}

nstest_unreachable() {
	ip route add unreachable 198.51.100.0/24
	for host in 198.51.100.1 203.0.113.1; do
		run -t 15 "$host:9" free
		is_status 0
		took_at_most 1500
		run "$host:9" assert-free
		is_status 0
		run -t .2 "$host:9" occupied
		is_status 1
		err_has "^Port 9 not bound on $host\. \((Host is|Network)\
 unreachable\)\$"
		took_at_least 200
	done
}

# What a router or a firewall on the way says. A listener is there.
nstest_icmp_unreachable() {
	listen4
	for reason in "icmpx host-unreachable" "icmpx no-route" \
		"icmpx admin-prohibited" "icmpx port-unreachable" \
		"icmp prot-unreachable" "icmp net-prohibited" \
		"icmp host-prohibited" "tcp reset"; do
		# shellcheck disable=SC2086
		filter input tcp dport "$port" reject with $reason
		run -t .2 "127.0.0.1:$port" occupied
		is_status 1
		err_has "^Port $port not bound on 127\.0\.0\.1\."
		took_at_least 200
		err_lacks 'No answer|not connected|Error'
		run -t 5 "127.0.0.1:$port" free
		is_status 0
		took_at_most 1500
		unfilter
		# The same from a rule of this machine, before it is sent.
		# shellcheck disable=SC2086
		filter output tcp dport "$port" reject with $reason
		run -t .1 "127.0.0.1:$port" occupied
		is_status 1
		err_has "^Port $port not bound on 127\.0\.0\.1\."
		err_lacks 'No answer|not connected|Error'
		unfilter
	done
	run -t 15 "127.0.0.1:$port" occupied
	is_status 0
}

# poll(2) may report an answer where there is neither an error nor a peer.
nstest_no_error_is_no_answer() {
	trace connect,getsockopt
	free_port
	for state in occupied free; do
		run_command strace -qq -o calls -e trace=getsockopt \
			-e inject=getsockopt:retval=0 \
			"$PORTEND" -t .3 "127.0.0.1:$port" $state
		is_status 1
		took_at_least 300
	done
	check "no error was told" grep -q INJECTED calls
}

# What fails before a question is asked says nothing; nor does a family whose
# look-up could not start, whatever the other says.
nstest_own_trouble_is_no_answer() {
	trace setsockopt,getsockname,fork
	listen6
	resolver
	printf '%s both\n' 127.0.0.1 ::1 >hosts
	run_command strace -qq -o calls -e inject=fork:error=EAGAIN \
		"$PORTEND" -t .3 "both:$port" occupied
	is_err "Port $port not bound on both. (Resource temporarily unavailable)"
	for fault in setsockopt:error=ENOPROTOOPT:"Error 92" \
		fork:error=EAGAIN:when=2+:"Resource temporarily unavailable" \
		fork:error=ENOMEM:when=2+:"Out of memory" \
		pipe2:error=ENFILE:when=2+:"Too many open files in system"; do
		for state in free assert-free; do
			run_command strace -qq -o calls \
				-e inject="${fault%:*}" \
				"$PORTEND" -t .3 "both:$port" $state
			is_status 1
			is_err "Port $port not free on both. (${fault##*:})"
		done
	done
	listen4
	filter input tcp dport "$port" tcp flags syn drop
	run_command strace -qq -o calls -e inject=fork:error=EAGAIN:when=2+ \
		"$PORTEND" -c .2 "both:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	unfilter
	listen6
	run_command strace -qq -o calls -e inject=getsockname:error=EACCES \
		"$PORTEND" -t .3 "[::1]:$port" occupied
	is_status 1
	is_err "Port $port not bound on ::1. (Permission denied)"
}

# What hinders it may end without anything of ours ending.
nstest_a_look_up_that_does_not_start_is_tried_again() {
	trace fork
	silent_network
	listen4
	resolver
	echo "127.0.0.1 name" >hosts
	run_command strace -qq -o calls -e trace=fork \
		-e inject=fork:error=EAGAIN:when=1..3 "$PORTEND" -v -t 4 -c 15 \
		192.0.2.1:9 "name:$port" occupied
	is_status 1
	err_has "^portend: name:$port: Resource temporarily unavailable\$"
	err_has "^portend: name:$port: occupied after"
}

nstest_a_look_up_that_does_not_start_leaves_nothing() {
	trace fork
	need_children
	free_port
	resolver
	start strace -qq -o calls -e trace=fork -e inject=fork:error=EAGAIN \
		"$PORTEND" -v -t 15 "db:$port" occupied 2>err
	tracer=$pid
	wait_until grep -q "db:$port: Resource temporarily unavailable" err
	traced=$(children "$tracer")
	check "no pipe is left" [ ! -e "/proc/${traced% }/fd/3" ]
}

# They take longer to start than the second after which each is due again.
nstest_look_ups_without_end_delay_no_probe() {
	trace fork
	need socat
	free_port
	resolver
	seq 30 | sed 's/.*/127.0.0.2 name&/' >hosts
	# shellcheck disable=SC2046
	start strace -qq -o calls -e trace=fork \
		-e inject=fork:delay_enter=20000 "$PORTEND" -v -t 15 \
		$(seq 30 | sed "s/.*/name&:$port/") \
		"127.0.0.1:$port" occupied 2>err
	wait_until grep -q "127.0.0.1:$port: Connection refused" err
	pass_time 1500
	serve TCP4-LISTEN bind=127.0.0.1
	wait_until grep -q "127.0.0.1:$port: occupied after [12]\." err
}

# run_injected ERROR ARG...: portend, whose connect(2) fails with ERROR.
run_injected() {
	_error=$1
	shift
	run_command strace -qq -o calls -e trace=connect \
		-e inject=connect:error="$_error" "$PORTEND" "$@"
}

test_errors_of_connect() {
	trace connect
	free_port
	while read -r error text; do
		for state in free assert-free occupied; do
			run_injected "$error" -t .05 "127.0.0.1:$port" $state
			is_status 1
			[ $state = occupied ] && state=bound || state=free
			is_err "Port $port not $state on 127.0.0.1. ($text)"
		done
	done <<-EOF
		EACCES Permission denied
		EAGAIN Resource temporarily unavailable
		EINVAL Invalid argument
		EMFILE No file descriptors available
		ENFILE Too many open files in system
		ENOBUFS No buffer space available
		ENODEV No such device
		ENOMEM Out of memory
		ENOTCONN Socket not connected
		EPERM Operation not permitted
		EPROTOTYPE Protocol wrong type for socket
		ENOKEY Error 126
	EOF
	for error in EAFNOSUPPORT EHOSTDOWN EHOSTUNREACH ENETUNREACH ENONET \
		ECONNREFUSED; do
		run_injected $error -t 5 "127.0.0.1:$port" free
		is_status 0
		run_injected $error "127.0.0.1:$port" assert-free
		is_status 0
		run_injected $error -t .05 "127.0.0.1:$port" occupied
		is_status 1
	done
}

# A rule of this machine says nothing about the port.
nstest_local_rules() {
	ip route add prohibit 198.51.100.0/24
	ip route add blackhole 203.0.113.0/24
	for host in 198.51.100.1 203.0.113.1; do
		case $host in
		198*) reason="Permission denied" ;;
		*) reason="Invalid argument" ;;
		esac
		for state in free occupied assert-free; do
			run -t .2 "$host:9" $state
			is_status 1
			case $state in
			occupied) is_err "Port 9 not bound on $host. ($reason)" ;;
			*) is_err "Port 9 not free on $host. ($reason)" ;;
			esac
			[ $state = assert-free ] || took_at_least 200
		done
	done
	# It may be lifted.
	start_portend -v -t 15 198.51.100.1:9 free
	waiter=$pid
	wait_until grep -q "Permission denied" err
	ip route del prohibit 198.51.100.0/24
	finish "$waiter"
	is_status 0
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
	for host in 127.0.0.1 localhost '[::1]' 127.0.0.7; do
		name=${host#'['}
		for state in free assert-free; do
			run -t .2 "$host:$taken" $state
			is_status 1
			err_has "^Port $taken not free on ${name%]}\. \(\
Address not available\)\$"
		done
		run -t .2 "$host:$other" occupied
		is_status 1
		err_has "^Port $other not bound on ${name%]}\. \(\
Address not available\)\$"
		took_at_least 200
	done
	run find
	is_status 1
	is_out ''
	is_err "No port is free."
	start_portend -v -t 15 "127.0.0.1:$taken" occupied
	waiter=$pid
	wait_until grep -q "not available" err
	set_ports 32768 60999
	finish "$waiter"
	is_status 0
}

# Nor is it a family that is switched off where loopback is down.
nstest_no_local_port_left_and_lo_is_down() {
	silent_network
	ip link set lo down
	set_ports 20000 20001
	start_portend -t 15 -c 15 192.0.2.1:9 192.0.2.1:9 occupied
	wait_until has_taken_all
	for state in free assert-free; do
		run -t .3 192.0.2.1:9 $state
		is_status 1
		is_err "Port 9 not free on 192.0.2.1. (Address not available)"
	done
}

has_taken_all() {
	[ "$(grep -c ' 010200C0:0009 02 ' /proc/net/tcp)" = 2 ]
}

nstest_ipv6_is_off() {
	echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 ||
		skip "needs IPv6 to switch it off"
	listen4
	run -t 5 "localhost:$port" occupied
	is_status 0
	run "localhost:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	free_port
	run -t 15 "localhost:$port" "[::1]:$port" free
	is_status 0
	took_at_most 1500
	run "localhost:$port" assert-free
	is_status 0
	run -t .2 "[::1]:$port" occupied
	is_status 1
	err_has "^Port $port not bound on ::1\. \(Address family not supported"
	took_at_least 200
	for reserve in '' -r; do
		# shellcheck disable=SC2086
		run $reserve find
		is_status 0
		# shellcheck disable=SC2086
		run $reserve localhost:0 find
		is_status 0
		# shellcheck disable=SC2086
		run $reserve '[::1]:0' find
		is_status 1
		is_out ''
		is_err "Port 0 cannot be bound on ::1. (Address not available)"
	done
}

nstest_lo_is_down() {
	free_port
	for down in "unshare -n" ""; do
		# One that was never up is unreachable, another one is silent.
		[ "$down" ] || ip link set lo down
		# shellcheck disable=SC2086
		run_command $down $PORTEND -t 15 -c .3 \
			"localhost:$port" "127.0.0.1:$port" "[::1]:$port" free
		is_status 0
		took_at_most 1500
		# shellcheck disable=SC2086
		run_command $down $PORTEND -c .3 "localhost:$port" assert-free
		is_status 0
		# shellcheck disable=SC2086
		run_command $down $PORTEND -t .2 "127.0.0.1:$port" occupied
		is_status 1
		err_has "^Port $port not bound on 127\.0\.0\.1\. \(\
(No answer|Network unreachable)\)\$"
		for find in find "localhost:0 find"; do
			# shellcheck disable=SC2086
			run_command $down $PORTEND $find
			is_status 0
		done
		# shellcheck disable=SC2086
		run_command $down $PORTEND -r -c .3 find
		is_status 1
		is_out ''
		err_has "^Port [1-9][0-9]* cannot be reserved on [0-9a-f.:]+\. \(\
(No answer|Network unreachable)\)\$"
		# shellcheck disable=SC2086
		run_command $down $PORTEND -q -r -c .3 find
		is_status 1
		is_err ''
	done
	start_portend -v -t 15 "localhost:$port" occupied
	waiter=$pid
	wait_until grep -q "localhost:$port" err
	ip link set lo up
	serve TCP4-LISTEN bind=127.0.0.1
	finish "$waiter"
	is_status 0
}

nstest_a_wedged_server_on_a_low_port() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	port=80
	need socat
	serve TCP4-LISTEN backlog=1
	filter input tcp dport 80 tcp flags syn drop
	for host in 127.0.0.1 0.0.0.0 localhost; do
		for state in free assert-free; do
			run_as_nobody -t .2 -c .2 $host:80 $state
			is_status 1
			is_err "Port 80 not free on $host. (Permission denied)"
		done
	done
	run -t .3 -c .1 127.0.0.1:80 free
	is_status 1
	err_has "^Port 80 not free on 127\.0\.0\.1\. \(.*\)\$"
	run -c .2 127.0.0.1:80 assert-free
	is_status 1
	is_err "Port 80 is in use on 127.0.0.1."
	# Nobody is there; and somebody else's silence is not our business.
	filter input tcp dport 81 tcp flags syn drop
	run -c .2 127.0.0.1:81 assert-free
	is_status 0
	took_at_least 200
	run_as_nobody -t .2 127.0.0.1:81 free
	is_status 1
	is_err "Port 81 not free on 127.0.0.1. (Permission denied)"
	silent_network
	run_as_nobody -c .2 192.0.2.1:80 assert-free
	is_status 0
}

nstest_find_without_permission() {
	become_nobody
	echo 1024 >/proc/sys/net/ipv4/ip_unprivileged_port_start
	run_as_nobody 80 find
	is_status 1
	is_out ''
	is_err "Port 80 cannot be bound. (Permission denied)"
	run_as_nobody localhost:80 find
	is_status 1
	is_err "Port 80 cannot be bound on localhost. (Permission denied)"
	run_as_nobody 1000-1024 find
	is_status 0
	is_out 1024
	run_as_nobody 80-90 find
	is_status 1
	is_err "No port from 80 to 90 is free. (Permission denied)"
}

# A naive loop connects to itself before long, and takes it for a server.
nstest_a_connection_to_itself_is_nobody() {
	need socat
	free_port
	# shellcheck disable=SC2102
	for family in 4:127.0.0.1 6:[::1]; do
		# shellcheck disable=SC2086
		[ $family = 4:127.0.0.1 ] || need_ipv6
		set_ports $((port - 32)) $((port + 31))
		tries=400
		until socat -u OPEN:/dev/null "TCP$family:$port" 2>/dev/null; do
			[ $((tries -= 1)) -gt 0 ] || fail "nobody is fooled"
		done
		host=${family#?:}
		run -t 1 "$host:$port" occupied
		is_status 1
		name=${host#'['}
		is_err "Port $port not bound on ${name%]}."
		targets=
		for _ in $(seq 16); do
			targets="$targets $host:$port $host:$port $host:$port\
 $host:$port $host:$port $host:$port"
		done
		# shellcheck disable=SC2086
		run $targets assert-free
		is_status 0
		# shellcheck disable=SC2086
		run -t 5 $targets free
		is_status 0
	done
}

nstest_twenty_waiters_for_one_port() {
	free_port
	waiters=
	for _ in $(seq 20); do
		start_portend -t 15 "localhost:$port" occupied
		waiters="$waiters $pid"
	done
	serve TCP4-LISTEN bind=127.0.0.1
	listener=$pid
	for waiter in $waiters; do
		finish "$waiter"
		is_status 0
	done
	connect_once "TCP4:127.0.0.1:$port"
	check "none accepted" [ "$(accepted)" = 1 ]
	waiters=
	for _ in $(seq 20); do
		start_portend -t 15 "localhost:$port" free
		waiters="$waiters $pid"
	done
	stop "$listener"
	for waiter in $waiters; do
		finish "$waiter"
		is_status 0
	done
	is_err ''
}

# start_first CODE ARG...: portend as process 1, in a shell that executed CODE.
# outer and first are the processes, as they are called here.
start_first() {
	_code=$1
	shift
	# shellcheck disable=SC2086
	start $signals sh -c "$_code; exec unshare -p --kill-child --mount-proc \
		\"\$@\"" sh "$PORTEND" -v "$@" 2>err
	outer=$pid
	wait_until grep -q "Connection refused" err
	first=$(children "$outer")
	first=${first% }
}

nstest_signals_end_process_1() {
	native_only "process 1"
	need_children
	unshare --kill-child true || skip "needs unshare --kill-child"
	default_signals
	free_port
	for number in 1 2 15; do
		start_first : "127.0.0.1:$port" occupied
		need_signal $number
		clock
		begun=$time
		kill -$number "$first"
		finish "$outer"
		clock
		ms=$((time - begun))
		is_status $((128 + number))
		took_at_most 1500
		start_first "trap '' $number" -t .6 "127.0.0.1:$port" occupied
		kill -$number "$first"
		finish "$outer"
		is_status 1
		err_has "^Port $port not bound on 127\.0\.0\.1\.\$"
	done
}

# A message that blocks, before the first sleep.
nstest_signals_end_process_1_early() {
	native_only "process 1"
	need_children
	unshare --kill-child true || skip "needs unshare --kill-child"
	mkfifo pipe
	exec 3<>pipe
	head -c 65536 /dev/zero >pipe
	default_signals
	# shellcheck disable=SC2086
	start $signals unshare -p --kill-child --mount-proc "$PORTEND" -v \
		/nosuch/x occupied 2>pipe
	outer=$pid
	wait_until has_child "$outer"
	first=$(children "$outer")
	wait_until is_portend_asleep "${first% }"
	need_signal 15
	kill -TERM "$first"
	finish "$outer"
	is_status 143
}

# is_portend_asleep PID: no more the program that it was started by.
is_portend_asleep() {
	[ "$(cut -c 1-15 "/proc/$1/comm")" = \
		"$(echo "${PORTEND##*/}" | cut -c 1-15)" ] && is_sleeping "$1"
}

nstest_command_as_process_1() {
	native_only "process 1"
	need unshare
	listen4
	run_command unshare -p -f --mount-proc "$PORTEND" -t 5 \
		"127.0.0.1:$port" occupied -- cat /proc/self/status
	is_status 0
	check "process 1" grep -q "^Pid:.1\$" out
	check "default signals" [ "$(grep -c '^Sig\(Cgt\|Blk\):.0*$' out)" = 2 ]
	run_command unshare -p -f --mount-proc "$PORTEND" -t 5 \
		"127.0.0.1:$port" occupied -- sh -c 'kill $$; exit 3'
	is_status 3
}

# nobody_gets PORT: all that is left is taken, again and again.
nobody_gets() {
	_zeros=
	for _ in $(seq 10); do
		_zeros="$_zeros 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"
	done
	for _prefix in "" 127.0.0.1: "[::1]:" 0.0.0.0:; do
		_picks=
		for _pick in $_zeros; do
			_picks="$_picks $_prefix$_pick"
		done
		for _ in $(seq 20); do
			# shellcheck disable=SC2086
			run $_picks find
			is_status 0
			check "$_prefix 160 ports" [ "$(wc -l <out)" = 160 ]
			check_not "$_prefix: got $1" grep -qx "$1" out
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
	filter output tcp dport "$taken" tcp flags '&' '(syn|ack) == syn' counter
	targets=
	for _ in $(seq 10); do
		targets="$targets localhost:$taken localhost:$taken\
 localhost:$taken localhost:$taken localhost:$taken localhost:$taken\
 localhost:$taken localhost:$taken localhost:$taken localhost:$taken"
	done
	for _ in $(seq 20); do
		# shellcheck disable=SC2086
		run -t 5 $targets $targets $targets $targets $targets occupied
		is_status 0
		check "none is accepted" [ "$(accepted)" = 0 ]
	done
	# Of each target one address or both.
	count=$(counts)
	check "connections: $count" [ "${count#* }" -ge 10000 ]
	check "from $reserved: $count" [ "${count% *}" = 0 ]
	port=$reserved
	for type in TCP4-LISTEN TCP6-LISTEN; do
		for bind in 1 ''; do
			case $type$bind in
			TCP4-LISTEN1) bind=bind=127.0.0.1 ;;
			TCP6-LISTEN1) bind='ipv6only=1,bind=[::1]' ;;
			esac
			# shellcheck disable=SC2086
			serve $type $bind
			stop "$pid"
		done
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
		check "no port twice" [ "$(wc -l <sorted)" = $((count + 2)) ]
		cp sorted ports
		count=$((count + 2))
	done
}

nstest_find_on_several_addresses() {
	resolver
	printf '%s many\n' 127.0.0.2 127.0.0.3 ::1 >hosts
	listen4 bind=127.0.0.3
	listener=$pid
	run "many:$port" find
	is_status 1
	is_err "Port $port is in use on 127.0.0.3."
	stop "$listener"
	run "many:$port" find
	is_status 0
	is_out "$port"
	listen6
	run "many:$port" find
	is_status 1
	is_err "Port $port is in use on ::1."
	set_ports "$port" $((port + 3))
	# What is free on the first address need not be so on the others.
	for _ in $(seq 10); do
		run many:0 many:0 many:0 find
		is_status 0
		check "three ports" [ "$(sort -u out | wc -l)" = 3 ]
		check_not "and not this" grep -qx "$port" out
	done
	run many:0 many:0 many:0 many:0 find
	is_status 1
	is_out ''
	is_err "No port is free on many."
	run -r many:0 find
	is_status 0
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
	check "two ports" [ "$(sort -u out | wc -l)" = 2 ]
}

# A second machine at the other end of a cable, 192.0.2.2 and 2001:db8::2;
# there runs a command in it.
second_machine() {
	need nsenter
	need_iproute2
	start unshare -n sleep 60
	there="nsenter -t $pid -n"
	wait_until is_elsewhere "$pid"
	ip link add here type veth peer name there netns "$pid" ||
		skip "needs veth"
	ip addr add 192.0.2.1/24 dev here
	ip addr add 2001:db8::1/64 dev here nodad 2>/dev/null
	ip link set here up
	$there ip addr add 192.0.2.2/24 dev there
	$there ip addr add 2001:db8::2/64 dev there nodad 2>/dev/null
	$there ip link set there up
	$there ip link set lo up
}

nstest_what_another_machine_rejects() {
	need nft
	need_ipv6
	second_machine
	# shellcheck disable=SC2016
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
			run -t 9 -c 9 192.0.2.2:9 $state
			is_status 0
			took_at_most 4000
		done
		[ "$reason" = "icmpx admin-prohibited" ] ||
			$there nft delete table inet test
	done
	# What ICMPv6 says of the first SYN may get lost: of the next, after 1 s.
	run -t 9 -c 9 '[2001:db8::2]:9' free
	is_status 0
	took_at_most 4000
}

# A pipe that is full for a while delays what begins after the message, and is
# no silence: the SYN is lost once, and would be answered after a second.
nstest_a_message_that_blocks_is_not_silence() {
	need socat
	second_machine
	free_port
	# shellcheck disable=SC2086
	start $there socat -u "TCP4-LISTEN:$port,fork" OPEN:/dev/null
	filter output tcp dport "$port" counter drop
	mkfifo pipe
	exec 3<>pipe
	head -c 65536 /dev/zero >pipe
	start_after 'exec 2>pipe 3<&-' -v -c 2 /nosuch/x occupied \
		"192.0.2.2:$port" free
	waiter=$pid
	pass_time 2300
	check "no SYN yet" [ "$(counts)" = 0 ]
	start sh -c 'exec cat <&3' >messages
	wait_until has_counted 1
	unfilter
	wait_until grep -q "192.0.2.2:$port: Connection accepted" messages
	check_not "free" grep -q "free after" messages
	kill "$waiter"
}

nstest_a_probe_from_afar_leaves_no_trace() {
	second_machine
	free_port
	need socat
	# shellcheck disable=SC2086
	start $there socat -d -d -u "TCP4-LISTEN:$port,fork" OPEN:/dev/null \
		2>>socat.log
	wait_until grep -q "listening on" socat.log
	filter output tcp flags '&' '(syn|ack|rst|fin) == syn' counter
	filter output tcp flags '&' '(syn|ack|rst|fin) == ack' counter
	filter output tcp flags '&' 'rst == rst' counter
	run -t 1 "192.0.2.2:$port" free
	is_status 1
	is_err "Port $port not free on 192.0.2.2."
	run "192.0.2.2:$port" occupied
	is_status 0
	# shellcheck disable=SC2046
	set -- $(counts)
	check "SYN, ACK and RST: $*" \
		[ "$1 0 $1" = "$1 $2 $3" -a "$1" -gt 19 ]
	for where in "" "$there"; do
		$where cat /proc/net/tcp >sockets
		check_not "$where: none is left" grep -q \
			"$(printf ':%04X [^ ]* 0[^A]' "$port")" sockets
		check_not "$where: none is left" grep -q \
			"$(printf ':%04X 0[^A] ' "$port")" sockets
	done
	connect_once "TCP4:192.0.2.2:$port"
	check "none was accepted" [ "$(accepted)" = 1 ]
}

is_elsewhere() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/$$/ns/net)" ]
}

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
	for target in "localhost:$port" "127.0.0.1:$port" "0.0.0.0:$port" /s; do
		# shellcheck disable=SC2086
		run -t 5 $target occupied -- /busybox echo reached
		is_status 0
		is_out reached
		is_err ''
		# shellcheck disable=SC2086
		run -t .1 $target free
		is_status 1
	done
	run "localhost:$port" assert-free
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	run -t .1 "localhost:http" free
	is_status 2
	run "127.0.0.1:$port" find
	is_status 1
	is_err "Port $port is in use on 127.0.0.1."
	for reserve in '' -r; do
		# shellcheck disable=SC2086
		run $reserve 0 localhost:0 find
		is_status 0
		check "two ports" [ "$(sort -u out | wc -l)" = 2 ]
	done
	free_port
	run -t 5 "localhost:$port" "[::1]:$port" /nosuch free
	is_status 0
	run -t .2 "localhost:$port" occupied
	is_status 1
	is_err "Port $port not bound on localhost."
	run -t .2 "db:$port" occupied
	is_status 1
	err_has "^Port $port not bound on db\. \(.*\)\$"
	run "localhost:$port" free -- nosuch
	is_status 127
	is_err "portend: nosuch: No such file or directory"
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
	check "all is well: $(tail -n 1 out)" grep -qE \
		'^[3-9][0-9] passed, 0 failed, [0-9]+ skipped$' out
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

# Runs one test in this shell, which ends with it and then tells the runner.
run_test() {
	test=$1
	dir=$suite/$test
	pid='' pids=''
	read -r shell _ </proc/self/stat
	trap 'status=$?; end_started; end_test "$status"' EXIT
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
	if ! unshare -n -m ip link set lo up; then
		echo "needs root, unshare and ip" >"$suite/$test.skip"
		end_test 77
	else
		exec unshare -n -m "$self" --in-namespace "$suite" "$test"
	fi
}

# Starts a test.
launch() {
	(
		exec </dev/null >"$suite/$1.log" 2>&1 9>&-
		case $1 in
		ns*) run_in_namespace "$1" ;;
		*) run_test "$1" ;;
		esac
	) &
	running="$running $1:$!"
}

# Starts a test that failed once more: beside others it may have been too slow.
launch_again() {
	: >"$suite/$1.again"
	rm "$suite/$1.status"
	mv "$suite/$1" "$suite/$1.first"
	echo "# $1 failed, and is tried once more:"
	grep '^#' "$suite/$1.log"
	launch "$1"
	under_way=$((under_way + 1))
}

# Prints the results that are there, in the order of the tests.
report() {
	while [ "$left" ]; do
		test=${left%% *}
		[ -s "$suite/$test.status" ] || break
		read -r status <"$suite/$test.status"
		if [ "$status" != 0 ] && [ "$status" != 77 ] &&
			[ ! -e "$suite/$test.again" ]; then
			launch_again "$test"
			break
		fi
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
if [ "${1-}" = --in-namespace ]; then
	suite=$2
	ip link set lo up
	run_test "$3"
fi

LC_ALL=C
export LC_ALL
self=$(dirname "$0")
self=$(cd "$self" && pwd)/${0##*/}
# shellcheck disable=SC2086
PORTEND=$(absolute ${PORTEND:-./portend})
PORTEND=${PORTEND% }
export PORTEND
$PORTEND -V >/dev/null || {
	echo "tests.sh: $PORTEND cannot be run: try make" >&2
	exit 1
}
left=$(choose "$@" | tr '\n' ' ')
passed=0 failed=0 skipped=0 number=0 running='' under_way=0
suite=$(mktemp -d "${TMPDIR:-/tmp}/portend.XXXXXX") || exit 1
chmod 755 "$suite"
trap 'end_tests; trap - EXIT; exit 130' INT TERM HUP
trap end_tests EXIT
mkfifo "$suite/done"
exec 9<>"$suite/done"
# shellcheck disable=SC2086
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
