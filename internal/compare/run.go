package compare

import (
	"context"
	"fmt"
	"runtime"
	"time"

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
	// where gocat would be found wrong, or the input was not all taken.
	doubtful   = 4
	incredible = 10
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
			fed, progress = nil, -1
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
		if kind == Stopped || kind == Waits && runnable(c.pid) {
			continue
		}
		if kind == Waits && r.Source.Ends {
			kind = Hangs
		}
		o.Kind, o.Message = kind, message(string(c.stderr.bytes()))
		o.idle(last, u, now.Sub(lastTime))
		o.deliver(in, c.stdout.bytes())
		settled := o.delivered() == "" && o.Sent > 0 || patience >= doubtful
		if r.judged() {
			settled = r.violation() == ""
		}
		if patience >= incredible || fed == nil && settled {
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

// judged reports whether gocat documents how the run must end.
func (r *Run) judged() bool { return r.Tender.IsGocat() && r.Guest.Variant != 0 }

// violation says how the outcome differs from what gocat documents.
func (r *Run) violation() string {
	if !r.judged() || r.Kind == NotRun {
		return ""
	}
	kind, atEmpty := r.Source.documented(r.Tender.Target, r.EOF)
	want := Outcome{Kind: kind, AtEmpty: atEmpty}
	if got := r.words(); got != want.words() {
		return fmt.Sprintf("%s, but %s is documented", got, want.words())
	}
	return ""
}
