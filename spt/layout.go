package spt

import (
	"gocat/internal/abi"
	"gocat/internal/plan"
)

// Guest addresses. Guest memory begins at memBase and boot info lies at
// bootBase by the spt ABI (Solo5 spt_abi.h); what else lies below
// image.MinAddr is free for the tender, and a Solo5 guest never uses it. The
// numbers are also in stub_amd64.s.
const (
	memBase   = abi.LowAddr    // SPT_HOST_MEM_BASE
	stubBase  = 0x10000        // the fault reporter and the plan's stub, read and execute; one page
	symbolsAt = 0x10fc0        // in it, where the image's symbols are: see symbols;
	gateAt    = 0x10ff0        // the address of the reporter's write, and
	handlerAt = 0x10ff8        // that of the guest's signal handler, if it has one
	bootBase  = plan.BootInfo  // boot info, manifest, command line
	lineBase  = plan.EntryWord // the fault reporter's line, later
	lineSize  = 0x200
	stackBase = 0x18000 // the fault reporter's stack
	stackSize = 0x8000  // room for any extended state (AMX: 11 KiB)
	textsBase = 0x20000 // the fault reporter's texts, read only
	textsEnd  = 0x22000
	stateBase = 0x28000 // registers of a guest that has run before, read only
	stateArea = 256     // in it, where the XSAVE area is
	stateSize = 0x7000  // room
	titleBase = 0x2f000 // the command line that ps shows, read only; a page
	planBase  = plan.Base
	planRoom  = plan.Room
	taskEnd   = plan.TaskEnd
)

const (
	bootInfoSize = abi.SPTBootSize
	cmdlineSize  = abi.CmdlineSize
	timerData    = abi.TimerHandle // epoll data of the timer
)

// MaxTitle is the length in bytes of the longest title.
const MaxTitle = plan.PageSize - 1

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
	textI386       = 39
	textX32        = 40
	textIn         = 41
	textCalls      = 42
)
