/*
 * Preloaded into User-Mode Linux 6.1, below its shim: makes any processor's extended registers (NT_X86_XSTATE) look as
 * large through ptrace(2) as they are with AMX, and a shorter set be refused, as Linux does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* 2,752 bytes up to the tile configuration, 64 for it, 8 KiB of tiles: what cpuid tells on Sapphire Rapids */
#define WHOLE 11008

typedef long (*ptrace_function)(enum __ptrace_request, pid_t, void *, void *);

static char whole[64 * 1024];

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_function real;
	va_list words;
	pid_t process;
	void *address, *data;
	struct iovec *given, own;

	if (!real)
		real = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
	va_start(words, request);
	process = va_arg(words, pid_t);
	address = va_arg(words, void *);
	data = va_arg(words, void *);
	va_end(words);

	if ((long)address != NT_X86_XSTATE || (request != PTRACE_GETREGSET && request != PTRACE_SETREGSET))
		return real(request, process, address, data);
	given = data;
	own = (struct iovec){ whole, sizeof(whole) };
	if (real(PTRACE_GETREGSET, process, address, &own) < 0)
		return -1;
	if (request == PTRACE_GETREGSET) {
		memset(whole + own.iov_len, 0, sizeof(whole) - own.iov_len);
		if (given->iov_len > WHOLE)
			given->iov_len = WHOLE;
		memcpy(given->iov_base, whole, given->iov_len);
		return 0;
	}
	if (given->iov_len < WHOLE) {
		errno = EFAULT;
		return -1;
	}
	own.iov_base = given->iov_base;
	return real(request, process, address, &own);
}
