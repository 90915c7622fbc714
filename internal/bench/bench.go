// Package bench measures gocat's backends next to each other, next to the host's
// cat, and next to Solo5's tenders.
//
// A benchmark measures its subjects in rounds. A round measures each subject
// once, in an order that is drawn for each round, so whatever else the host does
// affects all of them; a quotient compares values of one round. Results are
// checked: first every byte, afterwards status and size, and a subject with a
// wrong one has no values.
//
// Nothing is left over, however the process ends: guests are images in memfds,
// and the kernel kills the children when the thread that started them is gone.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"gocat/internal/peer"
	"gocat/internal/version"
)

// Config says what to measure.
type Config struct {
	Gocat     string         // path of the gocat program, as peer.Self returns
	Peers     []*peer.Tender // Solo5's
	NoKVM     error          // why this host cannot run hvt guests, or nil
	Quick     bool
	Count     int            // rounds of each benchmark; 0: as many as there is time for
	Benchmark *regexp.Regexp // names to measure; nil: all
	Subject   *regexp.Regexp // subjects to measure; nil: all
	Base      string         // subject to compare with, always measured; "": cat, or the first that is measured
	// Progress is told what happens now; it may be nil.
	Progress func(string)
}

// Time that a run takes, and when it stops measuring at the latest.
const (
	quickTime, quickLimit     = 23 * time.Second, 28 * time.Second
	defaultTime, defaultLimit = 260 * time.Second, 290 * time.Second
)

// Run measures. When ctx is done, or time is up, the report has what there is
// and says so. Errors are of the configuration or the host; those of subjects
// are in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	r, err := newRunner(&c)
	if err != nil {
		return nil, err
	}
	took, limit := defaultTime, defaultLimit
	if c.Quick {
		took, limit = quickTime, quickLimit
	}
	began := time.Now()
	measuring := ctx
	if c.Count == 0 || c.Quick {
		var cancel context.CancelFunc
		measuring, cancel = context.WithDeadline(ctx, began.Add(limit))
		defer cancel()
		r.end = began.Add(took)
	}

	// The death signal of children is bound to this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Threads that wait in system calls keep no other from running.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(8, runtime.NumCPU())))
	// No collection while something is measured: between rounds instead.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	if r.lab, err = newLab(measuring, &c); err != nil {
		return nil, err
	}
	defer r.lab.close()
	for _, s := range r.subjects {
		if s.solo5() && s.hvt() && s.missing == "" {
			r.lab.firstByte(s) // finds out, once, whether its guests see the end of input
		}
	}
	why := func() string {
		switch {
		case ctx.Err() != nil:
			return "interrupted"
		case measuring.Err() != nil:
			return fmt.Sprintf("not all was measured within %v", limit)
		}
		return ""
	}
	report := &Report{Gocat: version.String(), Host: describeHost(), Began: began, Quick: c.Quick}
	for _, s := range r.subjects {
		report.Subjects = append(report.Subjects, Description{s.name, s.about})
	}
	for i, b := range r.benchmarks {
		result := Benchmark{Name: b.name, Title: b.title, About: b.about, Buffer: b.buffer}
		if measuring.Err() == nil {
			r.benchmark(b, &result, r.share(i))
		}
		result.Incomplete = why()
		report.Benchmarks = append(report.Benchmarks, result)
	}
	report.Incomplete = why()
	report.Host.LoadAfter = load()
	report.Seconds = time.Since(began).Seconds()
	return report, nil
}

// defaultBase is what others are compared with, where it is measured.
const defaultBase = "cat"

// runner is a run.
type runner struct {
	*Config
	subjects   []*subject
	benchmarks []*benchmark
	lab        *lab
	end        time.Time // when it should be done; zero: whenever
	random     *rand.Rand
}

func newRunner(c *Config) (*runner, error) {
	r := &runner{Config: c, random: rand.New(rand.NewPCG(1, 2))}
	var names []string
	for _, b := range benchmarks(c.Quick) {
		names = append(names, b.name)
		if c.Benchmark == nil || c.Benchmark.MatchString(b.name) {
			r.benchmarks = append(r.benchmarks, b)
		}
	}
	if r.benchmarks == nil {
		return nil, fmt.Errorf("no benchmark matches %q; there are %s", c.Benchmark, strings.Join(names, ", "))
	}
	names = nil
	matched := false
	base := cmp.Or(c.Base, defaultBase)
	for _, s := range subjects(c) {
		names = append(names, s.name)
		match := c.Subject == nil || c.Subject.MatchString(s.name)
		matched = matched || match
		if match || s.name == base {
			r.subjects = append(r.subjects, s)
		}
	}
	if !matched {
		return nil, fmt.Errorf("nothing to measure matches %q; there are %s", c.Subject, strings.Join(names, ", "))
	}
	if !slices.Contains(names, base) {
		return nil, fmt.Errorf("nothing to compare with is called %q; there are %s", base, strings.Join(names, ", "))
	}
	// A value with nothing beside it says nothing.
	r.benchmarks = slices.DeleteFunc(r.benchmarks, func(b *benchmark) bool {
		n := 0
		for _, s := range r.subjects {
			if b.includes(s) {
				n++
			}
		}
		return n < 2
	})
	if len(r.benchmarks) == 0 {
		return nil, errors.New("nothing to compare with: name another subject")
	}
	return r, nil
}

