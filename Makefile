# SPDX-License-Identifier: GPL-2.0-or-later
#
#   make            build/bin: qbhelper, qbhelperd and qbhelperctl, which run the Python core of this tree
#   make install    prefix=/usr/local DESTDIR=...: programs, modules, units, the broker's account, manual pages, completions,
#                   with no mode bit but the ordinary ones: setuid or a file capability is the administrator's to give
#   make uninstall  the same variables: takes away what that has put there
#   make clean
#
# For packages (docs/packaging.md), each with the same variables and none of them part of `install`:
#
#   make installable       compile what `install` puts in place, to be run before it by who is not root
#   make install-policy    /etc/qbhelper/policy.toml, which lets QEMU's access list rule; never over one that is there
#   make install-apparmor  the profiles
#   make install-libvirt   $(bindir)/qemu-bridge-helper: libvirt finds it first
#   make install-qemu      $(libexecdir)/qemu-bridge-helper: QEMU's own, where that is not in the way
#
# The native part knows three paths, fixed here and now, so that no caller can choose them.

prefix      = /usr/local
bindir      = $(prefix)/bin
sbindir     = $(prefix)/sbin
libdir      = $(prefix)/lib
libexecdir  = $(prefix)/libexec
moduledir   = $(libdir)/qbhelper
mandir      = $(prefix)/share/man
bashcompdir = $(prefix)/share/bash-completion/completions
zshcompdir  = $(prefix)/share/zsh/site-functions
fishcompdir = $(prefix)/share/fish/vendor_completions.d
docdir      = $(prefix)/share/doc/qbhelper
unitdir     = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
# The programs read /etc, whatever the prefix.
sysconfdir  = /etc
BUILD       = build

PYTHON      = /usr/bin/python3
# Where the interpreter has python-prctl; -S keeps it from looking there by itself.
PACKAGE_DIR := $(shell $(PYTHON) -I -c 'import os, prctl; print(os.path.dirname(os.path.abspath(prctl.__file__)))')
# Where a package manager has its store, if a group may write there (/nix/store): only Nix's package sets it.
STORE       =

# Linked statically with musl where there is musl-gcc: QEMU waits several times as long for a program that does nothing
# with glibc, which loads a library and asks the CPU what it can do, slowly in a virtual machine (./dev bench).  And a
# program that may get privilege has no loader then that its caller's environment speaks to.  `make CC=cc` links as usual.
ifeq ($(origin CC),default)
ifneq ($(shell command -v musl-gcc),)
CC           = musl-gcc
# It knows no static PIE by itself: hence the start files, and no dynamic linker.
MUSL        := $(shell sed -n 's|.*"\(.*/\)musl-gcc.specs".*|\1|p' "$$(command -v musl-gcc)")
LIBC        = -idirafter /usr/include -idirafter /usr/include/$(shell cc -print-multiarch)
LIBC_LD     = -static -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text,--build-id $(MUSL)rcrt1.o $(MUSL)crti.o $(MUSL)crtn.o
endif
endif
LIBC_LD     ?= -pie

# Ours come first: a distribution's have the last word.
CFLAGS      ?= -O2 -g
FORTIFY     = $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
HARDENING   = $(FORTIFY) -fstack-protector-strong -fstack-clash-protection -fPIE
HARDENING_LD = -Wl,-z,relro,-z,now,-z,noexecstack
WARNINGS    = -Wall -Wextra -Wconversion
# The same program from the same source, wherever it lies.
REPRODUCIBLE = '-ffile-prefix-map=$(CURDIR)=.'
COMPILE     = $(CC) -std=c11 $(WARNINGS) $(LIBC) $(HARDENING) $(REPRODUCIBLE) $(CPPFLAGS) $(CFLAGS) \
              -DPYTHON='"$(PYTHON)"' -DPACKAGE_DIR='"$(PACKAGE_DIR)"' $(if $(STORE),-DSTORE='"$(STORE)"')
LINK        = $(HARDENING_LD) $(LDFLAGS) $(LIBC_LD)

