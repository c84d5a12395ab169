/* The clock that a platform under test sees: the machine's, wrong by as many seconds as the file named in
   XIAOHAO_CLOCK says (eight bytes, mapped, so that looking costs nothing). Preloaded into every process.

   What is waited for until a moment of that clock comes after as long as whoever waits meant; sleeps and the
   clock that nobody can set are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t right = 0;
static const volatile int64_t *wrong_by = &right;
static int (*look)(clockid_t, struct timespec *);
static int (*wait_cond)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*wait_sem)(sem_t *, const struct timespec *);

/* others' constructors may come before ours */
__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("XIAOHAO_CLOCK");
	int file;

	if (look != NULL)
		return;
	wait_sem = dlsym(RTLD_NEXT, "sem_timedwait");
	/* without its version the condition variables of before 2003 would be found */
	wait_cond = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
	if (wait_cond == NULL)
		wait_cond = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	look = dlsym(RTLD_NEXT, "clock_gettime");
	if (path == NULL || (file = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return;
	void *mapped = mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, file, 0);
	if (mapped != MAP_FAILED)
		wrong_by = mapped;
	close(file);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
	begin();
	int result = look(which, now);
	if (result == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
		now->tv_sec += *wrong_by;
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec fine;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &fine);
	now->tv_sec = fine.tv_sec;
	now->tv_usec = fine.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *kept)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (kept != NULL)
		*kept = now.tv_sec;
	return now.tv_sec;
}

/* a moment of a clock that began when the machine did is far smaller */
static struct timespec in_truth(const struct timespec *until)
{
	struct timespec meant = *until;

	if (meant.tv_sec > 1000000000)
		meant.tv_sec -= *wrong_by;
	return meant;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
	begin();
	struct timespec meant = in_truth(until);
	return wait_cond(cond, mutex, &meant);
}

int sem_timedwait(sem_t *sem, const struct timespec *until)
{
	begin();
	struct timespec meant = in_truth(until);
	return wait_sem(sem, &meant);
}
