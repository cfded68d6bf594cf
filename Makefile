# SPDX-License-Identifier: MIT
# make all            the shared objects, build/prosody_relay/*.so
# make test           every test; the last line is "N passed, N failed"
# make test-native    the tests of the C cores, their bindings and the shared Lua, with every Prosody found
# make soak-fmuc      mod_fmuc under faults for SOAK_SECONDS=240 and each pair of versions, by SOAK_SEED;
#                     then over a link of 300 bit/s
# make soak-nodes     the same of a tree of federated rooms (generation 2)
# make asan           the native tests under AddressSanitizer and UndefinedBehaviorSanitizer, with leak detection
# make valgrind       the native tests under valgrind
# make fuzz           libFuzzer on each core and each walk over stanzas, FUZZ_RUNS=200000 runs each; findings are kept in build/fuzz/
# make bench          measures against Prosody's own functions; one JSON object a line; fails when a limit is not met
# make bytes          the bytes that a mirrored room costs a link, as a table
# make soak           what takes too long for every run of the tests: many IQs, many starts
# make lint           luacheck, the structure of the modules, the compilers' warnings as errors, luarocks lint, shellcheck
# make rocks          a static rock server in rocks/ (prosodyctl install --server=$PWD/rocks mod_fmuc)
# make install        installs the rocks into this machine's Prosody (PROSODYCTL=, CONFIG=)
# make prosody13      a Prosody 13.0 in build/prosody13, beside the installed 0.12
# make version V=0.2.0   another version, everywhere
# make demo           shows each module at work between real servers
# make deps           the Debian packages of all targets; each target installs what it needs itself

BUILD ?= build
DEPS ?= tools/deps
LUA ?= lua5.4
CFLAGS ?= -O2 -g
WARNINGS = -Wall -Wextra -pedantic -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual
HARDENING = -fstack-protector-strong -D_FORTIFY_SOURCE=2
LUA_CFLAGS = -I/usr/include/lua5.4
C_FLAGS = -std=c99 -fPIC -fvisibility=hidden $(WARNINGS) $(HARDENING) $(LUA_CFLAGS)
SO_FLAGS = -shared -Wl,-z,relro,-z,now

# Prosody's own Lua libraries, of each version there is: the installed one, and the second one after `tools/prosody13`
PROSODY_LIBS = $(wildcard /usr/lib/prosody $(or $(PROSODY13),build/prosody13)/usr/lib/prosody)

JID = csrc/lua_jid.c csrc/jid.c
JAT = csrc/lua_jat.c csrc/jat.c csrc/siphash.c
RECIPIENTS = csrc/lua_recipients.c csrc/recipients.c csrc/siphash.c
TEMPLATE = csrc/lua_template.c csrc/template.c csrc/xml.c
STANZA = csrc/lua_stanza.c csrc/xml.c

OBJECTS = $(addprefix $(BUILD)/prosody_relay/,jid_c.so jat_c.so recipients_c.so template_c.so stanza_c.so)

all: $(OBJECTS)

$(BUILD)/prosody_relay/jid_c.so: $(JID)
$(BUILD)/prosody_relay/jat_c.so: $(JAT)
$(BUILD)/prosody_relay/recipients_c.so: $(RECIPIENTS)
$(BUILD)/prosody_relay/template_c.so: $(TEMPLATE)
$(BUILD)/prosody_relay/stanza_c.so: $(STANZA)

