package plan

import "gocat/internal/abi"

// Addresses in the process that carries out a plan. The numbers are also in
// stub_amd64.s.
const (
	Base    = 0x30000        // plan, messages, filter; wiped before the guest runs
	Room    = 0xd0000        // bytes of room for them; what they do not need is not mapped
	TaskEnd = 0x7ffffffff000 // end of user addresses with four-level page tables (TASK_SIZE_MAX)

	// EntryWord is the address of a word through which the stub jumps to a guest
	// whose boot info is at BootInfo.
	EntryWord = 0x17000
	BootInfo  = abi.SPTBootAddr
)
