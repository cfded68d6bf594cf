/* SPDX-License-Identifier: MIT
 *
 * Binding of template.c: prosody_relay.template_c, reached through prosody_relay.fanout, which documents the functions.
 *
 * A template is a userdata. It keeps the serialised text as a user value. It knows its stanza by the addresses of all tables and strings
 * in it, in the order of a walk. A second user value keeps these alive: no newer object can have such an address.
 * While a stanza has the same addresses in the same order, it has the same bytes.
 */
#include "common.h"
#include "template.h"

#include <string.h>

#define METATABLE "prosody_relay.template"

/* Stanzas nested deeper are left to Prosody. */
#define MAX_DEPTH 64

/* Stanzas are rarely larger; a longer text takes a Lua buffer. */
#define SHORT_MAX 4096

enum { TEXT = 1, KNOWN, USER_VALUES = KNOWN };

typedef struct {
	pr_template layout;
	const char *text;
	const void *known_to, *known_from; /* addresses of the values in the text, NULL for none */
	size_t known_count;
	const void *known[1]; /* really known_count of them */
} stanza_template;

/* Strings that a walk needs, as upvalues of the functions. */
enum { NAME = 1, ATTR, TO, FROM, UPVALUES = FROM };

typedef struct {
	const stanza_template *expected; /* NULL: record */
	int record; /* stack index of the table the walk is recorded in */
	size_t count;
	const void *to_key, *from_key; /* equal short strings have one address */
	const void *to_value, *from_value;
	pr_template_attribute to, from; /* of the top element, when they are not the ones in the text */
} walk;

static const stanza_template *check_template(lua_State *L, int arg) {
	return luaL_checkudata(L, arg, METATABLE);
}

/* Pushes a template with room for known[count]: its text is at stack index 1, the name of its element at 2. Pushes nothing when
 * Prosody's serialiser does not write such a text. */
static stanza_template *push_template(lua_State *L, size_t count) {
	size_t length, name_length;
	const char *text = lua_tolstring(L, 1, &length);
	const char *name = lua_tolstring(L, 2, &name_length);
	pr_template layout;
	stanza_template *self;
	if(!pr_template_parse(text, length, name, name_length, &layout)) {
		return NULL;
	}
	self = lua_newuserdatauv(L, sizeof(*self) + count * sizeof(self->known[0]), USER_VALUES);
	self->layout = layout;
	self->text = text;
	self->known_to = self->known_from = NULL;
	self->known_count = count;
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, TEXT);
	luaL_setmetatable(L, METATABLE);
	return self;
}

static void push_rendered(lua_State *L, const stanza_template *self, const pr_template_attribute *to,
	const pr_template_attribute *from) {
	const size_t size = pr_template_size(&self->layout, to, from);
	if(size <= SHORT_MAX) {
		char out[SHORT_MAX];
		pr_template_render(&self->layout, self->text, to, from, out);
		lua_pushlstring(L, out, size);
	} else {
		luaL_Buffer buffer;
		char *out = luaL_buffinitsize(L, &buffer, size);
		pr_template_render(&self->layout, self->text, to, from, out);
		luaL_pushresultsize(&buffer, size);
	}
}

static walk new_walk(lua_State *L, const stanza_template *expected, int record) {
	walk result = {NULL, 0, 0, NULL, NULL, NULL, NULL, {NULL, 0}, {NULL, 0}};
	result.expected = expected;
	result.record = record;
	result.to_key = lua_topointer(L, lua_upvalueindex(TO));
	result.from_key = lua_topointer(L, lua_upvalueindex(FROM));
	return result;
}

/* One step of a walk: the table or string at `index`, or for index 0 the end of a list. Returns 0 when it is not the known one, and
 * for a value without an address. */
static int step(lua_State *L, walk *w, int index) {
	const void *const address = index ? lua_topointer(L, index) : NULL;
	if(index && !address) {
		return 0;
	}
	if(w->expected) {
		return w->count < w->expected->known_count && w->expected->known[w->count++] == address;
	}
	if(index) {
		lua_pushvalue(L, index);
	} else {
		lua_pushboolean(L, 0); /* nil cannot be filed; neither has an address */
	}
	lua_rawseti(L, w->record, (lua_Integer)++w->count);
	return 1;
}

/* Notes the value on top of the stack, of attribute `to` or `from`; its key is below it. While recording, the value is part of the text.
 * Later, the same value is copied with the text, and another value is set. */
static int note(lua_State *L, const walk *w, const void *in_text, const void **address, pr_template_attribute *value) {
	*address = lua_topointer(L, -1);
	if(lua_type(L, -1) != LUA_TSTRING) {
		return 0;
	}
	if(!w->expected) {
		/* kept alive like the others, under its own name */
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, w->record);
	} else if(*address != in_text) {
		value->value = lua_tolstring(L, -1, &value->length);
	}
	return 1;
}

