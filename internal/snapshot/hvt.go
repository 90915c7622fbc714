package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/internal/tended"
	"gocat/internal/x86"
	"gocat/kvmhvt"
)

// TakeHVT is Take for an hvt guest of a configuration's image and memory: args makes the
// command line of its tender for the descriptor over which that is asked.
func (when When) TakeHVT(c *kvmhvt.Config, args func(fd int) []string, use func(*kvmhvt.Warm) error) error {
	runtime.LockOSThread() // with which the guest ends
	defer runtime.UnlockOSThread()
	console, err := newConsole(when.Text)
	if err != nil {
		return err
	}
	defer console.close()
	g, err := tended.Start([]uintptr{0, console.in.Fd(), 2}, args, device.BootVariable+"=1")
	if err != nil {
		return err
	}
	defer g.Kill()
	console.in.Close()
	b := &machine{Guest: g, console: console, when: when, config: c}
	if err := b.run(); err != nil {
		return err
	}
	w, err := b.take()
	if err != nil {
		return err
	}
	if when.Once {
		w.State.Once = 1
	}
	return use(w)
}

// machine is an hvt guest that is booted.
type machine struct {
	*tended.Guest
	console *console
	when    When
	config  *kvmhvt.Config
	started time.Time // zero before the guest's first instruction
}

// run runs the guest up to the wait in which it is stopped.
func (m *machine) run() error {
	for {
		s, gone, err := m.next()
		switch {
		case err != nil:
			return err
		case gone || s.Reason == kvmhvt.DebugEnding:
			return m.ended(s, gone)
		case s.Reason == kvmhvt.DebugStarted:
			m.started = time.Now()
			if _, _, err := m.Ask(kvmhvt.DebugWaits, 0, 0, nil); err != nil {
				return err
			}
		case s.Reason == kvmhvt.DebugWaiting:
			if here, err := m.waits(s.A != 0, s.B); here || err != nil {
				return err
			}
		default:
			return tended.ErrAnswer
		}
		if err := m.Resume(false, 0); err != nil {
			return err
		}
	}
}

// next waits for the guest's next stop and passes on what it prints until then.
func (m *machine) next() (s tended.Stop, gone bool, err error) {
	poll := []unix.PollFd{{Fd: int32(m.FD()), Events: unix.POLLIN}, {Fd: int32(m.console.out.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return s, false, err
		}
		if poll[1].Revents != 0 && m.console.pass() {
			continue
		}
		if poll[1].Revents != 0 {
			poll[1].Fd = -1 // its end
		}
		if poll[0].Revents != 0 {
			return m.Next()
		}
	}
}

func (m *machine) ended(s tended.Stop, gone bool) error {
	if !gone {
		return &Ended{int(byte(s.A)), true}
	}
	ws, err := m.Wait()
	if err != nil {
		return err
	}
	status := ws.ExitStatus()
	if ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return &Ended{status, !m.started.IsZero()}
}

// waits says whether to stop the guest at a wait, before which devices are ready.
func (m *machine) waits(asks bool, ready uint64) (here bool, err error) {
	w := &m.when
	if !asks && (w.Asked || w.Text != "" && !m.console.printed || time.Since(m.started) < w.After) {
		return false, nil
	}
	for i := range m.config.Devices {
		if d := &m.config.Devices[i]; ready>>d.Handle&1 != 0 && !w.Anyway {
			if asks || w.Text != "" || w.After != 0 {
				return false, unread(d.Name)
			}
			return false, nil
		}
	}
	return true, nil
}

// take records the state of the guest, which has stopped at a wait.
func (m *machine) take() (*kvmhvt.Warm, error) {
	const failed = "could not read the guest's registers: %w"
	_, data, err := m.Ask(kvmhvt.DebugSnapshot, 0, 0, nil)
	if err != nil {
		return nil, fmt.Errorf(failed, err)
	}
	s, ok := kvmhvt.DecodeState(data)
	if !ok {
		return nil, fmt.Errorf(failed, tended.ErrAnswer)
	}
	p := x86.ThisProcessor()
	s.Features, s.States, s.Last = p.Features, p.States, uint64(p.Last)
	for i := range s.Offered {
		s.Offered[i] &= x86.Groups[i].Named()
	}
	if id, err := os.ReadFile(raw.BootID); err == nil && len(id) >= 16 {
		words(s.Boot[:], id[:16])
	}
	area, err := normal(s.Extended[:], &p)
	if err != nil {
		return nil, err
	}
	clear(s.Extended[copy(s.Extended[:], area):])
	w := &kvmhvt.Warm{State: s}
	if err := m.memory(w); err != nil {
		return nil, fmt.Errorf("could not read the guest's memory: %w", err)
	}
	return w, nil
}

// memory records what of guest memory is not zero, in ranges with small gaps between.
func (m *machine) memory(w *kvmhvt.Warm) error {
	contents := map[uint64][]byte{} // pages
	var pages []run
	for at := uint64(image.MinAddr); ; {
		next, _, err := m.Ask(kvmhvt.DebugNext, at, 0, nil)
		if err != nil {
			return err
		}
		_, data, err := m.Ask(kvmhvt.DebugRead, next, kvmhvt.DebugData, nil)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			break // the end
		}
		data = slices.Clone(data)
		for ; len(data) > 0; data, next = data[image.PageSize:], next+image.PageSize {
			page := data[:image.PageSize]
			if bytes.Equal(page, zeros[:]) {
				continue
			}
			contents[next] = page
			if last := len(pages) - 1; last >= 0 && pages[last].end == next {
				pages[last].end += image.PageSize
			} else {
				pages = append(pages, run{next, next + image.PageSize})
			}
		}
		at = next
	}
	for _, r := range merge([][]run{pages}) {
		w.Memory = append(w.Memory, kvmhvt.Range{Addr: r.start, Size: r.end - r.start})
		for at := r.start; at < r.end; at += image.PageSize {
			page := contents[at]
			if page == nil {
				page = zeros[:]
			}
			w.Contents = append(w.Contents, page...)
		}
	}
	return nil
}

// console is what the guest prints, which goes to standard error.
type console struct {
	in, out *os.File // of a pipe
	lines
}

func newConsole(text string) (*console, error) {
	out, in, err := os.Pipe()
	return &console{in: in, out: out, lines: lines{text: text}}, err
}

func (c *console) close() {
	c.in.Close()
	c.out.Close()
}

// pass passes on what was printed. It is false at the end.
func (c *console) pass() bool {
	var b [64 << 10]byte
	n, err := c.out.Read(b[:])
	if n > 0 {
		os.Stderr.Write(b[:n])
		c.print(b[:n])
	}
	return err == nil
}

// lines looks for a text in lines that are printed in pieces.
type lines struct {
	text    string // "" to look for nothing
	line    []byte // the last
	printed bool   // the text
}

func (l *lines) print(text []byte) {
	if l.text == "" || l.printed {
		return
	}
	for part := range bytes.Lines(text) {
		const most = 64 << 10
		l.line = append(l.line, part...)
		l.printed = l.printed || bytes.Contains(l.line, []byte(l.text))
		if part[len(part)-1] == '\n' || len(l.line) > most {
			l.line = l.line[:0]
		}
	}
}

// unread is the error for input that clones would not get.
func unread(device string) error {
	return fmt.Errorf("network device '%s' has input that the guest has not read: clones would not get it (--warm-anyway goes on)", device)
}
