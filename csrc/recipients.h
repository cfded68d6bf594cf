/* SPDX-License-Identifier: MIT
 *
 * The recipients of one room: who is there, under which nick, and over which link. Requirement A8.
 *
 * A recipient is a slot, a number from 1; slots are reused. Strings stay with the caller, who files them by slot and gives their
 * hashes here: two index tables lead from a hash to the slots that have it, the caller compares the strings. Recipients belong to a
 * group: group 0 are the local sessions, each other group is a link, of which only one member is visited. Everything is O(1) except
 * what says otherwise; a recipient costs 36 octets and about 5 of index.
 *
 * One block of memory, supplied by the caller, holds everything; nothing here allocates. The block holds no pointers.
 */
#ifndef PROSODY_RELAY_RECIPIENTS_H
#define PROSODY_RELAY_RECIPIENTS_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Slots and groups of one list, each. */
#define PR_RECIPIENTS_MAX 0x4000000u

typedef struct pr_recipients pr_recipients;

/* What a visit will be made to; see _snapshot. */
typedef struct {
	uint32_t number; /* a slot, or a group when is_group */
	uint32_t generation; /* of its use; a later user of the same number is somebody else */
} pr_recipients_entry;

/* Octets a block with room for these needs, 0 when one of them exceeds PR_RECIPIENTS_MAX. Needs the alignment of uint32_t. */
size_t pr_recipients_size(uint32_t slots, uint32_t groups);

/* Makes an empty list of a block of _size(slots, groups) octets. */
void pr_recipients_init(pr_recipients *list, uint32_t slots, uint32_t groups);

/* Copies a list to an initialised, empty one with room for at least as many slots and groups. Slots, groups and generations keep
 * their numbers. O(n). */
void pr_recipients_copy(pr_recipients *to, const pr_recipients *from);

/* Whether the list has to move to a larger block before a recipient (and, when new_group, its group) is added; sets the capacities
 * that block should have. */
int pr_recipients_is_full(const pr_recipients *list, int new_group, uint32_t *slots, uint32_t *groups);

/* The numbers the next _add and the next _add_group will give. */
uint32_t pr_recipients_next_slot(const pr_recipients *list);
uint32_t pr_recipients_next_group(const pr_recipients *list);

/* Adds a group without members, which the caller fills at once: it goes when its last member does. There must be room. */
uint32_t pr_recipients_add_group(pr_recipients *list);

/* Adds a recipient to an existing group (0: a local session) and returns its slot. There must be room. */
uint32_t pr_recipients_add(pr_recipients *list, uint32_t jid_hash, uint32_t nick_hash, uint32_t group);

/* Removes a recipient. Returns its group when that went with it, otherwise 0. */
uint32_t pr_recipients_remove(pr_recipients *list, uint32_t slot);

/* Slots whose JID (nick) has this hash: the first one for after = 0, then the one after the last result, 0 at the end. */
uint32_t pr_recipients_by_jid(const pr_recipients *list, uint32_t hash, uint32_t after);
uint32_t pr_recipients_by_nick(const pr_recipients *list, uint32_t hash, uint32_t after);

uint32_t pr_recipients_count(const pr_recipients *list);
uint32_t pr_recipients_group_count(const pr_recipients *list, uint32_t group);
uint32_t pr_recipients_group_of(const pr_recipients *list, uint32_t slot);

/* Number of entries a snapshot has at most: local sessions and links. */
uint32_t pr_recipients_visits(const pr_recipients *list);

/* Notes whom to visit now: local sessions in the order they were added, then one entry for each link but except_group (0: none). Sets
 * *locals to the number of sessions among the entries, returns the number of entries. O(entries). Adding and removing later do not
 * disturb it. */
uint32_t pr_recipients_snapshot(const pr_recipients *list, uint32_t except_group,
	pr_recipients_entry *entries, uint32_t *locals);

/* The slot to visit for an entry: the session itself, or the longest-standing member of the link. 0 when they are gone. */
uint32_t pr_recipients_visit(const pr_recipients *list, const pr_recipients_entry *entry, int is_group);

#pragma GCC visibility pop

#endif
