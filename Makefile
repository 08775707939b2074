# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make            build/bin/qbhelper, which runs the Python core of this tree
#   make install    prefix=/usr/local DESTDIR=...: both parts, with no mode bit but the ordinary ones:
#                   setuid or a file capability is the administrator's, or the packager's, to give
#   make clean
#
# The native part knows three paths, fixed here and now, so that no caller can choose them.

prefix      = /usr/local
bindir      = $(prefix)/bin
libdir      = $(prefix)/lib
moduledir   = $(libdir)/qbhelper
BUILD       = build

PYTHON      = /usr/bin/python3
# Where the interpreter has python-prctl; -S keeps it from looking there by itself.
PACKAGE_DIR := $(shell $(PYTHON) -I -c 'import os, prctl; print(os.path.dirname(os.path.abspath(prctl.__file__)))')

CFLAGS      ?= -O2 -g
HARDENING   = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
HARDENING_LD = -pie -Wl,-z,relro,-z,now,-z,noexecstack
WARNINGS    = -Wall -Wextra -Wconversion
COMPILE     = $(CC) -std=c11 $(WARNINGS) $(HARDENING) $(CPPFLAGS) $(CFLAGS) \
              -DPYTHON='"$(PYTHON)"' -DPACKAGE_DIR='"$(PACKAGE_DIR)"'
LINK        = $(LDFLAGS) $(HARDENING_LD)

NATIVE      = qbhelper/native/qbhelper.c
MODULES     = $(wildcard qbhelper/*.py qbhelper/*/*.py)

all: $(BUILD)/bin/qbhelper compiled

# A path in the program changes what is built, but no file: hence the stamp.
$(BUILD)/bin/qbhelper: $(NATIVE) Makefile
	@$(check-prctl)
	mkdir -p $(@D)
	$(COMPILE) -DMODULE_DIR='"$(CURDIR)"' -o $@ $< $(LINK)

# The helper runs as its caller, who can't write the byte code, and parsing the source takes longer than
# all else together.
compiled: $(MODULES)
	$(PYTHON) -m compileall -q qbhelper

install: $(NATIVE) $(MODULES)
	@$(check-prctl)
	mkdir -p $(BUILD)
	$(COMPILE) -DMODULE_DIR='"$(moduledir)"' -o $(BUILD)/qbhelper.install $(NATIVE) $(LINK)
	install -d $(DESTDIR)$(bindir)
	install -m 0755 $(BUILD)/qbhelper.install $(DESTDIR)$(bindir)/qbhelper
	for module in $(MODULES); do install -D -m 0644 $$module $(DESTDIR)$(moduledir)/$$module || exit 1; done
	$(PYTHON) -m compileall -q -f --invalidation-mode unchecked-hash -s "$(DESTDIR)" $(DESTDIR)$(moduledir)/qbhelper

clean:
	rm -rf $(BUILD)
	find qbhelper -name __pycache__ -type d -exec rm -rf {} +

check-prctl = test -n '$(PACKAGE_DIR)' || { echo 'python-prctl is missing for $(PYTHON): apt install python3-prctl' >&2; exit 1; }

.PHONY: all compiled install clean
