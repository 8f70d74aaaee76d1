/* What the unit tests of base share: cmocka, a seeded generator, and calls that must end the process. */
#ifndef DM_TESTS_UNIT_BASE_TESTING_H
#define DM_TESTS_UNIT_BASE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/str.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define assert_str(s, literal) test_assert_str((s), DM_STR(literal), __FILE__, __LINE__)

static inline void test_assert_str(struct dm_str found, struct dm_str expected, const char *file, int line)
{
    if (dm_str_eq(found, expected))
        return;
    print_error("expected \"%.*s\", found \"%.*s\"\n", DM_STR_ARG(expected), DM_STR_ARG(found));
    _fail(file, line);
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
struct test_random {
    uint64_t state;
};

/* The seed is printed; DM_TEST_SEED repeats a run. */
static inline struct test_random test_random_new(void)
{
    const char *given = getenv("DM_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();

    print_message("DM_TEST_SEED=%llu\n", (unsigned long long)seed);
    return (struct test_random){seed};
}

static inline uint64_t test_random_u64(struct test_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline size_t test_random_below(struct test_random *random, size_t n)
{
    return (size_t)(test_random_u64(random) % n);
}

/* Did act(arg) end a process of its own by a signal, or by a sanitizer's report? */
static inline bool test_dies(void (*act)(void *arg), void *arg)
{
    struct rlimit no_core = {0, 0};
    int status, null_fd;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        null_fd = open("/dev/null", O_WRONLY);
        dup2(null_fd, STDERR_FILENO);
        act(arg);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

#endif
