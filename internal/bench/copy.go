package bench

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// startToExit runs the guest that prints a line, or a cat whose input is empty.
func (l *lab) startToExit(s *subject) (sample, error) {
	want := helloLine
	if s.tender == nil {
		want = ""
	}
	return l.startTo(s, hello, want)
}

// startGo is startToExit for a Go program.
func (l *lab) startGo(s *subject) (sample, error) { return l.startTo(s, goHello(l.ctx), helloLine) }

func (l *lab) startTo(s *subject, w work, want string) (sample, error) {
	c, err := l.command(s, w)
	if err != nil {
		return nil, err
	}
	e, wall, err := l.runToExit(c, l.null, want)
	if err != nil {
		return nil, err
	}
	return sample{ns(wall), ns(e.cpu)}, nil
}

// startWarm is startToExit for a warm guest: one that has used mb megabytes of memory,
// and waits.
func (l *lab) startWarm(s *subject, mb uint64) (sample, error) {
	if !s.warm {
		return l.startToExit(s)
	}
	c, err := l.command(s, waiting(mb))
	if err != nil {
		return nil, err
	}
	in, err := newPipe()
	if err != nil {
		return nil, err
	}
	defer in.close()
	in.closeWrite()
	e, wall, err := l.runToExit(c, in.r, "")
	if err != nil {
		return nil, err
	}
	return sample{ns(wall), ns(e.cpu)}, nil
}

// runToExit runs a command that ends by itself and must print want.
func (l *lab) runToExit(c command, stdin int, want string) (end, time.Duration, error) {
	out, err := newPipe()
	if err != nil {
		return end{}, 0, err
	}
	defer out.close()
	p, err := l.start(c, stdin, out.w)
	if err != nil {
		return end{}, 0, err
	}
	e, err := l.wait(p)
	if err == nil {
		err = l.judge(e)
	}
	if err != nil {
		return e, 0, err
	}
	out.closeWrite()
	return e, e.at.Sub(p.began), expect(out.r, want)
}

// expect reads the rest of a program's output and compares it.
func expect(fd int, want string) error {
	b := make([]byte, len(want)+1)
	n := 0
	for n < len(b) {
		k, err := retry(func() (int, error) { return unix.Read(fd, b[n:]) })
		if err != nil {
			return fmt.Errorf("read its output: %w", err)
		}
		if k == 0 {
			break
		}
		n += k
	}
	if string(b[:n]) != want {
		return fmt.Errorf("wrong output: %q, not %q", b[:n], want)
	}
	return nil
}

// running is a cat with pipes at its input and output.
type running struct {
	*process
	in, out *pipe
}

// startCat starts a cat with input in its pipe already.
func (l *lab) startCat(s *subject, w work, input []byte) (*running, error) {
	c, err := l.command(s, w)
	if err != nil {
		return nil, err
	}
	in, out, err := newPipes()
	if err != nil {
		return nil, err
	}
	if len(input) > 0 {
		if _, err := unix.Write(in.w, input); err != nil {
			in.close()
			out.close()
			return nil, fmt.Errorf("write its input: %w", err)
		}
	}
	p, err := l.start(c, in.r, out.w)
	if err != nil {
		in.close()
		out.close()
		return nil, err
	}
	in.closeRead()
	out.closeWrite()
	return &running{p, in, out}, nil
}

// destroy ends the cat by force, unless it has been reaped.
func (l *lab) destroyCat(r *running) {
	l.destroy(r.process)
	r.in.close()
	r.out.close()
}

// answer waits for one byte of output.
func (l *lab) answer(s *subject, r *running, want byte) error {
	var b [1]byte
	n, err := retry(func() (int, error) { return unix.Read(r.out.r, b[:]) })
	switch {
	case err != nil:
		return fmt.Errorf("read its output: %w", err)
	case n == 0: // it has ended, or been killed
		e, err := l.wait(r.process)
		if err == nil {
			err = l.judge(e)
		}
		switch {
		case err == nil:
			err = errors.New("ended without an answer")
		case e.late:
			err = fmt.Errorf("gave no answer within %v", l.timeout)
		}
		return err
	case b[0] != want:
		return fmt.Errorf("wrong output: byte %#02x, not %#02x", b[0], want)
	}
	return nil
}

