/* grpc.health.v1 as bytes: requests as other implementations write them, answers of all kinds. */
#include "gateway/upstream/grpc_health.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_requests(void **state)
{
    char bytes[DM_GRPC_HEALTH_MAX], longest[127];

    assert_int_equal(dm_grpc_health_write(bytes, DM_STR("")), 5);
    assert_memory_equal(bytes, "\0\0\0\0\0", 5);
    assert_int_equal(dm_grpc_health_write(bytes, DM_STR("a.B")), 10);
    assert_memory_equal(bytes, "\0\0\0\0\5\n\3a.B", 10);
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(dm_grpc_health_write(bytes, dm_str_n(longest, sizeof(longest))), 5 + 2 + 127);
    assert_int_equal(bytes[6], 127);
}

static void test_answers(void **state)
{
    static const struct {
        struct dm_str frame;
        bool is_serving;
    } cases[] = {
        {{"\0\0\0\0\2\10\1", 7}, true},
        {{"\0\0\0\0\2\10\2", 7}, false},                                         /* NOT_SERVING */
        {{"\0\0\0\0\2\10\3", 7}, false},                                         /* SERVICE_UNKNOWN */
        {{"\0\0\0\0\2\10\0", 7}, false},                                         /* UNKNOWN */
        {{"\0\0\0\0\0", 5}, false},                                              /* UNKNOWN is left out */
        {{"\0\0\0\0\4\10\2\10\1", 9}, true},                                     /* the last one counts */
        {{"\0\0\0\0\7\22\3abc\10\1", 12}, true},                                 /* behind a field of a later version */
        {{"\0\0\0\0\3\10\201\0", 8}, true},                                      /* 1 in two bytes */
        {{"\0\0\0\0\13\31\0\0\0\0\0\0\0\0\10\1", 16}, true},                     /* behind one of 64 bits */
        {{"\0\0\0\0\7\35\0\0\0\0\10\1", 12}, true},                              /* and of 32 */
        {{"\1\0\0\0\2\10\1", 7}, false},                                         /* compressed */
        {{"\0\0\0\0\3\10\1", 7}, false},                                         /* cut */
        {{"\0\0\0\0\1\10\1", 7}, false},                                         /* more than one message */
        {{"\0\0\0\0\1\10", 6}, false},                                           /* a field without its value */
        {{"\0\0\0\0\2\0\1", 7}, false},                                          /* no field has the number 0 */
        {{"\0\0\0\0\2\13\1", 7}, false},                                         /* a group */
        {{"\0\0\0\0\3\22\5a", 8}, false},                                        /* longer than there is */
        {{"\0\0\0\0\14\10\201\200\200\200\200\200\200\200\200\2\0", 17}, false}, /* a varint of too many bits */
        {{"", 0}, false},
        {{"\0\0\0\0", 4}, false},
    };

    for (size_t i = 0; i < DM_COUNT(cases); i++)
        if (dm_grpc_health_is_serving(cases[i].frame) != cases[i].is_serving)
            fail_msg("case %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests), cmocka_unit_test(test_answers)};

    return cmocka_run_group_tests_name("gateway/grpc_health", tests, NULL, NULL);
}
