package compare

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/peer"
)

// How a run is watched. What a guest does next cannot be known; that it does
// nothing more is concluded from its own clocks, so that a loaded machine makes
// the conclusion later, not wrong.
const (
	interval = 20 * time.Millisecond // between looks
	// blockedFor is how long a process has to do nothing, in real time, and
	// busyFor how much processor time it has to use without a result, to be
	// called blocked or spinning.
	blockedFor = 400 * time.Millisecond
	busyFor    = 200 * time.Millisecond
	// Factors for both: doubtful where not all has come out, or there is
	// nothing to come, so that it may only be slow to start, and incredible
	// where gocat would be found wrong.
	doubtful   = 4
	incredible = 10
	// maxOutput bounds what is kept of a tender's output, in bytes.
	maxOutput = 4 << 20
)

// Run is one combination. Result fills in the outcome.
type Run struct {
	Source *Source      `json:"-"`
	Tender *peer.Tender `json:"-"`
	Guest  *Guest       `json:"-"`
	EOF    device.EOF   `json:"-"` // gocat's alone
	Outcome
	// Violation says how gocat did something else than it documents, "" if it
	// did not.
	Violation string `json:"violation,omitempty"`
}

// do runs it. The process is gone when it returns, and all that was made for it.
func (r *Run) do(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.Source.Name == "tap" {
		var err error
		onThread(func() { err = r.watch(ctx) })
		return err
	}
	runtime.LockOSThread() // the child ends with this thread: see peer.Attr
	defer runtime.UnlockOSThread()
	return r.watch(ctx)
}

func (r *Run) watch(ctx context.Context) error {
	in, err := r.Source.open()
	if err != nil {
		r.Outcome = Outcome{Kind: NotRun, Message: err.Error()}
		return nil
	}
	defer in.close()
	c, err := r.start(in)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Tender.Name, err)
	}
	fed, feeder := make(chan time.Time, 1), make(chan bool)
	feeding, stop := context.WithCancel(ctx)
	go func() {
		defer close(feeder)
		in.feed(feeding) // an error is that of a reader that went away
		fed <- time.Now()
	}()
	err = r.observe(ctx, c, in, fed)
	stop()
	c.kill()
	in.close()
	<-feeder
	return err
}

// observe waits until the process has ended or will do nothing more.
func (r *Run) observe(ctx context.Context, c *child, in *input, fed <-chan time.Time) error {
	o := &r.Outcome
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	end := c.start // of the input
	last, lastTime, progress := measure(c.pid), c.start, int64(-1)
	for {
		select {
		case t := <-fed:
			// For one without a writer the input was at its end before.
			if in.writer != nil {
				end = t
			}
			fed = nil
			continue
		case ended := <-c.ended:
			c.ended <- ended // for kill
			if fed != nil {
				end = c.start
			}
			o.After, o.Reads, o.CPU = ended.at.Sub(end), -1, 0
			o.deliver(in, c.stdout.rest())
			o.exited(ended.status, string(c.stderr.rest()))
			return nil
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return ctx.Err()
			}
			o.idle(last, measure(c.pid), time.Since(lastTime))
			o.Kind, o.Message = Stopped, message(string(c.stderr.bytes()))
			o.deliver(in, c.stdout.bytes())
			return nil
		case <-ticker.C:
		}
		now, u := time.Now(), measure(c.pid)
		if p := in.fed.Load() + c.stdout.size.Load(); p != progress || fed != nil && in.pause > 0 {
			last, lastTime, progress = u, now, p
			continue
		}
		kind, patience := conclude(last, u, now.Sub(lastTime))
		if kind == Stopped {
			continue
		}
		if kind == Waits && r.Source.Ends {
			kind = Hangs
		}
		o.Kind, o.Message = kind, message(string(c.stderr.bytes()))
		o.idle(last, u, now.Sub(lastTime))
		o.deliver(in, c.stdout.bytes())
		if patience >= incredible || r.violation() == "" && (patience >= doubtful || o.delivered() == "" && o.Sent > 0) {
			return nil
		}
	}
}

// conclude says what a process does that has brought nothing out for a while,
// and how many times longer than necessary it has been doing so. Stopped stands
// for no conclusion.
func conclude(from, to usage, elapsed time.Duration) (Kind, int) {
	ran, busy := to.ran-from.ran, busy(from, to, elapsed)
	switch {
	case ran >= busyFor && busy > 0.5:
		return Spins, int(ran / busyFor)
	case elapsed >= blockedFor && busy < 0.1:
		return Waits, int(elapsed / blockedFor)
	}
	return Stopped, 0
}

