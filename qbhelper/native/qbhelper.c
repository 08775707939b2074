/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * qbhelper: what QEMU starts to get a place on a bridge.
 *
 * The kernel gives no privilege to scripts (execve(2)), so this program takes it, reduces it to
 * CAP_NET_ADMIN under the caller's own ids, and starts the Python core, which decides and acts.
 * It trusts nothing that it was given: no environment, directory, limit, signal, fd or word.
 * main() at the end tells the order; docs/privileges.md tells who holds what, when.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "qbhelper.h"

#define START                                                            \
	"import sys\n"                                                   \
	"sys.path += '" MODULE_DIR "', '" PACKAGE_DIR "'\n"              \
	"try:\n"                                                         \
	"    from qbhelper.standalone import main\n"                     \
	"except BaseException as error:\n"                               \
	"    sys.exit(f'failed to load the Python core: {error}; install qbhelper and python-prctl again')\n" \
	"main(sys.argv[1:])\n"

#define SOCKET_WANTED "QEMU and libvirt pass one"
#define HAND_OVER_FD 3	/* where the Python core finds QEMU's socket */
#define NANOSECONDS_TO_READ 100000000	/* what we said */
#define SECONDS_TO_LIVE 10	/* QEMU stands still, without a limit of its own, while we run */

static const char USAGE[] = "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd";

struct capabilities {
	__u64 effective, permitted, inheritable;
};

static const __u64 NET_ADMIN = 1ULL << CAP_NET_ADMIN;
static const __u64 SETPCAP = 1ULL << CAP_SETPCAP;

/* ---- messages: one line on stderr, nothing in it that could drive a terminal -------------- */

/* Then any byte of a message would pass for a hand-over. */
static bool stderr_is_the_socket;

/* libvirt has a thread read our message from a pipe to its end, and looks at what that has when our socket is closed.
 * So whoever reads is given a tenth of a second; then the pipe ends, by which that thread knows that this was all (before,
 * what it has is no string); and some milliseconds later the socket. */
static void await_reader(void)
{
	const struct timespec pause = { .tv_nsec = NANOSECONDS_TO_READ / 100 };
	struct stat file;
	int unread = 1;

	if (fstat(STDERR_FILENO, &file) != 0 || !S_ISFIFO(file.st_mode))
		return;
	for (int i = 0; i < 100 && unread > 0; i++) {
		nanosleep(&pause, NULL);
		if (ioctl(STDERR_FILENO, FIONREAD, &unread) != 0)
			return;
	}
	close(STDERR_FILENO);
	for (int i = 0; i < 3; i++)
		nanosleep(&pause, NULL);
}

void refuse(const char *format, ...)
{
	char line[2048];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (length < 0)
		_exit(EXIT_FAILURE);
	size_t end = (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
	for (size_t i = 0; i < end; i++)
		if (line[i] < ' ' || line[i] > '~')	/* also UTF-8: a terminal may take U+009B for ESC [ */
			line[i] = '?';
	line[end] = '\n';
	if (stderr_is_the_socket)
		_exit(EXIT_FAILURE);
	/* Nobody is left to tell if this fails; the exit status still says it. */
	ssize_t ignored = write(STDERR_FILENO, line, end + 1);
	(void)ignored;
	await_reader();
	_exit(EXIT_FAILURE);
}

/* ---- the state we were started in --------------------------------------------------------- */

static void open_standard_fds(void)
{
	/* Otherwise the next file opened becomes stdin or stderr, and gets what is meant for them. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd)
			_exit(EXIT_FAILURE);
}

static void ignore_signals(void)
{
	/* Python would answer SIGINT with a traceback; a closed pipe or RLIMIT_FSIZE shall be an error to report, not a
	 * death without a word; and our message must not stop us (stty tostop). */
	static const int ignored[] = { SIGINT, SIGPIPE, SIGXFSZ, SIGTTOU };

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
}

static void begin_to_bound_our_time(void)
{
	sigset_t none;

	signal(SIGALRM, SIG_DFL);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)	/* QEMU blocks SIGALRM and SIGCHLD */
		refuse("failed to unblock signals: %s", strerror(errno));
	/* The timer survives execve: it bounds the Python core too. */
	alarm(SECONDS_TO_LIVE);
}

/* What the caller ignores Python would ignore, too. */
static void reset_signals(void)
{
	static const char as_new[64];	/* more than struct sigaction of any kernel; SIG_DFL is 0 */

	for (int number = 1; number < _NSIG; number++)	/* signal(2) of a C library keeps some for itself */
		syscall(SYS_rt_sigaction, number, as_new, NULL, _NSIG / 8);	/* SIGKILL and SIGSTOP need not */
	ignore_signals();
}

/* ---- what is asked ------------------------------------------------------------------------ */

static int parse_fd(const char *digits)
{
	char *end;

	errno = 0;
	long number = strtol(digits, &end, 10);
	/* strtol takes blanks and signs, the original takes anything: `--fd=abc' was fd 0. */
	if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || errno != 0 || number > INT_MAX)
		refuse("%s (`--fd=%s' is not the number of a file descriptor)", USAGE, digits);
	return (int)number;
}

