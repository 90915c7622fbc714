package spt

// Guest addresses. Guest memory begins at memBase and boot info lies at
// bootBase by the spt ABI (Solo5 spt_abi.h); what else lies below
// image.MinAddr is free for the tender, and a Solo5 guest never uses it. The
// numbers are also in stub_amd64.s.
const (
	memBase   = 0x10000 // SPT_HOST_MEM_BASE
	stubBase  = 0x10000 // the stub, read and execute; one page
	bootBase  = 0x11000 // SPT_BOOT_INFO_BASE: boot info, manifest, command line
	lineBase  = 0x17000 // the fault reporter's line
	lineSize  = 0x200
	stackBase = 0x18000        // the fault reporter's stack
	stackSize = 0x8000         // room for any extended state (AMX: 11 KiB)
	textsBase = 0x20000        // the fault reporter's texts, read only
	planBase  = 0x30000        // plan, messages, filter; wiped before the guest runs
	planRoom  = 0x60000        // room for them; what they do not need is not mapped
	taskEnd   = 0x7ffffffff000 // end of user addresses with four-level page tables (TASK_SIZE_MAX)
)

const (
	bootInfoSize = 40
	cmdlineSize  = 8192       // SPT_CMDLINE_SIZE, with its NUL
	timerData    = 0xfffffffe // epoll data of the timer (SPT_INTERNAL_TIMERFD)
)

// MaxArgs is the length in bytes of the longest guest command line.
const MaxArgs = cmdlineSize - 1

// Numbers of the reporter's texts; the first 32 are one a signal.
const (
	textProtection = 12
	textRAX        = 32
	textRDI        = 33
	textRSI        = 34
	textRDX        = 35
	textRIP        = 36
	textAt         = 37
	textUnknown    = 38
	textCalls      = 39
)

// pages rounds n up to whole pages.
func pages(n uint64) uint64 { return (n + 4095) &^ 4095 }
