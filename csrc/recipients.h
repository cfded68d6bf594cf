/* SPDX-License-Identifier: MIT
 *
 * The recipients of one room: their JIDs, their nicks and their links. Requirement A8.
 *
 * A recipient is a slot, a number from 1; slots are reused. The caller keeps the strings, filed by slot, and gives their hashes here. Two
 * index tables lead from a hash to the slots that have it, and the caller compares the strings. A recipient belongs to a group. Group 0
 * is the local sessions; each other group is a link, and only one member of a link is visited. All functions are O(1) unless their comment
 * says otherwise. A recipient costs 36 octets and about 5 octets of index.
 *
 * The caller supplies one block of memory for everything; no function allocates memory. The block holds no pointers.
 */
#ifndef PROSODY_RELAY_RECIPIENTS_H
#define PROSODY_RELAY_RECIPIENTS_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden) /* LuaRocks compiles without -fvisibility=hidden */

/* Most slots of a list, and most groups. */
#define PR_RECIPIENTS_MAX 0x4000000u

typedef struct pr_recipients pr_recipients;

/* The target of a later visit; see _snapshot. */
typedef struct {
	uint32_t number; /* a slot, or a group when is_group */
	uint32_t generation; /* counts the uses of the number: a later use is another recipient */
} pr_recipients_entry;

/* Size in octets of a block with room for these; 0 when one of them exceeds PR_RECIPIENTS_MAX. It needs the alignment of uint32_t. */
size_t pr_recipients_size(uint32_t slots, uint32_t groups);

/* Makes an empty list from a block of _size(slots, groups) octets. */
void pr_recipients_init(pr_recipients *list, uint32_t slots, uint32_t groups);

/* Copies a list to an initialised, empty one with room for at least as many slots and groups. Slots, groups and generations keep
 * their numbers. O(n). */
void pr_recipients_copy(pr_recipients *to, const pr_recipients *from);

/* Whether the list needs a larger block before a recipient (with new_group: and its group) is added. Sets the capacities for that
 * block. */
int pr_recipients_is_full(const pr_recipients *list, int new_group, uint32_t *slots, uint32_t *groups);

/* The numbers that the next _add and the next _add_group will return. */
uint32_t pr_recipients_next_slot(const pr_recipients *list);
uint32_t pr_recipients_next_group(const pr_recipients *list);

/* Adds a group without members. The caller adds a member at once: a group goes with its last member. There must be room. */
uint32_t pr_recipients_add_group(pr_recipients *list);

/* Adds a recipient to an existing group (0: a local session) and returns its slot. There must be room. */
uint32_t pr_recipients_add(pr_recipients *list, uint32_t jid_hash, uint32_t nick_hash, uint32_t group);

/* Removes a recipient. Returns its group when the group went, too; otherwise 0. */
uint32_t pr_recipients_remove(pr_recipients *list, uint32_t slot);

/* Slots whose JID (nick) has this hash: the first one for after = 0, then the one after the last result; 0 at the end. */
uint32_t pr_recipients_by_jid(const pr_recipients *list, uint32_t hash, uint32_t after);
uint32_t pr_recipients_by_nick(const pr_recipients *list, uint32_t hash, uint32_t after);

uint32_t pr_recipients_count(const pr_recipients *list);
uint32_t pr_recipients_group_count(const pr_recipients *list, uint32_t group);
uint32_t pr_recipients_group_of(const pr_recipients *list, uint32_t slot);

/* The most entries of a snapshot: local sessions and links. */
uint32_t pr_recipients_visits(const pr_recipients *list);

/* Writes the entries to visit: local sessions in the order they were added, then one entry for each link except except_group (0: none).
 * Sets *locals to the number of sessions among the entries and returns the number of entries. O(entries). Recipients may be added and
 * removed later. */
uint32_t pr_recipients_snapshot(const pr_recipients *list, uint32_t except_group,
	pr_recipients_entry *entries, uint32_t *locals);

/* The slot to visit for an entry: the session itself, or the oldest member of the link. 0 when the session or link has gone. */
uint32_t pr_recipients_visit(const pr_recipients *list, const pr_recipients_entry *entry, int is_group);

#pragma GCC visibility pop

#endif