static bool is_stderr(int fd)
{
	struct stat one, other;

	return fstat(fd, &one) == 0 && fstat(STDERR_FILENO, &other) == 0 && S_ISSOCK(one.st_mode) &&
		one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static struct request parse(int argc, char *argv[])
{
	struct request request = { .use_vnet = false, .bridge = NULL, .fd = -1 };

	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], "--fd=", 5) == 0) {
			request.fd = parse_fd(argv[i] + 5);
			stderr_is_the_socket |= is_stderr(request.fd);
		}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--use-vnet") == 0)
			request.use_vnet = true;
		else if (strncmp(argv[i], "--br=", 5) == 0)
			request.bridge = argv[i] + 5;
		else if (strncmp(argv[i], "--fd=", 5) != 0)
			refuse("%s (`%s' is not known; QEMU starts this program: "
			       "-netdev bridge,br=br0,helper=/path/to/qbhelper)", USAGE, argv[i]);
	}
	if (request.bridge == NULL)
		refuse("%s (`--br=' is missing)", USAGE);
	if (request.fd == -1)
		refuse("%s (`--fd=' is missing)", USAGE);
	/* Never cut a name: CVE-2019-13164 was one name for the access list, another for the kernel. */
	if (strlen(request.bridge) >= IFNAMSIZ)
		refuse("name `%s' too long: %zu; an interface name has at most %d bytes",
		       request.bridge, strlen(request.bridge), IFNAMSIZ - 1);
	return request;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof value;

	if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0)
		refuse("failed to write fd to unix socket: %s (--fd=%d); " SOCKET_WANTED, strerror(errno), fd);
	return value;
}

/* Before anything is created: a UDP socket would swallow the fd, and sendmsg(2) call it sent. */
static void check_socket(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof peer;

	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
	    getpeername(fd, (struct sockaddr *)&peer, &size) != 0)
		refuse("failed to write fd to unix socket: --fd=%d is not a connected AF_UNIX stream socket; " SOCKET_WANTED, fd);
}

/* ---- capabilities ------------------------------------------------------------------------- */

static struct capabilities read_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct __user_cap_data_struct data[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	if (syscall(SYS_capget, &header, data) != 0)
		refuse("failed to read capabilities: %s", strerror(errno));
	return (struct capabilities){
		.effective = data[0].effective | (__u64)data[1].effective << 32,
		.permitted = data[0].permitted | (__u64)data[1].permitted << 32,
		.inheritable = data[0].inheritable | (__u64)data[1].inheritable << 32,
	};
}

static void write_capabilities(struct capabilities set)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
	struct __user_cap_data_struct data[2] = {
		{ (__u32)set.effective, (__u32)set.permitted, (__u32)set.inheritable },
		{ (__u32)(set.effective >> 32), (__u32)(set.permitted >> 32), (__u32)(set.inheritable >> 32) },
	};

	if (syscall(SYS_capset, &header, data) != 0)
		refuse("failed to drop privileges: capset: %s", strerror(errno));
}

bool in_bounding_set(unsigned long capability)
{
	return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
}

/* ---- becoming the caller with CAP_NET_ADMIN and nothing else ------------------------------ */

/* As the caller already: closing a file of theirs may take as long as they like. */
static void keep_only_the_socket(int fd)
{
	/* Out of the way of 0-2 and HAND_OVER_FD first; its old number must not hold it open. */
	int safe = fcntl(fd, F_DUPFD, HAND_OVER_FD + 1);
	int null = open("/dev/null", O_RDWR);
	struct stat file;
	/* The core uses no stdin or stdout, and Python will not start with a directory for either. */
	bool no_stderr = stderr_is_the_socket ||
		(fstat(STDERR_FILENO, &file) == 0 && S_ISDIR(file.st_mode));

	if (safe == -1 || null == -1 || dup2(null, STDIN_FILENO) == -1 || dup2(null, STDOUT_FILENO) == -1 ||
	    (no_stderr && dup2(null, STDERR_FILENO) == -1) ||
	    dup2(safe, HAND_OVER_FD) == -1 || syscall(SYS_close_range, HAND_OVER_FD + 1, ~0U, 0) != 0)
		refuse("failed to close inherited files: %s; Linux 5.9 or later is needed", strerror(errno));
	stderr_is_the_socket = false;
}

