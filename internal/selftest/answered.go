package selftest

import (
	"runtime"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/isolate"
	"gocat/internal/tender"
)

// answers has filters around gocat that answer its calls with success: without what
// those calls do it must not start a guest.
func answers(s Setting) (all []*Attack) {
	line := isolate.Answered
	if s == HVT || s == CPL0 {
		line = "the kernel says that it was set up, and it does not hold"
	}
	for _, c := range []struct {
		nr      uint32
		options []string
	}{
		{unix.SYS_SECCOMP, nil}, {unix.SYS_PRCTL, nil}, {unix.SYS_CLOSE_RANGE, nil},
		{unix.SYS_CAPSET, []string{"--require=capabilities"}},
		{unix.SYS_LANDLOCK_RESTRICT_SELF, []string{"--require=landlock"}},
	} {
		want := []Outcome{{Refused, tender.NotStarted, line}}
		if c.nr == unix.SYS_CAPSET { // who has no capabilities has none to give up
			want = append(want, Outcome{Nothing, cameBack, ""})
		}
		all = append(all, &Attack{
			Group: "filters that answer for the kernel", Name: callName(uint64(c.nr)), Setting: s,
			Want: want, answered: c.nr, options: c.options,
			add: func(*guests.Probe) {},
		})
	}
	return all
}

// filtered calls f in a thread of its own, with a filter that answers system call
// nr. The thread ends with f.
func filtered(nr uint32, f func() (*ending, error)) (e *ending, err error) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = installFilter(filter); err == nil {
			e, err = f()
		}
	}()
	<-done
	return e, err
}
