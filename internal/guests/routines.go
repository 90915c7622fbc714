package guests

import "unsafe"

// Numbers of the routines.
const (
	sptReadRoutine = iota
	sptWriteRoutine
	sptWaitRoutine
	sptExitRoutine
	hvtReadRoutine
	hvtWriteRoutine
	hvtWaitRoutine
	hvtExitRoutine
	printRoutine
	optionsRoutine
	catStartRoutine
	catLoopRoutine
	catFinishRoutine
	probeStartRoutine
	probeValueRoutine
	probeSyscallRoutine
	probeInt80Routine
	probeLoad8Routine
	probeLoad64Routine
	probeStore8Routine
	probeStore64Routine
	probeOut8Routine
	probeOut16Routine
	probeOut32Routine
	probeIn32Routine
	probeMoveRoutine
	hvtRingReadRoutine
	probeFaultRoutine
	routines // how many
)

// routine returns the address of the numbered routine in this program's text.
func routine(n uintptr) unsafe.Pointer
