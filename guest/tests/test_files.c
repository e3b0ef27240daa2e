/* No path leads out of the work folder. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "testing.h"

static struct work_folder work;

static void test_plain_paths(void) {
    int fd = files_create(&work, "a/b/c", 0640);
    CHECK(fd >= 0);
    CHECK(files_write(fd, (const uint8_t *)"content", 7) == 0);
    close(fd);
    struct stat status;
    CHECK(fstatat(work.fd, "a/b/c", &status, 0) == 0 && status.st_size == 7 && (status.st_mode & 07777) == 0640);
    uint64_t size = 0;
    fd = files_open_result(&work, "a/b/c", &size);
    CHECK(fd >= 0 && size == 7);
    close(fd);
    CHECK(files_open_result(&work, "a/none", &size) < 0 && errno == ENOENT);
    CHECK(files_make_folder(&work, "a/d", 0700) == 0 && files_make_folder(&work, "a/d", 0755) == 0);
    CHECK(fstatat(work.fd, "a/d", &status, 0) == 0 && (status.st_mode & 07777) == 0755);
    CHECK(files_make_parents(&work, "e/f/g") == 0);
    CHECK(fstatat(work.fd, "e/f", &status, 0) == 0 && S_ISDIR(status.st_mode));
}

static void test_paths_that_are_not_plain(void) {
    const char *const paths[] = {"", "/", "/etc/x", "..", "../x", "a/../../x", ".", "./x", "a//b", "a/", "a/./b", "//x"};
    uint64_t size;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        CHECK(files_create(&work, paths[i], 0644) < 0);
        CHECK(strcmp(files_error_kind(errno), "bad_path") == 0);
        CHECK(files_make_folder(&work, paths[i], 0755) < 0);
        CHECK(files_open_result(&work, paths[i], &size) < 0);
    }
}

static void test_links(void) {
    uint64_t size;
    CHECK(symlinkat("/etc", work.fd, "folder") == 0 && symlinkat("/etc/passwd", work.fd, "file") == 0);
    CHECK(files_create(&work, "folder/x", 0644) < 0 && strcmp(files_error_kind(errno), "bad_path") == 0);
    CHECK(files_create(&work, "file", 0644) < 0 && strcmp(files_error_kind(errno), "bad_path") == 0);
    CHECK(files_open_result(&work, "file", &size) < 0 && strcmp(files_error_kind(errno), "bad_path") == 0);
    CHECK(files_make_folder(&work, "folder", 0755) < 0);
    CHECK(linkat(work.fd, "a/b/c", work.fd, "hard", 0) == 0);
    CHECK(files_open_result(&work, "hard", &size) < 0 && files_create(&work, "hard", 0644) < 0);
    CHECK(mkfifoat(work.fd, "fifo", 0600) == 0);
    CHECK(files_create(&work, "fifo", 0644) < 0 && files_open_result(&work, "fifo", &size) < 0);
}

static void remove_all(void) {
    const char *const files[] = {"a/b/c", "hard", "file", "folder", "fifo"};
    const char *const folders[] = {"a/b", "a/d", "a", "e/f", "e"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        unlinkat(work.fd, files[i], 0);
    }
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        unlinkat(work.fd, folders[i], AT_REMOVEDIR);
    }
}

int main(void) {
    char path[] = "/tmp/caisson-files-XXXXXX";
    CHECK(mkdtemp(path) != NULL && files_open(&work, path, getuid(), getgid()));
    test_plain_paths();
    test_paths_that_are_not_plain();
    test_links();
    remove_all();
    close(work.fd);
    CHECK(rmdir(path) == 0);
    return 0;
}
