# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make            build/bin: qbhelper, qbhelperd and qbhelperctl, which run the Python core of this tree
#   make install    prefix=/usr/local DESTDIR=...: programs, modules, manual pages, completions, with no mode bit but the
#                   ordinary ones: setuid or a file capability is the administrator's, or the packager's, to give
#   make uninstall  the same variables: takes away what that has put there
#   make clean
#
# The native part knows three paths, fixed here and now, so that no caller can choose them.

prefix      = /usr/local
bindir      = $(prefix)/bin
sbindir     = $(prefix)/sbin
libdir      = $(prefix)/lib
moduledir   = $(libdir)/qbhelper
mandir      = $(prefix)/share/man
bashcompdir = $(prefix)/share/bash-completion/completions
zshcompdir  = $(prefix)/share/zsh/site-functions
fishcompdir = $(prefix)/share/fish/vendor_completions.d
BUILD       = build

PYTHON      = /usr/bin/python3
# Where the interpreter has python-prctl; -S keeps it from looking there by itself.
PACKAGE_DIR := $(shell $(PYTHON) -I -c 'import os, prctl; print(os.path.dirname(os.path.abspath(prctl.__file__)))')

# Linked statically with musl where there is musl-gcc: QEMU waits several times as long for a program that does nothing
# with glibc, which loads a library and asks the CPU what it can do, slowly in a virtual machine (./dev bench).  And a
# program that may get privilege has no loader then that its caller's environment speaks to.  `make CC=cc` links as usual.
ifeq ($(origin CC),default)
ifneq ($(shell command -v musl-gcc),)
CC           = musl-gcc
# It knows no static PIE by itself: hence the start files, and no dynamic linker.
MUSL        := $(shell sed -n 's|.*"\(.*/\)musl-gcc.specs".*|\1|p' "$$(command -v musl-gcc)")
LIBC        = -idirafter /usr/include -idirafter /usr/include/$(shell cc -print-multiarch)
LIBC_LD     = -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text $(MUSL)rcrt1.o $(MUSL)crti.o $(MUSL)crtn.o
endif
endif
LIBC_LD     ?= -pie

CFLAGS      ?= -O2 -g
HARDENING   = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
HARDENING_LD = -Wl,-z,relro,-z,now,-z,noexecstack
WARNINGS    = -Wall -Wextra -Wconversion
COMPILE     = $(CC) -std=c11 $(WARNINGS) $(LIBC) $(HARDENING) $(CPPFLAGS) $(CFLAGS) \
              -DPYTHON='"$(PYTHON)"' -DPACKAGE_DIR='"$(PACKAGE_DIR)"'
LINK        = $(LDFLAGS) $(HARDENING_LD) $(LIBC_LD)

NATIVE      = $(wildcard qbhelper/native/*.c)
MODULES     = $(wildcard qbhelper/*.py qbhelper/*/*.py qbhelper/*/*/*.py)
PAGES       = $(wildcard docs/man/*.[1-8])
SECTIONS    = $(sort $(subst .,,$(suffix $(PAGES))))
COMPLETIONS = packaging/completions

all: $(BUILD)/bin/qbhelper $(BUILD)/bin/qbhelperd $(BUILD)/bin/qbhelperctl compiled

# What is built depends on where the tree lies; this file changes when it is moved.
$(BUILD)/paths: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(PYTHON) $(PACKAGE_DIR) $(CURDIR)' | cmp -s - $@ || echo '$(CC) $(PYTHON) $(PACKAGE_DIR) $(CURDIR)' >$@

$(BUILD)/bin/qbhelper: $(NATIVE) qbhelper/native/qbhelper.h Makefile $(BUILD)/paths
	@$(check-prctl)
	mkdir -p $(@D)
	$(COMPILE) -DMODULE_DIR='"$(CURDIR)"' -o $@ $(NATIVE) $(LINK)

$(BUILD)/bin/qbhelperd $(BUILD)/bin/qbhelperctl: $(BUILD)/bin/%: packaging/%.in Makefile $(BUILD)/paths
	mkdir -p $(@D)
	sed -e 's|@PYTHON@|$(PYTHON)|' -e 's|@MODULE_DIR@|$(CURDIR)|' $< >$@
	chmod 0755 $@

# The helper runs as its caller, who can't write the byte code, and parsing the source takes longer than
# all else together.
compiled: $(MODULES)
	$(PYTHON) -m compileall -q qbhelper

# $(call put,DIRECTORY,MODE,FILES): FILE.install becomes FILE.  Directories are 0755 whatever the umask is.
put = umask 022 && install -d $(DESTDIR)$(1) && for file in $(3); do \
        name=$$(basename $$file .install); install -m $(2) $$file $(DESTDIR)$(1)/$$name || exit 1; done

install: $(NATIVE) $(MODULES)
	@$(check-prctl)
	mkdir -p $(BUILD)
	$(COMPILE) -DMODULE_DIR='"$(moduledir)"' -o $(BUILD)/qbhelper.install $(NATIVE) $(LINK)
	install -d -m 0755 $(DESTDIR)$(bindir)
	install -m 0755 $(BUILD)/qbhelper.install $(DESTDIR)$(bindir)/qbhelper
	sed -e 's|@PYTHON@|$(PYTHON)|' -e 's|@MODULE_DIR@|$(moduledir)|' packaging/qbhelperctl.in >$(BUILD)/qbhelperctl.install
	install -m 0755 $(BUILD)/qbhelperctl.install $(DESTDIR)$(bindir)/qbhelperctl
	install -d -m 0755 $(DESTDIR)$(sbindir)
	sed -e 's|@PYTHON@|$(PYTHON)|' -e 's|@MODULE_DIR@|$(moduledir)|' packaging/qbhelperd.in >$(BUILD)/qbhelperd.install
	install -m 0755 $(BUILD)/qbhelperd.install $(DESTDIR)$(sbindir)/qbhelperd
	$(foreach number,$(SECTIONS),$(call put,$(mandir)/man$(number),0644,$(filter %.$(number),$(PAGES))) &&) true
	$(call put,$(bashcompdir),0644,$(COMPLETIONS)/qbhelperctl.bash)
	$(call put,$(zshcompdir),0644,$(COMPLETIONS)/_qbhelperctl)
	$(call put,$(fishcompdir),0644,$(COMPLETIONS)/qbhelperctl.fish)
	umask 022 && for module in $(MODULES); do install -D -m 0644 $$module $(DESTDIR)$(moduledir)/$$module || exit 1; done
	umask 022 && $(PYTHON) -m compileall -q -f --invalidation-mode unchecked-hash -s "$(DESTDIR)" $(DESTDIR)$(moduledir)/qbhelper

clean:
	rm -rf $(BUILD)
	find qbhelper -name __pycache__ -type d -exec rm -rf {} +

check-prctl = test -n '$(PACKAGE_DIR)' || { echo 'python-prctl is missing for $(PYTHON): apt install python3-prctl' >&2; exit 1; }

uninstall:
	rm -f $(DESTDIR)$(bindir)/qbhelper $(DESTDIR)$(bindir)/qbhelperctl $(DESTDIR)$(sbindir)/qbhelperd
	rm -f $(foreach page,$(PAGES),$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	rm -f $(DESTDIR)$(bashcompdir)/qbhelperctl.bash $(DESTDIR)$(zshcompdir)/_qbhelperctl $(DESTDIR)$(fishcompdir)/qbhelperctl.fish
	rm -rf $(DESTDIR)$(moduledir)

FORCE:

.PHONY: all compiled install uninstall clean FORCE
