/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How this program was installed: whether what it starts can be trusted, and why it has no privilege.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "qbhelper.h"

#define START_BROKER "as root: systemctl start qbhelper.socket"
#define NO_TUN "failed to create tun device: "	/* the original's words where privilege is missing */

/* Each directory on the way counts: who can rename one can put another in its place. */
static void check_path(const char *path)
{
	char part[PATH_MAX];
	struct stat file;

	for (size_t length = 1; length <= strlen(path); length++) {
		if (path[length] != '/' && path[length] != '\0')
			continue;
		memcpy(part, path, length);
		part[length] = '\0';
		if (lstat(part, &file) != 0)
			refuse("failed to start %s: %s; install qbhelper again", path, strerror(errno));
		bool others = !S_ISLNK(file.st_mode) && (file.st_mode & (S_IWGRP | S_IWOTH)) != 0;
#ifdef STORE
		/* A group may add to NixOS's /nix/store, but it is sticky: what is root's in it stays root's.  No other
		 * directory is let off so: a file beside the interpreter, or above it, has it look for modules elsewhere. */
		if (strcmp(part, STORE) == 0 && path[length] == '/' && (file.st_mode & (S_ISVTX | S_IWOTH)) == S_ISVTX)
			others = false;
#endif
		if (file.st_uid != 0 || others)
			refuse("failed to start %s: %s is not root's, or others may write to it; "
			       "as root: make install, where only root may write", path, part);
	}
}

void check_installation(void)
{
	static const char *const ours[] = {
		PYTHON, PACKAGE_DIR, MODULE_DIR "/qbhelper/standalone.py",
		MODULE_DIR "/qbhelper/kernel", MODULE_DIR "/qbhelper/policy", MODULE_DIR "/qbhelper/__pycache__",
		MODULE_DIR "/qbhelper/kernel/__pycache__", MODULE_DIR "/qbhelper/policy/__pycache__",
		MODULE_DIR "/qbhelper/kernel/sieve", MODULE_DIR "/qbhelper/kernel/sieve/__pycache__",
	};
	char real[PATH_MAX];

	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		if (realpath(ours[i], real) == NULL) {
			/* Without byte code it is slower, but not less safe. */
			if (errno == ENOENT && strstr(ours[i], "/__pycache__") != NULL)
				continue;
			refuse("failed to start %s: %s; install qbhelper again with make install", ours[i], strerror(errno));
		}
		check_path(ours[i]);	/* the links on the way, and ... */
		check_path(real);	/* ... where they lead */
	}
}

void explain_missing_privilege(void)
{
	char path[PATH_MAX] = "qbhelper";
	struct stat file;
	struct statvfs system;
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

	if (length > 0)
		path[length] = '\0';
	if (!in_bounding_set(CAP_NET_ADMIN))
		refuse(NO_TUN "%s: CAP_NET_ADMIN is not in the bounding set, as in most containers; "
		       "mount the broker's " BROKER_SOCKET " into the container", strerror(EPERM));
	if (geteuid() == 0)
		refuse(NO_TUN "%s: this root was left without CAP_NET_ADMIN (securebits, or a capability set that was cut); "
		       START_BROKER ", or start QEMU from a login of root's", strerror(EPERM));
	if (stat("/proc/self/exe", &file) != 0 || statvfs("/proc/self/exe", &system) != 0)
		refuse(NO_TUN "%s: this process has no CAP_NET_ADMIN, and /proc can't be read to say why; "
		       START_BROKER, strerror(EPERM));
	bool setuid_bit = (file.st_mode & S_ISUID) != 0;
	if (!setuid_bit && getxattr("/proc/self/exe", "security.capability", NULL, 0) <= 0)
		refuse(NO_TUN "%s: no broker answers, and %s is not setuid root and has no file capability; "
		       START_BROKER ", or: setcap cap_net_admin=ep %s", strerror(EPERM), path, path);
	if (setuid_bit && file.st_uid != 0)
		refuse(NO_TUN "%s: %s is setuid but not owned by root; "
		       START_BROKER ", or: chown root %s && chmod 4755 %s", strerror(EPERM), path, path, path);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		refuse(NO_TUN "%s: no_new_privs is set, so the %s of %s has no effect; "
		       START_BROKER ", or start QEMU without -sandbox",
		       strerror(EPERM), setuid_bit ? "setuid bit" : "file capability", path);
	if ((system.f_flag & ST_NOSUID) != 0)
		refuse(NO_TUN "%s: %s is on a file system mounted nosuid; "
		       START_BROKER ", or install it elsewhere", strerror(EPERM), path);
	refuse(NO_TUN "%s: the %s of %s had no effect: it does not give CAP_NET_ADMIN, the process is traced, or it is "
	       "in another user namespace than the file; " START_BROKER, strerror(EPERM), setuid_bit ? "setuid bit" : "file capability", path);
}
