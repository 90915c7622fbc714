package spt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/plan"
)

// period is how much processor time, in microseconds, a guest that asks for a
// timer has between two of its signals: that after which Go's runtime wants a
// goroutine to give way.
const period = 10_000

// Linux asm/prctl.h and time.h.
const (
	archSetGS     = 0x1001
	archGetGS     = 0x1004
	itimerVirtual = 1
)

// timer starts the guest's timer and tells the guest its period. It goes by the
// time that the guest itself uses: one that waits is not interrupted, and hardly
// any of its system calls is. The guest goes on from the handler by itself: the
// signal is not blocked there, and needs no call to end.
//
// A plan has no instruction that stores a word; arch_prctl does.
func (s *sealed) timer(p *plan.Plan) {
	if s.Image.Timer == 0 {
		return
	}
	if s.Warm == nil { // else it knows
		masked := uint64(1)
		p.Must("could not tell the guest of its timer", 0, unix.SYS_ARCH_PRCTL, archSetGS, masked|period<<32)
		p.Must("could not tell the guest of its timer", 0, unix.SYS_ARCH_PRCTL, archGetGS, s.Image.Timer)
		p.Must("could not tell the guest of its timer", 0, unix.SYS_ARCH_PRCTL, archSetGS, 0)
	}
	p.Must("could not start the guest's timer", 0, unix.SYS_SETITIMER, itimerVirtual, plan.Words(0, period, 0, period), 0)
	if s.Isolate.Report {
		const line = "gocat: timer: on\n"
		p.Try(unix.SYS_WRITE, stderr, []byte(line), len(line))
	}
}
