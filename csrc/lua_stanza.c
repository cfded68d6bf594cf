/* SPDX-License-Identifier: MIT
 *
 * prosody_relay.stanza_c, reached through prosody_relay.stanza, which documents the functions. They read the tables of a stanza: to
 * serialise it as Prosody does, to count the octets of that, and to count its memory in Lua's heap. All are linear in the size of the stanza.
 * There is no core without Lua: with one that asks for each attribute and child, serialising took a seventh longer. fuzz/stanza.lua
 * fuzzes this file.
 *
 * The serialiser leaves unusual stanzas to Prosody: attributes with a prefix, values that are no strings, deep nesting. It returns nil,
 * and the caller asks util.stanza, which can serialise them or raises the right error.
 */
#include "common.h"
#include "xml.h"

#include <math.h>
#include <string.h>

#define MAX_DEPTH 64

/* Stanzas are rarely larger; a longer one takes blocks of Lua's memory. */
#define SHORT_MAX 1024

/* Names of a stanza's fields, upvalues of the functions. */
enum { NAME = 1, ATTR, TAGS, UPVALUES = TAGS };

/* Stack indices of the functions: the stanza, and the block of a long output, which the stack keeps alive. */
enum { STANZA = 1, BLOCK };

typedef struct {
	lua_State *L;
	char *octets; /* NULL: only counted */
	size_t length, capacity;
	char first[SHORT_MAX];
} output;

typedef struct {
	const char *octets; /* NULL: none */
	size_t length;
} text;

static void init_output(output *out, lua_State *L) {
	out->L = L;
	out->octets = out->first;
	out->length = 0;
	out->capacity = sizeof(out->first);
}

/* The place for the next `length` octets, which count as written; NULL when they are only counted. Raises Lua's memory error. */
static char *extend(output *out, size_t length) {
	char *end;
	if(!out->octets) {
		out->length += length;
		return NULL;
	}
	if(length > out->capacity - out->length) {
		const size_t capacity = 2 * (out->length + length);
		char *const block = lua_newuserdatauv(out->L, capacity, 0);
		memcpy(block, out->octets, out->length);
		lua_replace(out->L, BLOCK);
		out->octets = block;
		out->capacity = capacity;
	}
	end = out->octets + out->length;
	out->length += length;
	return end;
}

static void put(output *out, const char *octets, size_t length) {
	char *const end = extend(out, length);
	if(end) {
		memcpy(end, octets, length);
	}
}

static void put_escaped(output *out, const text *value) {
	char *const end = extend(out, pr_xml_escaped_length(value->octets, value->length));
	if(end) {
		pr_xml_escape(end, value->octets, value->length);
	}
}

static text text_at(lua_State *L, int index) {
	text result;
	result.octets = lua_tolstring(L, index, &result.length);
	return result;
}

static int is_equal(const text *a, const text *b) {
	return b && b->octets && a->length == b->length && memcmp(a->octets, b->octets, a->length) == 0;
}

/* Writes the attributes in the table on top of the stack. A namespace that the parent has, too, is not repeated. *own is set to the
 * element's namespace, a string in the table. Returns 0 when Prosody has to write them. */
static int put_attributes(lua_State *L, output *out, const text *parents, text *own) {
	const int attributes = lua_gettop(L);
	lua_pushnil(L);
	while(lua_next(L, attributes)) {
		text key, value;
		if(lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
			return 0;
		}
		key = text_at(L, -2);
		value = text_at(L, -1);
		lua_pop(L, 1);
		if(memchr(key.octets, '\1', key.length)) {
			return 0;
		}
		if(key.length == 5 && memcmp(key.octets, "xmlns", 5) == 0) {
			*own = value;
			if(is_equal(&value, parents)) {
				continue;
			}
		}
		put(out, " ", 1);
		put(out, key.octets, key.length);
		put(out, "='", 2);
		put_escaped(out, &value);
		put(out, "'", 1);
	}
	return 1;
}

/* Pushes the field of the table at `index` that the upvalue names. */
static int push_field(lua_State *L, int index, int upvalue) {
	lua_pushvalue(L, lua_upvalueindex(upvalue));
	return lua_rawget(L, index);
}

/* Writes "<name attributes" of the element on top of the stack. Pushes its name and its attributes; *own as above. */
static int put_start(lua_State *L, output *out, const text *parents, text *own) {
	const int element = lua_gettop(L);
	text name;
	if(push_field(L, element, NAME) != LUA_TSTRING) {
		return 0;
	}
	name = text_at(L, -1);
	put(out, "<", 1);
	put(out, name.octets, name.length);
	return push_field(L, element, ATTR) == LUA_TTABLE && put_attributes(L, out, parents, own);
}

/* Writes the element on top of the stack. Returns 0 when Prosody has to write it; the caller then restores the stack. */
static int put_element(lua_State *L, output *out, const text *parents, int depth) {
	const int element = lua_gettop(L);
	const lua_Integer count = (lua_Integer)lua_rawlen(L, element);
	text own = {NULL, 0}, name;
	lua_Integer i;
	if(depth > MAX_DEPTH || !lua_checkstack(L, 8) || !put_start(L, out, parents, &own)) {
		return 0;
	}
	if(count == 0) {
		put(out, "/>", 2);
		lua_settop(L, element);
		return 1;
	}
	put(out, ">", 1);
	for(i = 1; i <= count; i++) {
		const int type = lua_rawgeti(L, element, i);
		if(type == LUA_TSTRING) {
			const text child = text_at(L, -1);
			put_escaped(out, &child);
		} else if(type != LUA_TTABLE || !put_element(L, out, &own, depth + 1)) {
			return 0;
		}
		lua_pop(L, 1);
	}
	name = text_at(L, element + 1);
	put(out, "</", 2);
	put(out, name.octets, name.length);
	put(out, ">", 1);
	lua_settop(L, element);
	return 1;
}

