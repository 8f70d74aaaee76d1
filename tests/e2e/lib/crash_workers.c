/* Preloaded into a program that is called `real`: its workers die before they say a word. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void die_as_worker(void)
{
    char line[256], self[256];
    ssize_t n_self = readlink("/proc/self/exe", self, sizeof(self)), n = 0;
    int fd = open("/proc/self/cmdline", O_RDONLY);

    if (fd >= 0) {
        n = read(fd, line, sizeof(line));
        close(fd);
    }
    if (n > 0 && memmem(line, (size_t)n, "--role=worker", 13) && n_self > 5 &&
        memcmp(self + n_self - 5, "/real", 5) == 0)
        _exit(3);
}
