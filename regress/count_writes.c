/*
 * count_writes: preloaded into the page server by bench_storage.sh (LD_PRELOAD), and so into its redo
 * processes as well. Adds up the bytes they write to files, in the 8 bytes of the file that
 * ZENITH_COUNT_WRITES names: a kill -9 takes nothing away from the count. Sockets, pipes and what
 * goes to the log (standard error) do not count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long *count;

__attribute__((constructor)) static void
open_count(void)
{
	const char *path = getenv("ZENITH_COUNT_WRITES");
	int			fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void	   *mapped = fd < 0 ? MAP_FAILED :
		mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mapped != MAP_FAILED)
		count = mapped;
	if (fd >= 0)
		close(fd);
}

static ssize_t
counted(int fd, ssize_t written)
{
	struct stat info;

	if (written > 0 && count != NULL && fd > 2 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
		atomic_fetch_add(count, written);
	return written;
}

#define NEXT(function) \
	static __typeof__(&function) next; \
	if (next == NULL) \
		next = (__typeof__(&function)) dlsym(RTLD_NEXT, #function)

ssize_t
write(int fd, const void *data, size_t length)
{
	NEXT(write);
	return counted(fd, next(fd, data, length));
}

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	NEXT(pwrite);
	return counted(fd, next(fd, data, length, offset));
}

ssize_t
pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	NEXT(pwrite64);
	return counted(fd, next(fd, data, length, offset));
}

ssize_t
writev(int fd, const struct iovec *pieces, int n)
{
	NEXT(writev);
	return counted(fd, next(fd, pieces, n));
}

ssize_t
pwritev(int fd, const struct iovec *pieces, int n, off_t offset)
{
	NEXT(pwritev);
	return counted(fd, next(fd, pieces, n, offset));
}
