#include "io/timer.h"

enum { LEVEL_BITS = 6, SLOT_MASK = DM_TIMER_SLOTS - 1, SLOT_NONE = UINT16_MAX };

static void list_init(struct dm_timer_link *head)
{
    head->next = head->prev = head;
}

static bool list_empty(const struct dm_timer_link *head)
{
    return head->next == head;
}

static void list_add(struct dm_timer_link *head, struct dm_timer_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static void list_del(struct dm_timer_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = NULL;
}

/* Moves all of from to the empty list to. */
static void list_take(struct dm_timer_link *from, struct dm_timer_link *to)
{
    if (list_empty(from))
        return;
    to->next = from->next;
    to->prev = from->prev;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

void dm_timer_wheel_init(struct dm_timer_wheel *wheel, uint64_t now_tick)
{
    *wheel = (struct dm_timer_wheel){.now_tick = now_tick};
    for (size_t i = 0; i < DM_COUNT(wheel->slots); i++)
        list_init(&wheel->slots[i]);
    list_init(&wheel->firing);
}

/* The highest group of bits in which the ticks differ. */
static unsigned level_of(uint64_t due, uint64_t now)
{
    unsigned level = (63 - (unsigned)__builtin_clzll((due ^ now) | 1)) / LEVEL_BITS;

    return DM_MIN(level, DM_TIMER_LEVELS - 1);
}

static bool is_in_wheel(const struct dm_timer *timer)
{
    return timer->link.next != NULL;
}

/* due_tick > now_tick. */
static void place(struct dm_timer_wheel *wheel, struct dm_timer *timer)
{
    unsigned level = level_of(timer->due_tick, wheel->now_tick);
    unsigned slot = (timer->due_tick >> (level * LEVEL_BITS)) & SLOT_MASK;

    timer->placed_tick = timer->due_tick;
    timer->slot = (uint16_t)(level * DM_TIMER_SLOTS + slot);
    list_add(&wheel->slots[timer->slot], &timer->link);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

static void unlink_timer(struct dm_timer_wheel *wheel, struct dm_timer *timer)
{
    list_del(&timer->link);
    if (timer->slot != SLOT_NONE && list_empty(&wheel->slots[timer->slot]))
        wheel->occupied[timer->slot / DM_TIMER_SLOTS] &= ~(UINT64_C(1) << (timer->slot & SLOT_MASK));
}

void dm_timer_wheel_arm(struct dm_timer_wheel *wheel, struct dm_timer *timer, uint64_t due_tick)
{
    due_tick = DM_MAX(due_tick, wheel->now_tick + 1);
    if (!is_in_wheel(timer)) {
        wheel->n_armed++;
    } else if (timer->slot != SLOT_NONE && due_tick >= timer->placed_tick) {
        timer->due_tick = due_tick;
        return;
    } else {
        unlink_timer(wheel, timer);
    }
    timer->due_tick = due_tick;
    place(wheel, timer);
}

void dm_timer_wheel_cancel(struct dm_timer_wheel *wheel, struct dm_timer *timer)
{
    if (!is_in_wheel(timer))
        return;
    unlink_timer(wheel, timer);
    wheel->n_armed--;
}

/* All timers of a level lie behind the present slot and before the next one of the level above, so the lowest level that
 * holds any holds the next. */
uint64_t dm_timer_wheel_next(const struct dm_timer_wheel *wheel)
{
    if (DM_UNLIKELY(!list_empty(&wheel->firing)))
        return wheel->now_tick;
    for (unsigned level = 0; level < DM_TIMER_LEVELS; level++) {
        unsigned shift = level * LEVEL_BITS;
        if (wheel->occupied[level] == 0)
            continue;
        uint64_t block = wheel->now_tick >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        return block | (uint64_t)__builtin_ctzll(wheel->occupied[level]) << shift;
    }
    return UINT64_MAX;
}

/* The slot that begins at tick, which is the wheel's next. */
static unsigned first_slot(const struct dm_timer_wheel *wheel)
{
    unsigned level = 0;

    while (wheel->occupied[level] == 0)
        level++;
    return level * DM_TIMER_SLOTS + (unsigned)__builtin_ctzll(wheel->occupied[level]);
}

/* Those due now go to the firing list, the others to the slot of their due tick. */
static void open_slot(struct dm_timer_wheel *wheel, unsigned index)
{
    struct dm_timer_link list;

    list_init(&list);
    list_take(&wheel->slots[index], &list);
    wheel->occupied[index / DM_TIMER_SLOTS] &= ~(UINT64_C(1) << (index & SLOT_MASK));
    while (!list_empty(&list)) {
        struct dm_timer *timer = DM_CONTAINER_OF(list.next, struct dm_timer, link);
        list_del(&timer->link);
        if (timer->due_tick > wheel->now_tick) {
            place(wheel, timer);
            continue;
        }
        timer->slot = SLOT_NONE;
        list_add(&wheel->firing, &timer->link);
    }
}

static size_t fire_some(struct dm_timer_wheel *wheel, size_t max, void (*fire)(void *, struct dm_timer *), void *arg)
{
    size_t n = 0;

    for (; n < max && !list_empty(&wheel->firing); n++) {
        struct dm_timer *timer = DM_CONTAINER_OF(wheel->firing.next, struct dm_timer, link);
        list_del(&timer->link);
        wheel->n_armed--;
        fire(arg, timer);
    }
    return n;
}

size_t dm_timer_wheel_run(struct dm_timer_wheel *wheel, uint64_t now_tick, size_t max,
                          void (*fire)(void *arg, struct dm_timer *timer), void *arg)
{
    size_t n = fire_some(wheel, max, fire, arg);
    uint64_t next;

    while (n < max && (next = dm_timer_wheel_next(wheel)) <= now_tick) {
        unsigned index = first_slot(wheel);
        wheel->now_tick = next;
        open_slot(wheel, index);
        n += fire_some(wheel, max - n, fire, arg);
    }
    if (list_empty(&wheel->firing) && dm_timer_wheel_next(wheel) > now_tick)
        wheel->now_tick = DM_MAX(wheel->now_tick, now_tick);
    return n;
}
