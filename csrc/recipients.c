/* SPDX-License-Identifier: MIT
 *
 * Layout of a block: header, slots[1..], groups[0..], and two arrays of index buckets. Number 0 ends every chain. `next` chains the free
 * slots and groups; numbers above `used` have never been used.
 */
#include "recipients.h"

#include <string.h>

typedef struct {
	uint32_t jid_hash, jid_next;
	uint32_t nick_hash, nick_next, nick_prev;
	uint32_t group;
	uint32_t prev, next; /* within the group, in order of arrival */
	uint32_t generation;
} slot_record;

typedef struct {
	uint32_t first, last, count;
	uint32_t prev, next; /* among the links, in order of creation */
	uint32_t generation;
} group_record;

struct pr_recipients {
	uint32_t slot_room, group_room; /* capacities; group 0 comes on top */
	uint32_t slots_used, groups_used; /* highest number ever used */
	uint32_t free_slot, free_group;
	uint32_t count;
	uint32_t links, first_link, last_link;
	uint32_t bucket_mask;
};

static slot_record *slots_of(const pr_recipients *list) {
	/* slots count from 1: slot 0 would overlap the header, but is never read */
	return (slot_record *)(uintptr_t)(list + 1) - 1;
}

static group_record *groups_of(const pr_recipients *list) {
	return (group_record *)(uintptr_t)(slots_of(list) + 1 + list->slot_room);
}

static uint32_t *jid_buckets(const pr_recipients *list) {
	return (uint32_t *)(uintptr_t)(groups_of(list) + 1 + list->group_room);
}

static uint32_t *nick_buckets(const pr_recipients *list) {
	return jid_buckets(list) + list->bucket_mask + 1;
}

/* A power of two, so that a bucket holds two slots of a full list on average. */
static uint32_t buckets_for(uint32_t slots) {
	uint32_t buckets = 4;
	while(buckets < slots / 2) {
		buckets *= 2;
	}
	return buckets;
}

size_t pr_recipients_size(uint32_t slots, uint32_t groups) {
	if(slots > PR_RECIPIENTS_MAX || groups > PR_RECIPIENTS_MAX) {
		return 0;
	}
	return sizeof(pr_recipients) + (size_t)slots * sizeof(slot_record) + ((size_t)groups + 1) * sizeof(group_record)
		+ (size_t)2 * buckets_for(slots) * sizeof(uint32_t);
}

void pr_recipients_init(pr_recipients *list, uint32_t slots, uint32_t groups) {
	memset(list, 0, pr_recipients_size(slots, groups));
	list->slot_room = slots;
	list->group_room = groups;
	list->bucket_mask = buckets_for(slots) - 1;
}

static void index_slot(pr_recipients *list, uint32_t slot) {
	slot_record *const slots = slots_of(list);
	slot_record *const s = &slots[slot];
	uint32_t *const jid_bucket = &jid_buckets(list)[s->jid_hash & list->bucket_mask];
	uint32_t *const nick_bucket = &nick_buckets(list)[s->nick_hash & list->bucket_mask];
	s->jid_next = *jid_bucket;
	*jid_bucket = slot;
	s->nick_next = *nick_bucket;
	s->nick_prev = 0;
	if(s->nick_next) {
		slots[s->nick_next].nick_prev = slot;
	}
	*nick_bucket = slot;
}

/* A nick may have many sessions, all in one chain, so that chain is doubly linked; a JID is there once. */
static void unindex_slot(pr_recipients *list, uint32_t slot) {
	slot_record *const slots = slots_of(list);
	const slot_record *const s = &slots[slot];
	uint32_t *link = &jid_buckets(list)[s->jid_hash & list->bucket_mask];
	while(*link != slot) {
		link = &slots[*link].jid_next;
	}
	*link = s->jid_next;
	if(s->nick_next) {
		slots[s->nick_next].nick_prev = s->nick_prev;
	}
	if(s->nick_prev) {
		slots[s->nick_prev].nick_next = s->nick_next;
	} else {
		nick_buckets(list)[s->nick_hash & list->bucket_mask] = s->nick_next;
	}
}

static void index_members(pr_recipients *list, const group_record *group) {
	uint32_t slot;
	for(slot = group->first; slot; slot = slots_of(list)[slot].next) {
		index_slot(list, slot);
	}
}

void pr_recipients_copy(pr_recipients *to, const pr_recipients *from) {
	const uint32_t slot_room = to->slot_room, group_room = to->group_room, bucket_mask = to->bucket_mask;
	uint32_t link;
	*to = *from;
	to->slot_room = slot_room;
	to->group_room = group_room;
	to->bucket_mask = bucket_mask;
	memcpy(slots_of(to) + 1, slots_of(from) + 1, from->slots_used * sizeof(slot_record));
	memcpy(groups_of(to), groups_of(from), (from->groups_used + 1) * sizeof(group_record));
	index_members(to, &groups_of(to)[0]);
	for(link = to->first_link; link; link = groups_of(to)[link].next) {
		index_members(to, &groups_of(to)[link]);
	}
}

/* Larger by a quarter: doubling could leave half the memory of a long list unused. */
static uint32_t grown(uint32_t room) {
	return room + room / 4 + 4;
}

