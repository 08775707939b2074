/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef QBHELPER_H
#define QBHELPER_H

#include <stdbool.h>

/* Fixed when it is built, see Makefile; nothing a caller does can change them. */
#if !defined(PYTHON) || !defined(MODULE_DIR) || !defined(PACKAGE_DIR)
#error "build this with make: PYTHON, MODULE_DIR and PACKAGE_DIR are needed"
#endif

/* Fixed: no caller chooses whom we ask. */
#define BROKER_SOCKET "/run/qbhelper/broker.sock"

/* What is asked: a port on `bridge` (shorter than IFNAMSIZ), its TAP to be handed over on socket `fd`. */
struct request {
	bool use_vnet;
	const char *bridge;
	int fd;
};

/* Print one line on stderr and end with exit status 1. */
__attribute__((noreturn, format(printf, 1, 2)))
void refuse(const char *format, ...);

bool in_bounding_set(unsigned long capability);

/* No broker and no privilege: say which of the possible reasons it is, and what to do about it. */
__attribute__((noreturn))
void explain_missing_privilege(void);

/* Refuse unless what would run with privilege is root's, and nobody else could put something in its place. */
void check_installation(void);

/* Have the broker make the port, hand it over and end.  Returns only if there is no broker, or, for who can do without,
 * if there is none for this network namespace. */
void ask_broker(struct request request, bool can_do_without);

#endif
