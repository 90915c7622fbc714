package bench

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"slices"
	"text/template"
	"time"
)

//go:embed report.html
var page string

// WriteHTML writes the report as a page with plots. It needs nothing else: no
// network and no script.
func (r *Report) WriteHTML(w io.Writer) error {
	// Not html/template, although it escapes by itself: initialising it would
	// slow down gocat run of an hvt guest. The page's strings go through html.
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	v := pageView{Report: r, Date: r.Began.UTC().Format(time.DateTime + " UTC"), Took: fmt.Sprintf("%.0f s", r.Seconds), Speed: r.speed()}
	for _, b := range r.Benchmarks {
		bv := benchmarkView{Benchmark: b}
		for _, m := range b.Metrics {
			if len(m.Rows) > 0 {
				bv.Views = append(bv.Views, view(m, b.Base))
			}
		}
		v.Views = append(v.Views, bv)
	}
	return t.Execute(w, v)
}

// What the template shows. Positions are percentages of a plot's width, so that
// its text keeps its size on narrow screens; heights are pixels.
type (
	pageView struct {
		*Report
		Date, Took string
		Views      []benchmarkView
		Speed      *speedView
	}
	benchmarkView struct {
		Benchmark
		Views []metricView
	}
	metricView struct {
		Metric
		Base    string
		Columns []string // compared with, without the base
		Ticks   []tick
		One     float64 // position of the ratio 1
		Rows    []rowView
	}
	tick struct {
		At     float64
		Text   string
		Anchor string
	}
	rowView struct {
		Subject, Median, Ratio string
		N                      int
		Others                 []string // ratios to Columns
		Plot                   bool
		Center, Low, Width     float64
		Sure                   bool // the difference is significant
		Dots                   []float64
	}
)

// maxDots is how many values of a row are drawn.
const maxDots = 60

// view lays out a metric: ratios to the base on a logarithmic axis.
func view(m Metric, base string) metricView {
	v := metricView{Metric: m, Base: base}
	var baseValues []float64
	low, high := 1.0, 1.0
	for _, row := range m.Rows {
		if row.Subject == base {
			baseValues = row.Values
		}
		if r, ok := row.Ratio(base); ok {
			low, high = min(low, r.Median), max(high, r.Median)
			if r.Interval() {
				high = max(high, r.High)
				if r.Low > 0 { // else it goes off the plot
					low = min(low, r.Low)
				}
			}
		}
	}
	a := newAxis(low/1.1, high*1.1)
	v.Ticks, v.One = a.ticks(), a.at(1)
	for _, name := range m.compared(base) {
		if name != base {
			v.Columns = append(v.Columns, name)
		}
	}
	for _, row := range m.Rows {
		rv := rowView{Subject: row.Subject, N: row.N, Median: spread(row.Estimate, m.Unit)}
		if r, ok := row.Ratio(base); ok {
			rv.Plot, rv.Ratio, rv.Sure = true, times(r), r.Significant()
			rv.Center = a.at(r.Median)
			if r.Interval() {
				rv.Low, rv.Width = a.at(r.Low), a.at(r.High)-a.at(r.Low)
			}
			for i := 0; i < min(len(row.Values), len(baseValues), maxDots); i++ {
				if q := row.Values[i] / baseValues[i]; q > a.low && q < a.high {
					rv.Dots = append(rv.Dots, a.at(q))
				}
			}
		} else if row.Subject == base {
			rv.Ratio = "1 (" + human(row.Median, m.Unit) + ")"
		}
		for _, name := range v.Columns {
			cell := ""
			if r, ok := row.Ratio(name); ok {
				cell = times(r)
			}
			rv.Others = append(rv.Others, cell)
		}
		v.Rows = append(v.Rows, rv)
	}
	return v
}

// axis is a logarithmic one.
type axis struct{ low, high float64 }

func newAxis(low, high float64) axis {
	if !(low > 0) || !(high > low) || math.IsInf(high, 0) {
		low, high = 0.5, 2
	}
	return axis{low, high}
}

// margin keeps marks and text within the plot, in percent on each side.
const margin = 2