$(OBJECTS): $(wildcard csrc/*.h) Makefile | deps-build
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(CFLAGS) $(SO_FLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^)

# For the tests: a second Lua state in one process
$(BUILD)/spec/other_state.so: spec/native/other_state.c Makefile | deps-build
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -fvisibility=default $(CFLAGS) $(SO_FLAGS) $(LDFLAGS) -o $@ $<

# The last line is "N passed, N failed" for each Prosody.
test-native: all $(BUILD)/spec/other_state.so deps-prosody deps-test
	@status=0; for lib in $(PROSODY_LIBS); do \
		BUILD=$(BUILD) PROSODY_LIB=$$lib $(RUNNER) $(LUA) spec/native/run.lua || status=1; \
	done; exit $$status

# The interpreter is not instrumented, so the runtimes have to be loaded before it.
asan: | deps-build
	@$(MAKE) -s test-native BUILD=build/asan CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
		-fno-sanitize-recover=undefined -U_FORTIFY_SOURCE" \
		RUNNER='env ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LD_PRELOAD="$(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)"'

# Lua refers to its state by a pointer into the block, not to its start, so all of the interpreter's memory is "possibly lost" at the end.
valgrind: | deps-build deps-tools
	@$(MAKE) -s test-native RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite"

FUZZ_RUNS ?= 200000
# each with the length of input at which nothing new happens any more; that of jat is a JID too long for a token, with its key
FUZZERS = jid:100 jat:800 recipients:150 template:200 stanza:400
FUZZ_PROGRAMS = $(foreach fuzzer,$(FUZZERS),build/fuzz/$(firstword $(subst :, ,$(fuzzer))))
build/fuzz/jid: csrc/jid.c
build/fuzz/jat: csrc/jat.c csrc/siphash.c
build/fuzz/recipients: csrc/recipients.c
build/fuzz/template: csrc/template.c csrc/xml.c
build/fuzz/stanza: csrc/lua_stanza.c csrc/lua_template.c csrc/template.c csrc/xml.c
build/fuzz/stanza: FUZZ_FLAGS = $(LUA_CFLAGS) -llua5.4

$(FUZZ_PROGRAMS): build/fuzz/%: fuzz/fuzz_%.c fuzz/fuzz.h $(wildcard csrc/*.h) Makefile | deps-build deps-tools
	@mkdir -p $(@D)
	clang -std=c99 -O2 -g $(WARNINGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -o $@ $(filter %.c,$^) $(FUZZ_FLAGS)

fuzz: $(FUZZ_PROGRAMS)
	@for fuzzer in $(FUZZERS); do \
		program=build/fuzz/$${fuzzer%:*}; \
		mkdir -p $$program.corpus; \
		$$program -runs=$(FUZZ_RUNS) -max_len=$${fuzzer#*:} -print_final_stats=1 -artifact_prefix=$$program- $$program.corpus \
			>$$program.log 2>&1 || { tail -n 50 $$program.log; exit 1; }; \
		echo "$$program: $$(sed -n 's/^stat::number_of_executed_units: *//p' $$program.log) runs, no finding"; \
	done

# One JSON object a line; PROSODY_LIB=build/prosody13/usr/lib/prosody compares with that one
PROSODY_LIB ?= /usr/lib/prosody
bench: all | deps-prosody
	@status=0; for bench in bench/bench_*.lua; do \
		LUA_PATH="lua/?.lua;lua/?/init.lua;bench/?.lua;$(PROSODY_LIB)/?.lua;;" LUA_CPATH="$(BUILD)/?.so;$(PROSODY_LIB)/?.so;;" \
			$(LUA) $$bench || status=1; \
	done; exit $$status

# As bench, and prints a table
bytes: all | deps-prosody
	@LUA_PATH="lua/?.lua;lua/?/init.lua;bench/?.lua;$(PROSODY_LIB)/?.lua;;" LUA_CPATH="$(BUILD)/?.so;$(PROSODY_LIB)/?.so;;" \
		$(LUA) bench/bytes_fmuc.lua

# with each Prosody found; SOAK_STARTS=20 starts of each kind of server
SOAK_STARTS ?= 20
soak: all prosody13 | deps-prosody deps-test
	@for lib in $(PROSODY_LIBS); do \
		LUA_PATH="lua/?.lua;lua/?/init.lua;bench/?.lua;$$lib/?.lua;;" LUA_CPATH="$(BUILD)/?.so;$$lib/?.so;;" PROSODY_LIB=$$lib \
			$(LUA) bench/soak_delegation.lua || exit 1; \
	done
	@DELEGATION_STARTS=$(SOAK_STARTS) busted spec/e2e/delegation/starts_spec.lua

test:
	@tools/test

SOAK_SECONDS ?= 240
SOAK_SEED ?= 1
soak-fmuc: all prosody13 | deps-prosody deps-test
	FMUC_SOAK_SECONDS=$(SOAK_SECONDS) FMUC_SOAK_SEED=$(SOAK_SEED) busted -o plainTerminal spec/e2e/fmuc/soak_spec.lua
	busted -o plainTerminal spec/support/fmuc_slow.lua

soak-nodes: all prosody13 | deps-prosody deps-test
	NODES_SOAK_SECONDS=$(SOAK_SECONDS) NODES_SOAK_SEED=$(SOAK_SEED) busted -o plainTerminal spec/e2e/fmuc/nodes_soak_spec.lua

lint: | deps-build deps-rocks deps-tools
	luacheck -q --no-color . .busted tools/structure
	@tools/structure
	@for cc in gcc clang; do $(MAKE) -s all CC=$$cc CFLAGS="-O2 -Werror" BUILD=build/lint-$$cc || exit 1; done
	@for rockspec in rockspec/*; do luarocks --lua-version=5.4 lint $$rockspec || exit 1; done
	shellcheck .ci/* $$(grep -l '^#!/bin/sh' tools/*)

rocks: | deps-build deps-rocks
	tools/rocks

version:
	tools/version $(V)

install: rocks | deps-prosody
	tools/install

BUSTED_PATHS = local paths = dofile(".busted").default; \
	package.path = paths.lpath .. ";" .. package.path; package.cpath = paths.cpath .. ";" .. package.cpath

# .busted knows the paths of this tree; Prosodys that the demo starts inherit none of them
demo: all prosody13 | deps-prosody
	@$(LUA) -e '$(BUSTED_PATHS)' spec/support/demo.lua

# Prosody 13.0 in build/prosody13, beside the installed 0.12
prosody13:
	@tools/prosody13 >/dev/null

deps:
	@tools/deps

# one group of packages
deps-%:
	@$(DEPS) $*

clean:
	rm -rf build rocks

.PHONY: version all asan bench bytes fuzz soak soak-fmuc soak-nodes test test-native valgrind lint rocks install demo prosody13 deps clean