// busy is the share of a time in which a process ran, or would have had there
// been a processor for it.
func busy(from, to usage, elapsed time.Duration) float64 {
	return min(1, float64(to.ran-from.ran+to.waited-from.waited)/float64(elapsed))
}

// idle notes what a process used in a time in which it brought nothing out.
func (o *Outcome) idle(from, to usage, elapsed time.Duration) {
	o.CPU, o.Reads = busy(from, to, elapsed), -1
	if to.reads >= 0 && from.reads >= 0 {
		o.Reads = float64(to.reads-from.reads) / elapsed.Seconds()
	}
}

// violation says how the outcome differs from what gocat documents.
func (r *Run) violation() string {
	if !r.Tender.IsGocat() || r.Guest.Variant == 0 || r.Kind == NotRun {
		return ""
	}
	kind, atEmpty := r.Source.documented(r.Tender.Target, r.EOF)
	want := Outcome{Kind: kind, AtEmpty: atEmpty}
	if got := r.words(); got != want.words() {
		return fmt.Sprintf("%s, but %s is documented", got, want.words())
	}
	return ""
}

// child is a tender that runs.
type child struct {
	pid            int
	process        *os.Process
	start          time.Time
	stdout, stderr *output
	ended          chan ending
}

type ending struct {
	status unix.WaitStatus
	at     time.Time
}

// start starts the tender on the input.
func (r *Run) start(in *input) (*child, error) {
	image, err := r.Guest.image(r.Tender)
	if err != nil {
		return nil, err
	}
	options := []string{"--net:" + r.Guest.Net + "=" + in.device}
	if r.Tender.IsGocat() {
		options = append(options, "--eof="+r.EOF.String())
	}
	stdin := in.stdin
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, err
		}
		defer stdin.Close()
	}
	stdout, outEnd, err := capture()
	if err != nil {
		return nil, err
	}
	defer outEnd.Close()
	stderr, errEnd, err := capture()
	if err != nil {
		return nil, err
	}
	defer errEnd.Close()
	files := []*os.File{stdin, outEnd, errEnd}
	for _, name := range r.Guest.Idle {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("socketpair: %w", err)
		}
		idle := theirs(fds[0])
		defer idle.Close()
		in.idle = append(in.idle, theirs(fds[1]))
		options = append(options, fmt.Sprintf("--net:%s=@%d", name, len(files)))
		files = append(files, idle)
	}
	c := &child{start: time.Now(), stdout: stdout, stderr: stderr, ended: make(chan ending, 1)}
	p, err := r.Tender.Start(r.Tender.Args(image.Path(), options, r.Guest.Args), files)
	if err != nil {
		return nil, err
	}
	c.pid, c.process = p.Pid, p
	if in.stdin != nil {
		in.stdin.Close() // so that the tender alone has it
	}
	go func() {
		state, err := p.Wait()
		at := time.Now()
		ws := unix.WaitStatus(0)
		if err == nil {
			ws = unix.WaitStatus(state.Sys().(syscall.WaitStatus))
		}
		c.ended <- ending{ws, at}
	}()
	return c, nil
}

// kill ends the process, if it has not ended, and returns when it is gone.
func (c *child) kill() {
	c.process.Kill()
	<-c.ended
	c.stdout.rest()
	c.stderr.rest()
}

// output collects what a process writes.
type output struct {
	size atomic.Int64 // bytes so far
	file *os.File
	mu   chan *bytes.Buffer // holds the buffer while nobody uses it
	done chan bool
}

// capture makes an output and the descriptor for the process to write to.
func capture() (*output, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe2: %w", err)
	}
	o := &output{file: ours(fds[0]), mu: make(chan *bytes.Buffer, 1), done: make(chan bool)}
	o.mu <- new(bytes.Buffer)
	go o.collect()
	return o, os.NewFile(uintptr(fds[1]), "output"), nil
}

func (o *output) collect() {
	defer close(o.done)
	defer o.file.Close()
	piece := make([]byte, 256<<10)
	for {
		n, err := o.file.Read(piece)
		b := <-o.mu
		b.Write(piece[:min(n, maxOutput-b.Len())])
		o.mu <- b
		o.size.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// bytes returns what has come so far.
func (o *output) bytes() []byte {
	b := <-o.mu
	defer func() { o.mu <- b }()
	return bytes.Clone(b.Bytes())
}

// rest returns all there is from a process that has ended. Whoever else may have
// the descriptor is not waited for.
func (o *output) rest() []byte {
	o.file.SetReadDeadline(time.Now().Add(time.Second))
	<-o.done
	return o.bytes()
}
