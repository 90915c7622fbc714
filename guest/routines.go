package guest

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
	routines // how many
)

// routine returns the address of the numbered routine in this program's text.
func routine(n uintptr) unsafe.Pointer