// at is the position of v, in percent; what is beyond the axis is at its end.
func (a axis) at(v float64) float64 {
	v = min(max(v, a.low), a.high)
	p := margin + (100-2*margin)*math.Log(v/a.low)/math.Log(a.high/a.low)
	return math.Round(p*100) / 100
}

// ticks are at 1, 2 and 5 times powers of ten, or fewer of them: as many as a
// narrow screen has room for.
func (a axis) ticks() []tick {
	var values []float64
	for _, steps := range [][]float64{{1, 1.5, 2, 3, 5, 7}, {1, 2, 5}, {1, 3}, {1}} {
		values = values[:0]
		for e := math.Floor(math.Log10(a.low)); e <= math.Log10(a.high); e++ {
			for _, s := range steps {
				if v := s * math.Pow(10, e); v >= a.low && v <= a.high {
					values = append(values, v)
				}
			}
		}
		if len(values) <= 6 {
			break
		}
	}
	var all []tick
	for _, v := range values {
		t := tick{At: a.at(v), Text: fmt.Sprintf("%.3g×", v), Anchor: "middle"}
		switch {
		case t.At < 5:
			t.Anchor = "start"
		case t.At > 95:
			t.Anchor = "end"
		}
		all = append(all, t)
	}
	return all
}

// speedView is throughput by buffer size, a line a subject.
type speedView struct {
	Lines  []speedLine
	X, Y   []tick
	Height float64
}

type speedLine struct {
	Subject  string
	Class    int
	Points   []speedPoint
	Segments []speedSegment
}

type speedPoint struct {
	X, Y float64
	Text string
}

type speedSegment struct{ X1, Y1, X2, Y2 float64 }

// Colours of lines that the page has.
const lineClasses = 10

// speedHeight is that of the throughput plot, in pixels.
const speedHeight = 280

// speed lays out the throughput; nil if there are fewer than two sizes.
func (r *Report) speed() *speedView {
	type point struct{ size, rate float64 }
	points := map[string][]point{}
	var order []string
	var sizes []uint64
	low, high := math.Inf(1), 0.0
	for _, b := range r.Benchmarks {
		if b.Buffer == 0 || len(b.Metrics) == 0 || len(b.Metrics[0].Rows) == 0 {
			continue
		}
		sizes = append(sizes, b.Buffer)
		for _, row := range b.Metrics[0].Rows {
			if points[row.Subject] == nil {
				order = append(order, row.Subject)
			}
			rate := 1e9 / row.Median // GiB a second
			points[row.Subject] = append(points[row.Subject], point{float64(b.Buffer), rate})
			low, high = min(low, rate), max(high, rate)
		}
	}
	if len(sizes) < 2 {
		return nil
	}
	x := newAxis(float64(slices.Min(sizes)), float64(slices.Max(sizes)))
	y := newAxis(low/1.15, high*1.15)
	height := func(rate float64) float64 { return math.Round(speedHeight * (100 - y.at(rate)) / 100) }
	// The left tenth is for the numbers of the other axis.
	right := func(at float64) float64 { return math.Round(1000+90*at) / 100 }
	v := &speedView{Height: speedHeight}
	for i, s := range sizes {
		t := tick{At: right(x.at(float64(s))), Text: human(float64(s), bytesUnit), Anchor: "middle"}
		if i == len(sizes)-1 {
			t.Anchor = "end"
		}
		v.X = append(v.X, t)
	}
	for _, t := range y.ticks() {
		t.Text = t.Text[:len(t.Text)-len("×")]
		t.At = math.Round(speedHeight * (100 - t.At) / 100)
		v.Y = append(v.Y, t)
	}
	for i, name := range order {
		line := speedLine{Subject: name, Class: i % lineClasses}
		for _, p := range points[name] {
			at := speedPoint{right(x.at(p.size)), height(p.rate), fmt.Sprintf("%s, %s: %s GiB/s", name, human(p.size, bytesUnit), quotient(p.rate))}
			if n := len(line.Points); n > 0 {
				last := line.Points[n-1]
				line.Segments = append(line.Segments, speedSegment{last.X, last.Y, at.X, at.Y})
			}
			line.Points = append(line.Points, at)
		}
		v.Lines = append(v.Lines, line)
	}
	return v
}
