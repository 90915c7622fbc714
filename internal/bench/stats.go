package bench

import (
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// confidence is that of all intervals.
const confidence = 0.95

// Estimate is the median of a sample with its confidence interval at 95 %.
type Estimate struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Low    float64 `json:"low,omitempty"`  // 0, as High: too few values for an interval
	High   float64 `json:"high,omitempty"` // not below Low
}

// Interval reports whether there were enough values, six, for an interval.
func (e Estimate) Interval() bool { return e.Low != 0 || e.High != 0 }

// estimate makes no assumption about the distribution.
func estimate(values []float64) Estimate {
	s := benchmath.AssumeNothing.Summary(newSample(values), confidence)
	e := Estimate{N: len(values), Median: s.Center}
	if !math.IsInf(s.Lo, 0) && !math.IsInf(s.Hi, 0) {
		e.Low, e.High = s.Lo, s.Hi
	}
	return e
}

// newSample copies: benchmath sorts its values.
func newSample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
}

// Ratio compares a subject with another of the same rounds.
type Ratio struct {
	To       string `json:"to"`
	Estimate        // of the quotients, round by round
}

// Significant reports whether the difference is: the interval of the quotients does
// not contain 1. Rounds measure all subjects one after the other, so their quotients
// leave out what makes the whole host slower for a while, which a test of the two
// samples would take for noise.
func (r Ratio) Significant() bool {
	return r.Interval() && (r.High < 1 || r.Low > 1)
}

// compare compares values with those of another subject; index i of both is the
// same round. Differences of two measurements may come out as zero or less: above
// such a base is more than any quotient, below zero less than any. ok is false
// when there is no telling, which is so when both are, or in half of the rounds.
func compare(to string, values, base []float64) (r Ratio, ok bool) {
	var quotients []float64
	for i := range min(len(values), len(base)) {
		switch v, b := values[i], base[i]; {
		case v > 0 && b > 0:
			quotients = append(quotients, v/b)
		case v > 0:
			quotients = append(quotients, math.Inf(1))
		case b > 0:
			quotients = append(quotients, 0)
		default:
			return Ratio{}, false
		}
	}
	if len(quotients) == 0 {
		return Ratio{}, false
	}
	r = Ratio{to, estimate(quotients)}
	return r, r.Median > 0 && !math.IsInf(r.Median, 1)
}
