package spt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/plan"
	"gocat/internal/raw"
)

// title plans that ps shows what the guest is, of which the kernel would say
// nothing once the process's stack is gone: its arguments were there.
//
// The kernel reads a command line from anonymous memory that the process can read,
// so the title gets a page in the guest's own address space. It holds nothing that
// is not the guest's to know, and the guest cannot change it. Where the kernel is
// built without CONFIG_CHECKPOINT_RESTORE ps shows the name in brackets.
func (s *sealed) title(p *plan.Plan) {
	if s.Title == "" {
		return
	}
	end := uint64(titleBase + len(s.Title) + 1)
	p.Try(plan.Copy, titleBase, raw.CString(s.Title), len(s.Title)+1)
	p.Must("could not protect the guest's title", 0, unix.SYS_MPROTECT, titleBase, plan.PageSize, unix.PROT_READ)

	// struct prctl_mm_map (linux/prctl.h): the kernel only uses these addresses to
	// tell of them in /proc.
	m := plan.Words(
		stubBase, bootBase, // code
		bootBase, bootBase+plan.PageSize, // data
		stackBase, stackBase, // heap
		stackBase,      // stack
		titleBase, end, // arguments
		end, end, // environment
		0,                      // auxiliary vector: as it is, because
		uint64(^uint32(0))<<32) // its size is 0, and the executable too, as its descriptor is -1
	p.Try(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_MAP, m, len(m), 0)
}
