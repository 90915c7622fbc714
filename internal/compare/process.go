package compare

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/peer"
)

// maxOutput bounds what is kept of a tender's output, in bytes.
const maxOutput = 4 << 20

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
		peer.Ended(p.Pid) // an error is Wait's too
		at := time.Now()
		state, err := p.Wait()
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
	done chan bool

	mu     sync.Mutex
	buffer bytes.Buffer
}

// capture makes an output and the descriptor for the process to write to.
func capture() (*output, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe2: %w", err)
	}
	o := &output{file: ours(fds[0]), done: make(chan bool)}
	go o.collect()
	return o, os.NewFile(uintptr(fds[1]), "output"), nil
}

func (o *output) collect() {
	defer close(o.done)
	defer o.file.Close()
	piece := make([]byte, 256<<10)
	for {
		n, err := o.file.Read(piece)
		o.mu.Lock()
		o.buffer.Write(piece[:min(n, maxOutput-o.buffer.Len())])
		o.mu.Unlock()
		o.size.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// bytes returns what has come so far.
func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buffer.Bytes())
}

// rest returns all there is from a process that has ended. Whoever else may have
// the descriptor is not waited for.
func (o *output) rest() []byte {
	o.file.SetReadDeadline(time.Now().Add(time.Second))
	<-o.done
	return o.bytes()
}