static void begin(lua_State *L, output *out) {
	luaL_checktype(L, STANZA, LUA_TTABLE);
	lua_settop(L, STANZA);
	lua_pushnil(L); /* BLOCK */
	lua_pushvalue(L, STANZA);
	init_output(out, L);
}

static int Lstanza_serialise(lua_State *L) {
	output out;
	begin(L, &out);
	if(!put_element(L, &out, NULL, 0)) {
		luaL_pushfail(L);
		return 1;
	}
	lua_pushlstring(L, out.octets, out.length);
	return 1;
}

static int Lstanza_size(lua_State *L) {
	output out;
	begin(L, &out);
	out.octets = NULL;
	if(put_element(L, &out, NULL, 0)) {
		lua_pushinteger(L, (lua_Integer)out.length);
	} else {
		luaL_pushfail(L);
	}
	return 1;
}

static int Lstanza_top_tag(lua_State *L) {
	output out;
	text own;
	begin(L, &out);
	if(!put_start(L, &out, NULL, &own)) {
		luaL_pushfail(L);
		return 1;
	}
	put(&out, ">", 1);
	lua_pushlstring(L, out.octets, out.length);
	return 1;
}

/* Memory in Lua 5.4: of a table, of a place in its hash part and in its array part, of a string besides its octets. */
#define TABLE_SIZE 56.0
#define NODE_SIZE 24.0
#define SLOT_SIZE 16.0
#define STRING_SIZE 25.0

/* Most levels that heap_size reads: each takes some hundred bytes of the C stack. Real stanzas are not nested a tenth as deep. */
#define MAX_HEAP_DEPTH 1000

/* The hash part of a stanza has its name, its attributes and its tags; its length is a power of two. */
#define FIELDS 4

/* The least power of two that is not less than count; 0 for 0. */
static double power_of_two(lua_Unsigned count) {
	double power = 1;
	while(power < (double)count) {
		power *= 2;
	}
	return count == 0 ? 0 : power;
}

static double string_size(lua_State *L, int index) {
	return lua_type(L, index) == LUA_TSTRING ? STRING_SIZE + (double)lua_rawlen(L, index) : 0;
}

/* Memory of the table of attributes on top of the stack. The parser leaves more places than attributes. */
static double attributes_size(lua_State *L) {
	const int attributes = lua_gettop(L);
	lua_Unsigned count = 0;
	double size = 0;
	lua_pushnil(L);
	while(lua_next(L, attributes)) {
		size += string_size(L, -2) + string_size(L, -1);
		count++;
		lua_pop(L, 1);
	}
	return size + TABLE_SIZE + power_of_two(count) * NODE_SIZE + (double)count * NODE_SIZE;
}

/* Memory of the element on top of the stack. HUGE_VAL when it is nested too deep. */
static double element_size(lua_State *L, int depth) {
	const int element = lua_gettop(L);
	const lua_Unsigned count = lua_rawlen(L, element);
	double size = TABLE_SIZE + FIELDS * NODE_SIZE + power_of_two(count) * SLOT_SIZE + TABLE_SIZE;
	lua_Unsigned i;
	if(depth > MAX_HEAP_DEPTH || !lua_checkstack(L, 8)) {
		return HUGE_VAL;
	}
	push_field(L, element, NAME);
	size += string_size(L, -1);
	if(push_field(L, element, ATTR) == LUA_TTABLE) {
		size += attributes_size(L);
	}
	if(push_field(L, element, TAGS) == LUA_TTABLE) {
		size += power_of_two(lua_rawlen(L, -1)) * SLOT_SIZE;
	}
	for(i = 1; i <= count; i++) {
		const int type = lua_rawgeti(L, element, (lua_Integer)i);
		size += type == LUA_TTABLE ? element_size(L, depth + 1) : string_size(L, -1);
		lua_pop(L, 1);
	}
	lua_settop(L, element);
	return size;
}

static int Lstanza_heap_size(lua_State *L) {
	double size;
	luaL_checktype(L, STANZA, LUA_TTABLE);
	lua_settop(L, STANZA);
	size = element_size(L, 0);
	if(size < (double)LUA_MAXINTEGER) {
		lua_pushinteger(L, (lua_Integer)size);
	} else {
		lua_pushnumber(L, size);
	}
	return 1;
}

PROSODY_RELAY_MODULE(stanza_c) {
	static const luaL_Reg functions[] = {
		{"serialise", Lstanza_serialise},
		{"size", Lstanza_size},
		{"top_tag", Lstanza_top_tag},
		{"heap_size", Lstanza_heap_size},
		{NULL, NULL},
	};
	luaL_checkversion(L);
	luaL_newlibtable(L, functions);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	lua_pushliteral(L, "tags");
	luaL_setfuncs(L, functions, UPVALUES);
	return 1;
}
