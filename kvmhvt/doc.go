// Package kvmhvt runs a Solo5 hvt guest in a KVM virtual machine.
//
// Solo5's bindings expect to run at privilege level 0. By default kvmhvt starts
// them at level 3 instead, behind a shim: page tables, GDT, IDT and TSS that the
// tender owns and the guest cannot address, with every exception gate leading to
// an instruction that leaves the virtual machine. The tender emulates the few
// privileged instructions that the bindings use (emulate.go) and delivers other
// faults to the guest's own handlers. So segments keep the protection they ask
// for, and a guest has no access to control registers or model-specific
// registers. Config.CPL chooses Solo5's own arrangement, privilege level 0.
//
// Run confines the calling process before the first guest instruction, and this
// cannot be undone: afterwards the process can do little more than report and
// exit.
package kvmhvt
