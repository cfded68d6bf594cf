/* SPDX-License-Identifier: MIT
 *
 * recipients.c against arrays that are searched from the front. The input is a list of operations; hashes come from a small range, so that
 * they collide, and blocks grow as the binding lets them.
 */
#include "fuzz.h"

#include "../csrc/recipients.h"

#define MAX_RECIPIENTS 200
#define LINKS 6

typedef struct {
	uint32_t slot, jid_hash, nick_hash, group;
} recipient;

typedef struct {
	pr_recipients *list;
	recipient present[MAX_RECIPIENTS]; /* in order of arrival */
	uint32_t count;
	uint32_t links[LINKS]; /* groups in order of creation */
	uint32_t link_count;
} world;

static uint32_t members(const world *w, uint32_t group) {
	uint32_t i, count = 0;
	for(i = 0; i < w->count; i++) {
		count += w->present[i].group == group;
	}
	return count;
}

static const recipient *find(const world *w, uint32_t slot) {
	uint32_t i;
	for(i = 0; i < w->count; i++) {
		if(w->present[i].slot == slot) {
			return &w->present[i];
		}
	}
	return NULL;
}

static void make_room(world *w, int new_group) {
	uint32_t slots, groups;
	pr_recipients *larger;
	if(!pr_recipients_is_full(w->list, new_group, &slots, &groups)) {
		return;
	}
	larger = block(pr_recipients_size(slots, groups));
	pr_recipients_init(larger, slots, groups);
	pr_recipients_copy(larger, w->list);
	free(w->list);
	w->list = larger;
}

/* `choice`: 0 a local session, else one of the links there are or a new one. */
static void add(world *w, uint32_t jid_hash, uint32_t nick_hash, uint32_t choice) {
	recipient *const r = &w->present[w->count];
	const int new_group = choice > w->link_count && w->link_count < LINKS;
	if(w->count == MAX_RECIPIENTS) {
		return;
	}
	make_room(w, new_group);
	r->group = choice && w->link_count ? w->links[(choice - 1) % w->link_count] : 0;
	if(new_group) {
		r->group = pr_recipients_next_group(w->list);
		CHECK(pr_recipients_add_group(w->list) == r->group);
		CHECK(r->group && !members(w, r->group));
		w->links[w->link_count++] = r->group;
	}
	r->jid_hash = jid_hash;
	r->nick_hash = nick_hash;
	r->slot = pr_recipients_next_slot(w->list);
	CHECK(r->slot && !find(w, r->slot));
	CHECK(pr_recipients_add(w->list, jid_hash, nick_hash, r->group) == r->slot);
	w->count++;
}

static void remove_one(world *w, uint32_t which) {
	recipient gone;
	uint32_t i, ended;
	if(!w->count) {
		return;
	}
	which %= w->count;
	gone = w->present[which];
	ended = pr_recipients_remove(w->list, gone.slot);
	memmove(&w->present[which], &w->present[which + 1], (w->count - which - 1) * sizeof(gone));
	w->count--;
	CHECK(ended == (gone.group && !members(w, gone.group) ? gone.group : 0));
	for(i = 0; ended && i < w->link_count; i++) {
		if(w->links[i] == ended) {
			memmove(&w->links[i], &w->links[i + 1], (w->link_count - i - 1) * sizeof(w->links[0]));
			w->link_count--;
			break;
		}
	}
}

/* Every slot with the hash is found once, no other. */
static void check_lookup(const world *w, uint32_t hash) {
	uint32_t slot, i, jids = 0, nicks = 0;
	for(slot = 0; (slot = pr_recipients_by_jid(w->list, hash, slot)) != 0; jids++) {
		CHECK(jids < w->count && find(w, slot) && find(w, slot)->jid_hash == hash);
	}
	for(slot = 0; (slot = pr_recipients_by_nick(w->list, hash, slot)) != 0; nicks++) {
		CHECK(nicks < w->count && find(w, slot) && find(w, slot)->nick_hash == hash);
	}
	for(i = 0; i < w->count; i++) {
		jids -= w->present[i].jid_hash == hash;
		nicks -= w->present[i].nick_hash == hash;
	}
	CHECK(jids == 0 && nicks == 0);
}

