/* A guest with debugging information, for the tests of gocat run --gdb. Built by
 * them with -DSPT or -DHVT; its first argument says what it does. */
typedef unsigned long u64;
typedef unsigned int u32;

__asm__(".section .note.solo5.abi, \"a\", @note\n"
	".balign 4\n"
	".long 6, 16, 0x31494241\n"
	".asciz \"Solo5\"\n"
	".balign 4\n"
#ifdef SPT
	".long 2, 2, 0, 0\n"
#else
	".long 1, 2, 0, 0\n"
#endif
	".section .note.solo5.manifest, \"a\", @note\n"
	".balign 8\n"
	".long 6, 4 + 8 + 104, 0x3154464d\n"
	".asciz \"Solo5\"\n"
	".balign 4\n"
	".long 0\n"
	".long 1, 1\n"
	".fill 68, 1, 0\n"
	".long 1 << 30\n"
	".fill 32, 1, 0\n"
	".text\n");

#ifdef SPT
struct boot { u64 size, end; const char *args; void *manifest; int epoll, timer; };

static void put(const char *s, u64 n)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(1L), "D"(1L), "S"(s), "d"(n) : "rcx", "r11", "memory");
}

static void __attribute__((noreturn)) quit(int status)
{
	for (;;)
		__asm__ volatile("syscall" : : "a"(231L), "D"((long)status) : "rcx", "r11", "memory");
}
#else
struct boot { u64 size, end, hz; const char *args; };

static void put(const char *s, u64 n)
{
	struct { const char *s; u64 n; } p = { s, n };
	__asm__ volatile("outl %0, %1" : : "a"((u32)(u64)&p), "Nd"((short)0x502) : "memory");
}

static void __attribute__((noreturn)) quit(int status)
{
	struct { void *cookie; int status; } p = { 0, status };
	for (;;)
		__asm__ volatile("outl %0, %1" : : "a"((u32)(u64)&p), "Nd"((short)0x508) : "memory");
}
#endif

volatile int counter, stop, seen;
volatile double scale = 1.5;

static void __attribute__((noinline)) leaf(int n)
{
	counter += n;
	__asm__ volatile("" ::: "memory");
}

static void __attribute__((noinline)) middle(int n)
{
	leaf(n);
	__asm__ volatile("" ::: "memory");
}

static void __attribute__((noinline)) spin(void)
{
	while (!stop)
		seen++;
}

static void __attribute__((noinline)) fault(volatile int *where)
{
	*where = 1;
}

int work(const char *args)
{
	for (int i = 1; i <= 10; i++)
		middle(i);
	if (args[1] == 'd') /* with SSE */
		scale = scale * counter;
	put("counted\n", 8);
	switch (args[0]) {
	case 's':
		spin();
		put("stopped\n", 8);
		break;
	case 'a':
		quit(255);
	case 'm': /* touch some memory */
		for (volatile char *p = (char *)0x400000; p < (char *)0x800000; p += 4096)
			*p = 1;
		quit(255);
	case 'f':
		fault((int *)8);
	}
	return counter == 55 ? 0 : 7;
}

void __attribute__((noreturn)) begin(struct boot *b)
{
	quit(work(b->args));
}

__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tcall begin\n\thlt\n");