/* A caller's limits could stop Python, or execve itself, half way. */
static void reset_limits(void)
{
	static const struct {
		int resource;
		const char *name;
		rlim_t wanted, least;
	} limits[] = {
		{ RLIMIT_CORE, "core", 0, 0 },
		{ RLIMIT_FSIZE, "fsize", RLIM_INFINITY, 0 },
		{ RLIMIT_NPROC, "nproc", RLIM_INFINITY, 0 },
		{ RLIMIT_NOFILE, "nofile", 1024, 8 },
		{ RLIMIT_STACK, "stack", 8 << 20, 512 << 10 },
		{ RLIMIT_DATA, "data", RLIM_INFINITY, 64 << 20 },
		{ RLIMIT_AS, "as", RLIM_INFINITY, 256 << 20 },
	};

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		struct rlimit now, wanted = { limits[i].wanted, limits[i].wanted };

		if (setrlimit(limits[i].resource, &wanted) == 0)
			continue;
		/* A file capability does not let us raise a hard limit; then up to it, if that is enough. */
		if (getrlimit(limits[i].resource, &now) != 0 || now.rlim_max < limits[i].least)
			refuse("failed to start: the hard limit `%s' is too low; raise it (ulimit -H)", limits[i].name);
		now.rlim_cur = now.rlim_max < limits[i].wanted ? now.rlim_max : limits[i].wanted;
		if (setrlimit(limits[i].resource, &now) != 0)
			refuse("failed to set the limit `%s': %s", limits[i].name, strerror(errno));
	}
}

static void drop_privileges(void)
{
	uid_t caller = getuid();
	gid_t group = getgid();
	struct capabilities have = read_capabilities();

	/* Inheritable first: the kernel takes it only while the bounding set still has it. */
	write_capabilities((struct capabilities){ have.permitted, have.permitted, NET_ADMIN });
	if ((have.permitted & SETPCAP) != 0)	/* not with a file capability; no_new_privs serves there */
		for (unsigned long capability = 0; capability < 64; capability++)
			if (in_bounding_set(capability) && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
				refuse("failed to drop privileges: bounding set: %s", strerror(errno));
	/* Only if needed: under -sandbox elevateprivileges=deny the mere call is death. */
	if (getegid() != group && setresgid(group, group, group) != 0)
		refuse("failed to drop privileges: setresgid: %s", strerror(errno));
	if (geteuid() != caller) {
		if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setresuid(caller, caller, caller) != 0)
			refuse("failed to drop privileges: setresuid: %s", strerror(errno));
		if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
			refuse("failed to drop privileges: root could be had back");
	}
	write_capabilities((struct capabilities){ NET_ADMIN, NET_ADMIN, NET_ADMIN });
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		refuse("failed to drop privileges: prctl: %s", strerror(errno));

	/* Believe none of it: read it back. */
	struct capabilities now = read_capabilities();
	uid_t uid[3];
	gid_t gid[3];
	bool as_meant = now.effective == NET_ADMIN && now.permitted == NET_ADMIN && now.inheritable == NET_ADMIN &&
		getresuid(&uid[0], &uid[1], &uid[2]) == 0 && uid[0] == caller && uid[1] == caller && uid[2] == caller &&
		getresgid(&gid[0], &gid[1], &gid[2]) == 0 && gid[0] == group && gid[1] == group && gid[2] == group &&
		prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	for (unsigned long capability = 0; capability < 64; capability++) {
		as_meant &= (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1) ==
			(capability == CAP_NET_ADMIN);
		as_meant &= (have.permitted & SETPCAP) == 0 || !in_bounding_set(capability);
	}
	if (!as_meant)
		refuse("failed to drop privileges: the kernel did not set what was asked");
}

__attribute__((noreturn))
static void start_python(struct request request)
{
	char bridge[sizeof "--br=" + IFNAMSIZ];
	char fd[sizeof "--fd=" + 10];
	/* -I: no environment, no user site, no cwd; -S: no .pth files; -B: write nothing. */
	char *words[] = { PYTHON, "-I", "-S", "-B", "-c", START, fd, bridge, request.use_vnet ? "--use-vnet" : NULL, NULL };
	char *environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", NULL };

	snprintf(fd, sizeof fd, "--fd=%d", request.fd);
	snprintf(bridge, sizeof bridge, "--br=%s", request.bridge);
	execve(PYTHON, words, environment);
	refuse("failed to start %s: %s; install qbhelper again", PYTHON, strerror(errno));
}

int main(int argc, char *argv[])
{
	open_standard_fds();
	ignore_signals();
	begin_to_bound_our_time();
	if (argc < 1)	/* then argv[1] would be the environment (CVE-2021-4034) */
		refuse("%s (there is no program name)", USAGE);
	struct request request = parse(argc, argv);
	check_socket(request.fd);

	bool privileged = (read_capabilities().permitted & NET_ADMIN) != 0;
	/* The file's own privilege goes before the broker; what a caller like root has anyway does not. */
	if (!privileged || getauxval(AT_SECURE) == 0)
		ask_broker(request, privileged);	/* returns only if there is none for us */
	if (!privileged)
		explain_missing_privilege();
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)	/* no ptrace, no /proc/PID/mem (CVE-2026-41163) */
		refuse("failed to drop privileges: PR_SET_DUMPABLE: %s", strerror(errno));
	if (getuid() != 0)
		check_installation();
	reset_signals();
	reset_limits();
	umask(077);
	if (chdir("/") != 0)
		refuse("failed to enter /: %s; a root directory that can be entered is needed", strerror(errno));
	drop_privileges();
	keep_only_the_socket(request.fd);
	request.fd = HAND_OVER_FD;
	start_python(request);
}
