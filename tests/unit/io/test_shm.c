#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/shm.h"

static char dir[32], path[64];

static int setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/dm-shm-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/limits", dir);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    return rmdir(dir);
}

static void pages_are_shared_and_outlive_their_processes(void **state)
{
    struct dm_shm shm, other;
    struct dm_err err = {0};

    pid_t pid = fork();
    if (pid == 0) {
        if (dm_shm_open(&shm, path, "limits", 1, 100000, false, NULL) < 0)
            _exit(1);
        *(uint64_t *)shm.ptr = 42;
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 100000, false, &err), 0);
    assert_int_equal(*(uint64_t *)shm.ptr, 42);
    assert_int_equal(((char *)shm.ptr)[99999], 0);
    assert_int_equal((uintptr_t)shm.ptr % 64, 0);
    assert_int_equal(dm_shm_open(&other, path, "limits", 1, 100000, true, &err), 0);
    __atomic_fetch_add((uint64_t *)other.ptr, 1, __ATOMIC_RELAXED);
    assert_int_equal(*(uint64_t *)shm.ptr, 43);
    dm_shm_close(&other);
    dm_shm_close(&shm);
    assert_null(shm.ptr);
}

static void other_kinds_versions_and_sizes_are_refused(void **state)
{
    struct dm_shm shm, refused;
    struct dm_err err = {0};

    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 4096, false, &err), 0);
    assert_int_equal(dm_shm_open(&refused, path, "limits", 2, 4096, false, &err), DM_EVERSION);
    assert_non_null(strstr(err.message, "version"));
    assert_null(refused.ptr);
    assert_int_equal(dm_shm_open(&refused, path, "limits", 1, 8192, false, &err), DM_EVERSION);
    assert_int_equal(dm_shm_open(&refused, path, "counters", 1, 4096, false, &err), DM_ECORRUPT);
    dm_shm_close(&shm);
}

static void a_damaged_file_is_refused(void **state)
{
    struct dm_shm shm;
    struct dm_err err = {0};
    int fd;

    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 4096, false, &err), 0);
    dm_shm_close(&shm);
    assert_int_equal(truncate(path, 1000), 0);
    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 4096, false, &err), DM_ECORRUPT);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 4096, false, &err), DM_ECORRUPT);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "something else entirely, and longer than a header of 64 bytes is", 64), 64);
    close(fd);
    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 4096, false, &err), DM_ECORRUPT);
}

static void a_refused_file_may_be_replaced(void **state)
{
    struct dm_shm old, new;
    struct dm_err err = {0};

    assert_int_equal(dm_shm_open(&old, path, "limits", 1, 4096, false, &err), 0);
    *(uint64_t *)old.ptr = 7;
    assert_int_equal(dm_shm_open(&new, path, "limits", 2, 8192, true, &err), 0);
    assert_int_equal(*(uint64_t *)new.ptr, 0);
    assert_int_equal(new.size_bytes, 8192);
    assert_int_equal(*(uint64_t *)old.ptr, 7);
    dm_shm_close(&old);
    dm_shm_close(&new);
}

static void processes_that_create_at_once_get_the_same_pages(void **state)
{
    enum { N = 8, EACH = 1000 };
    struct dm_shm shm;
    int status;

    for (int i = 0; i < N; i++)
        if (fork() == 0) {
            if (dm_shm_open(&shm, path, "counters", 1, 4096, false, NULL) < 0)
                _exit(1);
            for (int k = 0; k < EACH; k++)
                __atomic_fetch_add((uint64_t *)shm.ptr, 1, __ATOMIC_RELAXED);
            _exit(0);
        }
    for (int i = 0; i < N; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(dm_shm_open(&shm, path, "counters", 1, 4096, false, NULL), 0);
    assert_int_equal(*(uint64_t *)shm.ptr, N * EACH);
    dm_shm_close(&shm);
}

static bool is_resident(const struct dm_shm *shm)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n_pages = (shm->map_bytes + page_bytes - 1) / page_bytes;
    unsigned char pages[64];

    assert_true(n_pages <= sizeof(pages));
    assert_int_equal(mincore(shm->map, shm->map_bytes, pages), 0);
    for (size_t i = 0; i < n_pages; i++)
        if (!(pages[i] & 1))
            return false;
    return true;
}

static void pages_can_be_brought_in_at_once(void **state)
{
    struct dm_shm shm;
    struct dm_err err = {0};

    assert_int_equal(dm_shm_open(&shm, path, "limits", 1, 200000, false, &err), 0);
    ((char *)shm.ptr)[5] = 7;
    dm_shm_populate(&shm);
    assert_true(is_resident(&shm));
    assert_int_equal(((char *)shm.ptr)[5], 7);
    assert_int_equal(((char *)shm.ptr)[199999], 0);
    dm_shm_close(&shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(pages_are_shared_and_outlive_their_processes),
        TEST(other_kinds_versions_and_sizes_are_refused),
        TEST(a_damaged_file_is_refused),
        TEST(a_refused_file_may_be_replaced),
        TEST(processes_that_create_at_once_get_the_same_pages),
        TEST(pages_can_be_brought_in_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