static void check_counts(const world *w) {
	uint32_t i;
	CHECK(pr_recipients_count(w->list) == w->count);
	CHECK(pr_recipients_group_count(w->list, 0) == members(w, 0));
	CHECK(pr_recipients_visits(w->list) == members(w, 0) + w->link_count);
	for(i = 0; i < w->link_count; i++) {
		CHECK(pr_recipients_group_count(w->list, w->links[i]) == members(w, w->links[i]));
	}
	for(i = 0; i < w->count; i++) {
		CHECK(pr_recipients_group_of(w->list, w->present[i].slot) == w->present[i].group);
	}
}

/* The slot that stands for a link, 0 when it has no member. */
static uint32_t representative(const world *w, uint32_t group) {
	uint32_t i;
	for(i = 0; i < w->count; i++) {
		if(w->present[i].group == group) {
			return w->present[i].slot;
		}
	}
	return 0;
}

/* Iterates while `in` goes on adding and removing: who was there at the start and still is, is visited in order; nobody else is. */
static void iterate(world *w, input *in) {
	const uint32_t room = pr_recipients_visits(w->list);
	pr_recipients_entry *const entries = block(room * sizeof(*entries));
	const uint32_t choice = take(in);
	const uint32_t except_group = choice % 3 == 0 && w->link_count ? w->links[choice % w->link_count] : 0;
	uint32_t expected[MAX_RECIPIENTS + LINKS], locals, expected_locals = 0, expected_count, count, i, k;
	unsigned char gone[MAX_RECIPIENTS + LINKS] = {0};
	count = pr_recipients_snapshot(w->list, except_group, entries, &locals);
	for(i = 0; i < w->count; i++) {
		if(!w->present[i].group) {
			expected[expected_locals++] = w->present[i].slot;
		}
	}
	expected_count = expected_locals;
	for(i = 0; i < w->link_count; i++) {
		if(w->links[i] != except_group) {
			expected[expected_count++] = w->links[i];
		}
	}
	CHECK(count == expected_count && locals == expected_locals && count <= room);
	for(i = 0; i < count; i++) {
		const int is_group = i >= locals;
		const uint32_t slot = pr_recipients_visit(w->list, &entries[i], is_group);
		if(gone[i]) {
			CHECK(slot == 0);
		} else {
			CHECK(slot == (is_group ? representative(w, expected[i]) : expected[i]));
		}
		if(take(in) % 4 == 0) {
			remove_one(w, take(in));
			/* once gone, an entry stays gone, whoever gets its number */
			for(k = 0; k < count; k++) {
				gone[k] |= k < locals ? !find(w, expected[k]) : !members(w, expected[k]);
			}
			add(w, take(in) % 8, take(in) % 8, take(in) % 8);
		}
	}
	free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	input in = {data, size};
	world w;
	memset(&w, 0, sizeof(w));
	w.list = block(pr_recipients_size(0, 0));
	pr_recipients_init(w.list, 0, 0);
	CHECK(pr_recipients_size(PR_RECIPIENTS_MAX + 1, 0) == 0);
	while(in.left) {
		const uint8_t operation = take(&in);
		if(operation < 140) {
			const uint32_t jid_hash = take(&in) % 16, nick_hash = take(&in) % 8;
			add(&w, jid_hash, nick_hash, operation % 10 < 5 ? 0 : operation % 10 - 4);
		} else if(operation < 230) {
			remove_one(&w, take(&in));
		} else if(operation < 240) {
			iterate(&w, &in);
		} else {
			check_lookup(&w, operation % 16);
		}
		check_counts(&w);
	}
	check_lookup(&w, 3);
	free(w.list);
	return 0;
}
