package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/peer"
)

// subject is one way to run a guest, or a program in a guest's place.
type subject struct {
	name, about string
	tender      *peer.Tender // nil: the program at path is a cat itself
	path        string
	sealed      bool
	warm        bool // by gocat seal --warm: for the benchmarks of snapshots alone
	native      bool // a Go program as the host runs it: for the benchmark of Go programs alone
	ring        bool // the network ring is offered
	options     []string
	missing     string // why it cannot run at all

	// A Solo5 tender for hvt shows its guests no end of input: they spin until
	// they are killed. Found out with the first cat.
	ends, spins bool
}

// solo5 says whether the subject is a peer.
func (s *subject) solo5() bool { return s.tender != nil && !s.tender.IsGocat() }

func (s *subject) hvt() bool { return s.tender != nil && s.tender.Target == image.HVT }

// subjects are all ways to run guests: gocat's, GNU cat, and the peers.
func subjects(c *Config) []*subject {
	spt, hvt := peer.Gocat(c.Gocat, image.SPT), peer.Gocat(c.Gocat, image.HVT)
	all := []*subject{
		{name: "cat", about: "the cat of this host", path: "cat"},
		{name: "go", about: "a Go program as a process of this host, built by the installed Go toolchain", native: true},
		{name: "spt", about: "gocat run, spt guest", tender: spt},
		{name: "sealed", about: "spt guest sealed by gocat seal", tender: spt, sealed: true},
		{name: "warm", about: "spt guest that has started already, sealed by gocat seal --warm", tender: spt, sealed: true, warm: true},
		{name: "warm-hvt", about: "hvt guest that has started already, sealed by gocat seal --warm", tender: hvt, sealed: true, warm: true},
		{name: "hvt", about: "gocat run, hvt guest at privilege level 3", tender: hvt},
		{name: "hvt-cpl0", about: "gocat run --cpl=0, hvt guest at privilege level 0", tender: hvt, options: []string{"--cpl=0"}},
		{name: "hvt-ring", about: "gocat run --net-ring, hvt guest at privilege level 3 that reads by the network ring", tender: hvt, options: []string{"--net-ring"}, ring: true},
	}
	if path, err := exec.LookPath("cat"); err == nil {
		all[0].path = path
		all[0].about += ": " + catVersion(path)
	} else {
		all[0].missing = "this host has no cat"
	}
	for _, t := range c.Peers {
		all = append(all, &subject{name: t.Name, about: t.Kind + " " + t.Version + " of Solo5, " + t.Path, tender: t})
	}
	for _, s := range all {
		if s.hvt() && c.NoKVM != nil {
			s.missing = c.NoKVM.Error()
		}
	}
	return all
}

// catVersion is what a cat says of itself.
func catVersion(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return path
	}
	for i, b := range out {
		if b == '\n' {
			return string(out[:i])
		}
	}
	return path
}

// lab holds what measurements share.
type lab struct {
	ctx     context.Context
	gocat   string
	env     []string
	attr    *syscall.SysProcAttr
	timeout time.Duration // how long a process may take
	null    int
	stderr  *memfd // of the processes
	data    *data
	guard   *guard
	images  map[string]*peer.Image
	sealed  map[string]*memfd
	native  *memfd // the Go program that is no guest
}

func newLab(ctx context.Context, c *Config) (*lab, error) {
	l := &lab{
		ctx: ctx, gocat: c.Gocat, env: os.Environ(), attr: peer.Attr(), timeout: defaultTimeout,
		images: map[string]*peer.Image{}, sealed: map[string]*memfd{},
	}
	if c.Quick {
		l.timeout = quickTimeout
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return nil, errors.New("no /proc, by which guests are found: mount -t proc proc /proc")
	}
	var err error
	if l.null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", os.DevNull, err)
	}
	if l.stderr, err = newMemfd("stderr"); err != nil {
		unix.Close(l.null)
		return nil, err
	}
	if l.data, err = newData(); err != nil {
		l.stderr.close()
		unix.Close(l.null)
		return nil, err
	}
	l.guard = newGuard(ctx)
	return l, nil
}

// How long a process may take before it is killed, and its subject has failed.
const (
	quickTimeout   = 6 * time.Second
	defaultTimeout = 20 * time.Second
)