// share is how much time benchmark i gets: its part of what is left.
func (r *runner) share(i int) time.Duration {
	if r.end.IsZero() {
		return 0
	}
	total := 0.0
	for _, b := range r.benchmarks[i:] {
		total += b.weight
	}
	return time.Duration(float64(time.Until(r.end)) * r.benchmarks[i].weight / total)
}

// runs holds the values of a benchmark while it is measured.
type runs struct {
	subject *subject
	samples []sample
}

// enoughRounds is how many an interval takes. A benchmark may have twice its
// share of time to get there; the others share the rest.
const enoughRounds = 6

// benchmark measures one benchmark for about as long as share says, into result.
func (r *runner) benchmark(b *benchmark, result *Benchmark, share time.Duration) {
	began := time.Now()
	var active []*runs
	for _, s := range r.subjects {
		if !b.includes(s) {
			continue
		}
		if s.missing != "" {
			result.Missing = append(result.Missing, Missing{Subject: s.name, Reason: s.missing})
			continue
		}
		r.say("%s: %s: checking", b.name, s.name)
		err := r.try(b, s)
		if r.lab.ctx.Err() != nil {
			break
		}
		if err != nil {
			result.Missing = append(result.Missing, missing(s, err))
			continue
		}
		active = append(active, &runs{subject: s})
	}
	for round := 0; len(active) > 0 && r.goOn(b, round, began, share); round++ {
		runtime.GC()
		r.say("%s: round %d", b.name, round+1)
		failed := r.round(b, active)
		if r.lab.ctx.Err() != nil {
			for _, a := range active { // of a round that is not whole
				a.samples = a.samples[:min(len(a.samples), round)]
			}
			break
		}
		active = slices.DeleteFunc(active, func(a *runs) bool {
			err := failed[a.subject]
			if err != nil {
				result.Missing = append(result.Missing, missing(a.subject, err))
			}
			return err != nil
		})
	}
	r.summarise(b, result, active)
}

// try checks a subject's results and warms up.
func (r *runner) try(b *benchmark, s *subject) error {
	if b.prepare != nil {
		return b.prepare(r.lab, s)
	}
	_, err := b.measure(r.lab, s)
	return err
}

// round measures each subject once and returns those that failed.
func (r *runner) round(b *benchmark, active []*runs) map[*subject]error {
	failed := map[*subject]error{}
	for _, i := range r.random.Perm(len(active)) {
		v, err := b.measure(r.lab, active[i].subject)
		if r.lab.ctx.Err() != nil {
			break
		}
		if err != nil {
			failed[active[i].subject] = err
		}
		active[i].samples = append(active[i].samples, v)
	}
	return failed
}

// goOn says whether there should be another round.
func (r *runner) goOn(b *benchmark, round int, began time.Time, share time.Duration) bool {
	switch {
	case r.lab.ctx.Err() != nil:
		return false
	case r.Count > 0 && round >= r.Count:
		return false
	case r.Count > 0 && r.end.IsZero():
		return true
	case r.Count == 0 && round >= b.rounds:
		return false
	case round == 0:
		return true
	}
	each := time.Since(began) / time.Duration(round+1) // the check counts as a round
	if round < enoughRounds {
		share *= 2
	}
	return time.Since(began)+each <= share
}

// missing says why a subject has no values, with the same word for each benchmark.
func missing(s *subject, err error) Missing {
	err = s.refused(err)
	var r *refusal
	return Missing{Subject: s.name, Reason: err.Error(), Failed: !errors.As(err, &r)}
}

func (r *runner) say(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// summarise makes the metrics of a benchmark from its values.
func (r *runner) summarise(b *benchmark, result *Benchmark, active []*runs) {
	active = slices.DeleteFunc(active, func(a *runs) bool { return len(a.samples) == 0 })
	base := r.base(active)
	if base != nil {
		result.Base = base.subject.name
	}
	for i, m := range b.metrics {
		m.Rows = nil
		for _, a := range active {
			row := Row{Subject: a.subject.name, Values: a.values(i)}
			row.Estimate = estimate(row.Values)
			for _, other := range active {
				if other == a || other != base && !a.subject.competes(other.subject) {
					continue
				}
				ratio, ok := compare(other.subject.name, row.Values, other.values(i))
				switch {
				case !ok:
				case other == base:
					row.Ratios = slices.Insert(row.Ratios, 0, ratio)
				default:
					row.Ratios = append(row.Ratios, ratio)
				}
			}
			m.Rows = append(m.Rows, row)
		}
		result.Metrics = append(result.Metrics, m)
	}
}

// base is what others are compared with: what the user said, where it was
// measured, else the first.
func (r *runner) base(active []*runs) *runs {
	for _, a := range active {
		if a.subject.name == r.Base {
			return a
		}
	}
	if len(active) == 0 {
		return nil
	}
	return active[0]
}

// competes says whether other is a tender of Solo5's for the same guests as the
// subject's, gocat's own.
func (s *subject) competes(other *subject) bool {
	return s.tender != nil && !s.solo5() && other.solo5() && other.tender.Target == s.tender.Target
}

func (a *runs) values(metric int) []float64 {
	v := make([]float64, len(a.samples))
	for i, s := range a.samples {
		v[i] = s[metric]
	}
	return v
}
