package compare

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/doctor"
	"gocat/internal/image"
	"gocat/internal/peer"
	build "gocat/internal/version"
)

// Options is what to compare.
type Options struct {
	Sources  []string // names; all if there are none
	Tenders  []*peer.Tender
	Guests   []*Guest
	Policies []device.EOF  // for gocat's own tenders
	Jobs     int           // runs at a time
	Timeout  time.Duration // of one run
	NoHVT    error         // why this host runs no hvt guests; nil if it does
	// Progress is told after each run how many of how many have ended, and
	// which was the last. It may be nil.
	Progress func(done, total int, r *Run)
}

// Report is what was observed.
type Report struct {
	Gocat   string // version
	Began   time.Time
	Kernel  string
	KVM     string // which one, in words
	Sources []*Source
	Tenders []*peer.Tender
	Runs    []*Run // by source, tender, guest and policy
}

// Compare runs every combination. When ctx ends it ends all that it has started
// and returns ctx's error.
func Compare(ctx context.Context, o *Options) (*Report, error) {
	kvm := (&doctor.Host{Root: "/"}).KVM()
	rep := &Report{Gocat: build.String(), Began: time.Now(), Kernel: kernel(), KVM: kvm.Found, Tenders: o.Tenders}
	var err error
	if rep.Sources, err = find(o.Sources); err != nil {
		return nil, err
	}
	for _, s := range rep.Sources {
		for _, t := range o.Tenders {
			for _, g := range o.Guests {
				policies := o.Policies
				if !t.IsGocat() {
					policies = []device.EOF{device.EOFAuto} // it has none
				}
				for _, eof := range policies {
					rep.Runs = append(rep.Runs, &Run{Source: s, Tender: t, Guest: g, EOF: eof})
				}
			}
		}
	}
	return rep, o.all(ctx, rep.Runs)
}

// all does the runs, several at a time.
func (o *Options) all(ctx context.Context, runs []*Run) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue, done := make(chan *Run), make(chan *Run)
	var workers sync.WaitGroup
	for range max(1, o.Jobs) {
		workers.Go(func() {
			for r := range queue {
				if err := o.one(ctx, r); err != nil {
					cancel(err)
				}
				done <- r
			}
		})
	}
	go func() {
		defer close(queue)
		for _, r := range runs {
			select {
			case queue <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		workers.Wait()
		close(done)
	}()
	ended := 0
	for r := range done {
		ended++
		if o.Progress != nil && ctx.Err() == nil {
			o.Progress(ended, len(runs), r)
		}
	}
	return context.Cause(ctx)
}

// one does a run, if this host can, and judges it.
func (o *Options) one(ctx context.Context, r *Run) error {
	switch {
	case !r.Guest.runsOn(r.Tender):
		r.Outcome = Outcome{Kind: NotRun, Message: fmt.Sprintf("%s is built for %v", r.Guest.Name, r.Guest.file.Target)}
	case r.Tender.Target == image.HVT && o.NoHVT != nil:
		r.Outcome = Outcome{Kind: NotRun, Message: o.NoHVT.Error()}
	default:
		if err := r.do(ctx, o.Timeout); err != nil {
			return err
		}
	}
	r.Violation = r.violation()
	return nil
}

// Violations returns the runs in which gocat did something else than it
// documents.
func (rep *Report) Violations() []*Run {
	var runs []*Run
	for _, r := range rep.Runs {
		if r.Violation != "" {
			runs = append(runs, r)
		}
	}
	return runs
}

// String names the combination.
func (r *Run) String() string {
	s := r.Source.Name + ", " + r.Tender.Name
	if r.Tender.IsGocat() {
		s += " --eof=" + r.EOF.String()
	}
	return s + ", " + r.Guest.Name
}

// kernel names the kernel, as uname -r.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
