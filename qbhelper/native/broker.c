/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The brokered way: one datagram to the broker, one back with the TAP's fd, and that fd on to QEMU.
 * The form of the datagrams is in docs/protocol.md; qbhelper/wire.py is the other end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "qbhelper.h"

#define SECONDS_TO_WAIT 8	/* for all together, with time left to say so before the alarm of main(), which is mute */
#define SECONDS_TO_CONNECT 1	/* to a socket that nobody listens on */
#define NANOSECONDS_BETWEEN 20000000

static const char MAGIC[4] = { 'Q', 'B', 'H', '1' };
enum { VERB_GRANT = 1, FLAG_VNET_HEADER = 1, CODE_GRANTED = 0, CODE_BUSY = 5, CODE_ELSEWHERE = 7, MESSAGE_MAX = 1000 };

struct question {
	char magic[4];
	uint16_t verb, flags, queues, zero;
	char bridge[IFNAMSIZ];
};

struct reply {
	char magic[4];
	uint16_t code, fds;
	char interface[IFNAMSIZ];
	char message[MESSAGE_MAX + 1];
};

union fd_message {	/* as large and as aligned as cmsg(3) wants it */
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

enum outcome { NO_BROKER, NOT_LISTENING, TRY_AGAIN, ANSWERED };

/* The one fd that came with a message, -1 if there is none. */
static int received_fd(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int fd;

	if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof fd) || (message->msg_flags & MSG_CTRUNC) != 0)
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

/* Microseconds since the first call. */
static int64_t elapsed(void)
{
	static struct timespec start;
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		refuse("failed to read the clock: %s", strerror(errno));
	if (start.tv_sec == 0 && start.tv_nsec == 0)
		start = now;
	return (now.tv_sec - start.tv_sec) * INT64_C(1000000) + (now.tv_nsec - start.tv_nsec) / 1000;
}

/* Have the next call wait no longer than there is time; whether there is any. */
static bool limit_wait(int broker, int option)
{
	int64_t left = SECONDS_TO_WAIT * INT64_C(1000000) - elapsed();
	struct timeval wait = { .tv_sec = left / 1000000, .tv_usec = left % 1000000 };

	if (left <= 0)	/* as a limit, 0 is none */
		return false;
	if (setsockopt(broker, SOL_SOCKET, option, &wait, sizeof wait) != 0)
		refuse("failed to set a time limit: %s", strerror(errno));
	return true;
}

static enum outcome ask_once(const struct question *question, struct reply *reply, int *tap)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = BROKER_SOCKET };
	union fd_message control;
	struct iovec data = { .iov_base = reply, .iov_len = sizeof *reply - 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
	};
	int broker = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (broker == -1)
		refuse("failed to open a socket: %s", strerror(errno));
	if (limit_wait(broker, SO_SNDTIMEO) && connect(broker, (const struct sockaddr *)&address, sizeof address) != 0) {
		int error = errno;
		close(broker);
		if (error == EAGAIN || error == EINTR)	/* its backlog is full; or we were stopped meanwhile (signal(7)) */
			return TRY_AGAIN;
		return error == ECONNREFUSED ? NOT_LISTENING : NO_BROKER;
	}
	ssize_t length = -1;
	if (send(broker, question, sizeof *question, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof *question &&
	    limit_wait(broker, SO_RCVTIMEO))
		length = recvmsg(broker, &message, MSG_CMSG_CLOEXEC);
	close(broker);
	if (length <= 0)	/* killed while it had our question: whatever it made died with it; or there is no time left */
		return TRY_AGAIN;
	*tap = received_fd(&message);
	((char *)reply)[length] = '\0';
	if ((size_t)length < offsetof(struct reply, message) || memcmp(reply->magic, MAGIC, sizeof MAGIC) != 0 ||
	    (message.msg_flags & MSG_TRUNC) != 0 || reply->fds != (*tap != -1) || (reply->code == CODE_GRANTED) != (*tap != -1))
		refuse("the broker gave an answer that this helper does not know; restart it: systemctl restart qbhelper");
	return reply->code == CODE_BUSY ? TRY_AGAIN : ANSWERED;
}

/* One zero byte that carries exactly one fd: QEMU takes no more, libvirt no less. */
static void hand_over(int fd, int tap)
{
	char zero = 0;
	struct iovec data = { .iov_base = &zero, .iov_len = sizeof zero };
	union fd_message control = { .header = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof tap),
	} };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof tap),
	};

	memcpy(CMSG_DATA(&control.header), &tap, sizeof tap);
	if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		refuse("failed to write fd to unix socket: %s; the program that asked is gone, or is not QEMU", strerror(errno));
	_exit(EXIT_SUCCESS);
}

/* A setuid bit without CAP_NET_ADMIN (the bounding set, a security module) is good for nothing, but the broker would take
 * us for root: what it hears of us are our effective ids (SO_PEERCRED). */
static void be_the_caller(void)
{
	uid_t caller = getuid();
	gid_t group = getgid();

	/* Only if needed: under -sandbox elevateprivileges=deny the mere call is death. */
	if (getegid() != group && setresgid(group, group, group) != 0)
		refuse("failed to drop privileges: setresgid: %s", strerror(errno));
	if (geteuid() != caller && setresuid(caller, caller, caller) != 0)
		refuse("failed to drop privileges: setresuid: %s", strerror(errno));
}

void ask_broker(struct request request, bool can_do_without)
{
	struct question question = {
		.verb = VERB_GRANT, .flags = request.use_vnet ? FLAG_VNET_HEADER : 0, .queues = 1,
	};
	struct reply reply = { .message = "the broker is not answering" };
	const struct timespec pause = { .tv_nsec = NANOSECONDS_BETWEEN };
	int tap = -1;

	if (!can_do_without)
		be_the_caller();
	memcpy(question.magic, MAGIC, sizeof MAGIC);
	strncpy(question.bridge, request.bridge, sizeof question.bridge - 1);
	while (elapsed() < SECONDS_TO_WAIT * INT64_C(1000000)) {
		switch (ask_once(&question, &reply, &tap)) {
		case NO_BROKER:
			return;
		case NOT_LISTENING:	/* between two brokers, or one was killed and left its socket behind */
			if (elapsed() > SECONDS_TO_CONNECT * INT64_C(1000000))
				return;
			break;
		case TRY_AGAIN:
			break;
		case ANSWERED:
			if (reply.code == CODE_GRANTED)
				hand_over(request.fd, tap);
			if (reply.code == CODE_ELSEWHERE && can_do_without)	/* it is a broker of another network than ours */
				return;
			refuse("%s", reply.message);
		}
		nanosleep(&pause, NULL);
	}
	refuse("%s (%d seconds); see its log (journalctl -u qbhelper), or as root: systemctl restart qbhelper.socket",
	       reply.message, SECONDS_TO_WAIT);
}
