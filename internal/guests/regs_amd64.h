// Shared by the routines of the guests, which package guests copies out of the
// running binary and places at addresses of its own choice.
//
// A routine therefore refers to no symbol. It reaches everything outside itself
// through LINK, a table of addresses at the start of the guest's rodata whose
// layout is the Go struct link:
//
//	CALL link_write(LINK)       // call the target's write
//	MOVQ link_banner(LINK), SI  // SI = address of a string
//
// Names such as link_write and const_linkBase come from go_asm.h, which the Go
// toolchain makes from the package's structs and constants.

// Registers that hold the same in every routine of the cat guest. Others are
// scratch unless a routine's comment says that it keeps them.
#define LINK	R15	// struct link
#define STATE	R14	// struct state, zeroed at the start
#define BOOT	BX	// boot info of the tender

// END ends a routine: Go code copies up to it.
#define END	QUAD $const_endMark

// System calls (x86-64) and errors of Linux.
#define SYS_READ	0
#define SYS_WRITE	1
#define SYS_EXIT_GROUP	231
#define SYS_EPOLL_PWAIT	281
#define EINTR	4
#define EAGAIN	11
#define ENODEV	19

// Exit statuses of the guests.
#define OK	0
#define FAILED	1
#define USAGE	64	// EX_USAGE, as of MirageOS unikernels
