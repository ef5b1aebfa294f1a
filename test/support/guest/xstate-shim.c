/*
 * Preloaded into User-Mode Linux 6.1 on a processor with AMX.
 *
 * ptrace(2) sets a process's extended registers (NT_X86_XSTATE) only from a whole set of them. With AMX the set is
 * larger than the room that this kernel keeps for it, so what it gives back is short: the host refuses, and the kernel
 * panics. Nothing in the guest uses the part that it cut off. So a short set is laid over the beginning of the one that
 * the process has, and that is set whole.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long (*ptrace_function)(enum __ptrace_request, pid_t, void *, void *);

static char whole[64 * 1024];

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_function real;
	va_list words;
	pid_t process;
	void *address, *data;

	if (!real)
		real = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
	va_start(words, request);
	process = va_arg(words, pid_t);
	address = va_arg(words, void *);
	data = va_arg(words, void *);
	va_end(words);

	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		struct iovec *given = data;
		struct iovec present = { whole, sizeof(whole) };

		if (real(PTRACE_GETREGSET, process, address, &present) < 0)
			return -1;
		if (present.iov_len > given->iov_len) {
			memcpy(whole, given->iov_base, given->iov_len);
			return real(request, process, address, &present);
		}
	}
	return real(request, process, address, data);
}