NATIVE      = $(wildcard qbhelper/native/*.c)
# Any depth: a package of modules that is left out is missed only when something imports it.
MODULES     = $(sort $(shell find qbhelper -name '*.py'))
# A daemon's name ends in d, and it goes to sbindir; the other programs are for everybody.
PROGRAMS    = $(notdir $(basename $(wildcard packaging/*.in)))
DAEMONS     = $(filter %d,$(PROGRAMS))
COMMANDS    = $(filter-out %d,$(PROGRAMS))
UNITS       = $(notdir $(wildcard packaging/systemd/qbhelper.*))
SYSUSERS    = $(wildcard packaging/sysusers.d/*)
PAGES       = $(wildcard docs/man/*.[1-8])
SECTIONS    = $(sort $(subst .,,$(suffix $(PAGES))))
COMPLETIONS = packaging/completions
EXAMPLES    = $(wildcard packaging/examples/*)
PROFILES    = $(wildcard packaging/apparmor/qbhelper*)

# What `install` puts in place, as it is there: the same programs for other paths.
INSTALLABLE = $(addprefix $(BUILD)/,$(addsuffix .install,qbhelper $(PROGRAMS) $(UNITS)))

all: $(BUILD)/bin/qbhelper $(addprefix $(BUILD)/bin/,$(PROGRAMS)) compiled

# What is built depends on where the tree lies, where it is to go, and how; these files change when that does.
$(BUILD)/paths: export NOTE = $(COMPILE) $(LINK)
$(BUILD)/paths.install: export NOTE = $(COMPILE) $(LINK) $(moduledir) $(sbindir)
$(BUILD)/paths $(BUILD)/paths.install: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$NOTE" | cmp -s - $@ || printf '%s\n' "$$NOTE" >$@

$(BUILD)/bin/qbhelper: $(NATIVE) qbhelper/native/qbhelper.h Makefile $(BUILD)/paths
	@$(check-prctl)
	@mkdir -p $(@D)
	$(COMPILE) -DMODULE_DIR='"$(CURDIR)"' -o $@ $(NATIVE) $(LINK)

$(BUILD)/qbhelper.install: $(NATIVE) qbhelper/native/qbhelper.h Makefile $(BUILD)/paths.install
	@$(check-prctl)
	$(COMPILE) -DMODULE_DIR='"$(moduledir)"' -o $@ $(NATIVE) $(LINK)

$(BUILD)/bin/%: packaging/%.in Makefile $(BUILD)/paths
	@mkdir -p $(@D)
	sed -e 's|@PYTHON@|$(PYTHON)|' -e 's|@MODULE_DIR@|$(CURDIR)|' $< >$@
	chmod 0755 $@

$(BUILD)/%.install: packaging/%.in Makefile $(BUILD)/paths.install
	sed -e 's|@PYTHON@|$(PYTHON)|' -e 's|@MODULE_DIR@|$(moduledir)|' $< >$@

$(BUILD)/%.install: packaging/systemd/% Makefile $(BUILD)/paths.install
	sed -e 's|@sbindir@|$(sbindir)|' $< >$@

# The helper runs as its caller, who can't write the byte code, and parsing the source takes longer than
# all else together.
compiled: $(MODULES)
	$(PYTHON) -m compileall -q qbhelper

installable: $(INSTALLABLE)

# $(call put,DIRECTORY,MODE,FILES): FILE.install becomes FILE.  Directories are 0755 whatever the umask is.
put = umask 022 && install -d $(DESTDIR)$(1) && for file in $(3); do \
        name=$$(basename $$file .install); install -m $(2) $$file $(DESTDIR)$(1)/$$name || exit 1; done

install: installable $(MODULES)
	$(call put,$(bindir),0755,$(patsubst %,$(BUILD)/%.install,qbhelper $(COMMANDS)))
	$(call put,$(sbindir),0755,$(DAEMONS:%=$(BUILD)/%.install))
	$(call put,$(unitdir),0644,$(UNITS:%=$(BUILD)/%.install))
	$(call put,$(sysusersdir),0644,$(SYSUSERS))
	$(call put,$(docdir)/examples,0644,$(EXAMPLES))
	$(foreach number,$(SECTIONS),$(call put,$(mandir)/man$(number),0644,$(filter %.$(number),$(PAGES))) &&) true
	$(call put,$(bashcompdir),0644,$(COMPLETIONS)/qbhelperctl.bash)
	$(call put,$(zshcompdir),0644,$(COMPLETIONS)/_qbhelperctl)
	$(call put,$(fishcompdir),0644,$(COMPLETIONS)/qbhelperctl.fish)
	umask 022 && for module in $(MODULES); do install -D -m 0644 $$module $(DESTDIR)$(moduledir)/$$module || exit 1; done
	umask 022 && $(PYTHON) -m compileall -q -f --invalidation-mode unchecked-hash -s "$(DESTDIR)" $(DESTDIR)$(moduledir)/qbhelper

install-policy:
	umask 022 && install -d $(DESTDIR)$(sysconfdir)/qbhelper/policy.d
	[ -e $(DESTDIR)$(sysconfdir)/qbhelper/policy.toml ] || \
		install -m 0644 packaging/policy.toml $(DESTDIR)$(sysconfdir)/qbhelper

install-apparmor:
	$(call put,$(sysconfdir)/apparmor.d,0644,$(PROFILES))

# Links, not copies: AppArmor and SELinux go by the program that a link leads to.
install-libvirt:
	umask 022 && install -d $(DESTDIR)$(bindir)
	ln -sf qbhelper $(DESTDIR)$(bindir)/qemu-bridge-helper
ifneq ($(wildcard docs/man/qbhelper.8),)
	umask 022 && install -d $(DESTDIR)$(mandir)/man8 && \
		echo '.so man8/qbhelper.8' >$(DESTDIR)$(mandir)/man8/qemu-bridge-helper.8
endif

install-qemu:
	umask 022 && install -d $(DESTDIR)$(libexecdir)
	ln -s $(bindir)/qbhelper $(DESTDIR)$(libexecdir)/qemu-bridge-helper

uninstall:
	rm -f $(addprefix $(DESTDIR)$(bindir)/,qbhelper $(COMMANDS)) $(addprefix $(DESTDIR)$(sbindir)/,$(DAEMONS))
	rm -f $(addprefix $(DESTDIR)$(unitdir)/,$(UNITS)) $(addprefix $(DESTDIR)$(sysusersdir)/,$(notdir $(SYSUSERS)))
	rm -f $(foreach page,$(PAGES),$(DESTDIR)$(mandir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	rm -f $(DESTDIR)$(bashcompdir)/qbhelperctl.bash $(DESTDIR)$(zshcompdir)/_qbhelperctl $(DESTDIR)$(fishcompdir)/qbhelperctl.fish
	rm -rf $(DESTDIR)$(moduledir) $(DESTDIR)$(docdir)

clean:
	rm -rf $(BUILD)
	find qbhelper -name __pycache__ -type d -exec rm -rf {} +

check-prctl = test -n '$(PACKAGE_DIR)' || { echo 'python-prctl is missing for $(PYTHON): apt install python3-prctl' >&2; exit 1; }

FORCE:

.PHONY: all compiled installable install install-policy install-apparmor install-libvirt install-qemu uninstall clean FORCE
