/*
 * postgres_sweep.c: the sweep, on PostgreSQL. Tables are walked in the order of their pages (a TID
 * range scan, PostgreSQL 14 or later), so that no index is needed for what is looked for: an index
 * on the end of a session would cost every rotation more than the whole sweep costs.
 */
#include <endian.h>
#include <string.h>

#include "base/failpoint.h"
#include "store/postgres.h"

/* At 60 % filled, these hold some 350 sessions. */
#define PAGES_AT_ONCE 16

/* The place before the first row of a page, as PostgreSQL's type tid. */
static void put_page(struct pg_call *call, uint32_t page)
{
    uint8_t *slot = (uint8_t *)&call->numbers[call->count];
    uint32_t block = htobe32(page);
    uint16_t offset = 0;
    memcpy(slot, &block, sizeof block);
    memcpy(slot + sizeof block, &offset, sizeof offset);
    pg_put_bytes(call, slot, sizeof block + sizeof offset);
}

static void put_rules(struct pg_call *call, enum store_sweep what,
                      const struct store_sweep_rules *rules)
{
    switch (what) {
    case STORE_SWEEP_SESSIONS:
        pg_put_i64(call, rules->now - rules->session_ms);
        pg_put_i64(call, rules->now - rules->client_data_ms);
        return;
    case STORE_SWEEP_THROTTLES:
        pg_put_i64(call, rules->now - STORE_THROTTLE_MS);
        return;
    default:
        pg_put_i64(call, rules->now - STORE_IDEMPOTENCY_MS);
    }
}

enum err pg_sweep_step(struct store_conn *base, enum store_sweep what,
                       const struct store_sweep_rules *rules, struct store_sweep_place *place,
                       struct store_swept *out)
{
    static const enum pg_statement statements[STORE_SWEEPS] = {
        [STORE_SWEEP_SESSIONS] = PG_SWEEP_SESSIONS,
        [STORE_SWEEP_THROTTLES] = PG_SWEEP_THROTTLES,
        [STORE_SWEEP_KEYS] = PG_SWEEP_KEYS,
    };
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, statements[what]);
    put_page(&call, place->page);
    put_page(&call, place->page + PAGES_AT_ONCE);
    put_rules(&call, what, rules);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    FAILPOINT("sweep.step");
    place->page += PAGES_AT_ONCE;
    place->end = place->page >= pg_get_i64(res, 0, 3);
    *out = (struct store_swept){.deleted = (uint64_t)pg_get_i64(res, 0, 0),
                                .erased = (uint64_t)pg_get_i64(res, 0, 1),
                                .live = (uint64_t)pg_get_i64(res, 0, 2)};
    return OK;
}

enum err pg_sweep_begin(struct store_conn *base, int64_t lease_ms, struct store_sweep_turn *out)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SWEEP_BEGIN);
    pg_put_i64(&call, lease_ms);
    TRY(pg_run((struct pg_conn *)base, &call, 1, &res));
    *out = (struct store_sweep_turn){.ours = pg_get_bool(res, 0, 0),
                                     .live_sessions = (uint64_t)pg_get_i64(res, 0, 1),
                                     .now = pg_get_i64(res, 0, 2)};
    return OK;
}

enum err pg_sweep_keep(struct store_conn *base, int64_t lease_ms)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SWEEP_KEEP);
    pg_put_i64(&call, lease_ms);
    return pg_run((struct pg_conn *)base, &call, 1, &res);
}

enum err pg_sweep_end(struct store_conn *base, int64_t pause_ms, uint64_t live_sessions)
{
    struct pg_call call;
    PGresult *res CLEANUP(cleanup_result) = NULL;
    pg_call(&call, PG_SWEEP_END);
    pg_put_i64(&call, pause_ms);
    pg_put_i64(&call, (int64_t)live_sessions);
    return pg_run((struct pg_conn *)base, &call, 1, &res);
}