func (l *lab) close() {
	l.guard.close()
	for _, i := range l.images {
		i.Close()
	}
	for _, m := range l.sealed {
		m.close()
	}
	if l.native != nil {
		l.native.close()
	}
	l.data.close()
	l.stderr.close()
	unix.Close(l.null)
}

// command returns how the subject is started to do w.
func (l *lab) command(s *subject, w work) (command, error) {
	if s.native {
		return l.nativeCommand()
	}
	if s.tender == nil {
		return command{s.path, []string{s.path}}, nil
	}
	key := fmt.Sprint(w.name, " ", s.tender.Target, " ", s.tender.ABI, " ", s.warm)
	if l.images[key] == nil {
		b, err := w.build(s.tender.Target)
		if err != nil {
			return command{}, err
		}
		i, err := s.tender.Image(b)
		if err != nil {
			return command{}, err
		}
		l.images[key] = i
	}
	var options []string
	if w.device {
		options = append(options, "--net:stdin=@0")
	}
	if w.strict && !s.solo5() && !s.hvt() {
		options = append(options, "--profile=strict")
	}
	if w.shown && !s.solo5() {
		options = append(options, "--isolate=none") // undumpable, it would show it to root alone
	}
	options = append(options, s.options...)
	kernel := l.images[key].Path()
	if !s.sealed {
		return command{s.tender.Path, s.tender.Args(kernel, options, w.args)}, nil
	}
	if l.sealed[key] == nil {
		stdin := l.null
		if s.warm {
			options = append(options, "--warm", "--unsafe-clones")
			idle, err := newPipe()
			if err != nil {
				return command{}, err
			}
			defer idle.close()
			stdin = idle.r
		}
		m, err := l.seal(kernel, options, w.args, stdin)
		if err != nil {
			return command{}, err
		}
		l.sealed[key] = m
	}
	return command{l.sealed[key].path(), []string{"sealed"}}, nil
}

// seal runs gocat seal with the given standard input.
func (l *lab) seal(kernel string, options, args []string, stdin int) (*memfd, error) {
	m, err := newMemfd("sealed")
	if err != nil {
		return nil, err
	}
	argv := append([]string{"gocat", "seal", "-o", "-"}, options...)
	argv = append(argv, "--", kernel)
	p, err := l.start(command{l.gocat, append(argv, args...)}, stdin, m.fd)
	if err == nil {
		var e end
		if e, err = l.wait(p); err == nil {
			err = l.judge(e)
		}
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("gocat seal: %w", err)
	}
	return m, nil
}

// judge is an error if a process did not end well.
func (l *lab) judge(e end) error {
	switch {
	case l.ctx.Err() != nil:
		return l.ctx.Err()
	case e.late:
		return fmt.Errorf("did not end within %v", l.timeout)
	case e.status == 0:
		return nil
	}
	if line := l.stderr.firstLine(); line != "" {
		return &statusError{e.status, line}
	}
	return &statusError{status: e.status}
}

// statusError is a process's end with a status other than 0.
type statusError struct {
	status int
	line   string // the first of its standard error
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("ended with status %d", e.status)
	if e.line != "" {
		s += ": " + e.line
	}
	return s
}

// refusal says that a tender would not run a guest, which is no failure.
type refusal struct{ line string }

func (r *refusal) Error() string { return "refused: " + r.line }

// refused makes a refusal of err if that is what it is: a peer ended with status
// 1 and its own message before the guest did anything.
func (s *subject) refused(err error) error {
	var status *statusError
	if s.solo5() && errors.As(err, &status) && status.status == 1 && status.line != "" {
		return &refusal{status.line}
	}
	return err
}

// finish waits for a cat whose input is at its end and whose output has come. A
// tender that does not show its guest the end is killed.
func (l *lab) finish(s *subject, p *process) (end, error) {
	if !s.solo5() || !s.hvt() || s.ends {
		e, err := l.wait(p)
		return e, errors.Join(err, l.judge(e))
	}
	var timer *time.Timer
	if s.spins {
		p.kill()
	} else {
		timer = time.AfterFunc(time.Second/2, p.kill)
	}
	e, err := l.wait(p)
	if timer != nil {
		s.ends = timer.Stop()
		s.spins = !s.ends
	}
	if s.spins && e.status == 128+int(unix.SIGKILL) && !e.late {
		e.status = 0
	}
	return e, errors.Join(err, l.judge(e))
}
