package spt

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
)

// Enter replaces the process by the program behind descriptor exe, with the
// given arguments and environment, in a user namespace of its own. There it has
// the capabilities that the other layers take. The environment gets
// isolate.Variable, which says what came of it: without a namespace the program
// is started as well. It is a plan that does this, since only a process with one
// thread can. Enter returns only on error, with nothing changed.
func Enter(exe int, args, env []string) error {
	p := newPlan()
	p.must("could not mark a descriptor", 0, unix.SYS_FCNTL, exe, unix.F_SETFD, unix.FD_CLOEXEC)
	argv, envp := p.list(p.strings(args)), p.strings(env)
	start := func(e unix.Errno) {
		own := p.strings([]string{isolate.Variable + "=" + strconv.Itoa(int(e))})
		p.refs = append(p.refs, ref{len(p.records), 2, argv}, ref{len(p.records), 3, p.list(append(own, envp...))})
		p.must("could not start gocat again", 0, unix.SYS_EXECVEAT, exe, []byte{0}, 0, 0, unix.AT_EMPTY_PATH)
	}
	p.when(failed, failed, func() {
		for _, e := range isolate.Errors() {
			p.when(exact, errno(e), func() { start(e) }, nrLast)
		}
		start(unix.EPERM)
	}, unix.SYS_UNSHARE, unix.CLONE_NEWUSER)

	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETPCAP
	data := make([]byte, 24) // effective, permitted, inheritable; and those of the numbers from 32 up
	for n := range 3 {
		binary.LittleEndian.PutUint32(data[4*n:], needed)
	}
	p.try(unix.SYS_CAPSET, capHeader(), data)
	for _, n := range []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP} {
		p.try(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0)
	}
	start(0)

	s, err := p.executable()
	if err != nil {
		return err
	}
	fd, err := memfd("gocat")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := s.write(writeFD(fd)); err != nil {
		return err
	}
	return fmt.Errorf("could not enter a user namespace: %w", execveat(fd, "gocat"))
}

// executable returns an executable that carries out a plan, which is to end in
// another's execution or in exit_group.
func (p *plan) executable() (*sealed, error) {
	code, start, _ := stubCode()
	head, data := p.link(entry{}, planBase, 0)
	if n := len(head) + len(data); n > planRoom {
		return nil, fmt.Errorf("the command line and environment take %d bytes: at most %d are possible with a user namespace", n, planRoom)
	}
	return &sealed{Config: &Config{}, entry: stubBase + start, parts: []part{
		{addr: stubBase, prot: image.R | image.X, data: [][]byte{code}},
		{addr: planBase, prot: image.R | image.W, data: [][]byte{head, data}},
	}}, nil
}

// strings stores strings and returns their offsets.
func (p *plan) strings(all []string) (offsets []uint64) {
	for _, s := range all {
		offsets = append(offsets, p.store(raw.CString(s)))
	}
	return offsets
}

// list stores a list of pointers to data, ending in a null pointer.
func (p *plan) list(offsets []uint64) uint64 {
	at := p.store(make([]byte, 8*(len(offsets)+1)))
	for i, to := range offsets {
		p.pointer(at+uint64(8*i), to)
	}
	return at
}
