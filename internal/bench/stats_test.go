package bench

import (
	"math"
	"slices"
	"testing"
)

// upTo is 1, 2 ... n in an order of its own.
func upTo(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64((i*7)%n + 1) // n is no multiple of 7
	}
	return v
}

func TestEstimate(t *testing.T) {
	values := upTo(20)
	// Of 20 values, the 6th and the 15th bound an interval of 95.9 %.
	if got, want := estimate(values), (Estimate{20, 10.5, 6, 15}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !slices.Equal(values, upTo(20)) {
		t.Error("the values have been reordered: they are pairs by round")
	}
	if e := estimate(upTo(6)); e != (Estimate{6, 3.5, 1, 6}) || !e.Interval() {
		t.Errorf("6 values: %+v", e)
	}
	if e := estimate(upTo(5)); e != (Estimate{5, 3, 0, 0}) || e.Interval() {
		t.Errorf("5 values are too few for an interval: %+v", e)
	}
}

func TestCompare(t *testing.T) {
	base := upTo(20)
	scaled := make([]float64, len(base))
	for i, v := range base {
		scaled[i] = 2*v + 20
	}
	// Round by round 2 + 20/v: 3 to 22, with the median between v = 10 and 11.
	r, ok := compare("base", scaled, base)
	if !ok || r.To != "base" || r.N != 20 || math.Abs(r.Median-(4+42.0/11)/2) > 1e-9 || r.Low != 2+20.0/15 || r.High != 2+20.0/6 {
		t.Errorf("%+v", r)
	}
	// All of scaled are above all of base: 2/C(40,20).
	if !r.Significant() {
		t.Errorf("two samples apart: %+v", r)
	}
	// Pairs matter: sorted one by one, all quotients would be 1.
	reversed := slices.Clone(base)
	slices.Reverse(reversed)
	if r, _ := compare("base", reversed, base); r.Low == r.High || r.Significant() {
		t.Errorf("the same sample in another order: %+v", r)
	}
	// 5 % in each round, on a host that becomes 20 times slower meanwhile: two samples
	// that a test could not tell apart, but each round does.
	for i, v := range base {
		scaled[i] = 1.05 * v
	}
	if r, _ := compare("base", scaled, base); !r.Significant() || r.Low < 1.0499 || r.High > 1.0501 {
		t.Errorf("5%% in each round: %+v", r)
	}
	if r, _ := compare("base", []float64{10, 11, 12}, []float64{1, 1.1, 1.2}); r.Significant() || r.Interval() {
		t.Errorf("3 rounds are significant: %+v", r)
	}
	if r, ok := compare("base", []float64{4, 1, 9, -5, 6}, []float64{2, 0, 3, 1, 3}); !ok || r.N != 5 || r.Median != 2 {
		t.Errorf("of the quotients 0, 2, 2, 3 and more than any: %+v", r)
	}
	for _, pair := range [][2][]float64{{{4, 1}, {2, 0}}, {{4, -1, 3}, {2, -1, 3}}, {{-4, -1, 1}, {2, 1, 1}}, {nil, nil}} {
		if r, ok := compare("base", pair[0], pair[1]); ok {
			t.Errorf("%v: %+v", pair, r)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, nanoseconds, "0 ns"}, {0.53, nanoseconds, "0.53 ns"}, {999, nanoseconds, "999 ns"}, {1234, nanoseconds, "1.23 us"},
		{12.345e6, nanoseconds, "12.3 ms"}, {123.45e6, perGiB, "123 ms"}, {2.5e9, perGiB, "2.50 s"},
		{4096, bytesUnit, "4 KiB"}, {1 << 20, bytesUnit, "1 MiB"}, {48*1024 + 512, bytesUnit, "48.5 KiB"}, {-2048, bytesUnit, "-2 KiB"},
	} {
		if got := human(test.v, test.unit); got != test.want {
			t.Errorf("%v %s: %q, want %q", test.v, test.unit, got, test.want)
		}
	}
	for v, want := range map[float64]string{1: "1.00", 0.0277: "0.028", 0.349: "0.35", 9.999: "10.0", 12.34: "12.3", 1234.5: "1234"} {
		if got := quotient(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