// endCat closes the cat's input and waits for its end.
func (l *lab) endCat(s *subject, r *running) (end, error) {
	r.in.closeWrite()
	e, err := l.finish(s, r.process)
	if err == nil {
		err = expect(r.out.r, "")
	}
	return e, err
}

// firstByte is the time from start to the first byte of output, for a byte
// that is in the pipe already.
func (l *lab) firstByte(s *subject) (sample, error) {
	r, err := l.startCat(s, cat(chunk, s.ring), []byte{'x'})
	if err != nil {
		return nil, err
	}
	defer l.destroyCat(r)
	if err := l.answer(s, r, 'x'); err != nil {
		return nil, err
	}
	took := time.Since(r.began)
	if _, err := l.endCat(s, r); err != nil {
		return nil, err
	}
	return sample{ns(took)}, nil
}

// wakeUp sends a byte through a cat that waits for it, many times.
func (l *lab) wakeUp(s *subject, times int) (sample, error) {
	r, err := l.startCat(s, cat(chunk, s.ring), []byte{0xff})
	if err != nil {
		return nil, err
	}
	defer l.destroyCat(r)
	if err := l.answer(s, r, 0xff); err != nil {
		return nil, err
	}
	trips := make([]float64, times)
	var b [1]byte
	for i := range trips {
		b[0] = byte(i)
		began := time.Now()
		if _, err := retry(func() (int, error) { return unix.Write(r.in.w, b[:]) }); err != nil {
			return nil, fmt.Errorf("write its input: %w", err)
		}
		if err := l.answer(s, r, byte(i)); err != nil {
			return nil, err
		}
		trips[i] = ns(time.Since(began))
	}
	if _, err := l.endCat(s, r); err != nil {
		return nil, err
	}
	slices.Sort(trips)
	return sample{trips[len(trips)/2]}, nil
}

// roundTrip is the time of one request to the tender, or the kernel: n of them
// in one run, less the time of a run with none.
func (l *lab) roundTrip(s *subject, many, none work, n int) (sample, error) {
	var took [2]time.Duration
	for i, w := range []work{many, none} {
		c, err := l.command(s, w)
		if err != nil {
			return nil, err
		}
		in, err := newPipe()
		if err != nil {
			return nil, err
		}
		_, took[i], err = l.runToExit(c, in.r, "")
		in.close()
		if err != nil {
			return nil, err
		}
	}
	return sample{ns(took[0]-took[1]) / float64(n)}, nil
}

// throughput copies n bytes through a cat, from a producer to a consumer that
// splice(2). It gives wall and CPU time a GiB. To verify, the output is compared.
func (l *lab) throughput(s *subject, w work, n int64, verify bool) (sample, error) {
	c, err := l.command(s, w)
	if err != nil {
		return nil, err
	}
	in, out, err := newPipes()
	if err != nil {
		return nil, err
	}
	defer in.closeRead()
	defer out.closeWrite()
	produced, tell := make(chan error, 1), make(chan consumed, 2)
	go func() { produced <- l.data.produce(in, n) }()
	go func() {
		l.data.consume(out, n, l.null, verify, tell)
		out.closeRead() // also tells a cat that goes on after an error
	}()
	p, err := l.start(c, in.r, out.w)
	in.closeRead()
	out.closeWrite()
	if err != nil {
		<-tell
		<-tell
		<-produced
		return nil, err
	}
	defer l.destroy(p)
	arrived := <-tell
	e, err := l.finish(s, p)
	total := <-tell
	fed := <-produced
	wall := e.at.Sub(p.began)
	if s.spins {
		wall = arrived.at.Sub(p.began)
	}
	switch {
	case l.ctx.Err() != nil:
		return nil, l.ctx.Err()
	case total.err != nil:
		return nil, total.err
	case err != nil && total.bytes == 0:
		return nil, err
	case err != nil:
		return nil, err
	case fed != nil:
		return nil, fed
	case total.bytes != n:
		return nil, fmt.Errorf("wrong output: %d bytes of %d", total.bytes, n)
	}
	gib := float64(n) / (1 << 30)
	return sample{ns(wall) / gib, ns(e.cpu) / gib}, nil
}

// ns is a duration in nanoseconds.
func ns(d time.Duration) float64 { return float64(d.Nanoseconds()) }
