package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/peer"
)

// command is a program to start.
type command struct {
	path string
	argv []string
}

// process is a started command.
type process struct {
	pid   int
	began time.Time // just before it was started
	limit time.Time // when the guard kills it; the guard's

	mu     sync.Mutex
	reaped bool
	late   bool // the guard has killed it
}

// end is how a process ended.
type end struct {
	at     time.Time
	cpu    time.Duration // user and system, of the process and its children
	status int           // 128 + the signal that killed it
	late   bool          // it was killed because its time was up
}

// start starts a command with the given descriptors. Only what syscall.ForkExec
// does lies between began and the new program: a vfork, an exec, and calls to set
// descriptors, process group and death signal, the same for all commands.
//
// The calling goroutine stays on its thread: see peer.Attr.
func (l *lab) start(c command, stdin, stdout int) (*process, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	l.stderr.reset()
	attr := &syscall.ProcAttr{Env: l.env, Files: []uintptr{uintptr(stdin), uintptr(stdout), uintptr(l.stderr.fd)}, Sys: l.attr}
	p := &process{began: time.Now()}
	pid, err := syscall.ForkExec(c.path, c.argv, attr)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", c.path, err)
	}
	p.pid, p.limit = pid, p.began.Add(l.timeout)
	l.guard.add(p)
	return p, nil
}

// wait waits until the process ends, and reaps it.
func (l *lab) wait(p *process) (end, error) {
	err := peer.Ended(p.pid) // not reaped, it may be killed by the guard
	e := end{at: time.Now()}
	l.guard.remove(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return e, err
	}
	var status unix.WaitStatus
	var usage unix.Rusage
	if _, err := unix.Wait4(p.pid, &status, 0, &usage); err != nil {
		return e, fmt.Errorf("wait4: %w", err)
	}
	p.reaped = true
	e.cpu = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	e.status, e.late = status.ExitStatus(), p.late
	if status.Signaled() {
		e.status = 128 + int(status.Signal())
	}
	return e, nil
}

// kill kills a process with its group. One that has been reaped is left alone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		unix.Kill(-p.pid, unix.SIGKILL)
		unix.Kill(p.pid, unix.SIGKILL)
	}
}

// destroy kills and reaps a process, unless that has happened.
func (l *lab) destroy(p *process) {
	p.kill()
	if !p.reaped {
		l.wait(p)
	}
}

// guard kills processes whose time is up, and all when its context is done.
type guard struct {
	mu   sync.Mutex
	live map[*process]bool
	stop chan struct{}
}

func newGuard(ctx context.Context) *guard {
	g := &guard{live: map[*process]bool{}, stop: make(chan struct{})}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-g.stop:
				return
			case now := <-tick.C:
				g.check(now, ctx.Err() != nil)
			}
		}
	}()
	return g
}

func (g *guard) check(now time.Time, all bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.live {
		if all || now.After(p.limit) {
			p.mu.Lock()
			p.late = !all
			p.mu.Unlock()
			p.kill()
		}
	}
}

// add watches a process. Those that run already get as much time as it has: they
// wait for it.
func (g *guard) add(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for other := range g.live {
		other.limit = p.limit
	}
	g.live[p] = true
}

func (g *guard) remove(p *process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.live, p)
}

func (g *guard) close() { close(g.stop) }

// memfd is a file without a name.
type memfd struct{ fd int }

func newMemfd(name string) (*memfd, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // a kernel before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return &memfd{fd}, nil
}

// path is the file's path for a child of this process.
func (m *memfd) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.fd) }

func (m *memfd) close() { unix.Close(m.fd) }

// reset empties the file.
func (m *memfd) reset() {
	unix.Ftruncate(m.fd, 0)
	unix.Seek(m.fd, 0, unix.SEEK_SET)
}

// firstLine is the first line of the file, at most 200 bytes of it.
func (m *memfd) firstLine() string {
	var b [200]byte
	n, _ := unix.Pread(m.fd, b[:], 0)
	line, _, _ := strings.Cut(string(b[:max(n, 0)]), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, line)
}

// pipe is a pipe, whose ends are closed once.
type pipe struct{ r, w int }

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe2: %w", err)
	}
	return &pipe{fds[0], fds[1]}, nil
}

func (p *pipe) closeRead()  { closeOnce(&p.r) }
func (p *pipe) closeWrite() { closeOnce(&p.w) }
func (p *pipe) close()      { p.closeRead(); p.closeWrite() }

func closeOnce(fd *int) {
	if *fd >= 0 {
		unix.Close(*fd)
		*fd = -1
	}
}

// newPipes makes the pipes for a program's standard input and output.
func newPipes() (in, out *pipe, err error) {
	if in, err = newPipe(); err != nil {
		return nil, nil, err
	}
	if out, err = newPipe(); err != nil {
		in.close()
		return nil, nil, err
	}
	return in, out, nil
}

// retry repeats a call as long as a signal interrupts it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
