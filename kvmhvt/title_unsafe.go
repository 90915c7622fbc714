package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// nameProcess names the process, for those who list processes.
func nameProcess(name string) {
	p := raw.CString(name)
	raw.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(unsafe.SliceData(p))), 0, 0, 0, 0)
}

// titleProcess gives the process another command line, its words apart by NULs. Where
// the kernel is built without CONFIG_CHECKPOINT_RESTORE the old one stays.
func titleProcess(title string) {
	p := raw.CString(title)
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
	end := at + uint64(len(p))
	// struct prctl_mm_map (linux/prctl.h): the kernel only uses these addresses to
	// tell of them in /proc. The environment has been wiped.
	m := raw.New[struct {
		code, data, heap       [2]uint64
		stack                  uint64
		arguments, environment [2]uint64
		auxiliary              uint64 // the vector stays as it is, because
		auxiliarySize, program int32  // its size is 0, and the executable too
	}]()
	m.code, m.data, m.heap, m.stack = [2]uint64{at, end}, [2]uint64{at, end}, [2]uint64{end, end}, end
	m.arguments, m.environment, m.program = [2]uint64{at, end}, [2]uint64{end, end}, -1
	raw.Syscall6(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(m)), unsafe.Sizeof(*m), 0, 0)
}