/* Walks the attributes in the table on top of the stack, in their present order. The text has the same order. Only the place of the top
 * element's `to` and `from` counts; their values are noted. */
static int walk_attributes(lua_State *L, walk *w, int is_top) {
	const int attributes = lua_gettop(L);
	lua_pushnil(L);
	while(lua_next(L, attributes)) {
		const void *const key = lua_topointer(L, -2);
		int same;
		if(!w->expected && lua_type(L, -2) != LUA_TSTRING) {
			return 0;
		}
		if(is_top && key == w->to_key) {
			same = note(L, w, w->expected ? w->expected->known_to : NULL, &w->to_value, &w->to);
		} else if(is_top && key == w->from_key) {
			same = note(L, w, w->expected ? w->expected->known_from : NULL, &w->from_value, &w->from);
		} else {
			same = (w->expected || lua_type(L, -1) == LUA_TSTRING) && step(L, w, -1);
		}
		if(!same || !step(L, w, -2)) {
			return 0;
		}
		lua_pop(L, 1);
	}
	return step(L, w, 0);
}

/* Pushes the field of the table at `index` that the upvalue names. Returns 0 when it is not the known one or not of this type. */
static int walk_field(lua_State *L, walk *w, int index, int upvalue, int type) {
	lua_pushvalue(L, lua_upvalueindex(upvalue));
	return lua_rawget(L, index) == type && step(L, w, -1);
}

/* Walks the element on top of the stack: its name, attributes and children, all that Prosody's serialiser reads. Returns 0 when it is not
 * the known one, or when no template can be made from it; the caller then restores the stack. */
static int walk_element(lua_State *L, walk *w, int depth) {
	const int element = lua_gettop(L);
	lua_Integer i, count;
	if(depth > MAX_DEPTH || !lua_checkstack(L, 8) || !step(L, w, element)) {
		return 0;
	}
	if(!walk_field(L, w, element, NAME, LUA_TSTRING) || !walk_field(L, w, element, ATTR, LUA_TTABLE)
		|| !walk_attributes(L, w, depth == 0)) {
		return 0;
	}
	lua_settop(L, element);
	count = (lua_Integer)lua_rawlen(L, element);
	for(i = 1; i <= count; i++) {
		const int type = lua_rawgeti(L, element, i);
		if(!(type == LUA_TSTRING ? step(L, w, -1) : type == LUA_TTABLE && walk_element(L, w, depth + 1))) {
			return 0;
		}
		lua_settop(L, element);
	}
	return step(L, w, 0);
}

static int Ltemplate_capture(lua_State *L) {
	stanza_template *self;
	walk w = new_walk(L, NULL, 4);
	size_t i;
	luaL_checktype(L, 1, LUA_TSTRING);
	luaL_checktype(L, 2, LUA_TSTRING);
	luaL_checktype(L, 3, LUA_TTABLE);
	lua_settop(L, 3);
	lua_newtable(L);
	lua_pushvalue(L, 3);
	if(!walk_element(L, &w, 0)) {
		return push_failure(L, "unsupported");
	}
	lua_settop(L, 4);
	self = push_template(L, w.count);
	if(!self) {
		return push_failure(L, "unsupported");
	}
	self->known_to = w.to_value;
	self->known_from = w.from_value;
	for(i = 0; i < w.count; i++) {
		lua_rawgeti(L, 4, (lua_Integer)i + 1);
		self->known[i] = lua_topointer(L, -1);
		lua_pop(L, 1);
	}
	lua_pushvalue(L, 4);
	lua_setiuservalue(L, -2, KNOWN);
	return 1;
}

static int Ltemplate_render_known(lua_State *L) {
	const stanza_template *self = check_template(L, 1);
	walk w = new_walk(L, self, 0);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	if(!walk_element(L, &w, 0)) {
		luaL_pushfail(L);
		return 1;
	}
	push_rendered(L, self, &w.to, &w.from);
	return 1;
}

PROSODY_RELAY_MODULE(template_c) {
	static const luaL_Reg functions[] = {
		{"capture", Ltemplate_capture},
		{"render_known", Ltemplate_render_known},
		{NULL, NULL},
	};
	luaL_checkversion(L);
	luaL_newmetatable(L, METATABLE);
	luaL_newlibtable(L, functions);
	lua_pushliteral(L, "name");
	lua_pushliteral(L, "attr");
	lua_pushliteral(L, "to");
	lua_pushliteral(L, "from");
	luaL_setfuncs(L, functions, UPVALUES);
	return 1;
}