int pr_recipients_is_full(const pr_recipients *list, int new_group, uint32_t *slots, uint32_t *groups) {
	const int no_slot = !list->free_slot && list->slots_used == list->slot_room;
	const int no_group = new_group && !list->free_group && list->groups_used == list->group_room;
	*slots = no_slot ? grown(list->slot_room) : list->slot_room;
	*groups = no_group ? grown(list->group_room) : list->group_room;
	return no_slot || no_group;
}

uint32_t pr_recipients_next_slot(const pr_recipients *list) {
	return list->free_slot ? list->free_slot : list->slots_used + 1;
}

uint32_t pr_recipients_next_group(const pr_recipients *list) {
	return list->free_group ? list->free_group : list->groups_used + 1;
}

uint32_t pr_recipients_add_group(pr_recipients *list) {
	group_record *const groups = groups_of(list);
	const uint32_t group = pr_recipients_next_group(list);
	group_record *const g = &groups[group];
	if(list->free_group) {
		list->free_group = g->next;
	} else {
		list->groups_used++;
	}
	g->first = g->last = g->count = 0;
	g->next = 0;
	g->prev = list->last_link;
	if(g->prev) {
		groups[g->prev].next = group;
	} else {
		list->first_link = group;
	}
	list->last_link = group;
	list->links++;
	return group;
}

static void remove_group(pr_recipients *list, uint32_t group) {
	group_record *const groups = groups_of(list);
	group_record *const g = &groups[group];
	if(g->prev) {
		groups[g->prev].next = g->next;
	} else {
		list->first_link = g->next;
	}
	if(g->next) {
		groups[g->next].prev = g->prev;
	} else {
		list->last_link = g->prev;
	}
	list->links--;
	g->generation++;
	g->next = list->free_group;
	list->free_group = group;
}

uint32_t pr_recipients_add(pr_recipients *list, uint32_t jid_hash, uint32_t nick_hash, uint32_t group) {
	slot_record *const slots = slots_of(list);
	group_record *const g = &groups_of(list)[group];
	const uint32_t slot = pr_recipients_next_slot(list);
	slot_record *const s = &slots[slot];
	if(list->free_slot) {
		list->free_slot = s->next;
	} else {
		list->slots_used++;
	}
	s->jid_hash = jid_hash;
	s->nick_hash = nick_hash;
	s->group = group;
	s->next = 0;
	s->prev = g->last;
	if(s->prev) {
		slots[s->prev].next = slot;
	} else {
		g->first = slot;
	}
	g->last = slot;
	g->count++;
	list->count++;
	index_slot(list, slot);
	return slot;
}

uint32_t pr_recipients_remove(pr_recipients *list, uint32_t slot) {
	slot_record *const slots = slots_of(list);
	slot_record *const s = &slots[slot];
	const uint32_t group = s->group;
	group_record *const g = &groups_of(list)[group];
	unindex_slot(list, slot);
	if(s->prev) {
		slots[s->prev].next = s->next;
	} else {
		g->first = s->next;
	}
	if(s->next) {
		slots[s->next].prev = s->prev;
	} else {
		g->last = s->prev;
	}
	g->count--;
	list->count--;
	s->generation++;
	s->next = list->free_slot;
	list->free_slot = slot;
	if(group && !g->count) {
		remove_group(list, group);
		return group;
	}
	return 0;
}

uint32_t pr_recipients_by_jid(const pr_recipients *list, uint32_t hash, uint32_t after) {
	const slot_record *const slots = slots_of(list);
	uint32_t slot = after ? slots[after].jid_next : jid_buckets(list)[hash & list->bucket_mask];
	while(slot && slots[slot].jid_hash != hash) {
		slot = slots[slot].jid_next;
	}
	return slot;
}

uint32_t pr_recipients_by_nick(const pr_recipients *list, uint32_t hash, uint32_t after) {
	const slot_record *const slots = slots_of(list);
	uint32_t slot = after ? slots[after].nick_next : nick_buckets(list)[hash & list->bucket_mask];
	while(slot && slots[slot].nick_hash != hash) {
		slot = slots[slot].nick_next;
	}
	return slot;
}

uint32_t pr_recipients_count(const pr_recipients *list) {
	return list->count;
}

uint32_t pr_recipients_group_count(const pr_recipients *list, uint32_t group) {
	return groups_of(list)[group].count;
}

uint32_t pr_recipients_group_of(const pr_recipients *list, uint32_t slot) {
	return slots_of(list)[slot].group;
}

uint32_t pr_recipients_visits(const pr_recipients *list) {
	return groups_of(list)[0].count + list->links;
}

uint32_t pr_recipients_snapshot(const pr_recipients *list, uint32_t except_group,
	pr_recipients_entry *entries, uint32_t *locals) {
	const slot_record *const slots = slots_of(list);
	const group_record *const groups = groups_of(list);
	uint32_t number, count = 0;
	for(number = groups[0].first; number; number = slots[number].next) {
		entries[count].number = number;
		entries[count].generation = slots[number].generation;
		count++;
	}
	*locals = count;
	for(number = list->first_link; number; number = groups[number].next) {
		if(number != except_group) {
			entries[count].number = number;
			entries[count].generation = groups[number].generation;
			count++;
		}
	}
	return count;
}

uint32_t pr_recipients_visit(const pr_recipients *list, const pr_recipients_entry *entry, int is_group) {
	if(is_group) {
		const group_record *const group = &groups_of(list)[entry->number];
		return group->generation == entry->generation ? group->first : 0;
	}
	return slots_of(list)[entry->number].generation == entry->generation ? entry->number : 0;
}
