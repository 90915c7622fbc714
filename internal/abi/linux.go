package abi

// ArchSetFS is ARCH_SET_FS of Linux's asm/prctl.h: arch_prctl sets the base of
// thread-local storage.
const ArchSetFS = 0x1002
