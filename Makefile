# SPDX-License-Identifier: MIT
# make all            the shared objects, build/prosody_relay/*.so
# make test-native    the tests of the C cores, their bindings and the shared Lua, with every Prosody found

BUILD ?= build
LUA ?= lua5.4
CFLAGS ?= -O2 -g
WARNINGS = -Wall -Wextra -pedantic -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual
HARDENING = -fstack-protector-strong -D_FORTIFY_SOURCE=2
LUA_CFLAGS = -I/usr/include/lua5.4
C_FLAGS = -std=c99 -fPIC -fvisibility=hidden $(WARNINGS) $(HARDENING) $(LUA_CFLAGS)
SO_FLAGS = -shared -Wl,-z,relro,-z,now

# Prosody's own Lua libraries, of each version there is: the installed one, and the second one after `.ci/prosody13`
PROSODY_LIBS = $(wildcard /usr/lib/prosody build/prosody13/usr/lib/prosody)

JID = csrc/lua_jid.c csrc/jid.c

OBJECTS = $(addprefix $(BUILD)/prosody_relay/,jid_c.so)

all: $(OBJECTS)

$(BUILD)/prosody_relay/jid_c.so: $(JID)

$(OBJECTS): $(wildcard csrc/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(CFLAGS) $(SO_FLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^)

# The last line is "N passed, N failed" for each Prosody.
test-native: all
	@status=0; for lib in $(PROSODY_LIBS); do \
		BUILD=$(BUILD) PROSODY_LIB=$$lib $(RUNNER) $(LUA) spec/native/run.lua || status=1; \
	done; exit $$status

clean:
	rm -rf build rocks

.PHONY: all test-native clean
