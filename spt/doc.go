// Package spt runs a Solo5 spt guest as a process confined by seccomp.
//
// A Go process has many threads and cannot share an address space with its
// guest, so the tender never jumps into the guest. It seals: it writes a small
// static ELF executable that holds the guest's segments, its boot info, a stub
// of machine code and a plan, which is a list of system calls for the stub to
// make. The kernel maps the executable into a fresh address space; the stub
// attaches the devices, unmaps everything that is not the guest's, installs the
// seccomp filter and enters the guest. Run seals into a memfd and becomes the
// guest; Seal writes the executable for later.
package spt
